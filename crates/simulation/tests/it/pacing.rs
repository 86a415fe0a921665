//! In which order packets leave for a narrow link, and how fast.

use std::time::Duration;

use madang_core::Source::{Camera, Microphone};
use madang_simulation::Action::{Downlink, JoinWith, Publish, Talk, Tiles};
use madang_simulation::network::LinkConfig;
use madang_simulation::{BrowserConfig, Codec, Mode, Plan, World};

use crate::{SEEDS, ms};

const SMALL: (u32, u32) = (320, 180);
const PEOPLE: [&str; 9] = [
    "ben", "cleo", "dan", "eve", "finn", "gina", "hugo", "ida", "jan",
];

/// Who comes just after somebody else starts with keyframes that have been kept, and all that has followed them.
#[test]
fn who_comes_after_others_gets_a_first_picture_of_everybody_before_what_follows() {
    let camera = BrowserConfig {
        video_codec: Codec::Vp9,
        svc: Some(Mode::key(3, 3)),
        ..BrowserConfig::default()
    };
    let publish = PEOPLE.iter().flat_map(|name| {
        let join = JoinWith(name, camera);
        let publish = [Publish(name, Microphone), Publish(name, Camera)];
        [join, Tiles(name, None)].into_iter().chain(publish)
    });
    let link = LinkConfig {
        delay: ms(25),
        ..LinkConfig::rate(3_000_000)
    };
    let looks_from = |name| [JoinWith(name, camera), Tiles(name, Some(SMALL))];
    let mut anna = looks_from("anna").to_vec();
    anna.push(Downlink("anna", link));
    let plan = Plan::new("two come, the second one over 3 Mbit/s")
        .at(0, "nine people with cameras", publish.collect::<Vec<_>>())
        .at(1_000, "ben speaks", [Talk("ben", -20)])
        .at(2_000, "kim comes: all send keyframes", looks_from("kim"))
        .at(2_400, "anna comes", anna)
        .at(4_000, "the end", []);
    for seed in SEEDS {
        plan.play(*seed, &["anna"], |world| {
            let connected = world.seat("anna").browser.connected_at.unwrap();
            let waited = PEOPLE.map(|name| {
                let frames = world.frames("anna", name, Camera, ms(0));
                frames[0].at - connected
            });
            // By coming, each would wait for what follows the others: 225 ms.
            assert!(waited.iter().all(|it| *it < ms(150)), "{waited:?}");
            all_words_come_within(world, ms(0), ms(100));
        });
    }
}

/// Anna hears everything that ben says from a moment on, and soon.
fn all_words_come_within(world: &World, from: Duration, limit: Duration) {
    let sounds = world.sounds("anna", "ben", Microphone, from);
    let (first, last) = (sounds[0].tag.frame, sounds[sounds.len() - 1].tag.frame);
    assert_eq!(sounds.len(), (last - first) as usize + 1, "a word is lost");
    let slowest = sounds.iter().map(|heard| heard.at - heard.tag.captured);
    let slowest = slowest.max().unwrap();
    assert!(slowest < limit, "a word took {slowest:?}");
}
