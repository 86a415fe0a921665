//! The session of a WHIP client: PATCH, DELETE, and ends of other kinds.

use std::time::Duration;

use madang_core::sdp::SdpError;
use madang_core::{CloseReason, Command, Event, PeerId, TrackId};
use serde_json::{Value, json};

use crate::harness::{Engine, Server, config, token};
use crate::http::{Response, Stream, request};
use crate::whip::{ANSWER, offer, path_of, post, published, reception, start};

const SDP: &str = "content-type: application/sdp";
const FRAGMENT: &str = "content-type: application/trickle-ice-sdpfrag";

pub(crate) async fn patch(server: &Server, path: &str, headers: &str, body: &str) -> Response {
    request(
        server.address,
        &format!("PATCH {path}\n{FRAGMENT}\n{headers}"),
        body,
    )
    .await
}

pub(crate) fn fragment(ufrag: &str, host: u8) -> String {
    format!(
        "a=ice-ufrag:{ufrag}\r\na=ice-pwd:0123456789abcdef01234567\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
         a=candidate:1 1 udp 2113937151 192.0.2.{host} 50000 typ host\r\n"
    )
}

#[tokio::test]
async fn whip_20_fragments_have_a_type_and_a_form() {
    let server = start().await;
    let (path, _) = published(&server).await;
    let head = format!("PATCH {path}\n{SDP}");
    let refused = request(server.address, &head, &fragment("abcd", 1)).await;
    assert_eq!(refused.status, 415);
    assert_eq!(
        refused.header("accept-patch"),
        Some("application/trickle-ice-sdpfrag")
    );
    for nonsense in ["", "hello", "a=candidate:1\r\n", "{}"] {
        assert_eq!(patch(&server, &path, "", nonsense).await.status, 400);
    }
    let large = "a=x\r\n".repeat(10_000);
    assert_eq!(patch(&server, &path, "", &large).await.status, 413);
    let nowhere = "/whip/r/sessions/0123456789abcdef0123456789abcdef";
    assert_eq!(
        patch(&server, nowhere, "", &fragment("abcd", 1))
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn whip_21_credentials_decide_what_a_patch_is() {
    let mut server = start().await;
    let (path, created) = published(&server).await;
    let trickled = patch(&server, &path, "if-match: *", &fragment("abcd", 1)).await;
    assert_eq!((trickled.status, trickled.body.as_str()), (204, ""));
    assert_eq!(trickled.header("etag"), None);
    let candidate = |command| matches!(command, Command::Candidate { .. }).then_some(());
    server.command(candidate).await;

    let tag = created.header("etag").unwrap();
    let headers = format!("if-match: {tag}");
    let restarted = patch(&server, &path, &headers, &fragment("efgh", 2)).await;
    assert_eq!(restarted.status, 200);
    let offered = |command| matches!(command, Command::Offer { .. }).then_some(());
    server.command(offered).await;
}

#[tokio::test]
async fn whip_22_tags_are_a_matter_of_taste_unless_strict() {
    let lenient = start().await;
    let (path, _) = published(&lenient).await;
    for headers in ["", "etag: \"x\"", "if-match: \"stale\""] {
        let response = patch(&lenient, &path, headers, &fragment("abcd", 1)).await;
        assert_eq!(response.status, 204, "{headers}");
    }

    let mut config = config();
    config.live.strict_etags = true;
    let strict = Server::start(config).await;
    *strict.engine.lock() = Engine::Answers(ANSWER);
    let (path, created) = published(&strict).await;
    let tag = format!("if-match: {}", created.header("etag").unwrap());
    for (headers, ufrag, status) in [
        ("", "abcd", 428),
        ("if-match: \"stale\"", "abcd", 412),
        (tag.as_str(), "abcd", 204),
        ("if-match: \"stale\"", "efgh", 412),
        ("if-match: *", "efgh", 200),
        ("if-match: \"*\"", "ijkl", 200),
        (tag.as_str(), "ijkl", 412),
    ] {
        let response = patch(&strict, &path, headers, &fragment(ufrag, 1)).await;
        assert_eq!(response.status, status, "{headers} {ufrag}");
    }
}

#[tokio::test]
async fn whip_25_a_restart_brings_new_credentials_and_a_new_tag() {
    let server = start().await;
    let (path, created) = published(&server).await;
    let restarted = patch(&server, &path, "", &fragment("efgh", 2)).await;
    assert_eq!(restarted.status, 200);
    assert_eq!(
        restarted.header("content-type"),
        Some("application/trickle-ice-sdpfrag")
    );
    let tag = restarted.header("etag").unwrap();
    assert!(tag.starts_with('"') && Some(tag) != created.header("etag"));
    for line in [
        "a=ice-ufrag:srvr\r\n",
        "a=ice-pwd:abcdef0123456789abcdef01\r\n",
        "a=ice-options:trickle\r\n",
        "a=candidate:1 1 udp 1 192.0.2.1 8080 typ host\r\n",
    ] {
        assert!(restarted.body.contains(line), "{restarted:?}");
    }
}

#[tokio::test]
async fn whip_25_a_restart_that_fails_leaves_the_session_as_it_was() {
    let server = start().await;
    let (path, _) = published(&server).await;
    *server.engine.lock() = Engine::Refuses(SdpError::Rejected("not now".into()));
    let refused = patch(&server, &path, "", &fragment("efgh", 2)).await;
    assert_eq!(refused.status, 422);
    refused.problem();
    *server.engine.lock() = Engine::Answers(ANSWER);
    let trickled = patch(&server, &path, "", &fragment("abcd", 1)).await;
    assert_eq!(
        trickled.status, 204,
        "the old credentials are the present ones"
    );
}

#[tokio::test]
async fn whip_26_patches_may_come_late_twice_and_together() {
    let server = start().await;
    let (path, _) = published(&server).await;
    let (first, second) = (fragment("efgh", 1), fragment("efgh", 2));
    let (one, other) = tokio::join!(
        patch(&server, &path, "", &first),
        patch(&server, &path, "", &second)
    );
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 204], "one restarts, the other trickles");
    let late = patch(&server, &path, "", &fragment("abcd", 3)).await;
    assert_eq!(late.status, 204, "a candidate of the session before");
    let again = patch(&server, &path, "", &fragment("efgh", 1)).await;
    assert_eq!(again.status, 204, "and that was no restart");
}

