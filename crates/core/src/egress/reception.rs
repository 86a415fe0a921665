//! What a receiver that numbers no packets across its streams tells of its way: by the report blocks of RFC 3550 section 6.4.1.

use std::time::Duration;

use super::rtcp::ReportBlock;

/// Of so many packets half of what is known comes. Fewer would take chance for loss, more would learn of it late.
const HALF_PACKETS: f64 = 200.0;
/// No way there and back takes longer: what says so is not believed.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(5);
/// The middle 32 bits of NTP timestamps count 1/65,536 s.
const NTP_SHORT_PER_SECOND: f64 = 65_536.0;

/// Loss and round trip, as far as reports have told.
#[derive(Debug, Default)]
pub(super) struct Reception {
    lost: Option<f64>,
    round_trip: Option<Duration>,
}

impl Reception {
    /// A block has come at this moment, about so many packets that have been sent since the one before.
    pub(super) fn on_block(&mut self, now_ntp: u64, block: &ReportBlock, packets: u32) {
        if packets > 0 {
            let share = f64::from(block.fraction_lost) / 256.0;
            let before = *self.lost.get_or_insert(share);
            let weight = f64::from(packets) / (f64::from(packets) + HALF_PACKETS);
            self.lost = Some(before + (share - before) * weight);
        }
        self.round_trip = round_trip(now_ntp, block).or(self.round_trip);
    }

    /// How many of 1,000 packets were lost lately; `None` before the first block.
    pub(super) fn loss_permille(&self) -> Option<u64> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share is between 0 and 1"
        )]
        self.lost.map(|lost| (lost * 1e3).round() as u64)
    }

    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }
}

/// `None` where the receiver has seen no sender report yet, or tells what cannot be.
fn round_trip(now_ntp: u64, block: &ReportBlock) -> Option<Duration> {
    if block.last_report == 0 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "the middle 32 bits")]
    let now = (now_ntp >> 16) as u32;
    let units = now
        .wrapping_sub(block.last_report)
        .wrapping_sub(block.delay_since);
    let took = Duration::from_secs_f64(f64::from(units) / NTP_SHORT_PER_SECOND);
    (took <= ROUND_TRIP_MAX).then_some(took)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUARTER: u8 = 64;

    fn block(fraction_lost: u8) -> ReportBlock {
        ReportBlock {
            ssrc: 1,
            fraction_lost,
            last_report: 0,
            delay_since: 0,
        }
    }

    #[test]
    fn what_many_packets_tell_weighs_more() {
        let after = |packets| {
            let mut reception = Reception::default();
            reception.on_block(0, &block(0), 1_000);
            reception.on_block(0, &block(QUARTER), packets);
            reception.loss_permille()
        };
        assert_eq!(Reception::default().loss_permille(), None);
        assert_eq!(
            (after(0), after(200), after(1_800)),
            (Some(0), Some(125), Some(225))
        );
    }

    #[test]
    fn a_round_trip_is_what_the_receiver_did_not_wait() {
        // It was told at 10.5 s, answered 2 s later, and that came at 12.75 s.
        let answer = |last_report, delay_since| ReportBlock {
            last_report,
            delay_since,
            ..block(0)
        };
        let now = (12 << 32) | (3 << 30);
        let told = (10 << 16) | (1 << 15);
        let mut reception = Reception::default();
        reception.on_block(now, &answer(told, 2 << 16), 1);
        assert_eq!(reception.round_trip(), Some(Duration::from_millis(250)));
        for absurd in [answer(told, 3 << 16), answer(1, 1), answer(0, 0)] {
            reception.on_block(now, &absurd, 1);
            assert_eq!(reception.round_trip(), Some(Duration::from_millis(250)));
        }
    }
}
