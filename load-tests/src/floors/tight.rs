//! Sending to one destination, call after call.

use std::io;

use super::rhythm::{Destination, Method, Receiver, Sender};
use super::{Floor, PACKET_BYTES, floor, timed};

/// Calls of each kind.
const PACKETS: u64 = 200_000;

pub(super) fn measure(receiver: &Receiver) -> io::Result<Vec<Floor>> {
    let methods = [
        ("sendto", Method::Sendto, 1),
        ("send, connected", Method::Send, 1),
        ("sendmmsg × 32", Method::Sendmmsg, 32),
        ("GSO × 4", Method::Gso, 4),
        ("GSO × 8", Method::Gso, 8),
        ("GSO × 32", Method::Gso, 32),
        ("GSO × 4, connected", Method::ConnectedGso, 4),
    ];
    let destination = receiver.addresses().first().copied();
    let Some(destination) = destination else {
        return Ok(Vec::new());
    };
    let destination = Destination::new(destination, PACKET_BYTES)?;
    let mut sender = Sender::new()?;
    let mut floors = Vec::new();
    for (name, method, burst) in methods {
        let cpu = timed(|| {
            for _ in 0..PACKETS / burst {
                sender.send(method, &destination, burst, PACKET_BYTES);
            }
        });
        floors.push(floor("loop", name, cpu, PACKETS / burst * burst));
    }
    Ok(floors)
}
