//! The one interface through which RTP leaves; nothing outside this module knows how a packet is written.
//!
//! Behind it stands the lane of each peer: header, SRTP, pacing, bandwidth estimation and retransmission, straight
//! into the outbox. str0m, which has a send path of its own, sends no RTP: its cost per packet grows with a peer's
//! m-lines, and its pacer wakes up for each packet.

mod estimate;
mod header;
mod lane;
mod nack_sender;
mod pacer;
mod patience;
mod reception;
mod redundancy;
mod resent;
mod rtcp;
mod srtp;
mod stream;
mod twcc;
mod unheard;
mod uplink;
mod wallclock;

use str0m::media::Pt;

pub(crate) use lane::{Heard, Lane, Route};
pub use nack_sender::NackSender;
pub(crate) use pacer::OVERHEAD_BYTES;
pub(crate) use rtcp::is_rtcp;
pub use uplink::{UplinkEstimator, UplinkProbe};
pub use wallclock::Wallclock;

use crate::publish::Packet;

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
