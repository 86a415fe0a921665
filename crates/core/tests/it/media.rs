//! Media of clients that publish by WHIP, through one shard and to a viewer, without a network between them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use madang_core::limits::Limits;
use madang_core::{Datagram, Shard};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpPacket, RtpWrite};
use str0m::{Candidate, Input, Output, Rtc};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};

use crate::support::{SERVER, join, publish, shard};

/// The most that an Ethernet's packet has room for beside the headers of IPv4 and UDP.
const DATAGRAM_BYTES: usize = 1_472;

/// A client of one video m-line.
struct Client {
    rtc: Rtc,
    address: SocketAddr,
    mid: Mid,
    outgoing: Vec<Vec<u8>>,
    received: Vec<RtpPacket>,
    nacks: usize,
    /// The size of the largest datagram that has come.
    largest: usize,
}

impl Client {
    /// Joins with the offer as `change` makes it. What is answered stands beside the client.
    fn join(
        shard: &mut Shard,
        (now, number): (Instant, u16),
        direction: Direction,
        change: impl Fn(String) -> String,
    ) -> (Self, String) {
        let address = SocketAddr::from(([10, 0, 0, 2], 5_000 + number));
        let config = Rtc::builder().set_rtp_mode(true).enable_raw_packets(true);
        let mut rtc = config.clear_codecs().enable_vp8(true).build(now);
        rtc.add_local_candidate(Candidate::host(address, "udp").unwrap());
        let mut changes = rtc.sdp_api();
        let mid = changes.add_media(MediaKind::Video, direction, None, None, None);
        let (offer, pending): (_, SdpPendingOffer) = changes.apply().unwrap();
        let offer = change(offer.to_sdp_string());
        let answer = join(shard, now, number.into(), &offer).unwrap().sdp;
        let answer = answer.to_string();
        let accepted = SdpAnswer::from_sdp_string(&answer).unwrap();
        rtc.sdp_api().accept_answer(pending, accepted).unwrap();
        let client = Self {
            rtc,
            address,
            mid,
            outgoing: Vec::new(),
            received: Vec::new(),
            nacks: 0,
            largest: 0,
        };
        (client, answer)
    }

    /// Writes a packet whose payload begins a keyframe where `keyframe`.
    fn write(&mut self, now: Instant, number: u64, keyframe: bool, bytes: usize) {
        let pt = self.rtc.media(self.mid).unwrap().remote_pts()[0];
        let mut payload = vec![0x10, u8::from(!keyframe), 0, 0];
        payload.extend_from_slice(&[0x9d, 0x01, 0x2a, 64, 1, 180, 0]);
        payload.resize(bytes, u8::try_from(number % 251).unwrap());
        let time = u32::try_from(number).unwrap() * 3_000;
        let rtp = RtpWrite::new(pt, (number + 1_000).into(), time, now, payload).marker(true);
        let mut api = self.rtc.direct_api();
        api.stream_tx_by_mid(self.mid, None).unwrap().write_rtp(rtp);
    }

    /// Takes an input, and all that comes of it.
    fn handle(&mut self, input: Input<'_>) {
        self.rtc.handle_input(input).unwrap();
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Transmit(transmit) => self.outgoing.push(transmit.contents.to_vec()),
                Output::Event(str0m::Event::RtpPacket(packet)) => self.received.push(packet),
                Output::Event(str0m::Event::RawPacket(packet)) => {
                    let text = format!("{packet:?}");
                    self.nacks += usize::from(text.starts_with("RtcpRx(Nack("));
                }
                Output::Event(_) => {}
                Output::Timeout(_) => return,
            }
        }
    }
}

/// A publisher and a viewer, in virtual time.
struct Pair {
    shard: Shard,
    publisher: Client,
    viewer: Client,
    now: Instant,
    /// What the publisher is answered.
    answer: String,
}

impl Pair {
    fn new(change: impl Fn(String) -> String) -> Self {
        let now = Instant::now();
        let mut shard = shard(Limits::default());
        let as_it_is = |offer| offer;
        let (publisher, answer) = Client::join(&mut shard, (now, 1), Direction::SendOnly, change);
        publish(&mut shard, now, 1, 1, publisher.mid);
        let (viewer, _) = Client::join(&mut shard, (now, 2), Direction::RecvOnly, as_it_is);
        let mut pair = Self {
            shard,
            publisher,
            viewer,
            now,
            answer,
        };
        pair.run(1_000, |_| true);
        pair
    }

    /// Lets milliseconds pass. Datagrams of the publisher that `keep` does not like get lost.
    fn run(&mut self, milliseconds: u32, mut keep: impl FnMut(&[u8]) -> bool) {
        for _ in 0..milliseconds {
            self.now += Duration::from_millis(1);
            self.publisher.handle(Input::Timeout(self.now));
            self.viewer.handle(Input::Timeout(self.now));
            let published = std::mem::take(&mut self.publisher.outgoing);
            for datagram in published.iter().filter(|datagram| keep(datagram)) {
                self.up(self.publisher.address, datagram);
            }
            for datagram in std::mem::take(&mut self.viewer.outgoing) {
                self.up(self.viewer.address, &datagram);
            }
            self.shard.handle_timeout(self.now);
            self.shard.flush(self.now);
            self.down();
        }
    }

