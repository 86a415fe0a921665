//! What is spread over workers.

use madang_core::Source;
use madang_driver::WorkerStats;

use crate::party::{Party, forged_request};

const WORKERS: usize = 4;
/// Enough that the kernel's hash gives some of them to each worker.
const CLIENTS: usize = 12;

fn sum(stats: &[WorkerStats], one: fn(&WorkerStats) -> u64) -> u64 {
    stats.iter().map(one).sum()
}

/// Sends a message over each data channel, and waits for all of them.
fn exchange(party: &mut Party) {
    for client in 0..party.clients.len() {
        party.until("a data channel", |party| party.send_data(client, b"here"));
    }
    party.until("the messages", |party| {
        // The channel does not repeat what is lost: unlike everything else here that might hide it.
        party.data.len() >= party.clients.len()
    });
}

#[test]
fn clients_are_served_whichever_worker_the_kernel_gives_them_to() {
    let mut party = Party::new(WORKERS);
    for _ in 0..CLIENTS {
        party.join(2, [127, 0, 0, 1]);
    }
    party.until("everybody to connect", |party| {
        party.clients.iter().all(|client| client.connected)
    });
    exchange(&mut party);
    let stats = party.driver.shutdown();
    assert!(sum(&stats, |stats| stats.io.datagrams_handed_over) > 0);
    assert_eq!(sum(&stats, |stats| stats.io.datagrams_dropped_handover), 0);
}

#[test]
fn forged_requests_from_a_clients_address_do_not_divert_its_media() {
    let mut party = Party::new(WORKERS);
    // A peer of the worker to which the forger would like to have it all.
    let other = party.join(1, [127, 0, 0, 1]);
    let forgery = forged_request(&party.clients[other].ufrag);
    for _ in 0..CLIENTS {
        let client = party.join(2, [127, 0, 0, 2]);
        party.clients[client].forgery = Some(forgery.clone());
    }
    party.until("everybody to connect", |party| {
        party.clients.iter().all(|client| client.connected)
    });
    exchange(&mut party);
    let stats = party.driver.shutdown();
    // Each client has sent more than that to connect: a check, the handshake, a message.
    let forgeries = 5 * CLIENTS as u64;
    assert!(
        stats[1].shard.datagrams_in > forgeries,
        "the forgeries were delivered"
    );
}

#[test]
fn people_on_different_workers_see_and_hear_each_other() {
    let mut party = Party::new(WORKERS);
    for worker in [0, 1, 3, 3] {
        let client = party.join(worker, [127, 0, 0, 1]);
        party.publish(client, Source::Camera);
        party.publish(client, Source::Microphone);
        party.look(client);
    }
    party.until("everybody to see and hear three others", |party| {
        party.clients.iter().all(|client| {
            let seen = client.browser.video.values();
            let heard = client.browser.audio.values();
            seen.filter(|slot| slot.shown().len() > 10).count() == 3
                && heard.filter(|slot| slot.heard().len() > 10).count() == 3
        })
    });
    let stats = party.driver.shutdown();
    assert!(stats[0].io.relay_packets_received > 0);
    assert_eq!(stats[2].io.relay_packets_received, 0, "nobody is there");
    assert_eq!(sum(&stats, |stats| stats.io.relay_packets_dropped), 0);
    assert!(
        sum(&stats, |stats| stats.io.relay_packets_sent)
            >= sum(&stats, |stats| stats.io.relay_packets_received)
    );
    for stats in &stats {
        assert!((0.0..=1.0).contains(&stats.busy), "{stats:?}");
    }
    assert!(stats[3].busy > 0.0);
}
