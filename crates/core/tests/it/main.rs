//! Behaviour of one shard that needs no network: limits and bad input.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "a test takes one real instant to start its virtual time from"
)]

mod dtls;
mod formats;
mod garbage;
mod invited;
mod limits;
mod live;
mod media;
mod offers;
mod relay;
mod support;
