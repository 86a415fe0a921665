//! One direction of one browser's connection: rate, queue, delay, jitter, loss, reordering,
//! duplication, corruption, outage. All chance comes from the link's own seeded generator.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;

/// How a link treats datagrams. The default is a perfect wire with 10 ms of delay.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkConfig {
    /// In bit/s; `None` is infinitely fast.
    pub rate_bps: Option<u64>,
    /// How long a datagram may wait for its turn; one that would wait longer is dropped (tail drop).
    pub queue: Duration,
    /// Propagation delay.
    pub delay: Duration,
    /// Up to this much is added to the delay. Jitter alone does not reorder.
    pub jitter: Duration,
    /// Probabilities, 0 to 1, for each datagram.
    pub loss: f64,
    pub duplicate: f64,
    /// Of being overtaken by the datagrams of the next [`REORDER_DELAY`].
    pub reorder: f64,
    /// Of a damaged copy arriving beside the datagram.
    pub corrupt: f64,
    /// Of a copy with another SSRC arriving beside an RTP packet.
    pub forge_ssrc: f64,
    /// Nothing gets through.
    pub outage: bool,
}

/// How long a reordered datagram is held up.
pub const REORDER_DELAY: Duration = Duration::from_millis(8);

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            rate_bps: None,
            queue: Duration::from_millis(300),
            delay: Duration::from_millis(10),
            jitter: Duration::ZERO,
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            corrupt: 0.0,
            forge_ssrc: 0.0,
            outage: false,
        }
    }
}

impl LinkConfig {
    /// A narrow link with the default delay.
    pub fn rate(bps: u64) -> Self {
        Self {
            rate_bps: Some(bps),
            ..Self::default()
        }
    }

    /// A link that loses this part of the datagrams.
    pub fn loss(probability: f64) -> Self {
        Self {
            loss: probability,
            ..Self::default()
        }
    }

    /// A bad mobile network: everything at once, all of it mild.
    pub fn messy() -> Self {
        Self {
            delay: Duration::from_millis(30),
            jitter: Duration::from_millis(10),
            loss: 0.01,
            duplicate: 0.01,
            reorder: 0.02,
            ..Self::default()
        }
    }

    pub fn outage() -> Self {
        Self {
            outage: true,
            ..Self::default()
        }
    }
}

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
    /// When the last accepted datagram has left the queue.
    busy_until: Duration,
    last_arrival: Duration,
    scripted: Vec<ScriptedDrop>,
    /// When each SSRC was first sent, and when a scripted drop took a packet.
    first_sent: BTreeMap<u32, Duration>,
    taken: Vec<(Duration, u32)>,
    stats: LinkStats,
}

impl Link {
    pub fn new(config: LinkConfig, seed: u64) -> Self {
        Self {
            config,
            rng: Rng::with_seed(seed),
            busy_until: Duration::ZERO,
            last_arrival: Duration::ZERO,
            scripted: Vec::new(),
            first_sent: BTreeMap::new(),
            taken: Vec::new(),
            stats: LinkStats::default(),
        }
    }