#[tokio::test]
async fn whip_27_a_deleted_session_is_gone_at_once() {
    let mut server = start().await;
    let (path, _) = published(&server).await;
    let delete = format!("DELETE {path}\nif-match: \"stale\"");
    let deleted = request(server.address, &delete, "").await;
    assert_eq!(deleted.status, 200);
    assert_eq!(deleted.header("content-length"), Some("0"));
    assert_eq!(deleted.header("transfer-encoding"), None);
    let left = |command| matches!(command, Command::Leave { .. }).then_some(());
    server.command(left).await;
    assert_eq!(server.hub.counts().sessions, 0);
    let again = request(server.address, &delete, "").await;
    assert_eq!(again.status, 404);
    again.problem();
    assert_eq!(
        request(server.address, &format!("GET {path}"), "")
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn whip_27_a_session_of_another_server_is_not_one_that_has_ended() {
    let (server, other) = (start().await, start().await);
    let (path, _) = published(&server).await;
    let code = async |server: &Server| {
        let response = request(server.address, &format!("GET {path}"), "").await;
        (response.status != 204).then(|| response.problem()["code"].clone())
    };
    assert_eq!(code(&server).await, None);
    assert_eq!(code(&other).await, Some(json!("other_server")));
    request(server.address, &format!("DELETE {path}"), "").await;
    assert_eq!(code(&server).await, Some(json!("not_found")));
    let refused = async |server: &Server| post(server, "/whip/r", "ann", &offer()).await;
    let (path, _) = published(&server).await;
    server.hub.drain().await;
    assert_eq!(code(&server).await, Some(json!("draining")), "{path}");
    let refused = refused(&server).await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("connection"), Some("close"));
}

/// Waits until a session's address is gone.
async fn gone(server: &Server, path: &str) {
    while request(server.address, &format!("GET {path}"), "")
        .await
        .status
        != 404
    {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn whip_28_who_is_removed_or_replaced_ends_at_once() {
    let mut server = start().await;
    let left = |command| {
        if let Command::Leave { peer } = command {
            Some(peer)
        } else {
            None
        }
    };
    let (replaced, _) = published(&server).await;
    let (kicked, _) = published(&server).await;
    assert_eq!(server.command(left).await, PeerId(1));
    gone(&server, &replaced).await;
    let mut admin = server.join_with("adm", json!({"admin": true})).await;
    admin
        .ok(json!({"t": "admin", "op": "kick", "target": "p2"}))
        .await;
    assert_eq!(server.command(left).await, PeerId(2));
    gone(&server, &kicked).await;
}

#[tokio::test]
async fn whip_29_a_dead_client_leaves_nothing_behind() {
    let server = start().await;
    for reason in [CloseReason::ConsentLost, CloseReason::ConnectTimeout] {
        let created = post(&server, "/whip/r", "ann", &offer()).await;
        let path = path_of(&server, &created);
        let peer = PeerId(if reason == CloseReason::ConsentLost {
            1
        } else {
            2
        });
        server.emit(Event::Closed { peer, reason }).await;
        gone(&server, &path).await;
        assert_eq!(server.hub.counts().sessions, 0);
        assert_eq!(server.hub.counts().rooms, 0);
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_ends_the_request() {
    let mut config = config();
    config.limits.first_frame_timeout = Duration::from_millis(50);
    let server = Server::start(config).await;
    let (whip, _) = published(&server).await;
    let watching = post(&server, "/whep/r", "bob", &reception()).await;
    let whep = path_of(&server, &watching);
    let token = token("cat", json!({}));
    let fragment = "application/trickle-ice-sdpfrag";
    for (method, path, kind) in [
        ("POST", "/whip/r", "application/sdp"),
        ("PATCH", whip.as_str(), fragment),
        ("POST", &format!("{whep}/events"), "application/json"),
        ("POST", &format!("{whep}/layers"), "application/json"),
    ] {
        let address = server.address;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: {kind}\r\n\
             authorization: Bearer {token}\r\ncontent-length: 9\r\n\r\nv=0"
        );
        let mut stream = Stream::send(address, &head).await;
        assert!(stream.until("HTTP/1.1 408 ").await, "{path}");
        assert!(stream.until("application/problem+json").await, "{path}");
        assert!(!stream.until("never").await, "the connection ends");
    }
}

#[tokio::test]
async fn an_offer_that_is_refused_does_not_end_the_broadcast_of_the_same_identity() {
    let mut server = start().await;
    let (path, _) = published(&server).await;
    let refuse = async |grants, sdp: &str| {
        let token = token("ann", grants);
        let head = format!("POST /whip/r\n{SDP}\nauthorization: Bearer {token}");
        request(server.address, &head, sdp).await.status
    };
    assert_eq!(refuse(json!({"publish": []}), &offer()).await, 403);
    assert_eq!(refuse(json!({"hidden": true}), &offer()).await, 403);
    let long_mid = offer().replace("a=mid:1", "a=mid:0123456789abcdefg");
    assert_eq!(refuse(json!({}), &long_mid).await, 400);
    let no_video = ANSWER.replace("m=video 9", "m=video 0").leak();
    *server.engine.lock() = Engine::Answers(no_video);
    assert_eq!(refuse(json!({}), &offer()).await, 422);
    let alive = request(server.address, &format!("GET {path}"), "").await;
    assert_eq!(alive.status, 204, "the first one goes on");
    assert_eq!(server.hub.counts().sessions, 1);
    let left = |command| {
        if let Command::Leave { peer } = command {
            Some(peer)
        } else {
            None
        }
    };
    assert_eq!(server.command(left).await, PeerId(2), "the newcomer");
}

/// The next tracks that are published, by their source.
async fn published_tracks(server: &mut Server) -> Vec<TrackId> {
    let mut tracks = Vec::new();
    for _ in 0..2 {
        let published = |command| {
            if let Command::Publish { track, .. } = command {
                Some(track.id)
            } else {
                None
            }
        };
        tracks.push(server.command(published).await);
    }
    tracks
}

#[tokio::test]
async fn whip_28_a_publisher_that_returns_in_time_has_its_tracks_again() {
    let mut server = start().await;
    let mut bob = server.join("bob").await;
    let (path, _) = published(&server).await;
    assert_eq!(
        published_tracks(&mut server).await,
        [TrackId(1), TrackId(2)]
    );
    request(server.address, &format!("DELETE {path}"), "").await;
    post(&server, "/whip/r", "cat", &offer()).await;
    assert_eq!(
        published_tracks(&mut server).await,
        [TrackId(3), TrackId(4)]
    );
    // It comes back, and takes its own place once more without having left it.
    for _ in 0..2 {
        published(&server).await;
        assert_eq!(
            published_tracks(&mut server).await,
            [TrackId(1), TrackId(2)]
        );
    }
    let tracks = bob.all().await;
    let tracks = tracks.iter().filter(|frame| frame["t"] == "tracks");
    let told: Vec<_> = tracks
        .map(|frame| (frame["add"][0]["id"].clone(), frame["del"][0].clone()))
        .collect();
    let (none, first, third) = (Value::Null, json!("t1"), json!("t3"));
    let came = |track: &Value| (track.clone(), none.clone());
    let went = |track: &Value| (none.clone(), track.clone());
    let expected = [
        came(&first),
        went(&first),
        came(&third),
        came(&first),
        went(&first),
        came(&first),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn whip_28_without_keys_a_publisher_is_known_by_its_name_or_its_address() {
    let mut config = config();
    config.auth = madang_signaling::Auth::Development;
    config.trust_forwarded_for = true;
    let mut server = Server::start(config).await;
    *server.engine.lock() = Engine::Answers(ANSWER);
    let [here, there] = ["192.0.2.1", "192.0.2.2"];
    for (path, from, tracks) in [
        ("/whip/r", here, [1, 2]),
        ("/whip/r", there, [3, 4]),
        ("/whip/r?participant=studio", here, [5, 6]),
        // They come back, each to its own place.
        ("/whip/r", here, [1, 2]),
        ("/whip/r", there, [3, 4]),
        ("/whip/r?participant=studio", there, [5, 6]),
    ] {
        let head = format!("POST {path}\n{SDP}\nx-forwarded-for: {from}");
        let created = request(server.address, &head, &offer()).await;
        assert_eq!(created.status, 201, "{path} {from}");
        assert_eq!(published_tracks(&mut server).await, tracks.map(TrackId));
    }
    assert_eq!(server.hub.counts().participants, 3);
}

/// The media connection of a session is no more.
async fn lose(server: &Server, peer: u64) {
    let (peer, reason) = (PeerId(peer), CloseReason::ConsentLost);
    server.emit(Event::Closed { peer, reason }).await;
}

#[tokio::test]
async fn whip_28_a_publisher_whose_connection_is_lost_is_away_until_it_comes_back() {
    let server = start().await;
    let mut bob = server.join("bob").await;
    published(&server).await;
    let came = bob.next("peers").await;
    assert_eq!(
        (&came["add"][0]["id"], &came["add"][0]["away"]),
        (&json!("p2"), &Value::Null)
    );
    lose(&server, 2).await;
    let away = bob.next("peers").await;
    assert_eq!(
        (&away["upd"][0]["id"], &away["upd"][0]["away"]),
        (&json!("p2"), &json!(true))
    );
    let cat = server.join("cat").await;
    let peers = cat.joined["peers"].as_array().unwrap();
    assert!(peers.contains(&away["upd"][0]), "who comes later sees it");
    bob.next("peers").await;
    let (path, _) = published(&server).await;
    assert_eq!(bob.next("peers").await["del"], json!(["p2"]));
    assert_eq!(bob.next("peers").await["add"][0]["id"], "p4");
    // Who says that it goes is gone.
    request(server.address, &format!("DELETE {path}"), "").await;
    assert_eq!(bob.next("peers").await["del"], json!(["p4"]));
}

#[tokio::test]
async fn whip_28_who_stays_away_for_long_has_lost_its_tracks() {
    let mut config = config();
    config.live.grace = Duration::from_millis(1);
    let mut server = Server::start(config).await;
    *server.engine.lock() = Engine::Answers(ANSWER);
    let mut bob = server.join("bob").await;
    published(&server).await;
    published_tracks(&mut server).await;
    lose(&server, 2).await;
    // Two rounds of housekeeping: it notices, and forgets.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    for told in ["add", "upd", "del"] {
        assert_ne!(bob.next("peers").await[told], Value::Null, "{told}");
    }
    published(&server).await;
    assert_eq!(
        published_tracks(&mut server).await,
        [TrackId(3), TrackId(4)]
    );
}
