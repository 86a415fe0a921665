//! Offers of WHIP and WHEP clients: what they want, and whether this server does that.

use std::collections::BTreeSet;

use super::Purpose;
use super::problem::Problem;

/// An offer's text in the form in which it is answered, and what stands in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OfferText {
    pub(crate) text: String,
    pub(crate) sections: Vec<Section>,
}

/// A section of media.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    /// `audio`, `video`, `application` or whatever else stands there.
    pub(crate) kind: String,
    pub(crate) mid: String,
    direction: Direction,
    /// The MediaStreams that it belongs to.
    streams: BTreeSet<String>,
    pub(crate) rids: Vec<String>,
    refused: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    SendOnly,
    RecvOnly,
    SendRecv,
    Inactive,
}

impl Direction {
    fn parse(line: &str) -> Option<Self> {
        Some(match line {
            "a=sendonly" => Self::SendOnly,
            "a=recvonly" => Self::RecvOnly,
            "a=sendrecv" => Self::SendRecv,
            "a=inactive" => Self::Inactive,
            _ => return None,
        })
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::SendRecv => "sendrecv",
            Self::Inactive => "inactive",
        }
    }
}

impl OfferText {
    /// Reads an offer and checks it against what WHIP or WHEP allow.
    pub(crate) fn read(sdp: &str, purpose: Purpose) -> Result<Self, Problem> {
        let malformed =
            |text: &str| Problem::bad_request(format!("the body is no SDP offer: {text}"));
        if !sdp.starts_with("v=0") {
            return Err(malformed("it does not begin with v=0"));
        }
        let offer = Self::parse(sdp, purpose);
        if offer.sections.is_empty() {
            return Err(malformed("it has no m-line"));
        }
        for needed in ["a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:"] {
            if !offer.text.lines().any(|line| line.starts_with(needed)) {
                return Err(malformed(&format!("it has no line '{needed}'")));
            }
        }
        match purpose {
            Purpose::Publish => offer.check_publication()?,
            Purpose::Watch => offer.check_reception()?,
        }
        Ok(offer)
    }

    /// Reads the sections. Where a section offers both directions, or says nothing, the one that is not used is taken out:
    /// the answer then says what this server does.
    fn parse(sdp: &str, purpose: Purpose) -> Self {
        let mut text = String::with_capacity(sdp.len() + 64);
        let mut sections: Vec<Section> = Vec::new();
        let mut default = Direction::SendRecv;
        let wanted = match purpose {
            Purpose::Publish => Direction::SendOnly,
            Purpose::Watch => Direction::RecvOnly,
        };
        let narrow = |direction| {
            if direction == Direction::SendRecv {
                wanted
            } else {
                direction
            }
        };
        let finish = |text: &mut String, section: Option<&Section>| {
            if let Some(section) = section.filter(|section| section.kind != "application") {
                let direction = narrow(section.direction).as_str();
                text.push_str(&format!("a={direction}\r\n"));
            }
        };
        for line in sdp
            .lines()
            .map(str::trim_end)
            .filter(|line| !line.is_empty())
        {
            if line.starts_with("m=") {
                finish(&mut text, sections.last());
                sections.push(Section::new(line, default));
            } else if let Some(direction) = Direction::parse(line) {
                match sections.last_mut() {
                    Some(section) => section.direction = direction,
                    None => default = direction,
                }
                continue;
            } else if let Some(section) = sections.last_mut() {
                section.read(line);
            }
            text.push_str(line);
            text.push_str("\r\n");
        }
        finish(&mut text, sections.last());
        Self { text, sections }
    }

