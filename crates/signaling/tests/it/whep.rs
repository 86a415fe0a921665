//! WHEP as its clients see it, where it differs from WHIP.

use std::time::{Duration, SystemTime};

use madang_core::sdp::SdpError;
use madang_core::{AudioView, Codec, Command, Event, Format, RoomId, TrackId, Trouble};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::json;

use crate::harness::{Engine, Server, config};
use crate::http::{Stream, request};
use crate::whip::{offer, path_of, post, reception, start};

const SDP: &str = "content-type: application/sdp";

#[tokio::test]
async fn whep_30_only_offers_that_receive_are_accepted() {
    let server = start().await;
    let with = |direction: &str| reception().replace("a=recvonly", &format!("a={direction}"));
    for direction in ["recvonly", "sendrecv"] {
        let created = post(&server, "/whep/r", "ann", &with(direction)).await;
        assert!(path_of(&server, &created).starts_with("/whep/r/sessions/"));
    }
    for direction in ["sendonly", "inactive"] {
        let refused = post(&server, "/whep/r", "ann", &with(direction)).await;
        assert_eq!(refused.status, 422, "{direction}");
        refused.problem();
    }
}

#[tokio::test]
async fn whep_30_single_m_lines_may_be_refused() {
    let server = start().await;
    let answer = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\nm=video 0 UDP/TLS/RTP/SAVPF 0\r\na=mid:1\r\n";
    *server.engine.lock() = Engine::Answers(answer);
    let created = post(&server, "/whep/r", "ann", &reception()).await;
    assert_eq!(created.status, 201);
    assert!(created.body.contains("m=video 0 "));
}

#[tokio::test]
async fn whep_31_who_comes_first_waits_unless_a_publisher_is_required() {
    let patient = start().await;
    assert_eq!(
        post(&patient, "/whep/r", "ann", &reception()).await.status,
        201
    );

    let mut config = config();
    config.live.require_publisher = true;
    let server = Server::start(config).await;
    let refused = post(&server, "/whep/r", "ann", &reception()).await;
    assert_eq!(refused.status, 409);
    assert!(refused.header("retry-after").is_some());
    refused.problem();
    post(&server, "/whip/r", "bob", &offer()).await;
    assert_eq!(
        post(&server, "/whep/r", "ann", &reception()).await.status,
        201
    );
    let other = post(&server, "/whep/r?participant=cat", "ann", &reception()).await;
    assert_eq!(other.status, 409);
    let bob = post(&server, "/whep/r?participant=bob", "ann", &reception()).await;
    assert_eq!(bob.status, 201);
}

#[tokio::test]
async fn whep_32_head_tells_that_this_is_an_endpoint() {
    let server = start().await;
    let head = request(server.address, "HEAD /whep/r", "").await;
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), Some("application/sdp"));
}

#[tokio::test]
async fn a_viewer_sees_whoever_speaks() {
    let mut server = start().await;
    post(&server, "/whep/r", "ann", &reception()).await;
    let view = server.view().await;
    let auto = view.auto.unwrap();
    assert_eq!((auto.max, auto.pin), (1, None));
    assert!(auto.height >= 1_080);
    assert_eq!(view.audio, AudioView::Loudest { pin: vec![] });
}

#[tokio::test]
async fn a_viewer_sees_the_participant_who_is_named() {
    let mut server = start().await;
    post(&server, "/whep/r?participant=bob", "ann", &reception()).await;
    let empty = server.view().await;
    assert_eq!((empty.video, empty.auto), (vec![], None));
    assert_eq!(empty.audio, AudioView::List(vec![]));
    post(&server, "/whip/r", "cat", &offer()).await;
    post(&server, "/whip/r", "bob", &offer()).await;
    let view = loop {
        let view = server.view().await;
        if !view.video.is_empty() {
            break view;
        }
    };
    assert_eq!(view.video[0].track, TrackId(4));
    assert_eq!(view.audio, AudioView::List(vec![TrackId(3)]));
}

#[tokio::test]
async fn viewers_are_nobody_to_the_others_unless_configured() {
    for visible in [false, true] {
        let mut config = config();
        config.live.visible_viewers = visible;
        let server = Server::start(config).await;
        let mut bob = server.join("bob").await;
        // Several come with the same token.
        post(&server, "/whep/r", "ann", &reception()).await;
        post(&server, "/whep/r", "ann", &reception()).await;
        assert_eq!(server.hub.counts().participants, 3);
        let seen = bob.all().await;
        let seen = seen.iter().filter(|frame| frame["t"] == "peers").count();
        assert_eq!(seen, if visible { 2 } else { 0 });
    }
}

