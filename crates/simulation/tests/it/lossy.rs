//! Who loses packets gets sound more than once, and holds pictures until what is missing has come again.

use std::time::Duration;

use madang_core::Source::{Camera, Microphone};
use madang_simulation::Action::{Downlink, Join, JoinWith, Talk, Uplink};
use madang_simulation::measure::freezes_of;
use madang_simulation::network::LinkConfig;
use madang_simulation::{BrowserConfig, Plan, World};

use crate::{SEEDS, ms, tile};

/// The share of ben's sound that a listener could not play from `from` to `to`.
fn silence(world: &World, listener: &str, from: Duration, to: Duration) -> f64 {
    let sounds = world.sounds(listener, "ben", Microphone, from);
    let heard = sounds.iter().filter(|heard| heard.at < to).count();
    1.0 - heard as f64 / ((to - from).as_secs_f64() * 50.0)
}

/// Ben speaks, without RED, and so much of it gets lost on the way to anna.
fn anna_loses(title: &'static str, anna: BrowserConfig, loss: f64) -> Plan {
    Plan::new(title)
        .at(
            0,
            "ben speaks, without RED",
            [Join("ben"), JoinWith("anna", anna), Talk("ben", -20)],
        )
        .at(
            3_000,
            "anna's downlink gets bad",
            [Downlink("anna", LinkConfig::loss(loss))],
        )
}

#[test]
fn a_listener_who_loses_packets_gets_the_sound_twice() {
    let listener = |red| BrowserConfig {
        red,
        ..BrowserConfig::default()
    };
    let bad = LinkConfig::loss(0.08);
    Plan::new("8 % loss on the way to anna, who takes RED, and to cleo, who does not")
        .at(
            0,
            "ben speaks, without RED",
            [
                Join("ben"),
                JoinWith("anna", listener(true)),
                JoinWith("cleo", listener(false)),
                Talk("ben", -20),
            ],
        )
        .at(3_000, "all is well", [])
        .at(
            4_000,
            "both downlinks get bad",
            [Downlink("anna", bad.clone()), Downlink("cleo", bad)],
        )
        .at(
            16_000,
            "both are good again",
            [
                Downlink("anna", LinkConfig::default()),
                Downlink("cleo", LinkConfig::default()),
            ],
        )
        .at(40_000, "much later", [])
        .run(SEEDS, |world| {
            let (from, to) = (ms(6_000), ms(16_000));
            let (with, without) = (
                silence(world, "anna", from, to),
                silence(world, "cleo", from, to),
            );
            assert!(without > 0.04, "cleo missed {without}");
            assert!(with < without / 3.0, "anna missed {with}, cleo {without}");
            let red = world.seat("anna").browser.red_packets;
            assert!(red > 400, "anna got {red} packets of RED");
            assert!(red < 1_600, "it ends when nothing is lost: {red}");
            assert_eq!(world.seat("cleo").browser.red_packets, 0);
        });
}

#[test]
fn a_listener_who_loses_many_packets_gets_the_sound_three_times() {
    let listener = BrowserConfig {
        red: true,
        ..BrowserConfig::default()
    };
    anna_loses(
        "15 % loss on the way to anna, who takes RED",
        listener,
        0.15,
    )
    .at(28_000, "much later", [])
    .run(SEEDS, |world| {
        // Two in a row get lost once in 44, three in a row once in 300.
        let missed = silence(world, "anna", ms(6_000), ms(28_000));
        assert!(missed < 0.012, "anna missed {missed}");
    });
}

/// Receivers that know no transport-wide feedback, such as many that are no browsers, say what they lose by receiver reports.
#[test]
fn who_reports_by_rtcp_alone_gets_the_sound_twice_and_holds_pictures() {
    let viewer = BrowserConfig {
        red: true,
        transport_cc: false,
        ..BrowserConfig::default()
    };
    anna_loses(
        "8 % loss on the way to anna, who numbers no packets",
        viewer,
        0.08,
    )
    .at(28_000, "much later", [])
    .run(SEEDS, |world| {
        // The receiver reports every five seconds.
        let missed = silence(world, "anna", ms(12_000), ms(28_000));
        assert!(missed < 0.02, "anna missed {missed}");
        let frames = world.frames("anna", "ben", Camera, ms(12_000));
        let least = frames.iter().map(|frame| frame.hold).min();
        assert!(least >= Some(ms(60)), "{least:?}, a round trip takes 40 ms");
    });
}

