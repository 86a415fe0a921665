use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::limits::Limits;
use crate::protocol::{Kind, Message, Publication, Source};
use crate::session::End;
use crate::token::Auth;

struct Counter(u64);

impl TrackIds for Counter {
    fn next_track(&mut self) -> TrackId {
        self.0 += 1;
        TrackId(self.0)
    }
}

const ANN: PeerId = PeerId(1);
const BOB: PeerId = PeerId(2);
const GHOST: PeerId = PeerId(3);

fn participant(identity: &str) -> Participant {
    let grants = Auth::Development.check(None, String::new).unwrap().grants;
    Participant {
        identity: identity.into(),
        name: String::new(),
        meta: json!(null),
        grants,
        viewer: false,
        encrypts: false,
        returns: false,
    }
}

/// Ann and Bob, and a hidden third.
fn room() -> Room {
    let limits = Limits {
        participants_per_room: 4,
        ..Limits::default()
    };
    let mut room = Room::new(RoomId(1), "r".into(), &limits);
    room.enter(ANN, participant("ann"));
    room.enter(BOB, participant("bob"));
    let mut ghost = participant("ghost");
    ghost.grants.hidden = true;
    room.enter(GHOST, ghost);
    room
}

fn microphone(mid: &str) -> Publication {
    Publication {
        cid: mid.into(),
        mid: mid.into(),
        kind: Kind::Audio,
        source: Source::Microphone,
        muted: false,
        rids: None,
        w: None,
        h: None,
        codec: None,
        max_bps: None,
    }
}

fn publish(
    room: &mut Room,
    peer: PeerId,
    publications: Vec<Publication>,
) -> Result<Effects, Fault> {
    let mut ids = Counter(room.tracks.len() as u64);
    room.publish(peer, publications, &mut ids, &Limits::default())
        .map(|(_, effects)| effects)
}

/// Everybody who is told something.
fn told(effects: &Effects) -> BTreeSet<PeerId> {
    effects
        .events
        .iter()
        .flat_map(|(to, _)| to.iter().copied())
        .collect()
}

#[test]
fn places_are_kept_for_those_who_are_joining() {
    let mut room = room();
    assert_eq!(room.reserve(&participant("dan")), Ok(()));
    assert_eq!(
        room.reserve(&participant("eve")).unwrap_err().code,
        ErrorCode::RoomFull
    );
    assert_eq!(
        room.reserve(&participant("ann")),
        Ok(()),
        "ann only replaces herself"
    );
    room.release(false);
    room.release(false);
    assert_eq!(room.reserve(&participant("eve")), Ok(()));
}

#[test]
fn a_locked_room_takes_who_is_in_it_and_an_administrator_where_it_has_none() {
    let admin = |identity| {
        let mut admin = participant(identity);
        admin.grants.admin = true;
        admin
    };
    let mut room = room();
    room.locked = true;
    let refused = room.reserve(&participant("dan")).unwrap_err();
    assert_eq!(refused.code, ErrorCode::RoomClosed);
    assert_eq!(room.reserve(&participant("ann")), Ok(()), "she is here");
    room.release(false);
    assert_eq!(
        room.reserve(&admin("eve")),
        Ok(()),
        "nobody else unlocks it"
    );
    room.release(false);
    room.enter(ANN, admin("ann"));
    assert!(room.reserve(&admin("eve")).is_err(), "ann can unlock it");
}

#[test]
fn who_comes_twice_is_there_once() {
    let mut room = room();
    publish(&mut room, ANN, vec![microphone("4")]).unwrap();
    let effects = room.enter(PeerId(9), participant("ann"));
    assert!(
        matches!(&effects.ended[..], [(ANN, End::Bye(bye))] if bye.code == ErrorCode::DuplicateIdentity)
    );
    assert!(matches!(
        effects.commands[..],
        [Command::Leave { peer: ANN }]
    ));
    assert_eq!(told(&effects), [BOB, GHOST].into());
    assert_eq!((room.len(), room.tracks.len()), (3, 0));
}

