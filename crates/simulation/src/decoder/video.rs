//! A video receiver: frames, references, timestamps.

mod counters;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::descriptor::Descriptors;
use super::order::{Next, Order};
use super::{Complaint, Fault, Received, Verdict, check_timestamp};
use crate::payload::{
    Codec, Tag, VideoPacket, Vp8Descriptor, Vp9Descriptor, parse_av1, parse_h264, parse_opaque,
    parse_vp8, parse_vp9,
};

/// A picture that could be decoded: the frame of its largest layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// When all of its packets had come, and all that it is predicted from: libwebrtc's frame buffer waits for nothing else.
    pub at: Duration,
    /// When its turn came in the order of decoding: what is before it had come, or had been given up.
    pub turn_at: Duration,
    /// When its first packet arrived.
    pub first_at: Duration,
    /// When its last packet arrived, whatever it is predicted from.
    pub came_at: Duration,
    /// Some of it had been asked for.
    pub repaired: bool,
    /// For how long the sender wants it to be held at the least.
    pub hold: Duration,
    pub tag: Tag,
    pub timestamp: u32,
}

/// Checks the stream of one video slot.
#[derive(Debug)]
pub struct VideoDecoder {
    order: Order,
    verdict: Verdict,
    current: Option<Frame>,
    /// The last frame that began, complete or not.
    last: Option<Frame>,
    /// Frames of the current source and layer that could be decoded since the last keyframe, and when they could be.
    decoded: BTreeMap<u32, Duration>,
    shown: Vec<Shown>,
    /// Something was lost since the last frame began.
    hole: bool,
    /// Something was lost since the last decoded frame of temporal layer 0, or before the first packet, when this receiver could not
    /// decrypt yet: what cannot be decoded is no hidden loss.
    broken: bool,
    /// All frames of the picture in progress could be decoded.
    whole: bool,
    /// A picture had been kept: what was captured until then is to be shown in no less than half of its time.
    catching_up: Duration,
    descriptors: Descriptors,
    frames_undecodable: u64,
    packets: u64,
    /// The first frame of which all packets have come is no keyframe.
    begins_amid: Option<bool>,
    first_packet_at: Option<Duration>,
    last_packet_at: Duration,
    /// The timestamp of the last keyframe, and when a packet of it came last.
    keyframe_packet: Option<(u32, Duration)>,
    /// What a packet has said last of holding pictures.
    hold: Duration,
    /// Camera and stream, number and picture id of the newest frames of VP9.
    ids: VecDeque<((u32, u8), u32, u16)>,
}

/// A frame in progress.
#[derive(Debug, Clone, Copy)]
struct Frame {
    tag: Tag,
    vp8: Option<Vp8Descriptor>,
    vp9: Option<Vp9Descriptor>,
    timestamp: u32,
    first_at: Duration,
    /// When the last of its packets came that have come.
    came_at: Duration,
    repaired: bool,
    next_packet: u16,
    damaged: bool,
    /// Whether its last packet had the marker bit, once it has come.
    marker: Option<bool>,
}

/// How long a receiver waits for a missing packet: as long as it asks for it.
const PATIENCE: Duration = Duration::from_millis(1_200);
/// How long a receiver waits for the first picture, and for the next one, before it asks for a keyframe (libwebrtc's
/// `kMaxWaitForKeyFrame` and `kMaxWaitForFrame`).
const KEYFRAME_WAIT: Duration = Duration::from_millis(200);
const FRAME_WAIT: Duration = Duration::from_secs(3);
/// A stream of which nothing has come for so long has ended, or paused (libwebrtc's `kInactiveDuration`).
const INACTIVE_AFTER: Duration = Duration::from_secs(5);
const CLOCK_RATE: u32 = 90_000;
/// Half a frame at 30 frames per second: a switch may snap to the cadence, and no more. Two steps of
/// virtual time are added, since a server without sender reports goes by arrival.
const TOLERANCE: Duration = Duration::from_micros(16_700 + 2_000);
/// So much newer may be what was sent before a keyframe that had to be repaired.
const OVERTAKEN_MAX: Duration = Duration::from_millis(150);
/// What comes later than that after its capture, and after all that came before, has been kept.
const KEPT_MIN: Duration = Duration::from_millis(100);
/// A browser's first sender report of a layer comes within a second. Until then nothing but arrivals tells how far two layers are
/// apart, which differ by what its pacer holds back of the first keyframes.
const UNREPORTED_FRAMES: u32 = 30;
const UNREPORTED_MAX: Duration = Duration::from_millis(150);

