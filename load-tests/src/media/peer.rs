//! One peer on the media thread: str0m, its socket, and what it has sent and received.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::net::{Protocol, Receive};
use str0m::{Event, IceConnectionState, Input, Output, Rtc};

use super::delay::Times;
use super::link::{Link, LinkReport};
use super::negotiation::Negotiated;
use super::publication::Publication;
use super::socket::{Outbox, ReceiveBuffer, Socket, wallclock_ns};
use super::tag::{StreamId, Tag};

/// The name of a peer, given by whoever adds it.
pub(crate) type PeerKey = usize;

/// A peer for the media thread.
#[derive(Debug)]
pub(crate) struct NewPeer {
    pub(crate) key: PeerKey,
    pub(crate) negotiated: Negotiated,
    /// When joining began: times to connect and to see media count from here.
    pub(crate) requested: Instant,
    /// Streams that it will receive, where that is known.
    pub(crate) expects: usize,
    /// What lies between the server and the peer, where that is narrow.
    pub(crate) link: Option<Link>,
}

/// What all peers of a thread write to.
#[derive(Debug)]
pub(crate) struct Totals {
    /// Packets that were sent in this span, in nanoseconds since 1970, count.
    pub(crate) window: (u64, u64),
    pub(crate) delays: Times,
    /// With the wait in narrow links, by their kbit/s.
    pub(crate) link_delays: BTreeMap<u32, Times>,
    pub(crate) datagrams_received: u64,
}

/// What became of a peer.
#[derive(Debug, Clone)]
pub(crate) struct PeerReport {
    pub(crate) key: PeerKey,
    pub(crate) connected: Option<Duration>,
    pub(crate) first_media: Option<Duration>,
    /// Packets that were sent in the window of the measurement.
    pub(crate) sent: u64,
    pub(crate) received: Vec<Received>,
    /// Holes in the sequence numbers of what came.
    pub(crate) missing: u64,
    pub(crate) link: Option<LinkReport>,
}

/// Packets of one stream that came, of those that were sent in the window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received {
    pub(crate) stream: StreamId,
    pub(crate) packets: u64,
    /// Of the payloads.
    pub(crate) bytes: u64,
}

/// When something came.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    /// For str0m, behind the link.
    at: Instant,
    /// At the socket, by the kernel's clock in nanoseconds since 1970.
    ns: u64,
    /// The wait in the link.
    waited: Duration,
}

impl Arrival {
    /// Nothing came, but the time did.
    fn of_nothing(at: Instant) -> Self {
        Self {
            at,
            ns: 0,
            waited: Duration::ZERO,
        }
    }
}

/// Sequence numbers of one SSRC, extended beyond 16 bits.
#[derive(Debug, Clone, Copy)]
struct Sequence {
    ssrc: u32,
    first: u64,
    last: u64,
    packets: u64,
}

#[derive(Debug)]
pub(crate) struct Peer {
    key: PeerKey,
    rtc: Rtc,
    pub(crate) socket: Socket,
    publications: Vec<Publication>,
    requested: Instant,
    expects: usize,
    link: Option<Link>,
    connected: Option<Instant>,
    first_media: Option<Instant>,
    /// The time of the last input: str0m's never goes back.
    last: Instant,
    /// When str0m wants to be woken.
    timeout: Instant,
    received: Vec<Received>,
    sequences: Vec<Sequence>,
    lost: bool,
}

