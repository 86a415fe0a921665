//! What a probe sends copies of. Where it got lost, the copy is the picture's repair.

use std::collections::VecDeque;

use super::Outgoing;

/// More packets are a longer picture than one that a probe can help.
const PACKETS_MAX: usize = 8;

/// Small first pictures, which nobody asks for where all of one got lost, or else the end of the newest frame, which is
/// missed latest.
#[derive(Debug, Default)]
pub(super) struct Copied {
    /// The next one last.
    packets: VecDeque<Outgoing>,
}

impl Copied {
    /// Notes a packet that has left.
    pub(super) fn note(&mut self, outgoing: &Outgoing) {
        if outgoing.opening && !outgoing.large {
            if self.packets.len() == PACKETS_MAX {
                self.packets.pop_front();
            }
        } else if outgoing.rewritten.marker {
            self.packets.clear();
        } else {
            return;
        }
        self.packets.push_back(outgoing.clone());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Each of them in turn, the newest first: whoever gets the end of a picture asks for what is before it.
    pub(super) fn next(&mut self) -> Option<Outgoing> {
        let next = self.packets.pop_back()?;
        self.packets.push_front(next.clone());
        Some(next)
    }
}
