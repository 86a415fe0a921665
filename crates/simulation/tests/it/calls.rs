//! What people do in calls.

use madang_core::CloseReason;
use madang_core::Source::{Camera, Microphone, Screen};
use madang_simulation::Action::{
    Data, Expect, Hush, Join, JoinWith, Leave, MoreSlots, Mute, Publish, Talk, Tile, Unmute,
    Unpublish, Vanish,
};
use madang_simulation::Expectation::{Connected, Gone, Hears, HearsNot, Sees, SeesLayer, SeesNot};
use madang_simulation::{BrowserConfig, Codec, Plan};

use crate::{SEEDS, all_see_all, look_at, ms, one_slot};

const FIVE: [&str; 5] = ["anna", "ben", "cleo", "dan", "eve"];

#[test]
fn a_call_of_five() {
    Plan::new("a call of five")
        .at(0, "five people open the page at once", FIVE.map(Join))
        .at(
            1_500,
            "all are connected",
            FIVE.map(|name| Expect(Connected(name))),
        )
        .at(2_000, "anna speaks", [Talk("anna", -20)])
        .at(5_000, "everybody sees everybody", all_see_all(&FIVE))
        .at(
            5_000,
            "and hears anna",
            ["ben", "cleo", "dan", "eve"].map(|name| Expect(Hears(name, "anna"))),
        )
        .run(SEEDS, |world| {
            for viewer in FIVE {
                for publisher in FIVE.into_iter().filter(|name| *name != viewer) {
                    let freeze = world.longest_freeze(viewer, publisher, Camera, ms(2_500));
                    assert!(
                        freeze < ms(200),
                        "{viewer} saw {publisher} freeze for {freeze:?}"
                    );
                }
            }
        });
}

#[test]
fn a_call_in_h264() {
    let h264 = BrowserConfig {
        video_codec: Codec::H264,
        ..BrowserConfig::default()
    };
    Plan::new("two cameras that encode H.264, and one VP8")
        .at(
            0,
            "they join",
            [JoinWith("anna", h264), JoinWith("ben", h264), Join("cleo")],
        )
        .at(
            0,
            "with their cameras",
            [Publish("anna", Camera), Publish("ben", Camera)],
        )
        .at(
            4_000,
            "everybody sees everybody",
            all_see_all(&["anna", "ben", "cleo"]),
        )
        .at(
            4_000,
            "the tile shrinks",
            [Tile {
                viewer: "anna",
                publisher: "ben",
                source: Camera,
                size: (160, 90),
            }],
        )
        .at(
            7_000,
            "the smallest layer comes",
            [Expect(SeesLayer("anna", "ben", "q"))],
        )
        .run(SEEDS, |_| {});
}

#[test]
fn h264_goes_to_who_plays_its_constrained_baseline_alone() {
    let anna = BrowserConfig {
        video_codec: Codec::H264,
        ..BrowserConfig::default()
    };
    let ben = BrowserConfig {
        constrained_h264: true,
        ..BrowserConfig::default()
    };
    Plan::new("a camera that encodes H.264, and a viewer with one profile of it")
        .at(
            0,
            "they join",
            [
                JoinWith("anna", anna),
                JoinWith("ben", ben),
                Publish("anna", Camera),
            ],
        )
        .at(
            4_000,
            "ben sees anna",
            [Expect(Sees("ben", "anna", Camera))],
        )
        .run(SEEDS, |_| {});
}

#[test]
fn people_join_and_leave() {
    Plan::new("people join and leave")
        .at(0, "two start", [Join("anna"), Join("ben")])
        .at(3_000, "a third joins", [Join("cleo")])
        .at(
            6_000,
            "everybody sees everybody",
            all_see_all(&["anna", "ben", "cleo"]),
        )
        .at(6_000, "ben leaves", [Leave("ben")])
        .at(
            8_000,
            "nobody sees ben",
            [
                Expect(Gone("ben")),
                Expect(SeesNot("anna", "ben", Camera)),
                Expect(SeesNot("cleo", "ben", Camera)),
            ],
        )
        .at(8_000, "dan comes in his place", [Join("dan")])
        .at(
            11_000,
            "everybody sees everybody",
            all_see_all(&["anna", "cleo", "dan"]),
        )
        .run(SEEDS, |world| assert_eq!(world.shard_stats().peers, 3));
}

