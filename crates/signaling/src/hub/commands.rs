//! Commands on their way to the workers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use madang_core::{Command, PeerId};

use super::state::State;
use crate::limits::DATA_WAITING_MAX;

/// Workers that have got commands.
pub(super) type Workers = BTreeSet<usize>;

/// The lines before the workers' queues.
#[derive(Debug)]
pub(super) struct Lines(Vec<VecDeque<Command>>);

impl Lines {
    pub(super) fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| VecDeque::new()).collect())
    }

    /// Puts a command in the line for a worker.
    pub(super) fn push(&mut self, worker: usize, command: Command) {
        let Some(line) = self.0.get_mut(worker) else {
            return;
        };
        if matches!(command, Command::Data { .. }) && line.len() >= DATA_WAITING_MAX {
            metrics::counter!("madang_data_dropped_total").increment(1);
            return;
        }
        line.push_back(command);
    }

    pub(super) fn has_any(&self, worker: usize) -> bool {
        self.0.get(worker).is_some_and(|line| !line.is_empty())
    }

    pub(super) fn next(&mut self, worker: usize) -> Option<Command> {
        self.0.get_mut(worker)?.pop_front()
    }

    pub(super) fn discard(&mut self, worker: usize) {
        if let Some(line) = self.0.get_mut(worker) {
            line.clear();
        }
    }
}

impl State {
    /// Puts a command in the line for the worker of the peer that it names; a message for several peers in those of all
    /// their workers. Commands for peers that are gone go nowhere.
    pub(super) fn command(&mut self, command: Command, given: &mut Workers) {
        if let Command::Data { peers, payload } = command {
            let mut parts = BTreeMap::<usize, Vec<PeerId>>::new();
            for peer in peers {
                if let Some(worker) = self.worker_of(peer) {
                    parts.entry(worker).or_default().push(peer);
                }
            }
            for (worker, peers) in parts {
                let payload = payload.clone();
                self.lines.push(worker, Command::Data { peers, payload });
                given.insert(worker);
            }
        } else if let Some(worker) = peer_of(&command).and_then(|peer| self.worker_of(peer)) {
            self.lines.push(worker, command);
            given.insert(worker);
        }
    }

    fn worker_of(&self, peer: PeerId) -> Option<usize> {
        let session = self.sessions.get(&peer).map(|session| session.worker);
        session.or_else(|| self.joining.get(&peer).map(|joining| joining.worker))
    }
}

/// The one peer that a command is about.
fn peer_of(command: &Command) -> Option<PeerId> {
    match command {
        Command::Join(join) => Some(join.peer),
        Command::Invite { peer, .. }
        | Command::Accept { peer, .. }
        | Command::Offer { peer, .. }
        | Command::Candidate { peer, .. }
        | Command::Publish { peer, .. }
        | Command::Unpublish { peer, .. }
        | Command::Mute { peer, .. }
        | Command::View { peer, .. }
        | Command::Explain { peer, .. }
        | Command::Choose { peer, .. }
        | Command::Leave { peer } => Some(*peer),
        Command::Data { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_worker_loses_data_and_no_commands() {
        let mut lines = Lines::new(1);
        let data = || Command::Data {
            peers: vec![],
            payload: [][..].into(),
        };
        for _ in 0..DATA_WAITING_MAX + 1 {
            lines.push(0, data());
        }
        lines.push(0, Command::Leave { peer: PeerId(1) });
        let waiting: Vec<_> = std::iter::from_fn(|| lines.next(0)).collect();
        assert_eq!(waiting.len(), DATA_WAITING_MAX + 1);
        assert!(matches!(waiting.last(), Some(Command::Leave { .. })));
    }
}
