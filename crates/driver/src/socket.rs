//! UDP sockets: opening them for all workers, receiving in batches, sending in runs.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};
use std::{array, fmt};

use madang_core::Datagram;
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use socket2::{Domain, Protocol, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::limits::{RECEIVE_BATCH, RECEIVE_BUFFER_BYTES};
use crate::many::Many;
use crate::{DriverConfig, DriverError};

/// Opens the sockets of all workers: for each address of the configuration, one per worker.
pub(crate) fn open(
    config: &DriverConfig,
    interfaces: &[IpAddr],
) -> Result<Vec<Vec<std::net::UdpSocket>>, DriverError> {
    let mut groups = Vec::new();
    let mut port = 0;
    for bind in &config.bind {
        let mut address = *bind;
        if address.port() == 0 {
            address.set_port(port);
        }
        // "All IPv6 addresses" are none on a machine without IPv6: no reason not to start.
        if address.is_ipv6()
            && address.ip().is_unspecified()
            && !interfaces.iter().any(IpAddr::is_ipv6)
        {
            tracing::warn!(%address, "not bound: this machine has no IPv6 address");
            continue;
        }
        let group = open_group(address, config)?;
        if let Some(bound) = group.first().and_then(|socket| socket.local_addr().ok()) {
            port = bound.port();
        }
        groups.push(group);
    }
    Ok(groups)
}

/// Opens one socket per worker on one address. The first binds without `SO_REUSEPORT`, so that a port
/// in use is an error even where its owner would share it (another Madang of the same user
/// would silently take half of the datagrams); it lets its siblings in afterwards.
fn open_group(
    address: SocketAddr,
    config: &DriverConfig,
) -> Result<Vec<std::net::UdpSocket>, DriverError> {
    let first = open_one(address, false).map_err(|source| DriverError::Bind { address, source })?;
    let set_up = |source| DriverError::Socket { address, source };
    let bound = first
        .local_addr()
        .ok()
        .and_then(|bound| bound.as_socket())
        .unwrap_or(address);
    if config.workers > 1 {
        first.set_reuse_port(true).map_err(set_up)?;
    }
    let mut group = vec![first];
    while group.len() < config.workers {
        group.push(open_one(bound, true).map_err(|source| DriverError::Bind {
            address: bound,
            source,
        })?);
    }
    for socket in &group {
        socket
            .set_recv_buffer_size(config.receive_buffer_bytes)
            .map_err(set_up)?;
        socket
            .set_send_buffer_size(config.send_buffer_bytes)
            .map_err(set_up)?;
    }
    if let Some(socket) = group.first() {
        warn_about_small_buffers(socket, config);
    }
    Ok(group.into_iter().map(Into::into).collect())
}

fn open_one(address: SocketAddr, share: bool) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_port(share)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// The kernel silently gives less than asked for. Linux reports twice the size that it gives.
fn warn_about_small_buffers(socket: &socket2::Socket, config: &DriverConfig) {
    let factor = if cfg!(target_os = "linux") { 2 } else { 1 };
    let buffers = [
        (
            "receive",
            socket.recv_buffer_size(),
            config.receive_buffer_bytes,
            "net.core.rmem_max",
        ),
        (
            "send",
            socket.send_buffer_size(),
            config.send_buffer_bytes,
            "net.core.wmem_max",
        ),
    ];
    for (buffer, size, asked_bytes, sysctl) in buffers {
        if let Ok(given_bytes) = size.map(|size| size / factor)
            && given_bytes < asked_bytes
        {
            tracing::warn!(
                buffer,
                asked_bytes,
                given_bytes,
                "the kernel limits the UDP socket buffer: bursts may be lost; raise {sysctl}"
            );
        }
    }
}

/// One worker's socket of one address.
#[derive(Debug)]
pub(crate) struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    /// As bound, possibly a wildcard.
    bound: SocketAddr,
    /// Whether the kernel can split a send into datagrams. quinn-udp turns this off for good at the first
    /// failure; but a failure belongs to the route (IPsec, an MTU below the datagram) and
    /// any participant can provoke one, so it is only asked for at the start.
    gso: bool,
}

