//! Calls in virtual time, through a real shard. Each test is a story and runs over committed seeds.
#![expect(clippy::unwrap_used, reason = "tests")]

mod calls;
mod debug;
mod faults;
mod garbage;
mod links;

use std::time::Duration;

use madang_core::Source::Camera;
use madang_simulation::Action;
use madang_simulation::Expectation::Sees;

/// Each story runs once for each of them.
const SEEDS: &[u64] = &[1, 2, 3];

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Everybody sees everybody else.
fn all_see_all(people: &[&'static str]) -> Vec<Action> {
    let pairs = people.iter().flat_map(|viewer| people.iter().map(move |publisher| (*viewer, *publisher)));
    pairs
        .filter(|(viewer, publisher)| viewer != publisher)
        .map(|(viewer, publisher)| Action::Expect(Sees(viewer, publisher, Camera)))
        .collect()
}
