//! Everything in the control plane that a remote party can grow or hold up, and how far.

use std::time::Duration;

use serde_json::Value;

use crate::protocol::{ErrorCode, Fault};

/// Limits of one node's signalling. The configuration sets them in its sections
/// `[limits]` and `[rooms]`.
#[derive(Debug, Clone)]
pub struct Limits {
    /// From the WebSocket's opening to its first frame, and from an HTTP request's head to the end of its body: clients that
    /// say nothing.
    pub first_frame_timeout: Duration,
    /// From an accepted `join` or `offer` to its answer: a media worker that hangs.
    pub answer_timeout: Duration,
    /// From an accepted `join` to the media's being connected, as the media engine has it: an offer of this server is good for
    /// this long.
    pub connect_timeout: Duration,
    /// Without any frame for this long a WebSocket is taken for dead.
    pub idle_timeout: Duration,
    /// One write to a WebSocket: clients that do not read.
    pub write_timeout: Duration,

    /// Size of a `join`, `resume` or `offer` frame, in bytes: an offer with 49 slots has 81 KB.
    pub offer_frame_bytes: usize,
    /// Size of any other frame, in bytes.
    pub frame_bytes: usize,
    /// Size of a relayed `msg`, in bytes; a data channel message holds 16 KiB.
    pub message_bytes: usize,
    /// Frames of one session: sustained rate, and how many may come at once after a pause.
    pub frames_per_second: u32,
    pub frames_burst: u32,
    /// What one participant's messages, and changes of its name and metadata, may take on the way to all who get them, in bytes:
    /// sustained rate, and how much may come at once after a pause.
    pub relayed_bytes_per_second: u32,
    pub relayed_bytes_burst: u32,

    /// Rooms of this node.
    pub rooms: usize,
    /// Participants of one room, those included that are joining.
    pub participants_per_room: usize,
    /// Viewers of one room, who come by WHEP: however many they are, the participants find their places.
    pub viewers_per_room: usize,
    /// Tracks that one participant publishes.
    pub tracks_per_participant: usize,
    /// Slots of one participant, audio and video together.
    pub slots_per_participant: usize,
    /// Tiles and pinned tracks of one `view`.
    pub tiles_per_view: usize,

    /// Sessions of one client address (one /64 for IPv6), those included whose WebSocket is away.
    /// A school or office behind one address needs a high value.
    pub sessions_per_address: usize,
    /// WebSockets of one client address, those included that have not joined.
    pub websockets_per_address: usize,
    /// `join` and `resume` attempts of one client address: the cost of tokens and offers.
    pub joins_per_second_per_address: u32,
    pub joins_burst_per_address: u32,

    /// Requests of one client address about WHIP and WHEP sessions that are there; also all WHIP and WHEP requests with one
    /// token.
    pub requests_per_second_per_address: u32,
    pub requests_burst_per_address: u32,

    /// Frames that wait for one WebSocket. A client that lets it fill up is disconnected and may resume.
    pub outgoing_frames: usize,
    /// Events that a session keeps for a `resume`, by number and by size in bytes.
    pub replay_frames: usize,
    pub replay_bytes: usize,

    /// Size of a display name, identity, room name or topic, in bytes.
    pub name_bytes: usize,
    /// Size of a participant's metadata or client description as JSON, in bytes.
    pub meta_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            first_frame_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(10),
            offer_frame_bytes: 256 * 1024,
            frame_bytes: 16 * 1024,
            message_bytes: 15 * 1024,
            frames_per_second: 50,
            frames_burst: 200,
            // A line of chat to 500 people is 100 KB; the largest message to all of them is 7.5 MB.
            relayed_bytes_per_second: 2_000_000,
            relayed_bytes_burst: 16_000_000,
            rooms: 10_000,
            participants_per_room: 500,
            viewers_per_room: 500,
            tracks_per_participant: 8,
            slots_per_participant: 64,
            tiles_per_view: 256,
            sessions_per_address: 500,
            websockets_per_address: 1_000,
            joins_per_second_per_address: 20,
            joins_burst_per_address: 500,
            requests_per_second_per_address: 100,
            requests_burst_per_address: 1_000,
            outgoing_frames: 256,
            replay_frames: 256,
            replay_bytes: 128 * 1024,
            name_bytes: 256,
            meta_bytes: 4 * 1024,
        }
    }
}

