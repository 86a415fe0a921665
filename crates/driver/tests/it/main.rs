//! Real workers on real sockets, with simulated browsers as clients.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod party;
mod workers;