#[test]
fn somebody_vanishes_without_a_word() {
    Plan::new("somebody vanishes")
        .at(0, "two start", [Join("anna"), Join("ben")])
        .at(
            3_000,
            "everybody sees everybody",
            all_see_all(&["anna", "ben"]),
        )
        .at(3_000, "ben's battery is empty", [Vanish("ben")])
        .at(90_000, "the server has given him up", [])
        .run(&[1], |world| {
            assert_eq!(world.shard_stats().peers, 1);
            assert_eq!(world.seat("anna").page.closed, None);
            assert!(
                world
                    .seat("anna")
                    .page
                    .tracks
                    .iter()
                    .all(|track| track.owner == 0)
            );
        });
}

#[test]
fn a_camera_is_muted_and_comes_back() {
    Plan::new("a camera is muted for three seconds")
        .at(0, "two start", [Join("anna"), Join("ben")])
        .at(
            3_000,
            "ben turns his camera off",
            [Expect(Sees("anna", "ben", Camera)), Mute("ben", Camera)],
        )
        .at(
            5_000,
            "anna sees nothing of him",
            [Expect(SeesNot("anna", "ben", Camera))],
        )
        .at(6_000, "he turns it on again", [Unmute("ben", Camera)])
        .at(
            8_000,
            "anna sees him",
            [Expect(Sees("anna", "ben", Camera))],
        )
        .run(SEEDS, |world| {
            let back = world.frames("anna", "ben", Camera, ms(6_000));
            assert!(
                back[0].at < ms(6_600),
                "the first frame came at {:?}",
                back[0].at
            );
        });
}

#[test]
fn a_microphone_is_muted_and_comes_back() {
    Plan::new("a microphone is muted")
        .at(0, "two start", [Join("anna"), Join("ben")])
        .at(2_000, "ben speaks", [Talk("ben", -25)])
        .at(
            4_000,
            "and mutes himself",
            [Expect(Hears("anna", "ben")), Mute("ben", Microphone)],
        )
        .at(6_000, "silence", [Expect(HearsNot("anna", "ben"))])
        .at(6_000, "he unmutes", [Unmute("ben", Microphone)])
        .at(8_000, "and is heard", [Expect(Hears("anna", "ben"))])
        .run(SEEDS, |_| {});
}

#[test]
fn the_layer_follows_the_tile() {
    let tile = |size| Tile {
        viewer: "anna",
        publisher: "ben",
        source: Camera,
        size,
    };
    Plan::new("a tile grows and shrinks")
        .at(0, "two start", [Join("anna"), Join("ben")])
        .at(
            4_000,
            "a tile of 640×360 gets the middle layer",
            [Expect(SeesLayer("anna", "ben", "h"))],
        )
        .at(4_000, "the tile shrinks", [tile((160, 90))])
        .at(
            6_000,
            "the smallest layer comes",
            [Expect(SeesLayer("anna", "ben", "q"))],
        )
        .at(6_000, "the tile fills the screen", [tile((1_280, 720))])
        .at(
            14_000,
            "the largest layer comes",
            [Expect(SeesLayer("anna", "ben", "f"))],
        )
        .at(14_000, "the tile is hidden", [tile((0, 0))])
        .at(
            16_000,
            "nothing comes",
            [Expect(SeesNot("anna", "ben", Camera))],
        )
        .at(16_000, "it is shown again", [tile((640, 360))])
        .at(
            18_500,
            "the middle layer comes",
            [Expect(SeesLayer("anna", "ben", "h"))],
        )
        .run(SEEDS, |world| {
            let freeze = world.longest_freeze("anna", "ben", Camera, ms(17_000));
            assert!(freeze < ms(200), "{freeze:?}");
        });
}

