//! Layers of each codec: spatial and temporal, in one stream and in several, plain and encrypted.

use madang_core::Source::{Camera, Microphone};
use madang_simulation::Action::{Downlink, Expect, Join, JoinWith, LoseUp, Publish, Talk, Uplink};
use madang_simulation::Expectation::{Hears, Sees};
use madang_simulation::network::LinkConfig;
use madang_simulation::{BrowserConfig, Codec, Mode, Plan, World};

use crate::{SEEDS, look_at, ms, one_slot, tile};

/// A camera in one stream with layers.
pub(crate) fn svc(video_codec: Codec, mode: Mode) -> BrowserConfig {
    BrowserConfig {
        video_codec,
        svc: Some(mode),
        ..BrowserConfig::default()
    }
}

/// A camera in three streams.
fn simulcast(video_codec: Codec) -> BrowserConfig {
    BrowserConfig {
        video_codec,
        ..BrowserConfig::default()
    }
}

const L3T3: Mode = Mode::new(3, 3);
const L3T3_KEY: Mode = Mode::key(3, 3);

/// Whether the largest layer is one of the stream's spatial ones, or a stream of its own.
pub(crate) fn size_shown(world: &World, from: u64, to: u64) -> Vec<u8> {
    let frames = world.frames("anna", "ben", Camera, ms(from));
    let mut sizes: Vec<u8> = frames
        .iter()
        .filter(|frame| frame.at < ms(to))
        .map(|frame| frame.tag.rank())
        .collect();
    sizes.dedup();
    sizes
}

/// Pictures a second within a time.
pub(crate) fn rate_shown(world: &World, from: u64, to: u64) -> f64 {
    let frames = world.frames("anna", "ben", Camera, ms(from));
    let count = frames.iter().filter(|frame| frame.at < ms(to)).count();
    count as f64 * 1_000.0 / (to - from) as f64
}

fn start(title: &'static str, camera: BrowserConfig) -> Plan {
    Plan::new(title)
        .at(
            0,
            "ben's camera is on",
            [JoinWith("ben", camera), Publish("ben", Camera)],
        )
        .at(0, "anna looks at him", [JoinWith("anna", one_slot())])
        .at(100, "at a size", look_at("anna", "ben"))
}

/// Sizes 2, 0 and 1 of three, one after the other.
fn through_all_sizes(title: &'static str, camera: BrowserConfig) {
    start(title, camera)
        .at(200, "large", [tile("anna", "ben", (1_280, 720))])
        .at(8_000, "small", [tile("anna", "ben", (160, 90))])
        .at(11_000, "in the middle", [tile("anna", "ben", (640, 360))])
        .at(15_000, "large again", [tile("anna", "ben", (1_280, 720))])
        .at(23_000, "the end", [Expect(Sees("anna", "ben", Camera))])
        .run(SEEDS, |world| {
            assert_eq!(size_shown(world, 6_500, 8_000), [2], "large");
            assert_eq!(size_shown(world, 9_500, 11_000), [0], "small");
            assert_eq!(size_shown(world, 13_500, 15_000), [1], "in the middle");
            assert_eq!(size_shown(world, 21_500, 23_000), [2], "large again");
            let frozen = world.longest_freeze("anna", "ben", Camera, ms(2_000));
            assert!(frozen < ms(300), "the picture stood still for {frozen:?}");
            assert_eq!(world.lost_packets("anna"), 0);
        });
}

/// A cap that only the smaller layers fit into, and its end.
fn under_a_cap(title: &'static str, camera: BrowserConfig) {
    start(title, camera)
        .at(200, "large", [tile("anna", "ben", (1_280, 720))])
        .at(
            6_000,
            "500 kbit/s are left",
            [Downlink("anna", LinkConfig::rate(500_000))],
        )
        .at(
            16_000,
            "all is well again",
            [Downlink("anna", LinkConfig::default())],
        )
        .at(45_000, "the end", [Expect(Sees("anna", "ben", Camera))])
        .run(SEEDS, |world| {
            let capped = size_shown(world, 12_000, 16_000);
            assert!(!capped.contains(&2), "{capped:?} within 500 kbit/s");
            assert_eq!(size_shown(world, 43_000, 45_000), [2]);
        });
}