impl Limits {
    /// Refuses a name, identity or topic that is over its limit. `what` names it in the error.
    pub(crate) fn check_name(&self, what: &str, name: &str) -> Result<(), Fault> {
        within(what, name.len(), self.name_bytes)
    }

    /// Refuses metadata that is over its limit.
    pub(crate) fn check_meta(&self, what: &str, meta: &Value) -> Result<(), Fault> {
        within(what, meta.to_string().len(), self.meta_bytes)
    }

    /// Refuses a message to relay that is over its limit.
    pub(crate) fn check_message(&self, text: &str) -> Result<(), Fault> {
        within("the message", text.len(), self.message_bytes)
    }
}

fn within(what: &str, found: usize, limit: usize) -> Result<(), Fault> {
    if found <= limit {
        return Ok(());
    }
    Err(Fault::new(
        ErrorCode::TooLarge,
        format!("{what} has {found} bytes, the limit is {limit}"),
    ))
}

/// Keys of HS256 have at least the size of its hash (RFC 7518 section 3.2).
pub const KEY_SECRET_BYTES_MIN: usize = 32;

/// Clocks of token servers may be this far off, in seconds.
pub(crate) const TOKEN_LEEWAY_SECONDS: u64 = 30;

/// Size of a token, in bytes: a session keeps what its token says, to sign it anew.
pub(crate) const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// A token that is good for a shorter time is meant for one join, and is not signed anew.
pub(crate) const TOKEN_LIFETIME_SECONDS_MIN: u64 = 10;

/// A token that is signed anew is good for as long as the first one was, but not for longer than
/// this: who has been removed from a room must not keep a way in for years.
pub(crate) const TOKEN_LIFETIME_SECONDS_MAX: u64 = 24 * 60 * 60;

/// Tokens that one round of housekeeping signs, at microseconds each under the hub's lock; the rest
/// waits for the next round.
pub(crate) const TOKENS_PER_ROUND_MAX: usize = 1_000;

/// A mid as RFC 8843 has it is short; the media engine keeps this many bytes.
pub(crate) const MID_BYTES_MAX: usize = 16;

/// Simulcast layers of one track, and the size of a rid (RFC 8852), in bytes.
pub(crate) const RIDS_PER_TRACK_MAX: usize = 4;
pub(crate) const RID_BYTES_MAX: usize = 8;

/// Clients that a drain sends away come back spread over this time, so that the node that takes
/// them over is not hit by all at once. Longer means a gentler load and a longer gap in the call.
pub(crate) const DRAIN_SPREAD: Duration = Duration::from_secs(3);

/// Frames this much over their limit are still read, so that they get an error; larger ones end the WebSocket.
pub(crate) const FRAME_BYTES_SLACK: usize = 64 * 1024;

/// A WebSocket's buffer for reading, which every read zeroes: with tungstenite's own choice, 128 KiB, this was
/// most of what an idle session cost. Smaller would make an offer (10 to 30 KiB) more reads.
pub(crate) const READ_BUFFER_BYTES: usize = 8 * 1024;

/// After its close frame a WebSocket is read for this long, so that the client sees the close and not
/// a reset connection.
pub(crate) const CLOSE_LINGER: Duration = Duration::from_secs(2);

/// Data channel messages that wait for a busy worker; more are dropped, as that channel's messages may be.
pub(crate) const DATA_WAITING_MAX: usize = 1_024;

/// Questions how a participant does that wait for their answers, of all administrators together: each costs a worker
/// about as much as a new view does.
pub(crate) const EXPLANATIONS_WAITING_MAX: usize = 64;

/// Tracks of one room whose publishers have gone and may come back to them; the oldest give way. As many publishers are
/// shown as being away.
pub(crate) const TRACKS_LEFT_MAX: usize = 64;

/// Streams of events of one viewer, each with one listener: a player has one, and another after its connection broke.
pub(crate) const EVENT_STREAMS_MAX: usize = 4;

/// Events that wait for one stream; one that is behind further misses some.
pub(crate) const EVENTS_WAITING_MAX: usize = 32;

/// Size of the small JSON bodies of WHEP extensions, in bytes.
pub(crate) const EXTENSION_BODY_BYTES_MAX: usize = 4 * 1024;

/// How often gauges are set and the table of addresses that have joined lately is tidied.
pub(crate) const HOUSEKEEPING: Duration = Duration::from_secs(1);
