//! The way of a shard's events to the control plane.

use std::collections::VecDeque;

use madang_core::Event;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::limits::BACKLOG_FOR_DATA_MAX;
use crate::stats::IoStats;

/// Sends events, and keeps what must not be lost while the queue is full.
///
/// The worker takes no commands while anything waits here, so that only peers that are there
/// already add to it, and those messages of theirs that they could send without end are limited.
#[derive(Debug)]
pub(crate) struct EventQueue {
    sender: mpsc::Sender<Event>,
    backlog: VecDeque<Event>,
}

impl EventQueue {
    pub(crate) fn new(sender: mpsc::Sender<Event>) -> Self {
        Self {
            sender,
            backlog: VecDeque::new(),
        }
    }

    pub(crate) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Completes when the queue has room for what waits; never while nothing waits.
    pub(crate) async fn room(&self) {
        if self.backlog.is_empty() {
            std::future::pending::<()>().await;
        }
        // An error means that nobody listens any more, which `drain` finds out too.
        let _ = self.sender.reserve().await;
    }

    /// Sends what waits, as far as there is room.
    pub(crate) fn drain(&mut self, stats: &mut IoStats) {
        while let Some(event) = self.backlog.pop_front() {
            match self.sender.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    self.backlog.push_front(event);
                    break;
                }
                Err(TrySendError::Closed(_)) => self.backlog.clear(),
            }
        }
        stats.event_backlog = self.backlog.len() as u64;
    }

    /// Sends an event after all earlier ones.
    pub(crate) fn push(&mut self, event: Event, stats: &mut IoStats) {
        self.drain(stats);
        if self.has_backlog() {
            self.keep(event, stats);
        } else if let Err(TrySendError::Full(event)) = self.sender.try_send(event) {
            self.keep(event, stats);
        }
    }

    fn keep(&mut self, event: Event, stats: &mut IoStats) {
        let droppable = match event {
            // The next one says it all again.
            Event::Speakers { .. } | Event::Quality { .. } => true,
            Event::Data { .. } => self.backlog.len() >= BACKLOG_FOR_DATA_MAX,
            Event::Answered { .. }
            | Event::Connected { .. }
            | Event::Disconnected { .. }
            | Event::Closed { .. }
            | Event::Slots { .. }
            | Event::Layers { .. }
            | Event::Available { .. }
            | Event::Format { .. }
            | Event::Troubles { .. }
            | Event::NeedSlots { .. }
            | Event::Explained { .. } => false,
        };
        if droppable {
            stats.events_dropped += 1;
        } else {
            self.backlog.push_back(event);
            stats.event_backlog = self.backlog.len() as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use madang_core::{PeerId, RoomId};

    use super::*;

    fn connected(peer: u64) -> Event {
        Event::Connected { peer: PeerId(peer) }
    }

    fn speakers() -> Event {
        Event::Speakers {
            worker: 0,
            room: RoomId(1),
            speakers: Vec::new(),
        }
    }

    fn data() -> Event {
        Event::Data {
            peer: PeerId(1),
            payload: Default::default(),
        }
    }

    fn peers(receiver: &mut mpsc::Receiver<Event>) -> Vec<u64> {
        std::iter::from_fn(|| receiver.try_recv().ok())
            .map(|event| {
                if let Event::Connected { peer } = event {
                    peer.0
                } else {
                    0
                }
            })
            .collect()
    }

    #[test]
    fn a_full_queue_keeps_topology_in_order_and_drops_speakers() {
        let (sender, mut receiver) = mpsc::channel(2);
        let (mut queue, mut stats) = (EventQueue::new(sender), IoStats::default());
        for peer in 1..=4 {
            queue.push(connected(peer), &mut stats);
            queue.push(speakers(), &mut stats);
        }
        assert_eq!((stats.event_backlog, stats.events_dropped), (3, 3));
        assert_eq!(peers(&mut receiver), [1, 0]);
        queue.push(connected(5), &mut stats);
        assert_eq!(peers(&mut receiver), [2, 3], "what waits goes first");
        queue.drain(&mut stats);
        assert_eq!(peers(&mut receiver), [4, 5]);
        assert!(!queue.has_backlog());
        assert_eq!(stats.event_backlog, 0);
    }

    #[test]
    fn messages_of_peers_cannot_fill_the_memory() {
        let (sender, _receiver) = mpsc::channel(1);
        let (mut queue, mut stats) = (EventQueue::new(sender), IoStats::default());
        for _ in 0..2 * BACKLOG_FOR_DATA_MAX {
            queue.push(data(), &mut stats);
        }
        queue.push(connected(1), &mut stats);
        assert_eq!(stats.event_backlog, BACKLOG_FOR_DATA_MAX as u64 + 1);
        assert_eq!(stats.events_dropped, BACKLOG_FOR_DATA_MAX as u64 - 1);
    }

    #[test]
    fn nothing_is_kept_for_nobody() {
        let (sender, receiver) = mpsc::channel(1);
        let (mut queue, mut stats) = (EventQueue::new(sender), IoStats::default());
        queue.push(connected(1), &mut stats);
        queue.push(connected(2), &mut stats);
        drop(receiver);
        queue.push(connected(3), &mut stats);
        assert!(!queue.has_backlog());
    }

    #[tokio::test]
    async fn room_comes_when_the_control_plane_takes_an_event() {
        let (sender, mut receiver) = mpsc::channel(1);
        let (mut queue, mut stats) = (EventQueue::new(sender), IoStats::default());
        queue.push(connected(1), &mut stats);
        queue.push(connected(2), &mut stats);
        let take = async {
            receiver.recv().await.unwrap();
        };
        tokio::join!(queue.room(), take);
        queue.drain(&mut stats);
        assert!(!queue.has_backlog());
    }
}
