//! What a browser sends and receives.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use fastrand::Rng;
use madang_core::{LayerWanted, Source};
use str0m::Input;
use str0m::format::Codec as RtcCodec;
use str0m::media::{Frequency, MediaKind, MediaTime, Mid, Pt, Rid};
use str0m::rtp::rtcp::Rtcp;
use str0m::rtp::{AbsCaptureTime, ExtensionValues, RawPacket, RtpPacket, RtpWrite};

use super::Browser;
use super::early::First;
use crate::decoder::Received;
use crate::dependency::DescriptorBytes;
use crate::encoder::{AudioEncoder, EncodedPacket, Encoding, LayerSpec, VideoEncoder};
use crate::payload::{Codec, Mode, parse_vp8};

/// A keyframe request that reached a publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyframeAsked {
    pub at: Duration,
    pub mid: Mid,
    pub rid: Option<Rid>,
}

/// A source that is being sent.
#[derive(Debug)]
pub(super) struct Publication {
    encoder: Encoder,
    began: Duration,
    muted: bool,
    delay: Delay,
}

/// What is kept to be sent again, as by the engine itself.
const RTX_PACKETS: usize = 1_024;
const RTX_AGE: Duration = Duration::from_secs(3);
/// So much of what is sent may be sent again: as much as the media, for which libwebrtc takes the estimate (`RateLimiter` of
/// `RtpTransportControllerSend`). The engine has 15 % by itself, which is used up where as many get lost.
const RTX_SHARE_MAX: f32 = 0.5;

/// Pictures that have been captured, and are not yet encoded.
#[derive(Debug)]
struct Delay {
    /// How long that takes, at least and at most.
    time: (Duration, Duration),
    rng: Rng,
    /// When each packet is there.
    packets: VecDeque<(Duration, EncodedPacket)>,
}

impl Delay {
    fn push(&mut self, captured: Duration, packets: Vec<EncodedPacket>) {
        let (least, most) = self.time;
        let more = most.saturating_sub(least).mul_f64(self.rng.f64());
        let before = self.packets.back().map(|(at, _)| *at);
        let at = before.max(Some(captured + least + more));
        let done = at.into_iter().cycle().zip(packets);
        self.packets.extend(done);
    }

    fn pop(&mut self, now: Duration) -> Option<EncodedPacket> {
        self.packets
            .pop_front_if(|(at, _)| *at <= now)
            .map(|(_, packet)| packet)
    }
}

#[derive(Debug)]
enum Encoder {
    Video(VideoEncoder),
    Audio(AudioEncoder),
}

/// What a microphone takes of the uplink, with its headers.
const AUDIO_BPS: u64 = 60_000;
/// The rest is for payloads, their headers, and repairs, which libwebrtc subtracts as it has sent them lately.
const PAYLOAD_PERCENT: u64 = 94;
/// 1 ms at 100 Mbit/s.
const PADDING_PER_TICK_MAX: usize = 12;

/// The name that a publication has in every [`crate::Tag`].
pub fn source_number(browser: u32, source: Source) -> u32 {
    let position = match source {
        Source::Microphone => 0,
        Source::Camera => 1,
        Source::Screen => 2,
        Source::ScreenAudio => 3,
    };
    browser * 4 + position
}

impl Browser {
    /// Starts to encode and send a source. What has been sent before on this m-line goes on: a
    /// sender keeps its SSRC and its numbers when its track is replaced.
    pub fn publish(&mut self, now: Duration, source: Source) {
        let mid = self
            .mid_of(source)
            .expect("the first offer has all sources");
        if let Some(publication) = self.publications.get_mut(&mid) {
            publication.muted = false;
            if let Encoder::Video(encoder) = &mut publication.encoder {
                encoder.request_keyframe(None);
            }
            return;
        }
        let name = source_number(self.number, source);
        let seed = self.seed ^ u64::from(name);
        let start = self.config.start;
        let video = |encoding, specs| VideoEncoder::new(name, encoding, specs, start, seed);
        let encoding = self.config.encoding();
        let screen = Encoding {
            svc: None,
            ..encoding
        };
        let encoder = match source {
            Source::Camera if encoding.svc.is_some() => {
                Encoder::Video(video(encoding, LayerSpec::layered_camera()))
            }
            Source::Camera => {
                let specs = if self.config.small_camera {
                    LayerSpec::small_camera()
                } else {
                    LayerSpec::camera()
                };
                let mut camera = video(encoding, specs);
                for (layer, codec) in self.config.layer_codecs.into_iter().flatten().enumerate() {
                    camera.change_layer(layer, self.config.encoding_with(codec));
                }
                Encoder::Video(camera)
            }
            Source::Screen => Encoder::Video(video(screen, LayerSpec::screen())),
            Source::Microphone | Source::ScreenAudio => {
                let (dtx, level) = (self.config.dtx, self.config.audio_level);
                Encoder::Audio(AudioEncoder::new(name, dtx, level, start, seed))
            }
        };
        self.publications.insert(
            mid,
            Publication {
                encoder,
                began: now,
                muted: false,
                delay: Delay {
                    time: self.config.encoding_time,
                    rng: Rng::with_seed(seed),
                    packets: VecDeque::new(),
                },
            },
        );
    }

