//! One direction of one browser's connection: rate, queue, delay, jitter, loss, reordering,
//! duplication, corruption, outage. All chance comes from the link's own seeded generator.

mod burst;
mod config;
mod trace;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use fastrand::Rng;

pub use burst::Bursts;
use burst::Weather;
pub use config::LinkConfig;
pub use trace::Trace;

/// How long a reordered datagram is held up.
pub const REORDER_DELAY: Duration = Duration::from_millis(8);

/// RTP packets that a test takes out of the stream by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScriptedDrop {
    pub ssrc: u32,
    /// How many of them.
    pub count: usize,
}

/// An arrival: when, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    pub at: Duration,
    pub datagram: Vec<u8>,
}

/// Plain counters of one link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkStats {
    pub sent: u64,
    pub bytes: u64,
    /// By random loss, outage and scripted drops.
    pub lost: u64,
    /// By the full queue.
    pub dropped: u64,
}

/// One direction of a connection.
#[derive(Debug)]
pub struct Link {
    config: LinkConfig,
    rng: Rng,
    /// When the link got its configuration.
    configured: Duration,
    weather: Weather,
    /// When the last accepted datagram has left the queue.
    busy_until: Duration,
    /// What has not left the queue yet: when it will have, and how large it is.
    queued: VecDeque<(Duration, usize)>,
    last_arrival: Duration,
    scripted: Vec<ScriptedDrop>,
    /// When each SSRC was first sent, and when a scripted drop took a packet.
    first_sent: BTreeMap<u32, Duration>,
    taken: Vec<(Duration, u32)>,
    stats: LinkStats,
    log: Option<Vec<Passage>>,
}

/// What became of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passage {
    pub at: Duration,
    /// On the wire, with the headers of UDP and IP.
    pub bytes: usize,
    /// SSRC and sequence number of an RTP packet.
    pub rtp: Option<(u32, u16)>,
    pub fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// When.
    Arrives(Duration),
    /// By chance, or by design of the test.
    Lost,
    /// The queue was full.
    Dropped,
}

impl Link {
    pub fn new(config: LinkConfig, seed: u64) -> Self {
        Self {
            config,
            rng: Rng::with_seed(seed),
            configured: Duration::ZERO,
            weather: Weather::default(),
            busy_until: Duration::ZERO,
            queued: VecDeque::new(),
            last_arrival: Duration::ZERO,
            scripted: Vec::new(),
            first_sent: BTreeMap::new(),
            taken: Vec::new(),
            stats: LinkStats::default(),
            log: None,
        }
    }

    pub fn set_config(&mut self, now: Duration, config: LinkConfig) {
        self.config = config;
        self.configured = now;
    }

    /// Remembers every datagram from now on.
    pub fn keep_log(&mut self) {
        self.log.get_or_insert_default();
    }

    pub fn log(&self) -> &[Passage] {
        self.log.as_deref().unwrap_or_default()
    }

    /// What the link carries at a moment, in bit/s; `None` where it is infinitely fast.
    pub fn rate_at(&self, now: Duration) -> Option<u64> {
        let since = now.saturating_sub(self.configured);
        let traced = self.config.trace.as_ref();
        traced
            .map(|trace| trace.rate_at(since))
            .or(self.config.rate_bps)
    }

    pub fn config(&self) -> &LinkConfig {
        &self.config
    }

    pub fn stats(&self) -> LinkStats {
        self.stats
    }

    /// When the first RTP packet of an SSRC was sent.
    pub fn first_sent(&self, ssrc: u32) -> Option<Duration> {
        self.first_sent.get(&ssrc).copied()
    }

    /// What scripted drops have taken: when, and of which SSRC.
    pub fn taken(&self) -> &[(Duration, u32)] {
        &self.taken
    }

    /// Drops the next RTP packets of an SSRC, whatever else the link does.
    pub fn drop_next(&mut self, drop: ScriptedDrop) {
        self.scripted.push(drop);
    }

    /// Sends a datagram and says when it arrives: never, once, or twice.
    pub fn send(&mut self, now: Duration, datagram: &[u8]) -> Vec<Arrival> {
        self.stats.sent += 1;
        self.stats.bytes += datagram.len() as u64;
        let fate = self.fate(now, datagram);
        if let Some(log) = &mut self.log {
            log.push(Passage {
                at: now,
                bytes: wire_bytes(datagram),
                rtp: rtp_ssrc(datagram).zip(rtp_sequence(datagram)),
                fate,
            });
        }
        match fate {
            Fate::Arrives(at) => self.arrivals(at, datagram),
            Fate::Lost => {
                self.stats.lost += 1;
                Vec::new()
            }
            Fate::Dropped => {
                self.stats.dropped += 1;
                Vec::new()
            }
        }
    }