#[tokio::test]
async fn who_comes_by_whip_or_whep_is_counted_as_joining() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let counts = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let server = start().await;
    post(&server, "/whip/r", "ann", &offer()).await;
    post(&server, "/whep/r", "bob", &reception()).await;
    post(&server, "/whep/r", "cat", "nonsense").await;
    let counts = counts.render();
    for (result, count) in [("ok", 2), ("bad_request", 1)] {
        let line = format!("madang_joins_total{{result=\"{result}\"}} {count}\n");
        assert!(counts.contains(&line), "{counts}");
    }
}

#[tokio::test]
async fn viewers_and_participants_take_no_places_of_each_other() {
    let mut config = config();
    config.limits.participants_per_room = 1;
    config.limits.viewers_per_room = 2;
    let server = Server::start(config).await;
    for (path, sdp, status) in [
        ("/whep/r", reception(), 201),
        ("/whep/r", reception(), 201),
        ("/whep/r", reception(), 503),
        ("/whip/r", offer(), 201),
    ] {
        assert_eq!(post(&server, path, "ann", &sdp).await.status, status);
    }
    let refused = post(&server, "/whip/r", "bob", &offer()).await;
    assert_eq!(refused.problem()["code"], "room_full");
}

#[tokio::test]
async fn an_open_room_is_watched_without_a_token() {
    let mut config = config();
    config.live.open = vec!["r".into()];
    let server = Server::start(config).await;
    let send = |path: &str, sdp: String| {
        let head = format!("POST {path}\n{SDP}");
        async move { request(server.address, &head, &sdp).await.status }
    };
    assert_eq!(send("/whep/r", reception()).await, 201);
    assert_eq!(send("/whep/other", reception()).await, 401);
    assert_eq!(send("/whip/r", offer()).await, 401);
}

#[tokio::test]
async fn a_viewer_needs_the_grant_to_receive_and_gets_no_other() {
    let mut server = start().await;
    let token = crate::harness::token("ann", json!({"subscribe": false}));
    let head = format!("POST /whep/r\n{SDP}\nauthorization: Bearer {token}");
    let refused = request(server.address, &head, &reception()).await;
    assert_eq!(refused.status, 403);
    refused.problem();
    post(&server, "/whep/r", "ann", &reception()).await;
    let joined = |command| matches!(command, Command::Join(_)).then_some(());
    server.command(joined).await;
}

#[tokio::test]
async fn whip_43_46_what_a_publisher_should_change_is_told() {
    let server = start().await;
    post(&server, "/whip/r", "ann", &offer()).await;
    let mut bob = server.join("bob").await;
    let troubles = vec![
        Trouble::IgnoresKeyframeRequests,
        Trouble::Reorders,
        Trouble::UnusualProfile,
    ];
    let all = json!(["no_keyframe_on_request", "b_frames", "h264_profile"]);
    for (troubles, warnings) in [(troubles, all), (vec![], json!(null))] {
        let (room, track) = (RoomId(1), TrackId(2));
        server
            .emit(Event::Troubles {
                room,
                track,
                troubles,
            })
            .await;
        let told = bob.next("tracks").await;
        assert_eq!(told["upd"][0]["id"], "t2");
        assert_eq!(told["upd"][0]["warnings"], warnings);
    }
}

#[tokio::test]
async fn whip_39_the_profile_that_an_encoder_writes_is_told() {
    let server = start().await;
    post(&server, "/whip/r", "ann", &offer()).await;
    let mut bob = server.join("bob").await;
    let format = Format {
        codec: Codec::H264,
        profile: Some(0x64_001f),
    };
    let (room, track) = (RoomId(1), TrackId(2));
    server
        .emit(Event::Format {
            room,
            track,
            format,
        })
        .await;
    let told = bob.next("tracks").await;
    let told = &told["upd"][0];
    let shown = [&told["id"], &told["codec"], &told["profile"]];
    assert_eq!(shown, [&json!("t2"), &json!("h264"), &json!("64001f")]);
}

