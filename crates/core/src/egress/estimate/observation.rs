//! Loss over some moments, and whether so much is chance.

/// An observation is of at least so many packets, and so long. Fewer make chance look like a cause,
/// more make congestion last.
pub(super) const PACKETS_MIN: u32 = 30;
const OBSERVATION_US: i64 = 250_000;
/// One for which more packets are asked for ends after this all the same.
const ENOUGH_US: i64 = 1_000_000;
/// Observations that are longer than this say nothing about a rate.
const OBSERVATION_US_MAX: i64 = 3_000_000;
/// Packets lost in a row for longer than this are an outage, which says nothing about a rate.
const OUTAGE_US: i64 = 200_000;

#[derive(Debug, Default)]
pub(super) struct Observation {
    since: Option<i64>,
    last: i64,
    packets: u32,
    lost: u32,
    /// Losses in a row count once here.
    runs: u32,
    bytes: u64,
    /// Packets lost in a row of which the end is not known.
    row: Option<Run>,
}

#[derive(Debug)]
struct Run {
    since: i64,
    last: i64,
    packets: u32,
    bytes: u64,
}

/// What a whole observation says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    packets: f64,
    lost: f64,
    /// How many are lost in a row.
    pub(super) run: f64,
    /// Bits per second that were sent.
    pub(super) sent: f64,
}

/// What several observations say of loss together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Share {
    pub(super) packets: f64,
    lost: f64,
}

impl Share {
    pub(super) fn with(self, seen: Seen) -> Self {
        Self {
            packets: self.packets + seen.packets,
            lost: self.lost + seen.lost,
        }
    }

    pub(super) fn loss(self) -> f64 {
        self.lost / self.packets.max(1.0)
    }

    /// Whether so much more was lost than there that it is no chance: beyond so many standard deviations.
    pub(super) fn is_above(self, other: Self, deviations: f64) -> bool {
        let both = (self.lost + other.lost) / (self.packets + other.packets).max(1.0);
        let packets = 1.0 / self.packets.max(1.0) + 1.0 / other.packets.max(1.0);
        let deviation = (both * (1.0 - both) * packets).sqrt();
        self.loss() > other.loss() + deviations * deviation
    }
}

impl From<Seen> for Share {
    fn from(seen: Seen) -> Self {
        Self::default().with(seen)
    }
}

impl Seen {
    pub(super) fn loss(self) -> f64 {
        self.lost / self.packets
    }

    /// Whether more is lost than a path that loses `natural` does by chance: beyond so many standard deviations,
    /// and one run of lost packets.
    pub(super) fn exceeds(self, natural: f64, deviations: f64) -> bool {
        self.lost > lost_by_chance(self.packets, natural, self.run, deviations) + self.run
    }
}

/// How many packets a path that loses `natural`, `run` in a row at a time, loses by chance at the most: what is to be expected, and
/// so many standard deviations.
pub(super) fn lost_by_chance(packets: f64, natural: f64, run: f64, deviations: f64) -> f64 {
    let expected = packets * natural;
    expected + deviations * (expected * (1.0 - natural) * run).sqrt()
}

impl Observation {
    /// The fate of a packet, in the order in which they left.
    pub(super) fn add(&mut self, at: i64, bytes: u16, lost: bool) {
        let bytes = u64::from(bytes);
        if lost {
            let row = self.row.get_or_insert(Run {
                since: at,
                last: at,
                packets: 0,
                bytes: 0,
            });
            row.last = at;
            row.packets += 1;
            row.bytes += bytes;
            return;
        }
        match self.row.take() {
            Some(row) if row.last - row.since > OUTAGE_US => *self = Self::default(),
            Some(row) => {
                self.count(row.since, row.packets, row.bytes);
                self.lost += row.packets;
                self.runs += 1;
            }
            None => {}
        }
        self.count(at, 1, bytes);
    }

    /// What it says, once it is of so many packets and long enough. The next one starts then.
    pub(super) fn take(&mut self, packets: u32) -> Option<Seen> {
        let span = self.last - self.since?;
        let enough = self.packets >= packets || (span > ENOUGH_US && self.packets >= PACKETS_MIN);
        if span < OBSERVATION_US || !enough {
            return None;
        }
        let row = self.row.take();
        let whole = std::mem::replace(
            self,
            Self {
                row,
                ..Self::default()
            },
        );
        (span < OBSERVATION_US_MAX).then(|| Seen {
            packets: f64::from(whole.packets),
            lost: f64::from(whole.lost),
            run: f64::from(whole.lost) / f64::from(whole.runs.max(1)),
            sent: whole.bytes as f64 * 8e6 / span as f64,
        })
    }

    fn count(&mut self, at: i64, packets: u32, bytes: u64) {
        self.since.get_or_insert(at);
        self.last = at;
        self.packets += packets;
        self.bytes += bytes;
    }
}
