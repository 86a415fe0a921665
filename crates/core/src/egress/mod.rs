//! The one interface through which RTP leaves; nothing outside this module knows how a packet is written.
//!
//! Two makers stand behind it. The lane is our own: header, SRTP, pacing, bandwidth estimation and
//! retransmission of a peer, straight into the outbox. The engine is str0m's send path.

mod engine;
mod estimate;
mod header;
mod lane;
mod pacer;
mod redundancy;
mod rtcp;
mod srtp;
mod stream;
mod twcc;
mod wallclock;

use std::time::Instant;

use str0m::Rtc;
use str0m::media::{Mid, Pt};

pub(crate) use engine::write as write_to_engine;
pub(crate) use lane::{Heard, Lane, Route};
pub(crate) use pacer::OVERHEAD_BYTES;
pub(crate) use rtcp::is_rtcp;
pub use wallclock::Wallclock;

use crate::publish::Packet;

/// Who makes the datagrams of a peer's slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SendPath {
    /// Madang's own.
    #[default]
    Lane,
    /// str0m's, for comparison.
    Engine,
}

/// The send path of one peer.
#[derive(Debug)]
pub(crate) enum Egress {
    Lane(Box<Lane>),
    Engine,
}

impl Egress {
    pub(crate) fn lane(&mut self) -> Option<&mut Lane> {
        match self {
            Self::Lane(lane) => Some(lane),
            Self::Engine => None,
        }
    }

    /// The same for a look without touching it.
    pub(crate) fn as_lane(&self) -> Option<&Lane> {
        match self {
            Self::Lane(lane) => Some(lane),
            Self::Engine => None,
        }
    }

    /// Takes over the stream that a slot has been given, with its SSRCs. Called after each round of SDP.
    pub(crate) fn adopt(&mut self, now: Instant, rtc: &mut Rtc, slot: usize, mid: Mid) {
        match self {
            Self::Lane(lane) => lane.adopt(now, rtc, slot, mid),
            Self::Engine => engine::prepare(rtc, mid),
        }
    }

    /// Takes all streams of slots out of the media engine.
    pub(crate) fn reclaim(&self, rtc: &mut Rtc) {
        if let Self::Lane(lane) = self {
            lane.reclaim(rtc);
        }
    }

    /// Gives the streams back to the media engine for a round of SDP, which tells the client of their SSRCs.
    pub(crate) fn declare(&self, rtc: &mut Rtc) {
        if let Self::Lane(lane) = self {
            lane.declare(rtc);
        }
    }
}

/// The receiver's payload types for a packet's codec.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PayloadTypes {
    pub(crate) plain: Pt,
    pub(crate) red: Option<Pt>,
    pub(crate) rtx: Option<Pt>,
}

impl PayloadTypes {
    /// The payload type for this packet, and where in the payload to start: RED is unwrapped for those who did
    /// not negotiate it. The blocks inside name their payload type as the publisher numbers it.
    fn choose(&self, packet: &Packet) -> (Pt, usize) {
        match (packet.red, self.red) {
            (None, _) => (self.plain, 0),
            (Some(red), Some(pt)) if red.inner == self.plain => (pt, 0),
            (Some(red), _) => (self.plain, red.primary_at),
        }
    }
}
