//! What a peer publishes: encoders, when they are due, and their place in the peer's session.

use std::time::{Duration, Instant};

use str0m::Rtc;
use str0m::format::Codec;
use str0m::media::{Mid, Pt, Rid};
use str0m::rtp::{ExtensionValues, RtpWrite};

use super::encoder::{AudioEncoder, LayerSpec, OPUS_PERIOD, Packet, VideoEncoder};
use super::socket::wallclock_ns;
use super::tag::StreamId;

/// dBov (RFC 6464): somebody speaks.
const LEVEL: i8 = -30;
/// Streams of one publisher: the microphone and the layers of a camera.
pub(crate) const STREAMS_PER_PUBLISHER: u32 = 8;
/// The names of the layers, the smallest first.
pub(crate) const RIDS: [&str; 3] = ["q", "h", "f"];

/// The name of a publisher's stream; 0 is the microphone, 1 the smallest layer of the camera.
pub(crate) fn stream_id(publisher: u32, position: u32) -> StreamId {
    StreamId(publisher * STREAMS_PER_PUBLISHER + position)
}

impl StreamId {
    /// The layer of the camera, the smallest is 0; `None` for a microphone.
    pub(crate) fn layer(self) -> Option<usize> {
        let position = self.0 % STREAMS_PER_PUBLISHER;
        usize::try_from(position.checked_sub(1)?).ok()
    }
}

#[derive(Debug)]
struct Layer<E> {
    encoder: E,
    rid: Option<Rid>,
    /// The next sequence number, extended beyond 16 bits.
    sequence: u64,
    /// Packets that were sent in the window of the measurement.
    sent: u64,
}

#[derive(Debug)]
enum Encoders {
    Audio(Layer<AudioEncoder>),
    Video(Vec<Layer<VideoEncoder>>),
}

#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) mid: Mid,
    encoders: Encoders,
    period: Duration,
    /// Share of the period by which this publication is behind the start, so that not all encoders are due at once.
    phase: f64,
    next: Option<Instant>,
}

impl Publication {
    pub(crate) fn microphone(mid: Mid, publisher: u32) -> Self {
        let id = stream_id(publisher, 0);
        let encoder = AudioEncoder::new(id);
        let layer = Layer::new(encoder, id, None);
        Self::new(mid, publisher, Encoders::Audio(layer), OPUS_PERIOD)
    }

    /// A camera of one layer has no RIDs.
    pub(crate) fn camera(mid: Mid, publisher: u32, layers: &[LayerSpec]) -> Self {
        let simulcast = layers.len() > 1;
        let layers: Vec<_> = (1..)
            .zip(layers.iter().zip(RIDS))
            .map(|(position, (spec, rid))| {
                let id = stream_id(publisher, position);
                let encoder = VideoEncoder::new(id, *spec);
                Layer::new(encoder, id, simulcast.then(|| Rid::from(rid)))
            })
            .collect();
        let period = layers
            .first()
            .map_or(OPUS_PERIOD, |layer| layer.encoder.period());
        Self::new(mid, publisher, Encoders::Video(layers), period)
    }

    fn new(mid: Mid, publisher: u32, encoders: Encoders, period: Duration) -> Self {
        let phase = fastrand::Rng::with_seed(u64::from(publisher)).f64();
        Self {
            mid,
            encoders,
            period,
            phase,
            next: None,
        }
    }

    /// When the next frame is due; `None` before the start.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Begins to encode.
    pub(crate) fn start(&mut self, now: Instant) {
        self.next = Some(now + self.period.mul_f64(self.phase));
    }

    pub(crate) fn request_keyframe(&mut self, mid: Mid, rid: Option<Rid>) {
        if let Encoders::Video(layers) = &mut self.encoders
            && self.mid == mid
        {
            let asked = layers
                .iter_mut()
                .filter(|layer| rid.is_none() || layer.rid == rid);
            asked.for_each(|layer| layer.encoder.request_keyframe());
        }
    }

