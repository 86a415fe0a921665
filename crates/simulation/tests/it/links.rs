//! Calls over bad connections, and connections that move.

use std::ops::Range;
use std::time::Duration;

use madang_core::Source::Camera;
use madang_simulation::Action::{
    Downlink, Expect, Join, JoinWith, Publish, Rebind, RestartIce, SignallingBack, SignallingLost,
    Talk, Uplink,
};
use madang_simulation::Expectation::{Hears, Sees};
use madang_simulation::Plan;
use madang_simulation::network::{LinkConfig, Passage, Trace};

use crate::{SEEDS, all_see_all, ms, one_slot, tile};

#[test]
fn pictures_of_who_was_away_for_a_moment_go_on_as_soon_as_anything_comes() {
    Plan::new("for 700 ms nothing of ben's comes")
        .at(
            0,
            "three start",
            ["anna", "ben", "cleo"].map(|name| JoinWith(name, one_slot())),
        )
        .at(
            0,
            "two look at him",
            ["anna", "cleo"].map(|name| tile(name, "ben", (1_280, 720))),
        )
        .at(0, "his camera", [Publish("ben", Camera)])
        .at(3_000, "nothing", [Uplink("ben", LinkConfig::outage())])
        .at(3_700, "all again", [Uplink("ben", LinkConfig::default())])
        .at(8_000, "the end", [])
        .run(SEEDS, |world| {
            for viewer in ["anna", "cleo"] {
                let stood = world.longest_freeze(viewer, "ben", Camera, ms(2_500));
                assert!(stood < ms(1_000), "{viewer} saw nothing for {stood:?}");
            }
        });
}

#[test]
fn a_publisher_loses_five_percent() {
    Plan::new("5 % loss on ben's uplink")
        .at(0, "three start", [Join("anna"), Join("ben"), Join("cleo")])
        .at(
            2_000,
            "ben's uplink gets bad",
            [Uplink("ben", LinkConfig::loss(0.05))],
        )
        .at(
            10_000,
            "he is seen well",
            [
                Expect(Sees("anna", "ben", Camera)),
                Expect(Sees("cleo", "ben", Camera)),
            ],
        )
        .run(SEEDS, |world| {
            for viewer in ["anna", "cleo"] {
                let frames = world.frames(viewer, "ben", Camera, ms(3_000)).len();
                assert!(frames >= 200, "{viewer} saw {frames} of 210 frames");
                let freeze = world.longest_freeze(viewer, "ben", Camera, ms(3_000));
                assert!(freeze < ms(700), "{freeze:?}");
            }
            let freeze = world.longest_freeze("anna", "cleo", Camera, ms(3_000));
            assert!(freeze < ms(150), "others are not concerned: {freeze:?}");
        });
}

#[test]
fn a_viewer_loses_five_percent() {
    Plan::new("5 % loss on anna's downlink")
        .at(0, "two start", [Join("anna"), Join("ben")])
        .at(
            2_000,
            "anna's downlink gets bad",
            [Downlink("anna", LinkConfig::loss(0.05))],
        )
        .at(
            10_000,
            "she sees",
            [
                Expect(Sees("anna", "ben", Camera)),
                Expect(Sees("ben", "anna", Camera)),
            ],
        )
        .run(SEEDS, |world| {
            let frames = world.frames("anna", "ben", Camera, ms(3_000)).len();
            assert!(frames >= 195, "anna saw {frames} of 210 frames");
        });
}

#[test]
fn everybody_is_on_a_mobile_network() {
    let names = ["anna", "ben", "cleo"];
    let bad = names.into_iter().flat_map(|name| {
        [
            Uplink(name, LinkConfig::messy()),
            Downlink(name, LinkConfig::messy()),
        ]
    });
    let bad: Vec<_> = names.map(Join).into_iter().chain(bad).collect();
    Plan::new("jitter, loss, reordering and duplication everywhere")
        .at(0, "three start", bad)
        .at(10_000, "everybody sees everybody", all_see_all(&names))
        .run(SEEDS, |_| {});
}

#[test]
fn the_downlink_is_gone_for_two_seconds() {
    Plan::new("a tunnel")
        .at(0, "two start", [Join("anna"), Join("ben")])
        .at(
            4_000,
            "anna is in a tunnel",
            [
                Downlink("anna", LinkConfig::outage()),
                Uplink("anna", LinkConfig::outage()),
            ],
        )
        .at(
            6_000,
            "and out of it",
            [
                Downlink("anna", LinkConfig::default()),
                Uplink("anna", LinkConfig::default()),
            ],
        )
        .at(10_000, "both see", all_see_all(&["anna", "ben"]))
        .run(SEEDS, |_| {});
}

