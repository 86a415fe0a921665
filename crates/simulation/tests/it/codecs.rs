//! Layers of several codecs: a track whose codec changes, streams of one track that differ, and who can decode what.

use madang_core::Source::Camera;
use madang_core::Why;
use madang_simulation::Action::{Downlink, Encode, Expect, JoinWith, LoseUp, Publish, Uplink};
use madang_simulation::Expectation::{Sees, SeesNot};
use madang_simulation::network::LinkConfig;
use madang_simulation::{Action, BrowserConfig, Codec, Mode, Plan, World};

use crate::{SEEDS, look_at, ms, one_slot, tile};

const L3T3_KEY: Mode = Mode::key(3, 3);

/// A camera in one stream, with these layers where the codec has some.
fn single(video_codec: Codec, svc: Mode) -> BrowserConfig {
    BrowserConfig {
        video_codec,
        svc: Some(svc),
        ..BrowserConfig::default()
    }
}

/// A camera in three streams, each of its own codec.
fn mixed(codecs: [Codec; 3]) -> BrowserConfig {
    BrowserConfig {
        layer_codecs: Some(codecs),
        ..BrowserConfig::default()
    }
}

/// A viewer who has no other codec.
fn only(codec: Codec) -> BrowserConfig {
    BrowserConfig {
        only: Some(codec),
        ..one_slot()
    }
}

fn start(title: &'static str, camera: BrowserConfig, viewer: BrowserConfig) -> Plan {
    Plan::new(title)
        .at(
            0,
            "ben's camera is on",
            [JoinWith("ben", camera), Publish("ben", Camera)],
        )
        .at(0, "anna looks at him", [JoinWith("anna", viewer)])
        .at(100, "at a size", look_at("anna", "ben"))
        .at(200, "large", [tile("anna", "ben", (1_280, 720))])
}

