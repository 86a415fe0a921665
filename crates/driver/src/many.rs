//! Several runs in one system call: sendmmsg, each of whose messages the kernel splits into datagrams (GSO).
//!
//! The call is a good part of what a short run costs: for single packets to 200 destinations in turn sendto takes 4.8 µs
//! each and sendmmsg 3.6 (docs/performance.md, floors).

use std::fmt;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

use nix::cmsg_space;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike, sendmmsg,
};

use crate::limits::SEND_BATCH;

/// Memory for the headers of one socket's calls.
pub(crate) enum Many {
    V4(Headers<SockaddrIn>),
    V6(Headers<SockaddrIn6>),
}

/// The kernel reads control messages up to the end of their memory, so that it has to be filled: there is some for calls
/// whose messages are split, and some for those whose are not.
pub(crate) struct Headers<Address> {
    whole: MultiHeaders<Address>,
    split: MultiHeaders<Address>,
}

impl Many {
    /// For a socket that is bound to this address.
    pub(crate) fn new(bound: IpAddr) -> Self {
        // A socket that is bound to one address has no other to send from.
        let any = bound.is_unspecified();
        match bound {
            IpAddr::V4(_) if any => Self::V4(Headers {
                whole: preallocate(Some(cmsg_space!(in_pktinfo))),
                split: preallocate(Some(cmsg_space!(u16, in_pktinfo))),
            }),
            IpAddr::V4(_) => Self::V4(Headers::without_source()),
            IpAddr::V6(_) if any => Self::V6(Headers {
                whole: preallocate(Some(cmsg_space!(in6_pktinfo))),
                split: preallocate(Some(cmsg_space!(u16, in6_pktinfo))),
            }),
            IpAddr::V6(_) => Self::V6(Headers::without_source()),
        }
    }

    /// Sends messages until one fails, all from `source` where the socket has several addresses, and all split into
    /// datagrams of `segment_size` where there is one: how many have left, at most [`SEND_BATCH`].
    ///
    /// # Errors
    ///
    /// That of the first message.
    pub(crate) fn send<'a>(
        &mut self,
        socket: impl AsFd,
        source: Option<IpAddr>,
        segment_size: Option<u16>,
        messages: impl Iterator<Item = (SocketAddr, &'a [u8])>,
    ) -> io::Result<usize> {
        let (v4, v6);
        let source = match source {
            Some(IpAddr::V4(source)) => {
                v4 = from_v4(source);
                Some(ControlMessage::Ipv4PacketInfo(&v4))
            }
            Some(IpAddr::V6(source)) => {
                v6 = from_v6(source);
                Some(ControlMessage::Ipv6PacketInfo(&v6))
            }
            None => None,
        };
        let segments = segment_size.as_ref().map(ControlMessage::UdpGsoSegments);
        match self {
            Self::V4(headers) => headers.send(socket, source, segments, messages, |to| match to {
                SocketAddr::V4(to) => Some(to.into()),
                SocketAddr::V6(_) => None,
            }),
            Self::V6(headers) => headers.send(socket, source, segments, messages, |to| match to {
                SocketAddr::V6(to) => Some(to.into()),
                SocketAddr::V4(_) => None,
            }),
        }
    }
}

impl<Address: SockaddrLike + Copy> Headers<Address> {
    fn without_source() -> Self {
        Self {
            whole: preallocate(None),
            split: preallocate(Some(cmsg_space!(u16))),
        }
    }

    fn send<'a>(
        &mut self,
        socket: impl AsFd,
        source: Option<ControlMessage<'_>>,
        segments: Option<ControlMessage<'_>>,
        messages: impl Iterator<Item = (SocketAddr, &'a [u8])>,
        address_of: impl Fn(SocketAddr) -> Option<Address>,
    ) -> io::Result<usize> {
        let mut addresses = [None; SEND_BATCH];
        let mut slices = [[IoSlice::new(&[])]; SEND_BATCH];
        let places = addresses.iter_mut().zip(&mut slices);
        let count = places
            .zip(messages)
            .map(|((address, slice), (destination, contents))| {
                *address = address_of(destination);
                *slice = [IoSlice::new(contents)];
            })
            .count();
        let headers = match segments {
            Some(_) => &mut self.split,
            None => &mut self.whole,
        };
        let mut control = [ControlMessage::UdpGsoSegments(&0); 2];
        let mut controls = 0;
        for (place, message) in control.iter_mut().zip(segments.into_iter().chain(source)) {
            *place = message;
            controls += 1;
        }
        let sent = sendmmsg(
            socket.as_fd().as_raw_fd(),
            headers,
            slices.iter().take(count),
            addresses,
            control.get(..controls).unwrap_or_default(),
            MsgFlags::empty(),
        );
        Ok(sent?.count())
    }
}

fn preallocate<Address: SockaddrLike + Copy>(control: Option<Vec<u8>>) -> MultiHeaders<Address> {
    MultiHeaders::preallocate(SEND_BATCH, control)
}

fn from_v4(source: Ipv4Addr) -> in_pktinfo {
    in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: in_addr {
            s_addr: u32::from_ne_bytes(source.octets()),
        },
        ipi_addr: in_addr { s_addr: 0 },
    }
}

fn from_v6(source: Ipv6Addr) -> in6_pktinfo {
    in6_pktinfo {
        ipi6_ifindex: 0,
        ipi6_addr: in6_addr {
            s6_addr: source.octets(),
        },
    }
}

impl fmt::Debug for Many {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Many").finish_non_exhaustive()
    }
}
