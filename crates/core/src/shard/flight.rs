//! The last flight of a DTLS handshake. Nothing answers it, so that the engine sends it again only when the client has repeated its
//! own, and until then the client can read nothing of what comes: it leaves several times. Records that come twice are dropped
//! (RFC 6347 section 4.1.2.6).

use std::time::{Duration, Instant};

use super::Shard;
use crate::outbox::Position;
use crate::publish::PeerKey;
use crate::timers::Timer;

/// How often it leaves beside the first time. Some 150 bytes each time, once for each connection: with 15 % of packets lost all of them
/// get lost once in 2,000 times.
const REPEATS: u8 = 3;
/// What gets lost often gets lost with what leaves in the same few milliseconds. Longer is beyond the first picture.
const APART: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(crate) struct LastFlight {
    datagrams: Vec<Box<[u8]>>,
    left: u8,
    due: Instant,
}

impl Shard {
    /// Keeps what a handshake has ended with: the DTLS behind `from`. Where the client has said the last word, there is none.
    pub(super) fn keep_last_flight(&mut self, now: Instant, key: PeerKey, from: Position) {
        let datagrams: Vec<_> = self.outbox.dtls(from).map(Box::from).collect();
        if let Some(peer) = self.peers.get_mut(key)
            && !datagrams.is_empty()
        {
            let due = now + APART;
            peer.last_flight = Some(LastFlight {
                datagrams,
                left: REPEATS,
                due,
            });
            self.timers.schedule(due, Timer::Flight(key));
        }
    }

    pub(super) fn repeat_last_flight(&mut self, now: Instant, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        let due = |flight: &&mut LastFlight| flight.due <= now;
        let (Some(flight), Some(route)) =
            (peer.last_flight.as_mut().filter(due), peer.lane.route())
        else {
            return;
        };
        for datagram in &flight.datagrams {
            self.outbox.push(route.source, route.destination, datagram);
        }
        flight.left -= 1;
        flight.due = now + APART;
        if flight.left > 0 {
            self.timers.schedule(flight.due, Timer::Flight(key));
        } else {
            peer.last_flight = None;
        }
    }
}
