//! A browser with our page: one `Rtc` that makes the first offer, publishes and receives.

mod early;
mod media;
mod missing;
mod negotiation;
mod red;
mod sender;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use madang_core::{Identity, NackSender, demux};
use str0m::change::SdpPendingOffer;
use str0m::media::{KeyframeRequestKind, MediaKind, Mid, Rid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, ExtensionMap};
use str0m::{Event, IceConnectionState, Input, Output, Rtc};

use crate::allocation::AllocationBytes;
use crate::decoder::{AudioDecoder, VideoDecoder};
use crate::dependency::DescriptorBytes;
use crate::encoder::{Encoding, StartValues};
use crate::extension::extension;
use crate::network::rtp_ssrc;
use crate::payload::{Codec, Mode};
use crate::sync::{Report, Reports};
use early::First;
use media::Publication;
use missing::Missing;
use negotiation::Mids;
use red::Sound;
use sender::Sender;

pub use media::KeyframeAsked;
pub use media::source_number;

/// How a browser differs from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrowserConfig {
    /// Codec of camera and screen.
    pub video_codec: Codec,
    /// Codecs of the camera's streams, smallest first, where each has its own.
    pub layer_codecs: Option<[Codec; 3]>,
    /// Offers no other video codec.
    pub only: Option<Codec>,
    /// Sends the camera as one stream with these layers.
    pub svc: Option<Mode>,
    /// Temporal layers of each stream of a camera that is sent as several; `None`: as browsers do.
    pub temporal_layers: Option<u8>,
    /// Offers and sends dependency descriptors.
    pub descriptors: bool,
    /// See [`Encoding::flexible`].
    pub flexible: bool,
    /// Offers and sends video layers allocations.
    pub allocations: bool,
    /// Encrypts its payloads from end to end.
    pub opaque: bool,
    /// Of H.264 it offers constrained baseline alone, in packetization mode 1.
    pub constrained_h264: bool,
    /// Offers the audio level extension (RFC 6464).
    pub audio_level: bool,
    /// The microphone sends nothing in silence.
    pub dtx: bool,
    /// The camera's encoder follows the estimate of the uplink, and pauses layers that nobody wants, as browsers do.
    /// Otherwise it sends all layers at their full rates, whatever the link.
    pub adaptive: bool,
    /// How long the encoder of a camera or a screen takes for a picture, at least and at most.
    pub encoding_time: (Duration, Duration),
    /// Numbers packets across its streams, and reports what comes by that (transport-cc).
    pub transport_cc: bool,
    /// Takes sound in RED (RFC 2198).
    pub red: bool,
    /// And sends each packet's sound once more with the next, as browsers do.
    pub sends_red: bool,
    /// Says when video was captured and how long it may wait, and understands the former (abs-capture-time, playout-delay).
    pub timing: bool,
    /// The camera takes pictures of 480×272, where it is sent as several streams.
    pub small_camera: bool,
    /// Size of the keyframes of each of its streams; `None`: some times the average frame.
    pub keyframe_bytes: Option<usize>,
    pub start: StartValues,
    pub audio_slots: usize,
    pub video_slots: usize,
}

impl Default for BrowserConfig {
    fn default() -> Self {
        Self {
            video_codec: Codec::Vp8,
            layer_codecs: None,
            only: None,
            svc: None,
            temporal_layers: None,
            descriptors: true,
            flexible: false,
            allocations: false,
            opaque: false,
            constrained_h264: false,
            audio_level: true,
            dtx: false,
            adaptive: false,
            encoding_time: (Duration::ZERO, Duration::ZERO),
            transport_cc: true,
            red: false,
            sends_red: false,
            timing: false,
            small_camera: false,
            keyframe_bytes: None,
            start: StartValues::default(),
            audio_slots: 3,
            video_slots: 9,
        }
    }
}

impl BrowserConfig {
    /// How the camera is encoded. A shared screen is one stream without layers.
    pub(crate) fn encoding(&self) -> Encoding {
        self.encoding_with(self.video_codec)
    }

    pub(crate) fn encoding_with(&self, codec: Codec) -> Encoding {
        let simulcast = Encoding::simulcast(codec);
        Encoding {
            svc: self.svc,
            temporal: self.temporal_layers.unwrap_or(simulcast.temporal),
            descriptors: self.sends_descriptors(codec),
            flexible: self.flexible,
            allocations: self.allocations,
            opaque: self.opaque,
            keyframe_bytes: self.keyframe_bytes,
            ..simulcast
        }
    }

    /// Chromium sends them for layers and for several streams alike, but not of VP8 and H.264.
    fn sends_descriptors(&self, codec: Codec) -> bool {
        let always = matches!(codec, Codec::Vp9 | Codec::Av1);
        self.descriptors && (always || self.temporal_layers.is_some() || self.opaque)
    }
}

