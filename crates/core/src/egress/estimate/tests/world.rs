//! Senders on a path: frames and audio through a pacer that obeys an estimator.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::super::twcc::{Feedback, parse};
use super::super::Estimator;
use super::link::{Link, MS, Receiver, Weather};

const FRAME_US: i64 = 33_333;
const AUDIO_US: i64 = 20_000;
const AUDIO_BYTES: usize = 120;
const PACKET_BYTES: usize = 1_200;
const PADDING_BYTES_MAX: usize = 255;
/// Media that waits longer than this is left out, as a server switches to a lower layer.
const BACKLOG_US: f64 = 150_000.0;

/// One peer: what is to be sent, and what decides how fast.
pub(super) struct Flow {
    pub(super) estimator: Estimator,
    /// Video to send at most, in bits per second.
    pub(super) video_bps: f64,
    pub(super) audio: bool,
    pub(super) start_bps: u64,
    /// Bytes that leave as one frame with the next one, besides.
    pub(super) keyframe: usize,
    queue: VecDeque<usize>,
    tokens: f64,
    frame_at: i64,
    audio_at: i64,
    sent: u64,
    reports: VecDeque<(i64, Vec<u8>)>,
    feedback: Feedback,
    /// Probes are made of media again, where packets of padding cannot be so large.
    pub(super) copies: bool,
    /// How often the pacer wakes.
    pub(super) pacer_ms: i64,
    /// Every report comes twice.
    pub(super) twice: bool,
    pub(super) packets: u64,
    pub(super) probes: u64,
    probing: bool,
    pub(super) estimates: Vec<(i64, f64)>,
}

pub(super) struct World {
    pub(super) link: Link,
    pub(super) flows: Vec<Flow>,
    pub(super) receivers: Vec<Receiver>,
    pub(super) now: i64,
    start: Instant,
    /// Ms that a packet would have waited, for each ms.
    pub(super) waits: Vec<f64>,
    random: fastrand::Rng,
}

impl World {
    pub(super) fn new(weather: Weather, start_bps: &[u64], seed: u64) -> Self {
        let start = Instant::now();
        let flows = start_bps
            .iter()
            .map(|bps| Flow::new(Estimator::new(start, *bps), *bps))
            .collect();
        let receivers = (1..)
            .take(start_bps.len())
            .map(|flow| Receiver::new(seed ^ flow));
        Self {
            link: Link::new(weather, seed),
            flows,
            receivers: receivers.collect(),
            now: 0,
            start,
            waits: Vec::new(),
            random: fastrand::Rng::with_seed(!seed),
        }
    }

    pub(super) fn at(&self, now: i64) -> Instant {
        self.start + Duration::from_micros(now as u64)
    }

    /// Wants so much of every flow.
    pub(super) fn demand(&mut self, bps: f64) {
        for flow in 0..self.flows.len() {
            self.demand_of(flow, bps);
        }
    }

    pub(super) fn demand_of(&mut self, flow: usize, bps: f64) {
        let now = self.at(self.now);
        self.flows[flow].video_bps = bps;
        self.flows[flow].estimator.set_demand(now, bps as u64);
    }

    /// Runs for so long; bits per second that came through for each flow.
    pub(super) fn run(&mut self, ms: i64) -> Vec<f64> {
        let before: Vec<_> = self.receivers.iter().map(|r| r.bytes).collect();
        for _ in 0..ms {
            self.tick();
        }
        (self.receivers.iter().zip(before))
            .map(|(receiver, before)| (receiver.bytes - before) as f64 * 8e3 / ms as f64)
            .collect()
    }

    fn tick(&mut self) {
        self.now += MS;
        let (now, instant) = (self.now, self.at(self.now));
        self.waits.push(self.link.wait_ms());
        self.link.pass(now, &mut self.receivers);
        for (index, flow) in self.flows.iter_mut().enumerate() {
            if let Some(report) = self.receivers[index].report(now) {
                let lost = self.random.f64() < self.link.weather.report_loss;
                if !lost && !self.link.weather.outage {
                    let arrives = now + self.link.weather.delay_ms * MS;
                    flow.reports.push_back((arrives, report));
                }
            }
            flow.take_reports(now, instant);
            flow.make(now, &mut self.random);
            flow.send(index, now, instant, &mut self.link);
        }
    }
}