#[test]
fn media_goes_on_while_signalling_is_away() {
    Plan::new("the control plane is away for ten seconds")
        .at(0, "two start", [Join("anna"), Join("ben")])
        .at(3_000, "anna's signalling is lost", [SignallingLost("anna")])
        .at(8_000, "media goes on", all_see_all(&["anna", "ben"]))
        .at(13_000, "it is back", [SignallingBack("anna")])
        .at(15_000, "media goes on", all_see_all(&["anna", "ben"]))
        .run(SEEDS, |world| {
            for (viewer, publisher) in [("anna", "ben"), ("ben", "anna")] {
                let freeze = world.longest_freeze(viewer, publisher, Camera, ms(3_000));
                assert!(
                    freeze < ms(150),
                    "{viewer} saw {publisher} freeze for {freeze:?}"
                );
            }
        });
}

/// IP packets above this vanish.
fn black_hole(mtu: usize) -> LinkConfig {
    LinkConfig {
        mtu: Some(mtu),
        ..LinkConfig::default()
    }
}

/// libwebrtc cuts pictures so that its packets and their repairs leave 16 bytes of the smallest path that IPv6 allows (RFC 8200
/// section 5): 1,200 bytes of RTP, a tag of 16, and 48 of UDP and IP.
#[test]
fn packets_leave_hardly_larger_than_they_came() {
    let plan = Plan::new("large pictures, of which some packets have to be sent again")
        .at(0, "two start", [Join("anna"), Join("ben")])
        .at(0, "in full size", [tile("anna", "ben", (1_280, 720))])
        .at(
            1_000,
            "anna's downlink gets bad",
            [Downlink("anna", LinkConfig::loss(0.05))],
        )
        .at(10_000, "she sees", [Expect(Sees("anna", "ben", Camera))]);
    for seed in SEEDS {
        plan.play(*seed, &["anna", "ben"], |world| {
            let largest = |log: &[Passage]| log.iter().map(|passage| passage.bytes).max().unwrap();
            let came = largest(world.seat("ben").up.log());
            let left = largest(world.seat("anna").down.log());
            assert!(left <= came + 16, "{left} bytes of {came}");
        });
    }
}

#[test]
fn a_path_that_swallows_large_packets_leaves_the_sound_alone() {
    let hears = || [Expect(Hears("anna", "ben"))];
    Plan::new("a route changes to one with a black hole, and back")
        .at(0, "two start", [Join("anna"), Join("ben")])
        .at(1_000, "ben speaks", [Talk("ben", -20)])
        .at(
            4_000,
            "large packets vanish",
            [Downlink("anna", black_hole(600))],
        )
        .at(7_000, "she hears", hears())
        .at(10_000, "she hears", hears())
        .at(13_000, "she hears", hears())
        .at(
            13_000,
            "they come again",
            [Downlink("anna", LinkConfig::default())],
        )
        .at(
            20_000,
            "she sees him again",
            [Expect(Sees("anna", "ben", Camera))],
        )
        .run(SEEDS, |_| {});
}

#[test]
fn an_ice_restart_keeps_media_flowing() {
    Plan::new("two ICE restarts")
        .at(0, "two start", [Join("anna"), Join("ben")])
        .at(3_000, "anna restarts ICE", [RestartIce("anna")])
        .at(6_000, "media goes on", all_see_all(&["anna", "ben"]))
        .at(6_000, "and again", [RestartIce("anna")])
        .at(
            45_000,
            "media goes on, longer than consent lasts",
            all_see_all(&["anna", "ben"]),
        )
        .run(&[1], |world| {
            for (viewer, publisher) in [("anna", "ben"), ("ben", "anna")] {
                let freeze = world.longest_freeze(viewer, publisher, Camera, ms(2_500));
                assert!(
                    freeze < ms(500),
                    "{viewer} saw {publisher} freeze for {freeze:?}"
                );
            }
            assert_eq!(world.seat("anna").page.disconnected, 0);
        });
}

