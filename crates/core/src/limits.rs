//! Everything in a shard that a remote party can grow, and how far.

use std::time::Duration;

/// Limits of one shard. The configuration sets them in its section `[limits]`.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Peers of one shard. A join beyond it is refused.
    pub peers_per_worker: usize,
    /// Slots of one peer, audio and video together.
    pub slots_per_peer: usize,
    /// Tracks that one peer publishes.
    pub tracks_per_peer: usize,
    /// Simulcast layers of one track; media of further ones is dropped.
    pub layers_per_track: usize,
    /// Candidates that the remote side may trickle in one ICE generation.
    pub candidates_per_peer: usize,
    /// How long ICE and DTLS may take after a join, and ICE after a restart.
    pub connect_timeout: Duration,
    /// How long a peer may be silent before it is ended (RFC 7675 consent is 30 s).
    pub consent_timeout: Duration,
    /// Size of a message on the data channel, in bytes.
    pub data_message_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            peers_per_worker: 20_000,
            slots_per_peer: 64,
            tracks_per_peer: 8,
            layers_per_track: 4,
            candidates_per_peer: 64,
            connect_timeout: Duration::from_secs(30),
            consent_timeout: Duration::from_secs(30),
            data_message_bytes: 16 * 1024,
        }
    }
}

/// RTP payloads above this are dropped at the door and counted: what the server adds (header
/// extensions, RTX, SRTP tag) would push them past the path's MTU, and str0m panics on a packet of
/// more than 2,000 bytes.
pub const RTP_PAYLOAD_BYTES_MAX: usize = 1_400;

/// Media sections of an offer or answer: the most slots and tracks that configuration allows, and a data channel.
pub const MEDIA_SECTIONS_MAX: usize = 256 + 64 + 1;

/// Codecs and header extensions of m-lines that a thread keeps parsed: those of a few versions of each browser, for sending and for
/// receiving, audio and video. Longer ones are parsed each time: a browser has 6 KiB.
pub const FORMATS_KEPT_MAX: usize = 32;
pub const FORMATS_BYTES_MAX: usize = 16 * 1024;

/// Packets of one layer that wait for the structure which their dependency descriptors refer to. A keyframe of a
/// small layer has fewer, and one of a large layer is asked for again.
pub const UNREAD_PACKETS_MAX: usize = 128;

/// Changes of its slots that a peer keeps, for whoever asks how they came about.
pub const CHANGES_KEPT_MAX: usize = 30;

/// What is kept of one layer whose encoder sends keyframes when it likes, from its newest keyframe on: whoever comes
/// starts with that. OBS at 6 Mbit/s with a keyframe every 4 s has 3 MB in 2,500 packets; of what has more, newcomers
/// wait for the next keyframe.
pub const PICTURE_BYTES_MAX: usize = 4 * 1024 * 1024;
pub const PICTURE_PACKETS_MAX: usize = 4_096;

/// The largest datagram that a peer may send; longer ones are dropped before they are parsed.
pub const DATAGRAM_BYTES_MAX: usize = 1_500;

/// SSRCs of one peer that are told apart by their payload types. Each costs a stream in str0m; an encoder that starts over
/// takes a new one.
pub const UNMARKED_STREAMS_MAX: usize = 32;

/// Missing packets of one stream that its publisher is asked for. More is a longer hole than anybody wants filled: a keyframe is
/// there sooner. They fit into one datagram.
pub const NACKED_PACKETS_MAX: usize = 256;

/// How often a publisher is asked for a packet. More finds an answer on the worst links, and fills up those that have failed.
pub const NACK_ATTEMPTS_MAX: u8 = 10;

const _: () = assert!(RTP_PAYLOAD_BYTES_MAX < DATAGRAM_BYTES_MAX);
