//! Several servers that share the rooms.

use std::net::TcpListener;

use madang_core::Source;

use crate::call::Call;
use crate::http::request;
use crate::process::Madang;
use crate::whip::{address, open, publish};

/// Two servers that know each other.
fn two() -> [Madang; 2] {
    // Their addresses must be known before they start.
    let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let listens = free.map(|listener| listener.local_addr().unwrap().to_string());
    let urls = listens.clone().map(|listen| format!("http://{listen}"));
    let nodes = format!("--cluster-nodes={}", urls.join(","));
    [0, 1].map(|this: usize| {
        let own = format!("--http-public-url={}", urls[this]);
        Madang::start_at(&listens[this], &[&own, &nodes])
    })
}

/// A room that the first server sends people away for, and where to.
fn room_elsewhere(first: &Madang) -> (String, String) {
    let rooms = (0..100).map(|number| format!("room-{number}"));
    let mut redirected = rooms.filter_map(|room| {
        let head = format!("POST /whip/{room}?name=Ada\ncontent-type: application/sdp");
        let response = request(first.http, &head, "");
        let location = response.header("location").map(str::to_owned);
        (response.status == 307).then(|| (room, location.unwrap()))
    });
    redirected.next().unwrap()
}

#[test]
fn whip_14_a_client_for_a_room_of_another_node_is_sent_there() {
    let [first, second] = two();
    let (room, location) = room_elsewhere(&first);
    assert_eq!(
        address(&location),
        (second.http, format!("/whip/{room}?name=Ada&moved"))
    );
    let mut call = Call::new(first.http);
    let (publisher, created) = publish(&mut call, &format!("/whip/{room}"));
    let (http, session) = address(created.header("location").unwrap());
    assert_eq!(
        http, second.http,
        "the session's address is where the session is"
    );
    call.http = first.http;
    let (viewer, _) = open(&mut call, &format!("/whep/{room}"));
    call.watch(viewer, publisher, Source::Camera, 30);

    let fragment = "a=ice-options:trickle\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n";
    let patch = format!("PATCH {session}\ncontent-type: application/trickle-ice-sdpfrag");
    assert_eq!(request(http, &patch, fragment).status, 204);
    assert_eq!(request(http, &format!("DELETE {session}"), "").status, 200);
    assert_eq!(call.complaints(), [""; 0]);
}

#[test]
fn whip_14_who_has_been_sent_once_is_not_sent_again() {
    let [first, _second] = two();
    let (room, _) = room_elsewhere(&first);
    let mut call = Call::new(first.http);
    let (_, created) = open(&mut call, &format!("/whip/{room}?moved"));
    let (http, _) = address(created.header("location").unwrap());
    assert_eq!(http, first.http);
}
