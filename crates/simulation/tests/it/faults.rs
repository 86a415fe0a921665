//! Faults that other servers shipped: one test for each that a shard can have.

use std::time::Duration;

use madang_core::Source::{Camera, Microphone};
use madang_simulation::Action::{
    Downlink, Expect, Hush, Join, JoinWith, LoseUp, MoreSlots, Mute, Publish, Talk, Tile, Tiles, Unmute,
};
use madang_simulation::Expectation::{Hears, HearsNot, Sees, SeesLayer};
use madang_simulation::network::LinkConfig;
use madang_simulation::{Action, BrowserConfig, Codec, Plan, StartValues, World};

use crate::{SEEDS, all_see_all, ms};

const CLOCK_RATE: u32 = 90_000;
/// Half a frame, and two steps of virtual time.
const TOLERANCE: Duration = Duration::from_micros(16_700 + 2_000);

fn tile(viewer: &'static str, publisher: &'static str, size: (u32, u32)) -> Action {
    Tile { viewer, publisher, source: Camera, size }
}

fn one_slot() -> BrowserConfig {
    BrowserConfig { video_slots: 1, ..BrowserConfig::default() }
}

/// How far the timestamp moved over the longest pause in the picture, and how long that was.
fn longest_pause(world: &World, viewer: &str) -> (Duration, Duration) {
    let decoder = world.seat(viewer).browser.video.values().next().unwrap();
    let pairs = decoder.shown().windows(2);
    let longest = pairs.max_by_key(|pair| pair[1].tag.captured.saturating_sub(pair[0].tag.captured)).unwrap();
    let ticks = longest[1].timestamp.wrapping_sub(longest[0].timestamp);
    let elapsed = longest[1].tag.captured - longest[0].tag.captured;
    (Duration::from_secs(u64::from(ticks)) / CLOCK_RATE, elapsed)
}

#[test]
fn fault_01_timestamps_advance_with_time_over_switches_and_pauses() {
    Plan::new("a muted camera, a hidden tile, another camera")
        .at(0, "anna has one slot", [JoinWith("anna", one_slot()), Join("ben"), Join("cleo")])
        .at(100, "she looks at ben", [Tiles("anna", None), tile("anna", "ben", (640, 360))])
        .at(3_000, "ben turns his camera off", [Expect(Sees("anna", "ben", Camera)), Mute("ben", Camera)])
        .at(7_321, "and on again", [Unmute("ben", Camera)])
        .at(10_000, "the tile is hidden", [Expect(Sees("anna", "ben", Camera)), tile("anna", "ben", (0, 0))])
        .at(12_345, "and shown", [tile("anna", "ben", (640, 360))])
        .at(15_000, "she looks at cleo", [Tiles("anna", None), tile("anna", "cleo", (640, 360))])
        .at(18_000, "she sees her", [Expect(Sees("anna", "cleo", Camera))])
        .run(SEEDS, |world| {
            let (advanced, elapsed) = longest_pause(world, "anna");
            assert!(elapsed > ms(4_000), "{elapsed:?}");
            assert!(advanced.abs_diff(elapsed) <= TOLERANCE, "{advanced:?} instead of {elapsed:?}");
        });
}

#[test]
fn fault_02_a_publishers_loss_stays_visible() {
    let lose = LoseUp { publisher: "ben", source: Camera, rid: Some("h"), packets: 4, retransmissions: 1_000 };
    Plan::new("four packets are lost for ever on ben's uplink")
        .at(0, "two start", [Join("anna"), Join("ben")])
        .at(4_000, "anna sees the middle layer", [Expect(SeesLayer("anna", "ben", "h"))])
        .at(4_005, "the packets are lost", [lose])
        .at(8_000, "the picture has recovered", [Expect(Sees("anna", "ben", Camera))])
        .run(SEEDS, |world| {
            let lost: u64 = world.seat("anna").browser.video.values().map(|decoder| decoder.lost()).sum();
            assert_eq!(lost, 4, "the holes that anna sees");
        });
}