#[test]
fn who_loses_packets_holds_pictures_until_repairs_can_have_come() {
    Plan::new("15 % loss on the way to anna, who looks at ben, and then none")
        .at(0, "two start", [Join("anna"), Join("ben")])
        .at(2_000, "loss", [Downlink("anna", LinkConfig::loss(0.15))])
        .at(
            12_000,
            "and none",
            [Downlink("anna", LinkConfig::default())],
        )
        .at(45_000, "much later", [])
        .run(SEEDS, |world| {
            let frames = world.frames("anna", "ben", Camera, ms(0));
            let held = |from, to| {
                let then = frames.iter().filter(move |it| (from..to).contains(&it.at));
                then.map(|frame| frame.hold)
            };
            assert!(held(ms(0), ms(2_000)).all(|hold| hold.is_zero()));
            let lossy = held(ms(6_000), ms(12_000));
            assert!(lossy.min() >= Some(ms(60)), "a round trip takes 40 ms");
            assert!(held(ms(40_000), ms(45_000)).all(|hold| hold.is_zero()));
        });
}

#[test]
fn who_looks_at_a_lossy_publisher_holds_pictures_until_repairs_can_have_come() {
    Plan::new("anna looks at ben, who loses 15 %, then at cleo, who loses none")
        .at(0, "three start", [Join("anna"), Join("ben"), Join("cleo")])
        .at(
            1_000,
            "anna looks at ben",
            [tile("anna", "ben", (1_280, 720))],
        )
        .at(2_000, "loss", [Uplink("ben", LinkConfig::loss(0.15))])
        .at(
            20_000,
            "anna looks at cleo instead",
            [tile("anna", "cleo", (1_280, 720))],
        )
        .at(45_000, "much later", [])
        .run(SEEDS, |world| {
            let held = |whose, from, to| {
                let frames = world.frames("anna", whose, Camera, from);
                let then = frames.into_iter().filter(move |it| it.at < to);
                then.map(|frame| frame.hold)
            };
            assert!(held("ben", ms(0), ms(2_000)).all(|hold| hold.is_zero()));
            let lossy = held("ben", ms(6_000), ms(20_000));
            assert!(lossy.min() >= Some(ms(60)), "a round trip takes 40 ms");
            let freezes = freezes_of(world, "anna", "ben", Camera);
            let late = freezes.iter().filter(|freeze| freeze.start > ms(6_000));
            assert_eq!(late.count(), 0, "{freezes:?}");
            let mut whole = held("cleo", ms(21_000), ms(45_000));
            assert!(whole.all(|hold| hold.is_zero()), "she was told so");
        });
}

#[test]
fn a_packet_that_is_lost_among_the_first_is_enough_to_hold_pictures() {
    Plan::new("for a moment, nothing comes to anna, who has just come")
        .at(0, "two start", [Join("anna"), Join("ben")])
        .at(400, "nothing", [Downlink("anna", LinkConfig::outage())])
        .at(440, "and all", [Downlink("anna", LinkConfig::default())])
        .at(1_000, "soon", [])
        .run(SEEDS, |world| {
            let frames = world.frames("anna", "ben", Camera, ms(800));
            assert!(!frames.is_empty());
            let held = frames.iter().all(|frame| !frame.hold.is_zero());
            assert!(held, "another loss would be a freeze: {frames:?}");
        });
}

#[test]
fn bursts_of_losses_that_come_again_and_again_freeze_nothing() {
    let outage = LinkConfig {
        outage: true,
        ..LinkConfig::default()
    };
    let mut plan = Plan::new("for 200 ms in two seconds nothing comes to anna").at(
        0,
        "two start",
        [Join("anna"), Join("ben")],
    );
    for at in (2_000..20_000).step_by(2_000) {
        plan = plan
            .at(at, "nothing comes", [Downlink("anna", outage.clone())])
            .at(
                at + 200,
                "all comes again",
                [Downlink("anna", LinkConfig::default())],
            );
    }
    plan.run(SEEDS, |world| {
        let freezes = freezes_of(world, "anna", "ben", Camera);
        let late = freezes.iter().filter(|freeze| freeze.start > ms(9_000));
        assert_eq!(late.count(), 0, "{freezes:?}");
    });
}
