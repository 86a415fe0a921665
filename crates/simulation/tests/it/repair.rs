//! What gets lost is sent again, and asked for again; and what a publisher loses is not held against its viewers.

use std::collections::BTreeMap;
use std::time::Duration;

use madang_core::Source::{Camera, Microphone};
use madang_core::limits::NACK_ATTEMPTS_MAX;
use madang_simulation::Action::{
    Downlink, Join, JoinWith, LoseUp, MuteAtServer, Publish, Unmute, Uplink,
};
use madang_simulation::measure::freezes_of;
use madang_simulation::network::{Fate, LinkConfig, ScriptedDrop};
use madang_simulation::{BrowserConfig, Codec, Plan, World};

use crate::{SEEDS, anna_looks_at_ben, ms, one_slot, tile};

#[test]
fn fault_08_a_publishers_loss_lowers_no_viewers_estimate() {
    Plan::new("a tenth of ben's packets is lost on the way to the server")
        .at(0, "two start", [Join("ben"), Join("anna")])
        .at(5_000, "for a while", [])
        .run(SEEDS, |world| {
            world.run_until(ms(5_900));
            let before = world.explain("anna").downlink.estimate_bps.unwrap();
            let at = world.now();
            let up = &mut world.seat_named("ben").up;
            up.set_config(at, LinkConfig::loss(0.1));
            let mut lost = 0.0_f32;
            for second in 7..16 {
                world.run_until(ms(second * 1_000));
                let anna = world.explain("anna").downlink;
                let now = anna.estimate_bps.unwrap();
                assert!(
                    now * 10 >= before * 9,
                    "the estimate was {before}, and {now} at {second} s"
                );
                // What she is taken to lose is sent to her twice, and holds up her pictures.
                assert!(anna.loss < 0.001, "{} at {second} s", anna.loss);
                let published = world.explain("ben").published;
                lost = published
                    .iter()
                    .fold(lost, |lost, track| lost.max(track.loss));
            }
            assert!(lost > 0.03, "the loss was there: {lost} at most");
        });
}

#[test]
fn what_came_while_the_server_had_muted_somebody_is_no_loss() {
    Plan::new("ben is muted by somebody else, and his browser goes on sending")
        .at(0, "two start", [Join("ben"), Join("anna")])
        .at(
            3_000,
            "he is muted",
            [MuteAtServer("ben", Camera), MuteAtServer("ben", Microphone)],
        )
        .at(
            6_000,
            "and unmuted",
            [Unmute("ben", Camera), Unmute("ben", Microphone)],
        )
        .run(SEEDS, |world| {
            for after in 1..30 {
                world.run_until(ms(6_000 + after * 100));
                let published = world.explain("ben").published;
                let loss = published.iter().map(|track| track.loss);
                let loss = loss.fold(0.0, f32::max);
                assert!(loss < 0.01, "{loss} at {:?}", world.now());
            }
        });
}

/// Loses one packet of ben's largest layer on the way to the server. Gives the moment at which the next packet of that
/// layer, which shows it, is there, and those at which he sends the lost one again, for as long as told.
fn repair_of(world: &mut World, watched: Duration) -> (Duration, Vec<Duration>) {
    let now = world.now();
    let seat = world.seat_named("ben");
    let (ssrc, rtx) = seat.browser.sent_ssrcs(Camera, Some("f")).unwrap();
    seat.up.keep_log();
    seat.up.drop_next(ScriptedDrop { ssrc, count: 1 });
    world.run_until(now + watched);
    let of = |wanted: u32| {
        let log = world.seat("ben").up.log().iter();
        let since = log.filter(move |passage| passage.at > now);
        since.filter(move |passage| passage.rtp.is_some_and(|(ssrc, _)| ssrc == wanted))
    };
    let shown_at = of(ssrc).find_map(|passage| match passage.fate {
        Fate::Arrives(at) => Some(at),
        Fate::Lost | Fate::Dropped => None,
    });
    let resent = of(rtx.unwrap()).map(|passage| passage.at).collect();
    (shown_at.unwrap(), resent)
}

