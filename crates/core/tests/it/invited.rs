//! A client that answers an offer of the server, and restarts ICE later on.

use std::time::{Duration, Instant};

use madang_core::limits::Limits;
use madang_core::sdp::RemoteAnswer;
use madang_core::{Command, Event, PeerId, RoomId, Shard};
use str0m::change::{SdpAnswer, SdpOffer};
use str0m::{Candidate, Rtc};

use crate::dtls::{CLIENT, exchange};
use crate::support::{events, shard};

/// What the shard says to a command about a description.
fn ask(shard: &mut Shard, now: Instant, command: Command) -> String {
    shard.handle_command(now, command);
    shard.flush(now);
    let answered = |event| match event {
        Event::Answered { result, .. } => Some(result.unwrap().sdp.to_string()),
        _ => None,
    };
    let mut answers = events(shard).into_iter().filter_map(answered);
    answers.next().unwrap()
}

fn accept(generation: u32, answer: &str) -> Command {
    Command::Accept {
        peer: PeerId(1),
        generation,
        answer: Box::new(RemoteAnswer::parse(answer).unwrap()),
    }
}

/// Lets seconds pass; what the server tells of the connection meanwhile.
fn run(rtc: &mut Rtc, shard: &mut Shard, now: &mut Instant, seconds: u64) -> Vec<&'static str> {
    let end = *now + Duration::from_secs(seconds);
    let mut told = Vec::new();
    while *now < end {
        *now += Duration::from_millis(5);
        exchange(rtc, shard, *now, <[u8]>::to_vec);
        told.extend(events(shard).iter().filter_map(|event| match event {
            Event::Connected { .. } => Some("connected"),
            Event::Disconnected { .. } => Some("disconnected"),
            Event::Closed { .. } => Some("closed"),
            _ => None,
        }));
    }
    told
}

#[test]
fn whip_25_a_client_that_has_answered_an_offer_restarts_ice() {
    let mut now = Instant::now();
    let mut shard = shard(Limits::default());
    let (peer, room) = (PeerId(1), RoomId(1));
    let offer = ask(&mut shard, now, Command::Invite { peer, room });
    let mut rtc = Rtc::builder().build(now);
    rtc.add_local_candidate(Candidate::host(CLIENT.parse().unwrap(), "udp").unwrap());
    let parsed = SdpOffer::from_sdp_string(&offer).unwrap();
    let answer = rtc.sdp_api().accept_offer(parsed).unwrap().to_sdp_string();
    ask(&mut shard, now, accept(1, &answer));
    assert_eq!(run(&mut rtc, &mut shard, &mut now, 3), ["connected"]);

    let before = rtc.direct_api().local_ice_credentials();
    let mut changes = rtc.sdp_api();
    let fresh = changes.ice_restart(true);
    let (_, pending) = changes.apply().unwrap();
    let again = answer
        .replace(&before.ufrag, &fresh.ufrag)
        .replace(&before.pass, &fresh.pass);
    let restarted = ask(&mut shard, now, accept(2, &again));
    let line = |sdp: &str, name: &str| {
        let line = sdp.lines().find(|line| line.starts_with(name)).unwrap();
        line.to_owned()
    };
    for name in ["a=ice-ufrag:", "a=ice-pwd:"] {
        assert_ne!(line(&restarted, name), line(&offer, name));
    }
    let server = restarted.replace("setup:actpass", "setup:passive");
    let server = SdpAnswer::from_sdp_string(&server).unwrap();
    rtc.sdp_api().accept_answer(pending, server).unwrap();
    // Longer than a client lives whose checks fail.
    let told = run(&mut rtc, &mut shard, &mut now, 70);
    assert_eq!(told, [""; 0]);
    assert!(rtc.is_connected());
}
