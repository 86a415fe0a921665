//! What a shard's work costs: scenarios in virtual time, for callgrind to count the instructions of.
//!
//! `cargo xtask bench` runs this and prints a table, `cargo xtask test` compares it with `baseline.toml`.
//! Each metric is a line with tabs: how many units of work, how many allocations they took in all, how many a
//! typical call took, the name.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a program that prints numbers, or stops at the first surprise"
)]

mod meter;
mod room;
mod sealing;

use std::env;
use std::time::{Duration, Instant};

use madang_core::Source::{Camera, Microphone, Screen};
use madang_simulation::{BrowserConfig, Codec, Mode};

use meter::Counted;
use room::Room;

/// Estimates have settled, and what starts a stream is over.
const SETTLED: Duration = Duration::from_secs(4);
const SECOND: Duration = Duration::from_secs(1);
/// Tiles that take the middle layer of a camera.
const TILE: (u32, u32) = (640, 360);

/// Runs the scenario that is named.
fn main() {
    let name = env::args().nth(1).unwrap_or_default();
    match name.as_str() {
        "broadcast" => broadcast(),
        "audio" => audio(),
        "views" => views(),
        "grid" => grid(),
        "silence" => silence(),
        "times" => times(),
        _ => panic!(
            "`{name}` is none of the scenarios: broadcast, audio, views, grid, silence, times"
        ),
    }
}

/// One camera, and more and more viewers.
fn broadcast() {
    let mut room = Room::new();
    room.join(1, slots(0, 0));
    room.publish(0, Camera);
    let mut seats = 1;
    for viewers in [1, 50, 200] {
        room.join(viewers + 1 - seats, slots(1, 1));
        (seats..=viewers).for_each(|seat| room.view(seat, TILE));
        seats = viewers + 1;
        room.run(SETTLED);
        room.count(Counted::Forwarding, SECOND);
        room.meter
            .report_packets(&format!("forward video to {viewers}, per packet"));
        if viewers == 50 {
            arrivals(&mut room);
        }
    }
}

/// What comes in from a camera and its viewers.
fn arrivals(room: &mut Room) {
    room.count(Counted::Media, SECOND);
    room.meter.report_calls("take in video, per packet");
    room.count(Counted::Feedback, SECOND);
    room.meter
        .report_calls("take in RTCP of viewers, per datagram");
    let datagrams = room.intercept(SECOND);
    room.meter.counted = Counted::Classify;
    room.classify(&datagrams);
    room.meter
        .report_calls("tell datagrams apart, per datagram");
}

/// Ten who speak at once and fifty who listen; everybody hears three.
fn audio() {
    const SPEAKERS: usize = 10;
    const LISTENERS: usize = 50;
    let mut room = Room::new();
    room.join(SPEAKERS + LISTENERS, slots(3, 0));
    for seat in 0..SPEAKERS {
        room.publish(seat, Microphone);
        room.talk(seat, -20);
    }
    room.run(SETTLED);
    room.count(Counted::Forwarding, SECOND);
    room.meter.report_packets("forward audio, per packet");
    room.count(Counted::Media, SECOND);
    room.meter.report_calls("take in audio, per packet");
}

/// Nine cameras of three layers each; somebody makes all tiles smaller and larger.
fn views() {
    const CAMERAS: usize = 9;
    const CHANGES: u64 = 100;
    let mut room = Room::new();
    room.join(CAMERAS + 1, slots(0, CAMERAS));
    (0..CAMERAS).for_each(|seat| room.publish(seat, Camera));
    room.view(CAMERAS, TILE);
    room.run(SETTLED);
    room.meter.counted = Counted::Commands;
    for change in 0..CHANGES {
        let smaller = change % 2 == 0;
        room.view(CAMERAS, if smaller { (320, 180) } else { TILE });
    }
    room.meter
        .report("change a view of 9 tiles, per change", CHANGES);
}

const GRID: usize = 50;

/// Fifty pictures of nine layers each, all of which count where what is shown is a screen.
fn room_of_a_grid() -> Room {
    let mut room = Room::new();
    let camera = BrowserConfig {
        video_codec: Codec::Vp9,
        svc: Some(Mode::new(3, 3)),
        ..slots(0, 0)
    };
    room.join(GRID, camera);
    room.join(1, slots(0, GRID));
    (0..GRID).for_each(|seat| room.publish_as(seat, Camera, Screen));
    room.view(GRID, TILE);
    room.run(SETTLED);
    room
}

/// Somebody's bandwidth is shared out among them anew.
fn grid() {
    const TIMES: u64 = 100;
    let mut room = room_of_a_grid();
    room.meter.counted = Counted::Commands;
    (0..TIMES).for_each(|_| room.allocate(GRID));
    room.meter
        .report("allocate 50 tiles of 9 layers each, per time", TIMES);
}

/// People who come, and say nothing.
fn silence() {
    const PEERS: usize = 50;
    const SECONDS: u32 = 10;
    let mut room = Room::new();
    room.meter.counted = Counted::Everything;
    room.join(PEERS, slots(3, 9));
    room.meter
        .report("join and connect, per peer", PEERS as u64);
    room.run(SETTLED);
    room.count(Counted::Everything, SECOND * SECONDS);
    let peer_seconds = PEERS as u64 * u64::from(SECONDS);
    room.meter.report(
        "stay connected in silence, per peer and second",
        peer_seconds,
    );
}

/// How long forwarding takes for each packet, and what of that is sealing, and how long an allocation: not for callgrind.
fn times() {
    for viewers in [200, 2_000] {
        let mut room = Room::new();
        room.join(1, slots(0, 0));
        room.publish(0, Camera);
        room.join(viewers, slots(1, 1));
        (1..=viewers).for_each(|seat| room.view(seat, TILE));
        room.run(SETTLED);
        for _ in 0..5 {
            room.run(SECOND);
            room.meter.counted = Counted::Forwarding;
            room.run_alone(0, SECOND / 4);
            room.meter.counted = Counted::Nothing;
        }
        let (all, bytes) = room.meter.take_packet();
        let sealing = sealing::time_per_packet(bytes, viewers);
        let own = all - sealing;
        println!(
            "forward video to {viewers}: {all:.0} ns for each packet of {bytes} bytes; sealing {sealing:.0}, the rest {own:.0}"
        );
    }
    time_of_allocations();
}

/// With the command that asks for it, and the turn of the shard that it takes.
fn time_of_allocations() {
    const TIMES: u32 = 1_000;
    let mut room = room_of_a_grid();
    let start = Instant::now();
    (0..TIMES).for_each(|_| room.allocate(GRID));
    let each = start.elapsed().as_secs_f64() * 1e6 / f64::from(TIMES);
    println!("allocate {GRID} tiles of 9 layers each: {each:.1} µs");
}

fn slots(audio_slots: usize, video_slots: usize) -> BrowserConfig {
    BrowserConfig {
        audio_slots,
        video_slots,
        ..BrowserConfig::default()
    }
}
