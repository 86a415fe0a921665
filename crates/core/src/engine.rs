//! A new peer's media engine, and its answer to the peer's offer. Both need nothing of a shard, and take up to a millisecond:
//! they are made off the media thread, which then only gives the peer its place.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use str0m::change::SdpAnswer;
use str0m::config::DtlsVersion;
use str0m::media::{Direction, Mid, Pt};
use str0m::rtp::Extension;
use str0m::{Candidate, IceCreds, Rtc, RtcConfig};

use crate::egress::{Lane, Wallclock};
use crate::forward::Slot;
use crate::peer;
use crate::sdp::{self, Offer, SdpError};
use crate::{Address, Identity, MediaKind, ShardConfig};

/// Between two checks of a pair that works: the interval of consent (RFC 7675, section 5.1).
const STUN_RTO_MAX: Duration = Duration::from_secs(5);
/// str0m gives a candidate pair up after this many unanswered checks: with the interval above it notices a client
/// that is gone within 30 s, the life of consent.
const STUN_RETRANSMITS_MAX: usize = 7;

/// Makes media engines, for any worker of the node.
#[derive(Debug, Clone)]
pub struct Engines {
    identity: Identity,
    addresses: Vec<Address>,
    ice_lite: bool,
    wallclock: Wallclock,
    initial_bitrate_bps: u64,
    slots_max: usize,
    message_bytes_max: u32,
}

