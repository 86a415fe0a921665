//! Whatever strangers send and whatever the control plane gets wrong: nothing panics, nobody
//! notices.

use std::time::{Duration, Instant};

use bytes::Bytes;
use madang_core::limits::Limits;
use madang_core::{Command, Datagram, PeerId, TrackId, View};
use proptest::prelude::*;

use crate::support::{SERVER, events, join, offer, publish, shard};

/// Bytes that look like STUN, DTLS, RTP or RTCP from the outside.
fn datagram() -> impl Strategy<Value = Vec<u8>> {
    let stun = prop::collection::vec(any::<u8>(), 0..200).prop_map(|body| {
        let mut datagram = vec![
            0,
            1,
            0,
            u8::try_from(body.len() & 0xfc).unwrap(),
            0x21,
            0x12,
            0xa4,
            0x42,
        ];
        datagram.extend_from_slice(&[9; 12]);
        datagram.extend(body);
        datagram
    });
    let dtls = prop::collection::vec(any::<u8>(), 0..200).prop_map(|body| {
        let mut datagram = vec![
            22,
            254,
            253,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            1,
            0,
            u8::try_from(body.len() & 0xff).unwrap(),
        ];
        datagram.extend(body);
        datagram
    });
    let rtp =
        prop::collection::vec(any::<u8>(), 0..200).prop_map(|body| [vec![0x90], body].concat());
    let rtcp = prop::collection::vec(any::<u8>(), 0..200)
        .prop_map(|body| [vec![0x81, 200], body].concat());
    let any_bytes = prop::collection::vec(any::<u8>(), 0..1_600);
    prop_oneof![stun, dtls, rtp, rtcp, any_bytes]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn datagrams_of_strangers_change_nothing(datagrams in prop::collection::vec((datagram(), 1024u16..1030), 1..40)) {
        let now = Instant::now();
        let mut shard = shard(Limits::default());
        join(&mut shard, now, 1, &offer(now, 1, 1)).unwrap();
        publish(&mut shard, now, 1, 1, "1".into());
        let _ = events(&mut shard);
        for (contents, port) in &datagrams {
            let source = ([10, 0, 0, 9], *port).into();
            shard.handle_datagram(now, Datagram { source, destination: SERVER.parse().unwrap(), contents });
            shard.flush(now);
        }
        let later = now + Duration::from_secs(1);
        shard.handle_timeout(later);
        shard.flush(later);
        prop_assert!(events(&mut shard).is_empty());
        prop_assert_eq!(shard.stats().peers, 1);
        prop_assert_eq!(shard.stats().peer_panics, 0);
    }
}

#[test]
fn a_mangled_request_with_the_right_ufrag_ends_nobody() {
    let now = Instant::now();
    let mut shard = shard(Limits::default());
    let answer = join(&mut shard, now, 1, &offer(now, 1, 0)).unwrap();
    let answer = answer.sdp.to_string();
    let ufrag = answer
        .lines()
        .find_map(|line| line.strip_prefix("a=ice-ufrag:"))
        .unwrap();
    let username = format!("{ufrag}:xxxx");
    let mut contents = vec![0, 1, 0, 28, 0x21, 0x12, 0xa4, 0x42];
    contents.extend_from_slice(&[9; 12]);
    contents.extend_from_slice(&[0, 6, 0, u8::try_from(username.len()).unwrap()]);
    contents.extend_from_slice(username.as_bytes());
    contents.resize(contents.len().next_multiple_of(4), 0);
    shard.outbox().clear();
    for cut in 0..contents.len() {
        let source = "10.0.0.9:1024".parse().unwrap();
        let part = contents.get(..cut).unwrap();
        shard.handle_datagram(
            now,
            Datagram {
                source,
                destination: SERVER.parse().unwrap(),
                contents: part,
            },
        );
        shard.handle_datagram(
            now,
            Datagram {
                source,
                destination: SERVER.parse().unwrap(),
                contents: &contents,
            },
        );
    }
    shard.flush(now);
    let answered = shard
        .outbox()
        .iter()
        .any(|(transmit, _)| transmit.destination.port() == 1024);
    assert!(
        !answered,
        "a request without integrity gets no media and no address"
    );
    assert_eq!(shard.stats().peers, 1);
}

#[test]
fn commands_about_what_is_gone_do_nothing() {
    let now = Instant::now();
    let mut shard = shard(Limits::default());
    join(&mut shard, now, 1, &offer(now, 1, 1)).unwrap();
    publish(&mut shard, now, 1, 1, "1".into());
    let _ = events(&mut shard);
    let stranger = PeerId(99);
    shard.handle_command(
        now,
        Command::Mute {
            peer: stranger,
            track: TrackId(1),
            muted: true,
        },
    );
    shard.handle_command(
        now,
        Command::Unpublish {
            peer: stranger,
            track: TrackId(1),
        },
    );
    shard.handle_command(
        now,
        Command::View {
            peer: stranger,
            view: View::default(),
        },
    );
    shard.handle_command(
        now,
        Command::Data {
            peers: vec![stranger],
            payload: Bytes::from_static(b"x"),
        },
    );
    shard.handle_command(now, Command::Leave { peer: stranger });
    shard.flush(now);
    assert_eq!(shard.stats().tracks, 1, "a track belongs to its publisher");
    assert!(events(&mut shard).is_empty());
}
