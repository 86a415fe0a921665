//! `GET /v1/rooms/{room}/participants/{peer}/quality`: who may ask, and what becomes of questions without an answer.
//! What a real media engine answers is tested with the whole server.

use std::time::Duration;

use madang_core::{
    Change, Command, Event, ExplainedAudio, ExplainedDownlink, ExplainedLayer, ExplainedSlot,
    Explanation, Heard, LayerName, Limit, TrackId, Why,
};
use serde_json::{Value, json};
use std::time::SystemTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use madang_signaling::{Auth, HubConfig};

use crate::harness::{Server, config, token};
use crate::http::Stream;

/// Status and body of the request.
async fn ask(address: std::net::SocketAddr, path: &str, token: Option<&str>) -> (u16, Value) {
    let authorization = token.map_or_else(String::new, |token| {
        format!("authorization: Bearer {token}\r\n")
    });
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{authorization}\r\n"
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_default())
}

fn path(room: &str, peer: &str) -> String {
    format!("/v1/rooms/{room}/participants/{peer}/quality")
}

/// What a media engine may answer.
fn explanation() -> Explanation {
    Explanation {
        downlink: ExplainedDownlink {
            estimate_bps: Some(310_000),
            given_bps: 0,
            audio_bps: 65_000,
            wanted_bps: 1_650_000,
            round_trip: Some(Duration::from_millis(48)),
            loss: 0.125,
        },
        slots: vec![ExplainedSlot {
            mid: "2".into(),
            track: Some(TrackId(7)),
            why: Why::Live,
            limit: Some(Limit::Bandwidth),
            tile_height: 720,
            priority: 1,
            wanted: None,
            given: None,
            sent: Some(ExplainedLayer {
                name: LayerName {
                    rid: None,
                    width: 320,
                    height: 180,
                },
                bps: 90_000,
                temporal: Some(1),
                fps: Some(15),
            }),
        }],
        audio: vec![ExplainedAudio {
            mid: "0".into(),
            track: None,
            why: Heard::Empty,
            level: 0,
        }],
        published: Vec::new(),
        changes: vec![Change {
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_500),
            mid: "2".into(),
            track: Some(TrackId(7)),
            why: Why::NoBandwidth,
            layer: None,
            estimate_bps: Some(310_000),
        }],
    }
}

#[tokio::test]
async fn administrators_of_the_room_are_told() {
    let mut server = Server::start(config()).await;
    let ann = server.join("ann").await;
    let admin = token("boss", json!({"admin": true}));
    let (address, path) = (server.address, path("r", ann.id()));
    let asked = tokio::spawn(async move { ask(address, &path, Some(&admin)).await });
    let (peer, request) = server
        .command(|command| {
            if let Command::Explain { peer, request } = command {
                Some((peer, request))
            } else {
                None
            }
        })
        .await;
    assert_eq!(peer, ann.peer());
    let event = Event::Explained {
        peer,
        request,
        explanation: Some(Box::new(explanation())),
    };
    server.emit(event).await;
    let (status, report) = asked.await.unwrap();
    assert_eq!(status, 200);
    assert_eq!(
        report,
        json!({
            "peer": ann.id(),
            "downlink": {"estimate_bps": 310_000, "wanted_bps": 1_650_000, "given_bps": 0, "audio_bps": 65_000,
                         "rtt_ms": 48, "loss": 0.125},
            "slots": [{"mid": "2", "track": "t7", "why": "live", "limit": "bandwidth", "tile": 720, "priority": 1,
                       "wanted": null, "given": null,
                       "sent": {"rid": null, "w": 320, "h": 180, "bps": 90_000, "temporal": 1, "fps": 15}}],
            "audio": [{"mid": "0", "track": null, "why": "empty", "level": 0}],
            "published": [],
            "changes": [{"at_ms": 1_500, "mid": "2", "track": "t7", "why": "no_bandwidth", "layer": null,
                         "estimate_bps": 310_000}],
        })
    );
}

#[tokio::test]
async fn nobody_else_is_told() {
    let server = Server::start(config()).await;
    let ann = server.join("ann").await;
    let usual = token("bob", json!({}));
    let elsewhere = token("boss", json!({"admin": true, "room": "other"}));
    let admin = token("boss", json!({"admin": true}));
    let ask = |room, peer: &str, token: Option<String>| {
        let (address, path) = (server.address, path(room, peer));
        async move {
            let (status, body) = ask(address, &path, token.as_deref()).await;
            (status, body["code"].as_str().unwrap_or_default().to_owned())
        }
    };
    let refused = |status, code: &str| (status, code.to_owned());
    assert_eq!(ask("r", ann.id(), None).await, refused(401, "unauthorized"));
    assert_eq!(
        ask("r", ann.id(), Some("nonsense".into())).await,
        refused(401, "unauthorized")
    );
    for token in [usual, elsewhere] {
        assert_eq!(
            ask("r", ann.id(), Some(token)).await,
            refused(403, "forbidden")
        );
    }
    assert_eq!(
        ask("r", "p999", Some(admin.clone())).await,
        refused(404, "not_found")
    );
    let any_room = token("boss", json!({"admin": true, "room": ""}));
    assert_eq!(
        ask("other", ann.id(), Some(any_room)).await,
        refused(404, "not_found"),
        "she is in another room"
    );
    assert_eq!(ask("r", "ann", Some(admin)).await.0, 400);
}

#[tokio::test]
async fn questions_that_nobody_answers_end_and_are_limited() {
    let mut config = config();
    config.limits.answer_timeout = Duration::from_millis(300);
    let server = Server::start(config).await;
    let ann = server.join("ann").await;
    let admin = token("boss", json!({"admin": true}));
    let asked = (0..80).map(|_| {
        let (address, path, admin) = (server.address, path("r", ann.id()), admin.clone());
        tokio::spawn(async move { ask(address, &path, Some(&admin)).await.0 })
    });
    let mut statuses = Vec::new();
    for asked in asked.collect::<Vec<_>>() {
        statuses.push(asked.await.unwrap());
    }
    let count = |status| statuses.iter().filter(|found| **found == status).count();
    assert_eq!((count(504), count(429)), (64, 16), "{statuses:?}");
    let (status, _) = ask(server.address, &path("r", ann.id()), Some(&admin)).await;
    assert_eq!(status, 504, "the places are free again");
}

#[tokio::test]
async fn in_development_a_foreign_name_for_this_machine_learns_nothing() {
    let server = Server::start(HubConfig::new(Auth::Development)).await;
    for (host, status) in [("localhost:8080", 404), ("rebound.example", 403)] {
        let path = path("r", "p1");
        let text = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let mut stream = Stream::send(server.address, &text).await;
        assert!(stream.until(&format!("HTTP/1.1 {status} ")).await, "{host}");
    }
}
