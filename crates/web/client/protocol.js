/**
 * The shapes of `madang.v1` that this library reads and writes. `docs/protocol.md` is the reference.
 */

export const SUBPROTOCOL = 'madang.v1';
export const VERSION = 1;
export const CLIENT = 'madang-js/0.1.0';

/** Slots in the first offer; the server asks for more with `need_slots`. */
export const FIRST_SLOTS = Object.freeze({ audio: 3, video: 9 });

/** The most slots that a client agrees to, whatever the server asks for. */
export const MAX_SLOTS = Object.freeze({ audio: 15, video: 49 });

/**
 * @typedef {'audio' | 'video'} Kind
 * @typedef {'microphone' | 'camera' | 'screen' | 'screen_audio'} Source
 * @typedef {'live' | 'muted' | 'no_bandwidth' | 'no_keyframe' | 'not_visible' | 'publisher_gone' | 'no_common_codec'} Why
 *
 * @typedef {{id: string, identity: string, name?: string | null, meta?: unknown, away?: boolean}} PeerInfo
 * @typedef {{id: string, peer: string, kind: Kind, source: Source, muted: boolean, w?: number | null, h?: number | null,
 *   rids?: string[], codec?: string | null, profile?: string, warnings?: string[]}} TrackInfo
 * @typedef {{rid: string | null, w: number, h: number}} LayerInfo
 * @typedef {{mid: string, track: string | null, paused: boolean, why: Why, layer: LayerInfo | null}} VideoSlotInfo
 * @typedef {{mid: string, track: string | null, level?: number}} AudioSlotInfo
 * @typedef {{mid: string, kind: Kind}} SlotLine
 * @typedef {{publish: Source[], subscribe: boolean, data: boolean, update_own: boolean, hidden: boolean, recorder: boolean,
 *   admin: boolean, p2p: boolean}} Grants
 * @typedef {{name: string, locked: boolean, max: number | null}} RoomInfo
 * @typedef {{rid: string | null, active: boolean, max_bps?: number | null, max_height?: number | null,
 *   max_fps?: number | null}} LayerRequest
 *
 * @typedef {{you: PeerInfo, peers: PeerInfo[], tracks: TrackInfo[], grants: Grants, room: RoomInfo, slots: SlotLine[]}} Snapshot
 * @typedef {Snapshot & {session: string, secret: string, resume_ttl: number, answer: string, ice_servers: RTCIceServer[],
 *   ping_ms: number, codecs: string[]}} Joined
 * @typedef {{s: number, answer?: string, full?: Snapshot}} Resumed
 * @typedef {{code: string, msg?: string, action: 'none' | 'resume' | 'rejoin', url?: string, after_ms?: number}} Bye
 *
 * @typedef {{track: string, w: number, h: number, prio?: number, min_h?: number, fps?: number}} TileWish
 * @typedef {{mode: 'loudest', pin?: string[]} | {mode: 'list', tracks: string[]}} AudioWish
 */