/// From the server to a browser, and the steps of virtual time on the way.
const WAY: Duration = ms(12);
/// A packet may come later than others by this much before it is asked for.
const REORDER_WINDOW: Duration = ms(5);

fn ben_and_viewers(viewers: usize) -> Plan {
    let mut plan = Plan::new("ben's packets get lost before they reach his viewers").at(
        0,
        "ben is there",
        [Join("ben")],
    );
    for i in 0..viewers {
        let name = &*format!("viewer {i}").leak();
        plan = plan.at(500, "a viewer", [JoinWith(name, BrowserConfig::default())]);
    }
    plan
}

#[test]
fn fault_10_a_lost_packet_is_asked_for_within_10_ms_of_the_reorder_window_and_once() {
    ben_and_viewers(20)
        .at(5_000, "all watch", [])
        .run(&[1, 2], |world| {
            for _ in 0..10 {
                let (shown_at, resent) = repair_of(world, ms(137));
                let [resent_at] = resent[..] else {
                    panic!("it came at {resent:?}, for twenty viewers");
                };
                let took = resent_at - shown_at;
                assert!(
                    took <= REORDER_WINDOW + ms(10) + WAY,
                    "asked after {took:?}"
                );
            }
            for i in 0..20 {
                let viewer = &*format!("viewer {i}").leak();
                let freeze = world.longest_freeze(viewer, "ben", Camera, ms(5_000));
                assert!(freeze < ms(150), "{viewer} saw a freeze of {freeze:?}");
            }
        });
}

/// Runs until this many requests have been made; when that was.
fn until_nacked(world: &mut World, requests: u64) -> Duration {
    let most = world.now() + ms(1_000);
    while world.shard_stats().packets_nacked < requests {
        assert!(world.now() < most, "no request within a second");
        world.run_until(world.now() + ms(1));
    }
    world.now()
}

#[test]
fn a_request_that_gets_lost_is_repeated_after_about_a_round_trip() {
    ben_and_viewers(1)
        .at(5_000, "she watches", [])
        .run(SEEDS, |world| {
            // What a round trip takes is learned from answers.
            for _ in 0..8 {
                repair_of(world, ms(100));
            }
            let now = world.now();
            let seat = world.seat_named("ben");
            let (ssrc, _) = seat.browser.sent_ssrcs(Camera, Some("f")).unwrap();
            seat.up.drop_next(ScriptedDrop { ssrc, count: 1 });
            world.run_until(now + ms(40));
            let (now, before) = (world.now(), world.shard_stats().packets_nacked);
            let seat = world.seat_named("ben");
            seat.up.drop_next(ScriptedDrop { ssrc, count: 1 });
            seat.down.set_config(now, LinkConfig::outage());
            // The first request gets lost with everything else that goes to ben.
            let asked_at = until_nacked(world, before + 1);
            let seat = world.seat_named("ben");
            seat.down.set_config(asked_at, LinkConfig::default());
            let took = until_nacked(world, before + 2) - asked_at;
            assert!(
                (ms(20)..=ms(45)).contains(&took),
                "again after {took:?}, the round trip is 20 ms"
            );
            world.run_until(world.now() + ms(300));
            assert_eq!(
                world.shard_stats().packets_nacked,
                before + 2,
                "the second was answered"
            );
        });
}

/// With the publisher on another worker too.
#[test]
fn a_picture_that_is_lost_soon_after_a_keyframe_stands_for_little_longer_than_half_a_second() {
    let lose = LoseUp {
        publisher: "ben",
        source: Camera,
        rid: Some("q"),
        packets: 2,
        retransmissions: 1_000,
    };
    let small = tile("anna", "ben", (160, 90));
    Plan::new("a publisher's smallest picture is lost for good")
        .at(0, "a call", [Join("ben"), Join("anna")])
        .at(6_000, "anna wants it small: a keyframe", [small])
        .at(
            6_150,
            "two packets are lost, and all that repairs them",
            [lose],
        )
        .at(9_000, "long after", [])
        .run(SEEDS, |world| {
            let frozen = world.longest_freeze("anna", "ben", Camera, ms(6_000));
            assert!(ms(300) < frozen && frozen < ms(900), "{frozen:?}");
        });
}