#[test]
fn fault_03_a_switch_waits_for_a_keyframe_of_its_layer() {
    let sizes = [(160, 90), (1_280, 720), (640, 360), (1_280, 720), (160, 90), (640, 360)];
    let mut plan = Plan::new("three viewers change layers at different times")
        .at(0, "four start", ["anna", "ben", "cleo", "dan"].map(Join));
    for (step, size) in (0u64..).zip(sizes) {
        plan = plan
            .at(3_000 + step * 1_700, "anna's tile changes", [tile("anna", "ben", size)])
            .at(3_300 + step * 1_700, "cleo's tile changes", [tile("cleo", "ben", sizes[(step as usize + 1) % 6])])
            .at(3_310 + step * 1_700, "dan's tile changes", [tile("dan", "ben", sizes[(step as usize + 2) % 6])]);
    }
    plan.at(20_000, "all still see ben", ["anna", "cleo", "dan"].map(|name| Expect(Sees(name, "ben", Camera)))).run(
        SEEDS,
        |world| {
            for viewer in ["anna", "cleo", "dan"] {
                let frames = world.frames(viewer, "ben", Camera, ms(2_000));
                let switches: Vec<_> =
                    frames.windows(2).filter(|pair| pair[0].tag.layer != pair[1].tag.layer).collect();
                assert!(switches.len() >= 3, "{viewer} switched {} times", switches.len());
                assert!(switches.iter().all(|pair| pair[1].tag.is_keyframe()));
            }
        },
    );
}

#[test]
fn fault_04_the_last_packet_of_a_frame_is_not_held_back() {
    Plan::new("a call of two on perfect links")
        .at(0, "two start", [Join("anna"), Join("ben")])
        .at(8_000, "they have talked for a while", all_see_all(&["anna", "ben"]))
        .run(SEEDS, |world| {
            let network = ms(20);
            let frames = world.frames("anna", "ben", Camera, ms(3_000));
            let delays = frames.iter().filter(|frame| !frame.tag.is_keyframe());
            let worst = delays.map(|frame| frame.at - frame.tag.captured).max().unwrap();
            assert!(worst < network + ms(15), "a frame was complete {worst:?} after its capture");
        });
}

#[test]
fn fault_05_counters_wrap_around() {
    let start = StartValues {
        sequence: Some(65_400),
        timestamp: Some(u32::MAX - 5 * CLOCK_RATE),
        picture_id: Some(0x7fc0),
        tl0: Some(240),
        short_picture_id: false,
    };
    let long = BrowserConfig { start, ..BrowserConfig::default() };
    let short = BrowserConfig { start: StartValues { short_picture_id: true, ..start }, ..long };
    let look_at = |publisher| [Tiles("anna", None), tile("anna", publisher, (640, 360))];
    Plan::new("every counter is about to wrap")
        .at(0, "they join", [JoinWith("anna", one_slot()), JoinWith("ben", long), JoinWith("cleo", short)])
        .at(0, "they publish", ["ben", "cleo"].map(|name| Publish(name, Camera)))
        .at(0, "with sound", ["ben", "cleo"].map(|name| Publish(name, Microphone)))
        .at(100, "anna looks at ben", look_at("ben"))
        .at(1_000, "both speak", ["ben", "cleo"].map(|name| Talk(name, -20)))
        .at(9_000, "she sees him", [Expect(Sees("anna", "ben", Camera)), Expect(Hears("anna", "ben"))])
        .at(9_000, "she looks at cleo", look_at("cleo"))
        .at(17_000, "she sees her", [Expect(Sees("anna", "cleo", Camera)), Expect(Hears("anna", "cleo"))])
        .at(17_000, "and back to ben", look_at("ben"))
        .at(20_000, "she sees him", [Expect(Sees("anna", "ben", Camera))])
        .run(SEEDS, |world| {
            let lost: u64 = world.seat("anna").browser.video.values().map(|decoder| decoder.lost()).sum();
            assert_eq!(lost, 0);
        });
}

