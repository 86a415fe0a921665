//! An offer or an answer as it came, read once. Of what stands in it, str0m is given only what it uses, and nothing
//! twice: it tries some 25 parsers on each line, which takes 10,000 instructions, and a browser's offer has 1,700 lines.

use std::collections::{HashSet, VecDeque};

use str0m::media::MediaKind;

use super::{RemoteCandidate, SdpError, text};
use crate::limits::MEDIA_SECTIONS_MAX;

#[derive(Debug, Default)]
pub(super) struct Description<'a> {
    /// The lines of the session part that are of use.
    session: Vec<&'a str>,
    pub(super) sections: Vec<Section<'a>>,
}

#[derive(Debug)]
pub(super) struct Section<'a> {
    /// The m-line: media, port and protocol, and formats where it is audio or video.
    pub(super) media: &'a str,
    pub(super) formats: Option<&'a str>,
    pub(super) kind: Option<MediaKind>,
    pub(super) mid: Option<&'a str>,
    /// Lines about this m-line alone, and about its transport.
    own: Vec<&'a str>,
    /// Lines about codecs and header extensions, which many m-lines have in common.
    pub(super) common: String,
}

impl<'a> Description<'a> {
    pub(super) fn read(sdp: &'a str) -> Result<Self, SdpError> {
        let mut description = Self::default();
        let mut runs = Runs::default();
        let mut rest = sdp;
        while !rest.is_empty() {
            if let Some(section) = description.sections.last_mut()
                && let Some(after) = runs.skip(rest, &mut section.common)
            {
                rest = after;
                continue;
            }
            let (line, after) = text::split_line(rest);
            if line.starts_with("m=") {
                runs.end();
                let alike = description
                    .sections
                    .last()
                    .map_or(0, |one| one.common.len());
                description.sections.push(Section::new(line, alike));
            } else if let Some(section) = description.sections.last_mut() {
                let before = section.common.len();
                section.take(line);
                runs.learn(
                    (rest, after),
                    section.common.get(before..).unwrap_or_default(),
                );
            } else if is_of_session(line) {
                description.session.push(line);
            }
            rest = after;
        }
        let found = description.sections.len();
        if found > MEDIA_SECTIONS_MAX {
            let text = format!("it has {found} media sections, the limit is {MEDIA_SECTIONS_MAX}");
            return Err(SdpError::Malformed(text));
        }
        Ok(description)
    }

    /// The ICE password. The m-lines of a bundle have one transport and so one password.
    pub(super) fn ice_password(&self) -> &'a str {
        let password = self.all().find_map(|line| line.strip_prefix("a=ice-pwd:"));
        password.unwrap_or_default().trim()
    }

    /// Whether an offer leaves no choice but that its side is the DTLS client, and lets ours be ICE-lite.
    pub(super) fn begins_dtls(&self) -> bool {
        let lite = self.session.contains(&"a=ice-lite");
        !lite && self.all().any(|line| line == "a=setup:active")
    }

    pub(super) fn only_sends(&self) -> bool {
        let mut media = self.sections.iter().filter(|it| it.kind.is_some());
        media.all(|section| section.has("a=sendonly"))
    }

    /// All lines but those about codecs and header extensions.
    fn all(&self) -> impl Iterator<Item = &'a str> {
        let own = self.sections.iter().flat_map(|section| &section.own);
        self.session.iter().chain(own).copied()
    }

    /// The description without codecs and header extensions, and with what is known to be wrong in it set right:
    /// - BUNDLE groups name only mids that are there; FFmpeg 8.0 names two where it has one m-line.
    /// - Candidates that cannot be used are left out: names, TCP, components beside the first, nonsense.
    pub(super) fn without_formats(&self) -> String {
        let mut text = String::with_capacity(2_048);
        for line in &self.session {
            match line.strip_prefix("a=group:BUNDLE") {
                Some(group) => self.push_bundle(&mut text, group),
                None => push(&mut text, line),
            }
        }
        let mut known = Known::default();
        for section in &self.sections {
            section.write(&known, &mut text);
            known.learn(section);
        }
        text
    }

    fn push_bundle(&self, text: &mut String, group: &str) {
        let mids: HashSet<&str> = self.sections.iter().filter_map(|one| one.mid).collect();
        text.push_str("a=group:BUNDLE");
        let bundled = group.split_ascii_whitespace();
        for mid in bundled.filter(|mid| mids.contains(mid)) {
            text.push(' ');
            text.push_str(mid);
        }
        text.push_str("\r\n");
    }
}

/// Lines in common that have stood behind each other in an earlier section: what begins with one of them goes on as that did.
#[derive(Debug, Default)]
struct Runs<'a> {
    known: VecDeque<Run<'a>>,
    current: Option<Run<'a>>,
}

#[derive(Debug)]
struct Run<'a> {
    /// As they came: from there, so many bytes.
    from: &'a str,
    bytes: usize,
    /// As they are kept.
    common: String,
}

/// An m-line has one of header extensions and one of codecs, and there are those of audio and of video, to send and to
/// receive.
const RUNS_MAX: usize = 8;

