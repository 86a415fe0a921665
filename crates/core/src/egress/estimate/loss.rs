//! Loss-based control (draft-ietf-rmcat-gcc-02, section 6), by experiment.
//!
//! The draft takes loss above 10 % for congestion and loss below 2 % for none. But a radio link may lose
//! 15 % at any rate, and a policer without a queue must be heard at 5 %. What tells them apart is whether
//! loss goes away at a lower rate: so the rate is lowered for a moment, and the answer is remembered.

use std::collections::VecDeque;

use super::aimd::Path;
use super::observation::{Observation, PACKETS_MIN, Seen, Share};

/// Loss that is never asked about. Lower would start experiments by chance.
const NATURAL_MIN: f64 = 0.02;
/// No more loss than this is believed to be the path's nature.
const NATURAL_MAX: f64 = 0.3;
/// How fast what is known of that follows what is seen, for each observation. Faster would take chance for
/// nature.
const NATURAL_FOLLOW: f64 = 0.1;
/// An experiment tells but roughly what is natural: that may follow what is seen up to so much more. Higher
/// would let congestion pass for nature, little by little.
const LEARNED: f64 = 1.5;
/// Loss is asked about beyond so many standard deviations; beyond more on a path that is known to lose packets,
/// where chance has more to say. Fewer start experiments by chance, more let congestion pass.
const DEVIATIONS: f64 = 2.0;
const DEVIATIONS_LOSSY: f64 = 3.0;
/// The rate is the cause where the difference that it makes is beyond so many standard deviations. Fewer would take chance for
/// congestion, more congestion for nature.
const DEVIATIONS_CAUSE: f64 = 2.0;
/// Share of a capacity below which loss cannot come from the rate, and how many packets tell that, see `weigh`. Fewer would be
/// chance, more last longer.
const BELOW: f64 = 0.93;
const WEIGHED: f64 = 100.0;
/// An experiment is of so many packets that this many losses in a row would be seen if nothing changed. More
/// of them take longer, fewer stay away by chance.
const RUNS: f64 = 4.0;
/// And of no fewer than these: where 15 % are lost by chance, as few as half of them are among 30 once in seven times.
const ANSWER_PACKETS_MIN: u32 = 60;
/// What was lost lately at a lower rate answers, too: at no more than this share of the present one, and no longer ago. A
/// higher share would not show a difference, older observations may be of another path.
const LOWER: f64 = 0.8;
const PAST_US: i64 = 10_000_000;
/// Observations take 250 ms and more.
const PAST_MAX: usize = 40;
/// Retransmissions make up for so much loss. More is a picture that stands until less is sent.
const BEARABLE: f64 = 0.3;
/// Share of what came through that is sent during an experiment. Nearer to 1 would not show a
/// difference, lower costs more picture.
const EXPERIMENT: f64 = 0.75;
/// An experiment without a result ends after this: nothing was sent.
const EXPERIMENT_US_MAX: i64 = 3_000_000;
/// Share of a capacity found by loss that is used. Higher loses more packets, lower uses less of the path.
const MARGIN: f64 = 0.9;
/// Growth of a limit per second, and near the capacity that was found: faster is more loss, slower is longer
/// below a path that has become faster.
const GROWTH: f64 = 1.08;
const GROWTH_NEAR: f64 = 1.01;
const NEAR: f64 = 0.9;
/// A capacity that was found is believed for so long.
const CAPACITY_US: i64 = 20_000_000;
/// A path that has lost packets for the rate's sake, without a queue, is sent no bursts for so long: longer
/// delays keyframes on a path that has changed, shorter asks again by loss.
const SHALLOW_US: i64 = 60_000_000;
/// So much loss with a queue comes from the rate. Lower would take a lossy radio link with a short queue for that.
const CERTAIN: f64 = 0.3;
/// Where loss came with a longer queue than this, the path has one.
const SHALLOW_QUEUE_US: f64 = 40_000.0;
/// Share of the newest observation in the loss that is reported.
const REPORTED_WEIGHT: f64 = 0.3;
/// What so many observations say is known, about a second of video. Fewer take chance for a path without loss.
const KNOWN_OBSERVATIONS: u8 = 4;

