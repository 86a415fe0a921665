//! Offers and answers of a peer, before it is handed to the media thread.

use std::io;
use std::net::IpAddr;
use std::time::Instant;

use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::channel::{ChannelConfig, Reliability};
use str0m::media::{Direction, MediaKind, Mid, Simulcast, SimulcastLayer};
use str0m::rtp::{Extension, ExtensionMap};
use str0m::{Candidate, Rtc};

use super::dtls::Identity;
use super::encoder::{LayerSpec, VideoCodec};
use super::h264;
use super::publication::{Publication, RIDS};
use super::socket::Socket;

/// H.264 in offers, as Chrome has it: payload types of media and of retransmissions, and the profile, baseline and
/// constrained baseline. Streams are of the latter, which is the former, too.
const H264_FORMATS: [(u8, u8, u32); 2] =
    [(127, 121, 0x42_00_1f), (108, 109, h264::PROFILE_LEVEL_ID)];

/// What is common to all peers of a run.
#[derive(Debug, Clone)]
pub(crate) struct Factory {
    pub(crate) identity: Identity,
    /// The local address of all peers.
    pub(crate) ip: IpAddr,
    pub(crate) gro: bool,
    /// The only codec of video that peers have, so that every server takes it.
    pub(crate) codec: VideoCodec,
}

/// What an offer asks for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wish<'a> {
    /// Number of the publisher, where there is something to publish.
    pub(crate) publisher: Option<u32>,
    pub(crate) microphone: bool,
    /// Layers of the camera, the smallest first; none: no camera.
    pub(crate) camera: &'a [LayerSpec],
    pub(crate) audio_slots: usize,
    pub(crate) video_slots: usize,
    /// A data channel, as the page of the browsers has.
    pub(crate) channel: bool,
    /// Nobody sends anything.
    pub(crate) silent: bool,
}