#[test]
fn publishing_is_all_or_nothing() {
    let mut room = room();
    let fault = publish(&mut room, ANN, vec![microphone("4"), microphone("4")]).unwrap_err();
    assert_eq!(fault.code, ErrorCode::BadRequest);
    assert!(room.tracks.is_empty());
    let effects = publish(&mut room, ANN, vec![microphone("4"), microphone("5")]).unwrap();
    assert_eq!((effects.commands.len(), effects.events.len()), (2, 1));
    assert_eq!(
        room.snapshot(BOB, vec![]).map(|seen| seen.tracks.len()),
        Some(2)
    );
    assert_eq!(
        room.snapshot(ANN, vec![]).map(|seen| seen.tracks.len()),
        Some(0)
    );
}

#[test]
fn what_changes_nothing_is_no_news() {
    let mut room = room();
    publish(&mut room, ANN, vec![microphone("4")]).unwrap();
    let effects = room.mute(ANN, TrackId(1), false).unwrap();
    assert!(effects.events.is_empty() && effects.commands.is_empty());
    assert!(publish(&mut room, ANN, vec![]).unwrap().events.is_empty());
    assert!(room.unpublish(ANN, &[]).unwrap().events.is_empty());
}

#[test]
fn a_hidden_participant_hears_of_everything_and_nobody_of_it() {
    let mut room = room();
    let seen = room.snapshot(ANN, vec![]).unwrap();
    assert_eq!(
        seen.peers.iter().map(|peer| peer.id.0).collect::<Vec<_>>(),
        [BOB]
    );
    assert_eq!(
        told(&publish(&mut room, ANN, vec![microphone("4")]).unwrap()),
        [BOB, GHOST].into()
    );
    assert_eq!(
        publish(&mut room, GHOST, vec![microphone("4")])
            .unwrap_err()
            .code,
        ErrorCode::Forbidden
    );
    assert_eq!(told(&room.end(GHOST, End::Close(1000))), [].into());
}

#[test]
fn a_message_names_its_sender_and_goes_to_each_once() {
    let room = room();
    let message = |to: Option<Vec<u64>>| Message {
        to: to.map(|to| to.into_iter().map(|peer| PeerId(peer).into()).collect()),
        topic: "chat".into(),
        body: json!(1),
        reliable: None,
    };
    let relayed = room
        .message(ANN, message(Some(vec![2, 2, 2])), true, &Limits::default())
        .unwrap();
    let body = ServerMessage::Msg {
        from: ANN.into(),
        topic: "chat".into(),
        body: json!(1),
    };
    assert_eq!(relayed.events, [(vec![BOB], body)]);
    let everybody = room
        .message(ANN, message(None), false, &Limits::default())
        .unwrap();
    assert!(
        matches!(&everybody.commands[..], [Command::Data { peers, .. }] if *peers == [BOB, GHOST])
    );
}

#[test]
fn a_change_that_takes_too_much_on_its_way_to_all_is_refused_and_leaves_all_as_it_was() {
    let limits = Limits {
        relayed_bytes_per_second: 1,
        relayed_bytes_burst: 1_000,
        ..Limits::default()
    };
    let mut room = Room::new(RoomId(1), "r".into(), &limits);
    for (peer, name) in [(ANN, "ann"), (BOB, "bob"), (GHOST, "cleo")] {
        room.enter(peer, participant(name));
    }
    let mut change =
        |letter: &str| room.update(ANN, None, Some(json!(letter.repeat(300))), &limits);
    assert!(change("x").is_ok(), "300 bytes to two");
    assert_eq!(change("y").unwrap_err().code, ErrorCode::RateLimited);
    assert_eq!(room.participants[&ANN].meta, json!("x".repeat(300)));
}

#[test]
fn an_empty_room_says_so() {
    let mut room = room();
    for peer in [ANN, BOB, GHOST] {
        assert!(!room.is_empty());
        room.end(peer, End::Close(1000));
    }
    assert!(room.is_empty());
    room.reserve(&participant("ann")).unwrap();
    assert!(!room.is_empty(), "somebody is on the way");
}
