//! One worker: the event loop that drives a shard.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use madang_core::{Command, Datagram, Shard, ShardConfig};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Sleep;

use crate::address::AddressMap;
use crate::events::EventQueue;
use crate::handover::{Batch, Handover, Outlet};
use crate::limits::{
    COMMANDS_PER_TURN, HANDOVER_BATCHES_PER_TURN, RECEIVE_CALLS_PER_TURN, REPORT_INTERVAL,
};
use crate::router::{Dropped, Route, Router};
use crate::send::send_all;
use crate::socket::{ReceiveBuffer, Socket};
use crate::stats::{IoStats, WorkerStats};

/// All that a worker is given.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) addresses: Arc<AddressMap>,
    pub(crate) sockets: Vec<Socket>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) events: EventQueue,
    pub(crate) handover: Handover,
    pub(crate) handed_over: Outlet,
    pub(crate) reports: watch::Sender<WorkerStats>,
    pub(crate) heartbeat: Arc<Heartbeat>,
    /// Completes when the worker shall stop.
    pub(crate) stop: oneshot::Receiver<()>,
}

#[derive(Debug)]
pub(crate) struct Worker {
    number: u8,
    shard: Shard,
    router: Router,
    ends: Ends,
    buffer: ReceiveBuffer,
    /// Taken from the queues while waiting; worked off in the turn after it.
    commands: Vec<Command>,
    batches: Vec<Batch>,
    stats: IoStats,
}

impl Worker {
    pub(crate) fn new(config: ShardConfig, workers: usize, ends: Ends) -> Self {
        Self {
            number: config.worker,
            router: Router::new(config.worker, workers, config.node, config.epoch),
            shard: Shard::new(config),
            ends,
            buffer: ReceiveBuffer::new(),
            commands: Vec::with_capacity(COMMANDS_PER_TURN),
            batches: Vec::with_capacity(HANDOVER_BATCHES_PER_TURN),
            stats: IoStats::default(),
        }
    }

    /// Runs until it is told to stop, then works off the commands that wait and sends what is left.
    pub(crate) async fn run(mut self) {
        let mut report_due = Instant::now();
        let mut timer = pin!(tokio::time::sleep_until(report_due.into()));
        let mut stopping = false;
        loop {
            let now = Instant::now();
            self.ends.heartbeat.beat(now);
            self.stats.turns += 1;

            // 1. Commands.
            for command in self.commands.drain(..) {
                self.shard.handle_command(now, command);
            }
            // 2. Datagrams.
            self.receive(now);
            // 3. Datagrams that other workers have received.
            self.take_over(now);
            // 4. Timers, then forward what all of this has brought.
            if self.shard.poll_timeout().is_some_and(|due| due <= now) {
                self.shard.handle_timeout(now);
            }
            self.shard.flush(now);
            // 5. Events.
            self.publish_events();
            // 6. Send.
            send_all(
                &self.ends.sockets,
                &self.ends.addresses,
                self.shard.outbox(),
                &mut self.stats,
            )
            .await;
            self.shard.outbox().clear();

            if report_due <= now || stopping {
                report_due = now + REPORT_INTERVAL;
                self.report();
            }
            if stopping {
                return;
            }
            // 7. Sleep until something comes or is due.
            let due = self
                .shard
                .poll_timeout()
                .map_or(report_due, |due| due.min(report_due));
            stopping = self.wait(timer.as_mut(), due).await;
            if stopping {
                self.take_last_commands();
            }
        }
    }

    /// Takes what the sockets have, up to a limit, and gives each datagram to whom it belongs.
    fn receive(&mut self, now: Instant) {
        let Self {
            number,
            shard,
            router,
            ends,
            buffer,
            stats,
            ..
        } = self;
        let Ends {
            sockets,
            addresses,
            handover,
            ..
        } = ends;
        for socket in sockets.iter() {
            for _ in 0..RECEIVE_CALLS_PER_TURN {
                match socket.receive(buffer) {
                    Ok(()) => stats.receive_calls += 1,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // Reading the error has cleared it (an ICMP message, for instance).
                    Err(error) => {
                        stats.receive_errors += 1;
                        tracing::trace!(%error, "receive call failed");
                        continue;
                    }
                }
                for datagram in buffer.datagrams(socket) {
                    stats.datagrams_received += 1;
                    stats.bytes_received += datagram.contents.len() as u64;
                    let destination = addresses.advertised(datagram.destination);
                    let datagram = Datagram {
                        destination,
                        ..datagram
                    };
                    match router.route(now, datagram.source, datagram.contents) {
                        Route::Here => shard.handle_datagram(now, datagram),
                        Route::Worker(owner) => handover.push(owner, &datagram, stats),
                        Route::Everyone => {
                            stats.responses_offered += 1;
                            handover.push_to_others(*number, &datagram, stats);
                            shard.handle_datagram(now, datagram);
                        }
                        Route::Drop(Dropped::Unclassified) => {
                            stats.datagrams_dropped_unclassified += 1;
                        }
                        Route::Drop(Dropped::Stale) => stats.datagrams_dropped_stale += 1,
                        Route::Drop(Dropped::Response) => stats.responses_dropped += 1,
                    }
                }
            }
        }
        handover.flush(stats);
    }

    fn take_over(&mut self, now: Instant) {
        for batch in self.batches.drain(..) {
            self.stats.datagrams_taken_over += batch.len() as u64;
            for datagram in batch.iter() {
                self.shard.handle_datagram(now, datagram);
            }
            self.ends.handover.recycle(batch);
        }
    }

