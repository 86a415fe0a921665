//! Faults 14 to 16: SSRCs of slots, and who gets the audio slots; what a slot begins with.

use std::time::Duration;

use madang_core::AutoView;
use madang_core::Source::{Camera, Microphone};
use madang_simulation::Action::{
    Auto, Expect, Hush, Join, JoinWith, MoreSlots, Publish, Talk, Tiles,
};
use madang_simulation::Expectation::{Hears, HearsNot, Sees};
use madang_simulation::decoder::Shown;
use madang_simulation::{Action, BrowserConfig, Codec, KeyframeAsked, Plan};

use crate::{SEEDS, look_at, ms, one_slot};

#[test]
fn fault_14_a_slot_keeps_its_ssrc() {
    let h264 = BrowserConfig {
        video_codec: Codec::H264,
        ..BrowserConfig::default()
    };
    Plan::new("VP8, H.264 and VP8 again in one slot")
        .at(
            0,
            "they join",
            [
                JoinWith("anna", one_slot()),
                Join("ben"),
                JoinWith("cleo", h264),
            ],
        )
        .at(0, "cleo has a camera", [Publish("cleo", Camera)])
        .at(100, "anna looks at ben", look_at("anna", "ben"))
        .at(3_000, "at cleo", look_at("anna", "cleo"))
        .at(
            6_000,
            "she sees her",
            [Expect(Sees("anna", "cleo", Camera))],
        )
        .at(6_000, "and at ben again", look_at("anna", "ben"))
        .at(9_000, "she sees him", [Expect(Sees("anna", "ben", Camera))])
        // The decoders complain where the SSRC of a slot changes.
        .run(SEEDS, |world| {
            assert_eq!(world.seat("anna").browser.video.len(), 1);
        });
}

#[test]
fn a_slot_that_goes_over_to_somebody_starts_with_a_keyframe_that_others_have_just_got() {
    let switched = ms(4_700);
    let three = [JoinWith("anna", one_slot()), Join("ben"), Join("cleo")];
    let plan = Plan::new("anna goes over from ben to cleo, at whom dan has just begun to look")
        .at(0, "they join", three)
        .at(100, "anna looks at ben", look_at("anna", "ben"))
        .at(4_000, "dan joins", [JoinWith("dan", one_slot())])
        .at(4_000, "and looks at cleo", look_at("dan", "cleo"))
        .at(4_700, "so does anna now", look_at("anna", "cleo"))
        .at(
            8_000,
            "and goes on to see her",
            [Expect(Sees("anna", "cleo", Camera))],
        );
    plan.run(SEEDS, |world| {
        let frames = world.frames("anna", "cleo", Camera, switched);
        let waited = frames[0].at - switched;
        // A view takes 20 ms to the server, the picture 10 ms back, and somewhat longer at the rate that the path is known for.
        assert!(waited < ms(60), "she saw nothing for {waited:?}");
        let live = frames
            .iter()
            .find(|frame| frame.at - frame.tag.captured < ms(40));
        assert!(
            live.is_some_and(|live| live.at < switched + ms(150)),
            "{live:?}"
        );
        // What has been kept is shown within half of the time that it took.
        let behind = frames[0].at - frames[0].tag.captured;
        let (first, later) = (&frames[0], &frames[30]);
        let shown =
            Duration::from_secs(later.timestamp.wrapping_sub(first.timestamp).into()) / 90_000;
        let took = later.tag.captured - first.tag.captured;
        assert!(
            shown + behind < took + ms(60),
            "{took:?} are shown in {shown:?}"
        );
        let asked = &world.seat("cleo").browser.keyframes_asked;
        let of_layer = |asked: &&KeyframeAsked| asked.rid.is_some_and(|rid| &*rid == "h");
        let mut asked = asked.iter().filter(of_layer);
        assert!(asked.all(|asked| asked.at < switched), "{asked:?}");
        assert_eq!(world.complaints(), [] as [String; 0]);
    });
}

