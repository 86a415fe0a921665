//! The extensions of WHEP: events and the choice of layers.

use madang_core::{
    Command, Event, LayerAvailable, LayerChoice, PeerId, RoomId, Slots, TrackId, VideoSlot, Why,
};

use crate::harness::{Server, config};
use crate::http::{Response, Stream, request};
use crate::whip::{offer, path_of, post, reception, start};

const JSON: &str = "content-type: application/json";

/// The path that a link of this relation leads to.
fn link(server: &Server, created: &Response, relation: &str) -> String {
    let links = created.all("link");
    let link = links.iter().find(|link| link.contains(relation)).unwrap();
    let url = link.trim_start_matches('<').split('>').next().unwrap();
    let base = format!("http://{}", server.address);
    url.strip_prefix(&base).unwrap().to_owned()
}

/// A publisher (peer 1, tracks 1 and 2) and a viewer (peer 2).
async fn watched(server: &Server) -> Response {
    post(server, "/whip/r", "ann", &offer()).await;
    let created = post(server, "/whep/r", "bob", &reception()).await;
    assert_eq!(created.status, 201);
    created
}

async fn listen(server: &Server, created: &Response, kinds: &str) -> (String, Stream) {
    let events = link(server, created, "server-sent-events");
    let opened = request(server.address, &format!("POST {events}\n{JSON}"), kinds).await;
    assert_eq!(opened.status, 201, "{opened:?}");
    let path = path_of(server, &opened);
    let mut stream = Stream::get(server.address, &path).await;
    assert!(stream.until("content-type: text/event-stream").await);
    (path, stream)
}

fn showing(track: Option<u64>, why: Why) -> Event {
    let slot = VideoSlot {
        mid: "2".into(),
        track: track.map(TrackId),
        paused: why != Why::Live,
        why,
        layer: None,
    };
    let slots = Slots {
        rev: 1,
        video: Some(vec![slot]),
        audio: None,
    };
    Event::Slots {
        peer: PeerId(2),
        slots,
    }
}

fn layer(rid: &str, height: u32) -> LayerAvailable {
    LayerAvailable {
        rid: Some(rid.into()),
        width: height * 16 / 9,
        height,
        bps: 1_000 * u64::from(height),
    }
}

fn available() -> Event {
    Event::Available {
        room: RoomId(1),
        track: TrackId(2),
        layers: vec![layer("l", 180), layer("h", 720)],
    }
}

#[tokio::test]
async fn whep_12_extensions_are_links_and_only_of_viewers() {
    let server = start().await;
    let published = post(&server, "/whip/r", "ann", &offer()).await;
    assert_eq!(published.all("link"), [""; 0]);
    let created = watched(&server).await;
    let links = created.all("link");
    assert_eq!(links.len(), 2);
    assert!(
        links[0].ends_with(
            "/events>; rel=\"urn:ietf:params:whep:ext:core:server-sent-events\"; \
             events=\"active,inactive,layers,reconnect,viewercount\""
        ),
        "{links:?}"
    );
    assert!(
        links[1].ends_with("/layers>; rel=\"urn:ietf:params:whep:ext:core:layer\""),
        "{links:?}"
    );
}

#[tokio::test]
async fn whep_34_a_viewer_learns_when_there_is_something_to_see() {
    let server = start().await;
    let created = watched(&server).await;
    let (path, mut stream) = listen(&server, &created, "[\"active\", \"inactive\"]").await;
    server.emit(showing(Some(2), Why::NoKeyframe)).await;
    server.emit(showing(Some(2), Why::Live)).await;
    assert!(stream.until("event: active\ndata: {}\n").await);
    server.emit(showing(None, Why::PublisherGone)).await;
    assert!(stream.until("event: inactive\ndata: {}\n").await);

    let (_, mut late) = listen(&server, &created, "[\"active\", \"inactive\"]").await;
    server.emit(showing(Some(2), Why::Live)).await;
    assert!(late.until("event: ").await);
    assert_eq!(late.line().await, "active", "no 'inactive' comes first");

    let closed = request(server.address, &format!("DELETE {path}"), "").await;
    assert_eq!(closed.status, 200);
    assert!(!stream.until("event: never").await, "the stream ends");
    let again = request(server.address, &format!("DELETE {path}"), "").await;
    assert_eq!(again.status, 404);
}

