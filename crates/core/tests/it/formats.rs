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

/// The payload type of a profile.
fn payload_type(rtc: &Rtc, profile: u32) -> Pt {
    let all = rtc.codec_config().params();
    let found = all.iter().find(|params| {
        let format = params.spec().format;
        format.profile_level_id == Some(profile) && format.packetization_mode == Some(1)
    });
    found.unwrap().pt()
}

/// Publishes frames whose parameter sets are these, for three seconds, to one viewer. Returns the profiles that the viewer
/// has been sent, and what has been told.
fn publish(parameters: &[u8]) -> (Vec<Pt>, World, Vec<Event>) {
    let mut world = World::new(1, |offer| offer);
    let viewer = world.watch(0);
    world.run(500, |_| true);
    let pt = payload_type(&world.publisher.rtc, OFFERED);
    let mut told = Vec::new();
    for number in 0..90 {
        let at = (1_000 + number, u32::try_from(number).unwrap() * 3_000);
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
    let received = &world.viewer(viewer).received;
    let mut types: Vec<Pt> = received.iter().map(|p| p.header.payload_type).collect();
    types.dedup();
    (types, world, told)
}

#[test]
fn whip_39_a_viewer_is_sent_the_profile_that_the_encoder_writes() {
    let (types, world, told) = publish(&HIGH);
    assert_eq!(types, [payload_type(&world.viewer(0).rtc, 0x64_001f)]);
    let formats = told.iter().filter_map(|event| match event {
        Event::Format { format, .. } => Some(*format),
        _ => None,
    });
    let high = Format {
        codec: Codec::H264,
        profile: Some(0x64_001e),
    };
    assert_eq!(formats.collect::<Vec<_>>(), [high], "once");
    let troubles = |event: &Event| matches!(event, Event::Troubles { .. });
    assert!(!told.iter().any(troubles), "browsers decode it");
}

#[test]
fn whip_39_a_profile_that_browsers_may_not_decode_is_told_and_sent_all_the_same() {
    let (types, _, told) = publish(&TEN_BITS);
    assert_eq!(types.len(), 1);
    let told = told.iter().any(|event| match event {
        Event::Troubles { troubles, .. } => *troubles == [Trouble::UnusualProfile],
        _ => false,
    });
    assert!(told);
}