    fn check_publication(&self) -> Result<(), Problem> {
        for (index, section) in self.media() {
            if matches!(section.direction, Direction::RecvOnly | Direction::Inactive) {
                return Err(unusable(
                    index,
                    section,
                    "who publishes offers sendonly or sendrecv",
                ));
            }
            let same = |(_, other): &(usize, &Section)| other.kind == section.kind;
            if self.media().filter(same).count() > 1 {
                return Err(unusable(
                    index,
                    section,
                    "a publisher has one m-line for audio and one for video",
                ));
            }
        }
        let streams: BTreeSet<&String> = self
            .media()
            .flat_map(|(_, section)| &section.streams)
            .collect();
        if streams.len() > 1 {
            let text = format!(
                "the offer has {} MediaStreams, a publisher has one",
                streams.len()
            );
            return Err(Problem::offer(text));
        }
        self.check_any()
    }

    fn check_reception(&self) -> Result<(), Problem> {
        for (index, section) in self.media() {
            if section.direction == Direction::SendOnly {
                return Err(unusable(
                    index,
                    section,
                    "who watches offers recvonly or sendrecv",
                ));
            }
        }
        self.check_any()
    }

    fn check_any(&self) -> Result<(), Problem> {
        let usable = |(_, section): (usize, &Section)| {
            !section.refused && section.direction != Direction::Inactive
        };
        if self.media().any(usable) {
            return Ok(());
        }
        Err(Problem::offer(
            "the offer has no usable m-line of audio or video",
        ))
    }

    /// The sections of audio and video, with their positions.
    pub(crate) fn media(&self) -> impl Iterator<Item = (usize, &Section)> {
        let sections = self.sections.iter().enumerate();
        sections.filter(|(_, section)| section.kind == "audio" || section.kind == "video")
    }

    /// The first value of an attribute, such as `ice-ufrag`.
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        let attributes = self.text.lines().filter_map(|line| line.strip_prefix("a="));
        attributes
            .filter_map(|attribute| attribute.split_once(':'))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }
}

/// An offer or an answer as it would be after an ICE restart.
pub(crate) fn restarted(sdp: &str, ufrag: &str, pwd: &str, candidates: &[String]) -> String {
    let mut text = String::with_capacity(sdp.len());
    let mut first = true;
    for line in sdp.lines() {
        if line.starts_with("a=candidate:") || line == "a=end-of-candidates" {
            continue;
        }
        if line.starts_with("a=ice-ufrag:") {
            text.push_str(&format!("a=ice-ufrag:{ufrag}"));
        } else if line.starts_with("a=ice-pwd:") {
            text.push_str(&format!("a=ice-pwd:{pwd}"));
        } else {
            text.push_str(line);
        }
        text.push_str("\r\n");
        if first && line.starts_with("a=mid:") {
            first = false;
            for candidate in candidates {
                text.push_str(&format!("a={candidate}\r\n"));
            }
        }
    }
    text
}

impl Section {
    fn new(m_line: &str, direction: Direction) -> Self {
        let mut words = m_line.trim_start_matches("m=").split(' ');
        Self {
            kind: words.next().unwrap_or_default().to_ascii_lowercase(),
            mid: String::new(),
            direction,
            streams: BTreeSet::new(),
            rids: Vec::new(),
            refused: words.next() == Some("0"),
        }
    }

    fn read(&mut self, line: &str) {
        let Some(attribute) = line.strip_prefix("a=") else {
            return;
        };
        if attribute == "bundle-only" {
            self.refused = false;
        }
        let Some((name, value)) = attribute.split_once(':') else {
            return;
        };
        match name {
            "mid" => value.trim().clone_into(&mut self.mid),
            "msid" => {
                let stream = value.split(' ').next().unwrap_or_default();
                if stream != "-" && !stream.is_empty() {
                    self.streams.insert(stream.to_owned());
                }
            }
            "rid" => {
                let mut words = value.split(' ');
                if let (Some(rid), Some("send")) = (words.next(), words.next()) {
                    self.rids.push(rid.to_owned());
                }
            }
            _ => {}
        }
    }
}

fn unusable(index: usize, section: &Section, why: &str) -> Problem {
    Problem::offer(format!(
        "m-line {index} ({}, mid '{}', {}) cannot be accepted: {why}",
        section.kind.escape_debug(),
        section.mid.escape_debug(),
        section.direction.as_str()
    ))
}
