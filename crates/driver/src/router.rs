//! Which worker a datagram belongs to.
//!
//! The kernel spreads datagrams over the workers' sockets by a hash of their addresses, which knows
//! nothing of peers. A STUN request names its worker in the username fragment; everything else of
//! that remote address goes to the worker that was the last to answer one of its requests. What a
//! request says is not enough: anybody can write one, with anybody's address on it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use madang_core::demux::{self, Ufrag, classify};

use crate::limits::{OFFERS_PER_SECOND, OWNERS_MAX};

/// Where a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// To this worker's shard, which drops what it does not know.
    Here,
    /// To another worker.
    Worker(u8),
    /// To all workers: a STUN response from an address that has not sent requests.
    Everyone,
    Drop(Dropped),
}

/// Why a datagram goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// Nothing that a WebRTC client sends.
    Unclassified,
    /// A username fragment of another node, an earlier process or a worker that does not exist.
    Stale,
    /// One more response from an unknown address than is offered per second.
    Response,
}

/// One worker's view of who owns which remote address.
#[derive(Debug)]
pub(crate) struct Router {
    worker: u8,
    workers: usize,
    node: u16,
    epoch: u16,
    owners: Owners,
    offers: Offers,
}

impl Router {
    pub(crate) fn new(worker: u8, workers: usize, node: u16, epoch: u16) -> Self {
        Self {
            worker,
            workers,
            node,
            epoch,
            owners: Owners::new(OWNERS_MAX),
            offers: Offers::default(),
        }
    }

    /// Routes a datagram that the kernel gave to this worker.
    pub(crate) fn route(&mut self, now: Instant, source: SocketAddr, datagram: &[u8]) -> Route {
        match classify(datagram) {
            demux::Datagram::StunRequest(ufrag) if self.is_ours(ufrag) => self.to(ufrag.worker),
            demux::Datagram::StunRequest(_) => Route::Drop(Dropped::Stale),
            demux::Datagram::Stun => match self.owners.get(source) {
                Some(worker) => self.to(worker),
                None if self.workers == 1 || !is_stun_response(datagram) => Route::Here,
                None if self.offers.take(now) => Route::Everyone,
                None => Route::Drop(Dropped::Response),
            },
            demux::Datagram::Media => self
                .owners
                .get(source)
                .map_or(Route::Here, |worker| self.to(worker)),
            demux::Datagram::Unknown => Route::Drop(Dropped::Unclassified),
        }
    }

    /// A worker has found that a peer of its own is at this address.
    pub(crate) fn learn(&mut self, address: SocketAddr, owner: u8) {
        self.owners.insert(address, owner);
    }

    fn is_ours(&self, ufrag: Ufrag) -> bool {
        ufrag.node == self.node
            && ufrag.epoch == self.epoch
            && usize::from(ufrag.worker) < self.workers
    }

    fn to(&self, worker: u8) -> Route {
        if worker == self.worker {
            Route::Here
        } else {
            Route::Worker(worker)
        }
    }
}

/// RFC 8489 section 5: of the two class bits, the higher one is set in responses only.
fn is_stun_response(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|byte| byte & 1 == 1)
}

/// Remembers the workers of remote addresses, and forgets the least recently used.
///
/// Two generations do for a list in order of use: what is used moves to the young one, and when
/// that has half of the limit, the old one is forgotten. So an address survives while it is used
/// more often than half of the limit of others appears: addresses that somebody makes up push
/// each other out, not a peer whose media flows.
#[derive(Debug)]
struct Owners {
    generation_max: usize,
    young: HashMap<SocketAddr, u8>,
    old: HashMap<SocketAddr, u8>,
}

