//! Sending in the rhythm of a call: short bursts to many destinations, and sleep between them.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use nix::cmsg_space;
use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, sendmmsg, setsockopt, sockopt,
};

use super::seal::Sealer;
use super::{Floor, floor, thread_cpu};
use crate::media::socket::{ReceiveBuffer, Socket};
use crate::process::pin;

const IP: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Destinations of the widest pattern.
const DESTINATIONS: usize = 200;
/// The longest burst to one destination.
const BURST_MAX: usize = 32;
const HEADER_AND_TAG_BYTES: usize = 28;
const GLANCE: Duration = Duration::from_millis(100);

/// When how much is sent to whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pattern {
    pub(super) name: &'static str,
    /// All peers of the server.
    peers: usize,
    /// Bursts per second, all publishers together.
    ticks_per_second: u32,
    /// So many of the peers get each burst: those of the publisher's room.
    fan_out: usize,
    /// Packets of a burst to one destination, and their size.
    burst: u64,
    bytes: usize,
}

/// A frame of 1 Mbit/s video is four packets.
const VIDEO: (u64, usize) = (4, 1_130);
const AUDIO: (u64, usize) = (1, 150);

pub(super) const PATTERNS: [Pattern; 5] = [
    pattern("1 → 50", 50, 30, 50, VIDEO),
    pattern("1 → 200", 200, 30, 200, VIDEO),
    pattern("one room of 5 × 5", 5, 150, 4, VIDEO),
    pattern("four rooms of 5 × 5", 20, 600, 4, VIDEO),
    pattern("audio, 10 → 100", 100, 500, 99, AUDIO),
];

const fn pattern(
    name: &'static str,
    peers: usize,
    ticks_per_second: u32,
    fan_out: usize,
    (burst, bytes): (u64, usize),
) -> Pattern {
    Pattern {
        name,
        peers,
        ticks_per_second,
        fan_out,
        burst,
        bytes,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Sendto,
    /// On a socket that is connected to the destination: no address to copy, no route to look up.
    Send,
    Sendmmsg,
    Gso,
    /// The bursts to several destinations in one call.
    GsoTogether,
    ConnectedGso,
}

const METHODS: [(&str, Method, bool); 7] = [
    ("sendto", Method::Sendto, false),
    ("send, connected", Method::Send, false),
    ("sendmmsg", Method::Sendmmsg, false),
    ("GSO", Method::Gso, false),
    ("GSO, sendmmsg", Method::GsoTogether, false),
    ("GSO, connected", Method::ConnectedGso, false),
    ("seal and GSO", Method::Gso, true),
];

pub(super) fn measure(
    pattern: &Pattern,
    receiver: &Receiver,
    span: Duration,
) -> io::Result<Vec<Floor>> {
    let sealer = Sealer::new();
    let mut sender = Sender::new()?;
    let peers = receiver.addresses().iter().take(pattern.peers);
    let peers: io::Result<Vec<_>> = peers
        .map(|address| Destination::new(*address, pattern.bytes))
        .collect();
    let peers = peers?;
    let mut floors = Vec::new();
    for (name, method, sealed) in METHODS {
        let before = thread_cpu();
        let (start, mut due, mut packets) = (Instant::now(), Instant::now(), 0);
        let mut first = 0;
        while start.elapsed() < span {
            for position in 0..pattern.fan_out {
                let Some(to) = peers.get((first + position) % peers.len()) else {
                    continue;
                };
                packets += pattern.burst;
                match (&sealer, sealed) {
                    (Some(sealer), true) => {
                        sender.seal_and_send(sealer, to.address, pattern.burst, pattern.bytes);
                    }
                    _ => sender.send(method, to, pattern.burst, pattern.bytes),
                }
            }
            sender.finish(pattern.burst, pattern.bytes);
            first = (first + pattern.fan_out) % peers.len();
            due += Duration::from_secs(1) / pattern.ticks_per_second;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        floors.push(floor(pattern.name, name, thread_cpu() - before, packets));
    }
    Ok(floors)
}

/// Where packets go, with the sockets that are connected to it.
pub(super) struct Destination {
    address: SocketAddr,
    connected: UdpSocket,
    /// The same, splitting what is sent into packets.
    splitting: UdpSocket,
}

impl Destination {
    pub(super) fn new(address: SocketAddr, bytes: usize) -> io::Result<Self> {
        let connect = || {
            let socket = UdpSocket::bind((IP, 0))?;
            socket.connect(address)?;
            Ok::<_, io::Error>(socket)
        };
        let splitting = connect()?;
        let segment = i32::try_from(bytes).unwrap_or(i32::MAX);
        setsockopt(&splitting, sockopt::UdpGsoSegment, &segment)?;
        Ok(Self {
            address,
            connected: connect()?,
            splitting,
        })
    }
}

/// A socket to send from.
pub(super) struct Sender {
    gso: Socket,
    plain: UdpSocket,
    headers: MultiHeaders<SockaddrIn>,
    split_headers: MultiHeaders<SockaddrIn>,
    /// Destinations of the next call.
    together: Vec<Option<SockaddrIn>>,
    buffer: Vec<u8>,
    number: u64,
}

impl Sender {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            gso: Socket::open(IpAddr::V4(IP), true)?,
            plain: UdpSocket::bind((IP, 0))?,
            headers: MultiHeaders::preallocate(BURST_MAX, None),
            split_headers: MultiHeaders::preallocate(BURST_MAX, Some(cmsg_space!(u16))),
            together: Vec::with_capacity(BURST_MAX),
            buffer: vec![0; 1 << 16],
            number: 0,
        })
    }

    /// Sends a burst of packets without looking at their contents. What is not taken is lost.
    pub(super) fn send(&mut self, method: Method, to: &Destination, burst: u64, bytes: usize) {
        let count = usize::try_from(burst).unwrap_or(BURST_MAX);
        let contents = self.buffer.get(..count * bytes).unwrap_or_default();
        match method {
            Method::Sendto => {
                for packet in contents.chunks(bytes) {
                    let _ = self.plain.send_to(packet, to.address);
                }
            }
            Method::Send => {
                for packet in contents.chunks(bytes) {
                    let _ = to.connected.send(packet);
                }
            }
            Method::Gso => self.gso.send(to.address, bytes, contents),
            Method::GsoTogether => {
                let SocketAddr::V4(to) = to.address else {
                    return;
                };
                self.together.push(Some(SockaddrIn::from(to)));
                if self.together.len() == BURST_MAX {
                    self.finish(burst, bytes);
                }
            }
            Method::ConnectedGso => {
                let _ = to.splitting.send(contents);
            }
            Method::Sendmmsg => {
                let SocketAddr::V4(to) = to.address else {
                    return;
                };
                let packets: Vec<_> = contents
                    .chunks(bytes)
                    .map(|packet| [IoSlice::new(packet)])
                    .collect();
                let to = [Some(SockaddrIn::from(to)); BURST_MAX];
                let _ = sendmmsg(
                    self.plain.as_raw_fd(),
                    &mut self.headers,
                    &packets,
                    to.get(..count).unwrap_or_default(),
                    [],
                    MsgFlags::empty(),
                );
            }
        }
    }

    /// Sends what waits for more destinations.
    pub(super) fn finish(&mut self, burst: u64, bytes: usize) {
        let count = usize::try_from(burst).unwrap_or(BURST_MAX);
        let contents = self.buffer.get(..count * bytes).unwrap_or_default();
        let slices = vec![[IoSlice::new(contents)]; self.together.len()];
        let segment = u16::try_from(bytes).unwrap_or(u16::MAX);
        if !slices.is_empty() {
            let _ = sendmmsg(
                self.plain.as_raw_fd(),
                &mut self.split_headers,
                &slices,
                &self.together,
                [ControlMessage::UdpGsoSegments(&segment)],
                MsgFlags::empty(),
            );
        }
        self.together.clear();
    }

    /// Seals each packet of the burst into the buffer that is sent.
    fn seal_and_send(&mut self, sealer: &Sealer, to: SocketAddr, burst: u64, bytes: usize) {
        let payload = [1; 1_500];
        let payload = payload.get(..bytes - HEADER_AND_TAG_BYTES);
        self.buffer.clear();
        for _ in 0..burst {
            self.number += 1;
            sealer.seal(self.number, payload.unwrap_or_default(), &mut self.buffer);
        }
        self.gso.send(to, bytes, &self.buffer);
        self.buffer.resize(1 << 16, 0);
    }
}

