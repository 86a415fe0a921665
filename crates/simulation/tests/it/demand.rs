//! Faults 6 to 13: bandwidth, timers and requests.

use std::time::Duration;

use madang_core::Source::{Camera, Microphone, Screen};
use madang_core::Why;
use madang_simulation::Action::{
    Downlink, Expect, Join, JoinWith, Mute, Publish, Tile, Tiles, Unmute,
};
use madang_simulation::Expectation::Sees;
use madang_simulation::network::LinkConfig;
use madang_simulation::{Action, BrowserConfig, Plan, World};

use crate::{SEEDS, all_see_all, anna_looks_at_ben, ms};

#[test]
fn fault_06_no_estimate_is_not_zero() {
    Plan::new("first pictures before the first estimate")
        .at(
            0,
            "two are there, without sound that would be reported about",
            ["ben", "cleo"].map(|name| JoinWith(name, BrowserConfig::default())),
        )
        .at(
            0,
            "with cameras",
            ["ben", "cleo"].map(|name| Publish(name, Camera)),
        )
        .at(3_000, "anna joins", [Join("anna")])
        .at(4_500, "a moment later", [])
        .run(SEEDS, |world| {
            let connected = world.seat("anna").browser.connected_at.unwrap();
            for publisher in ["ben", "cleo"] {
                let first = world.frames("anna", publisher, Camera, Duration::ZERO)[0];
                assert!(
                    first.at < connected + ms(120),
                    "connected at {connected:?}, first frame of {publisher} at {:?}",
                    first.at
                );
                let last = world.frames("anna", publisher, Camera, ms(4_000));
                let layer = last.last().unwrap().tag.layer;
                assert_eq!(layer, 1, "the layer that fills the tile");
            }
        });
}

#[test]
fn fault_06_a_lowest_layer_that_does_not_fit_is_still_sent() {
    let narrow = LinkConfig {
        queue: ms(500),
        ..LinkConfig::rate(55_000)
    };
    anna_looks_at_ben("a downlink of 55 kbit/s, and half the frames of the lowest layer take more")
        .at(
            3_000,
            "her downlink gets narrow",
            [Downlink("anna", narrow)],
        )
        .at(30_000, "much later", [])
        .run(SEEDS, |world| {
            let packets = |world: &World| -> u64 {
                world
                    .seat("anna")
                    .browser
                    .video
                    .values()
                    .map(|decoder| decoder.packets())
                    .sum()
            };
            let before = packets(world);
            world.run_until(ms(40_000));
            let came = packets(world) - before;
            // Of its temporal layers, the first alone makes 75.
            assert!(came > 40, "{came} video packets in ten seconds");
            let frames = world.frames("anna", "ben", Camera, ms(30_000));
            assert!(frames.iter().all(|frame| frame.tag.layer == 0));
        });
}

#[test]
fn a_shared_screen_goes_before_nine_cameras() {
    let people = [
        "ben", "cleo", "dan", "eve", "finn", "gina", "hugo", "ida", "jan",
    ];
    let cameras = people.iter().flat_map(|name| {
        [
            JoinWith(name, BrowserConfig::default()),
            Publish(name, Camera),
        ]
    });
    let viewer = BrowserConfig {
        video_slots: 10,
        ..BrowserConfig::default()
    };
    let screen = Tile {
        viewer: "anna",
        publisher: "ben",
        source: Screen,
        size: (1_920, 1_080),
    };
    Plan::new("nine cameras and a screen that needs half of what there is")
        .at(0, "nine cameras", cameras.collect::<Vec<_>>())
        .at(
            1_000,
            "anna looks at all of them, over 1.5 Mbit/s",
            [
                JoinWith("anna", viewer),
                Downlink("anna", LinkConfig::rate(1_500_000)),
                Tiles("anna", Some((320, 180))),
                screen,
            ],
        )
        .at(6_000, "ben shares his screen", [Publish("ben", Screen)])
        .at(
            16_000,
            "ten seconds later",
            [Expect(Sees("anna", "ben", Screen))],
        )
        .run(SEEDS, |world| {
            let stood = world.longest_freeze("anna", "ben", Screen, ms(8_000));
            assert!(stood < ms(300), "the screen stood still for {stood:?}");
            let track = world.slot_of("anna", "ben", Screen).unwrap().track;
            let told = world.seat("anna").page.video_history.iter();
            let paused = told.filter(|(_, slots)| {
                slots
                    .iter()
                    .any(|slot| slot.track == track && slot.why == Why::NoBandwidth)
            });
            assert_eq!(paused.count(), 0, "the screen gave way to cameras");
        });
}

#[test]
fn fault_09_idle_peers_cost_nothing() {
    let silent: Vec<&'static str> = (0..20).map(|i| &*format!("silent {i}").leak()).collect();
    let mute = |name: &&'static str| [Mute(name, Camera), Mute(name, Microphone)];
    Plan::new("twenty people who neither send nor see anything")
        .at(
            0,
            "they join",
            silent.iter().copied().map(Join).collect::<Vec<_>>(),
        )
        .at(
            3_000,
            "and turn everything off",
            silent.iter().flat_map(mute).collect::<Vec<_>>(),
        )
        .at(10_000, "all is quiet", [])
        .run(&[1], |world| {
            let before = (world.shard_stats(), world.timeouts());
            world.run_until(ms(20_000));
            let after = (world.shard_stats(), world.timeouts());
            let per_peer_second = |count: u64| count as f64 / 20.0 / 10.0;
            let datagrams = per_peer_second(after.0.datagrams_out - before.0.datagrams_out);
            let drives = per_peer_second(after.0.drives - before.0.drives);
            let timeouts = per_peer_second(after.1 - before.1);
            assert!(
                datagrams <= 3.0,
                "{datagrams} datagrams a second for each silent peer"
            );
            assert!(
                drives <= 10.0,
                "{drives} drives a second for each silent peer"
            );
            assert!(
                timeouts <= 10.0,
                "{timeouts} timeouts a second for each silent peer"
            );
        });
}

