//! The media thread: one loop over the sockets and timers of all its peers.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};

use super::delay::Times;
use super::peer::{NewPeer, Peer, PeerKey, PeerReport, Totals};
use super::socket::{Outbox, ReceiveBuffer};

const EVENTS_MAX: usize = 1_024;
/// The token of the waker; peers have their keys.
const WAKER: Token = Token(usize::MAX);
/// Nothing is due for so long: a wake-up once in a while does not hurt.
const IDLE: Duration = Duration::from_secs(1);
/// Timers closer than this go off together.
const TIMER_GRANULARITY: Duration = Duration::from_micros(100);
/// How often the counters that others read are brought up to date.
const COUNT_INTERVAL: Duration = Duration::from_millis(50);

/// What the media threads have come to, readable at any time.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) connected: AtomicUsize,
    pub(crate) complete: AtomicUsize,
    pub(crate) lost: AtomicUsize,
}

/// All that a media thread knows at the end.
#[derive(Debug)]
pub(crate) struct EngineReport {
    pub(crate) peers: Vec<PeerReport>,
    pub(crate) delays: Times,
    /// Behind narrow links, by their kbit/s.
    pub(crate) link_delays: BTreeMap<u32, Times>,
    pub(crate) datagrams_received: u64,
}

enum Command {
    Add(Box<NewPeer>),
    Close(PeerKey),
    Window(u64, u64),
    Report(Sender<EngineReport>),
}

/// The handle of a media thread; the thread ends with it.
#[derive(Debug)]
pub(crate) struct Engine {
    commands: Sender<Command>,
    waker: Arc<Waker>,
    progress: Arc<Progress>,
}

impl Engine {
    pub(crate) fn start() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (commands, inbox) = channel();
        let progress = Arc::new(Progress::default());
        let shared = progress.clone();
        std::thread::Builder::new()
            .name("media".to_owned())
            .spawn(move || MediaThread::new(poll, inbox, shared).run())?;
        Ok(Self {
            commands,
            waker,
            progress,
        })
    }

    pub(crate) fn add(&self, peer: NewPeer) {
        self.command(Command::Add(Box::new(peer)));
    }

    pub(crate) fn close(&self, key: PeerKey) {
        self.command(Command::Close(key));
    }

    /// Packets that are sent from `from` to `to`, in nanoseconds since 1970, are counted.
    pub(crate) fn measure(&self, from: u64, to: u64) {
        self.command(Command::Window(from, to));
    }

    /// `None` where the thread has died.
    pub(crate) fn report(&self) -> Option<EngineReport> {
        let (to, from) = channel();
        self.command(Command::Report(to));
        from.recv().ok()
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    fn command(&self, command: Command) {
        // A thread that has died is noticed by who asks for its report.
        let _ = self.commands.send(command);
        let _ = self.waker.wake();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let (closed, _) = channel();
        self.commands = closed;
        let _ = self.waker.wake();
    }
}

/// A peer, and when the newest of its timers goes off; older ones are stale.
struct Seat {
    peer: Peer,
    scheduled: Instant,
}

struct MediaThread {
    poll: Poll,
    inbox: Receiver<Command>,
    progress: Arc<Progress>,
    /// By key: keys are given in order.
    seats: Vec<Option<Seat>>,
    /// Reports of peers that have left.
    left: Vec<PeerReport>,
    timers: BinaryHeap<Reverse<(Instant, PeerKey)>>,
    totals: Totals,
    buffer: ReceiveBuffer,
    outbox: Outbox,
    next_count: Instant,
}

impl MediaThread {
    fn new(poll: Poll, inbox: Receiver<Command>, progress: Arc<Progress>) -> Self {
        Self {
            poll,
            inbox,
            progress,
            seats: Vec::new(),
            left: Vec::new(),
            timers: BinaryHeap::new(),
            totals: Totals {
                window: (u64::MAX, u64::MAX),
                delays: Times::new(),
                link_delays: BTreeMap::new(),
                datagrams_received: 0,
            },
            buffer: ReceiveBuffer::new(),
            outbox: Outbox::default(),
            next_count: Instant::now(),
        }
    }

    fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            let due = self.timers.peek().map(|Reverse((due, _))| *due);
            let timeout = due.map_or(IDLE, |due| due.saturating_duration_since(Instant::now()));
            if self.poll.poll(&mut events, Some(timeout)).is_err() {
                continue; // interrupted by a signal
            }
            for event in &events {
                if event.token() == WAKER {
                    if !self.obey() {
                        return;
                    }
                } else {
                    self.receive(event.token().0);
                }
            }
            self.wake_due(Instant::now());
        }
    }

    /// False where nobody holds the handle any more.
    fn obey(&mut self) -> bool {
        loop {
            match self.inbox.try_recv() {
                Ok(Command::Add(peer)) => self.add(*peer),
                Ok(Command::Close(key)) => self.close(key),
                Ok(Command::Window(from, to)) => self.totals.window = (from, to),
                Ok(Command::Report(to)) => {
                    let _ = to.send(self.report());
                }
                Err(error) => return error == std::sync::mpsc::TryRecvError::Empty,
            }
        }
    }

    fn add(&mut self, new: NewPeer) {
        let (key, now) = (new.key, Instant::now());
        let peer = Peer::new(new, now);
        if peer
            .socket
            .register(self.poll.registry(), Token(key))
            .is_ok()
        {
            if self.seats.len() <= key {
                self.seats.resize_with(key + 1, || None);
            }
            let scheduled = now;
            if let Some(seat) = self.seats.get_mut(key) {
                *seat = Some(Seat { peer, scheduled });
            }
            self.timers.push(Reverse((scheduled, key)));
        }
    }

    fn close(&mut self, key: PeerKey) {
        if let Some(Seat { mut peer, .. }) = self.seats.get_mut(key).and_then(Option::take) {
            peer.close(Instant::now(), &mut self.outbox, &mut self.totals);
            let _ = peer.socket.deregister(self.poll.registry());
            self.left.push(peer.report());
        }
    }

    fn receive(&mut self, key: PeerKey) {
        let Some(Some(seat)) = self.seats.get_mut(key) else {
            return;
        };
        seat.peer
            .receive(&mut self.buffer, &mut self.outbox, &mut self.totals);
        let due = seat.peer.due();
        if due < seat.scheduled {
            seat.scheduled = due;
            self.timers.push(Reverse((due, key)));
        }
    }

    fn wake_due(&mut self, now: Instant) {
        while let Some(Reverse((scheduled, key))) = self.timers.peek().copied() {
            if scheduled > now {
                break;
            }
            self.timers.pop();
            let Some(Some(seat)) = self.seats.get_mut(key) else {
                continue;
            };
            if seat.scheduled != scheduled {
                continue;
            }
            if seat.peer.due() <= now {
                seat.peer.wake(now, &mut self.outbox, &mut self.totals);
            }
            // Never again in this turn: others wait.
            seat.scheduled = seat.peer.due().max(now + TIMER_GRANULARITY);
            self.timers.push(Reverse((seat.scheduled, key)));
        }
        if now >= self.next_count {
            self.next_count = now + COUNT_INTERVAL;
            self.count();
        }
    }

    fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.seats.iter().flatten().map(|seat| &seat.peer)
    }

    fn count(&self) {
        let count = |is: fn(&Peer) -> bool| self.peers().filter(|peer| is(peer)).count();
        let progress = &self.progress;
        progress
            .connected
            .store(count(Peer::is_connected), Ordering::Relaxed);
        progress
            .complete
            .store(count(Peer::is_complete), Ordering::Relaxed);
        progress.lost.store(count(Peer::is_lost), Ordering::Relaxed);
    }

    fn report(&self) -> EngineReport {
        let there = self.peers().map(Peer::report);
        EngineReport {
            peers: self.left.iter().cloned().chain(there).collect(),
            delays: self.totals.delays.clone(),
            link_delays: self.totals.link_delays.clone(),
            datagrams_received: self.totals.datagrams_received,
        }
    }
}