/// One simulated browser.
#[derive(Debug)]
pub struct Browser {
    config: BrowserConfig,
    /// Counts the browsers of a world from 0.
    number: u32,
    seed: u64,
    start: Instant,
    address: SocketAddr,
    rtc: Rtc,
    mids: Mids,
    pending: Option<SdpPendingOffer>,
    channel: Option<str0m::channel::ChannelId>,
    publications: BTreeMap<Mid, Publication>,
    pub video: BTreeMap<Mid, VideoDecoder>,
    pub audio: BTreeMap<Mid, AudioDecoder>,
    firsts: Vec<First>,
    missing: BTreeMap<Mid, Missing>,
    /// What asks for it, once there are keys, and where to.
    requests: Option<NackSender>,
    server: Option<SocketAddr>,
    /// Audio packets that came in RED.
    pub red_packets: u64,
    /// Video packets that came with a capture time and a playout delay, and those of them where one is not what its
    /// publisher said.
    pub timed_packets: u64,
    pub mistimed_packets: u64,
    pub(crate) reports: Reports,
    /// SSRCs of all answers that have been applied.
    declared: BTreeSet<u32>,
    /// By microphone.
    sounds: BTreeMap<Mid, Sound>,
    /// Streams that have been told how much they may send again.
    may_answer: BTreeSet<u32>,
    /// RTP that came on an SSRC before an answer declared it: when, and which.
    pub undeclared: Vec<(Duration, u32)>,
    /// Slots whose first packet did not say its MID.
    pub without_mid: Vec<Mid>,
    pub keyframes_asked: Vec<KeyframeAsked>,
    asked_keyframe_at: BTreeMap<Mid, Duration>,
    pub connected_at: Option<Duration>,
    pub ice: Vec<(Duration, IceConnectionState)>,
    /// Where the encoders follow the uplink.
    sender: Option<Sender>,
    /// Messages that came over the data channel.
    pub data: Vec<Vec<u8>>,
    due: Instant,
    outgoing: Vec<(SocketAddr, Vec<u8>)>,
}

/// Between two checks of a pair that works (libwebrtc's default).
const CHECK_INTERVAL: Duration = Duration::from_millis(2_500);

