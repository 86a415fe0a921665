//! Which worker gets whom: the one place that decides it.
//!
//! - A small room stays on one worker. Each packet then crosses no thread, and all who get it are
//!   served in one turn: relaying to another worker costs a wake-up there.
//! - Unless that worker is full, and another one is not: people who cannot be served well cost more than
//!   a relay does.
//! - A large room goes to where there is room. Its people are worth more than the copy for each worker, and a worker
//!   that has people of it already is preferred only while it has about as much room as any.
//! - A new room goes to where there is most room.
//!
//! Nobody is moved later: it would interrupt their media.

use std::collections::{BTreeMap, HashMap};

use madang_core::RoomId;

/// Participants up to which a room stays on one worker. Higher makes the busiest worker of an evenly loaded node
/// busier, lower relays calls that a tenth of a core could serve.
const TOGETHER_MAX: usize = 8;

/// A worker that is busy for this share of its time is full. Higher lets media wait longer in
/// bursts, lower splits small rooms that could have stayed together.
const FULL: f64 = 0.8;

/// Loads that differ by less count as equal: where a large room has people already, and where one of several has the fewest. Higher
/// makes fewer copies of what a middling room publishes, lower spreads it more evenly while loads are measured exactly.
const EVEN: f64 = 0.01;

/// What somebody who has come lately counts, as a share of a worker's time: it takes some seconds until their media
/// shows in what is measured. It is what ten people in a call cost each; too high would
/// only let joins of the same seconds weigh more than older ones.
const NEWCOMER: f64 = 0.002;

/// Measurements until somebody is not new any more.
const NEWCOMER_ROUNDS: usize = 5;

/// What everybody counts beside what is measured: who is silent may speak any time. Bounded, as thousands who
/// are silent for long are a use of its own.
const RESERVE: f64 = 0.0005;
const RESERVE_MAX: f64 = 0.2;

/// Who is on which worker, and how busy the workers are.
#[derive(Debug)]
pub(super) struct Placement {
    workers: Vec<Load>,
    /// On which workers each room has people, and how many. Those who are joining count.
    rooms: HashMap<RoomId, BTreeMap<usize, usize>>,
}

#[derive(Debug, Default)]
struct Load {
    /// As measured, 0 to 1.
    busy: f64,
    peers: usize,
    /// Who was placed since the newest measurement, before it, and so on.
    newcomers: [usize; NEWCOMER_ROUNDS],
}

impl Placement {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers).map(|_| Load::default()).collect(),
            rooms: HashMap::new(),
        }
    }

    /// Takes the share of time that each worker was busy lately, by its number.
    pub(super) fn measured(&mut self, busy: impl IntoIterator<Item = f64>) {
        for (load, busy) in self.workers.iter_mut().zip(busy) {
            load.busy = busy;
            load.newcomers.rotate_right(1);
            if let Some(newest) = load.newcomers.first_mut() {
                *newest = 0;
            }
        }
    }

    /// Chooses a worker for one more participant of the room, and counts them there; `None` where there is no worker.
    pub(super) fn place(&mut self, room: RoomId) -> Option<usize> {
        let worker = self.choose(room)?;
        let load = self.workers.get_mut(worker)?;
        load.peers += 1;
        if let Some(newest) = load.newcomers.first_mut() {
            *newest += 1;
        }
        *self
            .rooms
            .entry(room)
            .or_default()
            .entry(worker)
            .or_default() += 1;
        Some(worker)
    }

    /// A participant who was placed there is gone.
    pub(super) fn gone(&mut self, room: RoomId, worker: usize) {
        if let Some(load) = self.workers.get_mut(worker) {
            load.peers = load.peers.saturating_sub(1);
        }
        let Some(places) = self.rooms.get_mut(&room) else {
            return;
        };
        if let Some(people) = places.get_mut(&worker) {
            *people -= 1;
            if *people == 0 {
                places.remove(&worker);
            }
        }
        if places.is_empty() {
            self.rooms.remove(&room);
        }
    }

    fn choose(&self, room: RoomId) -> Option<usize> {
        let (least, least_load) = least_loaded(self.workers.iter().enumerate())?;
        let Some(places) = self.rooms.get(&room) else {
            return Some(least);
        };
        let there = places
            .keys()
            .filter_map(|worker| Some((*worker, self.workers.get(*worker)?)));
        let (home, home_load) = least_loaded(there)?;
        let is_small = places.values().sum::<usize>() < TOGETHER_MAX;
        let is_even = home_load.estimate() - least_load.estimate() <= EVEN;
        let stays = is_even || (is_small && home_load.busy < FULL);
        Some(if stays { home } else { least })
    }
}

impl Load {
    /// The share of time that the worker will be busy when everybody's media has come.
    fn estimate(&self) -> f64 {
        let newcomers = self.newcomers.iter().sum();
        self.busy + NEWCOMER * count(newcomers) + (RESERVE * count(self.peers)).min(RESERVE_MAX)
    }
}

/// Of those with the lowest load, the first with the fewest people: what is measured trembles, and those who cost nothing yet may all
/// speak later.
fn least_loaded<'a>(
    workers: impl Iterator<Item = (usize, &'a Load)> + Clone,
) -> Option<(usize, &'a Load)> {
    let estimates = workers.clone().map(|(_, load)| load.estimate());
    let least = estimates.min_by(f64::total_cmp)?;
    workers
        .filter(|(_, load)| load.estimate() - least <= EVEN)
        .min_by_key(|(_, load)| load.peers)
}