#[test]
fn what_never_comes_is_given_up() {
    let lose = LoseUp {
        publisher: "ben",
        source: Camera,
        rid: Some("f"),
        packets: 5,
        retransmissions: 1_000,
    };
    ben_and_viewers(20)
        .at(5_000, "five are lost, and all that repairs them", [lose])
        .at(9_000, "long after", [])
        .run(&[1, 2], |world| {
            let seat = world.seat_named("ben");
            let (_, rtx) = seat.browser.sent_ssrcs(Camera, Some("f")).unwrap();
            let (rtx, taken) = (rtx.unwrap(), seat.up.taken());
            let resent = taken.iter().filter(|(_, ssrc)| *ssrc == rtx);
            let resent: Vec<Duration> = resent.map(|(at, _)| *at).collect();
            let most = 5 * usize::from(NACK_ATTEMPTS_MAX);
            assert!(
                (most / 2..=most).contains(&resent.len()),
                "{} were sent again",
                resent.len()
            );
            assert!(resent.iter().all(|at| *at < ms(8_500)), "{resent:?}");
        });
}

/// Loses one packet of the only picture that anna is sent, and so many of those that repair it; how many of these are sent.
fn repairs(world: &mut World, lost: usize) -> usize {
    let mut packets = BTreeMap::new();
    for (ssrc, _) in world.seat("anna").down.log().iter().filter_map(|it| it.rtp) {
        *packets.entry(ssrc).or_insert(0) += 1;
    }
    let media = packets.iter().max_by_key(|(_, count)| **count);
    let media = *media.unwrap().0;
    let down = &mut world.seat_named("anna").down;
    for ssrc in packets.into_keys() {
        let count = if ssrc == media { 1 } else { lost };
        down.drop_next(ScriptedDrop { ssrc, count });
    }
    let now = world.now();
    world.run_until(now + ms(400));
    let log = world.seat("anna").down.log().iter();
    let since = log.filter(|passage| passage.at > now);
    since
        .filter(|it| it.rtp.is_some_and(|(ssrc, _)| ssrc != media))
        .count()
}

/// The first packets of anna's first picture of ben get lost; she has it within `most` from then.
fn first_picture_without(
    title: &'static str,
    lost: usize,
    keyframe_bytes: Option<usize>,
    most: Duration,
) {
    let far = LinkConfig {
        delay: ms(25),
        ..LinkConfig::default()
    };
    let comes = [
        Join("anna"),
        Downlink("anna", far.clone()),
        Uplink("anna", far),
        tile("anna", "ben", (320, 180)),
    ];
    let ben = BrowserConfig {
        keyframe_bytes,
        ..BrowserConfig::default()
    };
    let shows = [JoinWith("ben", ben), Publish("ben", Camera)];
    Plan::new(title)
        .at(0, "ben shows himself", shows)
        .at(2_000, "anna comes and looks at him", comes)
        .run(SEEDS, |world| {
            let ssrcs = loop {
                world.run_until(world.now() + ms(1));
                let ssrcs = world.seat_named("anna").browser.picture_ssrcs();
                if !ssrcs.is_empty() {
                    break ssrcs;
                }
            };
            for ssrc in ssrcs {
                let down = &mut world.seat_named("anna").down;
                down.drop_next(ScriptedDrop { ssrc, count: lost });
            }
            world.run_until(world.now() + ms(2_000));
            let lost = world.seat("anna").down.taken();
            let lost = lost.first().unwrap().0;
            let first = world.frames("anna", "ben", Camera, ms(0))[0].at;
            assert!(first - lost < most, "{:?} after the loss", first - lost);
        });
}

