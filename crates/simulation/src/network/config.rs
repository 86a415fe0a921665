//! What a link does to datagrams.

use std::time::Duration;

use super::{Bursts, Trace};

/// How a link treats datagrams. The default is a perfect wire with 10 ms of delay.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkConfig {
    /// In bit/s; `None` is infinitely fast.
    pub rate_bps: Option<u64>,
    /// A rate that changes with time, from the moment on at which the link gets this configuration; takes the
    /// place of `rate_bps`.
    pub trace: Option<Trace>,
    /// How long a datagram may wait for its turn; one that would wait longer is dropped (tail drop).
    pub queue: Duration,
    /// How many bytes may wait beside that.
    pub queue_bytes: Option<usize>,
    /// Propagation delay.
    pub delay: Duration,
    /// Up to this much is added to the delay. Jitter alone does not reorder.
    pub jitter: Duration,
    /// Probabilities, 0 to 1, for each datagram.
    pub loss: f64,
    /// Losses that come together.
    pub bursts: Option<Bursts>,
    pub duplicate: f64,
    /// Of being overtaken by the datagrams of the next [`REORDER_DELAY`](super::REORDER_DELAY).
    pub reorder: f64,
    /// Of a damaged copy arriving beside the datagram.
    pub corrupt: f64,
    /// Of a copy with another SSRC arriving beside an RTP packet.
    pub forge_ssrc: f64,
    /// IP packets that are larger vanish, and nobody is told: a black hole (RFC 4821 section 1).
    pub mtu: Option<usize>,
    /// Nothing gets through.
    pub outage: bool,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            rate_bps: None,
            trace: None,
            queue: Duration::from_millis(300),
            queue_bytes: None,
            delay: Duration::from_millis(10),
            jitter: Duration::ZERO,
            loss: 0.0,
            bursts: None,
            mtu: None,
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
