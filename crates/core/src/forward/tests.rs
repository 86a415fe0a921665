use std::time::Instant;

use str0m::format::{Codec, CodecSpec, FormatParams};
use str0m::media::Frequency;
use str0m::rtp::ExtensionValues;

use super::*;
use crate::codec;
use crate::layering::Frame;
use crate::rewrite::PICTURE_ID_MASK;

const TRACK: TrackKey = 0;

/// A source of one-packet frames, 30 a second.
struct Encoder {
    layer: usize,
    seq: u64,
    timestamp: u64,
    picture_id: u16,
    tl0: u8,
    captured: Instant,
}

impl Encoder {
    fn packet(&mut self, keyframe: bool) -> Arc<Packet> {
        self.seq += 1;
        self.timestamp += 3_000;
        self.picture_id = (self.picture_id + 1) & PICTURE_ID_MASK;
        self.tl0 = self.tl0.wrapping_add(1);
        self.captured += Duration::from_secs(1) / 30;
        let [high, low] = self.picture_id.to_be_bytes();
        let payload = [0x90, 0xc0, 0x80 | high, low, self.tl0, 1];
        Arc::new(Packet {
            layer: self.layer,
            stream: 0,
            seq: self.seq,
            timestamp: self.timestamp,
            marker: true,
            codec: Arc::new(CodecSpec {
                codec: Codec::Vp8,
                clock_rate: Frequency::NINETY_KHZ,
                channels: None,
                format: FormatParams::default(),
            }),
            red: None,
            encrypted: false,
            starts_keyframe: keyframe,
            counters: codec::read(Codec::Vp8, &payload).counters,
            frame: Frame::PLAIN,
            descriptor: None,
            arrived: self.captured,
            captured: Some(self.captured),
            repaired_within: Duration::ZERO,
            extensions: ExtensionValues::default(),
            payload: Arc::from(payload),
        })
    }
}

fn encoder(layer: usize, start: Instant) -> Encoder {
    let seed = u16::try_from(layer).unwrap() * 1_000;
    Encoder {
        layer,
        seq: 65_530 + u64::from(seed),
        timestamp: 0xffff_0000 + u64::from(seed) * 77,
        picture_id: 0x7ffa - seed,
        tl0: 250,
        captured: start,
    }
}

fn slot(target: usize) -> Slot {
    let mut slot = Slot::new("0".into(), MediaKind::Video, 100, u32::MAX - 5_000);
    slot.declared = true;
    slot.assign(TRACK, TrackId(1), Tile::default());
    aim(&mut slot, target);
    slot
}

fn aim(slot: &mut Slot, target: usize) {
    slot.aim(Some((Target::whole(target), 0)), Why::NoKeyframe);
}

/// What leaves when this packet comes.
fn all(slot: &mut Slot, packet: &Arc<Packet>) -> Vec<Rewritten> {
    let mut sent = Vec::new();
    slot.forward(TRACK, packet, None, &mut |_, _, rewritten| {
        sent.push(rewritten);
    });
    sent
}

fn one(slot: &mut Slot, packet: &Arc<Packet>) -> Option<Rewritten> {
    all(slot, packet).pop()
}

#[test]
fn numbers_go_on_over_switches_and_wraps() {
    let start = Instant::now();
    let (mut low, mut high) = (encoder(0, start), encoder(1, start));
    let mut slot = slot(0);
    let mut sent = Vec::new();
    for frame in 0..60 {
        if frame == 20 {
            aim(&mut slot, 1);
        }
        let packets = [low.packet(frame == 0), high.packet(frame == 25)];
        sent.extend(packets.iter().flat_map(|packet| all(&mut slot, packet)));
    }
    assert_eq!(
        sent.len(),
        61,
        "the moment of the switch is shown by both layers"
    );
    for (before, after) in sent.iter().zip(sent.iter().skip(1)) {
        assert_eq!(after.seq, before.seq + 1);
        let step = after.timestamp.wrapping_sub(before.timestamp);
        assert!(step == 3_000 || step == 1_500, "{step}");
        assert_eq!(
            after.picture_id.unwrap(),
            (before.picture_id.unwrap() + 1) & PICTURE_ID_MASK
        );
        assert_eq!(
            after.tl0_pic_idx.unwrap(),
            before.tl0_pic_idx.unwrap().wrapping_add(1)
        );
    }
}

#[test]
fn a_keyframe_of_another_layer_switches_nothing() {
    let start = Instant::now();
    let (mut low, mut high) = (encoder(0, start), encoder(1, start));
    let mut slot = slot(0);
    assert!(one(&mut slot, &low.packet(true)).is_some());
    aim(&mut slot, 1);
    assert!(one(&mut slot, &high.packet(false)).is_none());
    assert!(
        one(&mut slot, &low.packet(true)).is_some(),
        "the layer before goes on"
    );
    assert_eq!(slot.carries().map(|current| current.layer), Some(0));
    assert!(one(&mut slot, &high.packet(true)).is_some());
    assert!(one(&mut slot, &low.packet(true)).is_none());
}