#[test]
fn fault_06_no_estimate_is_not_zero() {
    Plan::new("a first picture before the first estimate")
        .at(0, "ben is there", [Join("ben")])
        .at(3_000, "anna joins", [Join("anna")])
        .at(4_500, "a moment later", [])
        .run(SEEDS, |world| {
            let connected = world.seat("anna").browser.connected_at.unwrap();
            let first = world.frames("anna", "ben", Camera, Duration::ZERO)[0].at;
            assert!(first < connected + ms(500), "connected at {connected:?}, first frame at {first:?}");
        });
}

#[test]
fn fault_06_a_lowest_layer_that_does_not_fit_is_still_sent() {
    let narrow = LinkConfig { queue: ms(500), ..LinkConfig::rate(110_000) };
    Plan::new("a downlink of 110 kbit/s, a lowest layer of 120 and its headers")
        .at(0, "ben has a camera and no microphone", [JoinWith("ben", BrowserConfig::default()), Publish("ben", Camera)])
        .at(0, "anna looks at him", [JoinWith("anna", BrowserConfig::default())])
        .at(3_000, "her downlink gets narrow", [Downlink("anna", narrow)])
        .at(30_000, "much later", [])
        .run(SEEDS, |world| {
            let packets = |world: &World| -> u64 {
                world.seat("anna").browser.video.values().map(|decoder| decoder.packets()).sum()
            };
            let before = packets(world);
            world.run_until(ms(40_000));
            let came = packets(world) - before;
            assert!(came > 150, "{came} video packets in ten seconds");
            let frames = world.frames("anna", "ben", Camera, ms(30_000));
            assert!(frames.len() > 10 && frames.iter().all(|frame| frame.tag.layer == 0), "{} frames", frames.len());
        });
}

#[test]
fn fault_09_idle_peers_cost_nothing() {
    let silent: Vec<&'static str> = (0..20).map(|i| &*format!("silent {i}").leak()).collect();
    let join: Vec<Action> = silent.iter().map(|name| JoinWith(name, BrowserConfig::default())).collect();
    Plan::new("twenty people who neither send nor see anything")
        .at(0, "they join", join)
        .at(10_000, "all is quiet", [])
        .run(&[1], |world| {
            let before = (world.shard_stats(), world.timeouts());
            world.run_until(ms(20_000));
            let after = (world.shard_stats(), world.timeouts());
            let per_peer_second = |count: u64| count as f64 / 20.0 / 10.0;
            let datagrams = per_peer_second(after.0.datagrams_out - before.0.datagrams_out);
            let drives = per_peer_second(after.0.drives - before.0.drives);
            let timeouts = per_peer_second(after.1 - before.1);
            assert!(datagrams <= 3.0, "{datagrams} datagrams a second for each silent peer");
            assert!(drives <= 10.0, "{drives} drives a second for each silent peer");
            assert!(timeouts <= 10.0, "{timeouts} timeouts a second for each silent peer");
        });
}

#[test]
fn fault_09_a_talk_of_two_does_not_poll_the_silent() {
    let silent: Vec<&'static str> = (0..20).map(|i| &*format!("silent {i}").leak()).collect();
    let blind = |name: &&'static str| [JoinWith(name, BrowserConfig { audio_slots: 0, video_slots: 1, ..Default::default() }), Tiles(name, None)];
    let join: Vec<Action> = silent.iter().flat_map(blind).collect();
    Plan::new("two talk, twenty look away")
        .at(0, "the silent join", join)
        .at(100, "two talk", [Join("anna"), Join("ben")])
        .at(10_000, "for a while", all_see_all(&["anna", "ben"]))
        .run(&[1], |world| {
            let sent = |world: &World| -> u64 {
                let quiet = world.all_seats().iter().filter(|seat| seat.name.starts_with("silent"));
                quiet.map(|seat| seat.down.stats().sent).sum()
            };
            let before = sent(world);
            world.run_until(ms(15_000));
            let datagrams = (sent(world) - before) as f64 / 20.0 / 5.0;
            assert!(datagrams <= 3.0, "{datagrams} datagrams a second for each silent peer");
        });
}

