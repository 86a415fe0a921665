//! What a probe sends copies of. Where it got lost, the copy is the picture's repair.

use std::collections::VecDeque;

use super::Outgoing;

/// More packets are a longer picture than one that a probe can help.
const PACKETS_MAX: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Copied {
    /// Small first pictures, which nobody asks for where all of one got lost; the next one last.
    first: VecDeque<Outgoing>,
    /// Where there are none, the end of the newest frame, which is missed latest.
    newest: Option<Outgoing>,
}

impl Copied {
    /// Notes a packet that has left.
    pub(super) fn note(&mut self, outgoing: &Outgoing) {
        if outgoing.opening && !outgoing.large {
            if self.first.len() == PACKETS_MAX {
                self.first.pop_front();
            }
            self.first.push_back(outgoing.clone());
        } else if outgoing.rewritten.marker {
            self.first.clear();
            self.newest = Some(outgoing.clone());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.newest.is_none()
    }

    /// Each of them in turn, the newest first: whoever gets the end of a picture asks for what is before it.
    pub(super) fn next(&mut self) -> Option<Outgoing> {
        let Some(next) = self.first.pop_back() else {
            return self.newest.clone();
        };
        self.first.push_front(next.clone());
        Some(next)
    }
}
