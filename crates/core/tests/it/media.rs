//! Media of clients that publish by WHIP, through one shard or several and to viewers, without a network between them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use madang_core::limits::Limits;
use madang_core::{Datagram, Event, Shard, TrackId};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::media::{Direction, MediaKind, Mid, Pt, Rid, Simulcast, SimulcastLayer};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpPacket, RtpWrite};
use str0m::{Candidate, Input, Output, Rtc};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};

use crate::support::{SERVER, join, publish, shard_of};

/// The most that an Ethernet's packet has room for beside the headers of IPv4 and UDP.
const DATAGRAM_BYTES: usize = 1_472;

/// What a client sends beside others.
#[derive(Clone, Copy)]
struct Layer {
    rid: Option<Rid>,
    size: (u16, u16),
}

/// A client of one video m-line.
pub(crate) struct Client {
    pub(crate) rtc: Rtc,
    address: SocketAddr,
    mid: Mid,
    outgoing: Vec<Vec<u8>>,
    pub(crate) received: Vec<RtpPacket>,
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
        Self::join_with(shard, (now, number), (direction, None), change)
    }

    fn join_with(
        shard: &mut Shard,
        (now, number): (Instant, u16),
        (direction, simulcast): (Direction, Option<Simulcast>),
        change: impl Fn(String) -> String,
    ) -> (Self, String) {
        let address = SocketAddr::from(([10, 0, 0, 2], 5_000 + number));
        let config = Rtc::builder().set_rtp_mode(true).enable_raw_packets(true);
        let mut rtc = config
            .clear_codecs()
            .enable_vp8(true)
            .enable_h264(true)
            .build(now);
        rtc.add_local_candidate(Candidate::host(address, "udp").unwrap());
        let mut changes = rtc.sdp_api();
        let mid = changes.add_media(MediaKind::Video, direction, None, None, simulcast);
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

    /// Writes a frame of one packet.
    fn write(&mut self, now: Instant, number: u64, keyframe: bool, bytes: usize) {
        self.write_frame(now, number, keyframe, &[bytes]);
    }

    /// Writes a frame of packets of these sizes.
    fn write_frame(&mut self, now: Instant, number: u64, keyframe: bool, packets: &[usize]) {
        let only = Layer {
            rid: None,
            size: (320, 180),
        };
        self.write_layer(now, number, keyframe, packets, only);
    }

    fn write_layer(
        &mut self,
        now: Instant,
        number: u64,
        keyframe: bool,
        packets: &[usize],
        layer: Layer,
    ) {
        let pt = self.rtc.media(self.mid).unwrap().remote_pts()[0];
        let time = u32::try_from(number).unwrap() * 3_000;
        let count = u64::try_from(packets.len()).unwrap();
        for (seq, bytes) in (number * count..).zip(packets) {
            let (first, last) = (seq == number * count, seq + 1 == (number + 1) * count);
            let mut payload = vec![u8::from(first) << 4, u8::from(!keyframe), 0, 0];
            payload.extend_from_slice(&[0x9d, 0x01, 0x2a]);
            payload.extend_from_slice(&layer.size.0.to_le_bytes());
            payload.extend_from_slice(&layer.size.1.to_le_bytes());
            payload.extend_from_slice(&number.to_be_bytes());
            payload.resize(*bytes, 0);
            let seq = (seq + 1_000).into();
            let rtp = RtpWrite::new(pt, seq, time, now, payload).marker(last);
            let mut api = self.rtc.direct_api();
            let stream = api.stream_tx_by_mid(self.mid, layer.rid);
            stream.unwrap().write_rtp(rtp);
        }
    }

    /// Writes a packet of a payload type of its own.
    pub(crate) fn write_packet(
        &mut self,
        now: Instant,
        pt: Pt,
        (seq, time): (u64, u32),
        payload: &[u8],
    ) {
        let rtp = RtpWrite::new(pt, seq.into(), time, now, payload.to_vec()).marker(true);
        let mut api = self.rtc.direct_api();
        let stream = api.stream_tx_by_mid(self.mid, None);
        stream.unwrap().write_rtp(rtp);
    }

    /// The frames that have come, by their numbers: one for each packet.
    fn frames(&self) -> Vec<u64> {
        let number = |packet: &RtpPacket| packet.payload[11..19].try_into().unwrap();
        let mut packets: Vec<_> = self.received.iter().collect();
        packets.sort_by_key(|packet| packet.seq_no);
        packets
            .into_iter()
            .map(|packet| u64::from_be_bytes(number(packet)))
            .collect()
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

/// A publisher and viewers, in virtual time.
pub(crate) struct World {
    pub(crate) shards: Vec<Shard>,
    /// Each with the shard that it is at; the publisher is at the first.
    pub(crate) publisher: Client,
    viewers: Vec<(usize, Client)>,
    pub(crate) now: Instant,
    /// What the publisher is answered.
    answer: String,
}

impl World {
    pub(crate) fn new(shards: usize, change: impl Fn(String) -> String) -> Self {
        let now = Instant::now();
        let numbered = 0..u8::try_from(shards).unwrap();
        let mut all: Vec<_> = numbered
            .map(|number| shard_of(Limits::default(), number, shards))
            .collect();
        let shard = &mut all[0];
        let (publisher, answer) = Client::join(shard, (now, 1), Direction::SendOnly, change);
        publish(shard, now, 1, 1, publisher.mid);
        let mut world = Self {
            shards: all,
            publisher,
            viewers: Vec::new(),
            now,
            answer,
        };
        world.run(1_000, |_| true);
        world
    }

    /// Somebody comes who watches; returns which of the viewers that is.
    pub(crate) fn watch(&mut self, shard: usize) -> usize {
        let number = u16::try_from(self.viewers.len() + 2).unwrap();
        let at = (self.now, number);
        let (viewer, _) = Client::join(&mut self.shards[shard], at, Direction::RecvOnly, |o| o);
        self.viewers.push((shard, viewer));
        self.viewers.len() - 1
    }

    pub(crate) fn viewer(&self, which: usize) -> &Client {
        &self.viewers[which].1
    }

    /// Lets milliseconds pass. Datagrams of the publisher that `keep` does not like get lost.
    pub(crate) fn run(&mut self, milliseconds: u32, mut keep: impl FnMut(&[u8]) -> bool) {
        for _ in 0..milliseconds {
            self.now += Duration::from_millis(1);
            self.publisher.handle(Input::Timeout(self.now));
            let published = std::mem::take(&mut self.publisher.outgoing);
            for datagram in published.iter().filter(|datagram| keep(datagram)) {
                up(
                    &mut self.shards[0],
                    self.now,
                    self.publisher.address,
                    datagram,
                );
            }
            for (shard, viewer) in &mut self.viewers {
                viewer.handle(Input::Timeout(self.now));
                for datagram in std::mem::take(&mut viewer.outgoing) {
                    up(
                        &mut self.shards[*shard],
                        self.now,
                        viewer.address,
                        &datagram,
                    );
                }
            }
            for shard in 0..self.shards.len() {
                self.turn(shard);
            }
        }
    }

    fn turn(&mut self, at: usize) {
        let shard = &mut self.shards[at];
        shard.handle_timeout(self.now);
        shard.flush(self.now);
        let relayed: Vec<_> = std::iter::from_fn(|| shard.poll_relayed()).collect();
        let datagrams = shard.outbox().datagrams();
        let datagrams: Vec<_> = datagrams
            .map(|(route, datagram)| (route.destination, datagram.to_vec()))
            .collect();
        shard.outbox().clear();
        for (to, one) in relayed {
            let from = u8::try_from(at).unwrap();
            self.shards[usize::from(to)].handle_relayed(self.now, from, one);
        }
        for (destination, datagram) in datagrams {
            let viewers = self.viewers.iter_mut().map(|(_, viewer)| viewer);
            let mut clients = viewers.chain([&mut self.publisher]);
            let client = clients
                .find(|client| client.address == destination)
                .unwrap();
            client.largest = client.largest.max(datagram.len());
            let server = SERVER.parse().unwrap();
            let received = Receive::new(Protocol::Udp, server, destination, &datagram).unwrap();
            client.handle(Input::Receive(self.now, received));
        }
    }
}

fn up(shard: &mut Shard, now: Instant, source: SocketAddr, contents: &[u8]) {
    let destination = SERVER.parse().unwrap();
    let datagram = Datagram {
        source,
        destination,
        contents,
    };
    shard.handle_datagram(now, datagram);
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
fn whip_13_layers_are_ordered_by_what_they_measure() {
    // As OBS names them: the first is the largest.
    let sizes = [("0", 640, 360), ("1", 320, 180), ("2", 160, 90)];
    let mut world = World::new(1, |offer| offer);
    let now = world.now;
    let mut simulcast = Simulcast::new();
    for (rid, ..) in sizes {
        simulcast.add_send_layer(SimulcastLayer::new(rid));
    }
    let shard = &mut world.shards[0];
    let both = (Direction::SendOnly, Some(simulcast));
    let (obs, _) = Client::join_with(shard, (now, 9), both, |offer| offer);
    publish(shard, now, 9, 9, obs.mid);
    world.viewers.push((0, obs));
    world.run(1_000, |_| true);
    for number in 0..60 {
        let at = world.now;
        let (_, obs) = &mut world.viewers[0];
        for (rid, width, height) in sizes {
            let layer = Layer {
                rid: Some(rid.into()),
                size: (width, height),
            };
            obs.write_layer(at, number, number == 0, &[900], layer);
        }
        world.run(33, |_| true);
    }
    let told = std::iter::from_fn(|| world.shards[0].poll_event());
    let layers = told.filter_map(|event| match event {
        Event::Available {
            track: TrackId(9),
            layers,
            ..
        } => Some(layers),
        _ => None,
    });
    let newest = layers.last().unwrap();
    let newest: Vec<_> = newest
        .iter()
        .map(|layer| (layer.rid.unwrap().to_string(), layer.width, layer.height))
        .collect();
    let smallest_first =
        sizes.map(|(rid, width, height)| (rid.to_owned(), width.into(), height.into()));
    assert_eq!(newest, smallest_first.into_iter().rev().collect::<Vec<_>>());
}

#[test]
fn whip_41_who_negotiated_nack_without_rtx_is_asked_for_what_is_missing() {
    const LOST: u64 = 40;
    let mut world = World::new(1, without_rtx);
    let viewer = world.watch(0);
    world.run(500, |_| true);
    assert!(world.answer.contains(" nack\r\n"), "{}", world.answer);
    assert!(!world.answer.contains("rtx"), "{}", world.answer);
    let (mut kept, mut resent) = (None, false);
    for number in 0..80 {
        world.publisher.write(world.now, number, number == 0, 900);
        let lost = u16::try_from(1_000 + LOST).unwrap();
        world.run(20, |datagram| {
            let lose = sequence(datagram) == Some(lost);
            if lose {
                kept = Some(datagram.to_vec());
            }
            !lose
        });
        let asked = world.publisher.nacks > 0;
        if let Some(again) = kept.take_if(|_| asked) {
            // Without RTX the same packet is sent once more.
            up(
                &mut world.shards[0],
                world.now,
                world.publisher.address,
                &again,
            );
            resent = true;
        }
    }
    assert!(resent, "nobody has asked");
    assert_eq!(
        world.viewer(viewer).received.len(),
        80,
        "the viewer has all of it"
    );
}

#[test]
fn whip_44_packets_that_would_grow_past_the_mtu_are_dropped_and_counted() {
    let log = Log::default();
    let told = log.about_size;
    let _guard = tracing::subscriber::set_default(log);
    let mut world = World::new(1, |offer| offer);
    let viewer = world.watch(0);
    world.run(500, |_| true);
    let mut published = 0;
    for number in 0..60 {
        // From what all send to the largest that fits a datagram of 1,472 bytes.
        let bytes = [1_200, 1_400, 1_401, 1_428][usize::try_from(number % 4).unwrap()];
        world.publisher.write(world.now, number, number == 0, bytes);
        world.run(20, |datagram| {
            published = published.max(datagram.len());
            true
        });
    }
    assert_eq!(published, DATAGRAM_BYTES);
    assert_eq!(world.shards[0].stats().packets_dropped_too_large, 30);
    assert_eq!(told.load(Ordering::Relaxed), 1, "once in the log");
    let mut sizes: Vec<_> = world
        .viewer(viewer)
        .received
        .iter()
        .map(|p| p.payload.len())
        .collect();
    assert_eq!(sizes.len(), 30);
    sizes.sort_unstable();
    sizes.dedup();
    assert_eq!(sizes, [1_200, 1_400], "whole");
    let largest = world.viewer(viewer).largest;
    assert!((1_400..=DATAGRAM_BYTES).contains(&largest), "{largest}");
}

/// Frames of a publisher like OBS: twenty packets in each of thirty a second, keyframes when it likes.
const PACKETS_PER_FRAME: usize = 20;

/// Publishes frames with a keyframe in so many, whatever it is asked for, and packets of this size.
fn send(world: &mut World, frames: std::ops::Range<u64>, interval: u64, bytes: usize) {
    for number in frames {
        let packets = [bytes; PACKETS_PER_FRAME];
        let keyframe = number % interval == 0;
        world
            .publisher
            .write_frame(world.now, number, keyframe, &packets);
        world.run(33, |_| true);
    }
}

/// What somebody has seen who came late: each frame whole and once, from this keyframe to the newest.
fn saw_from(world: &World, viewer: usize, keyframe: u64, newest: u64) {
    let each = |number| std::iter::repeat_n(number, PACKETS_PER_FRAME);
    let expected: Vec<u64> = (keyframe..newest).flat_map(each).collect();
    assert!(
        world.viewer(viewer).frames() == expected,
        "viewer {viewer}: {:?}",
        world.viewer(viewer).frames()
    );
}

#[test]
fn whip_43_late_viewers_of_who_ignores_requests_start_with_the_last_keyframe() {
    // 4.6 Mbit/s; a keyframe each six seconds is rarer than any that broadcasters are told to send.
    let interval = 180;
    let mut world = World::new(3, |offer| offer);
    send(&mut world, 0..30, interval, 960);
    for shard in [0, 1] {
        world.watch(shard);
    }
    send(&mut world, 30..interval, interval, 960);
    let (keyframe, late) = (interval, interval + 90);
    send(&mut world, keyframe..late, interval, 960);
    // Here, where somebody on another worker watches already, and where nobody does.
    let viewers = [0, 1, 2].map(|shard| world.watch(shard));
    send(&mut world, late..late + 70, interval, 960);
    world.run(100, |_| true);
    for viewer in viewers {
        saw_from(&world, viewer, keyframe, late + 70);
    }
}

#[test]
fn whip_43_who_comes_first_need_not_find_out_that_requests_are_ignored() {
    let interval = 240;
    let mut world = World::new(2, |offer| offer);
    send(&mut world, 0..interval, interval, 600);
    let late = interval + 120;
    send(&mut world, interval..late, interval, 600);
    let viewers = [0, 1].map(|shard| world.watch(shard));
    send(&mut world, late..late + 70, interval, 600);
    world.run(100, |_| true);
    for viewer in viewers {
        saw_from(&world, viewer, interval, late + 70);
    }
}

#[test]
fn whip_43_who_sends_a_keyframe_every_two_seconds_is_known_to_ignore_requests_too() {
    let (interval, keyframe) = (60, 240);
    let mut world = World::new(2, |offer| offer);
    send(&mut world, 0..keyframe + 45, interval, 600);
    let viewers = [0, 1].map(|shard| world.watch(shard));
    send(
        &mut world,
        keyframe + 45..keyframe + interval,
        interval,
        600,
    );
    for viewer in viewers {
        let first = world.viewer(viewer).frames()[0];
        assert_eq!(first, keyframe, "before there is another");
    }
}

#[test]
fn whip_43_what_is_kept_for_late_viewers_is_bounded() {
    // Of twelve seconds at 4.6 Mbit/s, more than is kept.
    let interval = 360;
    let mut world = World::new(1, |offer| offer);
    send(&mut world, 0..30, interval, 960);
    world.watch(0);
    let late = interval + 300;
    send(&mut world, 30..late, interval, 960);
    let viewer = world.watch(0);
    send(&mut world, late..interval * 2, interval, 960);
    assert_eq!(world.viewer(viewer).frames(), []);
    send(&mut world, interval * 2..interval * 2 + 10, interval, 960);
    saw_from(&world, viewer, interval * 2, interval * 2 + 10);
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