#[tokio::test]
async fn a_stream_of_events_has_one_listener() {
    let server = start().await;
    let created = watched(&server).await;
    let (path, mut older) = listen(&server, &created, "[\"active\"]").await;
    let mut newer = Stream::get(server.address, &path).await;
    assert!(newer.until("content-type: text/event-stream").await);
    assert!(!older.until("event: never").await, "the older one ends");
    server.emit(showing(Some(2), Why::Live)).await;
    assert!(newer.until("event: active\n").await);
}

#[tokio::test]
async fn whep_34_head_leaves_the_listener_alone() {
    let server = start().await;
    let created = watched(&server).await;
    let (path, mut stream) = listen(&server, &created, "[\"active\"]").await;
    let head = request(server.address, &format!("HEAD {path}"), "").await;
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    server.emit(showing(Some(2), Why::Live)).await;
    assert!(stream.until("event: active\n").await);
    let none = request(server.address, &format!("HEAD {path}0"), "").await;
    assert_eq!(none.status, 404);
}

#[tokio::test]
async fn whep_34_who_takes_the_place_of_a_viewer_is_told_how_many_there_are() {
    let server = start().await;
    let before = watched(&server).await;
    let session = path_of(&server, &before);
    let (_, mut stream) = listen(&server, &before, "[\"viewercount\"]").await;
    let one = "event: viewercount\ndata: {\"viewercount\":1}\n";
    assert!(stream.until(one).await);
    request(server.address, &format!("DELETE {session}"), "").await;
    let after = post(&server, "/whep/r", "cat", &reception()).await;
    let (_, mut stream) = listen(&server, &after, "[\"viewercount\"]").await;
    assert!(stream.until(one).await, "though the number has not changed");
}

#[tokio::test]
async fn whep_34_layers_and_viewers_are_told() {
    let server = start().await;
    let created = watched(&server).await;
    let (_, mut stream) = listen(&server, &created, "[\"layers\", \"viewercount\"]").await;
    server.emit(showing(Some(2), Why::Live)).await;
    server.emit(available()).await;
    let told = "event: layers\ndata: {\"2\":[{\"bitrate\":180000,\"height\":180,\"rid\":\"l\",\"spatialLayerId\":0,\"width\":320},\
        {\"bitrate\":720000,\"height\":720,\"rid\":\"h\",\"spatialLayerId\":1,\"width\":1280}]}\n";
    assert!(stream.until(told).await);
    post(&server, "/whep/r", "cat", &reception()).await;
    assert!(
        stream
            .until("event: viewercount\ndata: {\"viewercount\":2}\n")
            .await
    );

    let (_, mut late) = listen(&server, &created, "[\"layers\"]").await;
    assert!(late.until(told).await, "who comes late is told at once");
}

#[tokio::test]
async fn whep_34_unknown_events_open_no_stream() {
    let server = start().await;
    let created = watched(&server).await;
    let events = link(&server, &created, "server-sent-events");
    let send = |kind: &str, body: &str| {
        let (head, body) = (format!("POST {events}\n{kind}"), body.to_owned());
        async move { request(server.address, &head, &body).await }
    };
    for body in ["[\"active\", \"dance\"]", "{}", "", "\"active\""] {
        let refused = send(JSON, body).await;
        assert_eq!(refused.status, 400, "{body}");
        refused.problem();
    }
    assert_eq!(send("content-type: text/plain", "[]").await.status, 415);
    for status in [201, 201, 201, 201, 429] {
        assert_eq!(send(JSON, "[\"active\"]").await.status, status);
    }
    let nowhere = format!("GET {events}/0123456789abcdef0123456789abcdef");
    assert_eq!(request(server.address, &nowhere, "").await.status, 404);
}