/// Random loss on both ways: what is left is repaired, and nothing is torn.
fn with_loss(title: &'static str, camera: BrowserConfig) {
    let lossy = LinkConfig {
        loss: 0.03,
        ..LinkConfig::default()
    };
    start(title, camera)
        .at(200, "in the middle", [tile("anna", "ben", (640, 360))])
        .at(
            3_000,
            "both links lose 3 %",
            [Uplink("ben", lossy.clone()), Downlink("anna", lossy)],
        )
        .at(7_000, "large", [tile("anna", "ben", (1_280, 720))])
        .at(11_000, "small", [tile("anna", "ben", (160, 90))])
        .at(15_000, "the end", [Expect(Sees("anna", "ben", Camera))])
        .run(SEEDS, |world| {
            let frozen = world.longest_freeze("anna", "ben", Camera, ms(4_000));
            assert!(frozen < ms(1_000), "the picture stood still for {frozen:?}");
        });
}

/// Not even all frames of the smallest layer fit.
fn fewer_frames(title: &'static str, camera: BrowserConfig, kbps: u64) {
    let narrow = LinkConfig {
        queue: ms(500),
        ..LinkConfig::rate(kbps * 1_000)
    };
    start(title, camera)
        .at(4_000, "the link gets narrow", [Downlink("anna", narrow)])
        .at(25_000, "much later", [])
        .run(SEEDS, |world| {
            let rate = rate_shown(world, 20_000, 25_000);
            assert!(
                (6.0..26.0).contains(&rate),
                "{rate} pictures a second of 30"
            );
            assert_eq!(size_shown(world, 20_000, 25_000), [0]);
            let frozen = world.longest_freeze("anna", "ben", Camera, ms(15_000));
            assert!(frozen < ms(600), "the picture stood still for {frozen:?}");
        });
}

#[test]
fn a_size_that_nobody_looks_at_is_not_sent_and_comes_back_at_once() {
    // She may be on another worker than he.
    for (codec, seed) in [(Codec::Vp9, 1), (Codec::Av1, 1), (Codec::Vp9, 2)] {
        let camera = BrowserConfig {
            adaptive: true,
            ..svc(codec, L3T3_KEY)
        };
        start("anna's tile is small for a while", camera)
            .at(200, "large", [tile("anna", "ben", (1_280, 720))])
            .at(10_000, "small", [tile("anna", "ben", (160, 90))])
            .at(17_000, "large again", [tile("anna", "ben", (1_280, 720))])
            .at(23_000, "the end", [])
            .play(seed, &["ben"], |world| {
                assert_eq!(world.complaints(), [] as [String; 0]);
                let sent = |from: u64, to: u64| {
                    let log = world.seat("ben").up.log().iter();
                    let log = log.filter(|sent| (ms(from)..ms(to)).contains(&sent.at));
                    log.map(|sent| sent.bytes as u64).sum::<u64>() * 8_000 / (to - from)
                };
                let (large, small) = (sent(8_000, 10_000), sent(15_000, 17_000));
                assert!(small * 4 < large, "{small} bit/s of {large}");
                assert_eq!(size_shown(world, 8_500, 10_000), [2]);
                assert_eq!(size_shown(world, 15_000, 17_000), [0]);
                let frames = world.frames("anna", "ben", Camera, ms(17_000));
                let back = frames.iter().find(|frame| frame.tag.spatial == 2).unwrap();
                assert!(back.at < ms(17_300), "it was back at {:?}", back.at);
                let frozen = world.longest_freeze("anna", "ben", Camera, ms(9_000));
                assert!(frozen < ms(300), "the picture stood still for {frozen:?}");
            });
    }
}