impl<'a> Runs<'a> {
    /// What comes behind a known run at the beginning of the text; the run goes to `common`.
    fn skip(&mut self, text: &'a str, common: &mut String) -> Option<&'a str> {
        let mut known = self.known.iter().filter_map(|run| {
            let raw = run.from.get(..run.bytes)?;
            Some((run, text.strip_prefix(raw)?))
        });
        let (run, after) = known.next()?;
        common.push_str(&run.common);
        self.current = None;
        Some(after)
    }

    /// A line, what begins with it and what comes behind it, has been kept so; nothing of one that is not in common.
    fn learn(&mut self, (text, after): (&'a str, &'a str), kept: &str) {
        let bytes = text.len() - after.len();
        if kept.is_empty() {
            return self.end();
        }
        let run = self.current.get_or_insert_with(|| Run {
            from: text,
            bytes: 0,
            common: String::new(),
        });
        run.bytes += bytes;
        run.common.push_str(kept);
    }

    fn end(&mut self) {
        if let Some(run) = self.current.take() {
            self.known.truncate(RUNS_MAX - 1);
            self.known.push_front(run);
        }
    }
}

/// What str0m takes from the first section that has it.
#[derive(Debug, Default)]
struct Known {
    credentials: bool,
    fingerprint: bool,
    setup: bool,
}

impl Known {
    fn learn(&mut self, section: &Section<'_>) {
        self.credentials |= section.has("a=ice-ufrag:") && section.has("a=ice-pwd:");
        self.fingerprint |= section.has("a=fingerprint:");
        self.setup |= section.has("a=setup:");
    }

    fn covers(&self, name: &str) -> bool {
        match name {
            "ice-ufrag" | "ice-pwd" => self.credentials,
            "fingerprint" => self.fingerprint,
            "setup" => self.setup,
            _ => false,
        }
    }
}

impl<'a> Section<'a> {
    /// The lines in common are going to be about as long as is said.
    fn new(line: &'a str, common: usize) -> Self {
        let kind = if line.starts_with("m=audio ") {
            Some(MediaKind::Audio)
        } else if line.starts_with("m=video ") {
            Some(MediaKind::Video)
        } else {
            None
        };
        // m=<media> <port> <protocol> <formats>
        let split = kind.and_then(|_| line.match_indices(' ').nth(2));
        let split = split.and_then(|(at, _)| line.split_at_checked(at));
        let (media, formats) = split.map_or((line, None), |(media, pts)| (media, Some(pts)));
        Self {
            media,
            formats,
            kind,
            mid: None,
            own: Vec::new(),
            common: String::with_capacity(common),
        }
    }

    fn take(&mut self, line: &'a str) {
        match name(line).unwrap_or_default() {
            "rtpmap" | "fmtp" | "rtcp-fb" | "extmap" => push(&mut self.common, line),
            "mid" => {
                let mid = line.strip_prefix("a=mid:").map(str::trim);
                self.mid = self.mid.or(mid);
                self.own.push(line);
            }
            "candidate" if !is_usable(line) => {}
            "sendrecv" | "sendonly" | "recvonly" | "inactive" | "msid" | "rid" | "simulcast"
            | "ssrc" | "ssrc-group" | "ice-ufrag" | "ice-pwd" | "fingerprint" | "setup"
            | "candidate" | "sctp-port" | "max-message-size" | "sctp-init" => self.own.push(line),
            _ => {}
        }
    }

    pub(super) fn is_rejected(&self) -> bool {
        self.media.split(' ').nth(1) == Some("0")
    }

    fn has(&self, start: &str) -> bool {
        self.own.iter().any(|line| line.starts_with(start))
    }

