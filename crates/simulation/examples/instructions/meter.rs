//! What is counted: calls of a shard that go through [`metered`], and memory that they allocate.
//!
//! callgrind counts instructions while [`metered`] runs, and starts anew at [`report`]: one count for each
//! metric, in the order of the lines. `cargo xtask bench` knows both by name.

use std::alloc::System;
use std::hint::black_box;
use std::time::{Duration, Instant};

use madang_core::sdp::{AnswerSdp, Offer};
use madang_core::{Command, Datagram, Engine, Shard, demux};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A call across the core's public border. Private functions would be inlined today and not tomorrow.
#[derive(Debug)]
pub(crate) enum Call<'a> {
    /// Beside the shard: the text of an offer is read.
    Read(&'a str, &'a mut Option<Offer>),
    /// The engine of somebody who joins with it is made.
    Engine(Offer, &'a mut Option<Engine>),
    /// And the text of an answer written.
    Write(&'a AnswerSdp, &'a mut String),
    Classify(&'a [u8]),
    Command(Command),
    Datagram(Datagram<'a>),
    Timeout,
    Flush,
}

/// The calls that a metric is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    Nothing,
    Classify,
    /// RTP that came in.
    Media,
    /// RTCP that came in.
    Feedback,
    /// Choosing, rewriting, sealing and pacing: all that happens to packets after they have come in.
    Forwarding,
    Commands,
    Everything,
}

impl Counted {
    fn covers(self, call: &Call<'_>) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::Classify => matches!(call, Call::Classify(_)),
            Self::Media => {
                matches!(call, Call::Datagram(datagram) if kind(datagram.contents) == Kind::Rtp)
            }
            Self::Feedback => {
                matches!(call, Call::Datagram(datagram) if kind(datagram.contents) == Kind::Rtcp)
            }
            Self::Forwarding => matches!(call, Call::Timeout | Call::Flush),
            Self::Commands => matches!(call, Call::Command(_) | Call::Flush),
        }
    }
}

/// Counts calls, what they send and what they allocate.
#[derive(Debug)]
pub(crate) struct Meter {
    pub(crate) counted: Counted,
    calls: u64,
    packets: u64,
    bytes: u64,
    /// Says nothing where callgrind counts.
    elapsed: Duration,
    allocations: usize,
    /// What each call allocated that did what the metric is about.
    each: Vec<usize>,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self {
            counted: Counted::Nothing,
            calls: 0,
            packets: 0,
            bytes: 0,
            elapsed: Duration::ZERO,
            allocations: 0,
            each: Vec::new(),
        }
    }

    pub(crate) fn call(&mut self, shard: &mut Shard, now: Instant, call: Call<'_>) {
        if !self.counted.covers(&call) {
            perform(shard, now, call);
            return;
        }
        let sent_before = shard.stats();
        let before = allocations();
        let start = Instant::now();
        metered(shard, now, call);
        self.elapsed += start.elapsed();
        let allocated = allocations() - before;
        let sent = shard.stats();
        let packets = sent.packets_out - sent_before.packets_out;
        self.bytes += sent.bytes_out - sent_before.bytes_out;
        self.calls += 1;
        self.packets += packets;
        self.allocations += allocated;
        if packets > 0 || self.counted != Counted::Forwarding {
            self.each.push(allocated);
        }
    }

    /// Nanoseconds for each packet that has left, and its bytes.
    pub(crate) fn take_packet(&mut self) -> (f64, usize) {
        let packets = self.packets.max(1);
        let time = self.elapsed.as_secs_f64() * 1e9 / packets as f64;
        let bytes = usize::try_from(self.bytes / packets).unwrap_or(0);
        *self = Self::new();
        (time, bytes)
    }

    /// Ends a metric whose unit is a call.
    pub(crate) fn report_calls(&mut self, name: &str) {
        self.report(name, self.calls);
    }

    /// Ends a metric whose unit is a packet that has left.
    pub(crate) fn report_packets(&mut self, name: &str) {
        self.report(name, self.packets);
    }

    /// Ends a metric that has done this many of what its name says.
    pub(crate) fn report(&mut self, name: &str, units: u64) {
        self.each.sort_unstable();
        let typical = self.each.get(self.each.len() / 2).copied();
        report(name, units, self.allocations, typical.unwrap_or(0));
        *self = Self::new();
    }
}

/// callgrind counts while this runs.
#[inline(never)]
fn metered(shard: &mut Shard, now: Instant, call: Call<'_>) {
    perform(shard, now, call);
}

/// callgrind closes a count when this is called.
#[inline(never)]
fn report(name: &str, units: u64, allocations: usize, typical: usize) {
    println!("{units}\t{allocations}\t{typical}\t{name}");
}

fn perform(shard: &mut Shard, now: Instant, call: Call<'_>) {
    match call {
        Call::Read(sdp, offer) => *offer = Offer::parse(black_box(sdp)).ok(),
        Call::Engine(offer, engine) => *engine = shard.engines().accept(now, offer).ok(),
        Call::Write(sdp, text) => *text = black_box(sdp).to_string(),
        Call::Classify(datagram) => {
            black_box(demux::classify(black_box(datagram)));
        }
        Call::Command(command) => shard.handle_command(now, command),
        Call::Datagram(datagram) => shard.handle_datagram(now, datagram),
        Call::Timeout => shard.handle_timeout(now),
        Call::Flush => shard.flush(now),
    }
}

fn allocations() -> usize {
    let stats = ALLOCATOR.stats();
    stats.allocations + stats.reallocations
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Rtp,
    Rtcp,
    Other,
}

/// RFC 7983 and RFC 5761.
fn kind(datagram: &[u8]) -> Kind {
    match datagram {
        [128..=191, 192..=223, ..] => Kind::Rtcp,
        [128..=191, ..] => Kind::Rtp,
        _ => Kind::Other,
    }
}
