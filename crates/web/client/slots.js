/**
 * Which track is in which slot. A slot is one recvonly m-line of the offer, into which the server switches tracks.
 */

/**
 * @typedef {import('./protocol.js').Kind} Kind
 * @typedef {import('./protocol.js').Why} Why
 * @typedef {import('./protocol.js').LayerInfo} LayerInfo
 * @typedef {{video?: import('./protocol.js').VideoSlotInfo[], audio?: import('./protocol.js').AudioSlotInfo[]}} Groups
 *
 * @typedef {object} Slot
 * @property {string} mid
 * @property {Kind} kind
 * @property {RTCRtpReceiver} receiver
 * @property {MediaStream} stream what to play; the same object for the slot's whole life
 * @property {string | null} track id of the track in it
 * @property {boolean} paused
 * @property {Why | ''} why empty for audio and for slots that were never used
 * @property {LayerInfo | null} layer
 */

export class Slots {
  /** @type {Map<string, Slot>} */
  #byMid = new Map();
  /** The newest of each group: it can come before the answer that names its mids has been applied. @type {Groups} */
  #groups = {};

  /**
   * Takes up the slots that an answer has given mids.
   * @param {RTCPeerConnection} pc
   * @returns {Slot[]} the new ones
   */
  declare(pc) {
    const added = [];
    for (const { mid, direction, receiver } of pc.getTransceivers()) {
      if (direction !== 'recvonly' || !mid || this.#byMid.has(mid)) continue;
      const slot = newSlot(mid, receiver);
      this.#byMid.set(mid, slot);
      added.push(slot);
    }
    if (added.length > 0) this.apply(this.#groups);
    return added;
  }

  /**
   * Applies a `slots` message; each group in it is complete.
   * @param {Groups} groups
   */
  apply({ video, audio }) {
    this.#groups = { video: video ?? this.#groups.video, audio: audio ?? this.#groups.audio };
    if (video) this.#assign('video', video);
    if (audio) this.#assign('audio', audio);
  }

  /** @param {string} track @returns {Slot | undefined} */
  of(track) {
    return this.all().find((slot) => slot.track === track);
  }

  all() {
    return [...this.#byMid.values()];
  }

  /**
   * @param {Kind} kind
   * @param {Array<{mid: string, track: string | null, paused?: boolean, why?: Why, layer?: LayerInfo | null}>} group
   */
  #assign(kind, group) {
    for (const slot of this.all()) {
      if (slot.kind !== kind) continue;
      const info = group.find(({ mid }) => mid === slot.mid);
      slot.track = info?.track ?? null;
      slot.paused = info?.paused ?? false;
      slot.why = info?.why ?? '';
      slot.layer = info?.layer ?? null;
    }
  }
}

/**
 * @param {string} mid
 * @param {RTCRtpReceiver} receiver
 * @returns {Slot}
 */
function newSlot(mid, receiver) {
  const kind = /** @type {Kind} */ (receiver.track.kind);
  const stream = new MediaStream([receiver.track]);
  return { mid, kind, receiver, stream, track: null, paused: false, why: '', layer: null };
}