    /// Encodes the camera with another codec, in each stream as it is there, as `setParameters` has it: SSRCs and numbers go on.
    pub fn change_codec(&mut self, codec: Codec, svc: Option<Mode>) {
        (self.config.video_codec, self.config.svc) = (codec, svc);
        self.config.layer_codecs = None;
        let encoding = self.config.encoding();
        let mid = self.mid_of(Source::Camera);
        if let Some(Publication {
            encoder: Encoder::Video(encoder),
            ..
        }) = mid.and_then(|mid| self.publications.get_mut(&mid))
        {
            encoder.change(encoding);
        }
    }

    /// Sends nothing from this source, or goes on.
    pub fn mute(&mut self, source: Source, muted: bool) {
        let mid = self.mid_of(source);
        if let Some(publication) = mid.and_then(|mid| self.publications.get_mut(&mid)) {
            publication.muted = muted;
        }
    }

    /// Starts (dBov, -127 to 0) or ends a talk spurt at the microphone.
    pub fn talk(&mut self, level: Option<i8>) {
        let mid = self.mid_of(Source::Microphone);
        if let Some(Publication {
            encoder: Encoder::Audio(encoder),
            ..
        }) = mid.and_then(|mid| self.publications.get_mut(&mid))
        {
            encoder.talk(level);
        }
    }

    /// What the server wants of a source: layers that nobody looks at are paused.
    pub(crate) fn want_layers(&mut self, now: Duration, source: Source, layers: &[LayerWanted]) {
        let mid = self.mid_of(source);
        if let Some(Publication {
            encoder: Encoder::Video(encoder),
            ..
        }) = mid.and_then(|mid| self.publications.get_mut(&mid))
            && self.config.adaptive
        {
            for layer in layers {
                encoder.want(layer.rid, layer.active, layer.max_height);
            }
        }
        self.share_uplink(now);
    }

    /// Gives each encoder what the uplink carries beside audio and repairs, the screen first, and tells the estimator what more
    /// would be of use.
    pub(super) fn share_uplink(&mut self, now: Duration) {
        let Some(sender) = &mut self.sender else {
            return;
        };
        let estimate_bps = sender.estimate_bps();
        let media_bps = estimate_bps.saturating_sub(AUDIO_BPS + sender.repair_bps(now));
        let mut left = media_bps * PAYLOAD_PERCENT / 100;
        let mut desired = 0;
        let videos = self.publications.values_mut().rev();
        for publication in videos.filter(|publication| !publication.muted) {
            if let Encoder::Video(encoder) = &mut publication.encoder {
                left = left.saturating_sub(encoder.share(left));
                desired += encoder.desired_bps();
            }
        }
        sender.want(now, AUDIO_BPS + desired * 100 / PAYLOAD_PERCENT);
    }

    /// A packet has left, or a report has come.
    pub(super) fn note(&mut self, now: Duration, packet: RawPacket) {
        if let RawPacket::RtpRx(header, bytes) = &packet {
            self.receive_early(now, header, bytes);
        }
        let params = self.rtc.codec_config().params();
        let is_repair = match &packet {
            RawPacket::RtpTx(header, _) => params
                .iter()
                .any(|params| params.resend() == Some(header.payload_type)),
            RawPacket::RtcpRx(_) | RawPacket::RtcpTx(_) | RawPacket::RtpRx(..) => false,
        };
        let reports = matches!(packet, RawPacket::RtcpRx(Rtcp::Twcc(_)));
        if let Some(sender) = &mut self.sender {
            sender.note(now, packet, is_repair);
        }
        if reports {
            self.share_uplink(now);
        }
    }

    /// Sends what waits and may leave now, and what probes want beside it.
    pub(super) fn pace(&mut self, now: Duration) {
        while let Some((mid, packet)) = self.sender.as_mut().and_then(|s| s.pop(now)) {
            self.write(now, mid, packet);
        }
        let Some(mid) = self.unused_mid() else {
            return;
        };
        for _ in 0..PADDING_PER_TICK_MAX {
            let Some(packet) = self.sender.as_mut().and_then(|s| s.padding(now)) else {
                return;
            };
            self.write(now, mid, packet);
        }
    }

