//! Media between clients, over real sockets.

use std::net::{Ipv6Addr, UdpSocket};

use madang_core::Source;
use serde_json::json;

use crate::call::Call;
use crate::process::Madang;

/// Two clients who see and hear each other.
fn pair(call: &mut Call) -> (usize, usize) {
    let (ann, bob) = (call.join("yard"), call.join("yard"));
    for client in [ann, bob] {
        call.publish(client, Source::Camera);
        call.publish(client, Source::Microphone);
        call.talk(client);
    }
    for (viewer, publisher) in [(ann, bob), (bob, ann)] {
        call.watch(viewer, publisher, Source::Camera, 30);
        call.listen(viewer, publisher, 25);
    }
    (ann, bob)
}

#[test]
fn two_clients_see_and_hear_each_other() {
    let server = Madang::start(&[]);
    let mut call = Call::new(server.http);
    pair(&mut call);
    assert_eq!(call.complaints(), [""; 0]);
}

#[test]
fn a_call_works_over_ipv6() {
    let server = Madang::start(&["--media-bind=::1"]);
    let mut call = Call::new(server.http);
    call.ip = Ipv6Addr::LOCALHOST.into();
    pair(&mut call);
    assert_eq!(call.complaints(), [""; 0]);
}

#[test]
fn clients_whose_datagrams_reach_another_worker_are_served() {
    const CLIENTS_MAX: usize = 16;
    let server = Madang::start(&["--media-workers=4"]);
    let mut call = Call::new(server.http);
    let (ann, bob) = pair(&mut call);
    // The kernel chooses the worker by the client's port: one in four is the right one.
    while server.total("madang_udp_datagrams_handed_over_total") == 0 {
        assert!(
            call.clients.len() < CLIENTS_MAX,
            "no datagram changed the worker"
        );
        let viewer = call.join("yard");
        call.watch(viewer, ann, Source::Camera, 30);
        call.watch(viewer, bob, Source::Camera, 30);
        call.listen(viewer, ann, 50);
    }
    assert_eq!(
        server.total("madang_udp_datagrams_dropped_handover_total"),
        0
    );
    assert_eq!(call.complaints(), [""; 0]);
}

#[test]
fn garbage_from_a_stranger_disturbs_nobody() {
    let server = Madang::start(&[]);
    let mut call = Call::new(server.http);
    let (ann, bob) = pair(&mut call);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    // First bytes of STUN, DTLS, RTP and RTCP, and of nothing.
    let firsts: [&[u8]; 5] = [
        &[0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42],
        &[22, 0xfe, 0xfd],
        &[0x80, 96],
        &[0x80, 200],
        &[0xff],
    ];
    for length in (0..1_400).step_by(7) {
        for first in firsts {
            let mut datagram = first.to_vec();
            datagram.resize(length, 0xa5);
            stranger
                .send_to(&datagram, ("127.0.0.1", server.udp))
                .unwrap();
        }
    }
    call.watch(bob, ann, Source::Camera, 30);
    call.watch(ann, bob, Source::Camera, 30);
    assert_eq!(call.complaints(), [""; 0]);
    stranger.set_nonblocking(true).unwrap();
    assert!(
        stranger.recv(&mut [0; 100]).is_err(),
        "a stranger gets no answer"
    );
}

#[test]
fn a_message_goes_over_the_data_channel() {
    let server = Madang::start(&[]);
    let mut call = Call::new(server.http);
    let (ann, bob) = (call.join("yard"), call.join("yard"));
    let message = json!({"t": "msg", "topic": "pointer", "body": {"x": 1}, "reliable": false});
    // Whoever has an open channel has been able to send; until then there is none.
    for client in [bob, ann] {
        call.until("the data channel", |call| {
            let now = call.now();
            call.clients[client]
                .browser
                .send_data(now, message.to_string().as_bytes())
        });
    }
    call.until("the message", |call| {
        !call.clients[bob].browser.data.is_empty()
    });
    let data: serde_json::Value =
        serde_json::from_slice(&call.clients[bob].browser.data[0]).unwrap();
    let from = &call.clients[ann].joined["you"]["id"];
    assert_eq!(
        (&data["t"], &data["from"], &data["body"]["x"]),
        (&json!("msg"), from, &json!(1))
    );
}
