//! What this server has no use for in an offer. A browser's m-line of video names 34 payload types in 140 lines, which str0m
//! compares with each other, several times, on the media thread.

use str0m::media::MediaKind;
use str0m::rtp::Extension;

use super::wanted_extensions;

/// Payload types have 7 bits (RFC 3550 section 5.1).
const PAYLOAD_TYPES: usize = 128;

/// The first byte of an H.264 `profile-level-id` of the High profile. Those of 10 bits or 4:4:4 have more (H.264 annex A).
const HIGH_PROFILE: u8 = 0x64;

/// What can be left out of a media section.
#[derive(Debug)]
pub(super) struct Useless {
    /// Payload types, as bits. None where nothing would be left: the refusal is to name what was offered.
    formats: u128,
    /// Feedback for which the section has something better: REMB beside transport-wide reports, FIR beside PLI.
    remb: bool,
    fir: bool,
    /// Other header extensions are.
    wanted: [Extension; 12],
}

impl Useless {
    /// Of an m-line and the lines about its codecs.
    pub(super) fn of(kind: MediaKind, media: &str, lines: &[&str]) -> Self {
        let formats = Formats::read(lines);
        let all = payload_types(media);
        let (useful, useless): (Vec<_>, Vec<_>) =
            all.partition(|pt| formats.are_forwarded(*pt, kind));
        let bits = |useless: Vec<u8>| useless.into_iter().fold(0, |bits, pt| bits | 1 << pt);
        let have = |feedback| lines.iter().any(|line| line.contains(feedback));
        Self {
            formats: if useful.is_empty() { 0 } else { bits(useless) },
            remb: have(" transport-cc"),
            fir: have(" nack pli"),
            wanted: wanted_extensions(),
        }
    }

    /// Whether a line is of use.
    pub(super) fn leaves(&self, line: &str) -> bool {
        if let Some(extension) = line.strip_prefix("a=extmap:") {
            let uri = extension.split_ascii_whitespace().nth(1);
            let is = |wanted: &Extension| Some(wanted.as_uri()) == uri;
            return self.wanted.iter().any(is);
        }
        let feedback = value(line, "a=rtcp-fb:");
        let is_worse = feedback.is_some_and(|(_, value)| {
            (self.remb && value == "goog-remb") || (self.fir && value == "ccm fir")
        });
        let about = feedback
            .or_else(|| value(line, "a=rtpmap:"))
            .or_else(|| value(line, "a=fmtp:"));
        !is_worse && !about.is_some_and(|(pt, _)| self.is_useless(pt))
    }

    /// The m-line with the payload types that are of use.
    pub(super) fn leave_out_of_media(&self, line: &str) -> String {
        let words = line.split_ascii_whitespace().enumerate();
        // m=<media> <port> <protocol> <payload types>
        let kept = words.filter(|(at, word)| {
            *at < 3 || payload_type(word).is_none_or(|pt| !self.is_useless(pt))
        });
        let kept: Vec<&str> = kept.map(|(_, word)| word).collect();
        kept.join(" ")
    }

    fn is_useless(&self, pt: u8) -> bool {
        self.formats >> pt & 1 != 0
    }
}

/// What a section says of each payload type: name of the codec and parameters.
struct Formats<'a>([Option<(&'a str, &'a str)>; PAYLOAD_TYPES]);

