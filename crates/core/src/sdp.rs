//! Offers and answers: parsing off the media thread, repair before and after str0m.

mod reduce;
mod repair;

use std::net::IpAddr;

use str0m::Candidate;
use str0m::change::{SdpAnswer, SdpOffer};
use str0m::media::{MediaKind, Mid};
use str0m::rtp::{Extension, ExtensionMap};

use crate::dependency;
use crate::limits::MEDIA_SECTIONS_MAX;

/// A parsed offer. Parsing takes up to milliseconds, so it is done by the caller, not by the shard.
pub struct Offer {
    pub(crate) sdp: SdpOffer,
    /// The audio and video sections, in order.
    pub(crate) media: Vec<(Mid, MediaKind)>,
    /// Mids of audio sections whose sender or receiver wants stereo Opus (RFC 7587 section 6.1).
    pub(crate) stereo_mids: Vec<String>,
    pub(crate) ice_password: String,
    /// It begins DTLS itself, and cannot be an ICE-lite agent's.
    pub(crate) begins_dtls: bool,
}

/// An accepted offer's answer. Writing it takes as long as parsing the offer did, so that, too, is done by the
/// one who wants the text, not by the shard.
#[derive(Debug, PartialEq, Eq)]
pub struct AnswerSdp(Written);

#[derive(Debug, PartialEq, Eq)]
enum Written {
    Text(String),
    NotYet {
        answer: SdpAnswer,
        /// What str0m calls the fragment of a restarted ICE session, and what it is.
        ufrag: Option<(String, String)>,
        stereo_mids: Vec<String>,
    },
}

impl AnswerSdp {
    pub(crate) fn new(
        answer: SdpAnswer,
        ufrag: Option<(String, String)>,
        stereo_mids: Vec<String>,
    ) -> Self {
        Self(Written::NotYet {
            answer,
            ufrag,
            stereo_mids,
        })
    }
}

impl std::fmt::Display for AnswerSdp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Written::Text(text) => f.write_str(text),
            Written::NotYet {
                answer,
                ufrag,
                stereo_mids,
            } => {
                let text = answer.to_sdp_string();
                let text = match ufrag {
                    Some((random, ours)) => text.replace(random.as_str(), ours),
                    None => text,
                };
                f.write_str(&finish_answer(&text, stereo_mids))
            }
        }
    }
}

/// An answer that is text already.
impl From<String> for AnswerSdp {
    fn from(text: String) -> Self {
        Self(Written::Text(text))
    }
}

/// Why an offer or candidate was refused. The text is meant for the one who sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    #[error("the SDP cannot be parsed: {0}")]
    Malformed(String),
    #[error("the offer cannot be answered: {0}")]
    Rejected(String),
    #[error("the offer has no codec that this server forwards")]
    NoCommonCodec,
    #[error("the offer has {found} slots, the limit is {limit}")]
    SlotLimit { found: usize, limit: usize },
    #[error("this server has no room for another peer")]
    Full,
}

impl Offer {
    /// Parses an offer of a browser, WHIP or WHEP client.
    pub fn parse(sdp: &str) -> Result<Self, SdpError> {
        check_length(sdp)?;
        let text = &repair::repair(sdp);
        let stereo = |section: &&str| wants_stereo(section);
        let stereo_mids = sections(text)
            .filter(stereo)
            .filter_map(mid)
            .map(str::to_owned)
            .collect();
        let media = sections(text)
            .filter_map(|section| Some((mid(section)?.into(), kind(section)?)))
            .collect();
        SdpOffer::from_sdp_string(text)
            .map(|sdp| Self {
                sdp,
                media,
                stereo_mids,
                ice_password: ice_password(text),
                begins_dtls: begins_dtls(text),
            })
            .map_err(|error| SdpError::Malformed(error.to_string()))
    }
}

impl std::fmt::Debug for Offer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offer").finish_non_exhaustive()
    }
}

/// A parsed answer to an offer of ours.
pub struct RemoteAnswer {
    pub(crate) sdp: SdpAnswer,
    pub(crate) ice_password: String,
}

