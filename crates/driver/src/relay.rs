//! What workers have for each other beside datagrams: what their shards relay, and who owns which address.
//!
//! Two queues lead into each worker. Notices keep their order and are never dropped: those that
//! find the queue full wait with their sender. Media is dropped and counted, as datagrams are.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use madang_core::{Control, Media, Relayed};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::limits::{
    NOTICES_BACKLOG_MAX, NOTICES_MAX, RELAY_BATCHES_PER_TURN, RELAY_PACKETS_WAITING_MAX,
};
use crate::stats::IoStats;

/// What must arrive.
#[derive(Debug)]
pub(crate) enum Notice {
    /// For the shard.
    Control(Control),
    /// A peer of the sender is at this remote address, whose datagrams the receiver gets from the kernel.
    Owned(SocketAddr),
}

/// A turn's packets of one worker for another.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) from: u8,
    pub(crate) media: Media,
    packets: usize,
}

/// Where things for a worker go in.
#[derive(Debug, Clone)]
pub(crate) struct Inlet {
    notices: mpsc::Sender<(u8, Notice)>,
    media: mpsc::Sender<Parcel>,
    /// Packets in the queue of media.
    waiting: Arc<AtomicUsize>,
}

/// Where a worker takes them.
#[derive(Debug)]
pub(crate) struct Outlet {
    notices: mpsc::Receiver<(u8, Notice)>,
    media: mpsc::Receiver<Parcel>,
    waiting: Arc<AtomicUsize>,
}

/// What has been taken, worked off in the next turn.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) notices: Vec<(u8, Notice)>,
    pub(crate) media: Vec<Parcel>,
}

/// The queues into one worker.
pub(crate) fn queues() -> (Inlet, Outlet) {
    let (notices_in, notices) = mpsc::channel(NOTICES_MAX);
    // No parcel is empty, so that this never is the narrower limit.
    let (media_in, media) = mpsc::channel(RELAY_PACKETS_WAITING_MAX);
    let waiting = Arc::new(AtomicUsize::new(0));
    let inlet = Inlet {
        notices: notices_in,
        media: media_in,
        waiting: Arc::clone(&waiting),
    };
    (
        inlet,
        Outlet {
            notices,
            media,
            waiting,
        },
    )
}

impl Outlet {
    /// Takes what is there; `true` where there was anything. Media first: what was said before some of it
    /// was sent is then among the notices, which are worked off first.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, taken: &mut Taken) -> bool {
        let before = taken.media.len();
        // A closed queue is ready for ever with nothing.
        let media = self
            .media
            .poll_recv_many(cx, &mut taken.media, RELAY_BATCHES_PER_TURN);
        let packets = taken.media.iter().skip(before).map(|parcel| parcel.packets);
        self.waiting.fetch_sub(packets.sum(), Ordering::Relaxed);
        let notices = self
            .notices
            .poll_recv_many(cx, &mut taken.notices, NOTICES_MAX);
        matches!(media, Poll::Ready(count) if count > 0)
            | matches!(notices, Poll::Ready(count) if count > 0)
    }
}

/// One worker's ways to all workers; the way to itself stays empty.
#[derive(Debug)]
pub(crate) struct Relay {
    this: u8,
    lanes: Vec<Lane>,
    /// Notices that wait in all lanes.
    backlog: usize,
    /// The backlog is above its limit, and that has been said.
    behind: bool,
}

#[derive(Debug)]
struct Lane {
    inlet: Inlet,
    backlog: VecDeque<Notice>,
}

impl Relay {
    /// The ways of worker `this`. `inlets` are those of all workers, by number.
    pub(crate) fn new(this: u8, inlets: &[Inlet]) -> Self {
        let lanes = inlets.iter().map(|inlet| Lane {
            inlet: inlet.clone(),
            backlog: VecDeque::new(),
        });
        Self {
            this,
            lanes: lanes.collect(),
            backlog: 0,
            behind: false,
        }
    }

    /// Sends what this worker's shard has for another's.
    pub(crate) fn send(&mut self, to: u8, relayed: Relayed, stats: &mut IoStats) {
        match relayed {
            Relayed::Control(control) => self.notify(to, Notice::Control(control), stats),
            Relayed::Media(media) => {
                let packets = media.len();
                self.send_media(to, media, packets, stats);
            }
        }
    }

    /// Sends a notice after all earlier ones.
    pub(crate) fn notify(&mut self, to: u8, notice: Notice, stats: &mut IoStats) {
        let this = self.this;
        let Some(lane) = self.lanes.get_mut(usize::from(to)) else {
            return;
        };
        lane.backlog.push_back(notice);
        lane.drain(this);
        if self.backlog > 0 || !lane.backlog.is_empty() {
            self.count_backlog(stats);
        }
    }