impl Peer {
    pub(crate) fn new(new: NewPeer, now: Instant) -> Self {
        Self {
            key: new.key,
            rtc: new.negotiated.rtc,
            socket: new.negotiated.socket,
            publications: new.negotiated.publications,
            requested: new.requested,
            expects: new.expects,
            link: new.link,
            connected: None,
            first_media: None,
            last: now,
            timeout: now,
            received: Vec::new(),
            sequences: Vec::new(),
            lost: false,
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected.is_some()
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Whether something has come of each stream that was expected.
    pub(crate) fn is_complete(&self) -> bool {
        self.connected.is_some() && self.received.len() >= self.expects
    }

    /// When the peer has something to do.
    pub(crate) fn due(&self) -> Instant {
        let frames = self.publications.iter().filter_map(Publication::next);
        let link = self.link.as_ref().and_then(Link::next);
        frames.chain(link).fold(self.timeout, Instant::min)
    }

    /// Takes what has come from the network.
    pub(crate) fn receive(
        &mut self,
        buffer: &mut ReceiveBuffer,
        outbox: &mut Outbox,
        totals: &mut Totals,
    ) {
        loop {
            let more = self.socket.receive(buffer);
            let (now, now_ns) = (Instant::now(), wallclock_ns());
            for (source, arrived, datagram) in buffer.datagrams() {
                totals.datagrams_received += 1;
                // Feedback on congestion must not tell of the wait for this thread: the kernel knows better.
                let waited = Duration::from_nanos(now_ns.saturating_sub(arrived));
                let at = now.checked_sub(waited).unwrap_or(now);
                if let Some(link) = &mut self.link {
                    let counted = (totals.window.0..totals.window.1).contains(&arrived);
                    link.push(at, arrived, source, datagram, counted);
                } else {
                    let arrival = Arrival {
                        at,
                        ns: arrived,
                        waited: Duration::ZERO,
                    };
                    self.take(source, datagram, arrival, outbox, totals);
                }
            }
            if !more {
                break;
            }
        }
        outbox.flush(&self.socket);
    }

    fn take(
        &mut self,
        source: SocketAddr,
        datagram: &[u8],
        mut arrival: Arrival,
        outbox: &mut Outbox,
        totals: &mut Totals,
    ) {
        arrival.at = arrival.at.max(self.last);
        let local = self.socket.local;
        if let Ok(receive) = Receive::new(Protocol::Udp, source, local, datagram) {
            self.input(Input::Receive(arrival.at, receive), arrival, outbox, totals);
        }
    }

    /// Takes what has passed the link.
    fn take_passed(&mut self, now: Instant, outbox: &mut Outbox, totals: &mut Totals) {
        while let Some(passed) = self.link.as_mut().and_then(|link| link.pop(now)) {
            let arrival = Arrival {
                at: passed.due,
                ns: passed.arrived_ns,
                waited: passed.waited,
            };
            self.take(passed.source, &passed.datagram, arrival, outbox, totals);
        }
        outbox.flush(&self.socket);
    }

    /// Takes what has passed the link, encodes and sends what is due, and lets str0m do its part.
    pub(crate) fn wake(&mut self, now: Instant, outbox: &mut Outbox, totals: &mut Totals) {
        self.take_passed(now, outbox, totals);
        let mut wrote = false;
        for publication in &mut self.publications {
            wrote |= publication.capture(now, &mut self.rtc, totals.window);
        }
        if wrote || self.timeout <= now {
            // What has passed the link just now may be later than the turn.
            let now = now.max(self.last);
            let arrival = Arrival::of_nothing(now);
            self.input(Input::Timeout(now), arrival, outbox, totals);
            outbox.flush(&self.socket);
        }
    }

    /// Says good-bye.
    pub(crate) fn close(&mut self, now: Instant, outbox: &mut Outbox, totals: &mut Totals) {
        let _ = self.rtc.close();
        let arrival = Arrival::of_nothing(now);
        self.input(Input::Timeout(now), arrival, outbox, totals);
        outbox.flush(&self.socket);
    }

    pub(crate) fn report(&self) -> PeerReport {
        let since = |at: Option<Instant>| at.map(|at| at - self.requested);
        let missing = |sequence: &Sequence| {
            (sequence.last - sequence.first + 1).saturating_sub(sequence.packets)
        };
        PeerReport {
            key: self.key,
            connected: since(self.connected),
            first_media: since(self.first_media),
            sent: self.publications.iter().map(Publication::sent).sum(),
            received: self.received.clone(),
            missing: self.sequences.iter().map(missing).sum(),
            link: self.link.as_ref().map(Link::report),
        }
    }

    /// The one place that feeds and polls the `Rtc`: to its timeout, after every input.
    fn input(
        &mut self,
        input: Input<'_>,
        arrival: Arrival,
        outbox: &mut Outbox,
        totals: &mut Totals,
    ) {
        self.last = arrival.at;
        if self.rtc.handle_input(input).is_err() {
            self.rtc.disconnect();
        }
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(timeout)) => {
                    self.timeout = timeout;
                    break;
                }
                Ok(Output::Transmit(transmit)) => {
                    outbox.push(&self.socket, transmit.destination, &transmit.contents);
                }
                Ok(Output::Event(event)) => self.handle_event(event, arrival, totals),
                Err(_) => self.rtc.disconnect(),
            }
        }
        self.lost |= !self.rtc.is_alive();
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a load generator does not care for most events"
    )]
    fn handle_event(&mut self, event: Event, arrival: Arrival, totals: &mut Totals) {
        match event {
            Event::RtpPacket(packet) => {
                self.count_sequence(*packet.header.ssrc, *packet.seq_no);
                if let Some(tag) = Tag::find(&packet.payload) {
                    self.count(tag, packet.payload.len(), arrival, totals);
                }
            }
            Event::KeyframeRequest(request) => {
                for publication in &mut self.publications {
                    publication.request_keyframe(request.mid, request.rid);
                }
            }
            Event::Connected => {
                self.connected = Some(arrival.at);
                for publication in &mut self.publications {
                    publication.start(arrival.at);
                }
            }
            Event::IceConnectionStateChange(state) => {
                self.lost |= state == IceConnectionState::Disconnected;
            }
            _ => {}
        }
    }

    fn count(&mut self, tag: Tag, bytes: usize, arrival: Arrival, totals: &mut Totals) {
        self.first_media.get_or_insert(arrival.at);
        let known = self.received.iter().position(|of| of.stream == tag.stream);
        let position = known.unwrap_or_else(|| {
            self.received.push(Received {
                stream: tag.stream,
                packets: 0,
                bytes: 0,
            });
            self.received.len() - 1
        });
        if (totals.window.0..totals.window.1).contains(&tag.sent_ns) {
            if let Some(received) = self.received.get_mut(position) {
                received.packets += 1;
                received.bytes += bytes as u64;
            }
            let delay = Duration::from_nanos(arrival.ns.saturating_sub(tag.sent_ns));
            totals.delays.record(delay);
            if let Some(link) = &self.link {
                let behind = totals.link_delays.entry(link.report().kbps);
                behind
                    .or_insert_with(Times::new)
                    .record(delay + arrival.waited);
            }
        }
    }

    fn count_sequence(&mut self, ssrc: u32, number: u64) {
        if let Some(sequence) = self.sequences.iter_mut().find(|of| of.ssrc == ssrc) {
            sequence.last = sequence.last.max(number);
            sequence.packets += 1;
        } else {
            self.sequences.push(Sequence {
                ssrc,
                first: number,
                last: number,
                packets: 1,
            });
        }
    }
}