#[derive(Debug)]
pub(super) struct Loss {
    /// Loss that this path has at any rate, lately, and by the last experiment.
    natural: f64,
    learned: f64,
    /// When the rate last caused loss, but no queue.
    shallow: Option<i64>,
    limit: Option<Limit>,
    experiment: Option<Experiment>,
    observation: Observation,
    /// The last observation, where it was unusual.
    suspicion: Option<Seen>,
    /// What was seen lately without a queue, and when.
    past: VecDeque<(i64, Seen)>,
    /// What left before this was lost for a known reason.
    explained: i64,
    reported: f64,
    /// How many observations that comes from, up to [`KNOWN_OBSERVATIONS`].
    observations: u8,
}

#[derive(Debug, Clone, Copy)]
struct Limit {
    rate: f64,
    /// What was found to come through, and when.
    capacity: f64,
    found: i64,
    /// What was lost when it was found, and has been since at lower rates.
    cause: Share,
    below: Share,
}

/// The rate has been lowered to see whether loss goes away.
#[derive(Debug, Clone, Copy)]
struct Experiment {
    /// What leaves from here on counts.
    since: i64,
    rate: f64,
    /// What came through before, in bits per second, and what did not.
    delivered: f64,
    loss: Share,
    /// How many packets the answer takes.
    packets: u32,
    /// There was no queue when loss was seen.
    shallow: bool,
}

impl Loss {
    pub(super) fn new() -> Self {
        Self {
            natural: NATURAL_MIN,
            learned: NATURAL_MIN,
            shallow: None,
            limit: None,
            experiment: None,
            observation: Observation::default(),
            suspicion: None,
            past: VecDeque::with_capacity(PAST_MAX),
            explained: 0,
            reported: 0.0,
            observations: 0,
        }
    }

    /// What may be sent, where loss has something to say.
    pub(super) fn limit(&self) -> Option<f64> {
        match (self.experiment, self.limit) {
            (Some(experiment), _) => Some(experiment.rate),
            (None, limit) => limit.map(|limit| limit.rate),
        }
    }

    pub(super) fn experimenting(&self) -> bool {
        self.experiment.is_some()
    }

    /// An experiment about a loss that one can live with while its answer is not known.
    pub(super) fn wondering(&self) -> bool {
        (self.experiment).is_some_and(|experiment| experiment.loss.loss() < BEARABLE)
    }

    /// The share of packets that is lost, once it is known.
    pub(super) fn reported(&self) -> Option<f64> {
        (self.observations >= KNOWN_OBSERVATIONS).then_some(self.reported)
    }

    /// The same by what has been seen so far.
    pub(super) fn seen(&self) -> f64 {
        self.reported
    }

    /// Loss that this path has at any rate.
    pub(super) fn natural(&self) -> f64 {
        if self.natural > NATURAL_MIN {
            self.natural
        } else {
            0.0
        }
    }

    /// The rate that was found to come through without loss of its own making.
    pub(super) fn capacity(&self) -> Option<f64> {
        self.limit.map(|limit| limit.capacity)
    }

    /// Whether the path has shown lately that it has no queue to speak of.
    pub(super) fn shallow(&self, at: i64) -> bool {
        (self.shallow).is_some_and(|seen| at - seen < SHALLOW_US) || self.experimenting()
    }

    /// The fate of a packet, in the order in which they left.
    pub(super) fn add(&mut self, at: i64, bytes: u16, lost: bool) {
        let since = self.experiment.map_or(0, |experiment| experiment.since);
        if at < since.max(self.explained) {
            return;
        }
        self.observation.add(at, bytes, lost);
    }

