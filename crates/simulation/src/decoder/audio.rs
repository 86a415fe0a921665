//! An audio receiver: gaps, talk spurts, timestamps.

use std::time::Duration;

use super::order::{Next, Order};
use super::{Complaint, Fault, Received, Verdict, check_timestamp};
use crate::payload::{Tag, parse_opus};

/// A packet that was played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    pub at: Duration,
    pub tag: Tag,
    pub marker: bool,
    pub timestamp: u32,
}

/// Checks the stream of one audio slot.
#[derive(Debug)]
pub struct AudioDecoder {
    order: Order,
    verdict: Verdict,
    last: Option<Heard>,
    heard: Vec<Heard>,
    hole: bool,
}

/// How long the jitter buffer waits: audio is not repaired.
const PATIENCE: Duration = Duration::from_millis(200);
const CLOCK_RATE: u32 = 48_000;
/// Half a packet of 20 ms.
const HALF_PACKET: Duration = Duration::from_millis(10);
/// A new voice may start with what it said just before it was chosen: so far may the slot's clock get
/// ahead, and be put right at the next switch.
const REPLAY: Duration = Duration::from_millis(150);

impl Default for AudioDecoder {
    fn default() -> Self {
        Self {
            order: Order::new(PATIENCE, |_| true),
            verdict: Verdict::default(),
            last: None,
            heard: Vec::new(),
            hole: false,
        }
    }
}

impl AudioDecoder {
    pub fn receive(&mut self, packet: Received) {
        let now = packet.at;
        self.verdict.check_ssrc(&packet);
        self.order.insert(packet);
        self.advance(now);
    }

    /// Gives up on what has been waited for long enough.
    pub fn advance(&mut self, now: Duration) {
        while let Some(next) = self.order.poll(now) {
            match next {
                Next::Packet(packet) => self.accept(&packet),
                Next::Lost(count) => {
                    self.verdict.lost += count;
                    self.hole = true;
                }
            }
        }
    }

    pub fn complaints(&self) -> &[Complaint] {
        &self.verdict.complaints
    }

    pub fn heard(&self) -> &[Heard] {
        &self.heard
    }

    /// Packets that never came.
    pub fn lost(&self) -> u64 {
        self.verdict.lost
    }

    fn accept(&mut self, packet: &Received) {
        let Some(tag) = parse_opus(&packet.payload) else {
            self.verdict.complain(
                packet.at,
                Fault::Garbled {
                    sequence: packet.sequence,
                },
            );
            return;
        };
        let heard = Heard {
            at: packet.at,
            tag,
            marker: packet.marker,
            timestamp: packet.timestamp,
        };
        if let Some(before) = self.last {
            self.check_succession(&before, &heard);
        }
        self.hole = false;
        self.last = Some(heard);
        self.heard.push(heard);
    }

    fn check_succession(&mut self, before: &Heard, heard: &Heard) {
        // Within a talk spurt of one source every packet follows the one before it.
        let same_spurt =
            (before.tag.source, before.tag.layer) == (heard.tag.source, heard.tag.layer);
        if same_spurt
            && heard.tag.layer != 0
            && !self.hole
            && heard.tag.frame != before.tag.frame + 1
        {
            self.verdict
                .complain(heard.at, Fault::HiddenLoss { frame: heard.tag });
        }
        let tolerance = if before.tag.source == heard.tag.source {
            HALF_PACKET
        } else {
            REPLAY
        };
        check_timestamp(
            &mut self.verdict,
            heard.at,
            (&before.tag, before.timestamp),
            (&heard.tag, heard.timestamp),
            (CLOCK_RATE, tolerance),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::{AudioEncoder, StartValues};
    use crate::payload::Codec;

    const AUDIO_PACKET: Duration = Duration::from_millis(20);

    /// Three seconds of somebody talking, changed by `spoil`.
    fn complaints(spoil: impl Fn(usize, &mut Received) -> bool) -> Vec<Fault> {
        let mut microphone = AudioEncoder::new(1, false, true, StartValues::default(), 1);
        microphone.talk(Some(-20));
        let mut decoder = AudioDecoder::default();
        for i in 0..150 {
            let at = AUDIO_PACKET * i;
            let packet = microphone.encode_packet(at).unwrap();
            let mut received = Received {
                at,
                codec: Codec::Opus,
                ssrc: 1,
                sequence: packet.sequence,
                timestamp: packet.timestamp,
                marker: packet.marker,
                descriptor: None,
                repaired: false,
                hold: None,
                payload: packet.payload,
            };
            if spoil(i as usize, &mut received) {
                decoder.receive(received);
            }
        }
        decoder
            .complaints()
            .iter()
            .map(|complaint| complaint.fault.clone())
            .collect()
    }

    #[test]
    fn a_good_stream_and_a_visible_loss_are_fine() {
        assert_eq!(complaints(|_, _| true), []);
        assert_eq!(complaints(|i, _| i != 40), []);
    }

    #[test]
    fn a_hidden_loss_is_seen() {
        let hidden = complaints(|i, packet| {
            packet.sequence -= u64::from(i > 40);
            i != 40
        });
        assert!(
            matches!(hidden[..], [Fault::HiddenLoss { .. }]),
            "{hidden:?}"
        );
    }

    #[test]
    fn a_jump_of_the_timestamp_and_a_new_ssrc_are_seen() {
        let jump = complaints(|i, packet| {
            packet.timestamp = packet.timestamp.wrapping_add(if i > 40 { 960 } else { 0 });
            true
        });
        assert!(matches!(jump[..], [Fault::Timestamp { .. }]), "{jump:?}");
        let ssrc = complaints(|i, packet| {
            packet.ssrc += u32::from(i > 40);
            true
        });
        assert_eq!(ssrc, [Fault::SsrcChanged { from: 1, to: 2 }]);
        let garbled = complaints(|i, packet| {
            packet.payload.truncate(if i == 40 { 3 } else { 80 });
            true
        });
        assert!(
            matches!(
                garbled[..],
                [Fault::Garbled { .. }, Fault::HiddenLoss { .. }]
            ),
            "{garbled:?}"
        );
    }
}