#[test]
fn fault_09_a_talk_of_two_does_not_poll_the_silent() {
    let silent: Vec<&'static str> = (0..20).map(|i| &*format!("silent {i}").leak()).collect();
    let blind = |name: &&'static str| {
        [
            JoinWith(
                name,
                BrowserConfig {
                    audio_slots: 0,
                    video_slots: 1,
                    ..Default::default()
                },
            ),
            Tiles(name, None),
        ]
    };
    let join: Vec<Action> = silent.iter().flat_map(blind).collect();
    Plan::new("two talk, twenty look away")
        .at(0, "the silent join", join)
        .at(100, "two talk", [Join("anna"), Join("ben")])
        .at(10_000, "for a while", all_see_all(&["anna", "ben"]))
        .run(&[1], |world| {
            let sent = |world: &World| -> u64 {
                let quiet = world
                    .all_seats()
                    .iter()
                    .filter(|seat| seat.name.starts_with("silent"));
                quiet.map(|seat| seat.down.stats().sent).sum()
            };
            let before = sent(world);
            world.run_until(ms(15_000));
            let datagrams = (sent(world) - before) as f64 / 20.0 / 5.0;
            assert!(
                datagrams <= 3.0,
                "{datagrams} datagrams a second for each silent peer"
            );
        });
}

#[test]
fn fault_11_fifty_viewers_cause_two_keyframe_requests() {
    let mut plan =
        Plan::new("fifty viewers join within a second").at(0, "ben is there", [Join("ben")]);
    for i in 0..50 {
        let name = &*format!("viewer {i}").leak();
        plan = plan.at(
            3_000 + i * 20,
            "one more viewer",
            [JoinWith(name, BrowserConfig::default())],
        );
    }
    plan.at(
        7_000,
        "all see ben",
        (0..50)
            .map(|i| Expect(Sees(format!("viewer {i}").leak(), "ben", Camera)))
            .collect::<Vec<_>>(),
    )
    .run(&[1, 2], |world| {
        let asked = &world.seat("ben").browser.keyframes_asked;
        for rid in ["q", "h", "f"] {
            let count = asked
                .iter()
                .filter(|ask| ask.at >= ms(3_000) && ask.rid == Some(rid.into()))
                .count();
            assert!(
                count <= 2,
                "{count} keyframe requests for layer {rid}: {asked:?}"
            );
        }
    });
}

#[test]
fn who_joins_soon_after_another_has_a_picture_at_once() {
    let mut plan = Plan::new("fifteen viewers, of whom the last may ask for another keyframe").at(
        0,
        "ben is there",
        [Join("ben")],
    );
    for i in 0..15 {
        let name = &*format!("viewer {i}").leak();
        plan = plan.at(
            3_000 + i * 90,
            "one more viewer",
            [JoinWith(name, BrowserConfig::default())],
        );
    }
    plan.at(5_000, "all have joined", []).run(SEEDS, |world| {
        for (i, joined) in (0..15).map(|i| (i, ms(3_000 + i * 90))) {
            let frames = world.frames(&format!("viewer {i}"), "ben", Camera, joined);
            let first = frames.first().map(|frame| frame.at - joined);
            assert!(
                first.is_some_and(|waited| waited < ms(450)),
                "viewer {i} had the first picture after {first:?}"
            );
        }
    });
}

#[test]
fn fault_13_a_viewer_who_came_before_the_publisher_sees_him() {
    Plan::new("anna is early")
        .at(0, "anna is alone", [Join("anna")])
        .at(
            4_000,
            "ben joins without a camera",
            [JoinWith("ben", BrowserConfig::default())],
        )
        .at(7_000, "ben turns his camera on", [Publish("ben", Camera)])
        .at(
            9_000,
            "anna sees him",
            [Expect(Sees("anna", "ben", Camera))],
        )
        .run(SEEDS, |world| {
            let first = world.frames("anna", "ben", Camera, Duration::ZERO)[0].at;
            assert!(first < ms(8_000), "the first frame came at {first:?}");
        });
}

#[test]
fn fault_13_a_view_of_a_muted_camera_comes_alive() {
    Plan::new("ben joins with his camera off")
        .at(
            0,
            "both join",
            [Join("anna"), JoinWith("ben", BrowserConfig::default())],
        )
        .at(
            1_000,
            "ben's camera is there but off",
            [Publish("ben", Camera), Mute("ben", Camera)],
        )
        .at(5_000, "it is turned on", [Unmute("ben", Camera)])
        .at(
            7_000,
            "anna sees him",
            [Expect(Sees("anna", "ben", Camera))],
        )
        .run(SEEDS, |_| {});
}