    pub fn set_config(&mut self, config: LinkConfig) {
        self.config = config;
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
        if self.takes_scripted(now, datagram) || self.config.outage || self.chance(self.config.loss)
        {
            self.stats.lost += 1;
            return Vec::new();
        }
        let Some(departure) = self.departure(now, datagram.len()) else {
            self.stats.dropped += 1;
            return Vec::new();
        };
        let jitter = self.config.jitter.mul_f64(self.rng.f64());
        let mut at = departure + self.config.delay + jitter;
        if self.chance(self.config.reorder) {
            at += REORDER_DELAY;
        } else {
            at = at.max(self.last_arrival);
            self.last_arrival = at;
        }
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
        let Some(rate) = self.config.rate_bps else {
            return Some(now);
        };
        let start = self.busy_until.max(now);
        if start - now > self.config.queue {
            return None;
        }
        let nanos = (bytes as u64 + UDP_IP_HEADER_BYTES) * 8 * 1_000_000_000 / rate.max(1);
        self.busy_until = start + Duration::from_nanos(nanos);
        Some(self.busy_until)
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
const UDP_IP_HEADER_BYTES: u64 = 28;

/// The SSRC of an RTP packet; `None` for everything else, RTCP included (RFC 5761: payload types
/// 64 to 95 with the marker bit are RTCP).
pub fn rtp_ssrc(datagram: &[u8]) -> Option<u32> {
    let [first, second, _, _, _, _, _, _, a, b, c, d, ..] = *datagram else {
        return None;
    };
    let is_rtp = (128..=191).contains(&first) && !(192..=223).contains(&second);
    is_rtp.then(|| u32::from_be_bytes([a, b, c, d]))
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
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn rtp(ssrc: u32) -> Vec<u8> {
        let mut packet = vec![0x80, 96, 0, 1, 0, 0, 0, 0];
        packet.extend_from_slice(&ssrc.to_be_bytes());
        packet.resize(1_000, 0);
        packet
    }

    fn arrivals(config: LinkConfig, seed: u64, count: u32) -> Vec<Arrival> {
        let mut link = Link::new(config, seed);
        (0..count)
            .flat_map(|i| {
                link.send(
                    MS * i,
                    &[
                        20,
                        0,
                        0,
                        0,
                        0,
                        0,
                        0,
                        0,
                        0,
                        0,
                        0,
                        u8::try_from(i % 256).unwrap(),
                    ],
                )
            })
            .collect()
    }

    #[test]
    fn one_seed_is_one_run() {
        assert_eq!(
            arrivals(LinkConfig::messy(), 7, 500),
            arrivals(LinkConfig::messy(), 7, 500)
        );
        assert_ne!(
            arrivals(LinkConfig::messy(), 7, 500),
            arrivals(LinkConfig::messy(), 8, 500)
        );
    }

    #[test]
    fn loss_and_duplication_are_as_configured() {
        let config = LinkConfig {
            loss: 0.2,
            ..LinkConfig::default()
        };
        let through = arrivals(config, 1, 10_000).len();
        assert!((7_800..8_200).contains(&through), "{through}");
        let config = LinkConfig {
            duplicate: 0.2,
            ..LinkConfig::default()
        };
        let through = arrivals(config, 1, 10_000).len();
        assert!((11_800..12_200).contains(&through), "{through}");
    }

    #[test]
    fn jitter_keeps_the_order_and_reordering_breaks_it() {
        let in_order = |config| arrivals(config, 3, 1_000).is_sorted_by_key(|arrival| arrival.at);
        assert!(in_order(LinkConfig {
            jitter: 20 * MS,
            ..LinkConfig::default()
        }));
        assert!(!in_order(LinkConfig {
            reorder: 0.05,
            ..LinkConfig::default()
        }));
    }

    #[test]
    fn a_narrow_link_delays_and_then_drops() {
        let mut link = Link::new(
            LinkConfig {
                queue: 100 * MS,
                ..LinkConfig::rate(100_000)
            },
            1,
        );
        let at: Vec<_> = (0..20)
            .flat_map(|_| link.send(Duration::ZERO, &rtp(1)))
            .map(|a| a.at)
            .collect();
        // 1,028 bytes at 100 kbit/s take 82 ms: the first, and the second that waits for it.
        assert_eq!(at.len(), 2, "{at:?}");
        assert!(
            at.is_sorted() && at.iter().all(|at| *at >= 92 * MS),
            "{at:?}"
        );
        assert_eq!(link.stats().dropped, 18);
    }

    #[test]
    fn scripted_drops_hit_their_ssrc_alone() {
        let mut link = Link::new(LinkConfig::default(), 1);
        link.drop_next(ScriptedDrop { ssrc: 5, count: 2 });
        let through = [5, 6, 5, 5].map(|ssrc| link.send(Duration::ZERO, &rtp(ssrc)).len());
        assert_eq!(through, [0, 1, 0, 1]);
    }
}
