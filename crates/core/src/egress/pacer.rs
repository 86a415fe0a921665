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
/// Keyframes that take longer than this at the rate that the path carries leave no faster than that. More is a longer queue
/// on the path: a third of it, where bursts leave at 1.5 times the rate. Less makes the frames of whole rooms late where the
/// path carries more than is known.
const LARGE: Duration = Duration::from_millis(250);
/// And so does what has come behind them, until all that waits takes no more than this.
const SMALL: Duration = Duration::from_millis(100);
/// A picture is given up that waits for longer, unless it is a keyframe. Less would not outlast two keyframes of 100 packets
/// in a row on a link of 500 kbit/s, more is shown long after it was said.
const LATE: Duration = Duration::from_secs(5);
/// Where nobody knows what the path carries, and where a kept picture waits, what waits leaves within this.
const QUEUE_SECONDS_MAX: u64 = 1;
/// But no faster than that: such a picture may be some megabytes long. Higher loses more of
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
    /// And comes after so much of it that it is a large one.
    pub(crate) large: bool,
    /// It is part of a keyframe.
    pub(crate) keyframe: bool,
}

impl Outgoing {
    fn bytes(&self) -> usize {
        self.packet.payload.len() + OVERHEAD_BYTES
    }

    fn keyframe_bytes(&self) -> usize {
        if self.keyframe { self.bytes() } else { 0 }
    }

    /// It has waited for so long that a keyframe would be shown sooner.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        self.age(now) > STALE
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.packet.arrived)
    }
}

/// How fast packets may leave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    /// Frames as they come.
    pub(crate) burst_bps: u64,
    /// Large keyframes: as much as the path carries, where that is known.
    pub(crate) path_bps: Option<u64>,
    /// What leaves is part of a large picture, and nothing has shown yet what the path carries.
    pub(crate) cautious_bps: Option<u64>,
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
    /// Of these the ones of keyframes.
    keyframe_bytes: usize,
    /// Packets of both that had been kept.
    kept: usize,
    /// A large keyframe leaves, or what has come behind it.
    slow: bool,
}

impl Pacer {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            free_at: now,
            opening: VecDeque::new(),
            media: VecDeque::new(),
            resends: VecDeque::new(),
            queued_bytes: 0,
            keyframe_bytes: 0,
            kept: 0,
            slow: false,
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
        self.keyframe_bytes += outgoing.keyframe_bytes();
        queue.push_back(outgoing);
        true
    }

    /// Drops what waits in a slot before a keyframe, where that has waited for long, but for what is to be kept; how many
    /// packets.
    pub(crate) fn give_up(
        &mut self,
        now: Instant,
        slot: usize,
        keep: impl Fn(&Outgoing) -> bool,
    ) -> u64 {
        let oldest = self.waiting(slot).next();
        let is_stale = oldest.is_some_and(|oldest| oldest.is_stale(now));
        if is_stale {
            self.drop_slot(slot, keep)
        } else {
            0
        }
    }

    /// Drops what waits in a slot, but for what is to be kept; how many packets.
    pub(crate) fn drop_slot(&mut self, slot: usize, keep: impl Fn(&Outgoing) -> bool) -> u64 {
        let mut dropped = 0;
        for queue in [&mut self.opening, &mut self.media, &mut self.resends] {
            queue.retain(|outgoing| {
                let goes = outgoing.slot == slot && !keep(outgoing);
                if goes {
                    self.kept -= usize::from(outgoing.kept);
                    self.queued_bytes -= outgoing.bytes();
                    self.keyframe_bytes -= outgoing.keyframe_bytes();
                    dropped += 1;
                }
                !goes
            });
        }
        dropped
    }

    /// Media that waits in a slot.
    pub(crate) fn waiting(&self, slot: usize) -> impl Iterator<Item = &Outgoing> {
        let in_order = self.opening.iter().chain(&self.media);
        in_order.filter(move |next| next.slot == slot)
    }

    /// Whether some of a slot's keyframe still waits.
    pub(crate) fn holds_keyframe(&self, slot: usize) -> bool {
        self.waiting(slot).any(|next| next.keyframe)
    }

    /// A slot of which something has waited for too long to be worth sending.
    pub(crate) fn late(&self, now: Instant) -> Option<usize> {
        let mut oldest = self.opening.front().into_iter().chain(self.media.front());
        let late = oldest.find(|next| !next.kept && !next.keyframe && next.age(now) > LATE);
        late.map(|late| late.slot)
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
        self.queued_bytes -= outgoing.bytes();
        self.keyframe_bytes -= outgoing.keyframe_bytes();
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
    pub(crate) fn sent(&mut self, now: Instant, bytes: usize, rate: Rate) {
        let hurried_bps = rate.burst_bps.max(self.drain_bps());
        let bps = match (rate.cautious_bps, rate.path_bps) {
            _ if self.kept > 0 => {
                self.slow = false;
                hurried_bps
            }
            (Some(cautious_bps), _) => {
                self.slow = true;
                cautious_bps
            }
            (None, Some(path_bps)) => {
                self.slow = if self.slow {
                    takes(self.queued_bytes, path_bps) > SMALL
                } else {
                    takes(self.keyframe_bytes, path_bps) > LARGE
                };
                if self.slow { path_bps } else { rate.burst_bps }
            }
            (None, None) => hurried_bps,
        };
        self.free_at = self.free_at.max(now) + takes(bytes, bps);
    }

    fn drain_bps(&self) -> u64 {
        (self.queued_bytes as u64 * BITS / QUEUE_SECONDS_MAX).min(DRAIN_BPS_MAX)
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

fn takes(bytes: usize, bps: u64) -> Duration {
    let nanos = (bytes as u64 * BITS).saturating_mul(1_000_000_000) / bps.max(1);
    Duration::from_nanos(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::redundancy::tests::outgoing;

    #[test]
    fn what_has_waited_for_too_long_is_given_up_but_for_keyframes() {
        let (frame, keyframe) = (outgoing(2, &[0; 100], None), outgoing(1, &[0; 100], None));
        let arrived = frame.packet.arrived;
        let mut pacer = Pacer::new(arrived);
        pacer.push(Outgoing {
            keyframe: true,
            ..keyframe
        });
        pacer.push(frame);
        assert_eq!(
            pacer.late(arrived + LATE * 2),
            None,
            "a keyframe is finished"
        );
        pacer.pop(arrived);
        assert_eq!(pacer.late(arrived + LATE), None);
        assert_eq!(pacer.late(arrived + LATE * 2), Some(0));
        assert_eq!(pacer.drop_slot(0, |_| false), 1);
        assert_eq!(pacer.late(arrived + LATE * 2), None);
        assert_eq!((pacer.queued_bytes, pacer.keyframe_bytes), (0, 0));
    }
}
