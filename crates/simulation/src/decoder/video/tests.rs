//! A check that cannot fail proves nothing: each is fed a stream with its fault.

use super::*;
use crate::encoder::{EncodedPacket, Encoding, LayerSpec, StartValues, VideoEncoder};
use crate::payload::Mode;

/// Frames of two cameras, "1" and "2", in layers q (0) and f (2), at 30 frames per second.
struct Studio {
    cameras: [VideoEncoder; 2],
    codec: Codec,
    decoder: VideoDecoder,
    sequence: u64,
    picture_id: u16,
    tl0: u8,
    now: Duration,
}

/// One frame, as a list of packets that a test can spoil before they are played.
type Packets = Vec<Received>;

impl Studio {
    fn new(codec: Codec) -> Self {
        let camera = |source| {
            VideoEncoder::new(
                source,
                Encoding::simulcast(codec),
                LayerSpec::camera(),
                StartValues::default(),
                5,
            )
        };
        Self {
            cameras: [camera(1), camera(2)],
            codec,
            decoder: VideoDecoder::default(),
            sequence: 100,
            picture_id: 0x7ff0,
            tl0: 250,
            now: Duration::ZERO,
        }
    }

    /// The next frame of a camera and layer, renumbered as a perfect server would.
    fn frame(&mut self, camera: usize, layer: u8) -> Packets {
        self.now += Duration::from_nanos(33_333_333);
        let captured = self.now;
        let mut chosen = Vec::new();
        for (position, encoder) in self.cameras.iter_mut().enumerate() {
            let packets = encoder.encode_frame(captured);
            if position == camera {
                chosen = packets;
            }
        }
        let parse = if self.codec == Codec::H264 {
            parse_h264
        } else {
            parse_vp8
        };
        chosen.retain(|packet| parse(&packet.payload).unwrap().tag.layer == layer);
        if parse(&chosen[0].payload).unwrap().tag.temporal == 0 {
            self.tl0 = self.tl0.wrapping_add(1);
        }
        self.picture_id = (self.picture_id + 1) & 0x7fff;
        let timestamp = crate::encoder::media_ticks(captured, CLOCK_RATE);
        let packets = chosen.into_iter().map(|mut packet| {
            let mut payload = std::mem::take(&mut packet.payload);
            if self.codec == Codec::Vp8 {
                payload[2..4].copy_from_slice(&(0x8000 | self.picture_id).to_be_bytes());
                payload[4] = self.tl0;
            }
            self.sequence += 1;
            Received {
                codec: self.codec,
                sequence: self.sequence,
                timestamp,
                payload,
                ..received(captured, packet)
            }
        });
        packets.collect()
    }

    fn play(&mut self, packets: Packets) {
        for packet in packets {
            self.decoder.receive(packet);
        }
    }

    fn run(&mut self, camera: usize, layer: u8, frames: usize) {
        for _ in 0..frames {
            let packets = self.frame(camera, layer);
            self.play(packets);
        }
    }

    fn keyframe(&mut self, camera: usize) {
        self.cameras[camera].request_keyframe(None);
    }

    #[track_caller]
    fn assert_only(&self, is_expected: fn(&Fault) -> bool) {
        let faults: Vec<_> = self
            .decoder
            .complaints()
            .iter()
            .map(|complaint| &complaint.fault)
            .collect();
        assert!(!faults.is_empty(), "nothing was complained about");
        assert!(faults.iter().all(|fault| is_expected(fault)), "{faults:?}");
    }
}

#[test]
fn good_streams_are_fine() {
    for codec in [Codec::Vp8, Codec::H264] {
        let mut studio = Studio::new(codec);
        studio.run(0, 2, 60);
        studio.keyframe(0);
        studio.run(0, 0, 60);
        studio.keyframe(1);
        studio.run(1, 0, 60);
        assert_eq!(studio.decoder.complaints(), []);
        assert_eq!(studio.decoder.shown().len(), 180);
    }
}