impl Browser {
    pub fn new(
        config: BrowserConfig,
        number: u32,
        address: SocketAddr,
        start: Instant,
        (now, seed): (Duration, u64),
    ) -> Self {
        let offers = |codec| config.only.is_none_or(|only| only == codec);
        let mut builder = Rtc::builder()
            .set_rtp_mode(true)
            .clear_codecs()
            .enable_opus(true, config.red)
            .enable_vp8(offers(Codec::Vp8))
            .enable_h264(!config.constrained_h264 && offers(Codec::H264))
            .enable_vp9(offers(Codec::Vp9))
            .enable_av1(offers(Codec::Av1))
            .set_extension_map(extensions(&config))
            .enable_raw_packets(true)
            .set_crypto_provider(Identity::repeatable_client())
            .set_stats_interval(None);
        builder.set_max_stun_rto(CHECK_INTERVAL);
        if config.constrained_h264 {
            let codecs = builder.codec_config();
            codecs.add_h264(108.into(), Some(109.into()), true, 0x42_e01f);
        }
        let rtc = builder.build(start + now);
        Self {
            config,
            number,
            seed,
            start,
            address,
            rtc,
            mids: Mids::default(),
            pending: None,
            channel: None,
            publications: BTreeMap::new(),
            video: BTreeMap::new(),
            audio: BTreeMap::new(),
            firsts: Vec::new(),
            missing: BTreeMap::new(),
            requests: None,
            server: None,
            red_packets: 0,
            timed_packets: 0,
            mistimed_packets: 0,
            reports: Reports::new(),
            declared: BTreeSet::new(),
            sounds: BTreeMap::new(),
            may_answer: BTreeSet::new(),
            undeclared: Vec::new(),
            without_mid: Vec::new(),
            keyframes_asked: Vec::new(),
            asked_keyframe_at: BTreeMap::new(),
            connected_at: None,
            ice: Vec::new(),
            sender: config.adaptive.then(|| Sender::new(start, now)),
            data: Vec::new(),
            due: start + now,
            outgoing: Vec::new(),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn config(&self) -> &BrowserConfig {
        &self.config
    }

    /// What the browser believes that its uplink carries, in bit/s; `None` where it does not ask.
    pub fn uplink_bps(&self) -> Option<u64> {
        self.sender.as_ref().map(Sender::estimate_bps)
    }

    pub fn take_outgoing(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        std::mem::take(&mut self.outgoing)
    }

    pub fn handle_datagram(&mut self, now: Duration, source: SocketAddr, datagram: &[u8]) {
        if let Some(ssrc) = rtp_ssrc(datagram) {
            // SSRC 0 carries padding for probing in every session (libwebrtc does so, too).
            if ssrc != 0 && !self.declared.contains(&ssrc) {
                self.undeclared.push((now, ssrc));
            }
        }
        let Ok(receive) = Receive::new(Protocol::Udp, source, self.address, datagram) else {
            return;
        };
        self.input(now, Input::Receive(self.start + now, receive));
    }

    /// Captures, encodes and sends what is due, and lets the receivers give up and ask.
    pub fn tick(&mut self, now: Duration) {
        self.capture(now);
        self.pace(now);
        if self.due <= self.start + now {
            self.input(now, Input::Timeout(self.start + now));
        }
        self.ask_for_missing(now);
        self.supervise_receivers(now);
    }

    pub fn close(&mut self, now: Duration) {
        self.rtc.disconnect();
        self.drain(now);
    }

    /// Sends over the data channel; false where it is not open.
    pub fn send_data(&mut self, now: Duration, data: &[u8]) -> bool {
        let channel = self.channel.and_then(|id| self.rtc.channel(id));
        let sent = channel.is_some_and(|mut channel| channel.write(true, data).unwrap_or(false));
        self.input(now, Input::Timeout(self.start + now));
        sent
    }

    fn input(&mut self, now: Duration, input: Input<'_>) {
        if self.rtc.is_alive() && self.rtc.handle_input(input).is_err() {
            self.rtc.disconnect();
        }
        self.drain(now);
    }

    /// The one place that polls the `Rtc`: to its timeout, after every change.
    fn drain(&mut self, now: Duration) {
        while self.rtc.is_alive() {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(due)) => {
                    self.due = due;
                    break;
                }
                Ok(Output::Transmit(transmit)) => {
                    if demux::classify(&transmit.contents) == demux::Datagram::Media {
                        self.server = Some(transmit.destination);
                    }
                    self.outgoing
                        .push((transmit.destination, transmit.contents.to_vec()));
                }
                Ok(Output::Event(event)) => self.handle_event(now, event),
                Err(_) => self.rtc.disconnect(),
            }
        }
        if let Some(requests) = NackSender::take() {
            self.requests = Some(requests);
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a page does not care for most events"
    )]
    fn handle_event(&mut self, now: Duration, event: Event) {
        match event {
            Event::Connected => self.connected_at = Some(now),
            Event::IceConnectionStateChange(state) => self.ice.push((now, state)),
            Event::KeyframeRequest(request) => {
                self.keyframe_requested(now, request.mid, request.rid);
            }
            Event::RawPacket(packet) => self.note(now, *packet),
            Event::RtpPacket(packet) => self.receive_rtp(now, packet),
            Event::SenderFeedback(feedback) => {
                let info = feedback.sender_info;
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "RTP timestamps are 32 bits on the wire"
                )]
                let timestamp = info.rtp_time.numer() as u32;
                self.reports.entry(feedback.mid).or_default().push(Report {
                    at: now,
                    time: info.ntp_time,
                    timestamp,
                });
            }
            Event::ChannelOpen(id, _) => self.channel = Some(id),
            Event::ChannelData(data) => self.data.push(data.data),
            _ => {}
        }
    }

    fn supervise_receivers(&mut self, now: Duration) {
        for decoder in self.audio.values_mut() {
            decoder.advance(now);
        }
        let mut wanting = Vec::new();
        for (mid, decoder) in &mut self.video {
            decoder.advance(now);
            if decoder.wants_keyframe(now, self.asked_keyframe_at.get(mid).copied()) {
                wanting.push(*mid);
            }
        }
        for mid in wanting {
            self.ask_for_keyframe(now, mid);
        }
    }

    /// Asks for keyframes of all pictures.
    pub fn ask_for_keyframes(&mut self, now: Duration) {
        let mids: Vec<Mid> = self.video.keys().copied().collect();
        for mid in mids {
            self.ask_for_keyframe(now, mid);
        }
    }

    fn ask_for_keyframe(&mut self, now: Duration, mid: Mid) {
        self.asked_keyframe_at.insert(mid, now);
        if let Some(stream) = self.rtc.direct_api().stream_rx_by_mid(mid, None) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
        }
        self.input(now, Input::Timeout(self.start + now));
    }

    fn kind_of_slot(&self, mid: Mid) -> Option<MediaKind> {
        self.mids
            .slots
            .iter()
            .find(|slot| slot.0 == mid)
            .map(|slot| slot.1)
    }
}

/// What Chromium offers, as far as it matters here.
fn extensions(config: &BrowserConfig) -> ExtensionMap {
    let mut map = ExtensionMap::empty();
    if config.descriptors {
        map.set(12, extension::<DescriptorBytes>());
    }
    if config.allocations {
        map.set(9, extension::<AllocationBytes>());
    }
    if config.timing {
        map.set(5, Extension::AbsoluteCaptureTime);
    }
    map.set(6, Extension::PlayoutDelay);
    if config.audio_level {
        map.set(1, Extension::AudioLevel);
    }
    map.set(2, Extension::AbsoluteSendTime);
    if config.transport_cc {
        map.set(3, Extension::TransportSequenceNumber);
    }
    map.set(4, Extension::RtpMid);
    map.set(10, Extension::RtpStreamId);
    map.set(11, Extension::RepairedRtpStreamId);
    map.set(13, Extension::VideoOrientation);
    map
}

/// The RID as a number of layer, as [`crate::Tag`] says it: `q` is 0.
pub(crate) fn layer_of(rid: Option<Rid>) -> u8 {
    match rid.as_deref() {
        Some("h") => 1,
        Some("f") => 2,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
