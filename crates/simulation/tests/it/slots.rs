//! Faults 14 to 16: SSRCs of slots, and who gets the audio slots.

use madang_core::Source::{Camera, Microphone};
use madang_simulation::Action::{Expect, Hush, Join, JoinWith, MoreSlots, Publish, Talk};
use madang_simulation::Expectation::{Hears, HearsNot, Sees};
use madang_simulation::{Action, BrowserConfig, Codec, Plan};

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
    let switched = ms(4_600);
    let plan = Plan::new(
        "anna has one slot, and goes over from ben to cleo, whom dan has just begun to look at",
    )
    .at(
        0,
        "they join",
        [JoinWith("anna", one_slot()), Join("ben"), Join("cleo")],
    )
    .at(100, "anna looks at ben", look_at("anna", "ben"))
    .at(4_000, "dan joins", [JoinWith("dan", one_slot())])
    .at(4_000, "and looks at cleo", look_at("dan", "cleo"))
    .at(4_600, "so does anna now", look_at("anna", "cleo"))
    .at(4_800, "at once", [])
    .at(
        8_000,
        "and she goes on to see her",
        [Expect(Sees("anna", "cleo", Camera))],
    );
    plan.run(SEEDS, |world| {
        let seen = world.frames("dan", "cleo", Camera, ms(4_000));
        let keyframe = seen
            .iter()
            .rfind(|frame| frame.tag.is_keyframe() && frame.at < switched);
        let shown = world.frames("anna", "cleo", Camera, switched);
        let asked = &world.seat("cleo").browser.keyframes_asked;
        eprintln!(
            "XX keyframe {:?} first {:?} {} asked {:?}",
            keyframe.map(|k| (k.at, k.tag.layer)),
            shown[0].at,
            shown[0].tag.layer,
            asked.iter().map(|a| (a.at, a.rid)).collect::<Vec<_>>()
        );
        for f in shown.iter().take(40) {
            eprintln!(
                "XXF {:?} cap {:?} key {} age {:?} layer {}",
                f.at,
                f.tag.captured,
                f.tag.is_keyframe(),
                f.at - f.tag.captured,
                f.tag.layer
            );
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
