//! Lets a worker's datagrams go.

use std::io;
use std::net::{IpAddr, SocketAddr};

use madang_core::Outbox;

use crate::address::AddressMap;
use crate::limits::{SEND_BATCH, SEND_WAIT};
use crate::many::Many;
use crate::socket::Socket;
use crate::stats::IoStats;

/// Sends all that is in the outbox, several runs in one call. What fails is counted and never stops what comes after it.
///
/// Where a send buffer is full, the batch waits once, for a bounded time, and then drops: media that
/// waits longer arrives too late to be played, and NACK brings back what still matters.
///
/// `many`: of each socket.
pub(crate) async fn send_all(
    sockets: &[Socket],
    many: &mut [Many],
    addresses: &AddressMap,
    outbox: &Outbox,
    stats: &mut IoStats,
) {
    // As most turns leave it.
    if outbox.is_empty() {
        return;
    }
    let mut sending = Sending {
        may_wait: true,
        sockets,
        many,
        stats,
    };
    let mut batch: Vec<Run<'_>> = Vec::with_capacity(SEND_BATCH);
    for (transmit, contents) in outbox.iter() {
        let local = addresses.local(transmit.source);
        let segment_size = transmit.segment_size.max(1);
        let count = contents.len().div_ceil(segment_size) as u64;
        let Some(socket) = sockets.iter().position(|socket| socket.serves(local)) else {
            sending.stats.datagrams_dropped_send_error += count;
            continue;
        };
        let run = Run {
            socket,
            source: local.ip(),
            destination: transmit.destination,
            segment_size,
            contents,
            count,
        };
        if batch.len() == SEND_BATCH || batch.first().is_some_and(|first| !first.goes_with(&run)) {
            sending.send_batch(&batch).await;
            batch.clear();
        }
        batch.push(run);
    }
    sending.send_batch(&batch).await;
}

/// Datagrams of one size for one destination; the last may be shorter.
struct Run<'a> {
    socket: usize,
    source: IpAddr,
    destination: SocketAddr,
    segment_size: usize,
    contents: &'a [u8],
    /// Number of datagrams.
    count: u64,
}

impl Run<'_> {
    /// Whether one call can send both.
    fn goes_with(&self, other: &Run<'_>) -> bool {
        (self.socket, self.source, self.split_at())
            == (other.socket, other.source, other.split_at())
    }

    /// The size of the datagrams that the kernel makes of it, where it is several.
    fn split_at(&self) -> Option<usize> {
        (self.count > 1).then_some(self.segment_size)
    }
}

struct Sending<'a> {
    /// The batch has not waited for room yet.
    may_wait: bool,
    sockets: &'a [Socket],
    many: &'a mut [Many],
    stats: &'a mut IoStats,
}

