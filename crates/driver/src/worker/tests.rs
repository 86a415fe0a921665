use std::time::{Duration, SystemTime};

use madang_core::limits::Limits;
use madang_core::{Event, Identity, PeerId, RoomId, Wallclock};

use super::*;
use crate::handover;
use crate::limits::{NOTICES_BACKLOG_MAX, NOTICES_MAX};

struct Setup {
    worker: Worker,
    commands: mpsc::Sender<Command>,
    events: mpsc::Receiver<Event>,
    /// Where another worker takes what this one says.
    other: relay::Outlet,
    stop: oneshot::Sender<()>,
}

/// A worker without sockets, whose events find room for one.
fn setup() -> Setup {
    let (commands, commands_out) = mpsc::channel(100);
    let (events_in, events) = mpsc::channel(1);
    let (inlet, handed_over) = handover::queue();
    let (relay_inlet, relayed) = relay::queues();
    let (other_inlet, other) = relay::queues();
    let (stop, stopped) = oneshot::channel();
    let local = ([127, 0, 0, 1], 9).into();
    let ends = Ends {
        addresses: Arc::new(AddressMap::resolve(&[local], &[], &[]).unwrap()),
        sockets: Vec::new(),
        commands: commands_out,
        events: EventQueue::new(events_in),
        handover: Handover::new(0, &[inlet]),
        handed_over,
        relay: Relay::new(0, &[relay_inlet, other_inlet]),
        relayed,
        reports: watch::channel(WorkerStats::default()).0,
        heartbeat: Arc::new(Heartbeat::new(Instant::now())),
        stop: stopped,
    };
    let config = ShardConfig {
        worker: 0,
        workers: 1,
        node: 0,
        epoch: 0,
        identity: Identity::generate().unwrap(),
        addresses: ends.addresses.as_slice().to_vec(),
        ice_lite: false,
        wallclock: Wallclock {
            at: Instant::now(),
            time: SystemTime::now(),
        },
        initial_bitrate_bps: 1_000_000,
        limits: Limits::default(),
        seed: 0,
    };
    Setup {
        worker: Worker::new(config, 1, ends),
        commands,
        events,
        other,
        stop,
    }
}

fn leave() -> Command {
    Command::Leave { peer: PeerId(1) }
}

async fn wait(worker: &mut Worker, at_most: Duration) -> bool {
    let now = Instant::now();
    let due = now + at_most;
    worker
        .wait(pin!(tokio::time::sleep_until(due.into())), now, due)
        .await
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn no_commands_are_taken_while_events_find_no_room() {
    let Setup {
        mut worker,
        commands,
        mut events,
        stop: _stop,
        ..
    } = setup();
    for peer in [1, 2] {
        worker
            .ends
            .events
            .push(Event::Connected { peer: PeerId(peer) }, &mut worker.stats);
    }
    commands.send(leave()).await.unwrap();
    assert!(!wait(&mut worker, Duration::from_millis(5)).await);
    assert!(
        worker.commands.is_empty(),
        "woken by the clock, not by the command"
    );

    events.recv().await.unwrap();
    assert!(!wait(&mut worker, LONG).await);
    worker.publish_events();
    assert!(!wait(&mut worker, LONG).await);
    assert_eq!(worker.commands.len(), 1);
}

#[tokio::test]
async fn no_commands_are_taken_while_another_worker_does_not_listen() {
    let Setup {
        mut worker,
        commands,
        mut other,
        stop: _stop,
        ..
    } = setup();
    let notice = || Notice::Owned(([127, 0, 0, 1], 9).into());
    for _ in 0..=NOTICES_MAX + NOTICES_BACKLOG_MAX {
        worker.ends.relay.notify(1, notice(), &mut worker.stats);
    }
    commands.send(leave()).await.unwrap();
    assert!(!wait(&mut worker, Duration::from_millis(5)).await);
    assert!(
        worker.commands.is_empty(),
        "woken by the clock, not by the command"
    );

    poll_fn(|cx| Poll::Ready(other.poll(cx, &mut Taken::default()))).await;
    assert!(!wait(&mut worker, LONG).await);
    worker.relay();
    assert!(!wait(&mut worker, LONG).await);
    assert_eq!(worker.commands.len(), 1);
}

#[tokio::test]
async fn a_turn_takes_a_few_commands_and_media_has_its_turn_between() {
    let Setup {
        mut worker,
        commands,
        stop: _stop,
        ..
    } = setup();
    for _ in 0..=COMMANDS_PER_TURN {
        commands.send(leave()).await.unwrap();
    }
    assert!(!wait(&mut worker, LONG).await);
    assert_eq!(worker.commands.drain(..).count(), COMMANDS_PER_TURN);
    assert!(!wait(&mut worker, LONG).await);
    assert_eq!(worker.commands.len(), 1);
}

#[tokio::test]
async fn media_has_its_turn_between_two_joins() {
    let Setup {
        mut worker,
        commands,
        stop: _stop,
        ..
    } = setup();
    let invite = |peer| Command::Invite {
        peer: PeerId(peer),
        room: RoomId(1),
    };
    for command in [leave(), invite(1), invite(2), leave(), leave()] {
        commands.try_send(command).unwrap();
    }
    let mut left = Vec::new();
    while left.last() != Some(&0) {
        assert!(!wait(&mut worker, LONG).await);
        worker.obey(Instant::now(), false);
        left.push(worker.commands.len());
    }
    assert_eq!(left, [3, 2, 0]);
    assert_eq!(
        worker.shard.stats().peers,
        1,
        "the first has left, by the last two"
    );
}

#[tokio::test]
async fn a_stop_comes_first_and_takes_the_commands_that_wait() {
    let Setup {
        mut worker,
        commands,
        stop,
        ..
    } = setup();
    for _ in 0..20 {
        commands.send(leave()).await.unwrap();
    }
    stop.send(()).unwrap();
    assert!(wait(&mut worker, LONG).await);
    worker.take_last_commands();
    assert_eq!(worker.commands.len(), 20);
    assert!(commands.is_closed());
}

#[tokio::test]
async fn control_planes_that_have_gone_do_not_wake_the_worker() {
    let Setup {
        mut worker,
        commands,
        stop: _stop,
        ..
    } = setup();
    drop(commands);
    let asked = Instant::now();
    assert!(!wait(&mut worker, Duration::from_millis(5)).await);
    assert!(asked.elapsed() >= Duration::from_millis(5));
}
