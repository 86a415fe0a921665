//! What has been sent again lately, and whether that has come: reports of arrival tell it of each copy, sooner than the receiver asks
//! once more.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::estimate::Fate;

/// A receiver's NACKs name no more packets than this within a round trip, unless its picture is lost anyway.
const PACKETS_MAX: usize = 256;
/// For so long it is remembered that a packet has been sent again: receivers ask about ten times, a round trip apart, or
/// 100 ms where they do not know it.
const MEMORY: Duration = Duration::from_secs(1);
/// For so long it is remembered that a packet has been asked for: as long as receivers ask, and with some to spare.
const ASKED_MAX: Duration = Duration::from_secs(2);
/// As so many a packet is sent again at once. Of more it is not known whether they have come.
const COPIES_MAX: usize = 6;

/// The packets of a stream that have been sent again lately, the longest ago first.
#[derive(Debug, Default)]
pub(super) struct Resent {
    packets: VecDeque<Packet>,
    /// What has been asked for lately, sent again or not, and when for the first time.
    asked: VecDeque<(u16, Instant)>,
}

#[derive(Debug, Clone, Copy)]
struct Packet {
    seq: u16,
    at: Instant,
    rounds: u8,
    /// The copies' numbers on the transport; none once it is known what has become of them.
    copies: [u16; COPIES_MAX],
    left: usize,
    /// None of them has come.
    is_lost: bool,
}

impl Resent {
    /// For how long a packet has been asked for, this time being one of them.
    pub(super) fn asked_for(&mut self, now: Instant, seq: u16) -> Duration {
        let since = |at: Instant| now.saturating_duration_since(at);
        let old = |(_, at): &mut (u16, Instant)| since(*at) >= ASKED_MAX;
        while self.asked.pop_front_if(old).is_some() {}
        if let Some((_, first)) = self.asked.iter().find(|(asked, _)| *asked == seq) {
            return since(*first);
        }
        if self.asked.len() < PACKETS_MAX {
            self.asked.push_back((seq, now));
        }
        Duration::ZERO
    }

    /// Notes that a packet is about to be sent again; how often it has been before. `None` where that has just been done: the
    /// receiver goes on asking until it arrives, and asks for it when it is already under way.
    pub(super) fn begin(&mut self, now: Instant, seq: u16, round_trip: Duration) -> Option<u8> {
        self.forget(now, MEMORY);
        if self.packets.len() >= PACKETS_MAX {
            self.forget(now, round_trip);
        }
        if self.packets.len() >= PACKETS_MAX {
            return None;
        }
        let known = self.packets.iter().position(|packet| packet.seq == seq);
        let known = known.and_then(|place| Some((place, *self.packets.get(place)?)));
        let rounds = match known {
            Some((_, packet)) if packet.age(now) < round_trip && !packet.is_lost => return None,
            Some((place, packet)) => {
                self.packets.remove(place);
                packet.rounds
            }
            None => 0,
        };
        self.packets.push_back(Packet {
            seq,
            at: now,
            rounds: rounds.saturating_add(1),
            copies: [0; COPIES_MAX],
            left: 0,
            is_lost: false,
        });
        Some(rounds)
    }

    /// A copy of a packet has left under this number of the transport.
    pub(super) fn note_left(&mut self, seq: u16, transport_seq: u16) {
        let mut newest = self.packets.iter_mut().rev();
        if let Some(packet) = newest.find(|packet| packet.seq == seq)
            && let Some(place) = packet.copies.get_mut(packet.left)
        {
            *place = transport_seq;
            packet.left += 1;
        }
    }

    /// The packets of which all copies are known to be lost, each once.
    pub(super) fn lost(
        &mut self,
        now: Instant,
        fate: impl Fn(u16) -> Fate,
    ) -> impl Iterator<Item = u16> {
        self.forget(now, MEMORY);
        self.packets.iter_mut().filter_map(move |packet| {
            let copies = packet.copies.get(..packet.left).unwrap_or_default();
            let fates = || copies.iter().map(|copy| fate(*copy));
            packet.is_lost |= !copies.is_empty() && fates().all(|fate| fate == Fate::Missing);
            if packet.is_lost || fates().any(|fate| fate == Fate::Arrived) {
                packet.left = 0;
            }
            // Only what has just been found out has had copies.
            (packet.is_lost && !copies.is_empty()).then_some(packet.seq)
        })
    }

    fn forget(&mut self, now: Instant, age: Duration) {
        let old = |packet: &mut Packet| packet.age(now) >= age;
        while self.packets.pop_front_if(old).is_some() {}
    }
}

impl Packet {
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(50);

    #[test]
    fn what_is_under_way_is_not_sent_again_and_what_is_lost_is_at_once() {
        let now = Instant::now();
        let soon = now + ROUND_TRIP / 2;
        let mut resent = Resent::default();
        assert_eq!(resent.begin(now, 7, ROUND_TRIP), Some(0));
        resent.note_left(7, 100);
        resent.note_left(7, 101);
        let one_missing = |seq| [Fate::Missing, Fate::Unknown][usize::from(seq - 100)];
        assert_eq!(resent.lost(soon, one_missing).count(), 0);
        assert_eq!(resent.begin(soon, 7, ROUND_TRIP), None);
        let lost: Vec<u16> = resent.lost(soon, |_| Fate::Missing).collect();
        assert_eq!(lost, [7]);
        assert_eq!(
            resent.lost(soon, |_| Fate::Missing).count(),
            0,
            "it is told once"
        );
        assert_eq!(resent.begin(soon, 7, ROUND_TRIP), Some(1));
        resent.note_left(7, 102);
        assert_eq!(
            resent.begin(soon, 7, ROUND_TRIP),
            None,
            "it is under way again"
        );
    }

    #[test]
    fn it_is_known_for_how_long_a_packet_has_been_asked_for() {
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        let mut resent = Resent::default();
        for (ms, seq, known) in [(0, 7, 0), (100, 8, 0), (300, 7, 300), (2_100, 7, 0)] {
            let asked_for = resent.asked_for(at(ms), seq);
            assert_eq!(asked_for, Duration::from_millis(known), "{seq} at {ms} ms");
        }
        (0..1_000).for_each(|seq| _ = resent.asked_for(at(2_200), seq));
        assert_eq!(resent.asked.len(), PACKETS_MAX);
    }

    #[test]
    fn one_copy_that_has_come_is_enough() {
        let now = Instant::now();
        let mut resent = Resent::default();
        let soon = now + ROUND_TRIP / 2;
        resent.begin(now, 7, ROUND_TRIP);
        resent.note_left(7, 100);
        resent.note_left(7, 101);
        let second = |seq| [Fate::Missing, Fate::Arrived][usize::from(seq - 100)];
        assert_eq!(resent.lost(soon, second).count(), 0);
        assert_eq!(
            resent.lost(soon, |_| Fate::Missing).count(),
            0,
            "that is settled"
        );
    }

    #[test]
    fn no_more_is_remembered_than_the_limit() {
        let now = Instant::now();
        let mut resent = Resent::default();
        let begun = (0..1_000).filter(|seq| resent.begin(now, *seq, ROUND_TRIP).is_some());
        assert_eq!(begun.count(), PACKETS_MAX);
        (0..100).for_each(|copy| resent.note_left(0, copy));
        assert_eq!(resent.lost(now, |_| Fate::Missing).count(), 1);
        assert_eq!(resent.lost(now + MEMORY, |_| Fate::Missing).count(), 0);
        assert!(resent.packets.is_empty());
    }
}