/// Sizes that anna has seen within a time.
fn sizes(world: &World, from: u64, to: u64) -> Vec<u8> {
    let frames = world.frames("anna", "ben", Camera, ms(from));
    let frames = frames.iter().filter(|frame| frame.at < ms(to));
    let mut sizes: Vec<u8> = frames.map(|frame| frame.tag.rank()).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

fn why(world: &mut World) -> Option<Why> {
    Some(world.slot_of("anna", "ben", Camera)?.why)
}

/// Keyframes that ben's encoder was asked for in a time.
fn asked(world: &World, from: u64) -> usize {
    let asked = &world.seat("ben").browser.keyframes_asked;
    asked.iter().filter(|asked| asked.at >= ms(from)).count()
}

/// Through codecs whose layers, descriptors and counters have nothing in common.
fn changes(title: &'static str, camera: BrowserConfig, lossy: bool) {
    let svc = Some(L3T3_KEY);
    let plain = camera.svc.map(|_| Mode::new(1, 3));
    let link = LinkConfig {
        loss: if lossy { 0.02 } else { 0.0 },
        ..LinkConfig::default()
    };
    start(title, camera, one_slot())
        .at(
            2_000,
            "the links are what they are",
            [Uplink("ben", link.clone()), Downlink("anna", link)],
        )
        .at(8_000, "VP9", [Encode("ben", Codec::Vp9, plain.and(svc))])
        .at(12_000, "VP8", [Encode("ben", Codec::Vp8, plain)])
        .at(16_000, "AV1", [Encode("ben", Codec::Av1, plain.and(svc))])
        .at(20_000, "H.264", [Encode("ben", Codec::H264, plain)])
        .at(24_000, "VP8 again", [Encode("ben", Codec::Vp8, plain)])
        .at(30_000, "the end", [Expect(Sees("anna", "ben", Camera))])
        .run(SEEDS, |world| {
            let frozen = world.longest_freeze("anna", "ben", Camera, ms(7_000));
            let most = if lossy { ms(800) } else { ms(200) };
            assert!(frozen < most, "the picture stood still for {frozen:?}");
            if !lossy {
                assert_eq!(asked(world, 7_000), 0, "the encoder begins with a keyframe");
                assert_eq!(world.lost_packets("anna"), 0);
            }
        });
}

#[test]
fn a_stream_with_layers_changes_its_codec() {
    let camera = single(Codec::Vp8, Mode::new(1, 3));
    changes("ben's one stream changes its codec", camera, false);
}

#[test]
fn three_streams_change_their_codec() {
    let camera = BrowserConfig::default();
    changes("ben's three streams change their codec", camera, false);
}

#[test]
fn a_codec_changes_while_packets_get_lost() {
    let camera = single(Codec::Vp8, Mode::new(1, 3));
    changes("one stream, 2 % of loss", camera, true);
    changes("three streams, 2 % of loss", BrowserConfig::default(), true);
}

#[test]
fn the_first_frame_of_the_new_codec_gets_lost() {
    let lose = LoseUp {
        publisher: "ben",
        source: Camera,
        rid: None,
        packets: 400,
        retransmissions: 400,
    };
    let camera = single(Codec::Vp8, Mode::new(1, 3));
    start(
        "nothing of the first frames of VP9 comes",
        camera,
        one_slot(),
    )
    .at(
        8_000,
        "VP9, and it gets lost",
        [Encode("ben", Codec::Vp9, Some(L3T3_KEY)), lose],
    )
    .at(12_000, "the end", [Expect(Sees("anna", "ben", Camera))])
    .run(SEEDS, |world| {
        assert!(asked(world, 8_000) > 0, "nothing else brings a keyframe");
        let frozen = world.longest_freeze("anna", "ben", Camera, ms(7_000));
        assert!(frozen < ms(2_500), "the picture stood still for {frozen:?}");
    });
}

#[test]
fn streams_of_different_codecs_are_switched_between() {
    let codecs = [
        [Codec::Vp8, Codec::Vp8, Codec::Av1],
        [Codec::Vp8, Codec::Vp9, Codec::Av1],
        [Codec::Av1, Codec::H264, Codec::Vp8],
    ];
    for codecs in codecs {
        start(
            "each of ben's streams has its codec",
            mixed(codecs),
            one_slot(),
        )
        .at(8_000, "small", [tile("anna", "ben", (160, 90))])
        .at(11_000, "in the middle", [tile("anna", "ben", (640, 360))])
        .at(15_000, "large again", [tile("anna", "ben", (1_280, 720))])
        .at(
            20_000,
            "500 kbit/s are left",
            [Downlink("anna", LinkConfig::rate(500_000))],
        )
        .at(30_000, "the end", [Expect(Sees("anna", "ben", Camera))])
        .run(SEEDS, |world| {
            assert_eq!(sizes(world, 6_500, 8_000), [2], "large");
            assert_eq!(sizes(world, 9_500, 11_000), [0], "small");
            assert_eq!(sizes(world, 13_500, 15_000), [1], "in the middle");
            assert_eq!(sizes(world, 18_500, 20_000), [2], "large again");
            assert!(!sizes(world, 26_000, 30_000).contains(&2), "under a cap");
            let frozen = world.longest_freeze("anna", "ben", Camera, ms(2_000));
            assert!(frozen < ms(1_000), "the picture stood still for {frozen:?}");
        });
    }
}

#[test]
fn what_a_viewer_cannot_decode_is_not_chosen_for_it() {
    let camera = BrowserConfig {
        adaptive: true,
        ..mixed([Codec::Vp8, Codec::Vp8, Codec::Av1])
    };
    start("anna has VP8 alone", camera, only(Codec::Vp8))
        .at(10_000, "later", [Expect(Sees("anna", "ben", Camera))])
        .at(
            10_000,
            "cai, who has AV1 as well, comes",
            [
                JoinWith("cai", one_slot()),
                Action::Tiles("cai", None),
                tile("cai", "ben", (1_280, 720)),
            ],
        )
        .at(24_000, "the end", [Expect(Sees("anna", "ben", Camera))])
        .run(SEEDS, |world| {
            assert_eq!(
                sizes(world, 6_000, 24_000),
                [1],
                "the best that she can decode"
            );
            let best = |from, to| {
                let frames = world.frames("cai", "ben", Camera, ms(from));
                frames.iter().any(|f| f.tag.layer == 2 && f.at < ms(to))
            };
            assert!(best(12_000, 24_000), "cai gets the large one");
            let frozen = world.longest_freeze("anna", "ben", Camera, ms(2_000));
            assert!(frozen < ms(300), "the picture stood still for {frozen:?}");
        });
}

#[test]
fn a_layer_that_nobody_can_decode_is_not_encoded() {
    let camera = BrowserConfig {
        adaptive: true,
        ..mixed([Codec::Vp8, Codec::Vp8, Codec::Av1])
    };
    start(
        "the large stream is AV1, and anna has VP8 alone",
        camera,
        only(Codec::Vp8),
    )
    .at(12_000, "later", [Expect(Sees("anna", "ben", Camera))])
    .run(SEEDS, |world| {
        let sent = |from: u64, to: u64| {
            let log = world.seat("ben").up.log().iter();
            let log = log.filter(|sent| (ms(from)..ms(to)).contains(&sent.at));
            log.map(|sent| sent.bytes as u64).sum::<u64>() * 8_000 / (to - from)
        };
        let bps = sent(9_000, 12_000);
        assert!(
            bps < 700_000,
            "{bps} bit/s, of which 400,000 are the middle stream"
        );
    });
}

#[test]
fn a_viewer_is_told_that_it_cannot_decode_anything_and_sees_when_it_can() {
    let camera = BrowserConfig {
        adaptive: true,
        ..single(Codec::Av1, L3T3_KEY)
    };
    start(
        "ben sends AV1, and anna has VP8 alone",
        camera,
        only(Codec::Vp8),
    )
    .at(12_000, "nothing", [Expect(SeesNot("anna", "ben", Camera))])
    .at(
        12_000,
        "ben's browser takes VP8",
        [Encode("ben", Codec::Vp8, Some(Mode::new(1, 3)))],
    )
    .at(14_000, "a picture", [Expect(Sees("anna", "ben", Camera))])
    .at(
        16_000,
        "and VP9",
        [Encode("ben", Codec::Vp9, Some(L3T3_KEY))],
    )
    .at(19_000, "nothing", [Expect(SeesNot("anna", "ben", Camera))])
    .run(SEEDS, |world| {
        assert_eq!(why(world), Some(Why::NoCommonCodec));
        let asked = &world.seat("ben").browser.keyframes_asked;
        let late = asked.iter().filter(|one| one.at > ms(5_000));
        assert!(late.count() < 4, "nobody waits for what nobody can decode");
        let first = world.frames("anna", "ben", Camera, ms(0));
        assert!(first[0].at < ms(12_500), "seen at {:?}", first[0].at);
    });
}
