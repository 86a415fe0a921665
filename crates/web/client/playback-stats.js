/**
 * What a viewer receives, and how old it is when it is shown, from getStats.
 */

/**
 * @typedef {object} PlaybackStats
 * @property {boolean} flowing whether media has come since the last reading
 * @property {boolean} video whether there is a picture among it
 * @property {number | null} width
 * @property {number | null} height
 * @property {number | null} fps
 * @property {number | null} bps of sound and picture together
 * @property {number | null} rttMs
 * @property {number | null} bufferMs from the first packet of a frame to its picture: jitter buffer and decoding
 * @property {number | null} latencyMs from the server to the picture: half a round trip, and `bufferMs`
 */

/** The fields of RTCStats differ between browsers; what is missing is undefined. @typedef {Record<string, any>} Report */

export class PlaybackReader {
  /** @type {RTCPeerConnection | null} */
  #pc = null;
  /** The reports of the reading before, by id. @type {Map<string, Report>} */
  #before = new Map();

  /**
   * @param {RTCPeerConnection | null} pc
   * @returns {Promise<PlaybackStats>}
   */
  async read(pc) {
    if (pc !== this.#pc) [this.#pc, this.#before] = [pc, new Map()];
    /** @type {Report[]} */
    const all = [...((await pc?.getStats())?.values() ?? [])];
    const received = all.filter(({ type }) => type === 'inbound-rtp');
    const video = received.find(({ kind }) => kind === 'video');
    const audio = received.find(({ kind }) => kind === 'audio');
    const pair = all.find(({ type, nominated, state }) => type === 'candidate-pair' && nominated && state === 'succeeded');
    const rttMs = pair?.currentRoundTripTime === undefined ? null : pair.currentRoundTripTime * 1000;
    const videoFlows = this.#rise(video, 'framesDecoded') > 0;
    const bufferMs = this.#bufferMs(videoFlows ? video : audio);
    const rates = [video, audio].map((report) => this.#bps(report)).filter((bps) => bps !== null);
    const stats = {
      // Silence is sent too, if seldom: a second without any packet means that nobody sends.
      flowing: videoFlows || this.#rise(audio, 'packetsReceived') > 0,
      video: videoFlows,
      width: video?.frameWidth ?? null,
      height: video?.frameHeight ?? null,
      fps: video?.framesPerSecond ?? null,
      bps: rates.length > 0 ? rates.reduce((sum, bps) => sum + bps, 0) : null,
      rttMs,
      bufferMs,
      latencyMs: bufferMs === null || rttMs === null ? null : bufferMs + rttMs / 2,
    };
    this.#before = new Map(received.map((report) => [report.id, report]));
    return stats;
  }

  /** @param {Report | undefined} report */
  #bufferMs(report) {
    // The processing of a picture includes its time in the jitter buffer.
    const [time, count] = report?.totalProcessingDelay ? ['totalProcessingDelay', 'framesDecoded'] : ['jitterBufferDelay', 'jitterBufferEmittedCount'];
    const shown = this.#rise(report, count);
    return shown > 0 ? (this.#rise(report, time) / shown) * 1000 : null;
  }

  /** @param {Report | undefined} report */
  #bps(report) {
    const before = this.#before.get(report?.id);
    const seconds = (report?.timestamp - before?.timestamp) / 1000;
    return seconds > 0 ? Math.round((this.#rise(report, 'bytesReceived') * 8) / seconds) : null;
  }

  /**
   * @param {Report | undefined} report
   * @param {string} counter
   * @returns {number} by how much it has risen since the last reading; all of what has begun since then
   */
  #rise(report, counter) {
    const before = this.#before.get(report?.id);
    return (report?.[counter] ?? 0) - (before?.[counter] ?? 0);
  }
}