impl<'a> Formats<'a> {
    fn read(lines: &[&'a str]) -> Self {
        let mut formats = [None; PAYLOAD_TYPES];
        for line in lines {
            let (codec, parameters) = (value(line, "a=rtpmap:"), value(line, "a=fmtp:"));
            let pt = codec.or(parameters).map(|(pt, _)| usize::from(pt));
            let Some(format) = pt.and_then(|pt| formats.get_mut(pt)) else {
                continue;
            };
            let (name, said) = format.get_or_insert(("", ""));
            if let Some((_, codec)) = codec {
                *name = codec.split('/').next().unwrap_or(codec);
            } else if let Some((_, parameters)) = parameters {
                *said = parameters;
            }
        }
        Self(formats)
    }

    fn get(&self, pt: u8) -> Option<(&'a str, &'a str)> {
        *self.0.get(usize::from(pt))?
    }

    fn are_forwarded(&self, pt: u8, kind: MediaKind) -> bool {
        match self.get(pt) {
            Some((codec, parameters)) if codec.eq_ignore_ascii_case("rtx") => {
                let apt = parameter(parameters, "apt").and_then(payload_type);
                apt.is_some_and(|apt| self.is_codec(apt, kind))
            }
            _ => self.is_codec(pt, kind),
        }
    }

    fn is_codec(&self, pt: u8, kind: MediaKind) -> bool {
        let Some((codec, parameters)) = self.get(pt) else {
            return false;
        };
        match (kind, codec.to_ascii_lowercase().as_str()) {
            (MediaKind::Audio, "opus" | "red") | (MediaKind::Video, "vp8") => true,
            // 4:2:0 with 8 bits and with more.
            (MediaKind::Video, "vp9") => matches!(
                parameter(parameters, "profile-id"),
                None | Some("0") | Some("2")
            ),
            (MediaKind::Video, "av1") => {
                matches!(parameter(parameters, "profile"), None | Some("0"))
            }
            (MediaKind::Video, "h264") => self.is_h264(parameters),
            _ => false,
        }
    }

    /// Whoever takes packetization mode 1 takes the packets of mode 0, too (RFC 6184 section 6.2): that is left out
    /// beside it.
    fn is_h264(&self, parameters: &str) -> bool {
        let H264 { profile, fragments } = H264::read(parameters);
        let better = || {
            let all = self.0.iter().flatten();
            let mut h264 = all.filter(|(codec, _)| codec.eq_ignore_ascii_case("h264"));
            h264.any(|(_, parameters)| {
                let other = H264::read(parameters);
                other.fragments && other.profile == profile
            })
        };
        profile.is_none_or(|(idc, _)| idc <= HIGH_PROFILE) && (fragments || !better())
    }
}

/// What tells formats of H.264 apart.
struct H264 {
    /// Its number, and its constraints.
    profile: Option<(u8, u8)>,
    /// Packetization mode 1.
    fragments: bool,
}

impl H264 {
    fn read(parameters: &str) -> Self {
        let byte = |id: &str, range| u8::from_str_radix(id.get(range)?, 16).ok();
        Self {
            profile: parameter(parameters, "profile-level-id")
                .and_then(|id| Some((byte(id, 0..2)?, byte(id, 2..4)?))),
            fragments: parameter(parameters, "packetization-mode") == Some("1"),
        }
    }
}

fn payload_types(media: &str) -> impl Iterator<Item = u8> {
    let words = media.split_ascii_whitespace().skip(3);
    words.filter_map(payload_type)
}

fn payload_type(text: &str) -> Option<u8> {
    let pt: u8 = text.parse().ok()?;
    (usize::from(pt) < PAYLOAD_TYPES).then_some(pt)
}

/// Payload type and the rest of an attribute.
fn value<'a>(line: &'a str, name: &str) -> Option<(u8, &'a str)> {
    let (pt, value) = line.strip_prefix(name)?.split_once(' ')?;
    Some((payload_type(pt)?, value))
}

fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    let mut all = parameters.split(';').filter_map(|one| one.split_once('='));
    all.find_map(|(key, value)| key.trim().eq_ignore_ascii_case(name).then(|| value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIDEO: &str = "m=video 9 UDP/TLS/RTP/SAVPF 96 97 35 36 41 108 120 45\r\na=mid:1\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\n\
        a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=rtpmap:35 VP9/90000\r\na=fmtp:35 profile-id=1\r\na=rtpmap:36 rtx/90000\r\n\
        a=fmtp:36 apt=35\r\na=rtcp-fb:35 nack\r\na=rtpmap:41 H264/90000\r\n\
        a=fmtp:41 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=f4001f\r\na=rtpmap:108 H264/90000\r\n\
        a=fmtp:108 packetization-mode=1;profile-level-id=42e01f\r\na=rtpmap:120 ulpfec/90000\r\na=rtpmap:45 AV1/90000\r\n\
        a=fmtp:45 level-idx=5;profile=0;tier=0\r\n";

    fn reduced(section: &str) -> String {
        let (media, lines) = section.split_once('\n').unwrap();
        let lines: Vec<&str> = lines.lines().collect();
        let kind = if media.starts_with("m=audio") {
            MediaKind::Audio
        } else {
            MediaKind::Video
        };
        let useless = Useless::of(kind, media, &lines);
        let kept = lines.iter().filter(|line| useless.leaves(line));
        let kept = kept.map(|line| format!("{line}\n"));
        format!("{}\n", useless.leave_out_of_media(media)) + &kept.collect::<String>()
    }

    #[test]
    fn formats_that_are_not_forwarded_are_left_out_with_all_that_is_about_them() {
        let reduced = reduced(VIDEO);
        assert!(
            reduced.starts_with("m=video 9 UDP/TLS/RTP/SAVPF 96 97 108 45\n"),
            "{reduced}"
        );
        assert!(reduced.contains("a=rtcp-fb:96 nack") && reduced.contains("a=fmtp:97 apt=96"));
        for pt in ["35", "36", "41", "120"] {
            assert!(!reduced.contains(&format!(":{pt} ")), "{pt} in {reduced}");
        }
    }

    #[test]
    fn packetization_mode_0_is_left_out_beside_mode_1_of_its_profile() {
        let section = "m=video 9 UDP/TLS/RTP/SAVPF 102 104 39\na=rtpmap:102 H264/90000\n\
            a=fmtp:102 packetization-mode=1;profile-level-id=42001f\na=rtpmap:104 H264/90000\n\
            a=fmtp:104 packetization-mode=0;profile-level-id=42001f\na=rtpmap:39 H264/90000\n\
            a=fmtp:39 packetization-mode=0;profile-level-id=4d001f\n";
        let reduced = reduced(section);
        assert!(reduced.starts_with("m=video 9 UDP/TLS/RTP/SAVPF 102 39\n"));
    }

    #[test]
    fn feedback_is_left_out_where_there_is_better() {
        let all = "m=video 9 UDP/TLS/RTP/SAVPF 96\na=rtpmap:96 VP8/90000\na=rtcp-fb:96 goog-remb\na=rtcp-fb:96 ccm fir\n";
        assert_eq!(reduced(all), all);
        let better = "a=rtcp-fb:96 transport-cc\na=rtcp-fb:96 nack pli\n";
        let expected =
            "m=video 9 UDP/TLS/RTP/SAVPF 96\na=rtpmap:96 VP8/90000\n".to_owned() + better;
        assert_eq!(reduced(&(all.to_owned() + better)), expected);
    }

    #[test]
    fn where_nothing_would_be_left_everything_is() {
        let section = "m=video 9 UDP/TLS/RTP/SAVPF 120 118\na=rtpmap:120 ulpfec/90000\n";
        assert_eq!(reduced(section), section);
    }

    #[test]
    fn header_extensions_that_are_neither_read_nor_passed_on_are_left_out() {
        let section = "m=video 9 UDP/TLS/RTP/SAVPF 96\na=extmap:9 urn:ietf:params:rtp-hdrext:sdes:mid\n\
            a=extmap:8 http://www.webrtc.org/experiments/rtp-hdrext/color-space\n\
            a=extmap:13 https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension\n\
            a=rtpmap:96 VP8/90000\n";
        let expected = section.replace(
            "a=extmap:8 http://www.webrtc.org/experiments/rtp-hdrext/color-space\n",
            "",
        );
        assert_eq!(reduced(section), expected);
    }

    #[test]
    fn sound_keeps_opus_and_red() {
        let section = "m=audio 9 UDP/TLS/RTP/SAVPF 111 63 0 110\na=rtpmap:111 OPUS/48000/2\na=rtpmap:63 red/48000/2\na=fmtp:63 111/111\n\
            a=rtpmap:110 telephone-event/48000\n";
        assert_eq!(
            reduced(section),
            "m=audio 9 UDP/TLS/RTP/SAVPF 111 63\na=rtpmap:111 OPUS/48000/2\na=rtpmap:63 red/48000/2\na=fmtp:63 111/111\n"
        );
    }
}
