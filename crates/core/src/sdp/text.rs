//! Descriptions as text: read line by line, and written with what m-lines have in common once.

use std::fmt::Write;
use std::ops::Range;

use str0m::change::SdpAnswer;

/// Lines without what ends them.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (line, after) = split_line(rest);
        rest = after;
        Some(line)
    })
}

/// The first line, without what ends it, and what comes behind it.
pub(super) fn split_line(text: &str) -> (&str, &str) {
    let (line, after) = text.split_once('\n').unwrap_or((text, ""));
    (line.trim_ascii_end(), after)
}

/// How far what two m-lines have in common is looked for: one has a candidate, or is about a stream, where the other is not.
const APART_MAX: usize = 8;

/// The text of an answer. Of the attributes of an m-line nearly all stand in the one before, too; formatting them once saves three
/// quarters of the time.
pub(super) fn write(answer: &SdpAnswer) -> String {
    let mut text = String::with_capacity(16 * 1024);
    push(&mut text, &answer.session);
    let mut before = None;
    let mut places: Vec<Range<usize>> = Vec::new();
    for line in &answer.media_lines {
        let mut head = default_of(line);
        head.typ = line.typ.clone();
        head.disabled = line.disabled;
        head.proto = line.proto;
        head.pts.clone_from(&line.pts);
        push(&mut text, &head);
        let known = before.replace(line);
        let known = known.map_or(&[][..], |known| known.attrs.as_slice());
        let mut next = 0;
        let mut written = Vec::with_capacity(line.attrs.len());
        for attribute in &line.attrs {
            let start = text.len();
            let is_same = |at: &usize| known.get(*at) == Some(attribute);
            let same = (next..next + APART_MAX).find(is_same);
            match same.and_then(|at| places.get(at)) {
                Some(place) => text.extend_from_within(place.clone()),
                None => push(&mut text, attribute),
            }
            next = same.map_or(next, |at| at + 1);
            written.push(start..text.len());
        }
        places = written;
    }
    text
}

fn push(text: &mut String, what: &impl std::fmt::Display) {
    // A string takes everything.
    let _ = write!(text, "{what}");
}

/// str0m's types of lines have no name outside of it.
fn default_of<T: Default>(_: &T) -> T {
    T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_as_they_like() {
        let all: Vec<&str> = lines("v=0\r\n\na=b \r\nc").collect();
        assert_eq!(all, ["v=0", "", "a=b", "c"]);
        assert_eq!(lines("").count(), 0);
        assert_eq!(lines("\n").collect::<Vec<_>>(), [""]);
    }

    #[test]
    fn an_answer_reads_as_str0m_writes_it() {
        let section = |kind: &str, mid, more: &str| {
            format!(
                "m={kind} 9 UDP/TLS/RTP/SAVPF 96 97\r\na=candidate:1 1 udp 5 192.0.2.1 8080 typ host\r\na=ice-ufrag:u\r\na=mid:{mid}\r\n\
                 a=recvonly\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\n\
                 a=fmtp:97 apt=96\r\n{more}"
            )
        };
        let sdp = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE a b c d\r\n"
            .to_owned()
            + &section("audio", 'a', "a=ssrc:1 cname:x\r\na=ssrc:1 cname:x\r\n")
            + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:b\r\na=ice-ufrag:u\r\n"
            + &section("video", 'c', "a=ssrc:2 cname:x\r\n")
            + &section("video", 'd', "a=ssrc:1 cname:x\r\n");
        let answer = SdpAnswer::from_sdp_string(&sdp).unwrap();
        assert_eq!(answer.media_lines.len(), 4);
        assert_eq!(write(&answer), answer.to_sdp_string());
    }
}