impl Flow {
    fn new(estimator: Estimator, start_bps: u64) -> Self {
        Self {
            estimator,
            video_bps: 0.0,
            audio: true,
            start_bps,
            keyframe: 0,
            queue: VecDeque::new(),
            tokens: 0.0,
            frame_at: 0,
            audio_at: 0,
            sent: 0,
            reports: VecDeque::new(),
            feedback: Feedback::default(),
            copies: false,
            pacer_ms: 1,
            twice: false,
            packets: 0,
            probes: 0,
            probing: false,
            estimates: Vec::new(),
        }
    }

    pub(super) fn estimate(&self) -> f64 {
        self.estimator.estimate_bps().unwrap_or(self.start_bps) as f64
    }

    fn take_reports(&mut self, now: i64, instant: Instant) {
        if self
            .estimator
            .poll_timeout()
            .is_some_and(|due| due <= instant)
        {
            self.estimator.on_timeout(instant);
            let again = self.estimator.poll_timeout();
            assert!(again.is_none_or(|due| due > instant), "it would spin");
        }
        while let Some((_, report)) = self.reports.pop_front_if(|(at, _)| *at <= now) {
            assert!(parse(&report, &mut self.feedback));
            for _ in 0..=u8::from(self.twice) {
                self.estimator.on_feedback(instant, &self.feedback);
            }
        }
        self.estimates.push((now, self.estimate()));
    }

    /// Frames and audio that are due join the pacer's queue.
    fn make(&mut self, now: i64, random: &mut fastrand::Rng) {
        if self.audio && now >= self.audio_at {
            self.audio_at = now + AUDIO_US;
            self.queue.push_front(AUDIO_BYTES);
        }
        if now < self.frame_at {
            return;
        }
        self.frame_at = now + FRAME_US;
        let rate = self.video_bps.min(self.estimate() - 50e3).max(0.0);
        let backlog = self.queue.iter().sum::<usize>() as f64 * 8e6;
        let mut frame = std::mem::take(&mut self.keyframe);
        if backlog < self.estimate() * BACKLOG_US {
            frame += (rate / 8e6 * FRAME_US as f64 * (0.8 + 0.4 * random.f64())) as usize;
        }
        while frame > 0 {
            let bytes = frame.clamp(100, PACKET_BYTES);
            self.queue.push_back(bytes);
            frame = frame.saturating_sub(bytes);
        }
    }

    /// The pacer wakes: waiting media first, padding where a probe has none.
    fn send(&mut self, index: usize, now: i64, instant: Instant, link: &mut Link) {
        let probe = self.estimator.probe();
        self.probes += u64::from(probe.is_some() && !self.probing);
        if probe.is_some() != self.probing {
            self.tokens = self.tokens.min(0.0);
            self.probing = probe.is_some();
        }
        let rate = probe.map_or_else(|| self.estimator.pacing_bps(), |probe| probe.rate_bps);
        if now % (self.pacer_ms * MS) != 0 {
            return;
        }
        let turn = rate as f64 * self.pacer_ms as f64 / 8e3;
        self.tokens = (self.tokens + turn).min(turn * 2.0);
        while self.tokens > 0.0 {
            let probe = self.estimator.probe();
            if probe.is_none() && self.probing {
                break;
            }
            let padding = || {
                let wanted = probe?.packet_bytes as usize;
                let copied = self.copies && wanted > PADDING_BYTES_MAX;
                Some(if copied { PACKET_BYTES } else { wanted })
            };
            let Some(bytes) = self.queue.pop_front().or_else(padding) else {
                break;
            };
            self.tokens -= bytes as f64;
            let seq = self.estimator.on_sent(instant, bytes, probe.is_some());
            assert_eq!(u64::from(seq), self.sent & 0xffff);
            link.push(index, self.sent, bytes, now);
            self.sent += 1;
            self.packets += 1;
        }
    }

    /// Lowest, mean and highest estimate since then.
    pub(super) fn spread(&self, since: i64) -> (f64, f64, f64) {
        let estimates = || {
            (self.estimates.iter())
                .filter(|(at, _)| *at >= since)
                .map(|(_, bps)| *bps)
        };
        let mean = estimates().sum::<f64>() / estimates().count() as f64;
        let lowest = estimates().fold(f64::INFINITY, f64::min);
        (lowest, mean, estimates().fold(0.0, f64::max))
    }

    /// When the estimate first reached `bps` after `since`, in seconds from then.
    pub(super) fn reached(&self, since: i64, bps: f64) -> Option<f64> {
        let (at, _) =
            (self.estimates.iter()).find(|(at, estimate)| *at >= since && *estimate >= bps)?;
        Some((at - since) as f64 / 1e6)
    }
}

pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
