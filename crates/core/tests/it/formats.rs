//! What a stream itself tells of how it is encoded, whatever its publisher has offered.

use madang_core::{Codec, Event, Format, Trouble};
use str0m::Rtc;
use str0m::media::Pt;

use crate::media::World;
use crate::support::events;

/// Sequence parameter sets of x264 by FFmpeg 9.0.2, with `-profile:v high` and with 10 bits.
const HIGH: [u8; 26] = [
    0x67, 0x64, 0x00, 0x1e, 0xac, 0xb2, 0x01, 0x40, 0x5f, 0xf2, 0xe0, 0x22, 0x00, 0x00, 0x03, 0x00,
    0x02, 0x00, 0x00, 0x03, 0x00, 0x78, 0x1e, 0x2c, 0x5c, 0x90,
];
const TEN_BITS: [u8; 25] = [
    0x67, 0x6e, 0x00, 0x1e, 0xa6, 0xcb, 0x20, 0x14, 0x05, 0xff, 0x2e, 0x02, 0x20, 0x00, 0x00, 0x03,
    0x00, 0x20, 0x00, 0x00, 0x07, 0x81, 0xe2, 0xc5, 0xc9,
];

/// What OBS offers, however its encoder is set.
const OFFERED: u32 = 0x42_e01f;

/// At 30 frames a second.
const FRAME: u32 = 3_000;

/// The payload type of a profile.
fn payload_type(rtc: &Rtc, profile: u32) -> Pt {
    let all = rtc.codec_config().params();
    let found = all.iter().find(|params| {
        let format = params.spec().format;
        format.profile_level_id == Some(profile) && format.packetization_mode == Some(1)
    });
    found.unwrap().pt()
}

/// What one viewer has received, and what has been told.
struct Shown {
    world: World,
    told: Vec<Event>,
}

impl Shown {
    /// The payload types of what the viewer has received, without repetitions.
    fn payload_types(&self) -> Vec<Pt> {
        let received = self.world.viewer(0).received.iter();
        let mut types: Vec<Pt> = received.map(|packet| packet.header.payload_type).collect();
        types.dedup();
        types
    }

    fn troubles(&self) -> Vec<Trouble> {
        let troubles = self.told.iter().filter_map(|event| match event {
            Event::Troubles { troubles, .. } => Some(troubles.clone()),
            _ => None,
        });
        troubles.last().unwrap_or_default()
    }
}

/// Publishes frames for three seconds that begin with these parameter sets and are shown in this order.
fn publish(parameters: &[u8], shown_at: impl Fn(u32) -> u32) -> Shown {
    let mut world = World::new(1, |offer| offer);
    world.watch(0);
    world.run(500, |_| true);
    let pt = payload_type(&world.publisher.rtc, OFFERED);
    let mut told = Vec::new();
    for number in 0..90 {
        let at = (1_000 + u64::from(number), shown_at(number) * FRAME);
        // Each is a picture that others can begin with.
        let (aggregate, picture) = (24, [0x65, 0x88, 0x84, 0x00]);
        let mut payload = vec![aggregate];
        for unit in [parameters, &picture] {
            payload.extend(u16::try_from(unit.len()).unwrap().to_be_bytes());
            payload.extend(unit);
        }
        world.publisher.write_packet(world.now, pt, at, &payload);
        world.run(33, |_| true);
        told.extend(events(&mut world.shards[0]));
    }
    Shown { world, told }
}

#[test]
fn whip_39_a_viewer_is_sent_the_profile_that_the_encoder_writes() {
    let shown = publish(&HIGH, |number| number);
    let high = payload_type(&shown.world.viewer(0).rtc, 0x64_001f);
    assert_eq!(shown.payload_types(), [high]);
    let formats = shown.told.iter().filter_map(|event| match event {
        Event::Format { format, .. } => Some(*format),
        _ => None,
    });
    let high = Format {
        codec: Codec::H264,
        profile: Some(0x64_001e),
    };
    assert_eq!(formats.collect::<Vec<_>>(), [high], "once");
    assert_eq!(shown.troubles(), [], "browsers decode it");
}

#[test]
fn whip_39_a_profile_that_browsers_may_not_decode_is_told_and_sent_all_the_same() {
    let shown = publish(&TEN_BITS, |number| number);
    assert_eq!(shown.payload_types().len(), 1);
    assert_eq!(shown.troubles(), [Trouble::UnusualProfile]);
}

#[test]
fn whip_46_frames_that_are_shown_earlier_are_passed_on_as_they_are() {
    // As x264 sends them: each third frame, then the two that are shown before it.
    let order = |number: u32| match number % 3 {
        _ if number == 0 => 0,
        1 => number + 2,
        _ => number - 1,
    };
    let shown = publish(&HIGH, order);
    let received = &shown.world.viewer(0).received;
    assert_eq!(received.len(), 90);
    let first = received[0].header.timestamp;
    for (number, packet) in (0..).zip(received) {
        let later = packet.header.timestamp.wrapping_sub(first);
        assert_eq!(later, order(number) * FRAME, "{number}");
    }
    assert_eq!(shown.troubles(), [Trouble::Reorders]);
}
