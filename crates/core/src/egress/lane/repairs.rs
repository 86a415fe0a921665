//! What a receiver has asked for again: how often it is sent, and how much of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Lane, stream_of, wire_seq};
use crate::egress::PayloadTypes;
use crate::egress::pacer::{OVERHEAD_BYTES, Outgoing, Pacer};
use crate::egress::stream::Stream;
use crate::publish::Packet;
use crate::rewrite::Rewritten;

/// Of 1,000 packets so many are lost where repairs get lost, too, often enough to be seen: every packet is sent again as two,
/// and in the next round as more. Lower spends bandwidth on paths where the second round trip is rare, higher is a
/// picture that stands for it.
const LOSSY_PERMILLE: u64 = 10;
/// And here as three, where nothing else waits for the link; so it is while nothing is known: a packet that got lost with both of its
/// repairs then was a freeze of 0.2 s in one of 400 calls at 5 % loss.
const VERY_LOSSY_PERMILLE: u64 = 100;
const COPIES_AMONG_OTHERS: u64 = 2;
/// As many bytes are sent again as media has, and so many more at once. Half as much is used up where a fifth is lost, and the picture
/// stands then. More repairs still worse links; on a link that is too narrow for its media, it makes the loss that it repairs.
const BYTES_MAX: usize = 64 * 1024;
/// What has been asked for since so long may never come, since it gets lost again and again: a keyframe is shown sooner. Less asks for
/// keyframes where some repairs need a third round trip, more is a picture that stands for longer.
const OVERDUE: Duration = Duration::from_millis(500);
/// The same where more is missing than may be sent again. Less does not outlast that for a moment as much gets lost by chance.
const OVERDUE_BEYOND_ACCOUNT: Duration = Duration::from_millis(200);
/// Bounds of the time within which a packet is not sent again twice.
const ROUND_TRIP_MIN: Duration = Duration::from_millis(10);
const ROUND_TRIP_MAX: Duration = Duration::from_millis(1_000);

/// What may be sent again, in bytes.
#[derive(Debug)]
pub(super) struct Account(usize);

impl Default for Account {
    fn default() -> Self {
        Self(BYTES_MAX)
    }
}

impl Account {
    /// Media has left.
    pub(super) fn earn(&mut self, bytes: usize) {
        self.0 = (self.0 + bytes).min(BYTES_MAX);
    }

    fn has(&self, bytes: usize) -> bool {
        self.0 >= bytes
    }

    fn is_low(&self) -> bool {
        self.0 < BYTES_MAX / 2
    }

    /// False where there is not so much left.
    fn spend(&mut self, bytes: usize) -> bool {
        let left = self.0.checked_sub(bytes);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

impl Lane {
    /// What is sent again for 1,000 packets, whatever else waits for the link.
    pub(crate) fn repair_permille(&self) -> u64 {
        self.loss_permille() * self.copies().min(COPIES_AMONG_OTHERS)
    }

    /// As how many a packet is sent again for the first time: where packets are lost, or it is not known yet that few are, what
    /// repairs them may get lost, too.
    fn copies(&self) -> u64 {
        match self.known_loss_permille() {
            Some(..=LOSSY_PERMILLE) => 1,
            Some(..=VERY_LOSSY_PERMILLE) => 2,
            Some(_) | None => 3,
        }
    }

    /// Whether a packet that cannot be sent again, since nobody has it any more, is still waited for.
    pub(crate) fn is_waited_for(&mut self, slot: usize, seq: u64) -> bool {
        stream_of(&mut self.streams, slot)
            .is_some_and(|stream| is_waited_for(stream, &self.pacer, slot, seq))
    }

    /// Sends a packet again, by RTX, ahead of what waits. Whether it has been asked for for so long that a keyframe would be shown sooner.
    pub(crate) fn resend(
        &mut self,
        now: Instant,
        slot: usize,
        payload_types: PayloadTypes,
        packet: &Arc<Packet>,
        rewritten: Rewritten,
    ) -> bool {
        let round_trip = self.round_trip().unwrap_or(ROUND_TRIP_MIN);
        let round_trip = round_trip.clamp(ROUND_TRIP_MIN, ROUND_TRIP_MAX);
        let seq = wire_seq(rewritten.seq);
        let bytes = packet.payload.len() + OVERHEAD_BYTES;
        let Some(stream) = stream_of(&mut self.streams, slot) else {
            return false;
        };
        let enough = if self.account.has(bytes) {
            OVERDUE
        } else {
            OVERDUE_BEYOND_ACCOUNT
        };
        let asked_for = stream.resent.asked_for(now, seq);
        // A round trip has to pass until a repair can stop a receiver that asks.
        let overdue = asked_for > enough + round_trip
            && is_waited_for(stream, &self.pacer, slot, rewritten.seq);
        // Repairs of what is not needed would keep a queue standing on the way, and what is needed waiting.
        let needless = self.estimator.is_queued() && stream.is_overtaken(rewritten.seq);
        let possible = payload_types.rtx.is_some()
            && stream.rtx.is_some()
            && self.account.has(bytes)
            && !stream.has_given_up(packet, &rewritten);
        if !possible || needless {
            return overdue;
        }
        let Some(rounds) = stream.resent.begin(now, seq, round_trip) else {
            return overdue;
        };
        // Where much is lost, so is what repairs it, and every round trip that it takes again is seen. But rather every packet once
        // than some of them often: one that is missing stops the picture.
        let first = if self.account.is_low() {
            1
        } else if self.pacer.is_empty() {
            self.copies()
        } else {
            self.copies().min(COPIES_AMONG_OTHERS)
        };
        let copies = if rounds > 0 { first * 2 } else { first };
        for _ in 0..copies {
            if !self.account.spend(bytes) {
                break;
            }
            let queued = self.pacer.push(Outgoing {
                slot,
                payload_types,
                packet: packet.clone(),
                rewritten,
                resend: true,
                kept: false,
                opening: false,
                large: false,
                keyframe: false,
            });
            self.stats.dropped += u64::from(!queued);
        }
        overdue
    }
}

/// Whether no keyframe leaves, or waits, that comes after a packet which is missing.
fn is_waited_for(stream: &Stream, pacer: &Pacer, slot: usize, seq: u64) -> bool {
    !stream.is_overtaken(seq) && !pacer.holds_keyframe(slot)
}
