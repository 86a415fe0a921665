//! A node with several workers.

use std::collections::BTreeMap;

use madang_core::{Command, Event, PeerId, RoomId};
use serde_json::json;

use crate::harness::{Client, Server, config, join, token};

/// One more than a room has on one worker while that has room.
const PEOPLE: usize = 9;

/// A room on two workers: eight people, the first an administrator, on one, and one more on the other.
async fn large_room() -> (Server, Vec<Client>) {
    let mut server = Server::start_with(config(), 2).await;
    let mut people = vec![server.join_with("p0", json!({"admin": true})).await];
    for number in 1..PEOPLE {
        people.push(server.join(&format!("p{number}")).await);
    }
    for client in &people {
        let (worker, peer) = server.joined().await;
        assert_eq!(peer, client.peer());
        assert_eq!(worker, worker_of(&people, peer));
    }
    (server, people)
}

fn worker_of(people: &[Client], peer: PeerId) -> usize {
    usize::from(people[PEOPLE - 1].peer() == peer)
}

impl Server {
    /// The next join, and its worker.
    async fn joined(&mut self) -> (usize, PeerId) {
        let pick = |worker, command| {
            if let Command::Join(join) = command {
                Some((worker, join.peer))
            } else {
                None
            }
        };
        self.command_on(pick).await
    }
}

#[tokio::test]
async fn commands_go_to_the_worker_of_the_peer_that_they_name() {
    let (mut server, mut people) = large_room().await;
    let microphone =
        json!({"cid": "m", "mid": "0", "kind": "audio", "source": "microphone", "muted": false});
    for number in [0, PEOPLE - 1] {
        let (client, expected) = (&mut people[number], usize::from(number > 0));
        let peer = client.peer();
        let ok = client
            .ok(json!({"t": "publish", "tracks": [microphone]}))
            .await;
        let track = ok["tracks"][0]["id"].clone();
        client.ok(json!({"t": "view", "rev": 1, "video": []})).await;
        client
            .ok(json!({"t": "mute", "track": track, "muted": true}))
            .await;
        client
            .ok(json!({"t": "unpublish", "tracks": [track]}))
            .await;
        for _ in 0..4 {
            let (worker, named) = server
                .command_on(|worker, command| {
                    if let Command::Publish { peer, .. }
                    | Command::View { peer, .. }
                    | Command::Mute { peer, .. }
                    | Command::Unpublish { peer, .. } = command
                    {
                        return Some((worker, peer));
                    }
                    panic!("{command:?}")
                })
                .await;
            assert_eq!((worker, named), (expected, peer));
        }
    }
}

#[tokio::test]
async fn what_one_does_to_another_goes_to_the_others_worker() {
    let (mut server, mut people) = large_room().await;
    let last = people.pop().unwrap();
    people[0]
        .ok(json!({"t": "admin", "op": "kick", "target": last.id()}))
        .await;
    let left = server
        .command_on(|worker, command| matches!(command, Command::Leave { .. }).then_some(worker))
        .await;
    assert_eq!(left, 1);
}

#[tokio::test]
async fn a_message_to_everybody_is_one_command_for_each_worker() {
    let (mut server, mut people) = large_room().await;
    people[0]
        .ok(json!({"t": "msg", "topic": "pos", "body": 1, "reliable": false}))
        .await;
    let mut got = BTreeMap::new();
    for _ in 0..2 {
        let (worker, peers) = server
            .command_on(|worker, command| {
                if let Command::Data { peers, .. } = command {
                    return Some((worker, peers));
                }
                panic!("{command:?}")
            })
            .await;
        got.insert(worker, peers);
    }
    let others: Vec<PeerId> = people.iter().skip(1).map(Client::peer).collect();
    let (here, there) = others.split_at(PEOPLE - 2);
    assert_eq!(
        got,
        BTreeMap::from([(0, here.to_vec()), (1, there.to_vec())])
    );
}

#[tokio::test]
async fn each_worker_says_who_speaks_to_its_own_people() {
    let (server, mut people) = large_room().await;
    for worker in [1, 0] {
        server
            .emit(Event::Speakers {
                worker,
                room: RoomId(1),
                speakers: vec![(people[0].peer(), worker)],
            })
            .await;
    }
    for (number, client) in people.iter_mut().enumerate() {
        let speakers = client.next("speakers").await;
        let expected = usize::from(number == PEOPLE - 1);
        assert_eq!(speakers["list"][0]["level"], json!(expected));
        let rest = client.all().await;
        assert!(rest.iter().all(|frame| frame["t"] != "speakers"));
    }
}

#[tokio::test]
async fn new_rooms_go_to_the_worker_that_has_most_to_spare() {
    let mut server = Server::start_with(config(), 3).await;
    server.hub.measured([0.5, 0.4, 0.1]);
    for (room, expected) in [("a", 2), ("b", 2)] {
        let mut client = server.connect().await;
        let joined = client
            .request(join(&token("ann", json!({"room": room}))))
            .await;
        assert_eq!(joined["t"], "joined", "{joined}");
        assert_eq!(server.joined().await.0, expected);
        client.ok(json!({"t": "leave"})).await;
        let left = server
            .command_on(|worker, command| {
                matches!(command, Command::Leave { .. }).then_some(worker)
            })
            .await;
        assert_eq!(left, expected);
    }
}