#[test]
fn a_picture_that_goes_on_with_a_kept_keyframe_is_not_late() {
    let shown_again = ms(5_000);
    let plan = Plan::new("anna looks away from ben and back, when dan has just begun to look")
        .at(0, "they join", [JoinWith("anna", one_slot()), Join("ben")])
        .at(100, "anna looks at ben", look_at("anna", "ben"))
        .at(3_000, "and away", [Tiles("anna", None)])
        .at(4_000, "dan joins", [JoinWith("dan", one_slot())])
        .at(4_400, "and looks at ben", look_at("dan", "ben"))
        .at(5_000, "so does anna again", look_at("anna", "ben"))
        .at(5_300, "and looks away", [Tiles("anna", None)])
        .at(6_500, "and back", look_at("anna", "ben"))
        .at(9_000, "the end", []);
    plan.run(SEEDS, |world| {
        let frames = world.frames("anna", "ben", Camera, ms(0));
        let back = frames.iter().position(|frame| frame.at > shown_again);
        let back = back.unwrap();
        let (last, first) = (&frames[back - 1], &frames[back]);
        let age = first.at - first.tag.captured;
        assert!(age > ms(300), "it has been kept for {age:?}");
        // Receivers know by a frame's time how late it comes, and wait for the next so long.
        let told = |from: &Shown, to: &Shown| {
            Duration::from_secs(to.timestamp.wrapping_sub(from.timestamp).into()) / 90_000
        };
        let late = (first.at - last.at).saturating_sub(told(last, first));
        assert!(late < ms(60), "told as if it were late by {late:?}");
        // It is caught up with, also where that was cut short, and then no later than before.
        let end = &frames[frames.len() - 1];
        let apart = told(last, end).abs_diff(end.tag.captured - last.tag.captured);
        assert!(apart < ms(20), "told as if it were late by {apart:?}");
    });
}

#[test]
fn a_tile_for_who_speaks_goes_over_soon_and_who_follows_costs_no_other_keyframe() {
    let speaker = AutoView {
        max: 1,
        width: 640,
        height: 360,
        pin: None,
    };
    let looks = |name| [Tiles(name, None), Auto(name, speaker.clone())];
    let follows = ms(7_000);
    let viewers = ["anna", "dan", "eve"];
    let plan = Plan::new("ben speaks, and then cleo")
        .at(0, "they join", [Join("ben"), Join("cleo")])
        .at(
            0,
            "and look at nobody",
            ["ben", "cleo"].map(|name| Tiles(name, None)),
        )
        .at(
            100,
            "three look on",
            viewers.map(|name| JoinWith(name, one_slot())),
        )
        .at(100, "ben speaks", [Talk("ben", -20)])
        .at(1_000, "anna looks at who speaks", looks("anna"))
        .at(1_000, "and so does dan", looks("dan"))
        .at(1_000, "eve looks at ben", look_at("eve", "ben"))
        .at(5_000, "now cleo speaks", [Hush("ben"), Talk("cleo", -20)])
        .at(7_000, "eve, too, looks at who speaks", looks("eve"))
        .at(
            9_000,
            "all see cleo",
            viewers.map(|name| Expect(Sees(name, "cleo", Camera))),
        );
    plan.run(SEEDS, |world| {
        let asked = &world.seat("cleo").browser.keyframes_asked;
        assert_eq!(asked.len(), 1, "{asked:?}");
        // The keyframe that anna and dan wait for comes with the next frame; eve's has been kept, and takes a view of 20 ms.
        let from = [asked[0].at, asked[0].at, follows];
        for (viewer, from) in viewers.into_iter().zip(from) {
            let waited = world.frames(viewer, "cleo", Camera, ms(5_000))[0].at - from;
            assert!(waited < ms(60), "{viewer} saw nothing for {waited:?}");
        }
    });
}