#[tokio::test]
async fn whep_33_a_viewer_may_answer_an_offer_of_the_server() {
    let mut server = start().await;
    for (path, body) in [
        ("/whep/r", String::new()),
        ("/whep/r?counter_offer", reception()),
    ] {
        let offered = post(&server, path, "ann", &body).await;
        assert_eq!(offered.status, 406);
        let kind = offered.header("content-type").unwrap();
        assert!(
            kind.starts_with("application/sdp; valid-until=\""),
            "{kind}"
        );
        assert!(offered.body.starts_with("v=0"));
        let location = offered.header("location").unwrap();
        let path = location.split_once("/whep/").unwrap().1;
        let head = format!("PATCH /whep/{path}\n{SDP}");
        let answered = request(server.address, &head, &reception()).await;
        assert_eq!((answered.status, answered.body.as_str()), (204, ""));
        let accepted = |command| matches!(command, Command::Accept { .. }).then_some(());
        server.command(accepted).await;
        let again = request(server.address, &head, &reception()).await;
        assert_eq!(again.status, 204, "the response may have been lost");
        let other = request(server.address, &head, &offer()).await;
        assert_eq!(other.status, 415, "there is one answer");
        let head = format!("PATCH /whep/{path}\ncontent-type: application/trickle-ice-sdpfrag");
        let restart = "a=ice-ufrag:efgh\r\na=ice-pwd:0123456789abcdef01234567\r\n";
        let restarted = request(server.address, &head, restart).await;
        assert_eq!(restarted.status, 200);
        assert!(restarted.header("etag").is_some() && restarted.body.contains("a=ice-ufrag:"));
        server.command(accepted).await;
        let trickle = "a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n";
        assert_eq!(request(server.address, &head, trickle).await.status, 204);
    }
}

#[tokio::test]
async fn whep_33_a_second_answer_that_overlaps_the_first_leaves_the_session_alone() {
    let server = start().await;
    let offered = post(&server, "/whep/r", "ann", "").await;
    let location = offered.header("location").unwrap();
    let path = format!("/whep/{}", location.split_once("/whep/").unwrap().1);
    let second = offer();
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nhost: madang\r\n{SDP}\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        second.len()
    );
    let mut slow = Stream::send(server.address, &head).await;
    assert!(slow.until("100 Continue").await, "its body is waited for");
    let head = format!("PATCH {path}\n{SDP}");
    let first = request(server.address, &head, &reception()).await;
    assert_eq!(first.status, 204);
    *server.engine.lock() = Engine::Refuses(SdpError::NoCommonCodec);
    slow.write(&second).await;
    assert!(slow.until("HTTP/1.1 415 ").await);
    let alive = request(server.address, &format!("GET {path}"), "").await;
    assert_eq!(alive.status, 204);
    assert_eq!(server.hub.counts().sessions, 1);
}

#[tokio::test]
async fn whep_33_an_offer_of_the_server_is_good_for_as_long_as_a_session_may_take_to_connect() {
    let mut config = config();
    config.limits.connect_timeout = Duration::from_secs(3_600);
    let server = Server::start(config).await;
    let before = SystemTime::now();
    let offered = post(&server, "/whep/r", "ann", "").await;
    let kind = offered.header("content-type").unwrap();
    let until = kind.split('"').nth(1).unwrap();
    let valid = httpdate::parse_http_date(until).unwrap();
    let valid = valid.duration_since(before).unwrap().as_secs();
    assert!((3_598..3_700).contains(&valid), "{until}");
}

#[tokio::test]
async fn whep_33_addresses_that_cannot_be_read_are_no_change_of_mode() {
    let server = start().await;
    for path in [
        "/whep/r?participant=a&participant=b",
        "/whep/%ff",
        "/whip/%ff",
    ] {
        let refused = post(&server, path, "ann", &reception()).await;
        assert_eq!(refused.status, 422, "{path}");
        assert_eq!(refused.problem()["code"], "bad_request");
    }
    let refused = request(server.address, "DELETE /whep/r/sessions/%ff", "").await;
    assert_eq!(refused.status, 422);
    refused.problem();
}

#[tokio::test]
async fn whep_33_nothing_else_looks_like_a_change_of_mode() {
    let server = start().await;
    for body in ["hello", "v=0\r\n", "v=0\r\nm=audio\r\n"] {
        let refused = post(&server, "/whep/r", "ann", body).await;
        assert_eq!(refused.status, 422, "{body}");
        refused.problem();
    }
}
