//! When nothing gets through for a while, more is lost than can be sent again: pictures go on with a keyframe, and nobody waits until a
//! receiver asks for it, which Chromium does after 3 s.

use madang_core::Source::Camera;
use madang_simulation::Action::{Downlink, JoinWith, Publish, Uplink};
use madang_simulation::network::{LinkConfig, ScriptedDrop};
use madang_simulation::{BrowserConfig, Codec, Mode, Plan};

use crate::{SEEDS, anna_looks_at_ben, ms, one_slot, tile};

#[test]
fn who_is_away_twice_sees_a_picture_as_soon_as_anything_comes() {
    let camera = BrowserConfig {
        video_codec: Codec::Av1,
        svc: Some(Mode::new(3, 3)),
        ..BrowserConfig::default()
    };
    let ben = [JoinWith("ben", camera), Publish("ben", Camera)];
    let link = |outage| {
        let link = LinkConfig {
            delay: ms(25),
            outage,
            ..LinkConfig::rate(3_000_000)
        };
        [Downlink("anna", link)]
    };
    let plan = Plan::new("anna is away twice in a row")
        .at(0, "ben's camera is on", ben)
        .at(0, "anna looks at him", [JoinWith("anna", one_slot())])
        .at(100, "large", [tile("anna", "ben", (1_280, 720))])
        .at(200, "her link is narrow", link(false))
        .at(6_000, "she is away", link(true))
        .at(6_700, "back", link(false))
        .at(6_900, "away again", link(true))
        .at(7_600, "and back", link(false))
        .at(14_000, "long after", []);
    plan.run(SEEDS, |world| {
        let frozen = world.longest_freeze("anna", "ben", Camera, ms(5_000));
        assert!(frozen < ms(1_000), "{frozen:?}");
    });
}

#[test]
fn what_gets_lost_again_and_again_is_waited_for_no_longer_than_a_keyframe_takes() {
    anna_looks_at_ben("some of what is on its way to anna is lost for good")
        .at(4_000, "she watches", [])
        .run(SEEDS, |world| {
            let now = world.now();
            let anna = world.seat_named("anna");
            let drop = |ssrc, count| ScriptedDrop { ssrc, count };
            let pictures = anna.browser.picture_ssrcs();
            pictures
                .iter()
                .for_each(|ssrc| anna.down.drop_next(drop(*ssrc, 5)));
            let repairs = anna.browser.repair_ssrcs();
            repairs
                .iter()
                .for_each(|ssrc| anna.down.drop_next(drop(*ssrc, 10_000)));
            world.run_until(now + ms(5_000));
            let frozen = world.longest_freeze("anna", "ben", Camera, now);
            assert!(ms(500) < frozen && frozen < ms(1_000), "{frozen:?}");
        });
}

#[test]
fn a_keyframe_that_is_to_mend_a_picture_is_asked_for_until_it_comes() {
    anna_looks_at_ben("ben is away, and for a while longer nothing gets to him")
        .at(
            6_000,
            "he is away",
            [
                Uplink("ben", LinkConfig::outage()),
                Downlink("ben", LinkConfig::outage()),
            ],
        )
        .at(
            6_700,
            "he is heard again",
            [Uplink("ben", LinkConfig::default())],
        )
        .at(7_300, "and hears", [Downlink("ben", LinkConfig::default())])
        .at(12_000, "long after", [])
        .run(SEEDS, |world| {
            let frozen = world.longest_freeze("anna", "ben", Camera, ms(5_000));
            assert!(ms(1_300) < frozen && frozen < ms(2_100), "{frozen:?}");
        });
}

/// As a program sends them that publishes by WHIP, in one burst: before any of it can be sent again, more than 100 packets have come.
#[test]
fn what_is_missing_of_large_keyframes_comes_again() {
    let camera = BrowserConfig {
        keyframe_bytes: Some(150_000),
        audio_slots: 0,
        video_slots: 0,
        ..BrowserConfig::default()
    };
    let uplink = LinkConfig {
        delay: ms(50),
        loss: 0.03,
        ..LinkConfig::rate(20_000_000)
    };
    let mut plan = Plan::new("keyframes of 130 packets over a lossy uplink")
        .at(
            0,
            "ben's camera is on",
            [
                JoinWith("ben", camera),
                Publish("ben", Camera),
                Uplink("ben", uplink),
            ],
        )
        .at(0, "anna looks at him", [JoinWith("anna", one_slot())]);
    for second in [4, 8, 12, 16] {
        let size = |large| if large { (1_280, 720) } else { (640, 360) };
        let sizes = [(0, true), (2, false)].map(|(after, large)| (second + after, size(large)));
        for (second, size) in sizes {
            plan = plan.at(second * 1_000, "another size", [tile("anna", "ben", size)]);
        }
    }
    plan.at(20_000, "the end", []).run(SEEDS, |world| {
        let frozen = world.longest_freeze("anna", "ben", Camera, ms(3_500));
        assert!(frozen < ms(600), "{frozen:?}");
    });
}