    fn write(&self, known: &Known, text: &mut String) {
        text.push_str(self.media);
        // One that needs no `rtpmap` (RFC 3551 section 6), in place of those that are added later.
        text.push_str(if self.formats.is_some() {
            " 0\r\n"
        } else {
            "\r\n"
        });
        let sends = self.has("a=sendrecv") || self.has("a=sendonly");
        for line in &self.own {
            let of_stream = line.starts_with("a=ssrc");
            if (sends || !of_stream) && !name(line).is_some_and(|name| known.covers(name)) {
                push(text, line);
            }
        }
        if self.formats.is_none() {
            text.push_str(&self.common);
        }
    }
}

fn push(text: &mut String, line: &str) {
    text.push_str(line);
    text.push_str("\r\n");
}

/// The name of an attribute.
fn name(line: &str) -> Option<&str> {
    let attribute = line.strip_prefix("a=")?;
    Some(
        attribute
            .split_once(':')
            .map_or(attribute, |(name, _)| name),
    )
}

fn is_of_session(line: &str) -> bool {
    let Some(name) = name(line) else {
        return ["v=", "o=", "s=", "t="]
            .iter()
            .any(|start| line.starts_with(start));
    };
    match name {
        "ice-lite" | "ice-ufrag" | "ice-pwd" | "fingerprint" | "setup" => true,
        "group" => line.starts_with("a=group:BUNDLE"),
        "candidate" => is_usable(line),
        _ => false,
    }
}

fn is_usable(line: &str) -> bool {
    let component = line.split_ascii_whitespace().nth(1);
    component == Some("1") && matches!(RemoteCandidate::parse(line), Ok(Some(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(sdp: &str) -> String {
        Description::read(sdp).unwrap().without_formats()
    }

    #[test]
    fn whip_38_a_bundle_names_what_is_there() {
        let sdp = "v=0\r\na=group:BUNDLE 0 1\r\nm=audio 9 RTP 111\r\na=mid:0\r\n";
        assert!(written(sdp).contains("a=group:BUNDLE 0\r\n"));
        let whole =
            "v=0\na=group:BUNDLE a b\nm=audio 9 RTP 111\na=mid:a\nm=video 9 RTP 96\na=mid:b\n";
        assert!(written(whole).contains("a=group:BUNDLE a b\r\n"));
    }

    #[test]
    fn whip_23_candidates_of_no_use_are_left_out() {
        let sdp = "v=0\r\nm=audio 9 RTP 111\r\na=mid:0\r\n\
            a=candidate:1 1 udp 5 192.0.2.1 8080 typ host\r\n\
            a=candidate:1 1 udp 5 6e4d.local 8080 typ host\r\n\
            a=candidate:1 2 udp 5 192.0.2.1 8081 typ host\r\n\
            a=candidate:1 1 tcp 5 192.0.2.1 9 typ host tcptype active\r\n\
            a=candidate:nonsense\r\n";
        let written = written(sdp);
        let candidates = written
            .lines()
            .filter(|line| line.starts_with("a=candidate"));
        assert_eq!(
            candidates.collect::<Vec<_>>(),
            ["a=candidate:1 1 udp 5 192.0.2.1 8080 typ host"]
        );
    }

    #[test]
    fn a_transport_is_described_once() {
        let transport = "a=ice-ufrag:u\na=ice-pwd:p\na=fingerprint:sha-256 AB\na=setup:actpass\n";
        let sdp = format!(
            "v=0\ni=a talk\nm=audio 9 RTP 111\nc=IN IP4 0.0.0.0\na=rtcp-mux\na=mid:a\na=sendonly\na=ssrc:1 cname:x\n{transport}\
             m=video 9 RTP 96\na=mid:b\na=recvonly\na=ssrc:2 cname:x\n{transport}a=x-unknown:1\n"
        );
        let first = transport.replace('\n', "\r\n");
        assert_eq!(
            written(&sdp),
            format!(
                "v=0\r\nm=audio 9 RTP 0\r\na=mid:a\r\na=sendonly\r\na=ssrc:1 cname:x\r\n{first}\
                 m=video 9 RTP 0\r\na=mid:b\r\na=recvonly\r\n"
            )
        );
        let halves = "v=0\nm=audio 9 RTP 0\na=mid:a\na=ice-ufrag:u\nm=audio 9 RTP 0\na=mid:b\na=ice-ufrag:u\na=ice-pwd:p\n";
        assert_eq!(written(halves).matches("a=ice-ufrag:u").count(), 2);
    }

    #[test]
    fn runs_of_lines_in_common_are_read_as_if_line_by_line() {
        // The second section has the first one's lines and one more, the third has them in other words.
        let sdp = "m=video 9 RTP 96\na=mid:a\na=extmap:1 x\na=extmap:2 y\na=recvonly\na=rtpmap:96 VP8/90000\n\
            m=video 9 RTP 96\na=rtpmap:96 VP8/90000\na=rtcp-fb:96 nack\na=mid:b\na=extmap:1 x\na=extmap:2 y\na=extmap:3 z\n\
            m=video 9 RTP 96\na=extmap:1 x\na=extmap:20 y\na=rtpmap:96 VP8/90000 \na=mid:c";
        let read = Description::read(sdp).unwrap();
        let common = read
            .sections
            .iter()
            .map(|one| one.common.replace("\r\n", "|"));
        assert_eq!(
            common.collect::<Vec<_>>(),
            [
                "a=extmap:1 x|a=extmap:2 y|a=rtpmap:96 VP8/90000|",
                "a=rtpmap:96 VP8/90000|a=rtcp-fb:96 nack|a=extmap:1 x|a=extmap:2 y|a=extmap:3 z|",
                "a=extmap:1 x|a=extmap:20 y|a=rtpmap:96 VP8/90000|",
            ]
        );
        let mids = read.sections.iter().map(|one| one.mid);
        assert_eq!(mids.collect::<Vec<_>>(), [Some("a"), Some("b"), Some("c")]);
    }

    #[test]
    fn who_begins_dtls_is_no_lite_agent() {
        let begins = |sdp: &str| Description::read(sdp).unwrap().begins_dtls();
        assert!(begins("v=0\nm=audio 9 RTP 0\na=setup:active\n"));
        assert!(!begins("v=0\nm=audio 9 RTP 0\na=setup:actpass\n"));
        assert!(!begins(
            "v=0\na=ice-lite\nm=audio 9 RTP 0\na=setup:active\n"
        ));
    }
}