#[test]
fn what_the_publisher_lost_stays_a_hole_and_what_came_late_fills_it() {
    let mut source = encoder(0, Instant::now());
    let mut slot = slot(0);
    let first = one(&mut slot, &source.packet(true)).unwrap();
    let late = source.packet(false);
    let third = one(&mut slot, &source.packet(false)).unwrap();
    assert_eq!(third.seq, first.seq + 2);
    assert_eq!(one(&mut slot, &late).unwrap().seq, first.seq + 1);
}

#[test]
fn no_number_leaves_twice() {
    let mut source = encoder(0, Instant::now());
    let mut slot = slot(0);
    let packets: Vec<_> = (0..1_500).map(|at| source.packet(at == 0)).collect();
    let sent = |slot: &mut Slot, packets: &[Arc<Packet>]| -> usize {
        packets.iter().map(|packet| all(slot, packet).len()).sum()
    };
    assert_eq!(sent(&mut slot, &packets[..1_000]), 1_000);
    assert_eq!(
        sent(&mut slot, &packets[..1_000]),
        0,
        "a copy of the same picture"
    );
    assert_eq!(sent(&mut slot, &packets[1_010..]), 490);
    assert_eq!(
        sent(&mut slot, &packets[1_000..1_010]),
        10,
        "what came late"
    );
    assert_eq!(sent(&mut slot, &packets), 0);
}

#[test]
fn a_pause_moves_the_timestamp_by_as_long_as_it_lasted() {
    let mut source = encoder(0, Instant::now());
    let mut slot = slot(0);
    one(&mut slot, &source.packet(true)).unwrap();
    let before = one(&mut slot, &source.packet(false)).unwrap();
    slot.aim(None, Why::Muted);
    aim(&mut slot, 0);
    source.captured += Duration::from_secs(7);
    source.timestamp += 12_345;
    source.seq += 100;
    let after = one(&mut slot, &source.packet(true)).unwrap();
    assert_eq!(after.seq, before.seq + 1);
    let ticks = after.timestamp.wrapping_sub(before.timestamp);
    assert!(ticks.abs_diff(7 * 90_000 + 3_000) <= 1_500, "{ticks}");
}

#[test]
fn an_encoder_that_starts_over_needs_a_keyframe() {
    let mut source = encoder(0, Instant::now());
    let mut slot = slot(0);
    one(&mut slot, &source.packet(true)).unwrap();
    let mut restarted = source.packet(false);
    Arc::make_mut(&mut restarted).stream = 1;
    assert!(one(&mut slot, &restarted).is_none());
    Arc::make_mut(&mut restarted).starts_keyframe = true;
    assert!(one(&mut slot, &restarted).is_some());
}

#[test]
fn nothing_leaves_before_the_slot_is_declared() {
    let mut slot = slot(0);
    slot.declared = false;
    assert!(one(&mut slot, &encoder(0, Instant::now()).packet(true)).is_none());
}

#[test]
fn a_switch_waits_for_the_rest_of_the_frame_before() {
    let start = Instant::now();
    let (mut low, mut high) = (encoder(0, start), encoder(1, start));
    let mut slot = slot(0);
    one(&mut slot, &low.packet(true)).unwrap();
    aim(&mut slot, 1);
    let mut first_half = low.packet(false);
    Arc::make_mut(&mut first_half).marker = false;
    let before = one(&mut slot, &first_half).unwrap();
    let keyframe = high.packet(true);
    assert!(one(&mut slot, &keyframe).is_none());
    let mut second_half = low.packet(false);
    Arc::make_mut(&mut second_half).timestamp = first_half.timestamp;
    let sent = all(&mut slot, &second_half);
    assert_eq!(sent.len(), 2, "the end of the frame, and then the keyframe");
    assert_eq!(
        (sent[0].seq, sent[0].timestamp),
        (before.seq + 1, before.timestamp)
    );
    assert_eq!(sent[1].seq, before.seq + 2);
    assert_eq!(slot.carries().map(|current| current.layer), Some(1));
}

#[test]
fn a_switch_does_not_wait_for_a_frame_whose_end_is_lost() {
    let start = Instant::now();
    let (mut low, mut high) = (encoder(0, start), encoder(1, start));
    let mut slot = slot(0);
    one(&mut slot, &low.packet(true)).unwrap();
    aim(&mut slot, 1);
    let mut half = low.packet(false);
    Arc::make_mut(&mut half).marker = false;
    one(&mut slot, &half).unwrap();
    assert!(one(&mut slot, &high.packet(true)).is_none());
    let sent: Vec<usize> = (0..5)
        .map(|_| all(&mut slot, &high.packet(false)).len())
        .collect();
    assert_eq!(
        sent,
        [0, 0, 0, 0, 6],
        "five frames and the keyframe, 167 ms after it"
    );
}
#[test]
fn what_was_left_unfinished_is_not_gone_on_with() {
    let mut source = encoder(0, Instant::now());
    let mut slot = slot(0);
    let mut half = source.packet(true);
    Arc::make_mut(&mut half).marker = false;
    one(&mut slot, &half).unwrap();
    slot.aim(None, Why::NoBandwidth);
    aim(&mut slot, 0);
    assert_eq!(one(&mut slot, &source.packet(true)).unwrap().seq, 102);
    assert!(slot.wanted(101).is_none(), "the hole is all that shows it");
}
