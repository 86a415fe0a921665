//! The first packets of a stream. Receivers ask for none before the first that has come, and would wait for another keyframe: which
//! of them have come is seen here from their reports.

/// Packets until one is reported. More outlast a longer way, and a keyframe of all of them; what is lost beyond takes another
/// keyframe.
const PACKETS_MAX: usize = 64;

/// What a stream has sent until something of it is known to have come.
#[derive(Debug, Default)]
pub(super) struct Unheard {
    /// In the order they left.
    sent: Vec<Sent>,
    /// The receiver asks for what it misses.
    heard: bool,
}

/// A packet's number on the transport, and in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) transport_seq: u16,
    pub(super) seq: u16,
}

impl Unheard {
    pub(super) fn note(&mut self, sent: Sent) {
        if !self.heard && self.sent.len() < PACKETS_MAX {
            self.sent.push(sent);
        }
    }

    /// Packets that got lost before the first that has come, once there is one.
    pub(super) fn on_report(&mut self, has_arrived: impl Fn(u16) -> bool) -> Vec<Sent> {
        let mut sent = self.sent.iter();
        let Some(first) = sent.position(|sent| has_arrived(sent.transport_seq)) else {
            return Vec::new();
        };
        self.heard = true;
        let mut lost = std::mem::take(&mut self.sent);
        lost.truncate(first);
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(number: u16) -> Sent {
        Sent {
            transport_seq: number,
            seq: number,
        }
    }

    #[test]
    fn what_was_before_the_first_that_came_is_told_once() {
        let mut unheard = Unheard::default();
        (0..4).for_each(|number| unheard.note(sent(number)));
        assert_eq!(unheard.on_report(|_| false), []);
        unheard.note(sent(4));
        assert_eq!(unheard.on_report(|number| number >= 2), [sent(0), sent(1)]);
        unheard.note(sent(5));
        assert_eq!(unheard.on_report(|_| true), []);
    }

    #[test]
    fn no_more_is_remembered_than_the_limit() {
        let mut unheard = Unheard::default();
        (0..1_000).for_each(|number| unheard.note(sent(number)));
        assert_eq!(unheard.sent.len(), PACKETS_MAX);
    }
}
