//! An encoder that gets less bandwidth lets its largest layers go: who looked at them gets what is left.

use std::time::Duration;

use madang_core::Source::Camera;
use madang_simulation::Action::{JoinWith, Publish, Tiles, Uplink};
use madang_simulation::catalogue::{self, Encoding};
use madang_simulation::measure::{freezes_of, measure};
use madang_simulation::network::LinkConfig;
use madang_simulation::{BrowserConfig, Codec, Mode, Plan};

use crate::layers::{rate_shown, size_shown, svc};
use crate::{SEEDS, is_asked_for, look_at, ms, one_slot, tile};

/// A camera whose encoder follows the estimate of its uplink.
fn adaptive(codec: Codec, mode: Mode) -> BrowserConfig {
    BrowserConfig {
        adaptive: true,
        ..svc(codec, mode)
    }
}

/// The largest picture does not fit through the publisher's uplink for a while.
fn narrow_from_12_to_24_s(title: &'static str, camera: BrowserConfig, bps: u64) -> Plan {
    Plan::new(title)
        .at(
            0,
            "ben's camera is on",
            [JoinWith("ben", camera), Publish("ben", Camera)],
        )
        .at(0, "anna looks at him", [JoinWith("anna", one_slot())])
        .at(100, "and at nobody else", look_at("anna", "ben"))
        .at(200, "large", [tile("anna", "ben", (1_280, 720))])
        .at(
            12_000,
            "his uplink is narrow",
            [Uplink("ben", LinkConfig::rate(bps))],
        )
        .at(
            24_000,
            "and wide again",
            [Uplink("ben", LinkConfig::default())],
        )
}

/// The largest of three spatial layers.
fn the_uplink_is_narrow_for_a_while(title: &'static str, camera: BrowserConfig) {
    narrow_from_12_to_24_s(title, camera, 500_000)
        .at(40_000, "the end", [])
        .run(SEEDS, |world| {
            assert_eq!(size_shown(world, 10_000, 12_000), [2], "at first");
            assert_eq!(size_shown(world, 16_000, 24_000), [1], "while it is narrow");
            assert_eq!(size_shown(world, 38_000, 40_000), [2], "at last");
            let rate = rate_shown(world, 12_500, 15_000);
            assert!(
                rate > 15.0,
                "{rate} pictures a second when it has become narrow"
            );
            let frozen = world.longest_freeze("anna", "ben", Camera, ms(10_000));
            assert!(frozen < ms(900), "the picture stood still for {frozen:?}");
        });
}

#[test]
fn a_layer_that_the_encoder_lets_go_is_left_at_once() {
    let key = Mode::key(3, 3);
    the_uplink_is_narrow_for_a_while("VP9 L3T3_KEY", adaptive(Codec::Vp9, key));
    the_uplink_is_narrow_for_a_while("AV1 L3T3_KEY", adaptive(Codec::Av1, key));
}

#[test]
fn a_layer_that_others_were_predicted_with_goes_and_comes_back_without_a_word() {
    the_uplink_is_narrow_for_a_while("AV1 L3T3", adaptive(Codec::Av1, Mode::new(3, 3)));
}

#[test]
fn a_publisher_without_bandwidth_shows_a_smaller_picture_to_all_who_look() {
    for encoding in Encoding::ALL {
        let study = catalogue::find(encoding, "congested-publisher").unwrap();
        study.plan.run(SEEDS, |world| {
            let name = encoding.name();
            assert_eq!(size_shown(world, 8_000, 10_000), [2], "{name} at first");
            let narrow = size_shown(world, 15_000, 22_000);
            assert!(
                !narrow.contains(&2),
                "{name}: {narrow:?} while it is narrow"
            );
            let measured = measure(world, &study.subject);
            let frozen = world.longest_freeze("anna", "ben", Camera, ms(8_000));
            assert!(frozen < ms(1_000), "{name} stood still for {frozen:?}");
            assert_eq!(study.missed(&measured), [] as [String; 0]);
        });
    }
}

#[test]
fn a_stream_that_the_publisher_says_to_be_gone_is_left_at_once() {
    let camera = BrowserConfig {
        adaptive: true,
        allocations: true,
        ..BrowserConfig::default()
    };
    let viewers = [
        ("anna", (1_280, 720)),
        ("cleo", (640, 360)),
        ("dan", (320, 180)),
    ];
    let come = viewers.map(|(name, size)| [JoinWith(name, one_slot()), Tiles(name, Some(size))]);
    Plan::new("three look at ben at a size each, and the largest is no more")
        .at(
            0,
            "ben's camera is on",
            [JoinWith("ben", camera), Publish("ben", Camera)],
        )
        .at(
            3_000,
            "they come",
            come.into_iter().flatten().collect::<Vec<_>>(),
        )
        .at(
            12_000,
            "his uplink is narrow",
            [Uplink("ben", LinkConfig::rate(700_000))],
        )
        .at(20_000, "the end", [])
        .run(SEEDS, |world| {
            assert_eq!(size_shown(world, 10_000, 12_000), [2], "at first");
            let narrow = size_shown(world, 15_000, 20_000);
            assert!(!narrow.contains(&2), "{narrow:?} while it is narrow");
            let frozen = world.longest_freeze("anna", "ben", Camera, ms(10_000));
            assert!(frozen < ms(700), "the picture stood still for {frozen:?}");
        });
}

/// Smaller streams had been stopped, since nobody looked at them: an encoder that is left with its largest drops frames, or tears what
/// moves, where a smaller picture would be smooth.
#[test]
fn smaller_streams_come_back_where_the_largest_has_too_little() {
    smaller_streams_come_back(true, (500_000, 1), ms(1_500));
}

/// Firefox and Safari do not say what they have for each stream: that frames are missing shows it.
#[test]
fn smaller_streams_come_back_where_the_largest_drops_frames() {
    smaller_streams_come_back(false, (300_000, 0), ms(4_000));
}

/// `fits`: the layer that an uplink of `bps` carries. `frozen_max`: for how long pictures may stand until it is there.
fn smaller_streams_come_back(allocations: bool, (bps, fits): (u64, u8), frozen_max: Duration) {
    let camera = BrowserConfig {
        adaptive: true,
        allocations,
        ..BrowserConfig::default()
    };
    let title = "one looks at ben's largest stream, and his uplink is narrow for a while";
    narrow_from_12_to_24_s(title, camera, bps)
        .at(45_000, "much later", [])
        .run(SEEDS, |world| {
            let frames = world.frames("anna", "ben", Camera, ms(0));
            let layers = |from, to| {
                let then = frames
                    .iter()
                    .filter(move |it| (ms(from)..ms(to)).contains(&it.at));
                then.map(|frame| frame.tag.layer)
            };
            assert!(layers(10_000, 12_000).all(|layer| layer == 2));
            assert!(
                layers(16_000, 24_000).all(|layer| layer == fits),
                "a picture that fits"
            );
            assert_eq!(layers(35_000, 36_000).min(), Some(2));
            let freezes = freezes_of(world, "anna", "ben", Camera);
            let frozen: Duration = freezes.iter().map(|it| it.end - it.start).sum();
            assert!(frozen < frozen_max, "{freezes:?}");
            assert!(freezes.iter().all(|it| it.end < ms(17_000)), "{freezes:?}");
            assert_eq!(
                is_asked_for(world, "ben", "h"),
                Some(false),
                "nobody looks at it any more"
            );
        });
}