#[test]
fn fault_15_the_loudest_three_of_six_are_heard() {
    let speakers = ["ann", "bea", "cem", "dov", "eli", "fay"];
    let join: Vec<Action> = speakers
        .map(Join)
        .into_iter()
        .chain([Join("listener")])
        .collect();
    let levels = [-12, -16, -20, -42, -46, -50];
    let talk: Vec<Action> = speakers
        .into_iter()
        .zip(levels)
        .map(|(name, level)| Talk(name, level))
        .collect();
    Plan::new("six talk at once")
        .at(0, "they join", join)
        .at(2_000, "all talk", talk)
        .at(
            5_000,
            "the loudest three are heard",
            ["ann", "bea", "cem"].map(|name| Expect(Hears("listener", name))),
        )
        .at(
            5_000,
            "the others are not",
            ["dov", "eli", "fay"].map(|name| Expect(HearsNot("listener", name))),
        )
        .at(5_000, "the loudest stop", ["ann", "bea", "cem"].map(Hush))
        .at(
            9_000,
            "the others are heard",
            ["dov", "eli", "fay"].map(|name| Expect(Hears("listener", name))),
        )
        .run(SEEDS, |_| {});
}

#[test]
fn fault_15_a_publisher_without_levels_is_heard() {
    let mute_about_levels = BrowserConfig {
        audio_level: false,
        ..BrowserConfig::default()
    };
    Plan::new("dov's client does not tell levels, and there are more people than slots")
        .at(
            0,
            "they join",
            ["listener", "ann", "bea", "cem", "eli"].map(Join),
        )
        .at(100, "dov is the last", [JoinWith("dov", mute_about_levels)])
        .at(100, "he has a microphone", [Publish("dov", Microphone)])
        .at(2_000, "both talk", [Talk("ann", -20), Talk("dov", -20)])
        .at(
            5_000,
            "both are heard",
            [
                Expect(Hears("listener", "ann")),
                Expect(Hears("listener", "dov")),
            ],
        )
        .run(SEEDS, |_| {});
}

#[test]
fn fault_15_the_first_syllable_is_heard() {
    let dtx = BrowserConfig {
        dtx: true,
        ..BrowserConfig::default()
    };
    let names = ["ann", "bea", "cem", "dov", "eli"];
    let join: Vec<Action> = names
        .iter()
        .map(|name| JoinWith(name, dtx))
        .chain([Join("listener")])
        .collect();
    let mut plan = Plan::new("five speak in turn").at(0, "they join", join).at(
        0,
        "with microphones",
        names.map(|name| Publish(name, Microphone)),
    );
    for (turn, name) in (0u64..).zip(names) {
        plan = plan
            .at(3_000 + turn * 2_500, "one speaks", [Talk(name, -20)])
            .at(5_000 + turn * 2_500, "and stops", [Hush(name)]);
    }
    plan.at(18_000, "the end", []).run(SEEDS, |world| {
        for name in names {
            let spurt = world.sounds("listener", name, Microphone, ms(2_500));
            let first = spurt
                .iter()
                .find(|heard| heard.tag.layer != 0)
                .unwrap()
                .tag
                .packet;
            assert_eq!(first, 0, "{name}: the first packet of the talk spurt");
        }
    });
}

#[test]
fn fault_16_nothing_comes_before_it_is_declared() {
    Plan::new("slow signalling")
        .configured(|config| config.signalling_delay = ms(400))
        .at(
            0,
            "anna has one slot",
            [JoinWith("anna", one_slot()), Join("ben"), Join("cleo")],
        )
        .at(4_000, "she offers eight more", [MoreSlots("anna", 8)])
        .at(
            9_000,
            "she sees both",
            [
                Expect(Sees("anna", "ben", Camera)),
                Expect(Sees("anna", "cleo", Camera)),
            ],
        )
        // Browsers complain about RTP of an SSRC that no applied answer declares, and about a first
        // packet that does not name its m-line.
        .run(SEEDS, |_| {});
}
