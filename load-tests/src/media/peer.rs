//! One peer on the media thread: str0m, its socket, and what it has sent and received.

use std::time::{Duration, Instant};

use str0m::net::{Protocol, Receive};
use str0m::{Event, IceConnectionState, Input, Output, Rtc};

use super::delay::Times;
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
}

/// What all peers of a thread write to.
#[derive(Debug)]
pub(crate) struct Totals {
    /// Packets that were sent in this span, in nanoseconds since 1970, count.
    pub(crate) window: (u64, u64),
    pub(crate) delays: Times,
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
}

/// Packets of one stream that came, of those that were sent in the window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received {
    pub(crate) stream: StreamId,
    pub(crate) packets: u64,
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
        frames.fold(self.timeout, Instant::min)
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
                let local = self.socket.local;
                if let Ok(receive) = Receive::new(Protocol::Udp, source, local, datagram) {
                    // Feedback on congestion must not tell of the wait for this thread: the kernel knows better.
                    let waited = Duration::from_nanos(now_ns.saturating_sub(arrived));
                    let at = now.checked_sub(waited).unwrap_or(now).max(self.last);
                    self.input(Input::Receive(at, receive), at, arrived, outbox, totals);
                }
            }
            if !more {
                break;
            }
        }
        outbox.flush(&self.socket);
    }

    /// Encodes and sends what is due, and lets str0m do its part.
    pub(crate) fn wake(&mut self, now: Instant, outbox: &mut Outbox, totals: &mut Totals) {
        let mut wrote = false;
        for publication in &mut self.publications {
            wrote |= publication.capture(now, &mut self.rtc, totals.window);
        }
        if wrote || self.timeout <= now {
            self.input(Input::Timeout(now), now, 0, outbox, totals);
            outbox.flush(&self.socket);
        }
    }

    /// Says good-bye.
    pub(crate) fn close(&mut self, now: Instant, outbox: &mut Outbox, totals: &mut Totals) {
        let _ = self.rtc.close();
        self.input(Input::Timeout(now), now, 0, outbox, totals);
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
        }
    }

    /// The one place that feeds and polls the `Rtc`: to its timeout, after every input.
    fn input(
        &mut self,
        input: Input<'_>,
        now: Instant,
        arrived: u64,
        outbox: &mut Outbox,
        totals: &mut Totals,
    ) {
        self.last = now;
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
                Ok(Output::Event(event)) => self.handle_event(event, now, arrived, totals),
                Err(_) => self.rtc.disconnect(),
            }
        }
        self.lost |= !self.rtc.is_alive();
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a load generator does not care for most events"
    )]
    fn handle_event(&mut self, event: Event, now: Instant, arrived: u64, totals: &mut Totals) {
        match event {
            Event::RtpPacket(packet) => {
                self.count_sequence(*packet.header.ssrc, *packet.seq_no);
                if let Some(tag) = Tag::find(&packet.payload) {
                    self.count(tag, now, arrived, totals);
                }
            }
            Event::KeyframeRequest(request) => {
                for publication in &mut self.publications {
                    publication.request_keyframe(request.mid, request.rid);
                }
            }
            Event::Connected => {
                self.connected = Some(now);
                for publication in &mut self.publications {
                    publication.start(now);
                }
            }
            Event::IceConnectionStateChange(state) => {
                self.lost |= state == IceConnectionState::Disconnected;
            }
            _ => {}
        }
    }

    fn count(&mut self, tag: Tag, now: Instant, arrived: u64, totals: &mut Totals) {
        self.first_media.get_or_insert(now);
        let known = self.received.iter().position(|of| of.stream == tag.stream);
        let position = known.unwrap_or_else(|| {
            self.received.push(Received {
                stream: tag.stream,
                packets: 0,
            });
            self.received.len() - 1
        });
        if (totals.window.0..totals.window.1).contains(&tag.sent_ns) {
            if let Some(received) = self.received.get_mut(position) {
                received.packets += 1;
            }
            totals.delays.record_ns(arrived.saturating_sub(tag.sent_ns));
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
