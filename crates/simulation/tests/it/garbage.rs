//! Whatever comes in, nobody else notices.

use std::net::SocketAddr;

use fastrand::Rng;
use madang_core::Source::Camera;
use madang_simulation::Action::{Join, Uplink};
use madang_simulation::network::{LinkConfig, corrupted};
use madang_simulation::{Plan, World};

use crate::{SEEDS, all_see_all, ms};

/// Datagrams that look like something: STUN, DTLS, RTP, RTCP, and nothing at all.
fn garbage(rng: &mut Rng) -> Vec<u8> {
    let mut datagram: Vec<u8> = (0..rng.usize(0..1_600)).map(|_| rng.u8(..)).collect();
    let look: &[u8] = match rng.u8(0..6) {
        0 => &[0x00, 0x01, 0x00, 0x08, 0x21, 0x12, 0xa4, 0x42],
        1 => &[0x01, 0x01, 0x00, 0x00, 0x21, 0x12, 0xa4, 0x42],
        2 => &[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0],
        3 => &[0x80, 96],
        4 => &[0x80, 200],
        _ => &[],
    };
    for (to, from) in datagram.iter_mut().zip(look) {
        *to = *from;
    }
    datagram
}

/// A STUN request whose USERNAME is one that the server might have given out.
fn stun_request(rng: &mut Rng) -> Vec<u8> {
    let number = rng.u32(0..4);
    let ufrag = madang_core::demux::Ufrag {
        node: 0,
        epoch: 1,
        worker: 0,
        number,
    };
    let username = format!("{}:abcd", ufrag.encode());
    let padded = username.len().next_multiple_of(4);
    let mut datagram = vec![0x00, 0x01, 0x00, 0x00, 0x21, 0x12, 0xa4, 0x42];
    datagram.extend((0..12).map(|_| rng.u8(..)));
    datagram.extend([0, 6, 0, u8::try_from(username.len()).unwrap()]);
    datagram.extend(username.as_bytes());
    datagram.resize(20 + 4 + padded, 0);
    datagram[3] = u8::try_from(4 + padded).unwrap();
    if rng.bool() {
        corrupted(&datagram, rng)
    } else {
        datagram
    }
}

fn nobody_noticed(world: &World) {
    for (viewer, publisher) in [("anna", "ben"), ("ben", "anna")] {
        let freeze = world.longest_freeze(viewer, publisher, Camera, ms(3_000));
        assert!(
            freeze < ms(150),
            "{viewer} saw {publisher} freeze for {freeze:?}"
        );
    }
    let stats = world.shard_stats();
    assert_eq!((stats.peers, stats.peer_panics), (3, 0));
}

#[test]
fn strangers_disturb_nobody() {
    Plan::new("strangers send garbage")
        .at(0, "three start", [Join("anna"), Join("ben"), Join("cleo")])
        .at(3_000, "the garbage begins", [])
        .run(SEEDS, |world| {
            let mut rng = Rng::with_seed(world.seed());
            for round in 0..400 {
                let stranger = SocketAddr::from(([203, 0, 113, rng.u8(..)], rng.u16(1..)));
                world.inject(stranger, garbage(&mut rng));
                world.inject(stranger, stun_request(&mut rng));
                world.run_until(ms(3_000 + round * 10));
            }
            nobody_noticed(world);
        });
}

#[test]
fn garbage_from_a_participants_address_disturbs_nobody_else() {
    Plan::new("cleo's address sends garbage")
        .at(0, "three start", [Join("anna"), Join("ben"), Join("cleo")])
        .at(3_000, "the garbage begins", [])
        .run(SEEDS, |world| {
            let mut rng = Rng::with_seed(world.seed());
            let cleo = world.seat("cleo").browser.address();
            for round in 0..400 {
                world.inject(cleo, garbage(&mut rng));
                world.inject(cleo, stun_request(&mut rng));
                world.run_until(ms(3_000 + round * 10));
            }
            nobody_noticed(world);
        });
}

#[test]
fn damaged_packets_disturb_nobody() {
    let damaging = LinkConfig {
        corrupt: 0.3,
        ..LinkConfig::default()
    };
    Plan::new("cleo's network damages packets from the very first on")
        .at(
            0,
            "three start",
            [
                Join("anna"),
                Join("ben"),
                Join("cleo"),
                Uplink("cleo", damaging),
            ],
        )
        .at(
            7_000,
            "all see each other",
            all_see_all(&["anna", "ben", "cleo"]),
        )
        .run(SEEDS, |world| nobody_noticed(world));
}

#[test]
fn forged_ssrcs_take_no_stream_over() {
    let forging = LinkConfig {
        forge_ssrc: 0.5,
        ..LinkConfig::default()
    };
    Plan::new("somebody repeats cleo's packets under another SSRC")
        .at(
            0,
            "three start",
            [
                Join("anna"),
                Join("ben"),
                Join("cleo"),
                Uplink("cleo", forging),
            ],
        )
        .at(
            7_000,
            "all see each other",
            all_see_all(&["anna", "ben", "cleo"]),
        )
        .run(SEEDS, |world| nobody_noticed(world));
}

/// DTLS records without protection that belong into no handshake: changes of cipher, alerts, data (RFC 6347 section 4.1).
fn unprotected_record(rng: &mut Rng) -> Vec<u8> {
    let mut record = garbage(rng);
    record.resize(record.len().max(15), 0);
    record[0] = [20, 21, 23][rng.usize(0..3)];
    record[1..3].copy_from_slice(&[0xfe, 0xfd]);
    record[3..11].fill(0);
    let length = u16::try_from(record.len() - 13).unwrap();
    record[11..13].copy_from_slice(&length.to_be_bytes());
    // A warning or worse; most often that the connection is to be closed.
    record[13] = rng.u8(1..=2);
    record[14] = if rng.bool() { 0 } else { rng.u8(..) };
    record
}

#[test]
fn forged_alerts_end_no_handshake() {
    Plan::new("somebody sends alerts from cleo's address while she connects")
        .at(0, "three start", [Join("anna"), Join("ben"), Join("cleo")])
        .run(SEEDS, |world| {
            let mut rng = Rng::with_seed(world.seed());
            let cleo = world.seat("cleo").browser.address();
            for round in 0..500 {
                world.inject(cleo, unprotected_record(&mut rng));
                world.run_until(ms(round));
            }
            world.run_until(ms(7_000));
            nobody_noticed(world);
            let freeze = world.longest_freeze("anna", "cleo", Camera, ms(5_000));
            assert!(freeze < ms(150), "anna saw cleo freeze for {freeze:?}");
        });
}
