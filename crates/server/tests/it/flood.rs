//! Offers of WHIP that nobody means: sessions that never connect.

use std::time::{Duration, Instant};

use crate::http::request;
use crate::process::Madang;

const SESSIONS_MAX: u64 = 400;
/// Far longer than the connect timeout below.
const PATIENCE: Duration = Duration::from_secs(30);

fn offer() -> String {
    let section = |mid: u32, kind: &str, pt: u32, codec: &str| {
        format!(
            "m={kind} 9 UDP/TLS/RTP/SAVPF {pt}\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdef01234567\r\n\
             a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n\
             a=setup:actpass\r\na=mid:{mid}\r\na=sendonly\r\na=rtcp-mux\r\na=rtpmap:{pt} {codec}\r\n"
        )
    };
    let (audio, video) = (
        section(0, "audio", 111, "opus/48000/2"),
        section(1, "video", 96, "VP8/90000"),
    );
    format!(
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n{audio}{video}"
    )
}

/// Posts so many offers, each to a room of its own; returns how many were let in.
fn flood(server: &Madang, name: &str, count: u64) -> u64 {
    let offer = offer();
    let mut created = 0;
    for number in 0..count {
        let head = format!("POST /whip/{name}-{number}\ncontent-type: application/sdp");
        let response = request(server.http, &head, &offer);
        match response.status {
            201 => created += 1,
            429 => assert!(response.header("retry-after").is_some(), "{response:?}"),
            other => assert_eq!(other, 201, "{response:?}"),
        }
    }
    created
}

/// Waits until nothing is left of the sessions.
fn wait_until_freed(server: &Madang) {
    let end = Instant::now() + PATIENCE;
    let left =
        || ["madang_peers", "madang_sessions", "madang_rooms"].map(|name| server.total(name));
    while left() != [0, 0, 0] {
        assert!(Instant::now() < end, "{:?}", left());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn whip_15_sessions_that_never_connect_are_bounded_and_freed() {
    let sessions = format!("--limits-sessions-per-address={SESSIONS_MAX}");
    let server = Madang::start(&[
        "--limits-connect-timeout=2s",
        "--limits-joins-burst-per-address=100000",
        &sessions,
    ]);
    let memory = || server.total("process_resident_memory_bytes");
    let mut after = Vec::new();
    for name in ["one", "two", "three"] {
        let created = flood(&server, name, 2 * SESSIONS_MAX);
        assert!(created >= SESSIONS_MAX, "{created}");
        assert!(server.total("madang_peers") <= SESSIONS_MAX);
        after.push(memory());
        wait_until_freed(&server);
    }
    // What the first flood has taken serves the others.
    assert!(after[2] < after[0] + after[0] / 4, "{after:?}");
    assert_eq!(flood(&server, "last", 1), 1, "and others get in");
}