    fn fate(&mut self, now: Duration, datagram: &[u8]) -> Fate {
        let bytes = wire_bytes(datagram);
        let bursts = self.config.bursts;
        if self.takes_scripted(now, datagram)
            || self.config.outage
            || self.config.mtu.is_some_and(|mtu| bytes > mtu)
            || self.chance(self.config.loss)
            || bursts.is_some_and(|bursts| self.weather.is_bad(now, bursts, &mut self.rng))
        {
            return Fate::Lost;
        }
        let Some(departure) = self.departure(now, bytes) else {
            return Fate::Dropped;
        };
        let jitter = self.config.jitter.mul_f64(self.rng.f64());
        let mut at = departure + self.config.delay + jitter;
        if self.chance(self.config.reorder) {
            at += REORDER_DELAY;
        } else {
            at = at.max(self.last_arrival);
            self.last_arrival = at;
        }
        Fate::Arrives(at)
    }

    fn arrivals(&mut self, at: Duration, datagram: &[u8]) -> Vec<Arrival> {
        let mut arrivals = vec![Arrival {
            at,
            datagram: datagram.to_vec(),
        }];
        if self.chance(self.config.duplicate) {
            arrivals.push(Arrival {
                at,
                datagram: datagram.to_vec(),
            });
        }
        if self.chance(self.config.corrupt) {
            let datagram = corrupted(datagram, &mut self.rng);
            arrivals.push(Arrival { at, datagram });
        }
        if rtp_ssrc(datagram).is_some() && self.chance(self.config.forge_ssrc) {
            let mut datagram = datagram.to_vec();
            if let Some(byte) = datagram.get_mut(8) {
                *byte ^= 0x55;
            }
            arrivals.push(Arrival { at, datagram });
        }
        arrivals
    }

    /// When a datagram has been put on the wire completely; `None` where the queue is full.
    fn departure(&mut self, now: Duration, bytes: usize) -> Option<Duration> {
        while self.queued.front().is_some_and(|(left, _)| *left <= now) {
            self.queued.pop_front();
        }
        let start = self.busy_until.max(now);
        let departure = match (&self.config.trace, self.config.rate_bps) {
            (Some(trace), _) => {
                let since = start.saturating_sub(self.configured);
                self.configured + trace.finish(since, bytes as u64 * 8)
            }
            (None, Some(rate)) => {
                start + Duration::from_nanos(bytes as u64 * 8 * 1_000_000_000 / rate.max(1))
            }
            (None, None) => return Some(now),
        };
        let waiting: usize = self.queued.iter().map(|(_, bytes)| bytes).sum();
        let room = self
            .config
            .queue_bytes
            .is_none_or(|most| waiting + bytes <= most);
        if start - now > self.config.queue || !room {
            return None;
        }
        self.queued.push_back((departure, bytes));
        self.busy_until = departure;
        Some(departure)
    }

    fn takes_scripted(&mut self, now: Duration, datagram: &[u8]) -> bool {
        let Some(ssrc) = rtp_ssrc(datagram) else {
            return false;
        };
        self.first_sent.entry(ssrc).or_insert(now);
        let drop = self
            .scripted
            .iter_mut()
            .find(|drop| drop.ssrc == ssrc && drop.count > 0);
        if let Some(drop) = drop {
            drop.count -= 1;
            self.taken.push((now, ssrc));
            return true;
        }
        false
    }

    fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.f64() < probability
    }
}

/// What a datagram takes on the wire beside its payload.
const UDP_IP_HEADER_BYTES: usize = 28;
/// Signatures vary by some bytes from run to run, and the datagrams of a handshake with them: they count as multiples of this.
const HANDSHAKE_BYTES: usize = 64;

fn wire_bytes(datagram: &[u8]) -> usize {
    // RFC 7983: DTLS, of which application data (23) has the length of what it holds.
    let is_handshake = datagram
        .first()
        .is_some_and(|first| (20..=63).contains(first) && *first != 23);
    let bytes = if is_handshake {
        datagram.len().next_multiple_of(HANDSHAKE_BYTES)
    } else {
        datagram.len()
    };
    bytes + UDP_IP_HEADER_BYTES
}

/// The SSRC of an RTP packet; `None` for everything else, RTCP included (RFC 5761: payload types
/// 64 to 95 with the marker bit are RTCP).
pub fn rtp_ssrc(datagram: &[u8]) -> Option<u32> {
    let [first, second, _, _, _, _, _, _, a, b, c, d, ..] = *datagram else {
        return None;
    };
    let is_rtp = (128..=191).contains(&first) && !(192..=223).contains(&second);
    is_rtp.then(|| u32::from_be_bytes([a, b, c, d]))
}

fn rtp_sequence(datagram: &[u8]) -> Option<u16> {
    let [_, _, high, low, ..] = *datagram else {
        return None;
    };
    Some(u16::from_be_bytes([high, low]))
}

/// A copy with a few flipped bits, sometimes cut short, sometimes with a tail.
pub fn corrupted(datagram: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut copy = datagram.to_vec();
    for _ in 0..rng.usize(1..8) {
        if let Some(byte) = rng.choice(copy.iter_mut()) {
            *byte ^= 1 << rng.u8(0..8);
        }
    }
    match rng.u8(0..4) {
        0 => copy.truncate(rng.usize(0..=copy.len())),
        1 => copy.extend((0..rng.usize(0..64)).map(|_| rng.u8(..))),
        _ => {}
    }
    copy
}

#[cfg(test)]
mod tests;
