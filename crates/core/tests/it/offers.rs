//! Offers after the first one: slots keep their streams, whatever else the client changes.

use std::time::Instant;

use madang_core::limits::Limits;
use madang_core::sdp::Offer;
use madang_core::{CloseReason, Command, Event, PeerId, Shard};

use crate::support::{events, join, offer, shard};

const PEER: u64 = 1;

/// Sends an offer; the answer's text, or what was wrong with it.
fn offered(shard: &mut Shard, now: Instant, generation: u32, sdp: &str) -> Result<String, String> {
    let offer = Box::new(Offer::parse(sdp).map_err(|error| error.to_string())?);
    let peer = PeerId(PEER);
    let command = Command::Offer {
        peer,
        generation,
        offer,
    };
    shard.handle_command(now, command);
    shard.flush(now);
    for event in events(shard) {
        match event {
            Event::Answered { result, .. } => {
                return result
                    .map(|answer| answer.sdp.to_string())
                    .map_err(|error| error.to_string());
            }
            Event::Closed { reason, .. } => assert_ne!(reason, CloseReason::Internal),
            _ => {}
        }
    }
    Err("no answer".to_owned())
}

fn ssrcs(answer: &str) -> Vec<&str> {
    let lines = answer.lines();
    let mut ssrcs: Vec<&str> = lines
        .filter_map(|line| line.strip_prefix("a=ssrc:")?.split(' ').next())
        .collect();
    ssrcs.dedup();
    ssrcs
}

/// The offer with the section of its last m-line changed.
fn with_last(sdp: &str, change: impl Fn(&str) -> String) -> String {
    let at = sdp.rfind("m=video").unwrap();
    let (before, last) = sdp.split_at(at);
    format!("{before}{}", change(last))
}

#[test]
fn slots_keep_their_ssrcs() {
    let now = Instant::now();
    let mut shard = shard(Limits::default());
    let sdp = offer(now, 3, 1);
    let first = join(&mut shard, now, PEER, &sdp).unwrap().sdp.to_string();
    assert_eq!(ssrcs(&first).len(), 6, "three slots, each with RTX");
    let second = offered(&mut shard, now, 1, &sdp).unwrap();
    assert_eq!(ssrcs(&second), ssrcs(&first));
}

#[test]
fn a_slot_that_the_client_closes_leaves_the_others_alone() {
    let now = Instant::now();
    let mut shard = shard(Limits::default());
    let sdp = offer(now, 3, 0);
    let first = join(&mut shard, now, PEER, &sdp).unwrap().sdp.to_string();
    let closed = with_last(&sdp, |last| last.replace("a=recvonly", "a=inactive"));
    let second = offered(&mut shard, now, 1, &closed).unwrap();
    assert_eq!(ssrcs(&second)[..4], ssrcs(&first)[..4]);
    let third = offered(&mut shard, now, 2, &sdp).unwrap();
    assert_eq!(ssrcs(&third), ssrcs(&first), "and comes back as it was");
}

#[test]
fn an_m_line_that_is_used_again_ends_nobody() {
    let now = Instant::now();
    let mut shard = shard(Limits::default());
    let sdp = offer(now, 3, 0);
    join(&mut shard, now, PEER, &sdp).unwrap();
    let stopped = with_last(&sdp, |last| {
        let port = last.split(' ').nth(1).unwrap();
        last.replacen(&format!("m=video {port} "), "m=video 0 ", 1)
    });
    let recycled = with_last(&sdp, |last| {
        let mid = last
            .lines()
            .find(|line| line.starts_with("a=mid:"))
            .unwrap();
        last.replace(mid, "a=mid:new")
    });
    for (generation, sdp) in (1..).zip([&stopped, &recycled, &recycled, &sdp, &recycled]) {
        // Whether the engine likes it is not the question here.
        let _ = offered(&mut shard, now, generation, sdp);
        assert_eq!(shard.stats().peers, 1, "after offer {generation}");
        assert_eq!(shard.stats().peer_panics, 0);
    }
}
