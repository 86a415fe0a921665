//! One UDP socket for each peer: servers tell peers by their address.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::socket::{setsockopt, sockopt};
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};

/// Room for what arrives while the thread serves other peers.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;
/// Receive calls bring up to so many buffers, each with one datagram or, by GRO, a run of them.
const BATCH: usize = 8;
const BATCH_BUFFER_BYTES: usize = 1 << 16;

/// Nanoseconds since 1970, by the clock with which the kernel stamps what arrives.
pub(crate) fn wallclock_ns() -> u64 {
    nanoseconds(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
    )
}

fn nanoseconds(since_1970: Duration) -> u64 {
    u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)
}

#[derive(Debug)]
pub(crate) struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    pub(crate) local: SocketAddr,
}

impl Socket {
    /// Binds a free port. Without `gro` the kernel hands out datagrams one by one, as browsers ask for.
    pub(crate) fn open(ip: IpAddr, gro: bool) -> io::Result<Self> {
        let io = UdpSocket::bind((ip, 0))?;
        let state = UdpSocketState::new((&io).into())?;
        state.set_recv_buffer_size((&io).into(), RECEIVE_BUFFER_BYTES)?;
        if !gro {
            setsockopt(&io, sockopt::UdpGroSegment, &false)?;
        }
        let local = io.local_addr()?;
        Ok(Self { io, state, local })
    }

    /// `poll` reports the socket under `token` when something has come.
    pub(crate) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(
            &mut SourceFd(&self.io.as_raw_fd()),
            token,
            Interest::READABLE,
        )
    }

    pub(crate) fn deregister(&self, registry: &Registry) -> io::Result<()> {
        registry.deregister(&mut SourceFd(&self.io.as_raw_fd()))
    }

    /// True where there may be more.
    pub(crate) fn receive(&self, buffer: &mut ReceiveBuffer) -> bool {
        let mut chunks = buffer.bytes.chunks_mut(BATCH_BUFFER_BYTES);
        let mut slices: [IoSliceMut<'_>; BATCH] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        let received = self
            .state
            .recv((&self.io).into(), &mut slices, &mut buffer.meta);
        buffer.filled = received.unwrap_or(0);
        buffer.filled == BATCH
    }

    /// Sends a run of datagrams of one size, of which the last may be shorter. What the kernel does not take
    /// is lost, as on a network.
    pub(crate) fn send(&self, destination: SocketAddr, segment_size: usize, contents: &[u8]) {
        let transmit = Transmit {
            destination,
            ecn: None,
            contents,
            segment_size: (segment_size < contents.len()).then_some(segment_size),
            src_ip: None,
        };
        let _ = self.state.try_send((&self.io).into(), &transmit);
    }
}

/// What one receive call has brought, in memory that is reused.
pub(crate) struct ReceiveBuffer {
    bytes: Vec<u8>,
    meta: [RecvMeta; BATCH],
    filled: usize,
}

impl ReceiveBuffer {
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; BATCH * BATCH_BUFFER_BYTES],
            meta: [RecvMeta::default(); BATCH],
            filled: 0,
        }
    }

    /// Sender, time of arrival and contents of each datagram.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = (SocketAddr, u64, &[u8])> {
        let chunks = self.bytes.chunks(BATCH_BUFFER_BYTES);
        let filled = self.meta.iter().zip(chunks).take(self.filled);
        filled.flat_map(|(meta, chunk)| {
            let arrived = meta.timestamp.map_or_else(wallclock_ns, nanoseconds);
            let run = chunk.get(..meta.len).unwrap_or_default();
            run.chunks(meta.stride.max(1))
                .map(move |datagram| (meta.addr, arrived, datagram))
        })
    }
}

impl std::fmt::Debug for ReceiveBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiveBuffer").finish_non_exhaustive()
    }
}

/// What one peer sends in one turn: runs to one destination leave in one system call.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    run: Option<(SocketAddr, usize)>,
    ended: bool,
}

/// The kernel splits at most so many datagrams, and no more than 64 KiB.
const RUN_BYTES_MAX: usize = 60_000;

impl Outbox {
    pub(crate) fn push(&mut self, socket: &Socket, destination: SocketAddr, datagram: &[u8]) {
        let fits = self.run.is_some_and(|(to, size)| {
            to == destination
                && !self.ended
                && datagram.len() <= size
                && self.bytes.len() + datagram.len() <= RUN_BYTES_MAX
        });
        if !fits {
            self.flush(socket);
            self.run = Some((destination, datagram.len()));
        }
        self.ended = self.run.is_some_and(|(_, size)| datagram.len() < size);
        self.bytes.extend_from_slice(datagram);
    }

    pub(crate) fn flush(&mut self, socket: &Socket) {
        if let Some((destination, size)) = self.run.take() {
            socket.send(destination, size, &self.bytes);
        }
        self.bytes.clear();
        self.ended = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_arrive_whole_with_and_without_gro() {
        for gro in [false, true] {
            let ip = IpAddr::from([127, 0, 0, 1]);
            let (from, to) = (
                Socket::open(ip, gro).unwrap(),
                Socket::open(ip, gro).unwrap(),
            );
            let before = wallclock_ns();
            let mut outbox = Outbox::default();
            let sent: [&[u8]; 5] = [&[1; 100], &[2; 100], &[3; 60], &[4; 100], &[5; 120]];
            for datagram in sent {
                outbox.push(&from, to.local, datagram);
            }
            outbox.flush(&from);
            let mut buffer = ReceiveBuffer::new();
            let mut received = Vec::new();
            while received.len() < sent.len() {
                to.receive(&mut buffer);
                for (source, arrived, datagram) in buffer.datagrams() {
                    assert_eq!(source, from.local);
                    assert!(arrived >= before);
                    received.push(datagram.to_vec());
                }
            }
            assert_eq!(received, sent);
        }
    }
}