#[test]
fn a_visible_loss_is_no_fault_and_freezes_until_the_keyframe() {
    let mut studio = Studio::new(Codec::Vp8);
    studio.run(0, 2, 32);
    let mut packets = studio.frame(0, 2);
    packets.remove(1);
    studio.play(packets);
    studio.run(0, 2, 40);
    assert_eq!(
        (studio.decoder.complaints(), studio.decoder.lost()),
        (&[][..], 1)
    );
    let frozen = studio.decoder.shown().len();
    studio.keyframe(0);
    studio.run(0, 2, 30);
    assert_eq!(studio.decoder.complaints(), []);
    assert_eq!(frozen, 32, "frame 32 is of temporal layer 0");
    assert!(studio.decoder.shown().len() >= frozen + 30);
}

#[test]
fn a_frame_is_there_when_all_of_it_is_and_what_it_is_predicted_from() {
    // Temporal layer 0 and 2 of a camera whose frames go 0, 2, 1, 2.
    for (lost, delayed) in [(32, 4), (33, 1)] {
        let mut studio = Studio::new(Codec::Vp8);
        studio.run(0, 2, lost);
        let mut packets = studio.frame(0, 2);
        let mut late = packets.remove(1);
        studio.play(packets);
        studio.run(0, 2, 3);
        late.at = studio.now + Duration::from_millis(5);
        studio.decoder.receive(late.clone());
        let shown = studio.decoder.shown();
        assert_eq!(shown.len(), lost + 4);
        assert!(shown.iter().skip(lost).all(|it| it.turn_at == late.at));
        let at_last = shown.iter().filter(|it| it.at == late.at).count();
        assert_eq!(at_last, delayed, "of frames from {lost} on");
    }
}

#[test]
fn what_is_missing_before_a_keyframe_is_waited_for_until_all_its_layers_have_come() {
    for comes_in_time in [true, false] {
        let (key, specs) = (Mode::key(3, 3), LayerSpec::layered_camera());
        let encoding = Encoding::svc(Codec::Vp9, key);
        let mut encoder = VideoEncoder::new(1, encoding, specs, StartValues::default(), 5);
        let mut decoder = VideoDecoder::default();
        let mut picture = |number: u32| -> Packets {
            if number == 8 {
                encoder.request_keyframe(None);
            }
            let at = Duration::from_millis(33) * number;
            let packets = encoder.encode_frame(at).into_iter();
            packets.map(|packet| received(at, packet)).collect()
        };
        let mut shown_after = |packets: Packets| {
            packets.into_iter().for_each(|it| decoder.receive(it));
            decoder.shown().len()
        };
        assert_eq!(shown_after((0..7).flat_map(&mut picture).collect()), 7);
        let (mut last, mut keyframe) = (picture(7), picture(8));
        let (missing, end) = (last.remove(0), keyframe.pop().unwrap());
        shown_after(last);
        assert_eq!(shown_after(keyframe), 7);
        if comes_in_time {
            assert_eq!(shown_after(vec![missing]), 8);
        }
        assert_eq!(shown_after(vec![end]), 8 + usize::from(comes_in_time));
    }
}

fn received(at: Duration, packet: EncodedPacket) -> Received {
    Received {
        at,
        codec: packet.codec,
        ssrc: 7,
        sequence: packet.sequence,
        timestamp: packet.timestamp,
        marker: packet.marker,
        descriptor: None,
        repaired: false,
        hold: None,
        payload: packet.payload,
    }
}

#[test]
fn who_comes_in_the_midst_of_a_picture_asks_for_a_keyframe_at_once() {
    let mut studio = Studio::new(Codec::Vp8);
    studio.frame(0, 2);
    let mut packets = studio.frame(0, 2);
    let last = packets.pop().unwrap();
    studio.play(packets);
    assert!(
        !studio.decoder.wants_keyframe(studio.now, None),
        "it may be one"
    );
    studio.decoder.receive(last);
    assert!(studio.decoder.wants_keyframe(studio.now, None));
}