    /// Concludes from what was added. `rate` is the estimate by delay.
    pub(super) fn update(&mut self, at: i64, elapsed_us: i64, rate: f64, path: Path) {
        self.grow(at, elapsed_us, rate);
        let packets = self.experiment.map_or(PACKETS_MIN, |it| it.packets);
        let Some(seen) = self.observation.take(packets) else {
            self.experiment
                .take_if(|experiment| at - experiment.since > EXPERIMENT_US_MAX);
            return;
        };
        self.observations = (self.observations + 1).min(KNOWN_OBSERVATIONS);
        let weight = REPORTED_WEIGHT.max(1.0 / f64::from(self.observations));
        self.reported += weight * (seen.loss() - self.reported);
        self.weigh(seen, path);
        match self.experiment.take() {
            Some(experiment) => self.conclude(at, experiment, seen),
            None if !self.unusual(seen) => {
                self.suspicion = None;
                self.follow(seen);
            }
            // No need to ask: a link has become narrow, and every moment at this rate is lost picture.
            None if seen.loss() > CERTAIN && path.queue_us > SHALLOW_QUEUE_US => {
                self.found(at, delivered(seen, path), seen.into());
            }
            None => match self.answered(at, seen) {
                Some(loss) => self.learn(loss),
                None if path.limited => {}
                None if self.suspects(seen) => self.experiment(at, rate, seen, path),
                None => self.suspicion = Some(seen),
            },
        }
        self.remember(at, seen, path);
    }

    fn remember(&mut self, at: i64, seen: Seen, path: Path) {
        if self.past.len() >= PAST_MAX {
            self.past.pop_front();
        }
        if path.queue_us < SHALLOW_QUEUE_US {
            self.past.push_back((at, seen));
        }
    }

    /// The loss of this path, where as much was lost at lower rates, so that no experiment is needed.
    fn answered(&self, at: i64, seen: Seen) -> Option<f64> {
        let lower = self
            .past
            .iter()
            .filter(|(then, past)| at - then < PAST_US && past.sent < seen.sent * LOWER);
        let lower = lower.fold(Share::default(), |share, (_, past)| share.with(*past));
        let enough = lower.packets >= f64::from(packets_for(seen));
        (enough && !self.caused(seen.into(), lower)).then(|| (seen.loss() + lower.loss()) / 2.0)
    }

    /// Whether it has just been unusual at this rate, too: by chance it is not twice in a row, and the second time is not chosen
    /// because much was lost, so that what an experiment shows can be compared to it.
    fn suspects(&mut self, seen: Seen) -> bool {
        let before = self.suspicion.take().map(|before| before.sent / seen.sent);
        before.is_some_and(|ratio| (LOWER..=1.0 / LOWER).contains(&ratio))
    }

    /// Whether so much less is lost than was that the rate was the cause.
    fn caused(&self, before: Share, now: Share) -> bool {
        let excess = (before.loss() - self.natural).max(0.0);
        let is_less = now.loss() < before.loss() - excess / 2.0;
        is_less && before.is_above(now, DEVIATIONS_CAUSE)
    }

    /// Everything that has left until now went into a path that has become narrow: what gets lost of it says nothing.
    pub(super) fn explain(&mut self, at: i64) {
        self.explained = at;
        self.experiment = None;
        self.past.clear();
        self.suspicion = None;
        self.observation = Observation::default();
    }

    fn experiment(&mut self, at: i64, rate: f64, seen: Seen, path: Path) {
        let delivered = delivered(seen, path);
        self.experiment = Some(Experiment {
            since: at,
            rate: (delivered * EXPERIMENT).min(rate),
            delivered,
            loss: seen.into(),
            packets: packets_for(seen).max(ANSWER_PACKETS_MIN),
            shallow: path.queue_us < SHALLOW_QUEUE_US,
        });
        self.observation = Observation::default();
    }

    /// A probe has come through at this rate.
    pub(super) fn raise(&mut self, rate: f64, filled: bool) {
        if !filled {
            self.limit.take_if(|limit| limit.rate < rate);
        } else if let Some(limit) = &mut self.limit {
            limit.rate = limit.rate.max(rate);
        }
    }

