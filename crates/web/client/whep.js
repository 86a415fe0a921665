/**
 * Watching by WHEP (draft-ietf-wish-whep): the audio and the video of one room, in one MediaStream.
 */
import { pruneCodecs } from './codecs.js';
import { TypedEvents } from './events.js';
import { KeptSession } from './kept-session.js';
import { PlaybackReader } from './playback-stats.js';
import { ServerEvents } from './server-events.js';

const LAYER_RELATION = 'urn:ietf:params:whep:ext:core:layer';
/** Another server is given this long to send a picture before what plays is given up; it stops soon. */
const PICTURE_PATIENCE_MS = 2_000;
const LOOK_EVERY_MS = 50;

/**
 * @typedef {import('./kept-session.js').SessionState} SessionState
 * @typedef {import('./errors.js').MadangError} MadangError
 * @typedef {import('./server-events.js').VideoLayer} VideoLayer
 *
 * @typedef {object} PlayOptions
 * @property {string} url the endpoint, such as `https://example.org/whep/garden`
 * @property {string} [token]
 *
 * @typedef {object} PlayerEvents
 * @property {SessionState} state
 * @property {MadangError} failed an attempt has failed, and another follows; `no_publisher`: the server wants viewers to wait outside
 * @property {MadangError | null} closed why it is over, null after {@link WhepPlayer.close}
 * @property {MediaStream} stream there is a new one; it is empty until the publisher comes
 * @property {boolean} active whether somebody publishes
 * @property {VideoLayer[]} layers of the video, best first
 * @property {number} viewers
 */

/** @extends {TypedEvents<PlayerEvents>} */
export class WhepPlayer extends TypedEvents {
  /** What there is to choose from, best first. @type {VideoLayer[]} */
  layers = [];
  /** The viewer's own choice; null: the server chooses by the bandwidth. @type {VideoLayer | null} */
  chosen = null;
  #kept;
  #reader = new PlaybackReader();
  /** @type {ServerEvents | null} */
  #events = null;
  /** The stream of a session that is about to take the place of another. @type {MediaStream | null} */
  #next = null;

  /** @param {PlayOptions} options */
  constructor({ url, token }) {
    super();
    this.#kept = new KeptSession(url, { token }, (pc) => this.#prepare(pc), (pc) => this.#show(pc));
    for (const type of /** @type {const} */ (['state', 'failed', 'closed'])) {
      this.#kept.on(type, (/** @type {any} */ detail) => this.emit(type, detail));
    }
    this.#kept.on('opened', (session) => this.#opened(session));
    this.#kept.on('closed', () => this.#events?.close());
  }

  /** Begins to watch. What comes of it is in the events. */
  start() {
    this.#kept.start();
  }

  close() {
    this.#kept.close();
  }

  get state() {
    return this.#kept.state;
  }

  /** The connection whose media is shown, if there is one. */
  get pc() {
    return this.#kept.playing?.pc ?? null;
  }

  /** Whether this server lets viewers choose a layer. */
  get canChoose() {
    return this.#layerUrl !== undefined;
  }

  /**
   * Chooses a layer, or leaves it to the server again.
   * @param {VideoLayer | null} layer one of {@link WhepPlayer.layers}
   */
  async choose(layer) {
    this.chosen = layer;
    await this.#applyChoice();
  }

  /** What is received at the moment, and how old it is when it is shown. Rates are between two calls. */
  stats() {
    return this.#reader.read(this.pc);
  }

  get #layerUrl() {
    return this.#kept.session?.links.find(({ rel }) => rel === LAYER_RELATION)?.url;
  }

  async #applyChoice() {
    const { session } = this.#kept;
    const url = this.#layerUrl;
    if (!session || !url) return;
    const { rid, spatialLayerId } = this.chosen ?? {};
    const mediaId = session.pc.getTransceivers().find(({ receiver }) => receiver.track.kind === 'video')?.mid;
    await session.ask(url, 'POST', { mediaId, ...(rid !== undefined && { rid }), ...(spatialLayerId !== undefined && { spatialLayerId }) });
  }

  /** @param {RTCPeerConnection} pc */
  #prepare(pc) {
    const stream = new MediaStream();
    for (const kind of /** @type {const} */ (['video', 'audio'])) {
      const transceiver = pc.addTransceiver(kind, { direction: 'recvonly' });
      pruneCodecs(transceiver, kind);
      stream.addTrack(transceiver.receiver.track);
    }
    if (this.pc && this.#kept.playing !== this.#kept.session) this.#next = stream;
    else this.emit('stream', stream);
  }

  /** Shows the stream of the session that takes the place of another, as soon as there is something to see. @param {RTCPeerConnection} pc */
  async #show(pc) {
    const stream = this.#next;
    const until = performance.now() + PICTURE_PATIENCE_MS;
    while (performance.now() < until && !(await hasPicture(pc))) await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    if (stream && stream === this.#next) this.emit('stream', stream);
    this.#next = null;
  }

  /** @param {import('./http-session.js').HttpSession} session */
  #opened(session) {
    this.#events?.close();
    const events = new ServerEvents(session);
    this.#events = events;
    events.on('active', () => this.emit('active', true));
    events.on('inactive', () => this.emit('active', false));
    events.on('viewercount', ({ viewercount }) => this.emit('viewers', viewercount));
    events.on('reconnect', ({ url }) => this.#kept.move(url));
    events.on('layers', (byLine) => this.#setLayers(byLine));
    events.start();
    // A choice outlives the session that it was made in; a layer that is gone is no reason to show nothing.
    if (this.chosen) this.#applyChoice().catch(() => {});
  }

  /** @param {Record<string, VideoLayer[]>} byLine */
  #setLayers(byLine) {
    const all = Object.values(byLine).flatMap((layers) => (Array.isArray(layers) ? layers : []));
    // Of the temporal layers of one picture, the one with all frames stands for it.
    /** @type {Map<string, VideoLayer>} */
    const pictures = new Map();
    for (const layer of all) {
      const key = `${layer.rid ?? ''}/${layer.spatialLayerId ?? ''}`;
      const best = pictures.get(key);
      if (!best || (layer.temporalLayerId ?? 0) > (best.temporalLayerId ?? 0)) pictures.set(key, layer);
    }
    this.layers = [...pictures.values()].sort((a, b) => size(b) - size(a));
    this.emit('layers', this.layers);
  }
}

/** @param {RTCPeerConnection} pc */
async function hasPicture(pc) {
  const reports = [...(await pc.getStats()).values()];
  return reports.some(({ type, framesDecoded }) => type === 'inbound-rtp' && framesDecoded > 0);
}

/** The order of layers by what is measured: their names say nothing about it. @param {VideoLayer} layer */
function size({ width = 0, height = 0, bitrate = 0 }) {
  return width * height * 1e9 + bitrate;
}
