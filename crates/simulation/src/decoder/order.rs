//! Puts packets back into the order of their sequence numbers.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::Received;

/// What comes next in the order of sequence numbers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Packet(Received),
    /// So many packets have not come in time.
    Lost(u64),
}

/// Holds packets back until what is before them has come, or has been waited for long enough.
#[derive(Debug)]
pub(super) struct Order {
    waiting: BTreeMap<u64, Received>,
    /// `None` until the first packet has been given out.
    next: Option<u64>,
    patience: Duration,
    /// What the stream may begin with.
    begins: fn(&Received) -> bool,
}

impl Order {
    pub(super) fn new(patience: Duration, begins: fn(&Received) -> bool) -> Self {
        Self {
            waiting: BTreeMap::new(),
            next: None,
            patience,
            begins,
        }
    }

    pub(super) fn next(&self) -> Option<u64> {
        self.next
    }

    /// A packet that is older than what has been given out is dropped: it came too late.
    pub(super) fn insert(&mut self, packet: Received) {
        if self.next.is_none_or(|next| packet.sequence >= next) {
            self.waiting.entry(packet.sequence).or_insert(packet);
        }
    }

    /// Whether all of these numbers wait.
    pub(super) fn holds(&self, numbers: RangeInclusive<u64>) -> bool {
        let count = numbers.end() - numbers.start() + 1;
        self.waiting.range(numbers).count() as u64 == count
    }

    /// The first packet of the picture that this one is part of, where all of them wait, and something before them is missing.
    pub(super) fn whole_beyond_a_hole(&self, sequence: u64) -> Option<&Received> {
        let oldest = *self.waiting.first_key_value()?.0;
        if Some(oldest) == self.next {
            return None;
        }
        let timestamp = self.waiting.get(&sequence)?.timestamp;
        let of_picture = |(_, packet): &(_, &Received)| packet.timestamp == timestamp;
        let (_, first) = self
            .waiting
            .range(..=sequence)
            .rev()
            .take_while(of_picture)
            .last()?;
        let (_, last) = self
            .waiting
            .range(sequence..)
            .take_while(of_picture)
            .last()?;
        let is_behind = self.next.unwrap_or(oldest) < first.sequence;
        let is_whole = last.marker && self.holds(first.sequence..=last.sequence);
        (is_behind && is_whole).then_some(first)
    }

    /// Goes on with this number: what waits before it is of no use. How many packets never came.
    pub(super) fn skip_to(&mut self, sequence: u64) -> u64 {
        let next = self.next.replace(sequence).unwrap_or(sequence);
        let later = self.waiting.split_off(&sequence);
        let came = std::mem::replace(&mut self.waiting, later).len() as u64;
        (sequence - next).saturating_sub(came)
    }

    pub(super) fn poll(&mut self, now: Duration) -> Option<Next> {
        let (&sequence, packet) = self.waiting.first_key_value()?;
        let patience = if self.next.is_none() && (self.begins)(packet) {
            START_PATIENCE
        } else {
            self.patience
        };
        let next = self.next.unwrap_or(sequence);
        if (sequence != next || self.next.is_none()) && now < packet.at + patience {
            return None;
        }
        if sequence != next {
            self.next = Some(sequence);
            return Some(Next::Lost(sequence - next));
        }
        self.next = Some(next + 1);
        self.waiting
            .pop_first()
            .map(|(_, packet)| Next::Packet(packet))
    }
}

/// The very first packet may have been overtaken by the second.
const START_PATIENCE: Duration = Duration::from_millis(20);
