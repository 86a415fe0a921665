//! Offers and answers: parsing off the media thread, repair before and after str0m.

mod description;
mod formats;
mod reduce;
mod repair;
mod text;

use std::net::IpAddr;

use str0m::Candidate;
use str0m::change::{SdpAnswer, SdpOffer};
use str0m::media::{MediaKind, Mid};
use str0m::rtp::{Extension, ExtensionMap};

use crate::dependency;
use description::{Description, Section};

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
    /// It asks for no media.
    pub(crate) only_sends: bool,
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
                let text = text::write(answer);
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
        let description = Description::read(sdp)?;
        let sections = description.sections.iter();
        let stereo = sections.clone().filter(|section| wants_stereo(section));
        let media = sections
            .clone()
            .filter_map(|section| Some((section.mid?.into(), section.kind?)));
        Ok(Self {
            sdp: formats::parse(&description)?.into(),
            media: media.collect(),
            stereo_mids: stereo
                .filter_map(|section| section.mid)
                .map(str::to_owned)
                .collect(),
            ice_password: description.ice_password().to_owned(),
            begins_dtls: description.begins_dtls(),
            only_sends: description.only_sends(),
        })
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
        let description = Description::read(sdp)?;
        Ok(Self {
            sdp: formats::parse(&description)?.into(),
            ice_password: description.ice_password().to_owned(),
        })
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

/// Header extensions that we read or pass on.
fn wanted_extensions() -> [Extension; 12] {
    [
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
    ]
}

/// The same, with ids. They are the offerer's in the end.
pub(crate) fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::empty();
    for (id, extension) in (1..).zip(wanted_extensions()) {
        map.set(id, extension);
    }
    map
}

/// Adds what str0m leaves out: the end of candidates (all of ours stand in the answer), and stereo
/// where the offer asked for it.
pub(crate) fn finish_answer(answer: &str, stereo_mids: &[String]) -> String {
    let (before, after) = answer.split_at(end_of_candidates(answer).unwrap_or(0));
    let mut finished = String::with_capacity(answer.len() + 64);
    finished.push_str(before);
    if !before.is_empty() {
        finished.push_str("a=end-of-candidates\r\n");
    }
    if stereo_mids.is_empty() {
        finished.push_str(after);
        return finished;
    }
    let (mut stereo, mut opus) = (false, None);
    for line in text::lines(after) {
        finished.push_str(line);
        if line.starts_with("m=") {
            (stereo, opus) = (false, None);
        } else if let Some(mid) = line.strip_prefix("a=mid:") {
            stereo = stereo_mids.iter().any(|wanted| wanted == mid);
        } else if stereo {
            opus = opus.or_else(|| opus_payload_type(line));
            if opus.is_some_and(|pt| is_fmtp_of(line, pt)) && !line.contains("stereo=1") {
                finished.push_str(";stereo=1;sprop-stereo=1");
            }
        }
        finished.push_str("\r\n");
    }
    finished
}

/// Where the candidates end, which str0m writes at the head of the first m-line.
fn end_of_candidates(answer: &str) -> Option<usize> {
    let mut at = answer.find("\na=candidate:")? + 1;
    while let Some(candidate) = answer
        .get(at..)
        .filter(|rest| rest.starts_with("a=candidate:"))
    {
        at += candidate.find('\n').map_or(candidate.len(), |end| end + 1);
    }
    Some(at)
}

fn wants_stereo(section: &Section<'_>) -> bool {
    if section.kind != Some(MediaKind::Audio) {
        return false;
    }
    let lines = || text::lines(&section.common);
    let Some(pt) = lines().find_map(opus_payload_type) else {
        return false;
    };
    let parameters =
        lines().filter_map(|line| is_fmtp_of(line, pt).then(|| line.split_once(' '))?);
    let mut parameters = parameters.flat_map(|(_, parameters)| parameters.split(';'));
    parameters.any(|parameter| parameter.trim() == "stereo=1")
}

fn opus_payload_type(line: &str) -> Option<&str> {
    let (pt, codec) = line.strip_prefix("a=rtpmap:")?.split_once(' ')?;
    let name = codec.split('/').next()?;
    name.eq_ignore_ascii_case("opus").then_some(pt)
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
        let wants = |fmtp: &str| {
            let codec = "a=rtpmap:111 opus/48000/2";
            let sdp =
                format!("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n{codec}\r\na=fmtp:111 {fmtp}\r\n");
            wants_stereo(&Description::read(&sdp).unwrap().sections[0])
        };
        assert!(wants("minptime=10;stereo=1"));
        assert!(!wants("minptime=10;sprop-stereo=1"));
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
