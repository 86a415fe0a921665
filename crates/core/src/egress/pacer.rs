//! When packets of one peer leave: audio at once, the rest at a rate, in short bursts.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::PayloadTypes;
use crate::publish::Packet;
use crate::rewrite::Rewritten;

/// How far ahead of its rate a peer may be sent to. Longer bursts make longer runs for GSO, and fewer wake-ups;
/// they also stand longer in the queue of a narrow link: 10 ms at 500 kbit/s are one packet.
const BURST: Duration = Duration::from_millis(10);
/// What waits leaves within this, whatever the rate: a picture that is older is worth nothing, and a rate that
/// is too low for its layer is the allocator's to mend.
const QUEUE_SECONDS_MAX: u64 = 1;
/// But no faster than that: a picture that has been kept for a newcomer may be some megabytes long. Higher loses more of
/// it on the way, lower is longer behind.
const DRAIN_BPS_MAX: u64 = 16_000_000;
/// A keyframe of 1 MB, beside pictures that had been kept, which the store bounds. What comes on top is dropped and
/// counted; the receiver asks for it again.
const QUEUE_PACKETS_MAX: usize = 1_024;
/// Resends that wait; a receiver that asks for more has lost its picture, and gets a keyframe.
const RESENDS_MAX: usize = 256;
/// What has waited for longer when a keyframe comes is given up. Less would drop frames that are but a moment late,
/// more keeps the first small picture on a link that has become narrow waiting behind a large one.
const STALE: Duration = Duration::from_millis(150);
const BITS: u64 = 8;

/// A packet on its way out.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) slot: usize,
    pub(crate) payload_types: PayloadTypes,
    pub(crate) packet: Arc<Packet>,
    pub(crate) rewritten: Rewritten,
    /// By RTX.
    pub(crate) resend: bool,
    /// It is part of a picture that had been kept for whoever comes.
    pub(crate) kept: bool,
    /// It is part of the first picture of its slot.
    pub(crate) opening: bool,
}

impl Outgoing {
    fn bytes(&self) -> usize {
        self.packet.payload.len() + OVERHEAD_BYTES
    }
}

/// What a packet takes on the wire beside its payload: RTP header with extensions, and the SRTP tag.
pub(crate) const OVERHEAD_BYTES: usize = 44;

#[derive(Debug)]
pub(crate) struct Pacer {
    /// When all that has left would be through, at the rate it left with.
    free_at: Instant,
    /// First pictures of slots: each is worth more than what goes on with others.
    opening: VecDeque<Outgoing>,
    media: VecDeque<Outgoing>,
    resends: VecDeque<Outgoing>,
    queued_bytes: usize,
    /// Packets of both that had been kept.
    kept: usize,
}

impl Pacer {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            free_at: now,
            opening: VecDeque::new(),
            media: VecDeque::new(),
            resends: VecDeque::new(),
            queued_bytes: 0,
            kept: 0,
        }
    }

    /// False where there is no room for it.
    pub(crate) fn push(&mut self, outgoing: Outgoing) -> bool {
        let kept = outgoing.kept;
        let (queue, limit) = if outgoing.resend {
            (&mut self.resends, RESENDS_MAX)
        } else if outgoing.opening {
            (&mut self.opening, QUEUE_PACKETS_MAX + self.kept)
        } else {
            (&mut self.media, QUEUE_PACKETS_MAX + self.kept)
        };
        if queue.len() >= limit && !kept {
            return false;
        }
        self.kept += usize::from(kept);
        self.queued_bytes += outgoing.bytes();
        queue.push_back(outgoing);
        true
    }

    /// Drops what waits in a slot before a keyframe, where that has waited for long and is most of what waits; how many
    /// packets.
    pub(crate) fn give_up(&mut self, now: Instant, slot: usize) -> u64 {
        let media = self.opening.iter().chain(&self.media);
        let mut waiting = media.filter(|outgoing| outgoing.slot == slot).peekable();
        let is_stale = waiting
            .peek()
            .is_some_and(|oldest| now.saturating_duration_since(oldest.packet.arrived) > STALE);
        // Behind what others wait for, the keyframe would come hardly sooner, and the picture stand still until then.
        if is_stale && waiting.map(Outgoing::bytes).sum::<usize>() * 2 > self.queued_bytes {
            self.drop_slot(slot)
        } else {
            0
        }
    }

    /// Drops what waits in a slot; how many packets.
    pub(crate) fn drop_slot(&mut self, slot: usize) -> u64 {
        let mut dropped = 0;
        for queue in [&mut self.opening, &mut self.media, &mut self.resends] {
            queue.retain(|outgoing| {
                let goes = outgoing.slot == slot;
                if goes {
                    self.kept -= usize::from(outgoing.kept);
                    self.queued_bytes = self.queued_bytes.saturating_sub(outgoing.bytes());
                    dropped += 1;
                }
                !goes
            });
        }
        dropped
    }

    /// What leaves next has waited for long.
    pub(crate) fn is_behind(&self, now: Instant) -> bool {
        let mut oldest = self.opening.front().into_iter().chain(self.media.front());
        oldest.any(|next| now.saturating_duration_since(next.packet.arrived) > STALE)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.opening.is_empty() && self.media.is_empty() && self.resends.is_empty()
    }

    /// The next packet that may leave now.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Outgoing> {
        if !self.may_burst(now) {
            return None;
        }
        let outgoing = self
            .resends
            .pop_front()
            .or_else(|| self.opening.pop_front())
            .or_else(|| self.media.pop_front())?;
        self.kept -= usize::from(outgoing.kept);
        self.queued_bytes = self.queued_bytes.saturating_sub(outgoing.bytes());
        Some(outgoing)
    }

    /// Whether a packet may leave now.
    pub(crate) fn may_burst(&self, now: Instant) -> bool {
        self.is_free(now, BURST)
    }

    /// Whether what has left is through, but for a burst of this length.
    pub(crate) fn is_free(&self, now: Instant, burst: Duration) -> bool {
        self.free_at <= now + burst
    }

    /// Something has left.
    pub(crate) fn sent(&mut self, now: Instant, bytes: usize, rate_bps: u64) {
        let drain_bps = self.queued_bytes as u64 * BITS / QUEUE_SECONDS_MAX;
        let rate = rate_bps.max(drain_bps.min(DRAIN_BPS_MAX)).max(1);
        let nanos = (bytes as u64 * BITS).saturating_mul(1_000_000_000) / rate;
        self.free_at = self.free_at.max(now) + Duration::from_nanos(nanos);
    }

    /// When the next packet may leave; `None` while nothing waits.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        (!self.is_empty()).then(|| self.after(now, BURST))
    }

    /// When there is room for something after a burst.
    pub(crate) fn after(&self, now: Instant, burst: Duration) -> Instant {
        self.free_at.checked_sub(burst).unwrap_or(now).max(now)
    }
}