    /// An m-line on which nothing is sent: what comes there is counted by the server, and belongs to nobody's track.
    fn unused_mid(&self) -> Option<Mid> {
        let mid = self.mid_of(Source::ScreenAudio)?;
        (self.connected_at.is_some() && !self.publications.contains_key(&mid)).then_some(mid)
    }

    /// SSRC and RTX SSRC under which a source is sent.
    pub fn sent_ssrcs(&mut self, source: Source, rid: Option<&str>) -> Option<(u32, Option<u32>)> {
        let mid = self.mid_of(source)?;
        let mut direct = self.rtc.direct_api();
        let stream = direct.stream_tx_by_mid(mid, rid.map(Rid::from))?;
        Some((*stream.ssrc(), stream.rtx().map(|ssrc| *ssrc)))
    }

    /// Encodes what is due, and sends it, or lets it wait for its turn.
    pub(super) fn capture(&mut self, now: Duration) {
        let connected = self.connected_at.is_some();
        let mut packets = Vec::new();
        for (mid, publication) in &mut self.publications {
            let due = publication.capture(now, connected);
            packets.extend(due.into_iter().map(|packet| (*mid, packet)));
        }
        for (mid, packet) in packets {
            match &mut self.sender {
                Some(sender) if packet.codec != Codec::Opus => sender.push(mid, packet),
                _ => self.write(now, mid, packet),
            }
        }
    }

    pub(super) fn keyframe_requested(&mut self, at: Duration, mid: Mid, rid: Option<Rid>) {
        self.keyframes_asked.push(KeyframeAsked { at, mid, rid });
        if let Some(Publication {
            encoder: Encoder::Video(encoder),
            ..
        }) = self.publications.get_mut(&mid)
        {
            encoder.request_keyframe(rid);
        }
    }

    pub(super) fn receive_rtp(&mut self, now: Duration, packet: RtpPacket) {
        let ssrc = packet.header.ssrc;
        let Some(mid) = self
            .rtc
            .direct_api()
            .stream_rx(&ssrc)
            .map(|stream| stream.mid())
        else {
            return;
        };
        let pt = packet.header.payload_type;
        let params = self.rtc.codec_config().params();
        if params.iter().any(|params| params.red() == Some(pt)) {
            self.receive_red(now, mid, &packet);
            return;
        }
        let Some(codec) = self.codec_of(pt) else {
            return;
        };
        let first = !self.video.contains_key(&mid) && !self.audio.contains_key(&mid);
        if first && packet.header.ext_vals.mid != Some(mid) {
            self.without_mid.push(mid);
        }
        let mut received = Received {
            at: now,
            codec,
            ssrc: *ssrc,
            sequence: *packet.seq_no,
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
            descriptor: packet
                .header
                .ext_vals
                .user_values
                .get::<DescriptorBytes>()
                .map(|bytes| bytes.0.clone()),
            repaired: false,
            hold: packet.header.ext_vals.play_delay_min.map(Duration::from),
            payload: packet.payload.to_vec(),
        };
        self.check_timing(&packet.header.ext_vals, &received.payload);
        match self.kind_of_slot(mid) {
            Some(MediaKind::Video) => {
                if first {
                    let sequence = received.sequence;
                    self.firsts.push(First {
                        mid,
                        ssrc,
                        sequence,
                    });
                }
                received.repaired = self.note_arrival(now, mid, received.sequence);
                self.video.entry(mid).or_default().receive(received);
            }
            Some(MediaKind::Audio) => self.audio.entry(mid).or_default().receive(received),
            None => {}
        }
    }

    /// Counts what says when it was captured and how long it may wait, and where that is wrong.
    fn check_timing(&mut self, extensions: &ExtensionValues, payload: &[u8]) {
        let (Some(capture), Some(delay)) = (extensions.abs_capture_time, extensions.play_delay_max)
        else {
            return;
        };
        self.timed_packets += 1;
        let said = parse_vp8(payload).map(|read| timing(read.tag.captured));
        let right = said.is_some_and(|(at, most)| {
            let (at, told) = (at.capture_time, capture.capture_time);
            let apart = at.duration_since(told).or_else(|_| told.duration_since(at));
            apart.is_ok_and(|apart| apart < Duration::from_millis(1)) && most == delay
        });
        self.mistimed_packets += u64::from(!right);
    }