#[test]
fn the_first_packet_of_a_first_picture_is_sent_again_though_nobody_can_miss_it() {
    // A report, and a round trip.
    let title = "the first packet to anna is lost, of a large picture";
    first_picture_without(title, 1, Some(6_000), ms(200));
}

#[test]
fn a_small_first_picture_that_gets_lost_comes_a_moment_later() {
    // The way, and the moment in which as much leaves as checks what the path carries.
    first_picture_without("all of the first picture is lost", 2, None, ms(60));
}

#[test]
fn what_is_lost_again_is_sent_more_often_and_all_of_it_while_nothing_is_known_of_the_link() {
    for seed in [1, 2, 3] {
        let plan = anna_looks_at_ben("single packets get lost on the way to anna");
        plan.at(5_000, "all is well", [])
            .play(seed, &["anna"], |world| {
                assert_eq!(repairs(world, 0), 1, "on a link that loses next to nothing");
                world.run_until(world.now() + ms(5_000));
                assert_eq!(repairs(world, 1), 1 + 2, "the first of which was lost");
            });
        let plan = anna_looks_at_ben("a packet gets lost soon after anna has come");
        plan.at(700, "she has just come", [])
            .play(seed, &["anna"], |world| {
                assert_eq!(repairs(world, 0), 3, "on a link of which nothing is known");
            });
    }
}

#[test]
fn a_repair_that_gets_lost_is_sent_again_when_reports_show_it() {
    for seed in [1, 2, 3] {
        let plan = anna_looks_at_ben("a packet gets lost, and what repairs it");
        plan.at(5_000, "all is well", [])
            .play(seed, &["anna"], |world| {
                assert_eq!(repairs(world, 0), 1, "which tells where repairs are sent");
                let now = world.now();
                assert_eq!(repairs(world, 1), 1 + 2, "the first of which was lost");
                let ssrcs = world.seat_named("anna").browser.picture_ssrcs();
                let log = world.seat("anna").down.log().iter();
                let repairs = log.filter(|it| {
                    it.at > now && it.rtp.is_some_and(|(ssrc, _)| !ssrcs.contains(&ssrc))
                });
                let times: Vec<_> = repairs.map(|it| it.at).collect();
                // Reports come every 50 ms. Anna asks again after 105.
                assert!(times[1] - times[0] < ms(80), "{times:?}");
            });
    }
}

/// A larger picture of ben is wanted, and the first packet of its keyframe has to be asked for.
fn a_keyframe_begins_late(video_codec: Codec) {
    let camera = BrowserConfig {
        video_codec,
        adaptive: true,
        allocations: true,
        ..BrowserConfig::default()
    };
    let lose = LoseUp {
        publisher: "ben",
        source: Camera,
        rid: Some("f"),
        packets: 1,
        retransmissions: 0,
    };
    Plan::new("the largest picture is wanted, and its first packet has to be asked for")
        .at(
            0,
            "ben's camera is on",
            [JoinWith("ben", camera), Publish("ben", Camera)],
        )
        .at(
            1_000,
            "anna has a small tile",
            [
                JoinWith("anna", one_slot()),
                tile("anna", "ben", (640, 360)),
            ],
        )
        .at(
            9_000,
            "and a large one",
            [lose, tile("anna", "ben", (1_280, 720))],
        )
        .at(12_000, "the end", [])
        .run(SEEDS, |world| {
            let frames = world.frames("anna", "ben", Camera, ms(9_000));
            let large = frames.iter().find(|frame| frame.tag.layer == 2).unwrap();
            assert!(large.at < ms(9_200), "large at {:?}", large.at);
            let freezes = freezes_of(world, "anna", "ben", Camera);
            let late = freezes.iter().filter(|freeze| freeze.start > ms(8_000));
            assert_eq!(late.count(), 0, "{freezes:?}");
        });
}

#[test]
fn a_keyframe_of_which_the_first_packet_comes_last_is_shown() {
    for codec in [Codec::Vp8, Codec::H264, Codec::Vp9, Codec::Av1] {
        a_keyframe_begins_late(codec);
    }
}
