//! What the machine asks for a packet at the least: sealing it, and handing it to the kernel.

mod receive;
mod rhythm;
mod seal;
mod tight;

use std::io;
use std::time::Duration;

use indicatif::ProgressBar;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::process::pin;

/// Bytes of a video packet on the wire.
const PACKET_BYTES: usize = 1_200;

/// One floor: time of one thread on its core for each packet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Floor {
    /// The rhythm; "loop" is one call after the other.
    pub(crate) pattern: String,
    pub(crate) what: String,
    pub(crate) ns_per_packet: f64,
    pub(crate) packets: u64,
}

/// Measures all floors. The sender runs on the server's cores, the receiver on the client's.
pub(crate) fn measure(
    server_cpus: &[usize],
    client_cpus: &[usize],
    seconds: u64,
) -> io::Result<Vec<Floor>> {
    let bar = ProgressBar::new_spinner();
    let mut floors = Vec::new();
    let receiver = rhythm::Receiver::start(client_cpus)?;
    if !server_cpus.is_empty() {
        pin(server_cpus)?;
    }
    let span = Duration::from_secs(seconds);
    floors.extend(seal::measure());
    bar.set_message("sending in a loop");
    floors.extend(tight::measure(&receiver)?);
    bar.set_message("receiving");
    floors.extend(receive::measure()?);
    for pattern in rhythm::PATTERNS {
        bar.set_message(format!("sending in the rhythm of {}", pattern.name));
        floors.extend(rhythm::measure(&pattern, &receiver, span)?);
    }
    if !client_cpus.is_empty() {
        pin(client_cpus)?;
    }
    bar.finish_and_clear();
    Ok(floors)
}

fn floor(pattern: &str, what: &str, cpu: Duration, packets: u64) -> Floor {
    Floor {
        pattern: pattern.to_owned(),
        what: what.to_owned(),
        ns_per_packet: cpu.as_secs_f64() * 1e9 / packets as f64,
        packets,
    }
}

/// Time that the calling thread has been on a core.
fn thread_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// The time of `work` on a core.
fn timed(mut work: impl FnMut()) -> Duration {
    let before = thread_cpu();
    work();
    thread_cpu() - before
}
