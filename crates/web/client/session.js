/**
 * One session: its signalling, its RTCPeerConnection and its slots, from `join` until it is left or lost.
 */
import { MadangError } from './errors.js';
import { TypedEvents } from './events.js';
import { Peer } from './peer.js';
import { CLIENT, FIRST_SLOTS } from './protocol.js';
import { Signalling } from './signalling.js';
import { Slots } from './slots.js';

/**
 * @typedef {import('./protocol.js').Grants} Grants
 * @typedef {import('./protocol.js').LayerRequest} LayerRequest
 * @typedef {import('./peer.js').Change} Change
 * @typedef {import('./roster.js').Participant} Participant
 * @typedef {import('./roster.js').Roster} Roster
 * @typedef {import('./slots.js').Slot} Slot
 * @typedef {import('./socket.js').Frame} Frame
 *
 * @typedef {object} SessionEvents
 * @property {undefined} state of signalling or media
 * @property {import('./roster.js').ParticipantsChange} participants
 * @property {import('./roster.js').TracksChange} tracks
 * @property {Slot[]} slotsadded
 * @property {undefined} slots
 * @property {Participant[]} speakers
 * @property {Participant[]} quality
 * @property {{from: Participant | undefined, topic: string, body: unknown}} message
 * @property {{track: string, layers: LayerRequest[]}} layers
 * @property {{track: string, muted: boolean, by: string}} muted
 * @property {Grants} grants
 * @property {import('./protocol.js').RoomInfo} room
 * @property {string} token
 * @property {undefined} resumed
 * @property {{error: MadangError, afterMs: number}} lost join again
 * @property {{code: string, msg?: string}} bye the server wants no return
 */

/** @extends {TypedEvents<SessionEvents>} */
export class Session extends TypedEvents {
  /** @readonly */
  slots = new Slots();
  /** @readonly */
  peer;
  /** @type {Grants | null} */
  grants = null;
  /** Where to join again. */
  url;
  #signalling;
  #roster;
  #ended = false;
  /** Why the session is gone, once it is. @type {{error: MadangError, afterMs: number} | null} */
  loss = null;
  /** Changes of the connection that are still to be negotiated. @type {Change} */
  #wanted = {};

  /**
   * @param {{url: string, videoCodec?: import('./codecs.js').VideoCodec, encryption?: import('./encryption.js').Encryption}} options
   * @param {Roster} roster
   */
  constructor({ url, videoCodec, encryption }, roster) {
    super();
    this.url = url;
    this.#roster = roster;
    this.#signalling = new Signalling(url);
    this.peer = new Peer(videoCodec, encryption);
    this.#wire();
  }

  get connected() {
    return this.#signalling.connected;
  }

  get socket() {
    return this.#signalling.socket;
  }

  /**
   * Joins in one round trip.
   * @param {{token?: string, room?: string, name?: string, meta?: unknown, encryption?: object}} options
   * @param {boolean} [moved] another server has sent this client here
   */
  async join({ token, room, name, meta, encryption }, moved) {
    const e2ee = Boolean(encryption);
    const fields = this.peer.offer().then((offer) => ({ token, room, name, meta, moved, e2ee, offer, want: FIRST_SLOTS, client: CLIENT }));
    const joined = await this.#signalling.join(fields);
    this.#replaceAll(joined);
    this.emit('state', undefined);
    await this.peer.accept(joined.answer, joined.ice_servers);
    this.emit('slotsadded', this.slots.declare(this.peer.pc));
  }

  /**
   * @param {string} t
   * @param {object} fields
   */
  request(t, fields) {
    return this.#signalling.request(t, fields);
  }

  /** @param {{reliable: boolean}} fields of `msg` */
  async sendMessage(fields) {
    if (!fields.reliable && this.peer.sendData(JSON.stringify({ t: 'msg', ...fields }))) return;
    await this.request('msg', fields);
  }

  /** @param {object} view */
  sendView(view) {
    // One that is late would undo nothing: the newest is sent after every resume anyway.
    if (this.connected && this.grants?.subscribe && this.slots.all().length > 0) this.#signalling.send('view', view);
  }

  leave() {
    this.#signalling.leave();
    this.close();
  }

  close() {
    this.#ended = true;
    this.#signalling.close();
    this.peer.close();
  }

