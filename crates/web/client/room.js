/**
 * A room as its participant sees it: the library's public face. It outlives sessions; a {@link Session} does the talking.
 */
import { Attachment } from './attachment.js';
import { AudioOutput } from './audio.js';
import { Backoff } from './backoff.js';
import { canEncrypt } from './encryption.js';
import { MadangError } from './errors.js';
import { TypedEvents } from './events.js';
import { Publisher } from './publisher.js';
import { Roster } from './roster.js';
import { Session } from './session.js';
import { StatsReader } from './stats.js';
import { ViewReporter } from './view.js';

/**
 * @typedef {import('./attachment.js').AttachOptions} AttachOptions
 * @typedef {import('./protocol.js').Source} Source
 * @typedef {import('./protocol.js').Bye} Bye
 * @typedef {import('./roster.js').Participant} Participant
 * @typedef {import('./roster.js').RemoteTrack} RemoteTrack
 * @typedef {import('./peer.js').MediaState} State
 *
 * @typedef {object} JoinOptions
 * @property {string} url the server's WebSocket, for example `wss://example.org/v1/rtc`
 * @property {string} [token] needed unless the server runs in development mode
 * @property {string} [room] name of the room, where the token names none
 * @property {string} [name] what others see
 * @property {unknown} [meta] any JSON value, for others to read
 * @property {MediaStreamTrack | null} [microphone] published at once
 * @property {boolean} [stereo] send the microphone in stereo, for music; default false
 * @property {MediaStreamTrack | null} [camera] published at once
 * @property {import('./codecs.js').VideoCodec} [videoCodec] what the camera prefers to send; default VP8
 * @property {import('./encryption.js').Encryption} [encryption] encrypts from end to end; `unsupported` where the browser cannot
 *
 * @typedef {object} RoomEvents
 * @property {{state: State, signalling: State, media: State}} state
 * @property {import('./roster.js').ParticipantsChange} participants
 * @property {import('./roster.js').TracksChange} tracks
 * @property {undefined} publications what is published from here, or muted, has changed
 * @property {undefined} slots the server has switched tracks in slots
 * @property {Participant[]} speakers loudest first
 * @property {Participant[]} quality whose connection quality has changed
 * @property {{from: Participant | undefined, topic: string, body: unknown}} message
 * @property {{source: Source, muted: boolean, by: string}} muted an admin has muted an own track
 * @property {import('./protocol.js').RoomInfo} room
 * @property {import('./protocol.js').Grants} grants
 * @property {string} token a refreshed one
 * @property {unknown} refused why something is not published any more, or not again
 * @property {boolean} audioblocked whether the browser refuses to play sound: call `startAudio` from a click
 * @property {undefined} reconnected joined again after the session was lost; everything is published again
 * @property {{code: string, error: MadangError | null}} bye the end; `code` is `left` after `leave`
 */

/**
 * Enters a room. Rejects with a {@link MadangError}.
 * @param {JoinOptions} options
 * @returns {Promise<Room>}
 */
export async function join(options) {
  const room = new Room(options);
  await room.enter();
  return room;
}

/** @extends {TypedEvents<RoomEvents>} */
export class Room extends TypedEvents {
  #options;
  #roster = new Roster();
  #publisher = new Publisher(() => this.emit('publications', undefined));
  #statsReader = new StatsReader();
  #audio = new AudioOutput((blocked) => this.emit('audioblocked', blocked));
  #view = new ViewReporter((view) => this.#sendView(view));
  /** The newest, joined or not. @type {Session | null} */
  #session = null;
  #joining = false;
  #ended = new AbortController();
  #everConnected = false;
  /** @type {State} */
  #state = 'connecting';
  /** Without it, others would see a closed page as frozen until its session times out. */
  #onPageHide = () => this.leave();

