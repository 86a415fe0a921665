/**
 * The one RTCPeerConnection of a session: everything that a call needs is in its first offer, and later offers only add slots
 * or restart ICE. The client always offers, so glare cannot happen.
 */
import { pruneCodecs } from './codecs.js';
import { offerAllocations, offerDescriptors } from './descriptors.js';
import { addSender, cameraEncodings, screenEncodings } from './encodings.js';
import { encrypt } from './encryption.js';
import { MadangError } from './errors.js';
import { TypedEvents } from './events.js';
import { FIRST_SLOTS, MAX_SLOTS } from './protocol.js';
import { hearStereo, sendStereo } from './stereo.js';

/** ICE `disconnected` often heals within a second or two; a restart at once would disturb that. */
const DISCONNECTED_GRACE_MS = 2_000;

/**
 * @typedef {import('./protocol.js').Kind} Kind
 * @typedef {import('./protocol.js').Source} Source
 * @typedef {'connecting' | 'connected' | 'reconnecting' | 'disconnected'} MediaState
 * @typedef {{gen: number, sdp: string, restart: boolean}} OfferFields
 * @typedef {(fields: OfferFields) => Promise<{sdp: string}>} Exchange sends an offer, gives back its answer
 * @typedef {{restart?: boolean, slots?: {audio: number, video: number}}} Change
 *
 * @typedef {object} PeerEvents
 * @property {{gen: number, candidate: string | null}} candidate a local candidate, or null for the end
 * @property {MediaState} state
 * @property {undefined} restart ICE needs a restart
 * @property {undefined} dead no restart of ICE can repair this: join again
 * @property {string} data a message on the data channel
 */

/** @extends {TypedEvents<PeerEvents>} */
export class Peer extends TypedEvents {
  /** @readonly */
  pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle', rtcpMuxPolicy: 'require' });
  /** @type {Record<Source, RTCRtpTransceiver>} */
  senders;
  #encryption;
  #data;
  #gen = 0;
  /** @type {RTCSessionDescriptionInit | null} an offer whose answer has not come: the same one is sent again */
  #unanswered = null;
  /** The newest, as the server sent it. @type {string | null} */
  #answer = null;
  #stereo = false;
  /** Offers go one after the other. @type {Promise<unknown>} */
  #turn = Promise.resolve();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #grace;
  #wasConnected = false;
  #online = () => this.#wasConnected && this.emit('restart', undefined);