impl RemoteAnswer {
    /// Parses an answer of a WHEP client.
    pub fn parse(sdp: &str) -> Result<Self, SdpError> {
        check_length(sdp)?;
        let text = &repair::repair(sdp);
        SdpAnswer::from_sdp_string(text)
            .map(|sdp| Self {
                sdp,
                ice_password: ice_password(text),
            })
            .map_err(|error| SdpError::Malformed(error.to_string()))
    }
}

impl std::fmt::Debug for RemoteAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteAnswer").finish_non_exhaustive()
    }
}

/// A candidate that the remote side trickled.
#[derive(Debug, Clone)]
pub struct RemoteCandidate {
    pub(crate) candidate: Candidate,
}

impl RemoteCandidate {
    /// `Ok(None)` for what is legal and of no use here: the end of candidates, a name instead of an address
    /// (mDNS; its owner is found as a peer-reflexive candidate), TCP.
    pub fn parse(line: &str) -> Result<Option<Self>, SdpError> {
        let line = line.trim().trim_start_matches("a=");
        let mut words = line.split_ascii_whitespace();
        let transport = words.nth(2).unwrap_or_default();
        let address = words.nth(1).unwrap_or_default();
        let is_name = !address.is_empty() && address.parse::<IpAddr>().is_err();
        if line.is_empty() || is_name || !transport.eq_ignore_ascii_case("udp") {
            return if line.is_empty() || line.starts_with("candidate:") {
                Ok(None)
            } else {
                Err(SdpError::Malformed(format!(
                    "'{}' is not a candidate line",
                    line.escape_debug()
                )))
            };
        }
        Candidate::from_sdp_string(line)
            .map(|candidate| Some(Self { candidate }))
            .map_err(|error| SdpError::Malformed(error.to_string()))
    }
}

/// Whether an offer leaves no choice but that its side is the DTLS client, and lets ours be ICE-lite.
fn begins_dtls(sdp: &str) -> bool {
    let has = |wanted: &str| sdp.lines().any(|line| line.trim_end() == wanted);
    has("a=setup:active") && !has("a=ice-lite")
}

/// The ICE password. The m-lines of a bundle have one transport and so one password.
fn ice_password(sdp: &str) -> String {
    let password = sdp.lines().find_map(|line| line.strip_prefix("a=ice-pwd:"));
    password.unwrap_or_default().trim().to_owned()
}

/// Header extensions that we read or pass on. The ids are the offerer's in the end.
pub(crate) fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::empty();
    let wanted = [
        Extension::AudioLevel,
        Extension::AbsoluteSendTime,
        Extension::TransportSequenceNumber,
        Extension::RtpMid,
        Extension::RtpStreamId,
        Extension::RepairedRtpStreamId,
        Extension::VideoOrientation,
        Extension::AbsoluteCaptureTime,
        Extension::PlayoutDelay,
        Extension::VideoContentType,
        dependency::dependency_descriptor(),
        dependency::video_layers_allocation(),
    ];
    for (id, extension) in (1..).zip(wanted) {
        map.set(id, extension);
    }
    map
}

/// Adds what str0m leaves out: the end of candidates (all of ours stand in the answer), and stereo
/// where the offer asked for it.
pub(crate) fn finish_answer(answer: &str, stereo_mids: &[String]) -> String {
    let mut finished = String::with_capacity(answer.len() + 64);
    for section in split_sections(answer) {
        let wants_stereo = |mid: &str| stereo_mids.iter().any(|wanted| wanted == mid);
        let stereo = !stereo_mids.is_empty() && mid(section).is_some_and(wants_stereo);
        let opus = if stereo {
            opus_payload_type(section)
        } else {
            None
        };
        let last_candidate = section
            .lines()
            .filter(|line| line.starts_with("a=candidate:"))
            .count();
        let mut candidates = 0;
        for line in section.lines() {
            finished.push_str(line);
            if opus.is_some_and(|pt| is_fmtp_of(line, pt)) && !line.contains("stereo=1") {
                finished.push_str(";stereo=1;sprop-stereo=1");
            }
            finished.push_str("\r\n");
            if line.starts_with("a=candidate:") {
                candidates += 1;
                if candidates == last_candidate {
                    finished.push_str("a=end-of-candidates\r\n");
                }
            }
        }
    }
    finished
}