    /// Tells that datagrams of this address are for this worker. Not to a worker that is stuck: the client's next
    /// check says it again, and whoever sends checks must not make more wait.
    pub(crate) fn own(&mut self, to: u8, address: SocketAddr, stats: &mut IoStats) {
        let waits = |lane: &Lane| !lane.backlog.is_empty();
        if !self.lanes.get(usize::from(to)).is_some_and(waits) {
            self.notify(to, Notice::Owned(address), stats);
        }
    }

    /// Sends notices that wait, as far as there is room.
    pub(crate) fn drain(&mut self, stats: &mut IoStats) {
        if self.backlog > 0 {
            for lane in &mut self.lanes {
                lane.drain(self.this);
            }
            self.count_backlog(stats);
        }
    }

    /// More waits than is right: another worker does not turn, which its heartbeat tells, too. Commands would
    /// only make it more; those who are there already cannot make much.
    pub(crate) fn is_behind(&self) -> bool {
        self.behind
    }

    /// Completes when a queue has room for a notice that waits; never while none waits.
    pub(crate) async fn room(&self) {
        if self.backlog == 0 {
            std::future::pending::<()>().await;
        }
        let waiting = self.lanes.iter().filter(|lane| !lane.backlog.is_empty());
        // An error means that the worker has ended, which `drain` finds out too.
        let mut rooms: Vec<_> = waiting
            .map(|lane| Box::pin(lane.inlet.notices.reserve()))
            .collect();
        poll_fn(|cx| {
            let any = rooms
                .iter_mut()
                .any(|room| Pin::new(room).poll(cx).is_ready());
            if any { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn send_media(&self, to: u8, media: Media, packets: usize, stats: &mut IoStats) {
        let from = self.this;
        let Some(lane) = self.lanes.get(usize::from(to)) else {
            return;
        };
        let parcel = Parcel {
            from,
            media,
            packets,
        };
        if lane.send(parcel) {
            stats.relay_packets_sent += packets as u64;
        } else {
            stats.relay_packets_dropped += packets as u64;
        }
    }

    fn count_backlog(&mut self, stats: &mut IoStats) {
        self.backlog = self.lanes.iter().map(|lane| lane.backlog.len()).sum();
        stats.relay_backlog = self.backlog as u64;
        let behind = self.backlog > NOTICES_BACKLOG_MAX;
        if behind && !self.behind {
            tracing::error!(
                worker = self.this,
                backlog = self.backlog,
                "another worker does not take what is said to it: no commands are taken until it does"
            );
        }
        self.behind = behind;
    }
}

impl Lane {
    fn drain(&mut self, from: u8) {
        while let Some(notice) = self.backlog.pop_front() {
            match self.inlet.notices.try_send((from, notice)) {
                Ok(()) => {}
                Err(TrySendError::Full((_, notice))) => {
                    self.backlog.push_front(notice);
                    return;
                }
                // The worker has ended, as all do at a stop.
                Err(TrySendError::Closed(_)) => self.backlog.clear(),
            }
        }
    }

    /// Whether there was room. Media does not overtake what was said before it.
    fn send(&self, parcel: Parcel) -> bool {
        if !self.backlog.is_empty() {
            return false;
        }
        let (packets, waiting) = (parcel.packets, &self.inlet.waiting);
        let full =
            waiting.fetch_add(packets, Ordering::Relaxed) + packets > RELAY_PACKETS_WAITING_MAX;
        let sent = !full && self.inlet.media.try_send(parcel).is_ok();
        if !sent {
            waiting.fetch_sub(packets, Ordering::Relaxed);
        }
        // What is for a worker that has ended, as all do at a stop, is missed by nobody.
        !full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: usize) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], u16::try_from(port).unwrap()))
    }

    /// Takes all that there is, as ports.
    fn ports(outlet: &mut Outlet) -> Vec<usize> {
        let mut taken = Taken::default();
        outlet.poll(
            &mut Context::from_waker(std::task::Waker::noop()),
            &mut taken,
        );
        let port = |(from, notice): (u8, Notice)| match notice {
            Notice::Owned(address) if from == 1 => usize::from(address.port()),
            other @ (Notice::Control(_) | Notice::Owned(_)) => panic!("{other:?} from {from}"),
        };
        taken.notices.into_iter().map(port).collect()
    }