/// Somebody's NAT gives another port to a call that stands, and tells nobody. Everybody is seen again soon after, and
/// who has nothing to do with it notices nothing.
fn rebinding(moved: &'static str) -> Plan {
    Plan::new("a NAT forgets a mapping in the middle of a call")
        .at(0, "three start", [Join("anna"), Join("ben"), Join("cleo")])
        .at(5_300, "the NAT forgets", [Rebind(moved)])
        .at(10_000, "all see all", all_see_all(&["anna", "ben", "cleo"]))
        .at(11_100, "and again", [Rebind(moved)])
        .at(16_000, "all see all", all_see_all(&["anna", "ben", "cleo"]))
}

#[test]
fn an_address_that_changes_costs_a_moment() {
    rebinding("anna").run(SEEDS, |world| {
        for other in ["ben", "cleo"] {
            for (viewer, publisher) in [("anna", other), (other, "anna")] {
                let freeze = world.longest_freeze(viewer, publisher, Camera, ms(4_000));
                assert!(
                    freeze < ms(3_000),
                    "{viewer} saw {publisher} freeze for {freeze:?}"
                );
            }
        }
        for (viewer, publisher) in [("ben", "cleo"), ("cleo", "ben")] {
            let freeze = world.longest_freeze(viewer, publisher, Camera, ms(4_000));
            assert!(
                freeze < ms(150),
                "{viewer} saw {publisher} freeze for {freeze:?}"
            );
        }
        let gone = world.all_seats().iter().map(|seat| seat.page.disconnected);
        assert_eq!(
            gone.sum::<u32>(),
            0,
            "nobody is said to have lost the connection"
        );
    });
}

/// A radio that sleeps: what comes meanwhile waits, and all of it comes at once.
fn sleepy(sleeps_ms: &[u64]) -> LinkConfig {
    let (mut text, mut at) = (String::new(), 0);
    for sleep in sleeps_ms {
        text += &format!("{at} 0\n{} 50000\n", at + sleep);
        at += sleep + 10;
    }
    text += &format!("{at} 0\n");
    LinkConfig {
        trace: Trace::parse(&text),
        ..LinkConfig::default()
    }
}

#[test]
fn a_receiver_that_is_woken_now_and_then_keeps_its_pictures() {
    // A beacon every 100 ms (IEEE 802.11), and a machine that is busy with something else.
    for sleeps in [&[90][..], &[20, 70, 40, 110, 30, 60]] {
        let bursts = sleepy(sleeps);
        let come = [
            Join("ben"),
            Join("cleo"),
            Join("anna"),
            Uplink("anna", bursts.clone()),
            Downlink("anna", bursts),
        ];
        Plan::new("anna's radio sleeps between beacons")
            .at(0, "three start", come)
            .at(
                15_000,
                "everybody is seen",
                all_see_all(&["anna", "ben", "cleo"]),
            )
            .run(SEEDS, |world| {
                for other in ["ben", "cleo"] {
                    let freeze = world.longest_freeze("anna", other, Camera, ms(2_000));
                    assert!(freeze < ms(150), "she saw {other} freeze for {freeze:?}");
                }
            });
    }
}

/// The last of the server's handshake gets lost, as does all until the link is `back`; anna is connected within this time.
fn end_of_a_handshake_lost(title: &'static str, back: u64, within: Range<Duration>) {
    let far = LinkConfig {
        delay: ms(25),
        ..LinkConfig::default()
    };
    let gone = LinkConfig {
        delay: far.delay,
        ..LinkConfig::outage()
    };
    let comes = [
        Join("anna"),
        Downlink("anna", far.clone()),
        Uplink("anna", far.clone()),
    ];
    Plan::new(title)
        .at(0, "ben is there", [Join("ben")])
        .at(2_000, "anna comes", comes)
        .at(2_160, "she has all but the last", [Downlink("anna", gone)])
        .at(back, "the link is back", [Downlink("anna", far)])
        .at(3_500, "the end", [])
        .run(SEEDS, |world| {
            let connected = world.seat("anna").browser.connected_at.unwrap();
            assert!(connected > within.start, "nothing was lost: {connected:?}");
            assert!(connected < within.end, "after {connected:?}");
        });
}

#[test]
fn who_loses_the_end_of_a_handshake_twice_is_connected_soon() {
    let title = "the last of the server's handshake gets lost, and what repeats it";
    end_of_a_handshake_lost(title, 2_300, ms(2_300)..ms(2_800));
}

#[test]
fn the_end_of_a_handshake_that_gets_lost_is_not_waited_for() {
    let title = "the last of the server's handshake gets lost once";
    end_of_a_handshake_lost(title, 2_175, ms(2_200)..ms(2_230));
}