#[test]
fn fault_10_a_lost_packet_is_asked_for_at_once() {
    let lose = LoseUp { publisher: "ben", source: Camera, rid: Some("f"), packets: 1, retransmissions: 0 };
    Plan::new("one packet is lost on ben's uplink")
        .at(0, "two start", [Join("anna"), Join("ben")])
        .at(4_000, "the packet is lost", [lose])
        .at(5_000, "a moment later", [])
        .run(SEEDS, |world| {
            let seat = world.seat_named("ben");
            let (_, rtx) = seat.browser.sent_ssrcs(Camera, Some("f")).unwrap();
            let lost_at = seat.up.taken()[0].0;
            let resent_at = seat.up.first_sent(rtx.unwrap()).unwrap();
            let round_trip = ms(20);
            let taken = resent_at - lost_at;
            assert!(taken <= round_trip + ms(40), "the publisher resent it {taken:?} after the loss");
        });
}

#[test]
fn fault_11_fifty_viewers_cause_two_keyframe_requests() {
    let mut plan = Plan::new("fifty viewers join within a second").at(0, "ben is there", [Join("ben")]);
    for i in 0..50 {
        let name = &*format!("viewer {i}").leak();
        plan = plan.at(3_000 + i * 20, "one more viewer", [JoinWith(name, BrowserConfig::default())]);
    }
    plan.at(7_000, "all see ben", (0..50).map(|i| Expect(Sees(format!("viewer {i}").leak(), "ben", Camera))).collect::<Vec<_>>())
        .run(&[1, 2], |world| {
            let asked = &world.seat("ben").browser.keyframes_asked;
            for rid in ["q", "h", "f"] {
                let count = asked.iter().filter(|ask| ask.at >= ms(3_000) && ask.rid == Some(rid.into())).count();
                assert!(count <= 2, "{count} keyframe requests for layer {rid}: {asked:?}");
            }
        });
}

#[test]
fn fault_13_a_viewer_who_came_before_the_publisher_sees_him() {
    Plan::new("anna is early")
        .at(0, "anna is alone", [Join("anna")])
        .at(4_000, "ben joins without a camera", [JoinWith("ben", BrowserConfig::default())])
        .at(7_000, "ben turns his camera on", [Publish("ben", Camera), Publish("ben", Microphone)])
        .at(9_000, "anna sees him", [Expect(Sees("anna", "ben", Camera))])
        .run(SEEDS, |world| {
            let first = world.frames("anna", "ben", Camera, Duration::ZERO)[0].at;
            assert!(first < ms(8_000), "the first frame came at {first:?}");
        });
}

#[test]
fn fault_13_a_view_of_a_muted_camera_comes_alive() {
    Plan::new("ben joins with his camera off")
        .at(0, "both join", [Join("anna"), JoinWith("ben", BrowserConfig::default())])
        .at(1_000, "ben's camera is there but off", [Publish("ben", Camera), Mute("ben", Camera)])
        .at(5_000, "it is turned on", [Unmute("ben", Camera)])
        .at(7_000, "anna sees him", [Expect(Sees("anna", "ben", Camera))])
        .run(SEEDS, |_| {});
}

#[test]
fn fault_14_a_slot_keeps_its_ssrc() {
    let h264 = BrowserConfig { video_codec: Codec::H264, ..BrowserConfig::default() };
    let look_at = |publisher| [Tiles("anna", None), tile("anna", publisher, (640, 360))];
    Plan::new("VP8, H.264 and VP8 again in one slot")
        .at(0, "they join", [JoinWith("anna", one_slot()), Join("ben"), JoinWith("cleo", h264)])
        .at(0, "cleo has a camera", [Publish("cleo", Camera)])
        .at(100, "anna looks at ben", look_at("ben"))
        .at(3_000, "at cleo", look_at("cleo"))
        .at(6_000, "she sees her", [Expect(Sees("anna", "cleo", Camera))])
        .at(6_000, "and at ben again", look_at("ben"))
        .at(9_000, "she sees him", [Expect(Sees("anna", "ben", Camera))])
        // The decoders complain where the SSRC of a slot changes.
        .run(SEEDS, |world| assert_eq!(world.seat("anna").browser.video.len(), 1));
}

