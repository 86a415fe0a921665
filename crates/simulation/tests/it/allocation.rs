//! Who gets what of a link that is too narrow for all, and what is said about it.

use madang_core::Source::{Camera, Microphone, Screen};
use madang_core::{Heard, Limit};
use madang_simulation::Action::{Downlink, Frames, Join, JoinWith, Mute, Publish, Talk, Tiles};
use madang_simulation::catalogue::{self, Encoding};
use madang_simulation::measure::{Measured, measure};
use madang_simulation::network::LinkConfig;
use madang_simulation::{Action, BrowserConfig, Plan, World};

use crate::{SEEDS, anna_looks_at_ben, ms, tile};

/// A screen and nine cameras over 1.5 Mbit/s.
fn screen_and_cameras(encoding: Encoding, verdict: impl Fn(&Measured)) {
    let study = catalogue::find(encoding, "screen-and-9").unwrap();
    study.plan.play(1, &[study.subject.viewer], |world| {
        verdict(&measure(world, &study.subject));
    });
}

#[test]
fn a_screen_that_begins_stops_no_camera_that_fits_beside_it() {
    screen_and_cameras(Encoding::Vp8Simulcast, |measured| {
        assert!(measured.paused < 0.001, "{measured:?}");
        assert!(measured.freezes_per_minute < 0.1, "{measured:?}");
    });
}

#[test]
fn pictures_that_do_not_fit_do_not_come_and_go() {
    screen_and_cameras(Encoding::H264Simulcast, |measured| {
        assert!(measured.paused > 0.1, "they do not fit: {measured:?}");
        assert!(measured.pauses_per_minute < 7.0, "{measured:?}");
    });
}

#[test]
fn one_stream_that_comes_stops_nobody() {
    let narrow = LinkConfig {
        delay: ms(25),
        ..LinkConfig::rate(1_200_000)
    };
    Plan::new("a link of 1.2 Mbit/s, two cameras, and a screen of 0.8")
        .at(
            0,
            "two with cameras, and anna",
            ["ben", "cleo"]
                .into_iter()
                .flat_map(|name| {
                    [
                        JoinWith(name, BrowserConfig::default()),
                        Publish(name, Camera),
                    ]
                })
                .chain([JoinWith("anna", BrowserConfig::default())])
                .collect::<Vec<_>>(),
        )
        .at(0, "her link", [Downlink("anna", narrow)])
        .at(
            5_000,
            "dan shares a screen, which is one stream",
            [
                JoinWith("dan", BrowserConfig::default()),
                Publish("dan", Screen),
            ],
        )
        .at(9_000, "the end", [])
        .run(SEEDS, |world| {
            for name in ["ben", "cleo"] {
                let longest = world.longest_freeze("anna", name, Camera, ms(4_500));
                assert!(longest < ms(600), "{name} stood for {longest:?}");
            }
        });
}

/// Frames of ben's that anna has had in the last second, and how many ben has been told to be enough.
fn frames(world: &World) -> (usize, Option<u32>) {
    let had = world.frames("anna", "ben", Camera, world.now() - ms(1_000));
    let mut layers = world.seat("ben").page.layers.values().flatten();
    let shown = layers.find(|layer| layer.rid == Some("h".into()));
    (had.len(), shown.and_then(|layer| layer.max_fps))
}

fn fifteen_are_enough() -> Plan {
    anna_looks_at_ben("fifteen frames a second are enough").at(
        3_000,
        "says anna",
        [Frames("anna", Some(15))],
    )
}

#[test]
fn no_more_frames_are_sent_than_are_enough_and_the_publisher_knows() {
    fifteen_are_enough()
        .at(10_000, "a while later", [])
        .run(SEEDS, |world| {
            let (had, told) = frames(world);
            assert!((13..=17).contains(&had), "{had}");
            assert_eq!(told, Some(15));
        });
}

#[test]
fn who_wants_more_frames_has_them_at_once() {
    fifteen_are_enough()
        .at(10_000, "all of them after all", [Frames("anna", None)])
        .at(12_000, "soon", [])
        .run(SEEDS, |world| {
            let (had, told) = frames(world);
            assert!(had > 25, "{had}");
            assert_eq!(told, None);
        });
}

/// Why ben's picture is no larger at anna's, six seconds after this.
fn limit(title: &'static str, happens: Action, expected: Option<Limit>) {
    anna_looks_at_ben(title)
        .at(4_000, "it happens", [happens])
        .at(10_000, "later", [])
        .run(SEEDS, |world| {
            let slots = world.explain("anna").slots;
            assert_eq!(slots[0].limit, expected, "{:?}", slots[0]);
        });
}

#[test]
fn what_keeps_a_picture_small_is_said() {
    let size = |size| tile("anna", "ben", size);
    limit("a small tile", size((320, 180)), Some(Limit::Chosen));
    limit("a large tile", size((1_920, 1_080)), Some(Limit::Publisher));
    limit(
        "fewer frames",
        Frames("anna", Some(15)),
        Some(Limit::Chosen),
    );
    let narrow = LinkConfig {
        delay: ms(25),
        ..LinkConfig::rate(200_000)
    };
    limit(
        "a narrow link",
        Downlink("anna", narrow),
        Some(Limit::Bandwidth),
    );
    limit("no tile", Tiles("anna", None), None);
}

#[test]
fn which_voices_are_heard_and_why_is_said() {
    Plan::new("ben speaks, and cleo has muted herself")
        .at(
            0,
            "they come, and anna",
            [Join("ben"), Join("cleo"), Join("anna")],
        )
        .at(1_000, "cleo is mute", [Mute("cleo", Microphone)])
        .at(1_500, "ben speaks", [Talk("ben", -20)])
        .at(4_000, "he still does", [])
        .run(SEEDS, |world| {
            let audio = world.explain("anna").audio;
            let loud = audio.iter().find(|slot| slot.why == Heard::Loud);
            assert!(loud.is_some_and(|slot| slot.level > 60), "{audio:?}");
            let empty = audio.iter().filter(|slot| slot.why == Heard::Empty);
            assert!(empty.count() >= 1, "{audio:?}");
        });
}
