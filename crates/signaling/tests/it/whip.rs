//! WHIP as its clients see it: statuses, headers and bodies. Tests are named after the requirements that they are about.

use std::collections::BTreeSet;

use madang_core::Command;
use madang_core::sdp::SdpError;
use madang_signaling::Nodes;
use madang_signaling::protocol::{IceServer, Secret};
use serde_json::json;

use crate::harness::{Engine, Server, config, sign, token};
use crate::http::{Response, request};

pub(crate) const SDP: &str = "content-type: application/sdp";
const METHODS: [&str; 6] = ["OPTIONS", "GET", "HEAD", "POST", "PATCH", "DELETE"];

/// What a publisher offers.
pub(crate) fn offer() -> String {
    sections("sendonly", "live")
}

/// What a viewer offers.
pub(crate) fn reception() -> String {
    sections("recvonly", "-")
}

fn sections(direction: &str, stream: &str) -> String {
    let section = |mid: u32, kind: &str, pt: u32, codec: &str| {
        format!(
            "m={kind} 9 UDP/TLS/RTP/SAVPF {pt}\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdef01234567\r\n\
             a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n\
             a=setup:actpass\r\na=mid:{mid}\r\na={direction}\r\na=msid:{stream} t{mid}\r\na=rtcp-mux\r\na=rtpmap:{pt} {codec}\r\n"
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

/// What the engine answers.
pub(crate) const ANSWER: &str = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:srvr\r\na=ice-pwd:abcdef0123456789abcdef01\r\n\
    a=ice-options:trickle\r\na=candidate:1 1 udp 1 192.0.2.1 8080 typ host\r\na=end-of-candidates\r\na=mid:0\r\na=rtcp-mux\r\na=recvonly\r\n\
    m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=rtcp-mux\r\na=recvonly\r\n";

/// Publishes or watches, as `identity`.
pub(crate) async fn post(server: &Server, path: &str, identity: &str, sdp: &str) -> Response {
    let token = token(identity, json!({}));
    let head = format!("POST {path}\n{SDP}\nauthorization: Bearer {token}");
    request(server.address, &head, sdp).await
}

/// The path of the session that a 201 names.
pub(crate) fn path_of(server: &Server, created: &Response) -> String {
    assert_eq!(created.status, 201, "{created:?}");
    let location = created.header("location").unwrap();
    let base = format!("http://{}", server.address);
    location.strip_prefix(&base).unwrap().to_owned()
}

pub(crate) async fn start() -> Server {
    let server = Server::start(config()).await;
    *server.engine.lock() = Engine::Answers(ANSWER);
    server
}

/// A session of a publisher, and what created it.
pub(crate) async fn published(server: &Server) -> (String, Response) {
    let created = post(server, "/whip/r", "ann", &offer()).await;
    (path_of(server, &created), created)
}

#[tokio::test]
async fn whip_01_an_offer_is_answered_with_an_absolute_location() {
    let mut server = start().await;
    let (path, created) = published(&server).await;
    assert_eq!(created.header("content-type"), Some("application/sdp"));
    assert!(created.body.starts_with("v=0"), "{created:?}");
    assert!(
        path.starts_with("/whip/r/sessions/") && !path.contains('?'),
        "{path}"
    );
    let length = created.body.len().to_string();
    assert_eq!(created.header("content-length"), Some(length.as_str()));
    let published = |command| matches!(command, Command::Publish { .. }).then_some(());
    server.command(published).await;
    server.command(published).await;
}

#[tokio::test]
async fn whip_01_the_location_is_what_the_client_called_the_server() {
    let mut config = config();
    config.public_url = Some("https://live.example.org/".into());
    let server = Server::start(config).await;
    let created = post(&server, "/whip/r", "ann", &offer()).await;
    let location = created.header("location").unwrap();
    assert!(
        location.starts_with("https://live.example.org/whip/r/sessions/"),
        "{location}"
    );
}

#[tokio::test]
async fn whip_01_a_trusted_proxy_says_what_the_server_is_called() {
    for (trusted, base) in [
        (true, "https://live.example.org/"),
        (false, "http://127.0.0.1:"),
    ] {
        let mut config = config();
        config.trust_forwarded_for = trusted;
        let server = Server::start(config).await;
        let token = token("ann", json!({}));
        let head = format!(
            "POST /whip/r\n{SDP}\nauthorization: Bearer {token}\nx-forwarded-proto: https\nx-forwarded-host: live.example.org"
        );
        let created = request(server.address, &head, &offer()).await;
        let location = created.header("location").unwrap();
        assert!(location.starts_with(base), "{location}");
    }
}

#[tokio::test]
async fn whip_02_other_types_large_bodies_and_nonsense_are_refused() {
    let server = start().await;
    let token = token("ann", json!({}));
    let send = |kind: &str, body: String| {
        let head = format!("POST /whip/r\n{kind}\nauthorization: Bearer {token}");
        async move { request(server.address, &head, &body).await }
    };
    for kind in [
        "content-type: application/json",
        "content-type: text/plain",
        "x-nothing: 1",
    ] {
        let refused = send(kind, offer()).await;
        assert_eq!(refused.status, 415, "{kind}");
        assert_eq!(refused.header("accept-post"), Some("application/sdp"));
        refused.problem();
    }
    let with_parameter = send("content-type: Application/SDP; charset=utf-8", offer()).await;
    assert_eq!(with_parameter.status, 201);
    let large = format!("{}a={}\r\n", offer(), "x".repeat(256 * 1024));
    let refused = send(SDP, large).await;
    assert_eq!(refused.status, 413);
    refused.problem();
    let without = |line: &str| offer().replace(line, "a=x:");
    for nonsense in [
        String::new(),
        "hello".into(),
        "v=0\r\n".into(),
        "v=0\r\nm=audio\r\n".into(),
        without("a=ice-ufrag:"),
        without("a=fingerprint:"),
        "\u{0}".repeat(100),
    ] {
        let refused = send(SDP, nonsense.clone()).await;
        assert_eq!(refused.status, 400, "{nonsense}");
        refused.problem();
    }
}

#[tokio::test]
async fn whip_03_only_offers_that_send_are_accepted() {
    let server = start().await;
    let with = |direction: &str| offer().replace("a=sendonly", &format!("a={direction}"));
    for direction in ["sendonly", "sendrecv"] {
        let created = post(&server, "/whip/r", direction, &with(direction)).await;
        assert_eq!(created.status, 201, "{direction}");
    }
    for direction in ["recvonly", "inactive"] {
        let refused = post(&server, "/whip/r", direction, &with(direction)).await;
        assert_eq!(refused.status, 422, "{direction}");
        let detail = refused.problem()["detail"].to_string();
        assert!(
            detail.contains("m-line 0 (audio, mid '0'") && detail.contains(direction),
            "{detail}"
        );
    }
}

#[tokio::test]
async fn whip_04_nothing_is_accepted_in_part() {
    let mut server = start().await;
    let refusing = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\nm=video 0 UDP/TLS/RTP/SAVPF 0\r\na=mid:1\r\n";
    *server.engine.lock() = Engine::Answers(refusing);
    let refused = post(&server, "/whip/r", "ann", &offer()).await;
    assert_eq!(refused.status, 422);
    let detail = refused.problem()["detail"].to_string();
    assert!(detail.contains("m-line 1 (video) has no codec"), "{detail}");
    let left = |command| matches!(command, Command::Leave { .. }).then_some(());
    server.command(left).await;
    assert_eq!(server.hub.counts().sessions, 0);

    let error = SdpError::Rejected("it is odd".into());
    *server.engine.lock() = Engine::Refuses(error);
    let refused = post(&server, "/whip/r", "ann", &offer()).await;
    assert_eq!(refused.status, 422);
    assert!(refused.body.contains("it is odd"));
}

#[tokio::test]
async fn whip_05_one_stream_with_one_track_of_a_kind() {
    let server = start().await;
    let two_streams = offer().replace("msid:live t1", "msid:other t1");
    let two_videos = offer().replace("m=audio 9", "m=video 9");
    for sdp in [two_streams, two_videos] {
        let refused = post(&server, "/whip/r", "ann", &sdp).await;
        assert_eq!(refused.status, 422, "{refused:?}");
        refused.problem();
    }
    for sdp in [
        offer()
            .replace("a=msid:live t0\r\n", "")
            .replace("a=msid:live t1\r\n", ""),
        offer().replace("msid:live", "msid:-"),
    ] {
        assert_eq!(post(&server, "/whip/r", "ann", &sdp).await.status, 201);
    }
}

#[tokio::test]
async fn whip_07_bundled_sections_never_use_rtcp_ports_of_their_own() {
    let server = start().await;
    let (_, created) = published(&server).await;
    assert_eq!(created.body.matches("a=rtcp-mux-only\r\n").count(), 2);
}

#[tokio::test]
async fn whip_10_each_ice_session_has_a_tag_of_its_own() {
    let server = start().await;
    let mut tags = BTreeSet::new();
    for identity in ["ann", "bob"] {
        let created = post(&server, "/whip/r", identity, &offer()).await;
        let tag = created.header("etag").unwrap().to_owned();
        assert!(
            tag.len() > 8 && tag.starts_with('"') && tag.ends_with('"'),
            "{tag}"
        );
        tags.insert(tag);
    }
    assert_eq!(tags.len(), 2);
}

#[tokio::test]
async fn whip_11_ice_servers_are_links() {
    let mut config = config();
    let server = |urls: &[&str], credential: Option<&str>| IceServer {
        urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        username: credential.map(|_| "u".into()),
        credential: credential.map(|credential| Secret(credential.into())),
    };
    config.ice_servers = vec![
        server(
            &["turns:t.example:443?transport=tcp", "turn:t.example:3478"],
            Some("c+1="),
        ),
        server(&["stun:s.example"], None),
        server(&["turn:odd.example"], Some("a,b;c")),
    ];
    let server = Server::start(config).await;
    let turn = |url: &str| {
        format!(
            "<{url}>; rel=\"ice-server\"; username=\"u\"; credential=\"c+1=\"; credential-type=\"password\""
        )
    };
    let expected = [
        "<stun:s.example>; rel=\"ice-server\"".to_owned(),
        turn("turn:t.example:3478"),
        turn("turns:t.example:443?transport=tcp"),
    ];
    let (_, created) = published(&server).await;
    let links = created.all("link").into_iter();
    assert_eq!(
        links
            .filter(|link| link.contains("ice-server"))
            .collect::<Vec<_>>(),
        expected
    );
    let (ann, none) = (token("ann", json!({})), [""; 0]);
    for (head, links) in [
        (
            format!("OPTIONS /whip/r\nauthorization: Bearer {ann}"),
            &expected[..],
        ),
        (format!("OPTIONS /whip/r/{ann}"), &expected[..]),
        // Its room is another one, or nobody's at all.
        (
            format!("OPTIONS /whip/other\nauthorization: Bearer {ann}"),
            &[],
        ),
        ("OPTIONS /whip/r".into(), &[]),
        ("OPTIONS /whip/%ff".into(), &[]),
    ] {
        let options = request(server.address, &head, "").await;
        assert_eq!(
            (options.status, options.all("link").len()),
            (204, links.len()),
            "{head}"
        );
        assert_eq!(options.all("link"), links, "{head}");
    }
    let preflight = request(
        server.address,
        "OPTIONS /whip/r\norigin: https://a.example\naccess-control-request-method: POST",
        "",
    )
    .await;
    assert_eq!(preflight.all("link"), none);
}

#[tokio::test]
async fn whip_14_a_redirect_keeps_method_query_and_token() {
    let mut config = config();
    let (here, there) = ("https://a.example.org", "https://b.example.org");
    config.public_url = Some(here.into());
    config.nodes = Nodes::new(here, &[here.into(), there.into()]);
    let server = Server::start(config).await;
    let token = token("ann", json!({}));
    let mut moved = 0;
    for number in 0..20 {
        for path in ["whip", "whep"] {
            let path = format!("/{path}/room-{number}%20x");
            for by_header in [true, false] {
                let head = if by_header {
                    format!("POST {path}?name=A%26B\n{SDP}\nauthorization: Bearer {token}")
                } else {
                    format!("POST {path}/{token}?name=A%26B\n{SDP}")
                };
                let response = request(server.address, &head, &offer()).await;
                if response.status != 307 {
                    continue;
                }
                moved += 1;
                let location = format!("{there}{path}/{token}?name=A%26B&moved");
                assert_eq!(response.header("location"), Some(location.as_str()));
                let exposed = response.header("access-control-expose-headers").unwrap();
                assert!(exposed.contains("Location"), "{exposed}");
            }
        }
    }
    assert!((8..=72).contains(&moved), "{moved} of 80");
    assert_eq!(server.hub.counts().rooms, 0);
}

#[tokio::test]
async fn whip_16_a_session_cannot_be_guessed() {
    let server = start().await;
    let (path, _) = published(&server).await;
    let name = path.rsplit('/').next().unwrap();
    let (random, _) = name.split_once('-').unwrap();
    assert!(random.len() == 32 && random.bytes().all(|digit| digit.is_ascii_hexdigit()));
}

#[tokio::test]
async fn whip_17_every_method_has_its_answer() {
    let server = start().await;
    let (session, _) = published(&server).await;
    let ask = |method: &str, path: &str| {
        let head = format!("{method} {path}");
        async move { request(server.address, &head, "").await }
    };
    for path in ["/whip/r", "/whep/r", session.as_str()] {
        assert_eq!(ask("GET", path).await.status, 204, "{path}");
        assert_eq!(ask("OPTIONS", path).await.status, 204, "{path}");
    }
    for path in ["/whip/r", session.as_str()] {
        let head = ask("HEAD", path).await;
        assert_eq!(head.status, 204, "{path}");
        assert_eq!(head.header("content-length"), None, "RFC 9110 section 8.6");
    }
    assert_eq!(
        ask("OPTIONS", "/whip/r").await.header("accept-post"),
        Some("application/sdp")
    );
    assert_eq!(
        ask("OPTIONS", &session).await.header("accept-patch"),
        Some("application/trickle-ice-sdpfrag")
    );
    for (path, wrong, allowed) in [
        ("/whip/r", "PUT", "GET, HEAD, OPTIONS, POST"),
        ("/whip/r", "DELETE", "GET, HEAD, OPTIONS, POST"),
        (
            session.as_str(),
            "POST",
            "DELETE, GET, HEAD, OPTIONS, PATCH",
        ),
    ] {
        let refused = ask(wrong, path).await;
        assert_eq!(refused.status, 405);
        assert_eq!(refused.header("allow"), Some(allowed));
        refused.problem();
    }
}

#[tokio::test]
async fn whip_18_a_token_comes_in_the_header_or_the_path() {
    let server = start().await;
    let send = |path: String, headers: &str| {
        let head = format!("POST {path}\n{SDP}\n{headers}");
        async move { request(server.address, &head, &offer()).await }
    };
    let good = token("ann", json!({}));
    assert_eq!(
        send("/whip/r".into(), &format!("authorization: bearer {good}"))
            .await
            .status,
        201
    );
    let in_path = send(format!("/whip/r/{good}"), "").await;
    assert!(
        !path_of(&server, &in_path).contains(&good),
        "the token stays out of sight"
    );
    let other = token("ann", json!({"room": "other"}));
    let no_camera = token("ann", json!({"publish": ["microphone"]}));
    let expired = json!({"sub": "ann", "exp": 1, "madang": {"join": true, "room": "r"}});
    for (headers, status) in [
        (String::new(), 401),
        ("authorization: Basic YTpi".into(), 401),
        ("authorization: Bearer nonsense".into(), 401),
        (format!("authorization: Bearer {}", sign(&expired)), 401),
        (format!("authorization: Bearer {other}"), 403),
        (format!("authorization: Bearer {no_camera}"), 403),
    ] {
        let refused = send("/whip/r".into(), &headers).await;
        assert_eq!(refused.status, status, "{headers}");
        let challenge = (status == 401).then_some("Bearer");
        assert_eq!(refused.header("www-authenticate"), challenge);
        refused.problem();
    }
    let preflight =
        "OPTIONS /whip/r\norigin: https://a.example\naccess-control-request-method: POST";
    assert_eq!(request(server.address, preflight, "").await.status, 204);
}

#[tokio::test]
async fn whip_19_errors_are_problem_details() {
    let server = start().await;
    let (session, _) = published(&server).await;
    let good = format!("{SDP}\nauthorization: Bearer {}", token("ann", json!({})));
    let large = "v=0\r\n".repeat(100_000);
    for (status, head, body) in [
        (400, format!("POST /whip/r\n{good}"), "nonsense"),
        (401, format!("POST /whip/r\n{SDP}"), ""),
        (403, format!("POST /whip/other\n{good}"), ""),
        (404, "GET /whip/r/sessions/none".to_owned(), ""),
        (404, format!("POST /whip\n{good}"), ""),
        (404, format!("POST /whep/r/\n{good}"), ""),
        (404, format!("POST {session}/events"), ""),
        (405, "PUT /whip/r".to_owned(), ""),
        (413, format!("POST /whip/r\n{good}"), large.as_str()),
        (
            415,
            format!("PATCH {session}\ncontent-type: text/plain"),
            "",
        ),
        (422, format!("POST /whip/r\n{good}"), &reception()),
        (422, format!("POST /whep/r\n{good}"), "nonsense"),
    ] {
        let response = request(server.address, &head, body).await;
        assert_eq!(response.status, status, "{head}: {response:?}");
        let problem = response.problem();
        for field in ["type", "title", "code"] {
            assert!(problem[field].is_string(), "{field} in {problem}");
        }
    }
}

#[tokio::test]
async fn whip_37_pages_of_other_origins_can_read_everything() {
    let server = start().await;
    let (session, created) = published(&server).await;
    let unauthorized = request(server.address, &format!("POST /whip/r\n{SDP}"), &offer()).await;
    let ended = request(server.address, "DELETE /whip/r/sessions/x", "").await;
    let nowhere = request(server.address, "GET /whip/r/", "").await;
    for response in [&created, &unauthorized, &ended, &nowhere] {
        assert_eq!(response.header("access-control-allow-origin"), Some("*"));
        assert_eq!(
            response.header("access-control-expose-headers"),
            Some("Location, Link, ETag, Accept-Post, Accept-Patch, Retry-After")
        );
    }
    for path in ["/whip/r", "/whep/r", session.as_str()] {
        let head = format!(
            "OPTIONS {path}\norigin: https://a.example\naccess-control-request-method: PATCH"
        );
        let preflight = request(server.address, &head, "").await;
        assert_eq!(preflight.status, 204);
        let methods = preflight.header("access-control-allow-methods").unwrap();
        assert!(
            METHODS.iter().all(|method| methods.contains(method)),
            "{methods}"
        );
        let headers = preflight.header("access-control-allow-headers").unwrap();
        for header in ["Authorization", "Content-Type", "If-Match", "ETag"] {
            assert!(headers.contains(header), "{headers}");
        }
        assert!(preflight.header("access-control-max-age").is_some());
    }
}