#[test]
fn a_keyframe_is_asked_for_as_late_as_libwebrtc_asks() {
    let mut studio = Studio::new(Codec::Vp8);
    let ms = Duration::from_millis;
    let mut packets = studio.frame(0, 2);
    let last = packets.pop().unwrap();
    studio.play(packets);
    let first = studio.now;
    let wants = |studio: &Studio, after, asked| studio.decoder.wants_keyframe(first + after, asked);
    assert!(!wants(&studio, ms(199), None), "the keyframe is coming");
    assert!(wants(&studio, ms(200), None), "it has stopped coming");
    assert!(!wants(&studio, ms(399), Some(first + ms(200))));
    assert!(wants(&studio, ms(400), Some(first + ms(200))));
    studio.decoder.receive(last);
    studio.decoder.advance(first + ms(20));
    assert!(!wants(&studio, ms(2_900), None), "there is a picture");
    assert!(wants(&studio, ms(3_100), None), "the next one is late");
    assert!(!wants(&studio, ms(5_100), None), "nothing comes any more");
}

#[test]
fn a_torn_frame_is_seen() {
    let mut studio = Studio::new(Codec::Vp8);
    studio.run(0, 2, 10);
    let mut packets = studio.frame(0, 2);
    packets.remove(1);
    for packet in &mut packets[1..] {
        packet.sequence -= 1;
    }
    studio.sequence -= 1;
    studio.play(packets);
    studio.run(0, 2, 10);
    studio.assert_only(|fault| matches!(fault, Fault::TornFrame { .. }));
}

#[test]
fn a_frame_that_vanished_without_a_hole_is_seen() {
    let mut studio = Studio::new(Codec::H264);
    studio.run(0, 0, 10);
    studio.sequence -= studio.frame(0, 0).len() as u64;
    studio.run(0, 0, 1);
    studio.assert_only(|fault| matches!(fault, Fault::HiddenLoss { .. }));
}

#[test]
fn a_switch_needs_a_keyframe() {
    let mut studio = Studio::new(Codec::Vp8);
    studio.run(0, 2, 10);
    studio.run(0, 0, 1);
    studio.assert_only(|fault| {
        matches!(
            fault,
            Fault::SwitchWithoutKeyframe { .. } | Fault::HiddenLoss { .. } | Fault::Tl0 { .. }
        )
    });
    let mut studio = Studio::new(Codec::Vp8);
    studio.run(0, 2, 10);
    studio.run(1, 2, 1);
    studio.assert_only(|fault| {
        matches!(
            fault,
            Fault::SwitchWithoutKeyframe { .. } | Fault::HiddenLoss { .. }
        )
    });
}

#[test]
fn packets_of_two_sources_in_one_frame_are_seen() {
    let mut studio = Studio::new(Codec::Vp8);
    studio.run(0, 2, 10);
    let mut packets = studio.frame(0, 2);
    let other = studio.frame(1, 2);
    packets[1].payload.clone_from(&other[1].payload);
    studio.play(packets);
    studio.assert_only(|fault| {
        matches!(
            fault,
            Fault::TornFrame { .. }
                | Fault::SwitchWithoutKeyframe { .. }
                | Fault::TimestampWithinFrame { .. }
                | Fault::PictureId { .. }
                | Fault::Timestamp { .. }
                | Fault::Tl0 { .. }
        )
    });
}

