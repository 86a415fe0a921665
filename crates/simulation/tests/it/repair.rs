//! What gets lost comes again: pictures by retransmission, sound by redundancy; and what a publisher loses is not held
//! against its viewers.

use std::time::Duration;

use madang_core::Source::{Camera, Microphone};
use madang_simulation::Action::{Downlink, Join, JoinWith, LoseUp, Talk};
use madang_simulation::network::LinkConfig;
use madang_simulation::{BrowserConfig, Plan, World};

use crate::{SEEDS, ms};

/// The share of ben's sound that a listener could not play from `from` to `to`.
fn silence(world: &World, listener: &str, from: Duration, to: Duration) -> f64 {
    let sounds = world.sounds(listener, "ben", Microphone, from);
    let heard = sounds.iter().filter(|heard| heard.at < to).count();
    1.0 - heard as f64 / ((to - from).as_secs_f64() * 50.0)
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
fn fault_08_a_publishers_loss_lowers_no_viewers_estimate() {
    Plan::new("a tenth of ben's packets is lost on the way to the server")
        .at(0, "two start", [Join("ben"), Join("anna")])
        .at(5_000, "for a while", [])
        .run(SEEDS, |world| {
            let estimate = |world: &mut World| world.explain("anna").downlink.estimate_bps.unwrap();
            world.run_until(ms(5_900));
            let before = estimate(world);
            let at = world.now();
            let up = &mut world.seat_named("ben").up;
            up.set_config(at, LinkConfig::loss(0.1));
            let mut lost = 0.0_f32;
            for second in 7..16 {
                world.run_until(ms(second * 1_000));
                let now = estimate(world);
                assert!(
                    now * 10 >= before * 9,
                    "the estimate was {before}, and {now} at {second} s"
                );
                let published = world.explain("ben").published;
                lost = published
                    .iter()
                    .fold(lost, |lost, track| lost.max(track.loss));
            }
            assert!(lost > 0.03, "the loss was there: {lost} at most");
        });
}

#[test]
fn a_packet_that_many_viewers_lack_is_asked_for_once() {
    let mut plan = Plan::new("ben's packets get lost before they reach twenty viewers").at(
        0,
        "ben is there",
        [Join("ben")],
    );
    for i in 0..20 {
        let name = &*format!("viewer {i}").leak();
        plan = plan.at(500, "a viewer", [JoinWith(name, BrowserConfig::default())]);
    }
    let lose = LoseUp {
        publisher: "ben",
        source: Camera,
        rid: Some("f"),
        packets: 5,
        retransmissions: 100,
    };
    plan.at(5_000, "five are lost", [lose])
        .at(7_000, "a moment later", [])
        .run(&[1, 2], |world| {
            let seat = world.seat_named("ben");
            let (_, rtx) = seat.browser.sent_ssrcs(Camera, Some("f")).unwrap();
            let (rtx, taken) = (rtx.unwrap(), seat.up.taken());
            let resent = taken.iter().filter(|(_, ssrc)| *ssrc == rtx).count();
            // Each is asked for five times, as no answer comes; for every viewer that would be 500.
            assert!((5..=25).contains(&resent), "{resent} were sent again");
        });
}
