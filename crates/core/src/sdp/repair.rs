//! What clients write into offers that is wrong or of no use, taken out before str0m reads it.

use std::collections::HashSet;

use super::reduce::Useless;
use super::{RemoteCandidate, mid, sections, split_sections};

/// What an H.264 profile counts as that cannot be read: constrained baseline, which every client has.
const USUAL_PROFILE: &str = "42e01f";

/// The offer with what is known to be wrong in it set right:
/// - BUNDLE groups name only mids that are there; FFmpeg 8.0 names two where it has one m-line.
/// - A `profile-level-id` has six digits; FFmpeg 8.0 writes seven.
/// - What this server has no use for is left out, see [`Useless`].
/// - Candidates that cannot be used are left out: names, TCP, components beside the first, nonsense.
pub(super) fn repair(sdp: &str) -> String {
    let mids: HashSet<&str> = sections(sdp).filter_map(mid).collect();
    let mut repaired = String::with_capacity(sdp.len());
    for section in split_sections(sdp) {
        let useless = Useless::of(section);
        let lines = section.lines().map(str::trim_end);
        for line in lines.filter_map(|line| useless.leave_out(line)) {
            push_line(&mut repaired, &line, &mids);
        }
    }
    repaired
}

fn push_line(repaired: &mut String, line: &str, mids: &HashSet<&str>) {
    if let Some(group) = line.strip_prefix("a=group:BUNDLE") {
        repaired.push_str("a=group:BUNDLE");
        let bundled = group.split_ascii_whitespace();
        for mid in bundled.filter(|mid| mids.contains(mid)) {
            repaired.push(' ');
            repaired.push_str(mid);
        }
    } else if line.starts_with("a=candidate:") {
        if !is_usable(line) {
            return;
        }
        repaired.push_str(line);
    } else if line.starts_with("a=fmtp:") {
        push_format(repaired, line);
    } else {
        repaired.push_str(line);
    }
    repaired.push_str("\r\n");
}

fn is_usable(line: &str) -> bool {
    let component = line.split_ascii_whitespace().nth(1);
    component == Some("1") && matches!(RemoteCandidate::parse(line), Ok(Some(_)))
}

fn push_format(text: &mut String, line: &str) {
    const NAME: &str = "profile-level-id=";
    let Some((before, rest)) = line.split_once(NAME) else {
        text.push_str(line);
        return;
    };
    let end = rest.find(';').unwrap_or(rest.len());
    let (profile, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let profile = profile.trim();
    let is_readable = profile.len() == 6 && profile.bytes().all(|digit| digit.is_ascii_hexdigit());
    text.push_str(before);
    text.push_str(NAME);
    text.push_str(if is_readable { profile } else { USUAL_PROFILE });
    text.push_str(after);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whip_38_a_bundle_names_what_is_there() {
        let sdp = "v=0\r\na=group:BUNDLE 0 1\r\nm=audio 9 RTP 111\r\na=mid:0\r\n";
        assert!(repair(sdp).contains("a=group:BUNDLE 0\r\n"));
        let whole =
            "v=0\na=group:BUNDLE a b\nm=audio 9 RTP 111\na=mid:a\nm=video 9 RTP 96\na=mid:b\n";
        assert!(repair(whole).contains("a=group:BUNDLE a b\r\n"));
    }

    #[test]
    fn whip_39_a_profile_has_six_digits() {
        let repaired = |format: &str| {
            let mut text = String::new();
            push_format(&mut text, format);
            text
        };
        assert_eq!(
            repaired("a=fmtp:96 profile-level-id=422001f;packetization-mode=1"),
            "a=fmtp:96 profile-level-id=42e01f;packetization-mode=1"
        );
        for good in [
            "a=fmtp:96 packetization-mode=1;profile-level-id=64001f",
            "a=fmtp:111 minptime=10",
        ] {
            assert_eq!(repaired(good), good);
        }
    }

    #[test]
    fn whip_23_candidates_of_no_use_are_left_out() {
        let sdp = "v=0\r\nm=audio 9 RTP 111\r\na=mid:0\r\n\
            a=candidate:1 1 udp 5 192.0.2.1 8080 typ host\r\n\
            a=candidate:1 1 udp 5 6e4d.local 8080 typ host\r\n\
            a=candidate:1 2 udp 5 192.0.2.1 8081 typ host\r\n\
            a=candidate:1 1 tcp 5 192.0.2.1 9 typ host tcptype active\r\n\
            a=candidate:nonsense\r\n";
        let repaired = repair(sdp);
        let candidates = repaired
            .lines()
            .filter(|line| line.starts_with("a=candidate"));
        assert_eq!(
            candidates.collect::<Vec<_>>(),
            ["a=candidate:1 1 udp 5 192.0.2.1 8080 typ host"]
        );
    }
}