fn check_length(sdp: &str) -> Result<(), SdpError> {
    let found = sections(sdp).count();
    if found > MEDIA_SECTIONS_MAX {
        let text = format!("it has {found} media sections, the limit is {MEDIA_SECTIONS_MAX}");
        return Err(SdpError::Malformed(text));
    }
    Ok(())
}

/// The media sections, without the session part.
fn sections(sdp: &str) -> impl Iterator<Item = &str> {
    split_sections(sdp).skip(1)
}

/// The session part and then each media section, in order.
fn split_sections(sdp: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(sdp);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        match text.match_indices("\nm=").next() {
            Some((at, _)) => {
                let (section, following) = text.split_at_checked(at + 1)?;
                rest = Some(following);
                Some(section)
            }
            None => Some(text),
        }
    })
}

fn mid(section: &str) -> Option<&str> {
    section
        .lines()
        .find_map(|line| line.strip_prefix("a=mid:"))
        .map(str::trim)
}

fn kind(section: &str) -> Option<MediaKind> {
    if section.starts_with("m=audio ") {
        Some(MediaKind::Audio)
    } else if section.starts_with("m=video ") {
        Some(MediaKind::Video)
    } else {
        None
    }
}

fn wants_stereo(section: &str) -> bool {
    let Some(pt) = opus_payload_type(section) else {
        return false;
    };
    section.lines().any(|line| {
        is_fmtp_of(line, pt)
            && line.split_once(' ').is_some_and(|(_, parameters)| {
                parameters
                    .split(';')
                    .any(|parameter| parameter.trim() == "stereo=1")
            })
    })
}

fn opus_payload_type(section: &str) -> Option<&str> {
    section
        .lines()
        .filter_map(|line| line.strip_prefix("a=rtpmap:"))
        .find_map(|line| {
            let (pt, codec) = line.split_once(' ')?;
            codec
                .to_ascii_lowercase()
                .starts_with("opus/")
                .then_some(pt)
        })
}

fn is_fmtp_of(line: &str, pt: &str) -> bool {
    line.strip_prefix("a=fmtp:")
        .and_then(|rest| rest.strip_prefix(pt))
        .is_some_and(|rest| rest.starts_with(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_its_candidates_and_keeps_stereo() {
        let answer = "v=0\r\nm=audio 9 UDP 111\r\na=candidate:1\r\na=candidate:2\r\na=mid:0\r\na=rtpmap:111 opus/48000/2\r\n\
                      a=fmtp:111 minptime=10\r\nm=audio 9 UDP 111\r\na=mid:1\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10\r\n";
        let finished = finish_answer(answer, &["1".to_owned()]);
        assert!(finished.contains("a=candidate:2\r\na=end-of-candidates\r\na=mid:0"));
        assert!(finished.contains("a=fmtp:111 minptime=10\r\nm=audio"));
        assert!(finished.ends_with("a=fmtp:111 minptime=10;stereo=1;sprop-stereo=1\r\n"));
    }

    #[test]
    fn stereo_is_asked_for_by_stereo_not_by_sprop() {
        let section = |fmtp: &str| {
            format!("m=audio 9 UDP 111\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 {fmtp}\r\n")
        };
        assert!(wants_stereo(&section("minptime=10;stereo=1")));
        assert!(!wants_stereo(&section("minptime=10;sprop-stereo=1")));
    }

    #[test]
    fn useless_candidates_are_no_errors_and_nonsense_is() {
        let mdns = "candidate:1 1 udp 2113937151 5d8e-uuid.local 50000 typ host";
        let tcp = "candidate:1 1 tcp 1518280447 10.0.0.1 9 typ host tcptype active";
        assert!(RemoteCandidate::parse(mdns).unwrap().is_none());
        assert!(RemoteCandidate::parse(tcp).unwrap().is_none());
        assert!(RemoteCandidate::parse("").unwrap().is_none());
        assert!(
            RemoteCandidate::parse("candidate:1 1 udp 2113937151 10.0.0.1 50000 typ host")
                .unwrap()
                .is_some()
        );
        assert!(RemoteCandidate::parse("hello").is_err());
        assert!(RemoteCandidate::parse("candidate:1 1 udp x 10.0.0.1 50000 typ host").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = Offer::parse(&text);
            let _ = RemoteCandidate::parse(&text);
            let _ = finish_answer(&text, &["0".to_owned()]);
        }
    }
}