impl Owners {
    fn new(limit: usize) -> Self {
        Self {
            generation_max: limit / 2,
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }

    fn insert(&mut self, address: SocketAddr, worker: u8) {
        if self.young.len() >= self.generation_max && !self.young.contains_key(&address) {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(address, worker);
    }

    fn get(&mut self, address: SocketAddr) -> Option<u8> {
        if let Some(worker) = self.young.get(&address) {
            return Some(*worker);
        }
        let worker = self.old.remove(&address)?;
        self.insert(address, worker);
        Some(worker)
    }
}

/// Counts the responses that are offered to everyone within a second.
#[derive(Debug, Default)]
struct Offers {
    second: Option<Instant>,
    taken: u32,
}

impl Offers {
    fn take(&mut self, now: Instant) -> bool {
        let over = self
            .second
            .is_none_or(|start| now.saturating_duration_since(start) >= Duration::from_secs(1));
        if over {
            *self = Self {
                second: Some(now),
                taken: 0,
            };
        }
        self.taken += 1;
        self.taken <= OFFERS_PER_SECOND
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const NODE: u16 = 3;
    const EPOCH: u16 = 77;

    /// A binding request as far as routing reads it: header and USERNAME.
    pub(crate) fn stun_request(ufrag: Ufrag) -> Vec<u8> {
        let username = format!("{}:peer", ufrag.encode());
        let mut datagram = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        datagram.extend_from_slice(&[9; 12]);
        datagram.extend_from_slice(&[0, 6, 0, u8::try_from(username.len()).unwrap()]);
        datagram.extend_from_slice(username.as_bytes());
        datagram.resize(datagram.len().next_multiple_of(4), 0);
        datagram
    }

    pub(crate) fn stun_response() -> Vec<u8> {
        let mut datagram = vec![1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        datagram.extend_from_slice(&[9; 12]);
        datagram
    }

    fn router() -> Router {
        Router::new(0, 4, NODE, EPOCH)
    }

    fn request(worker: u8) -> Vec<u8> {
        stun_request(Ufrag {
            node: NODE,
            epoch: EPOCH,
            worker,
            number: 5,
        })
    }

    fn address(number: usize) -> SocketAddr {
        let [.., high, low, port_high, port_low] = number.to_be_bytes();
        SocketAddr::from((
            [10, 0, high, low],
            u16::from_be_bytes([port_high, port_low]),
        ))
    }

    const RTP: &[u8] = &[0x80, 96, 0, 1];

    #[test]
    fn a_request_goes_to_the_worker_it_names_and_the_rest_follows_when_that_has_answered() {
        let (mut router, now) = (router(), Instant::now());
        assert_eq!(router.route(now, address(1), RTP), Route::Here);
        assert_eq!(router.route(now, address(1), &request(2)), Route::Worker(2));
        assert_eq!(
            router.route(now, address(1), RTP),
            Route::Here,
            "anybody can write a request"
        );
        router.learn(address(1), 2);
        assert_eq!(router.route(now, address(1), RTP), Route::Worker(2));
        assert_eq!(
            router.route(now, address(1), &[22, 254, 253]),
            Route::Worker(2)
        );
        assert_eq!(
            router.route(now, address(1), &stun_response()),
            Route::Worker(2)
        );
        assert_eq!(router.route(now, address(2), RTP), Route::Here);
    }

    #[test]
    fn the_last_owner_of_an_address_counts() {
        let (mut router, now) = (router(), Instant::now());
        router.learn(address(1), 2);
        router.route(now, address(1), &request(0));
        assert_eq!(router.route(now, address(1), RTP), Route::Worker(2));
        router.learn(address(1), 0);
        assert_eq!(router.route(now, address(1), RTP), Route::Here);
        assert_eq!(router.route(now, address(1), &stun_response()), Route::Here);
    }

    #[test]
    fn fragments_of_other_nodes_processes_and_workers_are_dropped() {
        let (mut router, now) = (router(), Instant::now());
        for (node, epoch, worker) in [(NODE + 1, EPOCH, 1), (NODE, EPOCH + 1, 1), (NODE, EPOCH, 4)]
        {
            let datagram = stun_request(Ufrag {
                node,
                epoch,
                worker,
                number: 5,
            });
            assert_eq!(
                router.route(now, address(1), &datagram),
                Route::Drop(Dropped::Stale)
            );
        }
        assert_eq!(router.route(now, address(1), RTP), Route::Here);
        assert_eq!(
            router.route(now, address(1), b"\x47GET"),
            Route::Drop(Dropped::Unclassified)
        );
        assert_eq!(
            router.route(now, address(1), &[]),
            Route::Drop(Dropped::Unclassified)
        );
    }

    #[test]
    fn a_response_from_nowhere_is_offered_to_everyone_a_bounded_number_of_times() {
        let (mut router, now) = (router(), Instant::now());
        for _ in 0..OFFERS_PER_SECOND {
            assert_eq!(
                router.route(now, address(1), &stun_response()),
                Route::Everyone
            );
        }
        assert_eq!(
            router.route(now, address(1), &stun_response()),
            Route::Drop(Dropped::Response)
        );
        let later = now + Duration::from_secs(1);
        assert_eq!(
            router.route(later, address(1), &stun_response()),
            Route::Everyone
        );
    }

    #[test]
    fn only_responses_are_offered_and_only_where_there_is_anyone() {
        let (mut router, now) = (router(), Instant::now());
        let mut without_username = stun_response();
        without_username[0] = 0;
        assert_eq!(
            router.route(now, address(1), &without_username),
            Route::Here
        );
        let mut alone = Router::new(0, 1, NODE, EPOCH);
        assert_eq!(alone.route(now, address(1), &stun_response()), Route::Here);
    }

    #[test]
    fn a_flood_of_addresses_is_forgotten_but_an_address_in_use_is_not() {
        let (mut router, now) = (router(), Instant::now());
        let (peer, silent) = (address(0), address(1));
        router.learn(peer, 3);
        router.learn(silent, 3);
        for number in 2..2 * OWNERS_MAX {
            router.learn(address(number), 1);
            if number % 1_000 == 0 {
                assert_eq!(
                    router.route(now, peer, RTP),
                    Route::Worker(3),
                    "after {number} others"
                );
            }
            assert!(router.owners.young.len() + router.owners.old.len() <= OWNERS_MAX);
        }
        assert_eq!(router.route(now, silent, RTP), Route::Here);
    }
}
