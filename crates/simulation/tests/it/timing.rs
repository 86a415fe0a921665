//! Picture and sound stay together, and what the publisher says of its timing reaches the receiver.

use madang_core::Source::{Camera, Microphone};
use madang_simulation::Action::{Join, JoinWith, Mute, Publish, Talk, Tiles, Unmute, Uplink};
use madang_simulation::network::LinkConfig;
use madang_simulation::{BrowserConfig, Plan};

use crate::{SEEDS, is_asked_for, ms};

#[test]
fn lips_stay_in_sync_through_switches_and_pauses() {
    // By when they arrive, pictures would be 80 ms behind what is said, and now and then 120.
    let slow = BrowserConfig {
        encoding_time: (ms(40), ms(120)),
        ..BrowserConfig::default()
    };
    let uneven = LinkConfig {
        delay: ms(20),
        jitter: ms(30),
        ..LinkConfig::default()
    };
    Plan::new(
        "ben speaks while his tile grows, shrinks, is hidden, and his camera is off for a while",
    )
    .at(
        0,
        "two start",
        [
            Join("anna"),
            Tiles("anna", None),
            JoinWith("ben", slow),
            Publish("ben", Microphone),
            Publish("ben", Camera),
            Uplink("ben", uneven),
            Talk("ben", -20),
        ],
    )
    .at(3_000, "she looks at him", [Tiles("anna", Some((640, 360)))])
    .at(5_000, "small", [Tiles("anna", Some((160, 90)))])
    .at(7_000, "large", [Tiles("anna", Some((1_280, 720)))])
    .at(9_000, "hidden", [Tiles("anna", None)])
    .at(13_000, "shown", [Tiles("anna", Some((640, 360)))])
    .at(15_000, "the camera is off", [Mute("ben", Camera)])
    .at(19_000, "and on", [Unmute("ben", Camera)])
    .at(23_000, "for a while", [])
    .run(SEEDS, |world| {
        let (apart, frames) = world.lip_sync("anna", "ben", ms(4_000));
        assert!(frames > 250, "measured at {frames} frames");
        assert!(apart <= ms(40), "picture and sound are {apart:?} apart");
    });
}

#[test]
fn capture_times_and_playout_delays_pass_through() {
    let timed = BrowserConfig {
        timing: true,
        ..BrowserConfig::default()
    };
    Plan::new("ben says when he captures, and how long to wait; anna understands, cleo does not")
        .at(
            0,
            "three start",
            [
                JoinWith("ben", timed),
                Publish("ben", Camera),
                JoinWith("anna", timed),
                Join("cleo"),
            ],
        )
        .at(5_000, "a while", [])
        .run(SEEDS, |world| {
            let seen = world.seat("anna").browser.timed_packets;
            assert!(seen > 100, "{seen} packets came with both");
            assert_eq!(world.seat("anna").browser.mistimed_packets, 0);
            assert_eq!(world.seat("cleo").browser.timed_packets, 0);
        });
}

#[test]
fn a_layer_that_nobody_wants_is_paused_and_comes_back() {
    let pauses = BrowserConfig {
        adaptive: true,
        ..BrowserConfig::default()
    };
    Plan::new("anna's tile of ben is large, then small, then large")
        .at(
            0,
            "two start",
            [
                Join("anna"),
                JoinWith("ben", pauses),
                Publish("ben", Camera),
            ],
        )
        .at(500, "large", [Tiles("anna", Some((1_280, 720)))])
        .at(8_000, "small", [Tiles("anna", Some((160, 90)))])
        .at(13_000, "large again", [Tiles("anna", Some((1_280, 720)))])
        .run(SEEDS, |world| {
            let active = |world: &madang_simulation::World| is_asked_for(world, "ben", "f");
            assert_eq!(active(world), Some(false), "five seconds later");
            world.run_until(ms(13_300));
            assert_eq!(active(world), Some(true), "300 ms later");
            let frames = world.frames("anna", "ben", Camera, ms(13_000));
            let back = frames.iter().find(|frame| frame.tag.layer == 2);
            let back = back.expect("it is seen again");
            assert!(back.tag.captured > ms(13_000));
            world.run_until(ms(14_500));
            let frames = world.frames("anna", "ben", Camera, ms(14_000));
            assert!(frames.iter().all(|frame| frame.tag.layer == 2) && !frames.is_empty());
        });
}
