//! A room on several workers.

use madang_core::Source;
use madang_simulation::BrowserConfig;

use crate::call::Call;
use crate::process::Madang;

/// More than a room has on one worker.
const PEOPLE: usize = 12;
/// Of whom so many are seen and heard: one thread plays all of them, and a busy machine has not enough for more.
const PUBLISHERS: usize = 3;

#[test]
fn a_room_on_several_workers_is_one_room() {
    let server = Madang::start(&["--media-workers=4"]);
    let mut call = Call::new(server.http);
    // Nobody is left out for want of a slot.
    call.browser = BrowserConfig {
        audio_slots: PUBLISHERS,
        video_slots: PUBLISHERS,
        ..BrowserConfig::default()
    };
    for _ in 0..PEOPLE {
        let client = call.join("hall");
        call.clients[client].tile = (160, 90);
        if client < PUBLISHERS {
            call.publish(client, Source::Camera);
            call.publish(client, Source::Microphone);
            call.talk(client);
        }
    }
    let pairs = |from| (0..PEOPLE).filter_map(move |to| (from != to).then_some((from, to)));
    call.until("everybody to see and hear the three", |call| {
        (0..PUBLISHERS).flat_map(pairs).all(|(publisher, viewer)| {
            call.shown(viewer, publisher, Source::Camera).count() >= 20
                && call.heard(viewer, publisher).count() >= 20
        })
    });
    assert_eq!(call.complaints(), [""; 0]);
    // Metrics are copied once a second.
    call.until("everybody to be counted", |_| {
        server.total("madang_peers") == PEOPLE as u64
    });
    let peers = server.metric("madang_peers");
    assert!(peers.iter().filter(|on| **on > 0).count() > 1, "{peers:?}");
    assert_eq!(server.total("madang_relay_packets_dropped_total"), 0);
}
