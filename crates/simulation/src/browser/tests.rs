//! A browser before a mirror: a plain `Rtc` that answers and keeps what it gets. What is seen here
//! is the browser's and str0m's doing alone.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use madang_core::Source;
use str0m::Candidate;
use str0m::change::SdpOffer;
use str0m::rtp::{RtpPacket, RtpWrite};

use super::*;
use crate::decoder::Received;
use crate::network::{Link, LinkConfig};
use crate::payload::{Tag, parse_vp8};

const MIRROR: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 3478);

struct Pair {
    browser: Browser,
    mirror: Rtc,
    start: Instant,
    now: Duration,
    up: Link,
    in_flight: BTreeMap<(Duration, u64), Vec<u8>>,
    sent: u64,
    packets: Vec<(Mid, RtpPacket)>,
}

impl Pair {
    fn new(config: BrowserConfig, link: LinkConfig) -> Self {
        Self::with_extensions(config, link, ExtensionMap::standard())
    }

    /// A mirror that speaks only these header extensions.
    fn with_extensions(config: BrowserConfig, link: LinkConfig, extensions: ExtensionMap) -> Self {
        fastrand::seed(1);
        let start = Instant::now();
        let address = SocketAddr::from((Ipv4Addr::new(198, 51, 100, 1), 50_000));
        let mut browser = Browser::new(config, 0, address, start, (Duration::ZERO, 1));
        let mut mirror = Rtc::builder()
            .set_rtp_mode(true)
            .clear_codecs()
            .enable_opus(true, false)
            .enable_vp8(true)
            .enable_h264(true)
            .set_extension_map(extensions)
            .build(start);
        mirror.add_local_candidate(Candidate::host(MIRROR.into(), "udp").unwrap());
        let offer = SdpOffer::from_sdp_string(&browser.first_offer()).unwrap();
        let candidate = Candidate::from_sdp_string(&browser.candidate()).unwrap();
        let answer = mirror.sdp_api().accept_offer(offer).unwrap();
        mirror.add_remote_candidate(candidate);
        browser.accept_answer(Duration::ZERO, &answer.to_sdp_string());
        let up = Link::new(link, 1);
        let (now, in_flight, packets) = (Duration::ZERO, BTreeMap::new(), Vec::new());
        Self {
            browser,
            mirror,
            start,
            now,
            up,
            in_flight,
            sent: 0,
            packets,
        }
    }

    fn run(&mut self, millis: u64) {
        for _ in 0..millis {
            self.now += Duration::from_millis(1);
            self.browser.tick(self.now);
            for (_, datagram) in self.browser.take_outgoing() {
                for arrival in self.up.send(self.now, &datagram) {
                    self.sent += 1;
                    self.in_flight
                        .insert((arrival.at, self.sent), arrival.datagram);
                }
            }
            while let Some(entry) = self
                .in_flight
                .first_entry()
                .filter(|entry| entry.key().0 <= self.now)
            {
                let datagram = entry.remove();
                let source = self.browser.address();
                if let Ok(receive) = Receive::new(Protocol::Udp, source, MIRROR.into(), &datagram) {
                    self.mirror
                        .handle_input(Input::Receive(self.start + self.now, receive))
                        .unwrap();
                    self.drain_mirror();
                }
            }
            self.mirror
                .handle_input(Input::Timeout(self.start + self.now))
                .unwrap();
            self.drain_mirror();
        }
    }

    fn drain_mirror(&mut self) {
        loop {
            match self.mirror.poll_output().unwrap() {
                Output::Timeout(_) => return,
                Output::Transmit(transmit) => {
                    self.browser
                        .handle_datagram(self.now, MIRROR.into(), &transmit.contents);
                }
                Output::Event(Event::RtpPacket(packet)) => {
                    let mid = self
                        .mirror
                        .direct_api()
                        .stream_rx(&packet.header.ssrc)
                        .unwrap()
                        .mid();
                    self.packets.push((mid, packet));
                }
                Output::Event(_) => {}
            }
        }
    }

    /// What a decoder makes of one layer.
    fn decode(&self, source: Source, layer: u8) -> VideoDecoder {
        let mid = self.browser.mid_of(source).unwrap();
        let mut decoder = VideoDecoder::default();
        for (_, packet) in self.packets.iter().filter(|(of, _)| *of == mid) {
            let parse = match self.browser.config.video_codec {
                Codec::Vp9 => crate::payload::parse_vp9,
                Codec::Av1 => crate::payload::parse_av1,
                Codec::H264 => crate::payload::parse_h264,
                Codec::Vp8 | Codec::Opus => parse_vp8,
            };
            if parse(&packet.payload).is_none_or(|parsed| parsed.tag.layer != layer) {
                continue;
            }
            decoder.receive(Received {
                at: packet.timestamp - self.start,
                codec: self.browser.config.video_codec,
                descriptor: None,
                ssrc: *packet.header.ssrc,
                sequence: *packet.seq_no,
                timestamp: packet.header.timestamp,
                marker: packet.header.marker,
                repaired: false,
                hold: None,
                payload: packet.payload.to_vec(),
            });
        }
        decoder.advance(self.now + Duration::from_secs(1));
        decoder
    }
}

