//! One worker: the event loop that drives a shard.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::Instant;

use madang_core::{Command, Datagram, Relayed, Shard, ShardConfig};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Sleep;

use crate::address::AddressMap;
use crate::events::EventQueue;
use crate::handover::{Batch, Handover, Outlet};
use crate::limits::{
    COMMANDS_PER_TURN, HANDOVER_BATCHES_PER_TURN, QUIET_TURN_SPACING, RECEIVE_CALLS_PER_TURN,
    REPORT_INTERVAL,
};
use crate::many::Many;
use crate::pulse::{BusyMeter, Heartbeat};
use crate::relay::{self, Notice, Relay, Taken};
use crate::router::{Dropped, Route, Router};
use crate::send::send_all;
use crate::socket::{ReceiveBuffer, Socket};
use crate::stats::{IoStats, WorkerStats};

#[cfg(test)]
mod tests;

/// All that a worker is given.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) addresses: Arc<AddressMap>,
    pub(crate) sockets: Vec<Socket>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) events: EventQueue,
    pub(crate) handover: Handover,
    pub(crate) handed_over: Outlet,
    pub(crate) relay: Relay,
    pub(crate) relayed: relay::Outlet,
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
    /// For each socket.
    many: Vec<Many>,
    /// Taken from the queues while waiting; worked off in the turn after it.
    commands: Vec<Command>,
    batches: Vec<Batch>,
    taken: Taken,
    busy: BusyMeter,
    stats: IoStats,
}

impl Worker {
    pub(crate) fn new(config: ShardConfig, workers: usize, ends: Ends) -> Self {
        Self {
            number: config.worker,
            router: Router::new(config.worker, workers, config.node, config.epoch),
            shard: Shard::new(config),
            many: ends.sockets.iter().map(Socket::many).collect(),
            ends,
            buffer: ReceiveBuffer::new(),
            commands: Vec::with_capacity(COMMANDS_PER_TURN),
            batches: Vec::with_capacity(HANDOVER_BATCHES_PER_TURN),
            taken: Taken::default(),
            busy: BusyMeter::default(),
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
            self.obey(now, stopping);
            // 2. What other workers say and relay. Before datagrams: some need to be known to be routed.
            self.take_relayed(now);
            // 3. Datagrams.
            self.receive(now);
            // 4. Datagrams that other workers have received.
            self.take_over(now);
            // 5. Timers, then forward what all of this has brought.
            if self.shard.poll_timeout().is_some_and(|due| due <= now) {
                self.shard.handle_timeout(now);
            }
            self.shard.flush(now);
            // 6. What other workers need of it, so that they can start while this one sends.
            self.relay();
            // 7. Events.
            self.publish_events();
            // 8. Send.
            send_all(
                &self.ends.sockets,
                &mut self.many,
                &self.ends.addresses,
                self.shard.outbox(),
                &mut self.stats,
            )
            .await;
            self.shard.outbox().clear();

            let done = Instant::now();
            self.busy.add(done.saturating_duration_since(now));
            if report_due <= now || stopping {
                report_due = now + REPORT_INTERVAL;
                self.report(done);
            }
            if stopping {
                return;
            }
            // 9. Sleep until something comes or is due.
            let due = self
                .shard
                .poll_timeout()
                .map_or(report_due, |due| due.min(report_due));
            stopping = self.wait(timer.as_mut(), done, due).await;
            self.hold_back(now);
            if stopping {
                self.take_last_commands();
            }
        }
    }

    /// Carries out what waits, up to the first command that takes long: media goes between it and the next.
    fn obey(&mut self, now: Instant, all: bool) {
        let long = self.commands.iter().position(takes_long).filter(|_| !all);
        let count = long.map_or(self.commands.len(), |long| long + 1);
        for command in self.commands.drain(..count) {
            self.shard.handle_command(now, command);
        }
    }