#[test]
fn fault_15_the_loudest_three_of_six_are_heard() {
    let speakers = ["ann", "bea", "cem", "dov", "eli", "fay"];
    let join: Vec<Action> = speakers.map(Join).into_iter().chain([Join("listener")]).collect();
    let levels = [-12, -16, -20, -42, -46, -50];
    let talk: Vec<Action> = speakers.into_iter().zip(levels).map(|(name, level)| Talk(name, level)).collect();
    Plan::new("six talk at once")
        .at(0, "they join", join)
        .at(2_000, "all talk", talk)
        .at(5_000, "the loudest three are heard", ["ann", "bea", "cem"].map(|name| Expect(Hears("listener", name))))
        .at(5_000, "the others are not", ["dov", "eli", "fay"].map(|name| Expect(HearsNot("listener", name))))
        .at(5_000, "the loudest stop", ["ann", "bea", "cem"].map(Hush))
        .at(9_000, "the others are heard", ["dov", "eli", "fay"].map(|name| Expect(Hears("listener", name))))
        .run(SEEDS, |_| {});
}

#[test]
fn fault_15_a_publisher_without_levels_is_heard() {
    let mute_about_levels = BrowserConfig { audio_level: false, ..BrowserConfig::default() };
    Plan::new("dov's client does not tell levels")
        .at(0, "they join", [Join("listener"), Join("ann"), JoinWith("dov", mute_about_levels)])
        .at(0, "dov has a microphone", [Publish("dov", Microphone)])
        .at(2_000, "both talk", [Talk("ann", -20), Talk("dov", -20)])
        .at(5_000, "both are heard", [Expect(Hears("listener", "ann")), Expect(Hears("listener", "dov"))])
        .run(SEEDS, |_| {});
}

#[test]
fn fault_15_the_first_syllable_is_heard() {
    let dtx = BrowserConfig { dtx: true, ..BrowserConfig::default() };
    let names = ["ann", "bea", "cem", "dov", "eli"];
    let join: Vec<Action> = names.iter().map(|name| JoinWith(name, dtx)).chain([Join("listener")]).collect();
    let mut plan = Plan::new("five speak in turn")
        .at(0, "they join", join)
        .at(0, "with microphones", names.map(|name| Publish(name, Microphone)));
    for (turn, name) in (0u64..).zip(names) {
        plan = plan
            .at(3_000 + turn * 2_500, "one speaks", [Talk(name, -20)])
            .at(5_000 + turn * 2_500, "and stops", [Hush(name)]);
    }
    plan.at(18_000, "the end", []).run(SEEDS, |world| {
        for name in names {
            let spurt = world.sounds("listener", name, Microphone, ms(2_500));
            let first = spurt.iter().find(|heard| heard.tag.layer != 0).unwrap().tag.packet;
            assert_eq!(first, 0, "{name}: the first packet of the talk spurt");
        }
    });
}

#[test]
fn fault_16_nothing_comes_before_it_is_declared() {
    Plan::new("slow signalling")
        .configured(|config| config.signalling_delay = ms(400))
        .at(0, "anna has one slot", [JoinWith("anna", one_slot()), Join("ben"), Join("cleo")])
        .at(4_000, "she offers eight more", [MoreSlots("anna", 8)])
        .at(9_000, "she sees both", [Expect(Sees("anna", "ben", Camera)), Expect(Sees("anna", "cleo", Camera))])
        // Browsers complain about RTP of an SSRC that no applied answer declares, and about a first
        // packet that does not name its m-line.
        .run(SEEDS, |_| {});
}