    fn packets(outlet: &mut Outlet) -> Vec<usize> {
        let mut taken = Taken::default();
        outlet.poll(
            &mut Context::from_waker(std::task::Waker::noop()),
            &mut taken,
        );
        taken.media.iter().map(|parcel| parcel.packets).collect()
    }

    #[test]
    fn notices_that_find_no_room_wait_and_keep_their_order() {
        let (inlet, mut outlet) = queues();
        let (mut relay, mut stats) = (Relay::new(1, &[inlet]), IoStats::default());
        let all = NOTICES_MAX + 10;
        for port in 0..all {
            relay.notify(0, Notice::Owned(address(port)), &mut stats);
        }
        assert_eq!(stats.relay_backlog, 10);
        let mut got = ports(&mut outlet);
        assert_eq!(got.len(), NOTICES_MAX);
        relay.notify(0, Notice::Owned(address(all)), &mut stats);
        got.extend(ports(&mut outlet));
        assert_eq!(got, Vec::from_iter(0..=all), "what waits goes first");
        assert_eq!(stats.relay_backlog, 0);
    }

    #[test]
    fn a_worker_is_behind_until_its_notices_are_taken() {
        let (inlet, mut outlet) = queues();
        let (mut relay, mut stats) = (Relay::new(1, &[inlet]), IoStats::default());
        for _ in 0..NOTICES_MAX + NOTICES_BACKLOG_MAX {
            relay.notify(0, Notice::Owned(address(1)), &mut stats);
        }
        assert!(!relay.is_behind());
        relay.notify(0, Notice::Owned(address(2)), &mut stats);
        assert!(relay.is_behind());
        let mut taken = 0;
        while relay.backlog > 0 {
            taken += ports(&mut outlet).len();
            relay.drain(&mut stats);
        }
        taken += ports(&mut outlet).len();
        assert_eq!(
            taken,
            NOTICES_MAX + NOTICES_BACKLOG_MAX + 1,
            "nothing is lost"
        );
        assert!(!relay.is_behind());
    }

    #[test]
    fn media_beyond_the_limit_is_dropped_whole_and_counted() {
        let (inlet, mut outlet) = queues();
        let (relay, mut stats) = (Relay::new(1, &[inlet]), IoStats::default());
        let half = RELAY_PACKETS_WAITING_MAX / 2;
        for count in [half, half, 1] {
            relay.send_media(0, Media::default(), count, &mut stats);
        }
        assert_eq!(stats.relay_packets_sent, 2 * half as u64);
        assert_eq!(stats.relay_packets_dropped, 1);
        assert_eq!(packets(&mut outlet), [half, half]);
        relay.send_media(0, Media::default(), 3, &mut stats);
        assert_eq!(packets(&mut outlet), [3], "there is room again");
    }

    #[test]
    fn media_does_not_overtake_a_notice() {
        let (inlet, mut outlet) = queues();
        let (mut relay, mut stats) = (Relay::new(1, &[inlet]), IoStats::default());
        for _ in 0..=NOTICES_MAX {
            relay.notify(0, Notice::Owned(address(1)), &mut stats);
        }
        relay.send_media(0, Media::default(), 5, &mut stats);
        assert_eq!(stats.relay_packets_dropped, 5);
        assert_eq!(packets(&mut outlet), [0; 0]);
        relay.drain(&mut stats);
        relay.send_media(0, Media::default(), 5, &mut stats);
        assert_eq!(packets(&mut outlet), [5]);
    }

    #[tokio::test]
    async fn room_comes_when_the_other_worker_takes_notices() {
        let (inlet, mut outlet) = queues();
        let (mut relay, mut stats) = (Relay::new(1, &[inlet]), IoStats::default());
        for _ in 0..=NOTICES_MAX {
            relay.notify(0, Notice::Owned(address(1)), &mut stats);
        }
        let take = async {
            tokio::task::yield_now().await;
            ports(&mut outlet);
        };
        tokio::join!(relay.room(), take);
        relay.drain(&mut stats);
        assert_eq!(relay.backlog, 0);
    }

    #[test]
    fn what_is_for_a_worker_that_has_ended_is_neither_kept_nor_missed() {
        let (inlet, outlet) = queues();
        let (mut relay, mut stats) = (Relay::new(1, &[inlet]), IoStats::default());
        drop(outlet);
        relay.notify(0, Notice::Owned(address(1)), &mut stats);
        relay.send_media(0, Media::default(), 1, &mut stats);
        assert_eq!(relay.backlog, 0);
        assert_eq!(stats.relay_packets_dropped, 0);
    }
}