/// Every mode that browsers know, once: the largest size, the smallest, and the largest again.
fn in_every_mode(camera: impl Fn(Mode) -> BrowserConfig) {
    let all = (1..=3).flat_map(|spatial| (1..=3).map(move |temporal| Mode::new(spatial, temporal)));
    let key = all.clone().filter(|mode| mode.spatial > 1);
    let key = key.map(|mode| Mode { key: true, ..mode });
    for mode in all.chain(key) {
        let top = mode.spatial - 1;
        start("anna's tile is large, small, and large", camera(mode))
            .at(200, "large", [tile("anna", "ben", (1_280, 720))])
            .at(4_000, "small", [tile("anna", "ben", (160, 90))])
            .at(6_500, "large again", [tile("anna", "ben", (1_280, 720))])
            .at(10_000, "the end", [Expect(Sees("anna", "ben", Camera))])
            .run(&[1], |world| {
                assert_eq!(size_shown(world, 3_000, 4_000), [top], "large, {mode:?}");
                assert_eq!(size_shown(world, 5_500, 6_500), [0], "small, {mode:?}");
                assert_eq!(size_shown(world, 9_000, 10_000), [top], "large, {mode:?}");
                let rate = rate_shown(world, 9_000, 10_000);
                assert!(rate > 28.0, "{rate} pictures a second in {mode:?}");
                let frozen = world.longest_freeze("anna", "ben", Camera, ms(2_000));
                assert!(frozen < ms(300), "{mode:?} stood still for {frozen:?}");
                assert_eq!(world.lost_packets("anna"), 0);
            });
    }
}

#[test]
fn in_every_mode_of_vp9() {
    in_every_mode(|mode| svc(Codec::Vp9, mode));
}

#[test]
fn in_every_mode_of_vp9_by_its_payload() {
    for flexible in [false, true] {
        in_every_mode(|mode| BrowserConfig {
            descriptors: false,
            flexible,
            ..svc(Codec::Vp9, mode)
        });
    }
}

#[test]
fn in_every_mode_of_av1() {
    in_every_mode(|mode| svc(Codec::Av1, mode));
}

#[test]
fn smaller_layers_that_a_picture_does_without_are_not_sent_along() {
    let by_payload = BrowserConfig {
        descriptors: false,
        ..svc(Codec::Vp9, L3T3_KEY)
    };
    start("VP9 L3T3_KEY by its payload", by_payload)
        .at(200, "large", [tile("anna", "ben", (1_280, 720))])
        .at(10_000, "for a while", [])
        .play(1, &["anna"], |world| {
            assert_eq!(world.complaints(), [] as [String; 0]);
            assert_eq!(size_shown(world, 8_000, 10_000), [2]);
            let log = world.seat("anna").down.log().iter();
            let late = log.filter(|sent| sent.at >= ms(8_000));
            let bps = late.map(|sent| sent.bytes as u64).sum::<u64>() * 8 / 2;
            // Of 1,700 kbit/s the largest layer takes 68 %, and headers a little more.
            assert!(
                (1_000_000..1_350_000).contains(&bps),
                "{bps} bit/s for the largest layer"
            );
        });
}

macro_rules! stories {
    ($name:ident, $camera:expr) => {
        mod $name {
            use super::*;

            #[test]
            fn through_all_sizes() {
                super::through_all_sizes(stringify!($name), $camera);
            }

            #[test]
            fn under_a_cap() {
                super::under_a_cap(stringify!($name), $camera);
            }

            #[test]
            fn with_loss() {
                super::with_loss(stringify!($name), $camera);
            }
        }
    };
}

stories!(vp9_l3t3_key, svc(Codec::Vp9, L3T3_KEY));
stories!(vp9_l3t3, svc(Codec::Vp9, L3T3));
stories!(av1_l3t3_key, svc(Codec::Av1, L3T3_KEY));
stories!(av1_l3t3, svc(Codec::Av1, L3T3));
stories!(av1_l3t1_key, svc(Codec::Av1, Mode::key(3, 1)));
stories!(
    vp9_l3t3_by_its_payload,
    BrowserConfig {
        descriptors: false,
        ..svc(Codec::Vp9, L3T3)
    }
);
stories!(
    vp9_l3t3_key_by_its_payload,
    BrowserConfig {
        descriptors: false,
        ..svc(Codec::Vp9, L3T3_KEY)
    }
);
stories!(vp9_simulcast, simulcast(Codec::Vp9));
stories!(av1_simulcast, simulcast(Codec::Av1));
stories!(vp8_simulcast, simulcast(Codec::Vp8));
stories!(
    h264_simulcast_with_temporal_layers,
    BrowserConfig {
        temporal_layers: Some(3),
        ..simulcast(Codec::H264)
    }
);
stories!(
    encrypted_av1_l3t3_key,
    BrowserConfig {
        opaque: true,
        ..svc(Codec::Av1, L3T3_KEY)
    }
);
stories!(
    encrypted_vp8_simulcast,
    BrowserConfig {
        opaque: true,
        ..simulcast(Codec::Vp8)
    }
);

