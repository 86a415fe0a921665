//! Datagrams on their way from the worker that received them to the worker that owns them.

use std::net::SocketAddr;
use std::ops::Range;

use madang_core::Datagram;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::limits::{HANDOVER_BATCH_BYTES, HANDOVER_BATCHES_MAX, HANDOVER_BATCHES_PER_TURN};
use crate::stats::IoStats;

/// Datagrams that one turn has brought for one other worker, in one buffer.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The worker that has received them.
    pub(crate) from: u8,
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    source: SocketAddr,
    destination: SocketAddr,
    range: Range<usize>,
}

impl Batch {
    pub(crate) fn iter(&self) -> impl Iterator<Item = Datagram<'_>> {
        self.entries.iter().map(|entry| Datagram {
            source: entry.source,
            destination: entry.destination,
            contents: self.bytes.get(entry.range.clone()).unwrap_or_default(),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What it takes in memory, so that a flood of empty datagrams counts too.
    fn size(&self) -> usize {
        self.bytes.len() + self.entries.len() * size_of::<Entry>()
    }

    fn push(&mut self, datagram: &Datagram<'_>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(datagram.contents);
        let range = start..self.bytes.len();
        self.entries.push(Entry {
            source: datagram.source,
            destination: datagram.destination,
            range,
        });
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }
}

/// One worker's ways to all workers; the way to itself stays empty.
#[derive(Debug)]
pub(crate) struct Handover {
    this: u8,
    lanes: Vec<Lane>,
    /// Batches that came in: their memory carries what goes out.
    spare: Vec<Batch>,
}

#[derive(Debug)]
struct Lane {
    sender: mpsc::Sender<Batch>,
    pending: Batch,
}

/// Where batches for a worker go in.
pub(crate) type Inlet = mpsc::Sender<Batch>;
/// Where a worker takes its batches.
pub(crate) type Outlet = mpsc::Receiver<Batch>;

/// The queue of one worker.
pub(crate) fn queue() -> (Inlet, Outlet) {
    mpsc::channel(HANDOVER_BATCHES_MAX)
}

impl Handover {
    /// The ways of worker `this`. `inlets` are those of all workers, by number.
    pub(crate) fn new(this: u8, inlets: &[Inlet]) -> Self {
        let lanes = inlets.iter().map(|sender| Lane {
            sender: sender.clone(),
            pending: Batch::default(),
        });
        Self {
            this,
            lanes: lanes.collect(),
            spare: Vec::new(),
        }
    }

    /// Adds a datagram to what the worker gets with the next [`Handover::flush`].
    pub(crate) fn push(&mut self, worker: u8, datagram: &Datagram<'_>, stats: &mut IoStats) {
        if let Some(lane) = self.lanes.get_mut(usize::from(worker)) {
            lane.push(self.this, datagram, &mut self.spare, stats);
        }
    }

    /// Adds a datagram to what all other workers get.
    pub(crate) fn push_to_others(&mut self, datagram: &Datagram<'_>, stats: &mut IoStats) {
        for (worker, lane) in self.lanes.iter_mut().enumerate() {
            if worker != usize::from(self.this) {
                lane.push(self.this, datagram, &mut self.spare, stats);
            }
        }
    }

    /// Sends what has been pushed.
    pub(crate) fn flush(&mut self, stats: &mut IoStats) {
        for lane in &mut self.lanes {
            lane.flush(self.this, &mut self.spare, stats);
        }
    }

    /// Takes the memory of a batch that has been worked off.
    pub(crate) fn recycle(&mut self, mut batch: Batch) {
        if self.spare.len() < HANDOVER_BATCHES_PER_TURN {
            batch.clear();
            self.spare.push(batch);
        }
    }
}

impl Lane {
    fn push(
        &mut self,
        from: u8,
        datagram: &Datagram<'_>,
        spare: &mut Vec<Batch>,
        stats: &mut IoStats,
    ) {
        self.pending.push(datagram);
        if self.pending.size() >= HANDOVER_BATCH_BYTES {
            self.flush(from, spare, stats);
        }
    }

    /// A worker that does not keep up loses datagrams, as it would with a full socket buffer.
    fn flush(&mut self, from: u8, spare: &mut Vec<Batch>, stats: &mut IoStats) {
        let count = self.pending.len() as u64;
        if count == 0 {
            return;
        }
        self.pending.from = from;
        match self.sender.try_reserve() {
            Ok(permit) => {
                permit.send(std::mem::replace(
                    &mut self.pending,
                    spare.pop().unwrap_or_default(),
                ));
                stats.datagrams_handed_over += count;
            }
            Err(TrySendError::Full(())) => {
                self.pending.clear();
                stats.datagrams_dropped_handover += count;
            }
            // The worker has ended, as all do at a stop: nobody is there to miss them.
            Err(TrySendError::Closed(())) => self.pending.clear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(contents: &[u8]) -> Datagram<'_> {
        let source = SocketAddr::from(([192, 0, 2, 1], 7_000));
        Datagram {
            source,
            destination: SocketAddr::from(([192, 0, 2, 2], 8_080)),
            contents,
        }
    }

    fn contents(batch: &Batch) -> Vec<Vec<u8>> {
        batch
            .iter()
            .map(|datagram| datagram.contents.to_vec())
            .collect()
    }

    #[test]
    fn a_turns_datagrams_arrive_in_one_batch_in_order() {
        let ((inlet_0, mut outlet_0), (inlet_1, mut outlet_1)) = (queue(), queue());
        let mut handover = Handover::new(0, &[inlet_0, inlet_1]);
        let mut stats = IoStats::default();
        for one in [b"one".as_slice(), b"", b"three"] {
            handover.push(1, &datagram(one), &mut stats);
        }
        assert!(
            outlet_1.try_recv().is_err(),
            "nothing leaves before the flush"
        );
        handover.flush(&mut stats);
        let batch = outlet_1.try_recv().unwrap();
        assert_eq!(contents(&batch), [b"one".as_slice(), b"", b"three"]);
        assert_eq!(batch.iter().next().unwrap().source, datagram(b"").source);
        assert_eq!(batch.from, 0);
        assert_eq!(stats.datagrams_handed_over, 3);
        assert!(outlet_0.try_recv().is_err());
    }

    #[test]
    fn an_offer_reaches_all_others() {
        let queues: Vec<_> = (0..3).map(|_| queue()).collect();
        let (inlets, mut outlets): (Vec<_>, Vec<_>) = queues.into_iter().unzip();
        let mut handover = Handover::new(1, &inlets);
        let mut stats = IoStats::default();
        handover.push_to_others(&datagram(b"response"), &mut stats);
        handover.flush(&mut stats);
        let got: Vec<bool> = outlets
            .iter_mut()
            .map(|outlet| outlet.try_recv().is_ok())
            .collect();
        assert_eq!(got, [true, false, true]);
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (inlet, mut outlet) = queue();
        let mut handover = Handover::new(0, &[inlet]);
        let mut stats = IoStats::default();
        for _ in 0..HANDOVER_BATCHES_MAX + 2 {
            handover.push(0, &datagram(b"media"), &mut stats);
            handover.flush(&mut stats);
        }
        assert_eq!(stats.datagrams_handed_over, HANDOVER_BATCHES_MAX as u64);
        assert_eq!(stats.datagrams_dropped_handover, 2);
        let oldest = outlet.try_recv().unwrap();
        assert_eq!(
            contents(&oldest),
            [b"media"],
            "a drop leaves what waits alone"
        );
        handover.recycle(oldest);
        handover.push(0, &datagram(b"later"), &mut stats);
        handover.flush(&mut stats);
        let last = std::iter::from_fn(|| outlet.try_recv().ok())
            .last()
            .unwrap();
        assert_eq!(
            contents(&last),
            [b"later"],
            "what was dropped does not come back"
        );
    }

    #[test]
    fn what_is_for_a_worker_that_has_ended_is_not_missed() {
        let (inlet, outlet) = queue();
        let mut handover = Handover::new(0, &[inlet]);
        let mut stats = IoStats::default();
        drop(outlet);
        handover.push(0, &datagram(b"late"), &mut stats);
        handover.flush(&mut stats);
        assert_eq!(stats.datagrams_dropped_handover, 0);
    }

    #[test]
    fn a_long_batch_leaves_early() {
        let (inlet, mut outlet) = queue();
        let mut handover = Handover::new(0, &[inlet]);
        let mut stats = IoStats::default();
        let long = vec![0; HANDOVER_BATCH_BYTES / 2];
        handover.push(0, &datagram(&long), &mut stats);
        assert!(outlet.try_recv().is_err());
        handover.push(0, &datagram(&long), &mut stats);
        assert_eq!(outlet.try_recv().unwrap().len(), 2);
    }
}
