//! The estimator on paths of all kinds, in virtual time and from a seed.

#![expect(
    clippy::cast_possible_truncation,
    reason = "rates and times of a simulation are small"
)]

mod hostile;
mod link;
mod loss;
mod probe;
mod scenarios;
mod trend;
mod world;