stories!(
    encrypted_vp8_simulcast_without_descriptors,
    BrowserConfig {
        opaque: true,
        descriptors: false,
        ..simulcast(Codec::Vp8)
    }
);

stories!(
    encrypted_h264_simulcast_without_descriptors,
    BrowserConfig {
        opaque: true,
        descriptors: false,
        ..simulcast(Codec::H264)
    }
);

#[test]
fn an_encrypted_camera_without_descriptors_is_seen_from_another_worker() {
    let encrypts = BrowserConfig {
        opaque: true,
        descriptors: false,
        ..simulcast(Codec::Vp8)
    };
    // With this seed people are on three workers.
    start("ben encrypts what he shows", encrypts)
        .at(200, "small", [tile("anna", "ben", (160, 90))])
        .at(4_000, "large", [tile("anna", "ben", (1_280, 720))])
        .at(9_000, "the end", [Expect(Sees("anna", "ben", Camera))])
        .run(&[2], |world| {
            assert_eq!(size_shown(world, 7_000, 9_000), [2]);
        });
}

#[test]
fn an_encrypted_voice_is_heard() {
    let encrypts = BrowserConfig {
        opaque: true,
        ..BrowserConfig::default()
    };
    Plan::new("ben encrypts what he says")
        .at(
            0,
            "both are there",
            [
                JoinWith("ben", encrypts),
                Publish("ben", Microphone),
                Talk("ben", -20),
                Join("anna"),
            ],
        )
        .at(3_000, "anna hears him", [Expect(Hears("anna", "ben"))])
        .run(SEEDS, |_| {});
}

#[test]
fn fewer_frames_of_vp8() {
    fewer_frames("VP8, 100 kbit/s", simulcast(Codec::Vp8), 100);
}

#[test]
fn fewer_frames_of_h264() {
    let camera = BrowserConfig {
        temporal_layers: Some(3),
        ..simulcast(Codec::H264)
    };
    fewer_frames("H.264, 100 kbit/s", camera, 100);
}

#[test]
fn fewer_frames_of_vp9_and_av1() {
    fewer_frames("VP9 L3T3_KEY, 110 kbit/s", svc(Codec::Vp9, L3T3_KEY), 110);
    fewer_frames("AV1 L3T3, 110 kbit/s", svc(Codec::Av1, L3T3), 110);
    let by_payload = BrowserConfig {
        descriptors: false,
        ..svc(Codec::Vp9, Mode::new(3, 2))
    };
    fewer_frames("VP9 L3T2 by its payload, 110 kbit/s", by_payload, 110);
}

#[test]
fn a_structure_that_is_lost_is_asked_for_again() {
    let lose = LoseUp {
        publisher: "ben",
        source: Camera,
        rid: None,
        packets: 1,
        retransmissions: 1_000,
    };
    let camera = svc(Codec::Av1, L3T3_KEY);
    Plan::new("the very first packet is lost, and nobody can know")
        .at(
            0,
            "anna looks at ben",
            [
                JoinWith("ben", camera),
                Publish("ben", Camera),
                JoinWith("anna", one_slot()),
            ],
        )
        .at(50, "before he has sent anything", [lose])
        .at(100, "at a size", look_at("anna", "ben"))
        .at(
            3_000,
            "a moment later",
            [Expect(Sees("anna", "ben", Camera))],
        )
        .run(SEEDS, |world| {
            assert_eq!(world.seat("ben").up.taken().len(), 1);
            let first = world.frames("anna", "ben", Camera, ms(0))[0].at;
            assert!(first < ms(1_200), "the first picture came at {first:?}");
        });
}