  #wire() {
    const { peer } = this;
    const signalling = this.#signalling;
    signalling.on('frame', (frame) => this.#receive(frame));
    signalling.on('interrupted', () => this.emit('state', undefined));
    signalling.on('resumed', ({ full }) => {
      if (full) this.#replaceAll(full);
      this.emit('state', undefined);
      this.emit('resumed', undefined);
      if (peer.unanswered || Object.keys(this.#wanted).length > 0) this.#negotiate({});
      else if (peer.state === 'reconnecting') this.#negotiate({ restart: true });
    });
    signalling.on('lost', (error) => this.#lose(error));
    peer.on('candidate', (candidate) => signalling.send('candidate', candidate));
    peer.on('state', () => this.emit('state', undefined));
    peer.on('restart', () => this.#negotiate({ restart: true }));
    peer.on('dead', () => this.#lose(new MadangError('disconnected')));
    peer.on('data', (text) => this.#receiveData(text));
  }

  /**
   * Negotiates a change, now or, if the WebSocket is away, after a resume.
   * @param {Change} change
   */
  async #negotiate(change) {
    const wanted = { ...this.#wanted, ...change };
    this.#wanted = wanted;
    if (!this.connected) return;
    this.#wanted = {};
    try {
      // First the offer, if any, whose answer was lost with a WebSocket.
      if (this.peer.unanswered) await this.peer.renegotiate({}, this.#exchange);
      if (wanted.restart || wanted.slots) await this.peer.renegotiate(wanted, this.#exchange);
      const added = this.slots.declare(this.peer.pc);
      if (added.length > 0) this.emit('slotsadded', added);
    } catch (error) {
      if (this.#ended) return;
      const lost = error instanceof MadangError ? error : new MadangError('internal', String(error));
      if (lost.code === 'disconnected') this.#wanted = { ...wanted, ...this.#wanted };
      // More slots that were refused leave the call as it is; a restart that was refused leaves it without media.
      else if (wanted.restart) this.#lose(lost);
    }
  }

  /** @type {import('./peer.js').Exchange} */
  #exchange = async (fields) => /** @type {any} */ (await this.#signalling.request('offer', fields));

  /** @param {import('./protocol.js').Snapshot} snapshot */
  #replaceAll(snapshot) {
    const change = this.#roster.replace(snapshot);
    this.grants = snapshot.grants;
    this.emit('participants', change.participants);
    this.emit('tracks', change.tracks);
    this.emit('grants', snapshot.grants);
    this.emit('room', snapshot.room);
  }

  /** @param {string} text */
  #receiveData(text) {
    try {
      const frame = JSON.parse(text);
      if (frame?.t === 'msg') this.#receive(frame);
    } catch {
      // Whoever sent it, it is no message of this protocol.
    }
  }

  /** @param {any} frame a {@link Frame}, whose fields depend on its type */
  #receive(frame) {
    switch (frame.t) {
      case 'candidate':
        return this.peer.addCandidate(frame.gen, frame.candidate);
      case 'peers':
        return this.emit('participants', this.#roster.applyPeers(frame));
      case 'tracks':
        return this.emit('tracks', this.#roster.applyTracks(frame));
      case 'slots':
        this.slots.apply(frame);
        return this.emit('slots', undefined);
      case 'need_slots':
        return void this.#negotiate({ slots: { audio: frame.audio, video: frame.video } });
      case 'speakers':
        return this.emit('speakers', this.#levels(frame.list));
      case 'quality':
        return this.emit('quality', this.#qualities(frame.list));
      case 'msg':
        return this.emit('message', { from: this.#roster.find(frame.from), topic: frame.topic, body: frame.body });
      case 'layers':
        return this.emit('layers', { track: frame.track, layers: frame.layers });
      case 'muted':
        return this.emit('muted', { track: frame.track, muted: frame.muted, by: frame.by });
      case 'grants':
        this.grants = frame.grants;
        return this.emit('grants', frame.grants);
      case 'room':
        return this.emit('room', { name: frame.name, locked: frame.locked, max: frame.max });
      case 'token':
        return this.emit('token', frame.token);
      case 'bye':
        return this.#bye(frame);
      default:
    }
  }

  /** @param {Array<{peer: string, level: number}>} list */
  #levels(list) {
    for (const participant of this.#roster.everyone()) participant.level = 0;
    return list.flatMap(({ peer, level }) => {
      const participant = this.#roster.find(peer);
      return participant ? [Object.assign(participant, { level })] : [];
    });
  }

  /** @param {Array<{peer: string, score: number, why: string}>} list */
  #qualities(list) {
    return list.flatMap(({ peer, score, why }) => {
      const participant = this.#roster.find(peer);
      return participant ? [Object.assign(participant, { quality: { score, why } })] : [];
    });
  }

  /** @param {import('./protocol.js').Bye} bye */
  #bye({ code, msg, action, url, after_ms }) {
    if (url) this.url = url;
    if (action === 'resume') {
      this.#signalling.moveTo(this.url);
    } else if (action === 'rejoin') {
      this.#lose(new MadangError(code, msg), after_ms);
    } else {
      this.#ended = true;
      this.emit('bye', { code, msg });
    }
  }

  /**
   * @param {MadangError} error
   * @param {number} [afterMs]
   */
  #lose(error, afterMs = 0) {
    if (this.#ended) return;
    this.close();
    this.loss = { error, afterMs };
    this.emit('lost', this.loss);
  }
}