#[test]
fn a_screen_is_shared_and_taken_back() {
    Plan::new("a screen is shared")
        .at(0, "two start", [Join("anna"), Join("ben")])
        .at(2_000, "ben shares his screen", [Publish("ben", Screen)])
        .at(
            5_000,
            "anna sees screen and camera",
            [
                Expect(Sees("anna", "ben", Screen)),
                Expect(Sees("anna", "ben", Camera)),
            ],
        )
        .at(5_000, "and takes it back", [Unpublish("ben", Screen)])
        .at(
            7_000,
            "the camera is left",
            [
                Expect(SeesNot("anna", "ben", Screen)),
                Expect(Sees("anna", "ben", Camera)),
            ],
        )
        .at(7_000, "and shares again", [Publish("ben", Screen)])
        .at(
            10_000,
            "anna sees both",
            [
                Expect(Sees("anna", "ben", Screen)),
                Expect(Sees("anna", "ben", Camera)),
            ],
        )
        .run(SEEDS, |_| {});
}

#[test]
fn a_source_is_switched_inside_a_slot() {
    Plan::new("one slot, two cameras")
        .at(
            0,
            "anna has one slot",
            [JoinWith("anna", one_slot()), Join("ben"), Join("cleo")],
        )
        .at(100, "and looks at ben", look_at("anna", "ben"))
        .at(4_000, "she sees him", [Expect(Sees("anna", "ben", Camera))])
        .at(4_000, "she looks at cleo", look_at("anna", "cleo"))
        .at(
            6_000,
            "she sees her and not him",
            [
                Expect(Sees("anna", "cleo", Camera)),
                Expect(SeesNot("anna", "ben", Camera)),
            ],
        )
        .at(6_000, "and back to ben", look_at("anna", "ben"))
        .at(8_000, "she sees him", [Expect(Sees("anna", "ben", Camera))])
        .run(SEEDS, |world| {
            assert_eq!(world.seat("anna").browser.video.len(), 1);
        });
}

#[test]
fn more_slots_are_asked_for_and_used() {
    Plan::new("one slot is too few")
        .at(
            0,
            "anna has one slot",
            [JoinWith("anna", one_slot()), Join("ben"), Join("cleo")],
        )
        .at(3_000, "eight more are offered", [MoreSlots("anna", 8)])
        .at(
            6_000,
            "she sees both",
            [
                Expect(Sees("anna", "ben", Camera)),
                Expect(Sees("anna", "cleo", Camera)),
            ],
        )
        .run(SEEDS, |world| {
            let page = &world.seat("anna").page;
            assert_eq!(page.slots_needed, Some((3, 9)));
            assert_eq!(page.slots.len(), 12);
        });
}

#[test]
fn the_room_knows_who_speaks() {
    Plan::new("ben speaks and stops")
        .at(
            0,
            "three are there",
            [Join("anna"), Join("ben"), Join("cleo")],
        )
        .at(2_000, "ben speaks", [Talk("ben", -20)])
        .at(4_000, "and stops", [Hush("ben")])
        .at(
            4_000,
            "he was heard",
            [Expect(Hears("anna", "ben")), Expect(Hears("cleo", "ben"))],
        )
        .run(SEEDS, |world| {
            assert_eq!(
                world.seat("anna").page.speakers.len(),
                1,
                "{:?}",
                world.seat("anna").page.speakers
            );
            world.run_until(ms(8_000));
            assert_eq!(world.seat("anna").page.speakers, []);
        });
}

#[test]
fn messages_go_over_the_data_channel() {
    Plan::new("a message")
        .at(
            0,
            "three are there",
            [Join("anna"), Join("ben"), Join("cleo")],
        )
        .at(2_000, "anna says hello", [Data("anna", "hello")])
        .at(2_500, "a moment later", [])
        .run(SEEDS, |world| {
            for name in ["ben", "cleo"] {
                assert_eq!(world.seat(name).browser.data, [b"hello".to_vec()], "{name}");
            }
            assert!(world.seat("anna").browser.data.is_empty());
        });
}

#[test]
fn who_leaves_is_told_why() {
    Plan::new("a leave")
        .at(0, "one is there", [Join("anna")])
        .at(2_000, "and leaves", [Leave("anna")])
        .at(3_000, "a moment later", [Expect(Gone("anna"))])
        .run(&[1], |world| {
            let reason = world.seat("anna").page.closed.unwrap();
            assert!(
                matches!(reason, CloseReason::Left | CloseReason::RemoteClosed),
                "{reason:?}"
            );
        });
}
