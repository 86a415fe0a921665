//! Due times of everything that can happen by itself, in one heap: what isn't due is never looked at.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use crate::RoomId;
use crate::publish::{PeerKey, TrackKey};

/// What can happen by itself in a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// str0m wants to be driven: ICE, DTLS and SCTP retransmissions, RTCP, pacing.
    Drive(PeerKey),
    /// The last flight of a handshake leaves once more.
    Flight(PeerKey),
    /// A send lane has something to send, or to find out.
    Lane(PeerKey),
    /// A peer that has not connected, or has gone silent, may have to be ended.
    Watch(PeerKey),
    /// Rates, dynacast and waiting viewers of a track that sends.
    Track(TrackKey),
    /// A publisher may have to be asked for missing packets of a track.
    Nack(TrackKey),
    /// A keyframe request that was held back.
    Keyframe(TrackKey),
    /// Levels of a room in which somebody speaks.
    Speakers(RoomId),
}

/// A heap of due times. Entries are hints: whoever handles one checks whether it still holds, so
/// that nothing has to be searched for when something is put off.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Timer)>>,
}

impl Timers {
    pub(crate) fn schedule(&mut self, at: Instant, timer: Timer) {
        self.heap.push(Reverse((at, timer)));
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(Instant, Timer)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}