    /// A probe has shown that no more than this comes through.
    pub(super) fn lower(&mut self, rate: f64) {
        if let Some(limit) = &mut self.limit {
            limit.capacity = limit.capacity.min(rate);
            limit.rate = limit.rate.min(rate * MARGIN);
        }
    }

    fn conclude(&mut self, at: i64, experiment: Experiment, seen: Seen) {
        let Experiment {
            loss: before,
            delivered,
            ..
        } = experiment;
        if self.caused(before, seen.into()) {
            if experiment.shallow {
                self.shallow = Some(at);
            }
            let capacity = delivered / (1.0 - seen.loss().min(NATURAL_MAX));
            self.found(at, capacity, before);
        } else {
            let loss = (before.loss() + seen.loss()) / 2.0;
            self.learn(loss);
            // Whatever it is, more than what comes through is of no use to anybody.
            self.limit = None;
            if loss > NATURAL_MAX {
                self.limit_to(at, delivered, delivered, before);
            }
        }
    }

    fn found(&mut self, at: i64, capacity: f64, cause: Share) {
        // Where everything is lost, nothing is delivered; a limit of nothing would never grow.
        let capacity = capacity.max(super::BPS_MIN as f64);
        self.limit_to(at, capacity * MARGIN, capacity, cause);
    }

    fn limit_to(&mut self, at: i64, rate: f64, capacity: f64, cause: Share) {
        self.limit = Some(Limit {
            rate,
            capacity,
            found: at,
            cause,
            below: Share::default(),
        });
    }

    fn follow(&mut self, seen: Seen) {
        self.natural += NATURAL_FOLLOW * (seen.loss() - self.natural);
        self.natural = self.natural.clamp(NATURAL_MIN, self.learned);
    }

    fn learn(&mut self, loss: f64) {
        self.natural = loss.clamp(NATURAL_MIN, NATURAL_MAX);
        self.learned = (loss * LEARNED).clamp(NATURAL_MIN, NATURAL_MAX);
    }

    fn unusual(&self, seen: Seen) -> bool {
        let deviations = if self.learned > NATURAL_MIN {
            DEVIATIONS_LOSSY
        } else {
            DEVIATIONS
        };
        seen.exceeds(self.natural, deviations)
    }

    /// Loss at a rate well below one that was found to come through was no cause then, but chance: whoever asks
    /// because of the highest loss will always see it fall. Where less is sent than could be, nothing else will answer: the limit
    /// is given up once as much has been lost there.
    fn weigh(&mut self, seen: Seen, path: Path) {
        let Some(limit) = &mut self.limit else {
            return;
        };
        let is_below = seen.sent < limit.capacity * BELOW && path.queue_us < SHALLOW_QUEUE_US;
        if !is_below || !path.limited {
            return;
        }
        limit.below = limit.below.with(seen);
        let Limit { cause, below, .. } = *limit;
        if below.packets < WEIGHED {
            return;
        }
        limit.below = Share::default();
        if !self.caused(cause, below) {
            self.limit = None;
            self.shallow = None;
            self.learn(below.loss());
        }
    }

    fn grow(&mut self, at: i64, elapsed_us: i64, rate: f64) {
        let Some(limit) = &mut self.limit else {
            return;
        };
        let near = limit.rate > limit.capacity * NEAR && at - limit.found < CAPACITY_US;
        let growth = if near { GROWTH_NEAR } else { GROWTH };
        limit.rate *= growth.powf(elapsed_us as f64 / 1e6);
        // Far above what the delay allows it limits nothing.
        if limit.rate > rate * 2.0 {
            self.limit = None;
        }
    }
}

/// How many packets an answer takes to what was seen.
fn packets_for(seen: Seen) -> u32 {
    let packets = super::bps(RUNS * seen.run / seen.loss());
    u32::try_from(packets).unwrap_or(u32::MAX).max(PACKETS_MIN)
}

/// Bits per second that came through.
fn delivered(seen: Seen, path: Path) -> f64 {
    let delivered = seen.sent * (1.0 - seen.loss());
    delivered.min(path.acked.unwrap_or(delivered))
}