impl Sending<'_> {
    /// Sends runs that go with each other. The one at which a call ends is sent by itself, which finds out why.
    async fn send_batch(&mut self, mut runs: &[Run<'_>]) {
        while let [first, rest @ ..] = runs {
            let sent = if rest.is_empty() {
                0
            } else {
                self.send_together(first, runs)
            };
            let (gone, left) = runs.split_at(sent.min(runs.len()));
            for run in gone {
                self.stats.datagrams_sent += run.count;
                self.stats.bytes_sent += run.contents.len() as u64;
            }
            runs = left;
            if let [stopped, rest @ ..] = left {
                self.send(stopped).await;
                runs = rest;
            }
        }
    }

    /// How many of the runs one call has sent.
    fn send_together(&mut self, first: &Run<'_>, runs: &[Run<'_>]) -> usize {
        let (Some(socket), Some(many)) = (
            self.sockets.get(first.socket),
            self.many.get_mut(first.socket),
        ) else {
            return 0;
        };
        if first.count > 1 && !socket.can_gso() {
            return 0;
        }
        let segment_size = first.split_at().and_then(|size| u16::try_from(size).ok());
        let messages = runs.iter().map(|run| (run.destination, run.contents));
        let sent = socket.send_many(many, first.source, segment_size, messages);
        self.stats.send_calls += u64::from(sent.is_ok());
        sent.unwrap_or(0)
    }

    /// Sends the run in one call where the kernel can, otherwise datagram by datagram.
    async fn send(&mut self, run: &Run<'_>) {
        if run.count > 1 && !self.sockets.get(run.socket).is_some_and(Socket::can_gso) {
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
        let Some(socket) = self.sockets.get(run.socket) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let attempt = || socket.send(run.source, run.destination, run.segment_size, contents);
        let mut result = attempt();
        if self.may_wait
            && result
                .as_ref()
                .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        {
            self.may_wait = false;
            // Whether there is room now shows in the second attempt.
            let _ = tokio::time::timeout(SEND_WAIT, socket.writable()).await;
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
        many: Vec<Many>,
        addresses: AddressMap,
        here: SocketAddr,
    }

    impl Setup {
        /// A socket that is bound to `any`, and speaks as `ip`.
        fn new(any: &str, ip: &str) -> Self {
            let socket = std::net::UdpSocket::bind(any).unwrap();
            let here = SocketAddr::new(ip.parse().unwrap(), socket.local_addr().unwrap().port());
            let socket = Socket::new(socket).unwrap();
            Self {
                many: vec![socket.many()],
                sockets: vec![socket],
                addresses: AddressMap::resolve(&[here], &[], &[]).unwrap(),
                here,
            }
        }

        async fn send(&mut self, outbox: &Outbox) -> IoStats {
            let mut stats = IoStats::default();
            send_all(
                &self.sockets,
                &mut self.many,
                &self.addresses,
                outbox,
                &mut stats,
            )
            .await;
            stats
        }
    }

    /// A socket that is bound to `any`, and its address with this `ip`.
    fn peer(any: &str, ip: IpAddr) -> (std::net::UdpSocket, SocketAddr) {
        let peer = std::net::UdpSocket::bind(any).unwrap();
        peer.set_nonblocking(true).unwrap();
        let there = SocketAddr::new(ip, peer.local_addr().unwrap().port());
        (peer, there)
    }

    fn setup() -> (Setup, std::net::UdpSocket, SocketAddr) {
        let setup = Setup::new("0.0.0.0:0", "127.0.0.1");
        let (peer, there) = peer("127.0.0.1:0", setup.here.ip());
        (setup, peer, there)
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
        let (mut setup, peer, there) = setup();
        let here = setup.here;
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
        let stats = setup.send(&outbox).await;
        assert_eq!(arrived(&peer), [b"first".to_vec(), b"last".to_vec()]);
        assert_eq!((stats.datagrams_sent, stats.bytes_sent), (2, 9));
        assert_eq!(stats.datagrams_dropped_send_error, 4);
        assert_eq!(stats.datagrams_dropped_send_full, 0);
    }

    #[tokio::test]
    async fn a_run_takes_one_call_and_survives_an_earlier_failure_of_another() {
        let (mut setup, peer, there) = setup();
        let here = setup.here;
        let mut outbox = Outbox::default();
        outbox.push(here, SocketAddr::new(there.ip(), 0), b"lost");
        outbox.push(here, SocketAddr::new(there.ip(), 0), b"lost");
        let stats = setup.send(&outbox).await;
        assert_eq!(
            (stats.gso_fallbacks, stats.datagrams_dropped_send_error),
            (1, 2)
        );

        outbox.clear();
        for _ in 0..20 {
            outbox.push(here, there, &[7; 1_200]);
        }
        let stats = setup.send(&outbox).await;
        assert_eq!(arrived(&peer).len(), 20);
        assert_eq!((stats.send_calls, stats.datagrams_sent), (1, 20));
    }

    /// A socket that is bound to all addresses answers from the one that was asked, in whatever company.
    #[tokio::test]
    async fn runs_to_several_destinations_take_one_call() {
        for (any, ip) in [
            ("0.0.0.0:0", "127.0.0.2"),
            ("[::]:0", "::1"),
            ("127.0.0.1:0", "127.0.0.1"),
        ] {
            let mut setup = Setup::new(any, ip);
            let here = setup.here;
            setup.sockets[0].writable().await.unwrap();
            let peers: Vec<_> = (0..5).map(|_| peer(any, here.ip())).collect();
            let mut outbox = Outbox::default();
            for (_, there) in &peers {
                outbox.push(here, *there, &[1; 1_200]);
                outbox.push(here, *there, &[2; 1_200]);
                outbox.push(here, *there, &[3; 700]);
            }
            for (bytes, (_, there)) in (100..).zip(&peers) {
                outbox.push(here, *there, &vec![4; bytes]);
            }
            let stats = setup.send(&outbox).await;
            assert_eq!((stats.send_calls, stats.datagrams_sent), (2, 20), "{any}");
            for (bytes, (peer, _)) in (100..).zip(&peers) {
                let mut buffer = [0; 2_000];
                let (_, from) = peer.recv_from(&mut buffer).unwrap();
                assert_eq!(from, here);
                let rest: Vec<_> = arrived(peer).iter().map(Vec::len).collect();
                assert_eq!(rest, [1_200, 700, bytes], "{any}");
            }
        }
    }

    #[tokio::test]
    async fn one_that_fails_in_the_middle_of_a_call_is_left_out_alone() {
        let (mut setup, peer, there) = setup();
        let here = setup.here;
        let nowhere = SocketAddr::new(there.ip(), 0);
        let mut outbox = Outbox::default();
        for to in [there, nowhere, there, nowhere] {
            outbox.push(here, to, &[5; 900]);
            outbox.push(here, to, &[6; 900]);
            // Keeps apart what is for one destination.
            outbox.push(here, SocketAddr::new(there.ip(), 0), &[7; 10]);
        }
        let stats = setup.send(&outbox).await;
        assert_eq!(arrived(&peer).len(), 4);
        assert_eq!((stats.datagrams_sent, stats.bytes_sent), (4, 3_600));
        assert_eq!(stats.datagrams_dropped_send_error, 8);
    }
}
