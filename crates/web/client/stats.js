/**
 * Numbers per slot and per sent layer, from getStats. Rates are between two calls of {@link StatsReader.read}.
 */

/**
 * @typedef {object} ReceivedStats
 * @property {string} mid
 * @property {import('./protocol.js').Kind} kind
 * @property {string | null} track
 * @property {string} why
 * @property {string | null} layer rid of the forwarded layer
 * @property {string | null} codec
 * @property {number | null} width
 * @property {number | null} height
 * @property {number | null} fps
 * @property {number | null} bps
 * @property {number} framesDecoded
 * @property {number} keyFramesDecoded
 * @property {number} packetsReceived
 * @property {number} packetsLost
 * @property {number | null} loss part of the packets since the last read, 0 to 1
 * @property {number | null} jitterMs
 * @property {number} freezeCount
 * @property {number} nackCount
 * @property {number} pliCount
 * @property {number | null} audioLevel 0 to 1
 * @property {number | null} totalAudioEnergy
 *
 * @typedef {object} SentStats
 * @property {string | null} mid
 * @property {string} source
 * @property {string | null} track
 * @property {string | null} rid
 * @property {boolean} active
 * @property {string | null} codec
 * @property {number | null} width
 * @property {number | null} height
 * @property {number | null} fps
 * @property {number | null} bps
 * @property {number} framesEncoded
 * @property {number} packetsSent
 * @property {number} nackCount
 * @property {number} pliCount
 * @property {string | null} qualityLimitationReason
 *
 * @typedef {object} ConnectionStats
 * @property {number | null} rttMs
 * @property {string | null} localCandidate for example `host udp`
 * @property {string | null} remoteCandidate
 * @property {number | null} availableOutgoingBps
 * @property {number | null} sentBps
 * @property {number | null} receivedBps
 *
 * @typedef {{at: number, connection: ConnectionStats, received: ReceivedStats[], sent: SentStats[]}} RoomStats
 */

/** The fields of RTCStats differ between browsers; what is missing is undefined. @typedef {Record<string, any>} Report */

export class StatsReader {
  /** Counters of the read before, by the id of their report. @type {Map<string, {at: number, report: Report}>} */
  #before = new Map();
  /** When that was. A report that was not there has counted from nothing since. @type {number | null} */
  #readAt = null;
  /** @type {RTCPeerConnection | null} */
  #pc = null;

