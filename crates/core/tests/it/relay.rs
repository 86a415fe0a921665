//! What two shards tell each other when people come and go at once.

use std::time::Instant;

use madang_core::limits::Limits;
use madang_core::{AutoView, Command, Event, PeerId, Relayed, RoomId, Shard, TrackId, View};

use crate::support::{self, join};

const ANNA: u64 = 1;
const BEN: u64 = 2;
const CLEO: u64 = 3;
const CAMERA: TrackId = TrackId(7);

/// Everything that `from` has for `to`, in order.
fn polled(from: &mut Shard, to: u8) -> Vec<Relayed> {
    std::iter::from_fn(|| from.poll_relayed())
        .filter(|(worker, _)| *worker == to)
        .map(|(_, relayed)| relayed)
        .collect()
}

fn deliver(now: Instant, relayed: Vec<Relayed>, from: u8, to: &mut Shard) {
    for one in relayed {
        to.handle_relayed(now, from, one);
    }
}

/// Carries messages both ways until there are none.
fn settle(now: Instant, first: &mut Shard, second: &mut Shard) {
    loop {
        let (to_second, to_first) = (polled(first, 1), polled(second, 0));
        if to_second.is_empty() && to_first.is_empty() {
            return;
        }
        deliver(now, to_second, 0, second);
        deliver(now, to_first, 1, first);
    }
}

fn shards() -> (Shard, Shard) {
    (
        support::shard_of(Limits::default(), 0, 2),
        support::shard_of(Limits::default(), 1, 2),
    )
}

fn publish(shard: &mut Shard, now: Instant) {
    support::publish(shard, now, ANNA, CAMERA.0, "0".into());
}

/// The tracks that a peer's slots hold, as the control plane is told.
fn in_slots(shard: &mut Shard, now: Instant, peer: u64) -> Vec<TrackId> {
    let auto = AutoView {
        max: 9,
        width: 640,
        height: 360,
        pin: None,
    };
    let view = View {
        rev: 9,
        auto: Some(auto),
        ..View::default()
    };
    let peer = PeerId(peer);
    shard.handle_command(now, Command::View { peer, view });
    shard.flush(now);
    let mut held = Vec::new();
    while let Some(event) = shard.poll_event() {
        if let Event::Slots { peer: of, slots } = event
            && of == peer
            && let Some(video) = slots.video
        {
            held = video.iter().filter_map(|slot| slot.track).collect();
        }
    }
    held
}

#[test]
fn a_track_is_seen_on_the_other_shard_until_it_ends() {
    let now = Instant::now();
    let (mut first, mut second) = shards();
    join(&mut first, now, ANNA, &support::offer(now, 1, 1)).unwrap();
    publish(&mut first, now);
    join(&mut second, now, BEN, &support::offer(now, 1, 0)).unwrap();
    settle(now, &mut first, &mut second);
    assert_eq!(in_slots(&mut second, now, BEN), [CAMERA]);
    let (peer, track) = (PeerId(ANNA), CAMERA);
    first.handle_command(now, Command::Unpublish { peer, track });
    settle(now, &mut first, &mut second);
    assert_eq!(in_slots(&mut second, now, BEN), []);
    assert_eq!(second.stats().tracks, 0);
}

#[test]
fn a_room_that_closes_and_opens_again_keeps_no_ghosts() {
    let now = Instant::now();
    let (mut first, mut second) = shards();
    join(&mut first, now, ANNA, &support::offer(now, 1, 1)).unwrap();
    join(&mut second, now, BEN, &support::offer(now, 1, 0)).unwrap();
    settle(now, &mut first, &mut second);
    // The track is announced while the last one on the other shard leaves and somebody else comes.
    publish(&mut first, now);
    let announced = polled(&mut first, 1);
    second.handle_command(now, Command::Leave { peer: PeerId(BEN) });
    join(&mut second, now, CLEO, &support::offer(now, 1, 0)).unwrap();
    deliver(now, announced, 0, &mut second);
    // Between the news of the two the track ends.
    let news = polled(&mut second, 0);
    let mut news = news.into_iter();
    let gone = news.next().unwrap();
    first.handle_relayed(now, 1, gone);
    let (peer, track) = (PeerId(ANNA), CAMERA);
    first.handle_command(now, Command::Unpublish { peer, track });
    deliver(now, news.collect(), 1, &mut first);
    settle(now, &mut first, &mut second);
    assert_eq!(in_slots(&mut second, now, CLEO), []);
    assert_eq!(second.stats().tracks, 0);
}

#[test]
fn rooms_of_the_same_worker_are_strangers() {
    let now = Instant::now();
    let (mut first, mut second) = shards();
    join(&mut first, now, ANNA, &support::offer(now, 1, 1)).unwrap();
    publish(&mut first, now);
    support::join_room(&mut second, now, BEN, RoomId(2), &support::offer(now, 1, 0)).unwrap();
    settle(now, &mut first, &mut second);
    assert_eq!(in_slots(&mut second, now, BEN), []);
    assert_eq!(second.stats().tracks, 0);
}

#[test]
fn a_track_that_comes_back_on_another_worker_is_found_in_any_order() {
    for leaves_first in [true, false] {
        let now = Instant::now();
        let (mut first, mut second) = shards();
        let (camera, slot) = (support::offer(now, 0, 1), support::offer(now, 1, 0));
        join(&mut first, now, ANNA, &camera).unwrap();
        join(&mut first, now, BEN, &slot).unwrap();
        join(&mut second, now, CLEO, &slot).unwrap();
        publish(&mut first, now);
        settle(now, &mut first, &mut second);
        let returned = ANNA + 10;
        join(&mut second, now, returned, &camera).unwrap();
        let leave = Command::Leave { peer: PeerId(ANNA) };
        if leaves_first {
            first.handle_command(now, leave);
            support::publish(&mut second, now, returned, CAMERA.0, "0".into());
        } else {
            support::publish(&mut second, now, returned, CAMERA.0, "0".into());
            settle(now, &mut first, &mut second);
            first.handle_command(now, leave);
        }
        first.flush(now);
        settle(now, &mut first, &mut second);
        assert_eq!(in_slots(&mut first, now, BEN), [CAMERA], "{leaves_first}");
        assert_eq!(in_slots(&mut second, now, CLEO), [CAMERA], "{leaves_first}");
    }
}