    /// Packets are handed to the engine one by one: it has no order for what several streams have to send.
    fn write(&mut self, now: Duration, mid: Mid, packet: EncodedPacket) {
        let codec = packet.codec;
        let Some(pt) = self.payload_type(codec) else {
            return;
        };
        let red = self.sound_twice(mid, pt, &packet);
        let (pt, payload) = red.unwrap_or((pt, packet.payload));
        let wallclock = self.start + packet.captured;
        let mut direct = self.rtc.direct_api();
        let Some(stream) = direct.stream_tx_by_mid(mid, packet.rid) else {
            return;
        };
        if self.may_answer.insert(*stream.ssrc()) {
            stream.set_rtx_cache(RTX_PACKETS, RTX_AGE, Some(RTX_SHARE_MAX));
        }
        let (capture, delay) = timing(packet.captured);
        let timed = self.config.timing && codec != Codec::Opus;
        let mut extensions = ExtensionValues {
            abs_capture_time: Some(capture).filter(|_| timed),
            play_delay_min: Some(delay).filter(|_| timed),
            play_delay_max: Some(delay).filter(|_| timed),
            audio_level: packet.level,
            voice_activity: packet.level.map(|level| level > -127),
            ..ExtensionValues::default()
        };
        if let Some(descriptor) = packet.descriptor {
            extensions.user_values.set(DescriptorBytes(descriptor));
        }
        if let Some(allocation) = packet.allocation {
            extensions.user_values.set(allocation);
        }
        stream.write_rtp(
            RtpWrite::new(
                pt,
                packet.sequence.into(),
                packet.timestamp,
                wallclock,
                payload,
            )
            .marker(packet.marker)
            .nackable(codec != Codec::Opus)
            .ext_vals(extensions),
        );
        self.input(now, Input::Timeout(self.start + now));
    }

    fn payload_type(&self, codec: Codec) -> Option<Pt> {
        let wanted = match codec {
            Codec::Vp8 => RtcCodec::Vp8,
            Codec::H264 => RtcCodec::H264,
            Codec::Vp9 => RtcCodec::Vp9,
            Codec::Av1 => RtcCodec::Av1,
            Codec::Opus => RtcCodec::Opus,
        };
        self.rtc
            .codec_config()
            .find(|params| {
                let spec = params.spec();
                spec.codec == wanted
                    && (codec != Codec::H264 || spec.format.packetization_mode == Some(1))
            })
            .map(|params| params.pt())
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "other codecs are not offered"
    )]
    pub(super) fn codec_of(&self, pt: Pt) -> Option<Codec> {
        let params = self.rtc.codec_config().find(|params| params.pt() == pt)?;
        match params.spec().codec {
            RtcCodec::Vp8 => Some(Codec::Vp8),
            RtcCodec::H264 => Some(Codec::H264),
            RtcCodec::Vp9 => Some(Codec::Vp9),
            RtcCodec::Av1 => Some(Codec::Av1),
            RtcCodec::Opus => Some(Codec::Opus),
            _ => None,
        }
    }
}

/// What a browser with [`super::BrowserConfig::timing`] says of a frame: its capture time, and a playout delay that changes with it.
fn timing(captured: Duration) -> (AbsCaptureTime, MediaTime) {
    let capture = AbsCaptureTime {
        capture_time: SystemTime::UNIX_EPOCH + CAPTURE_CLOCK + captured,
        clock_offset: None,
    };
    let hundredths = captured.as_secs() % 100;
    (capture, MediaTime::new(hundredths, Frequency::HUNDREDTHS))
}

/// What the clock of all cameras says at the start.
const CAPTURE_CLOCK: Duration = Duration::from_secs(1_700_000_000);

impl Publication {
    fn capture(&mut self, now: Duration, connected: bool) -> Vec<EncodedPacket> {
        let sends = connected && !self.muted;
        let mut packets = Vec::new();
        loop {
            let captured = self.began + self.encoder.next_capture();
            if captured > now {
                packets.extend(std::iter::from_fn(|| self.delay.pop(now)));
                return packets;
            }
            match &mut self.encoder {
                Encoder::Video(encoder) if sends => {
                    self.delay.push(captured, encoder.encode_frame(captured));
                }
                Encoder::Video(encoder) => encoder.skip_frame(),
                Encoder::Audio(encoder) if sends => packets.extend(encoder.encode_packet(captured)),
                Encoder::Audio(encoder) => encoder.skip_packet(),
            }
        }
    }
}

impl Encoder {
    fn next_capture(&self) -> Duration {
        match self {
            Self::Video(encoder) => encoder.next_capture(),
            Self::Audio(encoder) => encoder.next_capture(),
        }
    }
}
