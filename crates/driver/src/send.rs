//! Lets a worker's datagrams go.

use std::io;
use std::net::{IpAddr, SocketAddr};

use madang_core::Outbox;

use crate::address::AddressMap;
use crate::limits::SEND_WAIT;
use crate::socket::Socket;
use crate::stats::IoStats;

/// Sends all that is in the outbox. What fails is counted and never stops what comes after it.
///
/// Where a send buffer is full, the batch waits once, for a bounded time, and then drops: media that
/// waits longer arrives too late to be played, and NACK brings back what still matters.
pub(crate) async fn send_all(
    sockets: &[Socket],
    addresses: &AddressMap,
    outbox: &Outbox,
    stats: &mut IoStats,
) {
    let mut sending = Sending {
        may_wait: true,
        stats,
    };
    for (transmit, contents) in outbox.iter() {
        let local = addresses.local(transmit.source);
        let segment_size = transmit.segment_size.max(1);
        let count = contents.len().div_ceil(segment_size) as u64;
        let Some(socket) = sockets.iter().find(|socket| socket.serves(local)) else {
            sending.stats.datagrams_dropped_send_error += count;
            continue;
        };
        let (source, destination) = (local.ip(), transmit.destination);
        sending
            .send(&Run {
                socket,
                source,
                destination,
                segment_size,
                contents,
                count,
            })
            .await;
    }
}

/// Datagrams of one size for one destination; the last may be shorter.
struct Run<'a> {
    socket: &'a Socket,
    source: IpAddr,
    destination: SocketAddr,
    segment_size: usize,
    contents: &'a [u8],
    /// Number of datagrams.
    count: u64,
}

struct Sending<'a> {
    /// The batch has not waited for room yet.
    may_wait: bool,
    stats: &'a mut IoStats,
}

impl Sending<'_> {
    /// Sends the run in one call where the kernel can, otherwise datagram by datagram.
    async fn send(&mut self, run: &Run<'_>) {
        if run.count > 1 && !run.socket.can_gso() {
            return self.send_singly(run).await;
        }
        match self.call(run, run.contents).await {
            Ok(()) => self.stats.datagrams_sent += run.count,
            Err(error) if run.count == 1 || error.kind() == io::ErrorKind::WouldBlock => {
                self.count_failed(run, run.count, &error);
            }
            Err(_) => {
                self.stats.gso_fallbacks += 1;
                self.send_singly(run).await;
            }
        }
    }

    async fn send_singly(&mut self, run: &Run<'_>) {
        for (index, datagram) in (0..).zip(run.contents.chunks(run.segment_size)) {
            match self.call(run, datagram).await {
                Ok(()) => self.stats.datagrams_sent += 1,
                // The last may be shorter and fit; any other error meets all of them.
                Err(error) if quinn_udp::is_msg_size_err(&error) => {
                    self.count_failed(run, 1, &error);
                }
                Err(error) => return self.count_failed(run, run.count - index, &error),
            }
        }
    }

    async fn call(&mut self, run: &Run<'_>, contents: &[u8]) -> io::Result<()> {
        let attempt = || {
            run.socket
                .send(run.source, run.destination, run.segment_size, contents)
        };
        let mut result = attempt();
        if self.may_wait
            && result
                .as_ref()
                .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        {
            self.may_wait = false;
            // Whether there is room now shows in the second attempt.
            let _ = tokio::time::timeout(SEND_WAIT, run.socket.writable()).await;
            result = attempt();
        }
        result?;
        self.stats.send_calls += 1;
        self.stats.bytes_sent += contents.len() as u64;
        Ok(())
    }

    fn count_failed(&mut self, run: &Run<'_>, count: u64, error: &io::Error) {
        if error.kind() == io::ErrorKind::WouldBlock {
            self.stats.datagrams_dropped_send_full += count;
        } else {
            self.stats.datagrams_dropped_send_error += count;
        }
        let (source, destination, bytes) = (run.source, run.destination, run.segment_size);
        tracing::trace!(%source, %destination, count, bytes, %error, "datagrams not sent");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Setup {
        sockets: Vec<Socket>,
        addresses: AddressMap,
        here: SocketAddr,
        peer: std::net::UdpSocket,
        there: SocketAddr,
    }

    fn setup() -> Setup {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        let here = SocketAddr::from(([127, 0, 0, 1], socket.local_addr().unwrap().port()));
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_nonblocking(true).unwrap();
        let there = peer.local_addr().unwrap();
        let addresses = AddressMap::resolve(&[here], &[], &[]).unwrap();
        Setup {
            sockets: vec![Socket::new(socket).unwrap()],
            addresses,
            here,
            peer,
            there,
        }
    }

    /// Loopback delivers within the send call, so that what has not arrived is lost.
    fn arrived(peer: &std::net::UdpSocket) -> Vec<Vec<u8>> {
        let mut buffer = [0; 2_000];
        std::iter::from_fn(|| {
            peer.recv(&mut buffer)
                .ok()
                .map(|len| buffer[..len].to_vec())
        })
        .collect()
    }

    #[tokio::test]
    async fn a_destination_that_fails_does_not_stop_the_others() {
        let Setup {
            sockets,
            addresses,
            here,
            peer,
            there,
        } = setup();
        let mut outbox = Outbox::default();
        let nowhere = SocketAddr::new(there.ip(), 0);
        let not_ours = SocketAddr::from(([203, 0, 113, 9], here.port()));
        let no_socket = SocketAddr::from(([127, 0, 0, 1], 1));
        outbox.push(here, there, b"first");
        outbox.push(here, nowhere, b"lost");
        outbox.push(here, nowhere, b"lost");
        outbox.push(not_ours, there, b"lost");
        outbox.push(no_socket, there, b"lost");
        outbox.push(here, there, b"last");
        let mut stats = IoStats::default();
        send_all(&sockets, &addresses, &outbox, &mut stats).await;
        assert_eq!(arrived(&peer), [b"first".to_vec(), b"last".to_vec()]);
        assert_eq!((stats.datagrams_sent, stats.bytes_sent), (2, 9));
        assert_eq!(stats.datagrams_dropped_send_error, 4);
        assert_eq!(stats.datagrams_dropped_send_full, 0);
    }

    #[tokio::test]
    async fn a_run_takes_one_call_and_survives_an_earlier_failure_of_another() {
        let Setup {
            sockets,
            addresses,
            here,
            peer,
            there,
        } = setup();
        let mut outbox = Outbox::default();
        outbox.push(here, SocketAddr::new(there.ip(), 0), b"lost");
        outbox.push(here, SocketAddr::new(there.ip(), 0), b"lost");
        let mut stats = IoStats::default();
        send_all(&sockets, &addresses, &outbox, &mut stats).await;
        assert_eq!(
            (stats.gso_fallbacks, stats.datagrams_dropped_send_error),
            (1, 2)
        );

        outbox.clear();
        for _ in 0..20 {
            outbox.push(here, there, &[7; 1_200]);
        }
        let mut stats = IoStats::default();
        send_all(&sockets, &addresses, &outbox, &mut stats).await;
        assert_eq!(arrived(&peer).len(), 20);
        assert_eq!((stats.send_calls, stats.datagrams_sent), (1, 20));
    }
}