impl Default for VideoDecoder {
    fn default() -> Self {
        Self {
            order: Order::new(PATIENCE, begins),
            verdict: Verdict::default(),
            current: None,
            last: None,
            decoded: BTreeMap::new(),
            shown: Vec::new(),
            // What was before the first packet is unknown.
            hole: true,
            broken: true,
            whole: true,
            catching_up: Duration::ZERO,
            descriptors: Descriptors::default(),
            frames_undecodable: 0,
            packets: 0,
            begins_amid: None,
            first_packet_at: None,
            last_packet_at: Duration::ZERO,
            keyframe_packet: None,
            hold: Duration::ZERO,
            ids: VecDeque::new(),
        }
    }
}

impl VideoDecoder {
    pub fn receive(&mut self, packet: Received) {
        let now = packet.at;
        self.packets += 1;
        self.first_packet_at.get_or_insert(now);
        self.last_packet_at = now;
        self.hold = packet.hold.unwrap_or(self.hold);
        self.verdict.check_ssrc(&packet);
        let sequence = packet.sequence;
        let timestamp = packet.timestamp;
        let frame = parse(&packet).map(|parsed| {
            let first = sequence.saturating_sub(u64::from(parsed.tag.packet));
            let numbers = first..=first + u64::from(parsed.tag.packets) - 1;
            (numbers, parsed.tag.is_keyframe())
        });
        self.order.insert(packet);
        if frame.as_ref().is_some_and(|(_, is_keyframe)| *is_keyframe) {
            self.keyframe_packet = Some((timestamp, now));
        }
        if let Some((numbers, is_keyframe)) = frame
            && self.begins_amid.is_none()
            && self.order.holds(numbers)
        {
            self.begins_amid = Some(!is_keyframe);
        }
        self.advance(now);
        // A keyframe needs nothing that was before it: once all of its layers have come, receivers do not wait for what is missing there.
        let whole = self.order.whole_beyond_a_hole(sequence);
        let keyframe =
            whole.filter(|first| parse(first).is_some_and(|it| it.tag.starts_keyframe()));
        if let Some(first) = keyframe.map(|first| first.sequence) {
            let lost = self.order.skip_to(first);
            self.lose(lost);
            self.advance(now);
        }
    }

    /// Gives up on what has been waited for long enough.
    pub fn advance(&mut self, now: Duration) {
        while let Some(next) = self.order.poll(now) {
            match next {
                Next::Packet(packet) => self.accept(now, &packet),
                Next::Lost(count) => self.lose(count),
            }
        }
    }

    fn lose(&mut self, count: u64) {
        self.verdict.lost += count;
        self.hole = true;
        self.broken = true;
        self.current = None;
    }

    /// Whether a keyframe is to be asked for, which was done last at `asked`: when no picture has been shown for too long though packets
    /// come, and none of them is a keyframe's (libwebrtc's `VideoReceiveStream2::HandleFrameBufferTimeout`), or when the first frame that has come
    /// whole is none to begin with (`RtpVideoStreamReceiver2::OnAssembledFrame`).
    pub fn wants_keyframe(&self, now: Duration, asked: Option<Duration>) -> bool {
        if asked.is_none() && self.shown.is_empty() && self.begins_amid == Some(true) {
            return true;
        }
        let (since, wait) = match self.shown.last() {
            Some(shown) => (shown.at, FRAME_WAIT),
            None => (self.first_packet_at.unwrap_or(now), KEYFRAME_WAIT),
        };
        let waited = now >= since.max(asked.unwrap_or_default()) + wait;
        let comes = self
            .keyframe_packet
            .is_some_and(|(_, at)| now < at + KEYFRAME_WAIT);
        waited && !comes && now < self.last_packet_at + INACTIVE_AFTER
    }

    pub fn complaints(&self) -> &[Complaint] {
        &self.verdict.complaints
    }

    pub fn shown(&self) -> &[Shown] {
        &self.shown
    }

    /// What is before this number has come, or is needed no more.
    pub fn next(&self) -> Option<u64> {
        self.order.next()
    }

    /// Packets that never came.
    pub fn lost(&self) -> u64 {
        self.verdict.lost
    }

    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Frames that came and could not be decoded.
    pub fn frames_undecodable(&self) -> u64 {
        self.frames_undecodable
    }