#[tokio::test]
async fn whep_35_a_layer_is_chosen_and_left_to_the_server_again() {
    let mut server = start().await;
    let created = watched(&server).await;
    let path = link(&server, &created, "ext:core:layer");
    let choice = |rid: Option<&str>, rank, max_height| LayerChoice {
        slot: "2".into(),
        rid: rid.map(Into::into),
        rank,
        max_temporal: None,
        max_width: None,
        max_height,
    };
    let slow = |choice| LayerChoice {
        max_temporal: Some(0),
        ..choice
    };
    let address = server.address;
    let send = |body: &str| {
        let (head, body) = (format!("POST {path}\n{JSON}"), body.to_owned());
        async move { request(address, &head, &body).await }
    };
    for (body, expected) in [
        (
            "{\"mediaId\": \"2\", \"rid\": \"l\"}",
            vec![choice(Some("l"), None, None)],
        ),
        (
            "{\"mediaId\": \"2\", \"encodingId\": \"h\"}",
            vec![choice(Some("h"), None, None)],
        ),
        (
            "{\"mediaId\": \"2\", \"spatialLayerId\": 1, \"temporalLayerId\": 0}",
            vec![slow(choice(None, Some(1), None))],
        ),
        (
            "{\"mediaId\": \"2\", \"maxTemporalLayerId\": 0}",
            vec![slow(choice(None, None, None))],
        ),
        (
            "{\"mediaId\": \"2\", \"maxHeight\": 360}",
            vec![choice(None, None, Some(360))],
        ),
        ("{\"mediaId\": \"2\"}", vec![]),
    ] {
        assert_eq!(send(body).await.status, 200, "{body}");
        assert_eq!(chosen(&mut server).await, expected, "{body}");
    }
    send("{\"mediaId\": \"2\", \"rid\": \"l\"}").await;
    chosen(&mut server).await;
    assert_eq!(
        request(address, &format!("DELETE {path}"), "").await.status,
        200
    );
    assert_eq!(chosen(&mut server).await, []);
    for body in [
        "",
        "{}",
        "{\"mediaId\": \"9\"}",
        "{\"mediaId\": \"2\", \"rid\": \"much too long\"}",
    ] {
        let refused = send(body).await;
        assert_eq!(refused.status, 400, "{body}");
        refused.problem();
    }
}

async fn chosen(server: &mut Server) -> Vec<LayerChoice> {
    server
        .command(|command| {
            if let Command::Choose { choices, .. } = command {
                Some(choices)
            } else {
                None
            }
        })
        .await
}

#[tokio::test]
async fn whep_36_viewers_are_sent_away_before_the_media_ends() {
    let mut server = start().await;
    let created = watched(&server).await;
    let (_, mut stream) = listen(&server, &created, "[\"reconnect\"]").await;
    let hub = std::sync::Arc::clone(&server.hub);
    let drain = tokio::spawn(async move { hub.drain().await });
    assert!(stream.until("event: reconnect\ndata: {}\n").await);
    assert_eq!(server.hub.counts().sessions, 2, "the media goes on");
    let refused = post(&server, "/whep/r", "cat", &reception()).await;
    assert_eq!(refused.status, 503, "this is no place to come back to");
    let left = |command| matches!(command, Command::Leave { .. }).then_some(());
    server.command(left).await;
    drain.await.unwrap();
    assert!(!stream.until("event: never").await, "the stream ends");
}

#[tokio::test]
async fn extensions_count_towards_the_rates_of_the_session_and_of_the_address() {
    for by_session in [true, false] {
        let mut config = config();
        if by_session {
            config.limits.frames_per_second = 1;
            config.limits.frames_burst = 1;
        } else {
            config.limits.requests_per_second_per_address = 1;
            config.limits.requests_burst_per_address = 1;
        }
        for (method, path) in [
            ("DELETE", "layers"),
            ("GET", "events/0123456789abcdef0123456789abcdef"),
            ("DELETE", "events/0123456789abcdef0123456789abcdef"),
        ] {
            let server = Server::start(config.clone()).await;
            let created = post(&server, "/whep/r", "bob", &reception()).await;
            let head = format!("{method} {}/{path}", path_of(&server, &created));
            let first = request(server.address, &head, "").await.status;
            assert_ne!(first, 429, "{head}");
            let second = request(server.address, &head, "").await;
            assert_eq!(second.status, 429, "{head}");
            second.problem();
        }
    }
}
