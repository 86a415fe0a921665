//! When a receiver asks for what it misses: at once, as libwebrtc does it (`NackRequester::OnReceivedPacket`), and again while it does not
//! come. The engine by itself would ask in steps of 33 ms from the last time, whether something was missing then or not.

use std::collections::BTreeMap;
use std::time::Duration;

use str0m::Input;
use str0m::media::Mid;

use super::Browser;

/// When a stream's missing packets are asked for.
#[derive(Debug, Default)]
pub(super) struct Missing {
    newest: Option<u64>,
    /// By number: when it is asked for next, and how often it has been.
    packets: BTreeMap<u64, (Duration, u8)>,
}

/// The engine asks no sooner than this after it has asked, for any stream.
const ASK_INTERVAL: Duration = Duration::from_millis(33);
/// It asks again when an answer would have come. Like a browser that sends nothing, it does not know the round trip, and takes it for
/// 100 ms.
const ANSWER: Duration = Duration::from_millis(105);
/// So often it asks for a packet, and for no more packets than those.
const ATTEMPTS: u8 = 5;
const HOLE_MAX: u64 = 100;

impl Missing {
    /// Whether the packet had been asked for.
    pub(super) fn note(&mut self, now: Duration, sequence: u64) -> bool {
        let missed = self.packets.remove(&sequence);
        let newest = *self.newest.get_or_insert(sequence);
        if sequence > newest + HOLE_MAX {
            self.packets.clear();
        } else {
            let hole = newest + 1..sequence;
            self.packets.extend(hole.map(|missing| (missing, (now, 0))));
        }
        self.newest = self.newest.max(Some(sequence));
        missed.is_some_and(|(_, asked)| asked > 0)
    }

    fn is_due(&self, now: Duration) -> bool {
        self.packets.values().any(|(due, _)| *due <= now)
    }

    fn asked(&mut self, now: Duration) {
        for (due, asked) in self.packets.values_mut().filter(|(due, _)| *due <= now) {
            (*due, *asked) = (now + ANSWER, *asked + 1);
        }
        self.packets.retain(|_, (_, asked)| *asked < ATTEMPTS);
    }
}

impl Browser {
    /// A packet of a picture has come. Whether it had been asked for.
    pub(super) fn note_arrival(&mut self, now: Duration, mid: Mid, sequence: u64) -> bool {
        self.missing.entry(mid).or_default().note(now, sequence)
    }

    /// Asks for what is due. The engine is allowed to in these moments alone.
    pub(super) fn ask_for_missing(&mut self, now: Duration) {
        let may_ask = self.asked_at.is_none_or(|at| now >= at + ASK_INTERVAL);
        if !may_ask || !self.missing.values().any(|missing| missing.is_due(now)) {
            return;
        }
        self.asked_at = Some(now);
        self.allow_requests();
        self.input(now, Input::Timeout(self.start + now));
        self.suppress_requests();
        for missing in self.missing.values_mut() {
            missing.asked(now);
        }
    }

    fn allow_requests(&mut self) {
        let mut direct = self.rtc.direct_api();
        for mid in self.missing.keys() {
            if let Some(stream) = direct.stream_rx_by_mid(*mid, None) {
                stream.suppress_nack(false);
            }
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
