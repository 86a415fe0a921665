//! What has left lately, by its transport-wide number, until the peer has said what became of it.

/// What a peer's reports have said about a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Not spoken of yet; the report may have been lost.
    Unknown,
    /// Not there when the report was made. It may still arrive.
    Missing,
    Arrived,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    /// Microseconds since the estimator's start.
    pub(super) at: i64,
    pub(super) bytes: u16,
    /// The probe cluster it belongs to.
    pub(super) cluster: Option<u8>,
    pub(super) fate: Fate,
}

const NEVER: Sent = Sent {
    at: 0,
    bytes: 0,
    cluster: None,
    fate: Fate::Arrived,
};

/// Entries that a peer starts with: 2 KiB, and enough for 3 Mbit/s at a round trip of 300 ms.
const LEN_MIN: usize = 128;
/// Entries that a peer may grow to: 128 KiB, or 10 s at 8 Mbit/s. More would remember what no report
/// speaks of any more, fewer would forget packets of a fast peer before its report arrives.
const LEN_MAX: usize = 8_192;
/// A packet without a report may be forgotten after this: no path takes so long to answer.
const AGE_US_MAX: i64 = 10_000_000;

const _: () = assert!(LEN_MIN.is_power_of_two() && LEN_MAX.is_power_of_two());

/// A ring that doubles only when it would forget a packet without a report.
#[derive(Debug)]
pub(super) struct History {
    ring: Vec<Sent>,
    /// The number of the next packet; its lower 16 bits go on the wire. It starts a lap ahead, so
    /// that numbers a lap behind exist.
    next: u64,
    /// Everything before has been judged: arrived, lost, or never reported.
    judged: u64,
}

const FIRST: u64 = 1 << 16;

impl History {
    pub(super) fn new() -> Self {
        Self {
            ring: vec![NEVER; LEN_MIN],
            next: FIRST,
            judged: FIRST,
        }
    }

    pub(super) fn push(&mut self, at: i64, bytes: usize, cluster: Option<u8>) -> u16 {
        let seq = self.next;
        if self.would_forget(seq, at) {
            self.grow();
        }
        self.next += 1;
        let index = self.index(seq);
        if let Some(entry) = self.ring.get_mut(index) {
            *entry = Sent {
                at,
                bytes: u16::try_from(bytes).unwrap_or(u16::MAX),
                cluster,
                fate: Fate::Unknown,
            };
        }
        wire(seq)
    }

    /// The number that a report means: the newest one sent with these lower bits.
    pub(super) fn unwrap(&self, seq: u16) -> u64 {
        let newest = self.next - 1;
        newest - u64::from(wire(newest).wrapping_sub(seq))
    }

    pub(super) fn get(&self, seq: u64) -> Option<&Sent> {
        self.holds(seq)
            .then(|| self.ring.get(self.index(seq)))
            .flatten()
    }

    pub(super) fn get_mut(&mut self, seq: u64) -> Option<&mut Sent> {
        let index = self.index(seq);
        self.holds(seq).then(|| self.ring.get_mut(index)).flatten()
    }

    pub(super) fn newest(&self) -> u64 {
        self.next - 1
    }

    /// The oldest packet that has not been judged, if it was sent before `until`.
    pub(super) fn judge_next(&mut self, newest: u64, until: i64) -> Option<(u64, Sent)> {
        self.judged = self.judged.max(self.oldest());
        if self.judged >= newest {
            return None;
        }
        let sent = *self.get(self.judged)?;
        if sent.at > until {
            return None;
        }
        self.judged += 1;
        Some((self.judged - 1, sent))
    }

    fn holds(&self, seq: u64) -> bool {
        (self.oldest()..self.next).contains(&seq)
    }

    fn oldest(&self) -> u64 {
        let len = u64::try_from(self.ring.len()).unwrap_or(0);
        self.next.saturating_sub(len).max(FIRST)
    }

    fn index(&self, seq: u64) -> usize {
        usize::from(wire(seq)) & (self.ring.len() - 1)
    }

    fn would_forget(&self, seq: u64, at: i64) -> bool {
        let old = self.ring.get(self.index(seq));
        self.ring.len() < LEN_MAX
            && self.judged <= self.oldest()
            && old.is_some_and(|old| old.fate != Fate::Arrived && at - old.at < AGE_US_MAX)
    }

    fn grow(&mut self) {
        let mut larger = vec![NEVER; self.ring.len() * 2];
        for seq in self.oldest()..self.next {
            let new = usize::from(wire(seq)) & (larger.len() - 1);
            if let (Some(to), Some(from)) = (larger.get_mut(new), self.ring.get(self.index(seq))) {
                *to = *from;
            }
        }
        self.ring = larger;
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.ring.len()
    }
}

/// A number as it is written into the header extension.
fn wire(seq: u64) -> u16 {
    (seq & 0xffff) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_wrap_and_are_found_again() {
        let mut history = History::new();
        let mut last = 0;
        for packet in 0..200_000 {
            last = history.push(packet * 1_000, 1_200, None);
            let seq = history.unwrap(last);
            assert_eq!(history.get(seq).unwrap().at, packet * 1_000);
            history.get_mut(seq).unwrap().fate = Fate::Arrived;
        }
        let before = history.unwrap(last.wrapping_sub(100));
        assert_eq!(history.get(before).unwrap().at, 199_899_000);
        let never_sent = history.unwrap(last.wrapping_add(1));
        assert!(history.get(never_sent).is_none());
        assert_eq!(
            history.len(),
            LEN_MIN,
            "reported packets make no room necessary"
        );
    }

    #[test]
    fn it_grows_for_packets_without_a_report_up_to_its_limit() {
        let mut history = History::new();
        for packet in 0..1_000 {
            history.push(packet * 1_000, 1_200, None);
        }
        assert_eq!(history.len(), 1_024);
        assert!(history.get(FIRST).is_some());
        for packet in 1_000..20_000 {
            history.push(packet * 100, 1_200, None);
        }
        assert_eq!(history.len(), LEN_MAX);
        assert!(history.get(FIRST).is_none());
    }

    #[test]
    fn slow_senders_never_grow_it_beyond_what_can_still_be_reported() {
        let mut history = History::new();
        for packet in 0..5_000 {
            history.push(packet * 20_000, 100, None);
        }
        assert_eq!(history.len(), 512);
    }
}