#[test]
fn a_camera_arrives_in_three_layers() {
    for video_codec in [Codec::Vp8, Codec::H264] {
        let mut pair = Pair::new(
            BrowserConfig {
                video_codec,
                ..BrowserConfig::default()
            },
            LinkConfig::default(),
        );
        pair.run(500);
        pair.browser.publish(pair.now, Source::Camera);
        pair.run(2_000);
        for layer in 0..3 {
            let decoder = pair.decode(Source::Camera, layer);
            assert_eq!(
                (decoder.complaints(), decoder.lost()),
                (&[][..], 0),
                "layer {layer}"
            );
            assert!(
                (59..=61).contains(&decoder.shown().len()),
                "{}",
                decoder.shown().len()
            );
        }
        for rid in ["q", "h", "f"].map(Rid::from) {
            assert!(
                pair.packets
                    .iter()
                    .any(|(_, packet)| packet.header.ext_vals.rid == Some(rid)),
                "{rid}"
            );
        }
    }
}

#[test]
fn lost_packets_are_repaired_and_the_stream_is_whole() {
    let link = LinkConfig {
        loss: 0.05,
        duplicate: 0.05,
        reorder: 0.05,
        ..LinkConfig::default()
    };
    let mut pair = Pair::new(BrowserConfig::default(), link);
    pair.run(1_000);
    pair.browser.publish(pair.now, Source::Camera);
    pair.run(1_000);
    let camera = pair.browser.mid_of(Source::Camera).unwrap();
    for rid in ["q", "h", "f"] {
        // Nobody notices the loss of a stream's very first packet.
        let mut direct = pair.mirror.direct_api();
        let stream = direct.stream_rx_by_mid(camera, Some(rid.into())).unwrap();
        stream.request_keyframe(KeyframeRequestKind::Pli);
    }
    pair.run(4_000);
    assert_eq!(pair.browser.keyframes_asked.len(), 3);
    for layer in 0..3 {
        let decoder = pair.decode(Source::Camera, layer);
        assert_eq!(decoder.complaints(), []);
        assert!(
            decoder.lost() < 3,
            "{} of {} lost",
            decoder.lost(),
            decoder.packets()
        );
        assert!(decoder.shown().len() > 100, "{}", decoder.shown().len());
    }
}

#[test]
fn counters_wrap_on_the_wire() {
    let start = StartValues {
        sequence: Some(65_500),
        timestamp: Some(u32::MAX - 90_000),
        picture_id: Some(0x7ff0),
        tl0: Some(250),
        short_picture_id: false,
    };
    let mut pair = Pair::new(
        BrowserConfig {
            start,
            ..BrowserConfig::default()
        },
        LinkConfig::default(),
    );
    pair.run(500);
    pair.browser.publish(pair.now, Source::Camera);
    pair.run(3_000);
    for layer in 0..3 {
        let decoder = pair.decode(Source::Camera, layer);
        assert_eq!((decoder.complaints(), decoder.lost()), (&[][..], 0));
        assert!(decoder.shown().len() > 85);
    }
}

#[test]
fn a_microphone_says_its_level() {
    let mut pair = Pair::new(BrowserConfig::default(), LinkConfig::default());
    pair.run(500);
    pair.browser.publish(pair.now, Source::Microphone);
    pair.run(200);
    pair.browser.talk(Some(-20));
    pair.run(200);
    let levels: Vec<_> = pair
        .packets
        .iter()
        .filter_map(|(_, packet)| packet.header.ext_vals.audio_level)
        .collect();
    assert!(
        levels.len() >= 19 && levels.starts_with(&[-127]) && levels.ends_with(&[-20]),
        "{levels:?}"
    );
}

#[test]
fn rtp_of_an_ssrc_that_no_answer_declares_is_seen() {
    let mut pair = Pair::new(BrowserConfig::default(), LinkConfig::default());
    pair.run(500);
    let declared = *pair.browser.declared.first().unwrap();
    for ssrc in [declared, 0, 0xdead_beef] {
        let mut datagram = vec![0x80, 96, 0, 1, 0, 0, 0, 0];
        datagram.extend(ssrc.to_be_bytes());
        datagram.resize(100, 0);
        pair.browser
            .handle_datagram(pair.now, MIRROR.into(), &datagram);
    }
    assert_eq!(pair.browser.undeclared, [(pair.now, 0xdead_beef)]);
}

#[test]
fn a_first_packet_without_its_mid_is_seen() {
    for (extensions, complaints) in [(ExtensionMap::standard(), 0), (ExtensionMap::empty(), 1)] {
        let mut pair =
            Pair::with_extensions(BrowserConfig::default(), LinkConfig::default(), extensions);
        pair.run(500);
        let slot = pair
            .browser
            .mids
            .slots
            .iter()
            .find(|slot| slot.1 == MediaKind::Audio)
            .unwrap()
            .0;
        let opus = pair
            .mirror
            .codec_config()
            .find(|params| params.spec().codec.is_audio())
            .unwrap()
            .pt();
        let tag = Tag {
            source: 1,
            layer: 0,
            spatial: 0,
            temporal: 0,
            frame: 0,
            packet: 0,
            packets: 1,
            reference: None,
            below: None,
            captured: pair.now,
        };
        let payload = crate::payload::write_opus(&tag, 80);
        let rtp = RtpWrite::new(opus, 1.into(), 0, pair.start + pair.now, payload);
        pair.mirror
            .direct_api()
            .stream_tx_by_mid(slot, None)
            .unwrap()
            .write_rtp(rtp);
        pair.run(50);
        assert_eq!(pair.browser.audio.len(), 1, "the packet came");
        assert_eq!(pair.browser.without_mid.len(), complaints);
    }
}