impl<'a> Wish<'a> {
    /// To publish, and nothing else.
    pub(crate) fn to_publish(
        publisher: Option<u32>,
        microphone: bool,
        camera: &'a [LayerSpec],
    ) -> Self {
        Self {
            publisher,
            microphone,
            camera,
            ..Self::default()
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum NegotiationError {
    #[error("no socket: {0}")]
    Socket(#[from] io::Error),
    #[error("no candidate: {0}")]
    Candidate(String),
    #[error("the server's SDP cannot be parsed: {0}")]
    Malformed(String),
    #[error("the server's SDP cannot be applied: {0}")]
    Refused(String),
    #[error("the offer asks for nothing")]
    Empty,
}

/// A peer whose offer waits for its answer.
#[derive(Debug)]
pub(crate) struct Offered {
    pub(crate) sdp: String,
    pub(crate) microphone: Option<Mid>,
    pub(crate) camera: Option<Mid>,
    /// The line of the one candidate, which also stands in the offer.
    pub(crate) candidate: String,
    silent: bool,
    rtc: Rtc,
    pending: SdpPendingOffer,
    socket: Socket,
    publications: Vec<Publication>,
}

/// A peer that is ready for the media thread.
#[derive(Debug)]
pub(crate) struct Negotiated {
    pub(crate) rtc: Rtc,
    pub(crate) socket: Socket,
    pub(crate) publications: Vec<Publication>,
}

impl Factory {
    pub(crate) fn offer(&self, wish: &Wish<'_>) -> Result<Offered, NegotiationError> {
        let (mut rtc, socket, candidate) = self.peer()?;
        let mut change = rtc.sdp_api();
        if wish.channel {
            change.add_channel_with_config(ChannelConfig {
                label: "madang".to_owned(),
                ordered: false,
                reliability: Reliability::MaxRetransmits { retransmits: 0 },
                ..ChannelConfig::default()
            });
        }
        // WHIP wants one MediaStream (RFC 9725 section 4.4).
        let stream = || Some("load".to_owned());
        let send = Direction::SendOnly;
        let microphone = wish
            .microphone
            .then(|| change.add_media(MediaKind::Audio, send, stream(), None, None));
        let simulcast = (wish.camera.len() > 1).then(|| simulcast(wish.camera.len()));
        let camera = (!wish.camera.is_empty())
            .then(|| change.add_media(MediaKind::Video, send, stream(), None, simulcast));
        for (kind, count) in [
            (MediaKind::Audio, wish.audio_slots),
            (MediaKind::Video, wish.video_slots),
        ] {
            for _ in 0..count {
                change.add_media(kind, Direction::RecvOnly, None, None, None);
            }
        }
        let (offer, pending) = change.apply().ok_or(NegotiationError::Empty)?;
        let publisher = wish.publisher.unwrap_or_default();
        let microphone_of = |mid| Publication::microphone(mid, publisher);
        let camera_of = |mid| Publication::camera(mid, publisher, wish.camera);
        Ok(Offered {
            sdp: offer.to_sdp_string(),
            microphone,
            camera,
            candidate,
            silent: wish.silent,
            rtc,
            pending,
            socket,
            publications: microphone
                .map(microphone_of)
                .into_iter()
                .chain(camera.map(camera_of))
                .collect(),
        })
    }

    /// Answers a server that offers.
    pub(crate) fn answer(&self, offer: &str) -> Result<(String, Negotiated), NegotiationError> {
        let (mut rtc, socket, _) = self.peer()?;
        let offer = SdpOffer::from_sdp_string(offer)
            .map_err(|error| NegotiationError::Malformed(error.to_string()))?;
        let answer = rtc
            .sdp_api()
            .accept_offer(offer)
            .map_err(|error| NegotiationError::Refused(error.to_string()))?;
        let negotiated = Negotiated {
            rtc,
            socket,
            publications: Vec::new(),
        };
        Ok((answer.to_sdp_string(), negotiated))
    }

    fn peer(&self) -> Result<(Rtc, Socket, String), NegotiationError> {
        let socket = Socket::open(self.ip, self.gro)?;
        let mut config = Rtc::builder()
            .set_crypto_provider(self.identity.provider.clone())
            .set_dtls_cert(self.identity.certificate.clone())
            .set_rtp_mode(true)
            .clear_codecs()
            .enable_opus(true, false)
            .set_extension_map(extensions())
            .set_stats_interval(None);
        let codecs = config.codec_config();
        match self.codec {
            VideoCodec::Vp8 => codecs.enable_vp8(true),
            VideoCodec::H264 => {
                for (pt, resend, profile) in H264_FORMATS {
                    codecs.add_h264(pt.into(), Some(resend.into()), true, profile);
                }
            }
        }
        let mut rtc = config.build(Instant::now());
        let candidate = Candidate::host(socket.local, "udp")
            .map_err(|error| NegotiationError::Candidate(error.to_string()))?;
        let line = candidate.to_sdp_string();
        rtc.add_local_candidate(candidate);
        Ok((rtc, socket, line))
    }
}

impl Offered {
    pub(crate) fn accept(mut self, answer: &str) -> Result<Negotiated, NegotiationError> {
        let parsed = SdpAnswer::from_sdp_string(answer)
            .map_err(|error| NegotiationError::Malformed(error.to_string()))?;
        self.rtc
            .sdp_api()
            .accept_answer(self.pending, parsed)
            .map_err(|error| NegotiationError::Refused(error.to_string()))?;
        let unused = self.silent.then_some(answer);
        keep_silent(&mut self.rtc, &self.sdp, &self.publications, unused);
        Ok(Negotiated {
            rtc: self.rtc,
            socket: self.socket,
            publications: self.publications,
        })
    }
}

/// Takes the streams out of m-lines by which nothing is published, and where nobody sends those which the answer names:
/// str0m would report of each once a second. A silent Chromium says nothing at all.
fn keep_silent(rtc: &mut Rtc, offer: &str, publications: &[Publication], unused: Option<&str>) {
    let mut direct = rtc.direct_api();
    for ssrc in unused.into_iter().flat_map(str::lines).filter_map(ssrc_of) {
        direct.remove_stream_rx(ssrc.into());
    }
    let mids = offer.lines().filter_map(|line| line.strip_prefix("a=mid:"));
    for mid in mids.map(Mid::from) {
        if publications
            .iter()
            .any(|publication| publication.mid == mid)
        {
            continue;
        }
        let stream = direct.stream_tx_by_mid(mid, None);
        if let Some(ssrc) = stream.map(|stream| stream.ssrc()) {
            direct.remove_stream_tx(ssrc);
        }
    }
}

/// The SSRC that a line is about (RFC 5576 section 4.1).
fn ssrc_of(line: &str) -> Option<u32> {
    let (ssrc, _) = line.strip_prefix("a=ssrc:")?.split_once(' ')?;
    ssrc.parse().ok()
}

fn simulcast(layers: usize) -> Simulcast {
    let mut simulcast = Simulcast::new();
    for rid in RIDS.into_iter().take(layers) {
        simulcast.add_send_layer(SimulcastLayer::new(rid));
    }
    simulcast
}

/// The header extensions of a browser's offer that a server may use.
fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::empty();
    map.set(1, Extension::AudioLevel);
    map.set(2, Extension::AbsoluteSendTime);
    map.set(3, Extension::TransportSequenceNumber);
    map.set(4, Extension::RtpMid);
    map.set(10, Extension::RtpStreamId);
    map.set(11, Extension::RepairedRtpStreamId);
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factory() -> Factory {
        Factory {
            identity: Identity::generate().unwrap(),
            ip: [127, 0, 0, 1].into(),
            gro: true,
            codec: VideoCodec::Vp8,
        }
    }

    const LAYER: LayerSpec = LayerSpec {
        codec: VideoCodec::Vp8,
        kbps: 500,
        width: 640,
        height: 360,
        fps: 30,
    };

    #[test]
    fn an_offer_has_what_was_wished_for() {
        let wish = Wish {
            publisher: Some(3),
            microphone: true,
            camera: &[LAYER; 3],
            audio_slots: 2,
            video_slots: 1,
            channel: true,
            silent: false,
        };
        let offered = factory().offer(&wish).unwrap();
        assert_eq!(offered.sdp.matches("m=audio").count(), 3);
        assert_eq!(offered.sdp.matches("m=video").count(), 2);
        assert_eq!(offered.sdp.matches("m=application").count(), 1);
        assert!(
            offered.sdp.contains("a=simulcast:send q;h;f"),
            "{}",
            offered.sdp
        );
        assert!(offered.sdp.contains(&offered.candidate));
        assert_eq!(offered.sdp.matches("a=msid:load ").count(), 2);
        assert_eq!(offered.publications.len(), 2);
    }

    #[test]
    fn an_answer_completes_either_side() {
        let wish = Wish {
            publisher: Some(0),
            camera: &[LAYER],
            ..Wish::default()
        };
        let offered = factory().offer(&wish).unwrap();
        let (answer, _) = factory().answer(&offered.sdp).unwrap();
        assert_eq!(offered.accept(&answer).unwrap().publications.len(), 1);
    }

    #[test]
    fn an_offer_has_the_one_codec_of_video_that_is_wanted() {
        let wish = Wish {
            video_slots: 1,
            ..Wish::default()
        };
        for (codec, has, has_not) in [
            (VideoCodec::Vp8, "VP8/90000", "H264/90000"),
            (VideoCodec::H264, "profile-level-id=42e01f", "VP8/90000"),
        ] {
            let factory = Factory { codec, ..factory() };
            let sdp = factory.offer(&wish).unwrap().sdp;
            assert_eq!(sdp.matches(has).count(), 1, "{sdp}");
            assert!(!sdp.contains(has_not), "{sdp}");
        }
    }

    #[test]
    fn nonsense_is_an_error() {
        assert!(factory().answer("hello").is_err());
        assert!(matches!(
            factory().offer(&Wish::default()),
            Err(NegotiationError::Empty)
        ));
    }
}