    fn publish_events(&mut self) {
        self.ends.events.drain(&mut self.stats);
        while let Some(event) = self.shard.poll_event() {
            self.ends.events.push(event, &mut self.stats);
        }
    }

    fn report(&self) {
        self.ends.reports.send_replace(WorkerStats {
            worker: self.number,
            shard: self.shard.stats(),
            io: self.stats.clone(),
        });
    }

    /// Waits until `due`, or until there is something to do: what the queues hold is taken, sockets
    /// are read in the turn after. `true` if the worker shall stop.
    async fn wait(&mut self, mut timer: Pin<&mut Sleep>, due: Instant) -> bool {
        let overdue = due <= Instant::now();
        if overdue {
            // Lets the runtime look at the sockets, which it otherwise does only while waiting.
            tokio::task::yield_now().await;
        } else if timer.deadline() != due.into() {
            timer.as_mut().reset(due.into());
        }
        let Self {
            ends,
            commands,
            batches,
            ..
        } = self;
        let Ends {
            sockets,
            events,
            stop,
            handed_over,
            commands: command_queue,
            ..
        } = ends;
        let mut room = pin!(events.room());
        poll_fn(|cx| {
            if Pin::new(&mut *stop).poll(cx).is_ready() {
                return Poll::Ready(true);
            }
            let mut awake = overdue;
            // Without room for events no commands are taken: that pushes back on the control plane.
            if events.has_backlog() {
                awake |= room.as_mut().poll(cx).is_ready();
            } else {
                awake |= takes_any(command_queue.poll_recv_many(cx, commands, COMMANDS_PER_TURN));
            }
            awake |= takes_any(handed_over.poll_recv_many(cx, batches, HANDOVER_BATCHES_PER_TURN));
            for socket in sockets.iter() {
                awake |= socket.poll_readable(cx).is_ready();
            }
            awake |= timer.as_mut().poll(cx).is_ready();
            if awake {
                Poll::Ready(false)
            } else {
                Poll::Pending
            }
        })
        .await
    }

    /// The commands that have been accepted before the stop are still carried out.
    fn take_last_commands(&mut self) {
        self.ends.commands.close();
        while let Ok(command) = self.ends.commands.try_recv() {
            self.commands.push(command);
        }
    }
}

/// A closed queue is ready for ever with nothing.
fn takes_any(taken: Poll<usize>) -> bool {
    matches!(taken, Poll::Ready(count) if count > 0)
}

/// When a worker last turned, for others to see.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    start: Instant,
    last_ms: AtomicU64,
}

impl Heartbeat {
    pub(crate) fn new(start: Instant) -> Self {
        Self {
            start,
            last_ms: AtomicU64::new(0),
        }
    }

    fn beat(&self, now: Instant) {
        self.last_ms.store(self.ms(now), Ordering::Relaxed);
    }

    /// Time since the last turn.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        Duration::from_millis(
            self.ms(now)
                .saturating_sub(self.last_ms.load(Ordering::Relaxed)),
        )
    }

    fn ms(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.start).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use madang_core::limits::Limits;
    use madang_core::{Event, Identity, PeerId};

    use super::*;
    use crate::handover;

    struct Setup {
        worker: Worker,
        commands: mpsc::Sender<Command>,
        events: mpsc::Receiver<Event>,
        stop: oneshot::Sender<()>,
    }

    /// A worker without sockets, whose events find room for one.
    fn setup() -> Setup {
        let (commands, commands_out) = mpsc::channel(100);
        let (events_in, events) = mpsc::channel(1);
        let (inlet, handed_over) = handover::queue();
        let (stop, stopped) = oneshot::channel();
        let local = ([127, 0, 0, 1], 9).into();
        let ends = Ends {
            addresses: Arc::new(AddressMap::resolve(&[local], &[], &[]).unwrap()),
            sockets: Vec::new(),
            commands: commands_out,
            events: EventQueue::new(events_in),
            handover: Handover::new(&[inlet]),
            handed_over,
            reports: watch::channel(WorkerStats::default()).0,
            heartbeat: Arc::new(Heartbeat::new(Instant::now())),
            stop: stopped,
        };
        let config = ShardConfig {
            worker: 0,
            node: 0,
            epoch: 0,
            identity: Identity::generate().unwrap(),
            addresses: ends.addresses.as_slice().to_vec(),
            ice_lite: false,
            initial_bitrate_bps: 1_000_000,
            limits: Limits::default(),
            seed: 0,
        };
        Setup {
            worker: Worker::new(config, 1, ends),
            commands,
            events,
            stop,
        }
    }

    fn leave() -> Command {
        Command::Leave { peer: PeerId(1) }
    }

    async fn wait(worker: &mut Worker, at_most: Duration) -> bool {
        let due = Instant::now() + at_most;
        worker
            .wait(pin!(tokio::time::sleep_until(due.into())), due)
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

    #[test]
    fn a_heartbeat_ages_until_the_next_turn() {
        let start = Instant::now();
        let heartbeat = Heartbeat::new(start);
        assert_eq!(
            heartbeat.age(start + Duration::from_secs(6)),
            Duration::from_secs(6)
        );
        heartbeat.beat(start + Duration::from_secs(6));
        assert_eq!(
            heartbeat.age(start + Duration::from_secs(7)),
            Duration::from_secs(1)
        );
    }
}
