//! How a worker sleeps: until a socket has something to read, another thread wakes it, or time has passed.
//!
//! poll(2), since a worker has a handful of descriptors, of which none comes or goes, and since nobody watches the sockets while
//! it works: what it sends gives back room in the send buffer, and an epoll that waits for both directions is woken to hear so.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::socket::Socket;

/// What other threads wake a worker by.
#[derive(Debug)]
pub(crate) struct Bell {
    event: EventFd,
    rung: AtomicBool,
}

impl Bell {
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        let rung = AtomicBool::new(false);
        Ok(Arc::new(Self { event, rung }))
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::SeqCst) {
            // Fails where it has been rung 2^64 times unheard.
            let _ = self.event.write(1);
        }
    }
}

pub(crate) struct Parker<'a> {
    bell: &'a Bell,
    waker: Waker,
    sockets: &'a [Socket],
    /// The bell, then the sockets.
    watched: Vec<PollFd<'a>>,
}

impl<'a> Parker<'a> {
    pub(crate) fn new(bell: &'a Arc<Bell>, sockets: &'a [Socket]) -> Self {
        let bell_fd = PollFd::new(bell.event.as_fd(), PollFlags::POLLIN);
        let socket_fds = sockets
            .iter()
            .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN));
        Self {
            bell,
            waker: Arc::clone(bell).into(),
            watched: std::iter::once(bell_fd).chain(socket_fds).collect(),
            sockets,
        }
    }

    /// What wakes the worker from its next sleep, or from the one that lasts.
    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// To be called before queues are looked at: what comes into them from now on ends the next sleep.
    pub(crate) fn prepare(&self) {
        self.bell.rung.store(false, Ordering::SeqCst);
    }

    /// Sleeps so long at most, in whole milliseconds: what is due shortly after something else is done with it. False where a queue
    /// asks to be looked at, and nothing else has happened.
    pub(crate) fn park(&mut self, at_most: Duration) -> bool {
        let rounded = at_most.as_nanos().div_ceil(1_000_000);
        let timeout = PollTimeout::try_from(rounded).unwrap_or(PollTimeout::MAX);
        match poll(&mut self.watched, timeout) {
            Ok(0) => return true,
            Ok(_) => {}
            // A signal, or no memory.
            Err(_) => return false,
        }
        let [bell, sockets @ ..] = self.watched.as_slice() else {
            return true;
        };
        if has_something(bell) {
            let _ = self.bell.event.read();
        }
        sockets.iter().any(has_something)
    }

    /// The sockets that had something to read when the sleep ended.
    pub(crate) fn readable(&self) -> impl Iterator<Item = &'a Socket> {
        let watched = self.watched.iter().skip(1);
        self.sockets
            .iter()
            .zip(watched)
            .filter_map(|(socket, watched)| has_something(watched).then_some(socket))
    }
}

/// Errors too: reading clears them.
fn has_something(watched: &PollFd<'_>) -> bool {
    watched.any().unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn socket() -> (Socket, SocketAddr) {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        (Socket::new(socket).unwrap(), address)
    }

    #[test]
    fn a_datagram_ends_the_sleep_and_names_its_socket() {
        let ((idle, _), (asked, address)) = (socket(), socket());
        let (bell, sockets) = (Bell::new().unwrap(), [idle, asked]);
        let mut parker = Parker::new(&bell, &sockets);
        assert_eq!(parker.readable().count(), 0, "nothing is known yet");
        sockets[0].send(address.ip(), address, 4, b"ping").unwrap();
        assert!(parker.park(LONG));
        let readable: Vec<_> = parker.readable().collect();
        assert!(matches!(readable[..], [one] if std::ptr::eq(one, &raw const sockets[1])));
        assert!(parker.park(LONG), "as long as it has not been read");
    }

    #[test]
    fn another_thread_ends_the_sleep() {
        let bell = Bell::new().unwrap();
        let mut parker = Parker::new(&bell, &[]);
        let waker = parker.waker().clone();
        parker.prepare();
        let other = thread::spawn(move || waker.wake());
        assert!(!parker.park(LONG));
        other.join().unwrap();
        assert!(parker.park(Duration::ZERO), "once");
    }

    #[test]
    fn what_comes_while_queues_are_looked_at_is_not_slept_through() {
        let bell = Bell::new().unwrap();
        let mut parker = Parker::new(&bell, &[]);
        for _ in 0..2 {
            parker.prepare();
            parker.waker().wake_by_ref();
            parker.waker().wake_by_ref();
            assert!(!parker.park(LONG));
        }
    }

    /// Room in the send buffer is no news.
    #[test]
    fn what_a_worker_sends_does_not_wake_it() {
        let (mine, here) = socket();
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let (bell, sockets) = (Bell::new().unwrap(), [mine]);
        let mut parker = Parker::new(&bell, &sockets);
        for _ in 0..10 {
            let there = peer.local_addr().unwrap();
            sockets[0].send(here.ip(), there, 4, b"pong").unwrap();
        }
        assert!(parker.park(Duration::from_millis(1)));
        assert_eq!(parker.readable().count(), 0);
        sockets[0].wait_writable(LONG);
    }
}
