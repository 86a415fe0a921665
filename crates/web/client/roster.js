/**
 * Who is in the room and what they publish.
 */

/**
 * @typedef {import('./protocol.js').PeerInfo} PeerInfo
 * @typedef {import('./protocol.js').TrackInfo} TrackInfo
 * @typedef {import('./protocol.js').Snapshot} Snapshot
 *
 * @typedef {object} Participant
 * @property {string} id
 * @property {string} identity the same person has the same one in every session
 * @property {string} name
 * @property {unknown} meta
 * @property {boolean} local
 * @property {boolean} away publishes by WHIP, has lost its connection, and may come back as another participant
 * @property {number} level how loud, 0 to 127
 * @property {{score: number, why: string} | null} quality of the connection, 5 (excellent) to 1
 * @property {RemoteTrack[]} tracks empty for the local participant
 *
 * @typedef {object} RemoteTrack
 * @property {string} id
 * @property {Participant} participant
 * @property {import('./protocol.js').Kind} kind
 * @property {import('./protocol.js').Source} source
 * @property {boolean} muted
 * @property {number | null} width of the full picture
 * @property {number | null} height of the full picture
 * @property {string | null} codec
 * @property {string | null} profile the `profile-level-id` in an H.264 stream by WHIP
 * @property {string[]} warnings what its publisher should change: `no_keyframe_on_request`, `b_frames`, `h264_profile`
 *
 * @typedef {{added: Participant[], updated: Participant[], removed: Participant[]}} ParticipantsChange
 * @typedef {{added: RemoteTrack[], updated: RemoteTrack[], removed: RemoteTrack[]}} TracksChange
 */

export class Roster {
  /** @type {Participant} */
  local = newParticipant({ id: '', identity: '' }, true);
  /** Everybody else, in the order in which they came. @type {Map<string, Participant>} */
  participants = new Map();
  /** @type {Map<string, RemoteTrack>} */
  tracks = new Map();

  /**
   * Replaces everything by the server's state. Those who are still there keep their objects.
   * @param {Snapshot} snapshot
   * @returns {{participants: ParticipantsChange, tracks: TracksChange}}
   */
  replace({ you, peers, tracks }) {
    fill(this.local, you);
    const gone = missing(this.participants, peers);
    const goneTracks = missing(this.tracks, tracks);
    const removal = this.applyTracks({ del: goneTracks });
    const participants = this.applyPeers({ add: peers, del: gone });
    return { participants, tracks: { ...this.applyTracks({ add: tracks }), removed: removal.removed } };
  }

  /**
   * @param {{add?: PeerInfo[], upd?: PeerInfo[], del?: string[]}} message
   * @returns {ParticipantsChange}
   */
  applyPeers({ add = [], upd = [], del = [] }) {
    /** @type {ParticipantsChange} */
    const change = { added: [], updated: [], removed: [] };
    for (const info of [...add, ...upd]) {
      if (info.id === this.local.id) {
        change.updated.push(fill(this.local, info));
        continue;
      }
      const known = this.participants.get(info.id);
      const participant = known ? fill(known, info) : newParticipant(info, false);
      this.participants.set(info.id, participant);
      (known ? change.updated : change.added).push(participant);
    }
    for (const id of del) {
      const participant = this.participants.get(id);
      if (participant) change.removed.push(participant);
      this.participants.delete(id);
    }
    return change;
  }

  /**
   * @param {{add?: TrackInfo[], upd?: TrackInfo[], del?: string[]}} message
   * @returns {TracksChange}
   */
  applyTracks({ add = [], upd = [], del = [] }) {
    /** @type {TracksChange} */
    const change = { added: [], updated: [], removed: [] };
    for (const info of [...add, ...upd]) {
      const known = this.tracks.get(info.id);
      const participant = this.participants.get(info.peer);
      if (known) {
        change.updated.push(Object.assign(known, trackFields(info)));
      } else if (participant) {
        const track = { id: info.id, participant, ...trackFields(info) };
        this.tracks.set(info.id, track);
        participant.tracks.push(track);
        change.added.push(track);
      }
    }
    for (const id of del) {
      const track = this.tracks.get(id);
      if (!track) continue;
      this.tracks.delete(id);
      track.participant.tracks = track.participant.tracks.filter((other) => other !== track);
      change.removed.push(track);
    }
    return change;
  }

  /** @param {string} id @returns {Participant | undefined} */
  find(id) {
    return id === this.local.id ? this.local : this.participants.get(id);
  }

  everyone() {
    return [this.local, ...this.participants.values()];
  }
}

/**
 * @param {PeerInfo} info
 * @param {boolean} local
 * @returns {Participant}
 */
function newParticipant(info, local) {
  return fill({ id: '', identity: '', name: '', meta: null, local, away: false, level: 0, quality: null, tracks: [] }, info);
}

/**
 * @param {Participant} participant
 * @param {PeerInfo} info
 */
function fill(participant, { id, identity, name, meta, away }) {
  return Object.assign(participant, { id, identity, name: name || identity, meta: meta ?? null, away: away ?? false });
}

/** @param {TrackInfo} info */
function trackFields({ kind, source, muted, w, h, codec, profile, warnings }) {
  const size = { width: w ?? null, height: h ?? null };
  return { kind, source, muted, ...size, codec: codec ?? null, profile: profile ?? null, warnings: warnings ?? [] };
}

/**
 * @param {Map<string, unknown>} known
 * @param {{id: string}[]} now
 */
function missing(known, now) {
  const ids = new Set(now.map(({ id }) => id));
  return [...known.keys()].filter((id) => !ids.has(id));
}