  /**
   * @param {import('./codecs.js').VideoCodec} [videoCodec] what the camera prefers
   * @param {import('./encryption.js').Encryption} [encryption]
   */
  constructor(videoCodec, encryption) {
    super();
    this.videoCodec = videoCodec;
    this.#encryption = encryption;
    const { pc } = this;
    this.#data = pc.createDataChannel('madang', { ordered: false, maxRetransmits: 0 });
    this.senders = {
      microphone: this.#sender('audio'),
      camera: this.#sender('video', cameraEncodings(videoCodec), videoCodec),
      screen: this.#sender('video', screenEncodings()),
      screen_audio: this.#sender('audio'),
    };
    this.#addSlots(FIRST_SLOTS);
    this.#data.onmessage = ({ data }) => typeof data === 'string' && this.emit('data', data);
    pc.onicecandidate = ({ candidate }) => this.emit('candidate', { gen: this.#gen, candidate: candidate?.candidate || null });
    pc.oniceconnectionstatechange = () => this.#watchIce();
    pc.onconnectionstatechange = () => this.#watchConnection();
    window.addEventListener('online', this.#online);
  }

  /** The first offer. It is applied by {@link accept}, after the server has answered. */
  async offer() {
    this.#unanswered = await this.#createOffer();
    return this.#unanswered.sdp ?? '';
  }

  /**
   * Applies the first offer and its answer; from then on the slots have their mids.
   * @param {string} answer
   * @param {RTCIceServer[]} iceServers
   */
  async accept(answer, iceServers) {
    this.pc.setConfiguration({ ...this.pc.getConfiguration(), iceServers });
    this.#turn = this.#apply(answer);
    await this.#turn;
  }

  /**
   * Offers again: an ICE restart, more slots, or both. If `exchange` fails with a passing error, the next call offers the same again.
   * @param {Change} change
   * @param {Exchange} exchange
   */
  renegotiate(change, exchange) {
    const run = this.#turn.then(() => this.#offerAgain(change, exchange));
    this.#turn = run.catch(() => {});
    return run;
  }

  /**
   * Sends sound in stereo, or in mono. It is between this browser and its encoder, so the server is not asked.
   * @param {boolean} stereo
   */
  setStereo(stereo) {
    if (this.#stereo === stereo) return this.#turn;
    this.#stereo = stereo;
    const run = this.#turn.then(async () => {
      // Where an answer is due, it is taken up with that.
      if (!this.#answer || this.#unanswered) return;
      this.#unanswered = await this.#createOffer();
      await this.#apply(this.#answer);
    });
    this.#turn = run.catch(() => {});
    return run;
  }

  /** Whether an offer is still without its answer. */
  get unanswered() {
    return this.#unanswered !== null;
  }

  /**
   * A candidate of the server.
   * @param {number} gen
   * @param {string | null} candidate
   */
  addCandidate(gen, candidate) {
    // After the offers under way, because a candidate can overtake the answer that it belongs to.
    this.#turn = this.#turn.then(async () => {
      if (gen !== this.#gen) return;
      // A candidate that this browser cannot use is no reason to give up the others.
      await this.pc.addIceCandidate(candidate ? { candidate, sdpMLineIndex: 0 } : undefined).catch(() => {});
    });
  }

  /** @param {string} text @returns {boolean} whether it could be sent */
  sendData(text) {
    if (this.#data.readyState !== 'open') return false;
    this.#data.send(text);
    return true;
  }

  /** @returns {MediaState} */
  get state() {
    switch (this.pc.connectionState) {
      case 'connected':
        return 'connected';
      case 'closed':
        return 'disconnected';
      case 'new':
      case 'connecting':
        return this.#wasConnected ? 'reconnecting' : 'connecting';
      default:
        return 'reconnecting';
    }
  }

  close() {
    clearTimeout(this.#grace);
    window.removeEventListener('online', this.#online);
    this.pc.close();
  }

  /**
   * @param {Kind} kind
   * @param {RTCRtpEncodingParameters[]} [sendEncodings]
   * @param {import('./codecs.js').VideoCodec} [videoCodec]
   */
  #sender(kind, sendEncodings, videoCodec) {
    const transceiver = addSender(this.pc, kind, { direction: 'sendonly', ...(sendEncodings && { sendEncodings }) });
    if (this.#encryption) encrypt(transceiver, kind, this.#encryption);
    // The server takes RED apart, which it cannot where the whole of it is encrypted.
    pruneCodecs(transceiver, kind, { first: videoCodec, red: !this.#encryption });
    if (kind === 'video') offerAllocations(transceiver);
    return transceiver;
  }

  /**
   * Adds slots until there are as many as wanted.
   * @param {{audio: number, video: number}} wanted
   */
  #addSlots(wanted) {
    const added = [];
    for (const kind of /** @type {Kind[]} */ (['audio', 'video'])) {
      const there = this.pc.getTransceivers().filter((t) => t.direction === 'recvonly' && t.receiver.track.kind === kind);
      for (let n = there.length; n < Math.min(wanted[kind], MAX_SLOTS[kind]); n++) {
        const transceiver = this.pc.addTransceiver(kind, { direction: 'recvonly' });
        if (this.#encryption) encrypt(transceiver, kind, this.#encryption);
        pruneCodecs(transceiver, kind);
        if (kind === 'video') offerDescriptors(transceiver);
        added.push(transceiver);
      }
    }
    return added;
  }

  /**
   * @param {Change} change
   * @param {Exchange} exchange
   */
  async #offerAgain({ restart = false, slots }, exchange) {
    const added = this.#unanswered || !slots ? [] : this.#addSlots(slots);
    if (!this.#unanswered && !restart && added.length === 0) return;
    this.#unanswered ??= await this.#createOffer({ iceRestart: restart });
    const gen = ++this.#gen;
    try {
      const answer = await exchange({ gen, sdp: this.#unanswered.sdp ?? '', restart });
      await this.#apply(answer.sdp);
    } catch (error) {
      if (!(error instanceof MadangError && error.passing)) {
        // Refused: without these, the next offer is one that the server takes.
        for (const transceiver of added) transceiver.stop();
        this.#unanswered = null;
      }
      throw error;
    }
  }

  /** @param {string} sdp the answer to the offer that has none yet */
  async #apply(sdp) {
    const offer = this.#unanswered;
    if (!offer) throw new MadangError('stale_generation');
    this.#unanswered = null;
    this.#answer = sdp;
    await this.pc.setLocalDescription(offer);
    await this.pc.setRemoteDescription({ type: 'answer', sdp: sendStereo(sdp, this.#stereo) });
  }

  /** @param {RTCOfferOptions} [options] @returns {Promise<RTCSessionDescriptionInit>} */
  async #createOffer(options) {
    const { type, sdp } = await this.pc.createOffer(options);
    return { type, sdp: hearStereo(sdp ?? '') };
  }

  #watchIce() {
    clearTimeout(this.#grace);
    const state = this.pc.iceConnectionState;
    if (state === 'failed') this.emit('restart', undefined);
    if (state === 'disconnected') this.#grace = setTimeout(() => this.emit('restart', undefined), DISCONNECTED_GRACE_MS);
  }

  #watchConnection() {
    this.#wasConnected ||= this.pc.connectionState === 'connected';
    this.emit('state', this.state);
    // ICE can be restarted; DTLS that failed above a working ICE cannot.
    const iceWorks = ['connected', 'completed'].includes(this.pc.iceConnectionState);
    if (this.pc.connectionState === 'failed' && iceWorks) this.emit('dead', undefined);
  }
}
