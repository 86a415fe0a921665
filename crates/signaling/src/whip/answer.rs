//! Answers as WHIP and WHEP clients want them.

use crate::protocol::{ErrorCode, Fault};

/// Refuses an answer that refuses an m-line: who publishes means all of its media.
pub(super) fn check_complete(answer: &str) -> Result<(), Fault> {
    let m_lines = answer.lines().filter_map(|line| line.strip_prefix("m="));
    for (index, line) in m_lines.enumerate() {
        let mut words = line.split(' ');
        let kind = words.next().unwrap_or_default().escape_debug();
        let port = words.next().and_then(|port| port.split('/').next());
        if port == Some("0") {
            let text = format!("m-line {index} ({kind}) has no codec that this server forwards");
            return Err(Fault::new(ErrorCode::SdpRejected, text));
        }
    }
    Ok(())
}

/// Completes an answer: reachable IPv4 candidates come first, as some clients read no other; a bundle never uses RTCP
/// ports of its own; what is sent is one stream, so that players need not guess what belongs together.
pub(super) fn finish(answer: &str) -> String {
    let candidates = ordered_candidates(answer);
    let mut next = candidates.iter();
    let mut finished = String::with_capacity(answer.len() + 128);
    for line in answer.lines() {
        let line = if line.starts_with("a=candidate:") {
            next.next().copied().unwrap_or(line)
        } else {
            line
        };
        match one_stream(line) {
            Some(changed) => finished.push_str(&changed),
            None => finished.push_str(line),
        }
        finished.push_str("\r\n");
        if line == "a=rtcp-mux" {
            finished.push_str("a=rtcp-mux-only\r\n");
        }
    }
    finished
}

/// The candidate lines of an SDP, IPv4 first, loopback addresses last.
pub(super) fn ordered_candidates(sdp: &str) -> Vec<&str> {
    let mut candidates: Vec<&str> = sdp
        .lines()
        .filter(|line| line.starts_with("a=candidate:"))
        .collect();
    candidates.sort_by_key(|line| {
        let address = line.split(' ').nth(4).unwrap_or_default();
        let address = address.parse::<std::net::IpAddr>();
        address.map_or((true, true), |address| {
            (address.is_loopback(), address.is_ipv6())
        })
    });
    candidates
}

/// The name of the one stream that a viewer gets.
const STREAM: &str = "madang";

/// A line that names a stream, with the name of the one stream.
fn one_stream(line: &str) -> Option<String> {
    if let Some(rest) = line.strip_prefix("a=msid:") {
        let (_, track) = rest.split_once(' ')?;
        return Some(format!("a=msid:{STREAM} {track}"));
    }
    if line.starts_with("a=msid-semantic:") {
        return Some(format!("a=msid-semantic: WMS {STREAM}"));
    }
    let (ssrc, msid) = line.strip_prefix("a=ssrc:")?.split_once(" msid:")?;
    let (_, track) = msid.split_once(' ')?;
    Some(format!("a=ssrc:{ssrc} msid:{STREAM} {track}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whip_08_reachable_ipv4_candidates_come_first() {
        let answer = "v=0\r\nm=audio 9 RTP 111\r\na=rtcp-mux\r\n\
            a=candidate:1 1 udp 5 127.0.0.1 8080 typ host\r\n\
            a=candidate:2 1 udp 4 2001:db8::1 8080 typ host\r\n\
            a=candidate:3 1 udp 3 192.0.2.1 8080 typ host\r\na=end-of-candidates\r\n";
        let finished = finish(answer);
        let addresses: Vec<_> = finished
            .lines()
            .filter(|line| line.starts_with("a=candidate"))
            .filter_map(|line| line.split(' ').nth(4))
            .collect();
        assert_eq!(addresses, ["192.0.2.1", "2001:db8::1", "127.0.0.1"]);
        assert!(finished.contains("a=rtcp-mux\r\na=rtcp-mux-only\r\n"));
        assert!(finished.ends_with("typ host\r\na=end-of-candidates\r\n"));
    }

    #[test]
    fn all_tracks_are_of_one_stream() {
        let answer = "m=audio 9 RTP 111\r\na=msid:a1 t1\r\na=ssrc:5 msid:a1 t1\r\na=ssrc:5 cname:t1\r\n\
            m=video 9 RTP 96\r\na=msid:b2 t2\r\n";
        assert_eq!(
            finish(answer),
            "m=audio 9 RTP 111\r\na=msid:madang t1\r\na=ssrc:5 msid:madang t1\r\na=ssrc:5 cname:t1\r\n\
             m=video 9 RTP 96\r\na=msid:madang t2\r\n"
        );
    }

    #[test]
    fn refused_m_lines_are_found() {
        let answer = "v=0\r\nm=audio 9 RTP 111\r\na=mid:0\r\nm=video 0 RTP 0\r\na=mid:1\r\n";
        let refused = check_complete(answer).unwrap_err();
        assert!(refused.text.starts_with("m-line 1 (video) "), "{refused:?}");
        assert!(check_complete(&answer.replace("video 0", "video 9")).is_ok());
    }
}
