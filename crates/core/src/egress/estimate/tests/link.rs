//! A path in virtual time: a bottleneck with a queue, delay, jitter and loss behind it, and a receiver
//! that reports what has arrived.

use std::collections::{BTreeMap, VecDeque};

use super::super::super::twcc::{Feedback, REFERENCE_US, TICK_US, encode};

pub(super) const MS: i64 = 1_000;

/// What a path is like. A test may change it on the way.
#[derive(Debug, Clone)]
pub(super) struct Weather {
    pub(super) bps: f64,
    /// Bytes that fit into the queue, as their time at `bps`.
    pub(super) queue_ms: f64,
    /// One way, and the same back.
    pub(super) delay_ms: i64,
    /// Up to this much more for each packet.
    pub(super) jitter_ms: i64,
    /// Whether jitter lets packets overtake each other.
    pub(super) reorder: bool,
    /// Share of packets that is lost behind the queue, and how many are lost in a row at a time.
    pub(super) loss: f64,
    pub(super) burst: u32,
    /// Share of reports that is lost.
    pub(super) report_loss: f64,
    /// Nothing passes, either way.
    pub(super) outage: bool,
}

impl Weather {
    pub(super) fn fair(bps: f64) -> Self {
        Self {
            bps,
            queue_ms: 400.0,
            delay_ms: 25,
            jitter_ms: 0,
            reorder: false,
            loss: 0.0,
            burst: 1,
            report_loss: 0.02,
            outage: false,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Packet {
    flow: usize,
    seq: u64,
    bytes: usize,
    queued: i64,
}

/// The bottleneck, which flows may share.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) weather: Weather,
    queue: VecDeque<Packet>,
    queued_bytes: f64,
    busy_until: f64,
    lost_in_a_row: u32,
    last_arrival: i64,
    pub(super) dropped: u64,
    random: fastrand::Rng,
}

impl Link {
    pub(super) fn new(weather: Weather, seed: u64) -> Self {
        Self {
            weather,
            queue: VecDeque::new(),
            queued_bytes: 0.0,
            busy_until: 0.0,
            lost_in_a_row: 0,
            last_arrival: 0,
            dropped: 0,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    pub(super) fn push(&mut self, flow: usize, seq: u64, bytes: usize, now: i64) {
        let limit = (self.weather.bps * self.weather.queue_ms / 8e3).max(1_500.0);
        if self.weather.outage || self.queued_bytes + bytes as f64 > limit {
            self.dropped += u64::from(!self.weather.outage);
            return;
        }
        self.queued_bytes += bytes as f64;
        self.queue.push_back(Packet {
            flow,
            seq,
            bytes,
            queued: now,
        });
    }

    /// How long a packet that comes now waits.
    pub(super) fn wait_ms(&self) -> f64 {
        self.queued_bytes * 8e3 / self.weather.bps
    }

    /// What the bottleneck lets through until `now` goes to the receivers.
    pub(super) fn pass(&mut self, now: i64, receivers: &mut [Receiver]) {
        while let Some(packet) = self.queue.front().copied() {
            let starts = self.busy_until.max(packet.queued as f64);
            let ends = starts + packet.bytes as f64 * 8e6 / self.weather.bps;
            if ends > now as f64 {
                return;
            }
            self.queue.pop_front();
            self.queued_bytes -= packet.bytes as f64;
            self.busy_until = ends;
            if self.weather.outage || self.loses() {
                continue;
            }
            let jitter = self.random.i64(0..=self.weather.jitter_ms * MS);
            let mut arrival = ends as i64 + self.weather.delay_ms * MS + jitter;
            if !self.weather.reorder {
                arrival = arrival.max(self.last_arrival);
                self.last_arrival = arrival;
            }
            receivers[packet.flow].push(packet.seq, packet.bytes, arrival);
        }
    }

    fn loses(&mut self) -> bool {
        if self.lost_in_a_row > 0 {
            self.lost_in_a_row -= 1;
            return true;
        }
        let starts = self.random.f64() < self.weather.loss / f64::from(self.weather.burst);
        if starts {
            self.lost_in_a_row = self.weather.burst - 1;
        }
        starts
    }
}

/// Reports as browsers do: every 50 to 100 ms what is new, and late ones again with what follows them.
#[derive(Debug)]
pub(super) struct Receiver {
    /// On their way, by arrival.
    coming: BTreeMap<(i64, u64), usize>,
    arrived: BTreeMap<u64, i64>,
    next: Option<u64>,
    report_at: i64,
    reports: u8,
    /// What its clock is ahead.
    pub(super) clock: i64,
    pub(super) bytes: u64,
    random: fastrand::Rng,
}

impl Receiver {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            coming: BTreeMap::new(),
            arrived: BTreeMap::new(),
            next: None,
            report_at: 0,
            reports: 0,
            clock: 7_777_777_777,
            bytes: 0,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    fn push(&mut self, seq: u64, bytes: usize, arrival: i64) {
        self.coming.insert((arrival, seq), bytes);
    }

    /// What has arrived by `now`; the body of a report, if one is due.
    pub(super) fn report(&mut self, now: i64) -> Option<Vec<u8>> {
        while let Some(entry) = self.coming.first_entry() {
            let (arrival, seq) = *entry.key();
            if arrival > now {
                break;
            }
            self.bytes += entry.remove() as u64;
            self.arrived.insert(seq, arrival);
            self.next = Some(self.next.map_or(seq, |next| next.min(seq)));
        }
        if now < self.report_at {
            return None;
        }
        self.report_at = now + self.random.i64(50 * MS..100 * MS);
        let first = self.next?;
        let (newest, _) = self.arrived.last_key_value()?;
        let newest = *newest;
        if newest < first {
            return None;
        }
        let reported = self.arrived.range(first..);
        let earliest = reported.map(|(_, arrival)| *arrival).min()? + self.clock;
        let reference = earliest.div_euclid(REFERENCE_US);
        let arrivals = (first..=newest)
            .map(|seq| {
                let arrival = self.arrived.get(&seq)? + self.clock;
                i32::try_from((arrival - reference * REFERENCE_US) / TICK_US).ok()
            })
            .collect();
        self.next = Some(newest + 1);
        self.reports = self.reports.wrapping_add(1);
        self.arrived.retain(|_, arrival| *arrival > now - 500 * MS);
        Some(encode(&Feedback {
            base: u16::try_from(first & 0xffff).unwrap(),
            reference_time: u32::try_from(reference.rem_euclid(1 << 24)).unwrap(),
            number: self.reports,
            arrivals,
        }))
    }
}
