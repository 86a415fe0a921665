//! When a receiver asks for what it misses, as libwebrtc does it (`NackRequester`): at once, and again while it does not come.

use std::collections::BTreeMap;
use std::time::Duration;

use str0m::media::Mid;

use super::Browser;

/// When a stream's missing packets are asked for.
#[derive(Debug, Default)]
pub(super) struct Missing {
    newest: Option<u64>,
    /// By number: when it is asked for next, and how often it has been.
    packets: BTreeMap<u64, (Duration, u8)>,
    /// So many are missing that a keyframe is asked for in place of all.
    overflowed: bool,
}

/// It asks again when an answer would have come. Like a browser that sends nothing, it does not know the round trip, and takes it for
/// 100 ms.
const ANSWER: Duration = Duration::from_millis(105);
/// So often it asks for a packet, and for no more packets than those (`kMaxNackRetries`, `kMaxNackPackets`).
const ATTEMPTS: u8 = 10;
const PACKETS_MAX: usize = 1_000;

impl Missing {
    pub(super) fn newest(&self) -> Option<u64> {
        self.newest
    }

    /// Whether the packet had been asked for.
    pub(super) fn note(&mut self, now: Duration, sequence: u64) -> bool {
        let missed = self.packets.remove(&sequence);
        let newest = *self.newest.get_or_insert(sequence);
        let hole = newest + 1..sequence.max(newest + 1);
        if self.packets.len() as u64 + (hole.end - hole.start) > PACKETS_MAX as u64 {
            self.packets.clear();
            self.overflowed = true;
        } else {
            self.packets.extend(hole.map(|missing| (missing, (now, 0))));
        }
        self.newest = self.newest.max(Some(sequence));
        missed.is_some_and(|(_, asked)| asked > 0)
    }

    /// Nobody needs what is before this number any more.
    fn forget_before(&mut self, sequence: u64) {
        self.packets = self.packets.split_off(&sequence);
    }

    /// What is due, as it is numbered on the wire. It counts as asked for.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "sequence numbers are 16 bits on the wire"
    )]
    fn take_due(&mut self, now: Duration) -> Vec<u16> {
        self.packets
            .retain(|_, (due, asked)| *due > now || *asked < ATTEMPTS);
        let due = self.packets.iter_mut().filter(|(_, (due, _))| *due <= now);
        due.map(|(sequence, (due, asked))| {
            (*due, *asked) = (now + ANSWER, *asked + 1);
            *sequence as u16
        })
        .collect()
    }
}

impl Browser {
    /// A packet of a picture has come. Whether it had been asked for.
    pub(super) fn note_arrival(&mut self, now: Duration, mid: Mid, sequence: u64) -> bool {
        self.missing.entry(mid).or_default().note(now, sequence)
    }

    /// Asks for what is due.
    pub(super) fn ask_for_missing(&mut self, now: Duration) {
        let (Some(requests), Some(server)) = (&mut self.requests, self.server) else {
            return;
        };
        let mut overflowed = Vec::new();
        for (mid, missing) in &mut self.missing {
            if let Some(next) = self.video.get(mid).and_then(|decoder| decoder.next()) {
                missing.forget_before(next);
            }
            if std::mem::take(&mut missing.overflowed) {
                overflowed.push(*mid);
            }
            let numbers = missing.take_due(now);
            let mut direct = self.rtc.direct_api();
            let Some(stream) = direct
                .stream_rx_by_mid(*mid, None)
                .filter(|_| !numbers.is_empty())
            else {
                continue;
            };
            let datagram = requests.nack(*stream.ssrc(), &numbers);
            self.outgoing
                .extend(datagram.map(|datagram| (server, datagram)));
        }
        for mid in overflowed {
            self.ask_for_keyframe(now, mid);
        }
    }

    /// The engine asks for nothing by itself, of any stream that an answer has declared.
    pub(super) fn suppress_requests(&mut self) {
        let mut direct = self.rtc.direct_api();
        for ssrc in &self.declared {
            if let Some(stream) = direct.stream_rx(&(*ssrc).into()) {
                stream.suppress_nack(true);
            }
        }
    }
}
