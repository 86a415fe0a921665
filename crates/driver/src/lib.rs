//! Sockets and threads around the sans-IO core.
//!
//! [`Driver::start`] opens one UDP port, on every worker thread one `SO_REUSEPORT` socket per
//! address family, and drives one [`madang_core::Shard`] on each thread. The control plane talks to
//! it through [`Control`].
//!
//! The way of a datagram: `socket` receives it (recvmmsg, GRO), `router` says which worker owns
//! it, `handover` takes it there if the kernel gave it to another one, `worker` feeds it to the
//! shard, `relay` takes what other workers need of it to them, and `send` lets the answers go (GSO).

mod address;
mod config;
mod driver;
mod events;
mod handover;
mod limits;
mod many;
mod pulse;
mod relay;
mod router;
mod send;
mod socket;
mod stats;
mod worker;

pub use config::{DriverConfig, DriverError};
pub use driver::{Control, Driver};
pub use limits::WORKERS_MAX;
pub use stats::{IoStats, WorkerStats};
