//! The control plane of Madang: the WebSocket protocol `madang.v1` (see `docs/protocol.md`),
//! tokens, rooms and sessions.
//!
//! It knows the media engine only as queues: a [`madang_core::Command`] queue per worker and one
//! queue of [`madang_core::Event`]s. A [`Hub`] is made of these, [`Hub::run`] is spawned once, and
//! [`router`] serves it.

mod http;
mod hub;
mod limits;
mod media;
mod nodes;
pub mod protocol;
mod quality;
mod room;
mod session;
mod token;
mod whip;
mod ws;

pub use http::router;
pub use hub::{Counts, Hub, HubConfig, Live};
pub use limits::{KEY_SECRET_BYTES_MIN, Limits};
pub use nodes::Nodes;
pub use token::{Auth, Key, Keys, WeakKey};