    fn accept(&mut self, now: Duration, packet: &Received) {
        if packet.payload.is_empty() {
            return;
        }
        let Some(parsed) = parse(packet) else {
            self.verdict.complain(
                packet.at,
                Fault::Garbled {
                    sequence: packet.sequence,
                },
            );
            return;
        };
        if self
            .current
            .is_some_and(|frame| frame.continues_with(&parsed.tag))
        {
            self.continue_frame(packet, &parsed);
        } else {
            self.begin_frame(packet, &parsed);
        }
        // Whether the last packet has it rightly is known when the next frame comes.
        if packet.marker && parsed.tag.packet + 1 != parsed.tag.packets {
            self.verdict
                .complain(packet.at, Fault::Marker { packet: parsed.tag });
        }
        if let Some(what) = self.descriptors.accept(packet, &parsed.tag)
            && !self.broken
        {
            let fault = Fault::Descriptor {
                what,
                tag: parsed.tag,
            };
            self.verdict.complain(packet.at, fault);
        }
        self.end_frame_if_complete(now, packet);
    }

    fn continue_frame(&mut self, packet: &Received, parsed: &VideoPacket) {
        let Some(frame) = &mut self.current else {
            return;
        };
        if frame.timestamp != packet.timestamp {
            let fault = Fault::TimestampWithinFrame {
                frame: frame.tag,
                next: parsed.tag,
            };
            self.verdict.complain(packet.at, fault);
        }
        frame.next_packet += 1;
        frame.came_at = frame.came_at.max(packet.at);
        frame.repaired |= packet.repaired;
    }

    fn begin_frame(&mut self, packet: &Received, parsed: &VideoPacket) {
        let tag = parsed.tag;
        if let Some(torn) = self.current.take() {
            self.verdict.complain(
                packet.at,
                Fault::TornFrame {
                    frame: torn.tag,
                    next: tag,
                },
            );
        } else if tag.packet != 0 && !self.hole {
            let before = self.last.map_or(tag, |frame| frame.tag);
            self.verdict.complain(
                packet.at,
                Fault::TornFrame {
                    frame: before,
                    next: tag,
                },
            );
        }
        if tag.packet == 0 && tag.is_keyframe() != parsed.starts_keyframe {
            self.verdict.complain(
                packet.at,
                Fault::Garbled {
                    sequence: packet.sequence,
                },
            );
        }
        let mut frame = Frame {
            tag,
            vp8: parsed.vp8,
            vp9: parsed.vp9,
            marker: None,
            timestamp: packet.timestamp,
            first_at: packet.at,
            came_at: packet.at,
            repaired: packet.repaired,
            next_packet: tag.packet + 1,
            damaged: tag.packet != 0,
        };
        match self.last {
            Some(before) if before.is_of(&tag) => {}
            Some(before) => self.check_succession(packet.at, &before, &frame),
            None => {}
        }
        self.check_reference(packet.at, &frame);
        match self.last.filter(|before| before.is_of_picture(&frame)) {
            Some(below) => {
                frame.came_at = frame.came_at.max(below.came_at);
                frame.repaired |= below.repaired;
            }
            None => self.whole = true,
        }
        if frame.damaged {
            // The rest of a frame whose beginning is lost.
            self.broken = true;
        }
        self.hole = false;
        self.last = Some(frame);
        self.current = Some(frame);
    }

    fn check_succession(&mut self, at: Duration, before: &Frame, frame: &Frame) {
        let switched = (before.tag.source, before.tag.layer) != (frame.tag.source, frame.tag.layer);
        if switched {
            if !frame.tag.is_keyframe() && !self.hole {
                let fault = Fault::SwitchWithoutKeyframe {
                    from: before.tag,
                    to: frame.tag,
                };
                self.verdict.complain(at, fault);
            }
            self.decoded.clear();
        }
        let same_picture = before.is_of_picture(frame);
        if !self.hole && before.marker == Some(same_picture) {
            let packet = before.tag;
            self.verdict.complain(at, Fault::Marker { packet });
        }
        if before.timestamp == frame.timestamp && !same_picture {
            let fault = Fault::TimestampWithinFrame {
                frame: before.tag,
                next: frame.tag,
            };
            self.verdict.complain(at, fault);
        }
        let (mut earlier, mut tolerance) = (before.tag, TOLERANCE);
        let captured = frame.tag.captured;
        let behind = earlier.captured.saturating_sub(captured);
        let ahead = self.catching_up.saturating_sub(earlier.captured) / 2;
        if switched && captured <= earlier.captured {
            // A keyframe that had to be repaired may show an older moment than what was sent last, some of which
            // may have been lost.
            earlier.captured = captured;
            tolerance += if self.hole {
                OVERTAKEN_MAX
            } else {
                Duration::ZERO
            };
        }
        // Time has gone on with a kept picture as if that were new, and goes half as fast until that is true.
        let less = ahead.min(captured.saturating_sub(earlier.captured) / 2);
        let more = frame.kept_for(before);
        earlier.captured = (earlier.captured + less / 2).saturating_sub(more / 2);
        tolerance += (less + more) / 2;
        let elsewhere = before.tag.source != frame.tag.source;
        if elsewhere {
            self.catching_up = Duration::ZERO;
        }
        let kept = if elsewhere { more.max(behind) } else { more };
        if kept > TOLERANCE {
            let until = captured + (kept + TOLERANCE) * 2;
            self.catching_up = self.catching_up.max(until);
        }
        if switched && before.tag.frame.min(frame.tag.frame) < UNREPORTED_FRAMES {
            tolerance += UNREPORTED_MAX;
        }
        check_timestamp(
            &mut self.verdict,
            at,
            (&earlier, before.timestamp),
            (&frame.tag, frame.timestamp),
            (CLOCK_RATE, tolerance),
        );
        if !self.hole {
            self.check_vp8_counters(at, before, frame);
            self.check_vp9_counters(at, before, frame, same_picture);
        }
    }

