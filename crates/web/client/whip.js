/**
 * Publishing by WHIP (RFC 9725): one audio and one video track to one room.
 */
import { codecName, pruneCodecs } from './codecs.js';
import { addSender, cameraEncodings } from './encodings.js';
import { TypedEvents } from './events.js';
import { KeptSession } from './kept-session.js';
import { LOOK_EVERY_MS, TopLayer } from './top-layer.js';

/**
 * @typedef {import('./kept-session.js').SessionState} SessionState
 * @typedef {import('./errors.js').MadangError} MadangError
 *
 * @typedef {object} PublishOptions
 * @property {string} url the endpoint, such as `https://example.org/whip/garden`
 * @property {string} [token]
 * @property {MediaStreamTrack | null} [audio]
 * @property {MediaStreamTrack | null} [video]
 * @property {import('./codecs.js').VideoCodec} [codec] what to send; default VP8
 * @property {number} [maxBitrate] of the best layer, in bit/s; by default what fits the size of the picture
 * @property {boolean} [stereo] send the sound in stereo, for music; default false
 * @property {boolean} [simulcast] whether to send the picture in several sizes; default true
 *
 * @typedef {object} LayerStats
 * @property {string | null} rid
 * @property {number | null} width
 * @property {number | null} height
 * @property {number | null} fps
 * @property {number | null} bps
 * @property {string | null} codec
 * @property {string | null} limitedBy
 *
 * @typedef {{rttMs: number | null, audioBps: number | null, layers: LayerStats[]}} PublisherStats
 */

/**
 * Events: `state`; `failed` with why an attempt failed that is followed by another; `closed` with why it is over, null after
 * {@link WhipPublisher.close}.
 * @extends {TypedEvents<{state: SessionState, failed: MadangError, closed: MadangError | null}>}
 */
export class WhipPublisher extends TypedEvents {
  #options;
  #kept;
  /** Counters of the reading before, by report. @type {Map<string, {at: number, bytes: number}>} */
  #before = new Map();
  /** @type {TopLayer | null} */
  #top = null;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #looks;

  /** @param {PublishOptions} options */
  constructor(options) {
    super();
    this.#options = { ...options };
    this.#kept = new KeptSession(options.url, options, (pc) => this.#prepare(pc));
    for (const type of /** @type {const} */ (['state', 'failed', 'closed'])) {
      this.#kept.on(type, (/** @type {any} */ detail) => this.emit(type, detail));
    }
    this.#kept.on('closed', () => clearInterval(this.#looks));
  }

  /** Begins to publish. What comes of it is in the events. */
  start() {
    this.#kept.start();
    this.#looks = setInterval(() => this.#top?.look().catch(() => {}), LOOK_EVERY_MS);
  }

  /** Stops publishing. The tracks stay as they are. */
  close() {
    this.#kept.close();
  }

  get state() {
    return this.#kept.state;
  }

  /** The current connection, if there is one. */
  get pc() {
    return this.#kept.session?.pc ?? null;
  }

  /**
   * Sends another track of the same kind from now on, or with null nothing. A kind that was not there at the start needs a new
   * session: viewers see a short pause.
   * @param {'audio' | 'video'} kind
   * @param {MediaStreamTrack | null} track
   */
  async replaceTrack(kind, track) {
    this.#options[kind] = track;
    const transceiver = this.pc?.getTransceivers().find(({ receiver }) => receiver.track.kind === kind);
    if (transceiver) await transceiver.sender.replaceTrack(track);
    else if (track && this.pc) this.#kept.move();
  }

  /**
   * What is sent at the moment. Rates are between two calls.
   * @returns {Promise<PublisherStats>}
   */
  async stats() {
    /** @type {Map<string, Record<string, any>>} */
    const reports = new Map(await this.pc?.getStats());
    const all = [...reports.values()];
    const sent = all.filter(({ type }) => type === 'outbound-rtp');
    const pair = all.find(({ type, nominated, state }) => type === 'candidate-pair' && nominated && state === 'succeeded');
    const audio = sent.find(({ kind }) => kind === 'audio');
    const stats = {
      rttMs: pair?.currentRoundTripTime === undefined ? null : pair.currentRoundTripTime * 1000,
      audioBps: audio ? this.#bps(audio) : null,
      layers: sent
        .filter(({ kind }) => kind === 'video')
        .map((report) => this.#layer(report, reports))
        .sort((a, b) => (b.height ?? 0) - (a.height ?? 0)),
    };
    this.#before = new Map(sent.map(({ id, timestamp, bytesSent }) => [id, { at: timestamp, bytes: bytesSent }]));
    return stats;
  }

  /**
   * @param {Record<string, any>} report
   * @param {Map<string, Record<string, any>>} reports
   * @returns {LayerStats}
   */
  #layer(report, reports) {
    const codec = reports.get(report.codecId)?.mimeType;
    const reason = report.qualityLimitationReason;
    return {
      rid: report.rid ?? null,
      width: report.frameWidth ?? null,
      height: report.frameHeight ?? null,
      fps: report.framesPerSecond ?? null,
      bps: this.#bps(report),
      codec: codec ? codecName({ mimeType: codec }) : null,
      limitedBy: reason && reason !== 'none' ? reason : null,
    };
  }

  /** @param {Record<string, any>} report */
  #bps({ id, timestamp, bytesSent }) {
    const before = this.#before.get(id);
    const seconds = (timestamp - (before?.at ?? NaN)) / 1000;
    return seconds > 0 ? Math.round(((bytesSent - (before?.bytes ?? 0)) * 8) / seconds) : null;
  }

  /** @param {RTCPeerConnection} pc */
  #prepare(pc) {
    const { audio, video, codec } = this.#options;
    // RFC 9725 section 4.4.1: all tracks belong to one MediaStream.
    const streams = [new MediaStream([audio, video].flatMap((track) => track ?? []))];
    if (audio) pruneCodecs(pc.addTransceiver(audio, { direction: 'sendonly', streams }), 'audio');
    if (video) {
      const sendEncodings = this.#encodings(video);
      const transceiver = addSender(pc, video, { direction: 'sendonly', streams, sendEncodings });
      pruneCodecs(transceiver, 'video', { first: codec });
      this.#top = new TopLayer(transceiver.sender);
    }
  }

  /** @param {MediaStreamTrack} video */
  #encodings(video) {
    const { codec, maxBitrate, simulcast = true } = this.#options;
    const { width, height } = video.getSettings();
    const layers = cameraEncodings(codec, width, height);
    const scale = maxBitrate ? maxBitrate / (layers.at(-1)?.maxBitrate ?? maxBitrate) : 1;
    const wanted = simulcast ? layers : layers.slice(-1).map(({ maxBitrate: bps }) => ({ maxBitrate: bps }));
    return wanted.map((layer) => ({ ...layer, ...(layer.maxBitrate && { maxBitrate: Math.round(layer.maxBitrate * scale) }) }));
  }
}