    fn take_relayed(&mut self, now: Instant) {
        for (from, notice) in self.taken.notices.drain(..) {
            match notice {
                Notice::Control(control) => {
                    self.shard
                        .handle_relayed(now, from, Relayed::Control(control));
                }
                Notice::Owned(address) => self.router.learn(address, from),
            }
        }
        for parcel in self.taken.media.drain(..) {
            self.stats.relay_packets_received += parcel.media.len() as u64;
            self.shard
                .handle_relayed(now, parcel.from, Relayed::Media(parcel.media));
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
                        Route::Here => {
                            shard.handle_datagram(now, datagram);
                            if let Some(address) = shard.take_learned() {
                                router.learn(address, *number);
                            }
                        }
                        Route::Worker(owner) => handover.push(owner, &datagram, stats),
                        Route::Everyone => {
                            stats.responses_offered += 1;
                            handover.push_to_others(&datagram, stats);
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
                // Said before the answer leaves: what the client sends then finds its way.
                if let Some(address) = self.shard.take_learned() {
                    self.ends.relay.own(batch.from, address, &mut self.stats);
                }
            }
            self.ends.handover.recycle(batch);
        }
    }

    fn relay(&mut self) {
        self.ends.relay.drain(&mut self.stats);
        while let Some((to, relayed)) = self.shard.poll_relayed() {
            self.ends.relay.send(to, relayed, &mut self.stats);
        }
    }

    fn publish_events(&mut self) {
        self.ends.events.drain(&mut self.stats);
        while let Some(event) = self.shard.poll_event() {
            self.ends.events.push(event, &mut self.stats);
        }
    }

    fn report(&mut self, now: Instant) {
        self.ends.reports.send_replace(WorkerStats {
            worker: self.number,
            busy: self.busy.take(now),
            shard: self.shard.stats(),
            io: self.stats.clone(),
        });
    }

    /// Waits until `due`, or until there is something to do: what the queues hold is taken, sockets
    /// are read in the turn after. `true` if the worker shall stop.
    async fn wait(&mut self, mut timer: Pin<&mut Sleep>, now: Instant, due: Instant) -> bool {
        let overdue = due <= now;
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
            taken,
            ..
        } = self;
        let Ends {
            sockets,
            events,
            stop,
            handed_over,
            relay,
            relayed,
            commands: command_queue,
            ..
        } = ends;
        let mut room = pin!(events.room());
        let mut relay_room = pin!(relay.room());
        poll_fn(|cx| {
            if Pin::new(&mut *stop).poll(cx).is_ready() {
                return Poll::Ready(true);
            }
            let mut awake = overdue || !commands.is_empty();
            // Without room for events no commands are taken: that pushes back on the control plane.
            if events.has_backlog() {
                awake |= room.as_mut().poll(cx).is_ready();
            } else if commands.is_empty() && !relay.is_behind() {
                awake |= takes_any(command_queue.poll_recv_many(cx, commands, COMMANDS_PER_TURN));
            }
            awake |= takes_any(handed_over.poll_recv_many(cx, batches, HANDOVER_BATCHES_PER_TURN));
            awake |= relayed.poll(cx, taken);
            awake |= relay_room.as_mut().poll(cx).is_ready();
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

    /// Without media, the checks and reports of many peers are taken in together: a wake-up for each would cost more than
    /// what they ask for.
    fn hold_back(&self, turned: Instant) {
        let now = Instant::now();
        if self.shard.is_quiet(now) {
            // The thread has nothing else to do; tokio's timers would cost a second wake-up.
            let rest = QUIET_TURN_SPACING.saturating_sub(now.saturating_duration_since(turned));
            thread::sleep(rest);
        }
    }

    /// The commands that have been accepted before the stop are still carried out.
    fn take_last_commands(&mut self) {
        self.ends.commands.close();
        while let Ok(command) = self.ends.commands.try_recv() {
            self.commands.push(command);
        }
    }
}

/// A peer gets its place, or an engine that works here is negotiated with again.
fn takes_long(command: &Command) -> bool {
    matches!(
        command,
        Command::Join(_) | Command::Invite { .. } | Command::Offer { .. } | Command::Accept { .. }
    )
}

/// A closed queue is ready for ever with nothing.
fn takes_any(taken: Poll<usize>) -> bool {
    matches!(taken, Poll::Ready(count) if count > 0)
}
