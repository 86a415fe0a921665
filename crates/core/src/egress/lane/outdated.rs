//! What of a slot is not worth sending any more, and what is in spite of a newer picture.

use std::time::Instant;

use super::{Lane, stream_of};
use crate::egress::pacer::Outgoing;

impl Lane {
    /// A keyframe has come: what has been waiting for long shows an older picture, and only makes this one late.
    /// Receivers go on with a keyframe whatever is missing before it. But one of the same size that has begun to leave is
    /// finished: where each takes longer than it is to the next, none would ever be.
    pub(super) fn give_up_before(&mut self, now: Instant, keyframe: &Outgoing) {
        let Some(stream) = stream_of(&mut self.streams, keyframe.slot) else {
            return;
        };
        let begun = stream
            .begun_keyframe
            .filter(|begun| begun.is_of_layer(&keyframe.packet));
        let dropped = self.pacer.give_up(now, keyframe.slot, |waiting| {
            begun.is_some_and(|begun| begun.holds(&waiting.packet, &waiting.rewritten))
        });
        if dropped > 0 || stream.given_up_before == u64::MAX {
            stream.given_up_before = keyframe.rewritten.seq;
        }
        self.stats.dropped += dropped;
    }

    /// A slot's picture is too large for the link and goes on with a keyframe of a smaller one: what waits or is missing
    /// until then is given up.
    pub(crate) fn give_up(&mut self, slot: usize) {
        self.stats.dropped += self.pacer.drop_slot(slot, |_| false);
        if let Some(stream) = stream_of(&mut self.streams, slot) {
            stream.given_up_before = u64::MAX;
            stream.begun_keyframe = None;
        }
    }

    /// Whether a slot's receiver, whose picture stands still, need only wait: a keyframe is still leaving, or what it is to
    /// show next has been held up here.
    pub(crate) fn still_brings(&self, now: Instant, slot: usize) -> bool {
        let mut waiting = self.pacer.waiting(slot);
        waiting.any(|next| next.keyframe || next.is_stale(now))
    }

    /// A slot of which something has waited for too long to be worth sending.
    pub(crate) fn late(&self, now: Instant) -> Option<usize> {
        self.pacer.late(now)
    }
}