#[test]
fn timestamps_have_to_follow_time() {
    // After a pause: advanced by one tick, not at all, by a whole frame too many, backwards.
    for wrong in [1u32.wrapping_neg(), 3_000, 90_000, 3_000u32.wrapping_neg()] {
        let mut studio = Studio::new(Codec::Vp8);
        studio.run(0, 2, 10);
        let mut packets = studio.frame(0, 2);
        for packet in &mut packets {
            packet.timestamp = packet.timestamp.wrapping_add(wrong);
        }
        studio.play(packets);
        if wrong == 1u32.wrapping_neg() {
            assert_eq!(
                studio.decoder.complaints(),
                [],
                "a tick less is within half a frame"
            );
        } else {
            studio.assert_only(|fault| {
                matches!(
                    fault,
                    Fault::Timestamp { .. } | Fault::TimestampWithinFrame { .. }
                )
            });
        }
    }
    let mut studio = Studio::new(Codec::Vp8);
    studio.run(0, 2, 10);
    let before = studio.frame(0, 2);
    let stopped = before[0].timestamp + 1;
    studio.play(before);
    studio.now += Duration::from_secs(3);
    let mut packets = studio.frame(0, 2);
    for packet in &mut packets {
        packet.timestamp = stopped;
    }
    studio.play(packets);
    studio.assert_only(|fault| matches!(fault, Fault::Timestamp { .. }));
}

#[test]
fn a_timestamp_that_changes_within_a_frame_is_seen() {
    let mut studio = Studio::new(Codec::Vp8);
    studio.run(0, 2, 10);
    let mut packets = studio.frame(0, 2);
    packets.last_mut().unwrap().timestamp += 1;
    studio.play(packets);
    studio.assert_only(|fault| matches!(fault, Fault::TimestampWithinFrame { .. }));
}

#[test]
fn picture_id_and_tl0_have_to_count() {
    let mut studio = Studio::new(Codec::Vp8);
    studio.run(0, 2, 10);
    studio.picture_id += 5;
    studio.run(0, 2, 10);
    studio.assert_only(|fault| matches!(fault, Fault::PictureId { .. }));
    let mut studio = Studio::new(Codec::Vp8);
    studio.run(0, 2, 10);
    studio.tl0 = studio.tl0.wrapping_add(3);
    studio.run(0, 2, 10);
    studio.assert_only(|fault| matches!(fault, Fault::Tl0 { .. }));
}

/// A server that closed the gaps that it leaves would have pictures refer to others than their own.
#[test]
fn a_picture_of_vp9_has_to_refer_to_the_one_that_it_is_predicted_from() {
    for spoiled in [false, true] {
        let encoding = Encoding {
            descriptors: false,
            flexible: true,
            ..Encoding::svc(Codec::Vp9, Mode::new(2, 3))
        };
        let cameras = LayerSpec::layered_camera();
        let mut encoder = VideoEncoder::new(1, encoding, cameras, StartValues::default(), 5);
        let mut decoder = VideoDecoder::default();
        for number in 0..20 {
            let at = Duration::from_millis(33 * number);
            for mut packet in encoder.encode_frame(at) {
                // One picture further back.
                packet.payload[4] += 2 * u8::from(spoiled && number == 10);
                decoder.receive(received(at, packet));
            }
        }
        let wrong = |it: &Complaint| matches!(it.fault, Fault::PictureId { .. });
        assert_eq!(decoder.complaints().iter().any(wrong), spoiled);
    }
}

#[test]
fn a_missing_marker_and_a_changed_ssrc_are_seen() {
    let mut studio = Studio::new(Codec::Vp8);
    let mut packets = studio.frame(0, 2);
    packets.last_mut().unwrap().marker = false;
    studio.play(packets);
    studio.run(0, 2, 1);
    studio.assert_only(|fault| matches!(fault, Fault::Marker { .. }));
    let mut studio = Studio::new(Codec::Vp8);
    let mut packets = studio.frame(0, 2);
    packets.last_mut().unwrap().ssrc += 1;
    studio.play(packets);
    studio.run(0, 2, 1);
    studio.assert_only(|fault| matches!(fault, Fault::SsrcChanged { .. }));
}

#[test]
fn a_damaged_payload_is_seen() {
    let mut studio = Studio::new(Codec::Vp8);
    studio.run(0, 2, 3);
    let mut packets = studio.frame(0, 2);
    packets[0].payload[12] ^= 1;
    studio.play(packets);
    studio.assert_only(|fault| matches!(fault, Fault::Garbled { .. } | Fault::TornFrame { .. }));
}
