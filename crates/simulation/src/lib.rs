//! Virtual time: real shards, simulated browsers and a simulated network.
//!
//! A [`Plan`] is a test that reads as a story. It runs in a [`World`], which owns one real
//! [`madang_core::Shard`], a [`Browser`] for each person (a `str0m::Rtc` with synthetic encoders
//! before it and checking decoders behind it) and two [`network::Link`]s for each browser.
//! Nothing sleeps, no thread and no socket is used, and every random choice of the simulation comes
//! from one seed. What stays random is what the cryptography draws (keys, and str0m's hash maps).
//!
//! What the decoders hold against a stream is in [`decoder`]: they see what a real receiver sees,
//! and every encoded packet carries a [`Tag`] that says what it is, so that torn frames, hidden
//! loss and wrong timestamps cannot pass unnoticed.
#![expect(
    clippy::panic,
    clippy::expect_used,
    reason = "the product of a simulation is a verdict: it stops at the first surprise and says where"
)]

mod allocation;
mod browser;
pub mod catalogue;
mod control;
pub mod decoder;
mod dependency;
mod encoder;
mod extension;
pub mod measure;
pub mod network;
mod observe;
mod page;
pub mod payload;
mod plan;
mod sync;
pub mod timeline;
mod world;

pub use browser::{Browser, BrowserConfig, KeyframeAsked, source_number};
pub use encoder::{AudioEncoder, EncodedPacket, Encoding, LayerSpec, StartValues, VideoEncoder};
pub use page::{Page, TileSize, TrackInfo};
pub use payload::{Codec, Mode, Tag};
pub use plan::{
    Action, EXPECTATION_WINDOW, Expectation, Plan, SEEDS_VARIABLE, Step, TRACE_VARIABLE,
};
pub use world::{SERVER, Sample, Seat, World, WorldConfig};