/// No worker has 2^32 of anything.
fn count(of: usize) -> f64 {
    f64::from(u32::try_from(of).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROOM: RoomId = RoomId(1);

    fn peers(placement: &Placement) -> Vec<usize> {
        placement.workers.iter().map(|load| load.peers).collect()
    }

    fn place(placement: &mut Placement, room: RoomId, people: usize) -> Vec<usize> {
        (0..people)
            .map(|_| placement.place(room).unwrap())
            .collect()
    }

    /// What `cost` for each participant makes of the loads, and some noise.
    fn measure(placement: &mut Placement, cost: f64, noise: &[f64]) {
        let peers = peers(placement);
        let busy = peers.into_iter().zip(noise.iter().cycle());
        placement.measured(busy.map(|(peers, noise)| (cost * count(peers) + noise).min(1.0)));
    }

    fn is_even(placement: &Placement) -> bool {
        let peers = peers(placement);
        let average = count(peers.iter().sum()) / count(peers.len());
        peers.iter().all(|on| count(*on) <= 1.1 * average)
    }

    proptest! {
        /// However fast they join, whatever they cost, and however shaky the measurement.
        #[test]
        fn a_room_of_a_thousand_uses_all_workers_evenly(
            workers in 1..=8_usize,
            joins_per_second in 1..=400_usize,
            cost in 0.0..0.002,
            noise in prop::collection::vec(0.0..0.01, 8),
        ) {
            let mut placement = Placement::new(workers);
            for joined in 1..=1_000 {
                placement.place(ROOM);
                if joined % joins_per_second == 0 {
                    measure(&mut placement, cost, &noise);
                }
            }
            prop_assert!(is_even(&placement), "{:?}", peers(&placement));
        }

        #[test]
        fn small_rooms_are_whole_while_loads_are_even(
            workers in 1..=8_usize,
            rooms in 1..300_u64,
            busy in 0.0..0.7,
        ) {
            let mut placement = Placement::new(workers);
            placement.measured(vec![busy; workers]);
            // One after the other, each room has one participant more.
            for _ in 0..4 {
                for room in 0..rooms {
                    placement.place(RoomId(room));
                }
            }
            prop_assert!(placement.rooms.values().all(|places| places.len() == 1));
            let peers = peers(&placement);
            let (most, fewest) = (peers.iter().max(), peers.iter().min());
            prop_assert!(most.unwrap() - fewest.unwrap() <= 4, "{peers:?}");
        }

        #[test]
        fn who_comes_and_goes_leaves_nothing_behind(
            steps in prop::collection::vec((0..4_u64, any::<bool>()), 0..300),
        ) {
            let mut placement = Placement::new(3);
            let mut there = Vec::new();
            for (room, comes) in steps {
                if comes {
                    there.push((RoomId(room), placement.place(RoomId(room)).unwrap()));
                } else if let Some((room, worker)) = there.pop() {
                    placement.gone(room, worker);
                }
                prop_assert_eq!(peers(&placement).iter().sum::<usize>(), there.len());
            }
            for (room, worker) in there.drain(..) {
                placement.gone(room, worker);
            }
            prop_assert!(placement.rooms.is_empty());
        }
    }

    #[test]
    fn who_costs_nothing_yet_is_spread_evenly_where_one_worker_always_seems_busier() {
        let mut placement = Placement::new(2);
        for _ in 0..1_000 {
            placement.place(ROOM);
            measure(&mut placement, 0.0, &[0.0, 0.009_8]);
        }
        assert!(is_even(&placement), "{:?}", peers(&placement));
    }

    #[test]
    fn two_hundred_joins_in_a_second_are_spread_evenly() {
        let mut placement = Placement::new(4);
        placement.measured([0.2; 4]);
        place(&mut placement, ROOM, 200);
        assert_eq!(peers(&placement).iter().max(), Some(&50));
    }

    #[test]
    fn a_room_that_grows_takes_one_worker_after_the_other() {
        let mut placement = Placement::new(4);
        let workers = place(&mut placement, ROOM, 12);
        assert_eq!(workers, [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1]);
    }

    #[test]
    fn a_small_room_is_split_only_where_its_worker_is_full_and_another_is_not() {
        let mut placement = Placement::new(2);
        assert_eq!(place(&mut placement, ROOM, 2), [0, 0]);
        placement.measured([0.7, 0.0]);
        assert_eq!(placement.place(ROOM), Some(0));
        placement.measured([0.9, 0.9]);
        assert_eq!(placement.place(ROOM), Some(0));
        placement.measured([0.9, 0.5]);
        assert_eq!(placement.place(ROOM), Some(1));
    }

    #[test]
    fn a_new_room_goes_to_the_least_busy_worker_and_not_to_the_emptiest() {
        let mut placement = Placement::new(3);
        for room in 1..=3 {
            place(&mut placement, RoomId(room), 1);
        }
        placement.gone(RoomId(3), 2);
        for _ in 0..NEWCOMER_ROUNDS {
            placement.measured([0.5, 0.1, 0.4]);
        }
        assert_eq!(placement.place(RoomId(4)), Some(1));
        assert_eq!(Placement::new(0).place(ROOM), None);
    }
}