/// The engine of a peer that has no place yet. The fragment of its credentials names none: the shard gives it another.
pub struct Engine {
    pub(crate) rtc: Rtc,
    pub(crate) lane: Lane,
    pub(crate) credentials: IceCreds,
    pub(crate) answer: SdpAnswer,
    pub(crate) slots: Vec<(Mid, MediaKind)>,
    pub(crate) codecs: Vec<String>,
    pub(crate) unmarked: Vec<(Pt, Mid)>,
    pub(crate) stereo_mids: Vec<String>,
    pub(crate) remote_password: String,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engines {
    pub fn new(config: &ShardConfig) -> Self {
        let message_bytes_max = u32::try_from(config.limits.data_message_bytes);
        Self {
            identity: config.identity.clone(),
            addresses: config.addresses.clone(),
            ice_lite: config.ice_lite,
            wallclock: config.wallclock,
            initial_bitrate_bps: config.initial_bitrate_bps,
            slots_max: config.limits.slots_per_peer,
            message_bytes_max: message_bytes_max.unwrap_or(u32::MAX),
        }
    }

    /// Makes the engine of somebody who joins with this offer.
    ///
    /// # Errors
    /// Where the offer cannot be answered; the text is meant for the one who sent it.
    pub fn accept(&self, now: Instant, mut offer: Offer) -> Result<Engine, SdpError> {
        // Who is bent on being the DTLS client may answer no checks until DTLS stands, as FFmpeg does: none are made.
        let lite = self.ice_lite || offer.begins_dtls;
        let credentials = IceCreds::new();
        // They cost an engine a fifth of what it takes for a packet; in a call each is forwarded to a few, and layers are smaller.
        let config = self
            .rtc_config(credentials.clone(), lite)
            .enable_raw_packets(offer.only_sends);
        let mut rtc = self.engine(now, config);
        let mut lane = self.lane(now);
        let stereo_mids = std::mem::take(&mut offer.stereo_mids);
        let remote_password = std::mem::take(&mut offer.ice_password);
        let known = (&[][..], self.slots_max);
        let accepted = peer::guarded(|| accept((&mut rtc, &mut lane), known, now, offer));
        let accepted = accepted.ok_or_else(engine_failed)??;
        Ok(Engine {
            codecs: codecs(&rtc),
            unmarked: unmarked(&rtc, &accepted.media),
            rtc,
            lane,
            credentials,
            answer: accepted.answer,
            slots: accepted.slots,
            stereo_mids,
            remote_password,
        })
    }

    /// An engine with our candidates.
    pub(crate) fn engine(&self, now: Instant, config: RtcConfig) -> Rtc {
        let mut rtc = config.build(now);
        for address in &self.addresses {
            match Candidate::host(address.advertised, "udp") {
                Ok(candidate) => {
                    rtc.add_local_candidate(candidate);
                }
                Err(error) => {
                    tracing::warn!(address = %address.advertised, %error, "an address makes no candidate");
                }
            }
        }
        rtc
    }

    pub(crate) fn lane(&self, now: Instant) -> Lane {
        Lane::new(now, self.initial_bitrate_bps, self.wallclock)
    }

    pub(crate) fn rtc_config(&self, credentials: IceCreds, lite: bool) -> RtcConfig {
        let mut config = RtcConfig::new()
            .set_crypto_provider(self.identity.provider())
            .set_dtls_cert(self.identity.certificate())
            .set_dtls_version(DtlsVersion::Auto)
            .set_local_ice_credentials(credentials)
            .set_ice_lite(lite)
            .set_rtp_mode(true)
            .set_snap_enabled(true)
            .set_sctp_max_message_size(self.message_bytes_max)
            .set_extension_map(sdp::extensions())
            .clear_codecs()
            .enable_opus(true, true)
            .enable_vp8(true)
            .enable_h264(true)
            .enable_vp9(true)
            .enable_av1(true);
        config.set_max_stun_rto(STUN_RTO_MAX);
        config.set_max_stun_retransmits(STUN_RETRANSMITS_MAX);
        config
    }
}

pub(crate) fn engine_failed() -> SdpError {
    SdpError::Rejected("it makes the media engine fail".into())
}

/// What has become of an offer.
pub(crate) struct Accepted {
    pub(crate) answer: SdpAnswer,
    /// All send m-lines of ours.
    pub(crate) slots: Vec<(Mid, MediaKind)>,
    /// All m-lines of audio and video.
    media: Vec<(Mid, MediaKind)>,
}

/// Accepts an offer. `known` are the slots that there are already, and how many there may be.
pub(crate) fn accept(
    (rtc, lane): (&mut Rtc, &mut Lane),
    known: (&[Slot], usize),
    now: Instant,
    offer: Offer,
) -> Result<Accepted, SdpError> {
    let mut slots = offer.media.clone();
    lane.declare(rtc);
    let answer = rtc.sdp_api().accept_offer(offer.sdp);
    adopt((rtc, lane), known, now, &mut slots);
    lane.reclaim(rtc);
    let answer = answer.map_err(|error| SdpError::Rejected(error.to_string()))?;
    Ok(Accepted {
        answer,
        slots,
        media: offer.media,
    })
}

/// Takes over the streams of the m-lines by which the peer receives; others are left out of `slots`.
pub(crate) fn adopt(
    (rtc, lane): (&mut Rtc, &mut Lane),
    (known, limit): (&[Slot], usize),
    now: Instant,
    slots: &mut Vec<(Mid, MediaKind)>,
) {
    slots.retain(|(mid, _)| {
        rtc.media(*mid)
            .is_some_and(|media| media.direction() == Direction::SendOnly)
    });
    let mut next = known.len();
    for &(mid, _) in slots.iter() {
        let index = known
            .iter()
            .position(|slot| slot.mid == mid)
            .unwrap_or_else(|| {
                next += 1;
                next - 1
            });
        if index < limit {
            lane.adopt(now, rtc, index, mid);
        }
    }
}

/// Payload types by which the media of m-lines is told apart whose packets carry no MID. One that several m-lines have
/// tells nothing.
fn unmarked(rtc: &Rtc, media: &[(Mid, MediaKind)]) -> Vec<(Pt, Mid)> {
    let receiving = media.iter().filter_map(|(mid, _)| {
        let media = rtc.media(*mid)?;
        media.direction().is_receiving().then_some(media)
    });
    let mut found: Vec<(Pt, Mid)> = Vec::new();
    let mut uses: HashMap<Pt, u32> = HashMap::new();
    for media in receiving {
        let marked = media.remote_extmap().id_of(Extension::RtpMid).is_some();
        for pt in media.remote_pts() {
            if !marked {
                found.push((*pt, media.mid()));
            }
            *uses.entry(*pt).or_default() += 1;
        }
    }
    found.retain(|(pt, _)| uses.get(pt) == Some(&1));
    found
}

/// Names of the codecs that were agreed on.
pub(crate) fn codecs(rtc: &Rtc) -> Vec<String> {
    let mut codecs: Vec<String> = Vec::new();
    for params in rtc.codec_config().params() {
        let name = params.spec().codec.to_string().to_ascii_uppercase();
        if !codecs.contains(&name) {
            codecs.push(name);
        }
    }
    codecs
}
