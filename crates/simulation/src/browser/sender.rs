//! How an adaptive browser sends, as libwebrtc does: its encoders follow every estimate of the uplink, pictures leave at a multiple of
//! it, and probes are filled up with padding.
//!
//! The engine has a sender of its own, but tells of its estimate as the mean of three seconds, and may stand still far below
//! what an idle uplink carries. It writes packets and answers requests; when, and how many, is decided here.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use madang_core::UplinkEstimator;
use str0m::media::Mid;
use str0m::rtp::rtcp::{Rtcp, Twcc};
use str0m::rtp::{RawPacket, RtpHeader};

use crate::encoder::EncodedPacket;

#[derive(Debug)]
pub(super) struct Sender {
    start: Instant,
    estimator: UplinkEstimator,
    /// Pictures that wait, and their bytes.
    queue: VecDeque<(Mid, EncodedPacket)>,
    queued_bytes: usize,
    /// When all that has left would be through.
    free_at: Duration,
    /// What was sent again in the last second: when, and how many bytes.
    resent: VecDeque<(Duration, usize)>,
    wanted_bps: u64,
    /// The number of the last padding that was sent.
    padded: u64,
}

/// Where browsers begin (libwebrtc's default).
const START_BPS: u64 = 300_000;
/// libwebrtc's pacer: so many times the estimate, what waits leaves within two seconds, in steps of 5 ms.
const PACING_FACTOR: u64 = 5;
const PACING_DIVISOR: u64 = 2;
const QUEUE_SECONDS_MAX: u64 = 2;
const BURST: Duration = Duration::from_millis(5);
/// How far ahead of its rate a probe may run.
const PROBE_BURST: Duration = Duration::from_millis(2);
/// Probes look for this much of what the encoders would take.
const WANTED_PERCENT: u64 = 150;
const REPAIR_WINDOW: Duration = Duration::from_secs(1);

impl Sender {
    pub(super) fn new(start: Instant, now: Duration) -> Self {
        Self {
            start,
            estimator: UplinkEstimator::new(start + now, START_BPS),
            queue: VecDeque::new(),
            queued_bytes: 0,
            free_at: now,
            resent: VecDeque::new(),
            wanted_bps: 0,
            padded: 0,
        }
    }

    pub(super) fn estimate_bps(&self) -> u64 {
        self.estimator.estimate_bps().unwrap_or(START_BPS)
    }

    /// What repairs have taken in the last second, in bit/s.
    pub(super) fn repair_bps(&mut self, now: Duration) -> u64 {
        while self
            .resent
            .front()
            .is_some_and(|(at, _)| *at + REPAIR_WINDOW < now)
        {
            self.resent.pop_front();
        }
        let bytes = self.resent.iter().map(|(_, bytes)| *bytes as u64);
        bytes.sum::<u64>() * 8
    }

    /// What the encoders would take if there were bandwidth.
    pub(super) fn want(&mut self, now: Duration, bps: u64) {
        let wanted = bps * WANTED_PERCENT / 100;
        if wanted != self.wanted_bps {
            self.wanted_bps = wanted;
            self.estimator.set_demand(self.start + now, wanted);
        }
    }

    pub(super) fn push(&mut self, mid: Mid, packet: EncodedPacket) {
        self.queued_bytes += packet.payload.len();
        self.queue.push_back((mid, packet));
    }

    /// The next packet of a picture that may leave now.
    pub(super) fn pop(&mut self, now: Duration) -> Option<(Mid, EncodedPacket)> {
        self.estimator.on_timeout(self.start + now);
        if self.free_at > now + BURST {
            return None;
        }
        let next = self.queue.pop_front()?;
        self.queued_bytes -= next.1.payload.len();
        Some(next)
    }

    /// Padding that a probe wants now.
    pub(super) fn padding(&mut self, now: Duration) -> Option<EncodedPacket> {
        let free = self.queue.is_empty() && self.free_at <= now + PROBE_BURST;
        let probe = self.estimator.probe().filter(|_| free)?;
        let bytes = usize::try_from(probe.packet_bytes).ok()?;
        self.padded += 1;
        Some(EncodedPacket::padding(self.padded, now, bytes))
    }

    /// A packet has left, or a report has come.
    pub(super) fn note(&mut self, now: Duration, packet: RawPacket, is_repair: bool) {
        match packet {
            RawPacket::RtpTx(header, payload) => self.sent(now, &header, payload.len(), is_repair),
            RawPacket::RtcpRx(Rtcp::Twcc(report)) => self.reported(now, report),
            RawPacket::RtcpRx(_) | RawPacket::RtcpTx(_) | RawPacket::RtpRx(..) => {}
        }
    }

    fn sent(&mut self, now: Duration, header: &RtpHeader, bytes: usize, is_repair: bool) {
        let rate = match self.estimator.probe() {
            Some(probe) => probe.rate_bps,
            None => self.pacing_bps(),
        };
        let nanos = bytes as u64 * 8 * 1_000_000_000 / rate.max(1);
        self.free_at = self.free_at.max(now) + Duration::from_nanos(nanos);
        if is_repair {
            self.resent.push_back((now, bytes));
        }
        if let Some(number) = header.ext_vals.transport_cc {
            self.estimator.on_sent(self.start + now, number, bytes);
        }
    }

    fn reported(&mut self, now: Duration, report: Twcc) {
        let (base, reference_time, count) = (
            report.base_seq,
            report.reference_time,
            report.feedback_count,
        );
        let reference = self.start + UplinkEstimator::reference(reference_time);
        let statuses = report.into_iter(self.start, u64::from(base).into());
        let arrivals = statuses.map(|(_, _, at)| Some(at?.saturating_duration_since(reference)));
        let head = (base, reference_time, count);
        self.estimator.on_report(self.start + now, head, arrivals);
    }

    fn pacing_bps(&self) -> u64 {
        let paced = self.estimate_bps() * PACING_FACTOR / PACING_DIVISOR;
        paced.max(self.queued_bytes as u64 * 8 / QUEUE_SECONDS_MAX)
    }
}
