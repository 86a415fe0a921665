//! Each limit of a shard, reached.

use std::time::{Duration, Instant};

use madang_core::limits::Limits;
use madang_core::sdp::{RemoteCandidate, SdpError};
use madang_core::{AutoView, CloseReason, Command, Event, PeerId, TrackId, View};

use crate::support::{events, join, offer, publish, shard};

#[test]
fn a_full_worker_refuses_and_takes_again_when_somebody_has_left() {
    let now = Instant::now();
    let mut shard = shard(Limits {
        peers_per_worker: 2,
        ..Limits::default()
    });
    assert!(join(&mut shard, now, 1, &offer(now, 1, 0)).is_ok());
    assert!(join(&mut shard, now, 2, &offer(now, 1, 0)).is_ok());
    assert_eq!(
        join(&mut shard, now, 3, &offer(now, 1, 0)),
        Err(SdpError::Full)
    );
    shard.handle_command(now, Command::Leave { peer: PeerId(1) });
    assert!(join(&mut shard, now, 4, &offer(now, 1, 0)).is_ok());
    assert_eq!(shard.stats().peers, 2);
}

#[test]
fn an_offer_with_too_many_slots_is_refused_and_leaves_nothing_behind() {
    let now = Instant::now();
    let mut shard = shard(Limits {
        slots_per_peer: 4,
        ..Limits::default()
    });
    assert_eq!(
        join(&mut shard, now, 1, &offer(now, 5, 1)),
        Err(SdpError::SlotLimit { found: 5, limit: 4 })
    );
    assert_eq!(shard.stats().peers, 0);
    let answer = join(&mut shard, now, 1, &offer(now, 4, 1)).unwrap();
    assert_eq!(answer.slots.len(), 4);
}

#[test]
fn tracks_over_the_limit_are_not_published() {
    let now = Instant::now();
    let mut shard = shard(Limits {
        tracks_per_peer: 2,
        ..Limits::default()
    });
    join(&mut shard, now, 1, &offer(now, 1, 3)).unwrap();
    for (track, mid) in (1..).zip(["1", "2", "3"]) {
        publish(&mut shard, now, 1, track, mid.into());
    }
    assert_eq!(shard.stats().tracks, 2);
}

#[test]
fn one_mid_is_one_track() {
    let now = Instant::now();
    let mut shard = shard(Limits::default());
    join(&mut shard, now, 1, &offer(now, 1, 1)).unwrap();
    publish(&mut shard, now, 1, 1, "1".into());
    publish(&mut shard, now, 1, 2, "1".into());
    assert_eq!(shard.stats().tracks, 1);
}

#[test]
fn candidates_over_the_limit_are_ignored() {
    let now = Instant::now();
    let mut shard = shard(Limits {
        candidates_per_peer: 3,
        ..Limits::default()
    });
    join(&mut shard, now, 1, &offer(now, 1, 0)).unwrap();
    shard.outbox().clear();
    for port in 6_000..6_100 {
        let line = format!("candidate:1 1 udp 2113937151 10.0.0.3 {port} typ host");
        let candidate = RemoteCandidate::parse(&line).unwrap().unwrap();
        shard.handle_command(
            now,
            Command::Candidate {
                peer: PeerId(1),
                candidate,
            },
        );
    }
    let mut reached: Vec<u16> = Vec::new();
    for step in 0..200 {
        shard.handle_timeout(now + Duration::from_millis(step * 10));
        shard.flush(now + Duration::from_millis(step * 10));
        reached.extend(
            shard
                .outbox()
                .iter()
                .map(|(transmit, _)| transmit.destination.port()),
        );
        shard.outbox().clear();
    }
    reached.sort_unstable();
    reached.dedup();
    assert!(
        reached
            .iter()
            .filter(|port| (6_000..6_100).contains(*port))
            .count()
            <= 3,
        "{reached:?}"
    );
}

#[test]
fn a_peer_that_never_connects_is_ended_in_time() {
    let now = Instant::now();
    let mut shard = shard(Limits {
        connect_timeout: Duration::from_secs(5),
        ..Limits::default()
    });
    join(&mut shard, now, 1, &offer(now, 1, 0)).unwrap();
    let end = now + Duration::from_secs(6);
    while let Some(due) = shard.poll_timeout().filter(|due| *due < end) {
        shard.handle_timeout(due);
        shard.flush(due);
        shard.outbox().clear();
    }
    let closed = events(&mut shard).into_iter().any(|event| {
        matches!(
            event,
            Event::Closed {
                peer: PeerId(1),
                reason: CloseReason::ConnectTimeout
            }
        )
    });
    assert!(closed);
    assert_eq!(shard.stats().peers, 0);
    assert_eq!(
        shard.poll_timeout(),
        None,
        "nothing is left that could happen"
    );
}

#[test]
fn a_view_of_more_tracks_than_slots_asks_for_more_slots_once() {
    let now = Instant::now();
    let mut shard = shard(Limits::default());
    join(&mut shard, now, 1, &offer(now, 2, 0)).unwrap();
    join(&mut shard, now, 2, &offer(now, 1, 3)).unwrap();
    for (track, mid) in (1..).zip(["1", "2", "3"]) {
        publish(&mut shard, now, 2, track, mid.into());
    }
    let _ = events(&mut shard);
    let tile = |track| madang_core::TileView {
        track: TrackId(track),
        slot: None,
        width: 640,
        height: 360,
        priority: 0,
        min_height: None,
        max_fps: None,
    };
    for rev in 1..4 {
        let view = View {
            rev,
            video: (1..=3).map(tile).collect(),
            auto: None::<AutoView>,
            ..View::default()
        };
        shard.handle_command(
            now,
            Command::View {
                peer: PeerId(1),
                view,
            },
        );
        shard.flush(now);
    }
    let needs: Vec<usize> = events(&mut shard)
        .into_iter()
        .filter_map(|event| match event {
            Event::NeedSlots { video, .. } => Some(video),
            _ => None,
        })
        .collect();
    assert_eq!(needs, [9]);
}