    /// Encodes and writes what is due. True where something was written.
    pub(crate) fn capture(&mut self, now: Instant, rtc: &mut Rtc, window: (u64, u64)) -> bool {
        let mut wrote = false;
        while let Some(due) = self.next.filter(|due| *due <= now) {
            self.next = Some(due + self.period);
            match &mut self.encoders {
                Encoders::Audio(layer) => {
                    let encode = AudioEncoder::encode;
                    wrote |= layer.write(rtc, self.mid, Codec::Opus, due, window, encode);
                }
                Encoders::Video(layers) => {
                    for layer in layers {
                        let (codec, encode) = (layer.encoder.codec(), VideoEncoder::encode);
                        wrote |= layer.write(rtc, self.mid, codec.into(), due, window, encode);
                    }
                }
            }
        }
        wrote
    }

    /// Packets that were sent in the window of the measurement.
    pub(crate) fn sent(&self) -> u64 {
        match &self.encoders {
            Encoders::Audio(layer) => layer.sent,
            Encoders::Video(layers) => layers.iter().map(|layer| layer.sent).sum(),
        }
    }
}

impl<E> Layer<E> {
    fn new(encoder: E, stream: StreamId, rid: Option<Rid>) -> Self {
        let sequence = u64::from(stream.0 & 0xfff);
        Self {
            encoder,
            rid,
            sequence,
            sent: 0,
        }
    }

    fn write(
        &mut self,
        rtc: &mut Rtc,
        mid: Mid,
        codec: Codec,
        captured: Instant,
        window: (u64, u64),
        encode: impl FnOnce(&mut E, u64, &mut Vec<Packet>),
    ) -> bool {
        let Some(pt) = payload_type(rtc, mid, codec) else {
            return false;
        };
        let sent_ns = wallclock_ns();
        let mut packets = Vec::new();
        encode(&mut self.encoder, sent_ns, &mut packets);
        let mut direct = rtc.direct_api();
        let Some(stream) = direct.stream_tx_by_mid(mid, self.rid) else {
            return false;
        };
        if (window.0..window.1).contains(&sent_ns) {
            self.sent += packets.len() as u64;
        }
        let audio = codec == Codec::Opus;
        let extensions = ExtensionValues {
            audio_level: audio.then_some(LEVEL),
            voice_activity: audio.then_some(true),
            ..ExtensionValues::default()
        };
        for packet in packets {
            let sequence = self.sequence.into();
            self.sequence += 1;
            stream.write_rtp(
                RtpWrite::new(pt, sequence, packet.timestamp, captured, packet.payload)
                    .marker(packet.marker)
                    .nackable(!audio)
                    .ext_vals(extensions.clone()),
            );
        }
        true
    }
}

/// The first format of this codec that the server has taken.
fn payload_type(rtc: &Rtc, mid: Mid, codec: Codec) -> Option<Pt> {
    let taken = rtc.media(mid)?.remote_pts();
    rtc.codec_config()
        .find(|params| params.spec().codec == codec && taken.contains(&params.pt()))
        .map(|params| params.pt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::encoder::VideoCodec;

    #[test]
    fn streams_of_publishers_have_different_names() {
        assert_eq!(stream_id(0, 3), StreamId(3));
        assert_eq!(stream_id(1, 0), StreamId(8));
        assert_eq!(stream_id(1, 0).layer(), None);
        assert_eq!(stream_id(1, 2).layer(), Some(1));
    }

    #[test]
    fn a_camera_of_one_layer_has_no_rid() {
        let spec = LayerSpec {
            codec: VideoCodec::Vp8,
            kbps: 1_000,
            width: 640,
            height: 360,
            fps: 30,
        };
        let rids = |layers: &[LayerSpec]| {
            let camera = Publication::camera("0".into(), 1, layers);
            let Encoders::Video(layers) = camera.encoders else {
                panic!("a camera is video");
            };
            layers.iter().map(|layer| layer.rid).collect::<Vec<_>>()
        };
        assert_eq!(rids(&[spec]), [None]);
        assert_eq!(rids(&[spec; 3]), RIDS.map(|rid| Some(rid.into())));
    }
}