/// Empties the sockets of all destinations, on a thread of its own.
pub(super) struct Receiver {
    addresses: Vec<SocketAddr>,
    stop: Arc<AtomicBool>,
}

impl Receiver {
    pub(super) fn start(cpus: &[usize]) -> io::Result<Self> {
        let poll = Poll::new()?;
        let sockets: io::Result<Vec<_>> = (0..DESTINATIONS)
            .map(|_| Socket::open(IpAddr::V4(IP), true))
            .collect();
        let sockets = sockets?;
        for (number, socket) in sockets.iter().enumerate() {
            socket.register(poll.registry(), Token(number))?;
        }
        let receiver = Self {
            addresses: sockets.iter().map(|socket| socket.local).collect(),
            stop: Arc::default(),
        };
        let (cpus, stop) = (cpus.to_vec(), receiver.stop.clone());
        std::thread::Builder::new()
            .name("receiver".to_owned())
            .spawn(move || empty(poll, &sockets, &cpus, &stop))?;
        Ok(receiver)
    }

    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn empty(mut poll: Poll, sockets: &[Socket], cpus: &[usize], stop: &AtomicBool) {
    if !cpus.is_empty() {
        let _ = pin(cpus);
    }
    let mut events = Events::with_capacity(DESTINATIONS);
    let mut buffer = ReceiveBuffer::new();
    while !stop.load(Ordering::Relaxed) {
        let _ = poll.poll(&mut events, Some(GLANCE));
        for event in &events {
            if let Some(socket) = sockets.get(event.token().0) {
                while socket.receive(&mut buffer) {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_sending_brings_all_packets_of_a_burst() {
        let receiver = Socket::open(IpAddr::V4(IP), true).unwrap();
        let (burst, bytes) = VIDEO;
        let to = Destination::new(receiver.local, bytes).unwrap();
        let mut sender = Sender::new().unwrap();
        let mut buffer = ReceiveBuffer::new();
        for (name, method, _) in METHODS {
            sender.send(method, &to, burst, bytes);
            sender.finish(burst, bytes);
            let mut lengths = Vec::new();
            while lengths.len() < 4 {
                receiver.receive(&mut buffer);
                lengths.extend(buffer.datagrams().map(|(_, _, datagram)| datagram.len()));
            }
            assert_eq!(lengths, [bytes; 4], "{name}");
        }
    }
}
