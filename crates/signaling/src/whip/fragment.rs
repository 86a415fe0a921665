//! Fragments of SDP that clients send while ICE goes on (RFC 8840), read line by line: clients disagree about everything else.

use madang_core::sdp::{RemoteCandidate, SdpError};

use super::answer::ordered_candidates;
use super::problem::Problem;

/// The media type.
pub(super) const TYPE: &str = "application/trickle-ice-sdpfrag";

/// What a client has sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Fragment {
    pub(super) ufrag: Option<String>,
    pub(super) pwd: Option<String>,
    /// Candidate lines without `a=`, each once.
    pub(super) candidates: Vec<String>,
}

impl Fragment {
    /// Reads a fragment; lines that mean nothing here are skipped.
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let mut fragment = Self::default();
        let mut empty = true;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            empty = false;
            let Some((kind, value)) = line.split_once('=').filter(|(kind, _)| kind.len() == 1)
            else {
                return Err(malformed(line));
            };
            if kind != "a" {
                continue;
            }
            if let Some(ufrag) = value.strip_prefix("ice-ufrag:") {
                let ufrag = ice_characters(line, ufrag, 4)?;
                fragment.ufrag.get_or_insert(ufrag);
            } else if let Some(pwd) = value.strip_prefix("ice-pwd:") {
                let pwd = ice_characters(line, pwd, 22)?;
                fragment.pwd.get_or_insert(pwd);
            } else if value.starts_with("candidate:") {
                let candidate = candidate(line, value)?;
                if let Some(new) = candidate.filter(|new| !fragment.candidates.contains(new)) {
                    fragment.candidates.push(new);
                }
            }
        }
        if empty {
            return Err(Problem::bad_request("the fragment is empty"));
        }
        Ok(fragment)
    }
}

/// A candidate of the one component that there is with `rtcp-mux`; MediaMTX's client counts it from 0.
fn candidate(line: &str, value: &str) -> Result<Option<String>, Problem> {
    if value == "candidate:" {
        return Ok(None);
    }
    let mut words: Vec<&str> = value.split_ascii_whitespace().collect();
    match words.get_mut(1) {
        Some(component) if *component == "2" => return Ok(None),
        Some(component) if *component == "0" => *component = "1",
        Some(_) => {}
        None => return Err(malformed(line)),
    }
    let candidate = words.join(" ");
    match RemoteCandidate::parse(&candidate) {
        Ok(usable) => Ok(usable.map(|_| candidate)),
        Err(SdpError::Malformed(_)) => Err(malformed(line)),
        Err(other) => Err(Problem::bad_request(other.to_string())),
    }
}

/// The grammar of RFC 8839 section 5.4.
fn ice_characters(line: &str, value: &str, least: usize) -> Result<String, Problem> {
    const MOST: usize = 256;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    // Firefox and others have '-', '_' and '=' in what the grammar does not allow them in: what is no
    // separator does no harm.
    let tolerated = |byte: u8| allowed(byte) || matches!(byte, b'-' | b'_' | b'=' | b'.' | b':');
    if (least..=MOST).contains(&value.len()) && value.bytes().all(tolerated) {
        return Ok(value.to_owned());
    }
    Err(malformed(line))
}

fn malformed(line: &str) -> Problem {
    let line: String = line.chars().take(80).collect();
    Problem::bad_request(format!("the line '{}' cannot be read", line.escape_debug()))
}

/// The fragment that answers an ICE restart: what the answer says about ICE.
pub(super) fn of_answer(answer: &str) -> String {
    let mut text = String::new();
    for name in ["a=ice-ufrag:", "a=ice-pwd:", "a=ice-options:"] {
        if let Some(line) = answer.lines().find(|line| line.starts_with(name)) {
            text.push_str(line);
            text.push_str("\r\n");
        }
    }
    let first = |prefix: &str| answer.lines().find(|line| line.starts_with(prefix));
    for line in [first("m="), first("a=mid:")].into_iter().flatten() {
        text.push_str(line);
        text.push_str("\r\n");
    }
    for line in ordered_candidates(answer) {
        text.push_str(line);
        text.push_str("\r\n");
    }
    text.push_str("a=end-of-candidates\r\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "candidate:1 1 udp 2113937151 192.0.2.1 50000 typ host";

    fn parse(text: &str) -> Fragment {
        Fragment::parse(text).unwrap()
    }

    #[test]
    fn whip_24_what_clients_send_is_read() {
        let medooze = format!(
            "a=ice-options:trickle ice2\r\na=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
             a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\na={HOST}\r\na=end-of-candidates\r\n"
        );
        let mediamtx = format!(
            "a=ice-ufrag:EsAw\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\nm=audio 9 RTP/AVP 0\na=mid:0\na={}\n\
             m=video 9 RTP/AVP 0\na=mid:1\na={HOST}\n",
            HOST.replacen(" 1 ", " 0 ", 1)
        );
        for text in [medooze, mediamtx] {
            let fragment = parse(&text);
            assert_eq!(fragment.ufrag.as_deref(), Some("EsAw"));
            assert_eq!(fragment.pwd.as_deref(), Some("P2uYro0UCOQ4zxjKXaWCBui1"));
            assert_eq!(fragment.candidates, [HOST]);
        }
        assert_eq!(parse(&format!("a={HOST}")).ufrag, None);
    }

    #[test]
    fn whip_23_candidates_of_no_use_are_skipped() {
        let lines = [
            "candidate:1 1 udp 1 5d8e-uuid.local 50000 typ host",
            "candidate:1 1 udp 1 host.example 50000 typ host",
            "candidate:1 1 tcp 1 192.0.2.1 9 typ host tcptype active",
            "candidate:1 2 udp 1 192.0.2.1 50001 typ host",
            "candidate:",
        ];
        let text: String = lines.iter().map(|line| format!("a={line}\r\n")).collect();
        assert_eq!(parse(&format!("{text}a={HOST}\r\n")).candidates, [HOST]);
    }

    #[test]
    fn whip_20_what_is_no_fragment_is_refused() {
        for text in [
            "",
            "\r\n\r\n",
            "hello",
            "{\"candidate\": 1}",
            "a=candidate:1",
            "a=candidate:1 1 udp x 192.0.2.1 1 typ host",
            "a=ice-ufrag:a",
            "a=ice-ufrag:a b c d e",
            "a=ice-pwd:short",
        ] {
            assert!(Fragment::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_fragment_of_an_answer_says_all_about_ice() {
        let answer = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdef01234567\r\n\
            a=ice-options:trickle\r\na=candidate:1 1 udp 1 192.0.2.1 1 typ host\r\na=mid:0\r\n";
        let fragment = of_answer(answer);
        let read = parse(&fragment);
        assert_eq!(read.ufrag.as_deref(), Some("abcd"));
        assert_eq!(read.candidates.len(), 1);
        assert!(fragment.contains("a=ice-options:trickle\r\n"));
        assert!(fragment.ends_with("a=end-of-candidates\r\n"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = Fragment::parse(&text);
            let _ = Fragment::parse(&format!("a=candidate:{text}"));
            let _ = of_answer(&text);
        }
    }
}