    fn end_frame_if_complete(&mut self, now: Duration, packet: &Received) {
        let Some(frame) = self
            .current
            .filter(|frame| frame.next_packet == frame.tag.packets)
        else {
            return;
        };
        self.current = None;
        if let Some(last) = &mut self.last {
            last.marker = Some(packet.marker);
        }
        let tag = frame.tag;
        let mut references = [tag.reference, tag.below].into_iter().flatten();
        let ready_at = references.try_fold(frame.came_at, |ready_at, reference| {
            self.decoded.get(&reference).map(|at| ready_at.max(*at))
        });
        let Some(ready_at) = ready_at.filter(|_| !frame.damaged) else {
            if !frame.damaged && !self.broken {
                self.verdict
                    .complain(packet.at, Fault::HiddenLoss { frame: tag });
            }
            self.frames_undecodable += 1;
            self.whole = false;
            return;
        };
        if tag.is_keyframe() {
            self.decoded.clear();
        }
        if tag.temporal == 0 && packet.marker && self.whole {
            // All that follows is predicted from this picture or a later one.
            self.broken = false;
        }
        self.decoded.insert(tag.frame, ready_at);
        self.descriptors.decoded(&tag);
        while self.decoded.len() > REFERENCES_KEPT {
            self.decoded.pop_first();
        }
        if !packet.marker {
            // A larger layer of the picture is to come.
            return;
        }
        let Frame {
            first_at,
            came_at,
            repaired,
            timestamp,
            ..
        } = frame;
        self.shown.push(Shown {
            at: ready_at,
            turn_at: now,
            first_at,
            came_at,
            repaired,
            hold: self.hold,
            tag,
            timestamp,
        });
    }
}

/// A frame buffer takes packets from before the first until a picture is whole (libwebrtc's `PacketBuffer`).
fn begins(packet: &Received) -> bool {
    parse(packet).is_none_or(|parsed| parsed.tag.starts_keyframe())
}

fn parse(packet: &Received) -> Option<VideoPacket> {
    let parse = match packet.codec {
        Codec::H264 => parse_h264,
        Codec::Vp9 => parse_vp9,
        Codec::Av1 => parse_av1,
        Codec::Vp8 | Codec::Opus => parse_vp8,
    };
    parse_opaque(&packet.payload).or_else(|| parse(&packet.payload))
}

/// Frames are predicted from one of the last four.
const REFERENCES_KEPT: usize = 64;

impl Frame {
    fn is_of(&self, tag: &Tag) -> bool {
        (self.tag.source, self.tag.layer, self.tag.frame) == (tag.source, tag.layer, tag.frame)
    }

    /// The other frame is of a larger layer of the same picture.
    fn is_of_picture(&self, other: &Self) -> bool {
        let place = |frame: &Self| (frame.tag.source, frame.tag.layer, frame.tag.captured);
        place(self) == place(other)
            && self.timestamp == other.timestamp
            && self.tag.spatial < other.tag.spatial
    }

    /// For how long a keyframe has been kept, as far as nothing has come since.
    fn kept_for(&self, before: &Self) -> Duration {
        if !self.tag.is_keyframe() || before.is_of_picture(self) {
            return Duration::ZERO;
        }
        let age = self.first_at.saturating_sub(self.tag.captured);
        let gap = self.first_at.saturating_sub(before.came_at);
        Some(age.min(gap))
            .filter(|kept| *kept > KEPT_MIN)
            .unwrap_or_default()
    }

    fn continues_with(&self, tag: &Tag) -> bool {
        self.is_of(tag) && self.next_packet == tag.packet
    }
}

#[cfg(test)]
mod tests;