  /**
   * @param {RTCPeerConnection} pc
   * @param {import('./slots.js').Slot[]} slots
   * @param {Array<{source: string, id: string | null, transceiver: RTCRtpTransceiver}>} publications
   * @returns {Promise<RoomStats>}
   */
  async read(pc, slots, publications) {
    /** @type {Map<string, Report>} */
    const reports = new Map(await pc.getStats());
    const all = [...reports.values()];
    if (this.#pc !== pc) [this.#pc, this.#readAt, this.#before] = [pc, null, new Map()];
    const stats = {
      at: Date.now(),
      connection: this.#connection(reports, all),
      received: slots.map((slot) => this.#received(slot, reports, all)),
      sent: publications.flatMap((publication) => this.#sent(publication, reports, all)),
    };
    this.#before = new Map(all.map((report) => [report.id, { at: report.timestamp, report }]));
    this.#readAt = Math.max(...all.map(({ timestamp }) => timestamp));
    return stats;
  }

  /**
   * @param {Map<string, Report>} reports
   * @param {Report[]} all
   * @returns {ConnectionStats}
   */
  #connection(reports, all) {
    const transport = all.find(({ type }) => type === 'transport');
    const pair =
      reports.get(transport?.selectedCandidatePairId) ??
      all.find(({ type, nominated, state }) => type === 'candidate-pair' && nominated && state === 'succeeded');
    return {
      rttMs: milliseconds(pair?.currentRoundTripTime),
      localCandidate: candidateWords(reports.get(pair?.localCandidateId)),
      remoteCandidate: candidateWords(reports.get(pair?.remoteCandidateId)),
      availableOutgoingBps: pair?.availableOutgoingBitrate ?? null,
      sentBps: this.#bps(pair, 'bytesSent'),
      receivedBps: this.#bps(pair, 'bytesReceived'),
    };
  }

  /**
   * @param {import('./slots.js').Slot} slot
   * @param {Map<string, Report>} reports
   * @param {Report[]} all
   * @returns {ReceivedStats}
   */
  #received(slot, reports, all) {
    const report = all.find(({ type, mid }) => type === 'inbound-rtp' && mid === slot.mid);
    return {
      mid: slot.mid,
      kind: slot.kind,
      track: slot.track,
      why: slot.why,
      layer: slot.layer?.rid ?? null,
      codec: mimeName(reports.get(report?.codecId)),
      width: report?.frameWidth ?? null,
      height: report?.frameHeight ?? null,
      fps: report?.framesPerSecond ?? null,
      bps: this.#bps(report, 'bytesReceived'),
      framesDecoded: report?.framesDecoded ?? 0,
      keyFramesDecoded: report?.keyFramesDecoded ?? 0,
      packetsReceived: report?.packetsReceived ?? 0,
      packetsLost: report?.packetsLost ?? 0,
      loss: this.#loss(report),
      jitterMs: milliseconds(report?.jitter),
      freezeCount: report?.freezeCount ?? 0,
      nackCount: report?.nackCount ?? 0,
      pliCount: report?.pliCount ?? 0,
      audioLevel: report?.audioLevel ?? null,
      totalAudioEnergy: report?.totalAudioEnergy ?? null,
    };
  }

  /**
   * @param {{source: string, id: string | null, transceiver: RTCRtpTransceiver}} publication
   * @param {Map<string, Report>} reports
   * @param {Report[]} all
   * @returns {SentStats[]}
   */
  #sent({ source, id, transceiver }, reports, all) {
    const { mid } = transceiver;
    const layers = all.filter((report) => report.type === 'outbound-rtp' && mid !== null && report.mid === mid);
    return layers.map((report) => ({
      mid,
      source,
      track: id,
      rid: report.rid ?? null,
      active: report.active ?? true,
      codec: mimeName(reports.get(report.codecId)),
      width: report.frameWidth ?? null,
      height: report.frameHeight ?? null,
      fps: report.framesPerSecond ?? null,
      bps: this.#bps(report, 'bytesSent'),
      framesEncoded: report.framesEncoded ?? 0,
      packetsSent: report.packetsSent ?? 0,
      nackCount: report.nackCount ?? 0,
      pliCount: report.pliCount ?? 0,
      qualityLimitationReason: report.qualityLimitationReason ?? null,
    }));
  }

  /**
   * @param {Report | undefined} report
   * @param {string} counter in bytes
   */
  #bps(report, counter) {
    const before = this.#readBefore(report);
    const seconds = (report?.timestamp - (before?.at ?? NaN)) / 1000;
    const bytes = report?.[counter] - (before?.report[counter] ?? 0);
    return seconds > 0 && bytes >= 0 ? Math.round((bytes * 8) / seconds) : null;
  }

  /** @param {Report | undefined} report */
  #loss(report) {
    const before = this.#readBefore(report)?.report;
    if (!before) return null;
    const lost = report?.packetsLost - (before.packetsLost ?? 0);
    const received = report?.packetsReceived - (before.packetsReceived ?? 0);
    return lost + received > 0 ? Math.max(0, lost) / (lost + received) : null;
  }

  /** @param {Report | undefined} report @returns {{at: number, report: Report} | undefined} none at the first read */
  #readBefore(report) {
    const before = this.#before.get(report?.id);
    return before ?? (this.#readAt === null ? undefined : { at: this.#readAt, report: {} });
  }
}

/** @param {number | undefined} seconds */
function milliseconds(seconds) {
  return seconds === undefined ? null : seconds * 1000;
}

/** @param {Report | undefined} codec */
function mimeName(codec) {
  return codec?.mimeType?.split('/')[1] ?? null;
}

/** @param {Report | undefined} candidate */
function candidateWords(candidate) {
  return candidate ? `${candidate.candidateType} ${candidate.protocol}` : null;
}