  /** @param {JoinOptions} options */
  constructor(options) {
    super();
    this.#options = { ...options };
    window.addEventListener('pagehide', this.#onPageHide);
  }

  /** The own participant. */
  get local() {
    return this.#roster.local;
  }

  /** Everybody else, by id. @returns {ReadonlyMap<string, Participant>} */
  get participants() {
    return this.#roster.participants;
  }

  /** Everything that others publish, by id. @returns {ReadonlyMap<string, RemoteTrack>} */
  get tracks() {
    return this.#roster.tracks;
  }

  /** What is published from here. */
  get publications() {
    return this.#publisher.active;
  }

  get state() {
    return this.#state;
  }

  /** @returns {State} */
  get signallingState() {
    if (this.#ended.signal.aborted) return 'disconnected';
    return this.#session?.connected ? 'connected' : this.#onTheWay;
  }

  /** @returns {State} */
  get mediaState() {
    if (this.#ended.signal.aborted) return 'disconnected';
    const state = this.#session?.peer.state;
    return state === 'connected' || state === 'reconnecting' ? state : this.#onTheWay;
  }

  /** The RTCPeerConnection, for diagnosis. */
  get pc() {
    return this.#session?.peer.pc ?? null;
  }

  /** The WebSocket, for diagnosis. */
  get socket() {
    return this.#session?.socket ?? null;
  }

  /** What the server allows. */
  get grants() {
    return this.#session?.grants ?? null;
  }

  get slots() {
    return this.#session?.slots.all() ?? [];
  }

  get audioBlocked() {
    return this.#audio.blocked;
  }

  /** Connects; {@link join} does it. */
  async enter() {
    const { microphone, camera, stereo, encryption } = this.#options;
    try {
      if (!('RTCPeerConnection' in globalThis) || (encryption && !canEncrypt())) throw new MadangError('unsupported');
      // Published while there is no session yet, they go into the first one.
      if (microphone) await this.#publisher.publish('microphone', microphone, { stereo });
      if (camera) await this.#publisher.publish('camera', camera);
      await this.#connect();
    } catch (error) {
      // The devices are still the caller's.
      this.#publisher.forget();
      this.#finish('disconnected', null);
      throw error;
    }
  }

  /**
   * Publishes a microphone, or another one in its place.
   * @param {MediaStreamTrack} track
   * @param {{stereo?: boolean}} [options] `stereo`: send both channels, for music; open the microphone with `stereo` too
   */
  publishMicrophone(track, options) {
    return this.#publisher.publish('microphone', track, options);
  }

  /**
   * Publishes a camera, or another one in its place; also how a muted camera comes back.
   * @param {MediaStreamTrack} track
   */
  publishCamera(track) {
    return this.#publisher.publish('camera', track);
  }

  /**
   * Shares a screen, with its sound if there is any.
   * @param {{video: MediaStreamTrack, audio?: MediaStreamTrack | null}} screen from `openScreen`
   */
  async publishScreen({ video, audio }) {
    // The browser's own "stop sharing" button ends the track.
    video.addEventListener('ended', () => this.unpublishScreen());
    await this.#publisher.publish('screen', video);
    if (audio) await this.#publisher.publish('screen_audio', audio);
  }

  async unpublishScreen() {
    await this.unpublish('screen');
    await this.unpublish('screen_audio');
  }

  /**
   * Stops publishing, and releases the device.
   * @param {Source} source
   */
  unpublish(source) {
    return this.#publisher.unpublish(source);
  }

  /**
   * Mutes or unmutes an own source. Muting the camera releases it; `publishCamera` unmutes it.
   * @param {Source} source
   * @param {boolean} muted
   */
  setMuted(source, muted) {
    return this.#publisher.setMuted(source, muted);
  }

  /**
   * Sends chat or application data.
   * @param {string} topic
   * @param {unknown} body any JSON value
   * @param {{to?: string[], reliable?: boolean}} [options] `to`: peer ids; `reliable: false` prefers speed to certainty
   */
  async sendMessage(topic, body, { to, reliable = true } = {}) {
    const fields = { topic, body, reliable, ...(to && { to }) };
    await this.#present().sendMessage(fields);
  }

  /**
   * Moderates the room; needs the `admin` grant.
   * @param {'kick' | 'mute' | 'grant' | 'lock' | 'unlock' | 'end'} op
   * @param {{target?: string, track?: string, grants?: object}} [fields]
   */
  async admin(op, fields = {}) {
    await this.#present().request('admin', { op, ...fields });
  }

  /**
   * Changes what others see of this participant.
   * @param {{name?: string, meta?: unknown}} fields
   */
  async update(fields) {
    Object.assign(this.#options, fields);
    await this.#present().request('update', fields);
  }

  /**
   * Shows a remote video track in an element, for as long as the track is there.
   * @param {RemoteTrack | string} track the track or its id
   * @param {HTMLVideoElement} video
   * @param {AttachOptions} [options]
   */
  attach(track, video, options = {}) {
    this.detach(video);
    const attachment = new Attachment(typeof track === 'string' ? track : track.id, video, options);
    this.#view.add(attachment);
    this.#show(attachment);
  }

  /** @param {HTMLVideoElement} video */
  detach(video) {
    this.#view.remove(video)?.end();
  }

  /**
   * Chooses what is heard: by default the loudest of the room.
   * @param {import('./protocol.js').AudioWish} audio
   */
  listen(audio) {
    this.#view.setAudio(audio);
  }

  /** Starts sound that the browser has refused; call it from a click. */
  startAudio() {
    return this.#audio.start();
  }

  /**
   * Plays on this loudspeaker.
   * @param {string} deviceId from `listDevices`
   */
  setSpeaker(deviceId) {
    return this.#audio.setSpeaker(deviceId);
  }

  /** Numbers per slot and per sent layer; rates are since the call before, and null in the first. */
  async stats() {
    const session = this.#present();
    const publications = [...this.publications.values()].map(({ source, id }) => ({
      source,
      id,
      transceiver: session.peer.senders[source],
    }));
    return this.#statsReader.read(session.peer.pc, session.slots.all(), publications);
  }

  /** Leaves the room and releases all devices. */
  async leave() {
    this.#session?.leave();
    this.#finish('left', null);
  }

  /** @returns {State} */
  get #onTheWay() {
    return this.#everConnected ? 'reconnecting' : 'connecting';
  }

  #present() {
    if (!this.#session) throw new MadangError('disconnected');
    return this.#session;
  }

  /** Joins with a new session, in which everything is published again. */
  /** Joins, on the server that has the room. */
  async #connect() {
    try {
      await this.#connectTo(false);
    } catch (error) {
      if (!(error instanceof MadangError && error.code === 'moved' && error.url)) throw error;
      this.#options.url = error.url;
      await this.#connectTo(true);
    }
  }

  /** @param {boolean} moved another server has sent this client here */
  async #connectTo(moved) {
    const session = new Session(this.#options, this.#roster);
    this.#session = session;
    this.#joining = true;
    this.#wire(session);
    this.#updateState();
    try {
      await this.#publisher.bind(session.peer, (t, fields) => session.request(t, fields));
      await session.join(this.#options, moved);
      this.#ended.signal.throwIfAborted();
      if (session.loss) throw session.loss.error;
    } catch (error) {
      session.close();
      throw session.loss?.error ?? error;
    } finally {
      this.#joining = false;
    }
    this.#updateState();
    this.#publisher.sync().catch((error) => this.emit('refused', error));
  }

  /** @param {Session} session */
  #wire(session) {
    session.on('state', () => this.#updateState());
    session.on('slotsadded', (slots) => {
      for (const { kind, stream } of slots) if (kind === 'audio') this.#audio.add(stream);
      this.#view.repeat();
    });
    session.on('slots', () => {
      this.#showAll();
      this.emit('slots', undefined);
    });
    session.on('participants', (change) => this.emit('participants', change));
    session.on('tracks', (change) => {
      this.#showAll();
      this.emit('tracks', change);
    });
    session.on('speakers', (speakers) => this.emit('speakers', speakers));
    session.on('quality', (participants) => this.emit('quality', participants));
    session.on('message', (message) => this.emit('message', message));
    session.on('layers', ({ track, layers }) => this.#publisher.setLayers(track, layers));
    session.on('muted', (muted) => this.#mutedByAdmin(muted));
    session.on('grants', (grants) => this.#granted(grants));
    session.on('room', (room) => this.emit('room', room));
    session.on('token', (token) => {
      this.#options.token = token;
      this.emit('token', token);
    });
    session.on('resumed', () => {
      this.#publisher.sync().catch((error) => this.emit('refused', error));
      this.#view.repeat();
    });
    session.on('lost', ({ error, afterMs }) => this.#joining || this.#rejoin(error, afterMs));
    session.on('bye', (bye) => this.#finish(bye.code, new MadangError(bye.code, bye.msg)));
  }

  /**
   * Joins again by itself.
   * @param {MadangError} reason
   * @param {number} afterMs what the server asked for
   */
  async #rejoin(reason, afterMs) {
    if (this.#ended.signal.aborted) return;
    this.#session?.close();
    const url = this.#session?.url;
    if (url) this.#options.url = url;
    this.#audio.close();
    this.#updateState();
    const backoff = new Backoff();
    let last = reason;
    try {
      while (await backoff.next(this.#ended.signal, Math.max(afterMs, last.retryMs ?? 0))) {
        afterMs = 0;
        try {
          await this.#connect();
          this.emit('reconnected', undefined);
          return;
        } catch (error) {
          if (!(error instanceof MadangError && error.passing)) throw error;
          last = error;
        }
      }
      throw last;
    } catch (error) {
      if (this.#ended.signal.aborted) return;
      const end = error instanceof MadangError ? error : new MadangError('internal', String(error));
      this.#finish(end.code, end);
    }
  }

  /** @param {import('./protocol.js').Grants} grants */
  async #granted(grants) {
    this.emit('grants', grants);
    // Who may receive again says what.
    if (grants.subscribe) this.#view.repeat();
    this.#showAll();
    if (await this.#publisher.withdraw(grants.publish)) this.emit('refused', new MadangError('forbidden'));
  }

  /** @param {{track: string, muted: boolean, by: string}} muted */
  async #mutedByAdmin({ track, muted, by }) {
    // Nobody can be unmuted from afar: that is for the person to do.
    if (!muted) return;
    const source = await this.#publisher.mutedByServer(track);
    if (source) this.emit('muted', { source, muted, by });
  }

  /** @param {{rev: number, video: import('./protocol.js').TileWish[], audio: import('./protocol.js').AudioWish}} view */
  #sendView(view) {
    // An element can outlive its track until the application takes it away.
    const video = view.video.filter(({ track }) => this.#roster.tracks.has(track));
    this.#session?.sendView({ ...view, video });
  }

  #showAll() {
    for (const attachment of this.#view.attachments()) this.#show(attachment);
  }

  /** @param {Attachment} attachment */
  #show(attachment) {
    const track = this.#roster.tracks.get(attachment.track);
    const slot = this.#session?.slots.of(attachment.track);
    attachment.update(slot, track?.muted ?? false, this.grants?.subscribe ?? true);
  }

  /**
   * @param {string} code
   * @param {MadangError | null} error
   */
  #finish(code, error) {
    if (this.#ended.signal.aborted) return;
    this.#ended.abort(new MadangError('left'));
    window.removeEventListener('pagehide', this.#onPageHide);
    this.#session?.close();
    this.#publisher.stop();
    this.#audio.close();
    for (const attachment of this.#view.attachments()) attachment.end();
    this.#view.close();
    this.#state = 'disconnected';
    this.emit('state', { state: 'disconnected', signalling: 'disconnected', media: 'disconnected' });
    this.emit('bye', { code, error });
  }

  #updateState() {
    if (this.#ended.signal.aborted) return;
    const [signalling, media] = [this.signallingState, this.mediaState];
    if (signalling === 'connected' && media === 'connected') this.#everConnected = true;
    this.#state = combine(signalling, media);
    this.emit('state', { state: this.#state, signalling, media });
  }
}

/**
 * The worse of the two.
 * @param {State} signalling
 * @param {State} media
 * @returns {State}
 */
function combine(signalling, media) {
  const worstFirst = /** @type {State[]} */ (['disconnected', 'reconnecting', 'connecting', 'connected']);
  return worstFirst.find((state) => signalling === state || media === state) ?? 'connected';
}