    fn up(&mut self, source: SocketAddr, contents: &[u8]) {
        let destination = SERVER.parse().unwrap();
        let datagram = Datagram {
            source,
            destination,
            contents,
        };
        self.shard.handle_datagram(self.now, datagram);
    }

    fn down(&mut self) {
        let datagrams = self.shard.outbox().datagrams();
        let datagrams: Vec<_> = datagrams
            .map(|(route, datagram)| (route.destination, datagram.to_vec()))
            .collect();
        self.shard.outbox().clear();
        for (destination, datagram) in datagrams {
            let client = if destination == self.viewer.address {
                &mut self.viewer
            } else {
                &mut self.publisher
            };
            client.largest = client.largest.max(datagram.len());
            let server = SERVER.parse().unwrap();
            let received = Receive::new(Protocol::Udp, server, destination, &datagram).unwrap();
            client.handle(Input::Receive(self.now, received));
        }
    }
}

/// The sequence number of an RTP packet of the publisher.
fn sequence(datagram: &[u8]) -> Option<u16> {
    let [128..=191, second, high, low, ..] = datagram else {
        return None;
    };
    // RTCP has its types here (RFC 5761).
    (!(192..=223).contains(second)).then(|| u16::from_be_bytes([*high, *low]))
}

/// Takes RTX out of an offer.
fn without_rtx(offer: String) -> String {
    let rtx: Vec<String> = offer
        .lines()
        .filter_map(|line| line.strip_prefix("a=rtpmap:")?.strip_suffix(" rtx/90000"))
        .map(str::to_owned)
        .collect();
    assert!(!rtx.is_empty());
    let lines = offer.lines().filter(|line| {
        let of_rtx = |pt: &String| {
            let names = [format!("a=rtpmap:{pt} "), format!("a=fmtp:{pt} ")];
            names.iter().any(|name| line.starts_with(name.as_str()))
        };
        !rtx.iter().any(of_rtx) && !line.starts_with("a=ssrc-group:FID")
    });
    let lines = lines.map(|line| {
        let words = line.split(' ');
        let kept = words.filter(|word| !line.starts_with("m=") || !rtx.iter().any(|pt| pt == word));
        kept.collect::<Vec<_>>().join(" ") + "\r\n"
    });
    lines.collect()
}

#[test]
fn whip_41_who_negotiated_nack_without_rtx_is_asked_for_what_is_missing() {
    const LOST: u64 = 40;
    let mut pair = Pair::new(without_rtx);
    assert!(pair.answer.contains(" nack\r\n"), "{}", pair.answer);
    assert!(!pair.answer.contains("rtx"), "{}", pair.answer);
    let (mut kept, mut resent) = (None, false);
    for number in 0..80 {
        pair.publisher.write(pair.now, number, number == 0, 900);
        let lost = u16::try_from(1_000 + LOST).unwrap();
        pair.run(20, |datagram| {
            let lose = sequence(datagram) == Some(lost);
            if lose {
                kept = Some(datagram.to_vec());
            }
            !lose
        });
        let asked = pair.publisher.nacks > 0;
        if let Some(again) = kept.take_if(|_| asked) {
            // Without RTX the same packet is sent once more.
            pair.up(pair.publisher.address, &again);
            resent = true;
        }
    }
    assert!(resent, "nobody has asked");
    assert_eq!(pair.viewer.received.len(), 80, "the viewer has all of it");
}

#[test]
fn whip_44_packets_that_would_grow_past_the_mtu_are_dropped_and_counted() {
    let log = Log::default();
    let told = log.about_size;
    let _guard = tracing::subscriber::set_default(log);
    let mut pair = Pair::new(|offer| offer);
    let mut published = 0;
    for number in 0..60 {
        // From what all send to the largest that fits a datagram of 1,472 bytes.
        let bytes = [1_200, 1_400, 1_401, 1_428][usize::try_from(number % 4).unwrap()];
        pair.publisher.write(pair.now, number, number == 0, bytes);
        pair.run(20, |datagram| {
            published = published.max(datagram.len());
            true
        });
    }
    assert_eq!(published, DATAGRAM_BYTES);
    assert_eq!(pair.shard.stats().packets_dropped_too_large, 30);
    assert_eq!(told.load(Ordering::Relaxed), 1, "once in the log");
    let mut sizes: Vec<_> = pair
        .viewer
        .received
        .iter()
        .map(|p| p.payload.len())
        .collect();
    assert_eq!(sizes.len(), 30);
    sizes.sort_unstable();
    sizes.dedup();
    assert_eq!(sizes, [1_200, 1_400], "whole");
    let largest = pair.viewer.largest;
    assert!((1_400..=DATAGRAM_BYTES).contains(&largest), "{largest}");
}

/// Counts what is said of packets that are too large.
struct Log {
    about_size: &'static AtomicUsize,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            about_size: Box::leak(Box::default()),
        }
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let is_about_size = event.metadata().fields().field("limit").is_some();
        self.about_size
            .fetch_add(usize::from(is_about_size), Ordering::Relaxed);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