impl Socket {
    /// Takes a socket into the current tokio runtime.
    pub(crate) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        let bound = socket.local_addr()?;
        let gso = state.max_gso_segments() > 1;
        Ok(Self {
            io: UdpSocket::from_std(socket)?,
            state,
            bound,
            gso,
        })
    }

    /// Whether datagrams of this local address enter and leave here.
    pub(crate) fn serves(&self, local: SocketAddr) -> bool {
        self.bound == local
            || (self.bound.ip().is_unspecified()
                && self.bound.is_ipv4() == local.is_ipv4()
                && self.bound.port() == local.port())
    }

    /// Ready where a receive call may bring something.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.io.poll_recv_ready(cx).map(|_| ())
    }

    /// Waits until there is room in the send buffer.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.io.writable().await
    }

    pub(crate) fn can_gso(&self) -> bool {
        self.gso
    }

    /// Receives what is there, as much as one system call and the buffer take.
    pub(crate) fn receive(&self, buffer: &mut ReceiveBuffer) -> io::Result<()> {
        buffer.filled = 0;
        let mut chunks = buffer.bytes.chunks_mut(RECEIVE_BUFFER_BYTES);
        let mut slices: [IoSliceMut<'_>; RECEIVE_BATCH] =
            array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        let receive = || {
            self.state
                .recv((&self.io).into(), &mut slices, &mut buffer.meta)
        };
        buffer.filled = self.io.try_io(Interest::READABLE, receive)?;
        if buffer.filled < RECEIVE_BATCH {
            // The socket is empty: say so to tokio, or every wake-up would cost a second call to learn it.
            let _ = self.io.try_io(Interest::READABLE, || {
                Err::<(), _>(io::ErrorKind::WouldBlock.into())
            });
        }
        Ok(())
    }

    /// Sends one run of datagrams of `segment_size` bytes (the last may be shorter).
    pub(crate) fn send(
        &self,
        source: IpAddr,
        destination: SocketAddr,
        segment_size: usize,
        contents: &[u8],
    ) -> io::Result<()> {
        let transmit = Transmit {
            destination,
            ecn: None,
            contents,
            segment_size: Some(segment_size),
            src_ip: self.choose(source),
        };
        self.io.try_io(Interest::WRITABLE, || {
            self.state.try_send((&self.io).into(), &transmit)
        })
    }

    /// Memory for [`Socket::send_many`], in the thread that calls it.
    pub(crate) fn many(&self) -> Many {
        Many::new(self.bound.ip())
    }

    /// Sends a run each to several destinations, of datagrams of `segment_size` bytes, or single ones of any size: how many
    /// have left before one that could not.
    pub(crate) fn send_many<'a>(
        &self,
        many: &mut Many,
        source: IpAddr,
        segment_size: Option<u16>,
        runs: impl Iterator<Item = (SocketAddr, &'a [u8])>,
    ) -> io::Result<usize> {
        let source = self.choose(source);
        self.io.try_io(Interest::WRITABLE, || {
            many.send(&self.io, source, segment_size, runs)
        })
    }

    /// The address to send from, where there is a choice: a socket that is bound to one has no other.
    fn choose(&self, source: IpAddr) -> Option<IpAddr> {
        self.bound.ip().is_unspecified().then_some(source)
    }
}

/// What one receive call has brought, in memory that is reused.
pub(crate) struct ReceiveBuffer {
    bytes: Vec<u8>,
    meta: [RecvMeta; RECEIVE_BATCH],
    filled: usize,
}

impl ReceiveBuffer {
    pub(crate) fn new() -> Self {
        let bytes = vec![0; RECEIVE_BATCH * RECEIVE_BUFFER_BYTES];
        Self {
            bytes,
            meta: [RecvMeta::default(); RECEIVE_BATCH],
            filled: 0,
        }
    }

