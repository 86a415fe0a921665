//! How much WHIP clients may ask for, and what they are told beyond that.

use madang_core::{CloseReason, Event, PeerId};
use madang_signaling::Nodes;
use serde_json::json;

use crate::harness::{Server, config, token};
use crate::http::request;
use crate::whip::{SDP, offer, path_of, post, published};
use crate::whip_session::{fragment, patch};

#[tokio::test]
async fn whip_15_overload_says_when_to_come_back() {
    let mut config = config();
    config.limits.rooms = 0;
    let server = Server::start(config).await;
    let refused = post(&server, "/whip/r", "ann", &offer()).await;
    assert_eq!(refused.status, 503);
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!(wait >= 1);
    refused.problem();
}

#[tokio::test]
async fn whip_15_requests_are_limited_by_address() {
    let mut config = config();
    config.limits.joins_per_second_per_address = 1;
    config.limits.joins_burst_per_address = 2;
    config.limits.requests_per_second_per_address = 1;
    config.limits.requests_burst_per_address = 2;
    let server = Server::start(config).await;
    let (path, _) = published(&server).await;
    post(&server, "/whip/r", "bob", &offer()).await;
    let third = post(&server, "/whip/r", "cat", &offer()).await;
    assert_eq!(third.status, 429);
    assert!(third.header("retry-after").is_some());
    for status in [204, 204, 429] {
        let response = patch(&server, &path, "", &fragment("abcd", 1)).await;
        assert_eq!(response.status, status);
    }
    let refused = request(server.address, &format!("DELETE {path}"), "").await;
    assert_eq!(refused.status, 429);
}

#[tokio::test]
async fn whip_15_who_is_sent_to_another_node_is_limited_too() {
    let mut config = config();
    config.limits.joins_per_second_per_address = 1;
    config.limits.joins_burst_per_address = 2;
    let (here, there) = ("https://a.example.org", "https://b.example.org");
    config.public_url = Some(here.into());
    config.nodes = Nodes::new(here, &[there.into()]);
    let server = Server::start(config).await;
    for status in [307, 307, 429] {
        let response = post(&server, "/whip/r", "ann", &offer()).await;
        assert_eq!(response.status, status);
    }
}

#[tokio::test]
async fn whip_15_requests_are_limited_by_token() {
    let mut config = config();
    config.trust_forwarded_for = true;
    config.limits.requests_per_second_per_address = 1;
    config.limits.requests_burst_per_address = 2;
    let server = Server::start(config).await;
    let ann = token("ann", json!({}));
    let head = format!("POST /whip/r\n{SDP}\nauthorization: Bearer {ann}");
    for status in [201, 201, 429] {
        let response = request(server.address, &head, &offer()).await;
        assert_eq!(response.status, status);
    }
    let bob = post(&server, "/whip/r", "bob", &offer()).await;
    let path = path_of(&server, &bob);
    // Requests about a session count, too, wherever they come from.
    let cat = token("cat", json!({}));
    let from = |host: u8| format!("authorization: Bearer {cat}\nx-forwarded-for: 192.0.2.{host}");
    for (host, status) in [(1, 204), (2, 204), (3, 429)] {
        let response = patch(&server, &path, &from(host), &fragment("abcd", 1)).await;
        assert_eq!(response.status, status);
    }
    let head = format!("DELETE {path}\n{}", from(4));
    assert_eq!(request(server.address, &head, "").await.status, 429);
    let head = format!("DELETE {path}\nx-forwarded-for: 192.0.2.4");
    assert_eq!(request(server.address, &head, "").await.status, 200);
}

#[tokio::test]
async fn never_connected_sessions_are_bounded() {
    let mut config = config();
    config.limits.sessions_per_address = 50;
    let server = Server::start(config).await;
    let mut refused = 0;
    for number in 0..60 {
        let response = post(&server, "/whip/r", &format!("bot{number}"), &offer()).await;
        refused += usize::from(response.status == 429);
    }
    assert_eq!(refused, 10);
    assert_eq!(server.hub.counts().sessions, 50);
    for peer in 1..=50 {
        let reason = CloseReason::ConnectTimeout;
        server
            .emit(Event::Closed {
                peer: PeerId(peer),
                reason,
            })
            .await;
    }
    while server.hub.counts().sessions > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(post(&server, "/whip/r", "ann", &offer()).await.status, 201);
}
