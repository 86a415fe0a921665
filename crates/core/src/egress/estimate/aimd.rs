//! Rate control: multiplicative and additive increase, multiplicative decrease
//! (draft-ietf-rmcat-gcc-02, section 5.5).

use super::trend::Usage;

/// Share of what came through that is sent after a queue has grown; the rest drains it. Lower drains
/// faster and uses less of the path.
const BETA: f64 = 0.85;
/// A queue longer than this is drained faster: by so much of the share for each second of it, down to
/// `BETA_MIN`.
const LONG_QUEUE_US: f64 = 100_000.0;
const BETA_PER_SECOND: f64 = 0.6;
const BETA_MIN: f64 = 0.5;
/// Growth per second where the path's capacity is not known. Higher overshoots before the queue shows, lower
/// leaves more to the probes.
const GROWTH: f64 = 1.08;
/// An estimate may grow to this much of what comes through: what is not sent proves nothing. Higher lets it
/// run ahead of the path, lower waits for a probe.
const PROVEN: f64 = 1.25;
/// The same of a known capacity, and of what comes through beyond it. Higher lets layers be taken for which there is no
/// room, and given back in the queue that follows; lower takes the error of a probe for the end of the path.
const PROVEN_KNOWN: f64 = 1.05;
/// Near a known capacity the rate grows by a packet of this many bits for each time it takes to see
/// the effect: a round trip and `RESPONSE_US` for the report and the detector.
const PACKET_BITS: f64 = 9_600.0;
const RESPONSE_US: f64 = 100_000.0;
/// A round trip is longer the longer the queue is; waiting for all of it would let the queue grow on.
const RTT_US_MAX: f64 = 200_000.0;
/// But never by more than this share in a second, for a packet is much at a low rate; and by less where
/// the next step may be the one too much.
const SHARE_MAX: f64 = 0.05;
const SHARE_NEAR: f64 = 0.02;
const NEAR: f64 = 0.93;

/// Share of a new sample in the known capacity.
const CAPACITY_WEIGHT: f64 = 0.3;
/// A capacity is believed for so long after it was last seen; probes see it every few seconds.
const CAPACITY_US: i64 = 20_000_000;
/// A sample, or a rate that came through, this far from the known capacity means that it has changed.
const CAPACITY_LOWER: f64 = 0.75;
const CAPACITY_HIGHER: f64 = 1.15;

/// Below this a queue is short: it may be none, and what comes through is no more than what is sent. It
/// lowers the estimate, not to less because of that; and not at all while little is sent.
const SHORT_QUEUE_US: f64 = 50_000.0;
/// While little is sent, one decrease takes no more than this: what came through is no measure of
/// what could.
const LIMITED_BETA: f64 = 0.8;

#[derive(Debug)]
pub(super) struct Aimd {
    rate: f64,
    state: State,
    /// What came through when a queue grew, smoothed.
    capacity: Option<Capacity>,
    decreased: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
struct Capacity {
    rate: f64,
    seen: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Hold,
    Increase,
}

/// What else there is to know about the path at an update.
#[derive(Debug, Clone, Copy)]
pub(super) struct Path {
    /// Bits per second that come through, where known.
    pub(super) acked: Option<f64>,
    pub(super) rtt_us: f64,
    pub(super) queue_us: f64,
    /// Much less is sent than could be.
    pub(super) limited: bool,
}

impl Aimd {
    pub(super) fn new(rate: f64) -> Self {
        Self {
            rate,
            state: State::Increase,
            capacity: None,
            decreased: None,
        }
    }

    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// When the rate was last lowered.
    pub(super) fn decreased(&self) -> Option<i64> {
        self.decreased
    }

    /// Something has shown what comes through.
    pub(super) fn set(&mut self, rate: f64) {
        self.outgrow(rate);
        self.rate = rate;
    }

    /// A probe has filled the path, which carried this.
    pub(super) fn filled(&mut self, at: i64, rate: f64) {
        self.learn(at, rate);
    }

    pub(super) fn update(&mut self, at: i64, elapsed_us: i64, usage: Usage, path: Path) {
        match (usage, self.state) {
            (Usage::Over, _) => {
                self.state = State::Hold;
                self.decrease(at, path);
            }
            (Usage::Under, _) => self.state = State::Hold,
            (Usage::Normal, State::Hold) => self.state = State::Increase,
            (Usage::Normal, State::Increase) => self.increase(at, elapsed_us as f64 / 1e6, path),
        }
    }

    fn decrease(&mut self, at: i64, path: Path) {
        // What the last decrease did is seen after this.
        let response = path.rtt_us.min(RTT_US_MAX) + RESPONSE_US;
        let seen = (self.decreased).is_none_or(|decreased| (at - decreased) as f64 > response);
        let Some(acked) = path.acked else {
            return;
        };
        if !seen && acked > self.rate / 2.0 {
            return;
        }
        let longer = (path.queue_us - LONG_QUEUE_US).max(0.0) / 1e6;
        let beta = (BETA - longer * BETA_PER_SECOND).max(BETA_MIN);
        let short = path.queue_us < SHORT_QUEUE_US;
        let lowered = match (path.limited, short) {
            (true, true) => return,
            (true, false) => (acked * beta).max(self.rate * LIMITED_BETA),
            (false, true) => {
                self.learn(at, acked);
                acked.max(self.rate) * beta
            }
            (false, false) => {
                self.learn(at, acked);
                acked * beta
            }
        };
        self.decreased = Some(at);
        self.rate = self.rate.min(lowered);
    }

    fn learn(&mut self, at: i64, acked: f64) {
        let known = self.capacity.map(|known| known.rate);
        let rate = match known {
            Some(known) if acked > known * CAPACITY_LOWER && acked < known * CAPACITY_HIGHER => {
                known + CAPACITY_WEIGHT * (acked - known)
            }
            _ => acked,
        };
        self.capacity = Some(Capacity { rate, seen: at });
    }

    /// More than what was taken for the capacity has come through.
    fn outgrow(&mut self, rate: f64) {
        self.capacity
            .take_if(|capacity| rate > capacity.rate * CAPACITY_HIGHER);
    }

    fn increase(&mut self, at: i64, seconds: f64, path: Path) {
        let Some(acked) = path.acked.filter(|_| !path.limited) else {
            return;
        };
        self.outgrow(acked);
        self.capacity
            .take_if(|capacity| at - capacity.seen > CAPACITY_US);
        let capacity = self.capacity.map(|capacity| capacity.rate);
        let grown = match capacity {
            Some(capacity) if self.rate > capacity * CAPACITY_LOWER => {
                let share = if self.rate > capacity * NEAR {
                    SHARE_NEAR
                } else {
                    SHARE_MAX
                };
                let packets = 1e6 / (path.rtt_us + RESPONSE_US);
                self.rate + (packets * PACKET_BITS).min(self.rate * share) * seconds
            }
            _ => self.rate * GROWTH.powf(seconds),
        };
        let proven = match capacity {
            Some(capacity) => (acked * PROVEN).min(capacity.max(acked) * PROVEN_KNOWN),
            None => acked * PROVEN,
        };
        self.rate = grown.min(proven.max(self.rate));
    }
}
