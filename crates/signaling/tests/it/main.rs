//! The WebSocket protocol over real sockets, against a media engine that only answers.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod calls;
mod garbage;
mod harness;
mod http;
mod limits;
mod quality;
mod refusals;
mod resume;
mod rooms;
mod tokens;
mod whep;
mod whep_extensions;
mod whip;
mod whip_limits;
mod whip_session;
mod workers;