    /// The datagrams of the last receive call. GRO has joined those of one sender and size.
    pub(crate) fn datagrams(&self, socket: &Socket) -> impl Iterator<Item = Datagram<'_>> {
        let (ip, port) = (socket.bound.ip(), socket.bound.port());
        self.meta
            .iter()
            .take(self.filled)
            .zip(self.bytes.chunks(RECEIVE_BUFFER_BYTES))
            .flat_map(move |(meta, bytes)| {
                let destination = SocketAddr::new(meta.dst_ip.unwrap_or(ip), port);
                let contents = bytes.get(..meta.len).unwrap_or_default();
                contents
                    .chunks(meta.stride.max(1))
                    .map(move |contents| Datagram {
                        source: meta.addr,
                        destination,
                        contents,
                    })
            })
    }
}

impl fmt::Debug for ReceiveBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiveBuffer")
            .field("filled", &self.filled)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(workers: usize) -> DriverConfig {
        DriverConfig {
            workers,
            ..crate::driver::tests::config()
        }
    }

    fn loopback() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    async fn receive_all(socket: &Socket, count: usize) -> Vec<(SocketAddr, SocketAddr, Vec<u8>)> {
        let mut buffer = ReceiveBuffer::new();
        let mut all = Vec::new();
        while all.len() < count {
            socket.io.readable().await.unwrap();
            match socket.receive(&mut buffer) {
                Ok(()) => all.extend(
                    buffer
                        .datagrams(socket)
                        .map(|one| (one.source, one.destination, one.contents.to_vec())),
                ),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        all
    }

    fn one(address: &str) -> Socket {
        let address = address.parse().unwrap();
        Socket::new(open_group(address, &config(1)).unwrap().remove(0)).unwrap()
    }

    #[tokio::test]
    async fn a_run_of_datagrams_arrives_as_the_single_datagrams() {
        for (wildcard, ip) in [("0.0.0.0:0", "127.0.0.1"), ("[::]:0", "::1")] {
            let (server, client) = (one(wildcard), one(wildcard));
            let ip: IpAddr = ip.parse().unwrap();
            let to = SocketAddr::new(ip, server.bound.port());
            let run: Vec<u8> = (0..10u8)
                .flat_map(|number| vec![number; 1_000])
                .chain([10; 300])
                .collect();
            client.io.writable().await.unwrap();
            client.send(ip, to, 1_000, &run).unwrap();
            let datagrams = receive_all(&server, 11).await;
            let from = SocketAddr::new(ip, client.bound.port());
            for (number, (source, destination, contents)) in datagrams.iter().enumerate() {
                assert_eq!((*source, *destination), (from, to));
                assert!(contents.iter().all(|byte| usize::from(*byte) == number));
                assert_eq!(contents.len(), if number == 10 { 300 } else { 1_000 });
            }
        }
    }

    #[tokio::test]
    async fn an_answer_leaves_from_the_address_that_was_asked() {
        let (server, client) = (one("0.0.0.0:0"), one("127.0.0.1:0"));
        let second: SocketAddr = SocketAddr::from(([127, 0, 0, 2], server.bound.port()));
        client.io.writable().await.unwrap();
        client.send(client.bound.ip(), second, 4, b"ping").unwrap();
        let asked = receive_all(&server, 1).await.remove(0);
        assert_eq!(asked.1, second);
        server.io.writable().await.unwrap();
        server.send(asked.1.ip(), asked.0, 4, b"pong").unwrap();
        assert_eq!(receive_all(&client, 1).await.remove(0).0, second);
    }

    #[test]
    fn a_port_in_use_is_refused_even_if_its_owner_shares_it() {
        let group = open_group(loopback(), &config(2)).unwrap();
        let address = group[0].local_addr().unwrap();
        assert_eq!(group[1].local_addr().unwrap(), address);
        let error = open_group(address, &config(2)).unwrap_err().to_string();
        assert!(
            error.contains(&address.to_string()) && error.contains("choose another port"),
            "{error}"
        );
    }
}
