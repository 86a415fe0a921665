//! Receiving what lies in the kernel's buffer.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg};

use super::rhythm::{Destination, Method, Sender};
use super::{Floor, PACKET_BYTES, floor, timed};
use crate::media::socket::{ReceiveBuffer, Socket};

const IP: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// So many fit into a socket's buffer.
const ROUND: u64 = 128;
const ROUNDS: u64 = 400;
const BATCH: usize = 32;

pub(super) fn measure() -> io::Result<Vec<Floor>> {
    Ok(vec![one_by_one()?, many_at_once()?, runs()?])
}

/// Fills a socket and empties it, again and again; only the latter counts.
fn rounds(
    name: &str,
    method: Method,
    destination: std::net::SocketAddr,
    mut empty: impl FnMut() -> u64,
) -> io::Result<Floor> {
    let destination = Destination::new(destination, PACKET_BYTES)?;
    let mut sender = Sender::new()?;
    let (mut cpu, mut packets) = (Duration::ZERO, 0);
    for _ in 0..ROUNDS {
        for _ in 0..ROUND / 4 {
            sender.send(method, &destination, 4, PACKET_BYTES);
        }
        cpu += timed(|| packets += empty());
    }
    Ok(floor("loop", name, cpu, packets))
}

fn one_by_one() -> io::Result<Floor> {
    let socket = plain()?;
    let mut buffer = [0; 2_048];
    rounds("recvfrom", Method::Sendto, socket.local_addr()?, || {
        let mut count = 0;
        while socket.recv_from(&mut buffer).is_ok() {
            count += 1;
        }
        count
    })
}

fn many_at_once() -> io::Result<Floor> {
    let socket = plain()?;
    let mut buffers = vec![[0_u8; 2_048]; BATCH];
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let descriptor = socket.as_raw_fd();
    rounds(
        "recvmmsg × 32",
        Method::Sendto,
        socket.local_addr()?,
        || {
            let mut count = 0;
            loop {
                let slices = buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]);
                let mut slices: Vec<_> = slices.collect();
                let flags = MsgFlags::MSG_DONTWAIT;
                match recvmmsg(descriptor, &mut headers, slices.iter_mut(), flags, None) {
                    Ok(received) => count += received.count() as u64,
                    Err(_) => return count,
                }
            }
        },
    )
}

fn runs() -> io::Result<Floor> {
    let socket = Socket::open(IP, true)?;
    let mut buffer = ReceiveBuffer::new();
    rounds("GRO × 4", Method::Gso, socket.local, || {
        let mut count = 0;
        loop {
            let more = socket.receive(&mut buffer);
            count += buffer.datagrams().count() as u64;
            if !more {
                return count;
            }
        }
    })
}

fn plain() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((IP, 0))?;
    socket2::SockRef::from(&socket).set_recv_buffer_size(1 << 20)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
