//! The real binary, started as an operator starts it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod call;
mod calls;
mod client;
mod command_line;
mod flood;
mod http;
mod lifecycle;
mod nodes;
mod process;
mod quality;
mod sessions;
mod whip;
mod workers;
