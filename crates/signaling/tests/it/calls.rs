//! Two people in a room.

use madang_core::{AudioView, Command, Event, Slots, Source, TrackId, VideoSlot, Why};
use serde_json::json;

use crate::harness::{OFFER, Server, config, token};

fn camera() -> serde_json::Value {
    json!({"cid": "cam", "mid": "5", "kind": "video", "source": "camera", "muted": false,
           "rids": ["q", "h", "f"], "w": 1280, "h": 720, "codec": "vp8"})
}

#[tokio::test]
async fn two_people_see_each_other_come_and_go() {
    let mut server = Server::start(config()).await;
    let mut ann = server.join("ann").await;
    assert_eq!(ann.joined["answer"], "answer 0");
    assert_eq!(
        ann.joined["slots"],
        json!([{"mid": "1", "kind": "audio"}, {"mid": "2", "kind": "video"}])
    );
    assert_eq!(
        ann.joined["room"],
        json!({"name": "r", "locked": false, "max": 500})
    );
    assert_eq!(ann.joined["peers"], json!([]));
    assert_eq!(
        (&ann.joined["ping_ms"], &ann.joined["resume_ttl"]),
        (&json!(10_000), &json!(30))
    );

    let mut bob = server.join("bob").await;
    assert_eq!(
        bob.joined["peers"],
        json!([{"id": ann.id(), "identity": "ann", "name": "", "meta": null}])
    );
    let came = ann.next("peers").await;
    assert_eq!(
        came,
        json!({"t": "peers", "s": 1, "add": [{"id": bob.id(), "identity": "bob", "name": "", "meta": null}]})
    );

    bob.ok(json!({"t": "leave"})).await;
    assert_eq!(bob.closed().await, Some(1000));
    assert_eq!(
        ann.next("peers").await,
        json!({"t": "peers", "s": 2, "del": [bob.id()]})
    );
    server.left(&bob).await;
    assert_eq!(server.hub.counts().participants, 1);
}

#[tokio::test]
async fn a_track_is_published_muted_and_taken_away() {
    let mut server = Server::start(config()).await;
    let mut ann = server.join("ann").await;
    let mut bob = server.join("bob").await;

    let reply = ann.ok(json!({"t": "publish", "tracks": [camera()]})).await;
    let track = reply["tracks"][0]["id"].clone();
    assert_eq!(reply["tracks"], json!([{"cid": "cam", "id": track}]));
    let info = json!({"id": track, "peer": ann.id(), "kind": "video", "source": "camera", "muted": false,
                      "w": 1280, "h": 720, "rids": ["q", "h", "f"], "codec": "vp8"});
    assert_eq!(bob.next("tracks").await["add"], json!([info]));
    let spec = server.command(|command| {
        if let Command::Publish { track, .. } = command {
            Some(track)
        } else {
            None
        }
    });
    let spec = spec.await;
    assert_eq!(
        (&*spec.mid, spec.source, spec.width),
        ("5", Source::Camera, Some(1280))
    );

    let late = server.join("late").await;
    assert_eq!(late.joined["tracks"], json!([info]));

    ann.ok(json!({"t": "mute", "track": track, "muted": true}))
        .await;
    assert_eq!(bob.next("tracks").await["upd"][0]["muted"], true);
    server
        .command(|command| matches!(command, Command::Mute { muted: true, .. }).then_some(()))
        .await;

    ann.ok(json!({"t": "unpublish", "tracks": [track]})).await;
    assert_eq!(bob.next("tracks").await["del"], json!([track]));
    server
        .command(|command| matches!(command, Command::Unpublish { .. }).then_some(()))
        .await;
    assert!(
        ann.all().await.iter().all(|frame| frame["t"] != "tracks"),
        "own tracks are no news"
    );
}

#[tokio::test]
async fn a_publication_that_is_repeated_is_the_same_track() {
    let mut server = Server::start(config()).await;
    let mut ann = server.join_with("ann", json!({"admin": true})).await;
    let mut bob = server.join("bob").await;
    let publish = |track: serde_json::Value| json!({"t": "publish", "tracks": [track]});
    let first = bob.ok(publish(camera())).await["tracks"].clone();
    ann.next("tracks").await;
    let joined = bob.cut();
    let frame = json!({"t": "resume", "v": 1, "session": joined["session"], "secret": joined["secret"], "last_s": 0});
    let mut bob = server.connect().await;
    bob.request(frame).await;

    ann.all().await;
    assert_eq!(bob.ok(publish(camera())).await["tracks"], first);
    assert_eq!(
        ann.all().await,
        Vec::<serde_json::Value>::new(),
        "nothing is new"
    );
    let mut muted = camera();
    muted["muted"] = json!(true);
    assert_eq!(bob.ok(publish(muted)).await["tracks"], first);
    assert_eq!(ann.next("tracks").await["upd"][0]["muted"], true);
    bob.ok(publish(camera())).await;
    assert_eq!(ann.next("tracks").await["upd"][0]["muted"], false);

    ann.ok(
        json!({"t": "admin", "op": "mute", "target": joined["you"]["id"], "track": first[0]["id"]}),
    )
    .await;
    assert_eq!(bob.next("muted").await["by"], ann.id());
    assert_eq!(bob.ok(publish(camera())).await["tracks"], first);
    assert_eq!(
        bob.next("muted").await["track"],
        first[0]["id"],
        "what an administrator has muted stays so"
    );

    for (field, value) in [("cid", json!("other")), ("source", json!("screen"))] {
        let mut other = camera();
        other[field] = value;
        assert_eq!(bob.refused(publish(other)).await, "bad_request", "{field}");
    }
    let publications = |command| matches!(command, Command::Publish { .. }).then_some(());
    server.command(publications).await;
    bob.ok(json!({"t": "leave"})).await;
    let next = server
        .command(|command| {
            matches!(command, Command::Publish { .. } | Command::Leave { .. }).then_some(command)
        })
        .await;
    assert!(matches!(next, Command::Leave { .. }), "{next:?}");
}

#[tokio::test]
async fn a_view_reaches_the_engine_without_tracks_of_other_rooms() {
    let mut server = Server::start(config()).await;
    let mut ann = server.join("ann").await;
    let mut eve = server.join_with("eve", json!({"room": "elsewhere"})).await;
    let own =
        ann.ok(json!({"t": "publish", "tracks": [camera()]})).await["tracks"][0]["id"].clone();
    let foreign =
        eve.ok(json!({"t": "publish", "tracks": [camera()]})).await["tracks"][0]["id"].clone();
    let mut bob = server.join("bob").await;
    bob.ok(json!({"t": "view", "rev": 3, "video": [
        {"track": own, "slot": "2", "w": 640, "h": 360, "prio": 7, "min_h": 180, "fps": 15},
        {"track": foreign, "w": 640, "h": 360},
    ], "auto": {"max": 4, "w": 160, "h": 90, "pin": foreign}, "audio": {"mode": "list", "tracks": [own, foreign]}}))
    .await;
    let view = server.view().await;
    assert_eq!((view.rev, view.video.len()), (3, 1));
    assert_eq!(
        (
            view.video[0].height,
            view.video[0].priority,
            view.video[0].max_fps
        ),
        (360, 7, Some(15))
    );
    assert_eq!(view.auto.map(|auto| auto.pin), Some(None));
    assert_eq!(view.audio, AudioView::List(vec![view.video[0].track]));
}

#[tokio::test]
async fn what_the_engine_says_reaches_its_clients() {
    let server = Server::start(config()).await;
    let mut ann = server.join("ann").await;
    let mut bob = server.join("bob").await;
    let peer = ann.peer();
    let slot = VideoSlot {
        mid: "2".into(),
        track: Some(TrackId(9)),
        paused: true,
        why: Why::NoBandwidth,
        layer: None,
    };
    server
        .emit(Event::Slots {
            peer,
            slots: Slots {
                rev: 4,
                video: Some(vec![slot]),
                audio: None,
            },
        })
        .await;
    let slots = ann.next("slots").await;
    assert_eq!(
        slots["video"],
        json!([{"mid": "2", "track": "t9", "paused": true, "why": "no_bandwidth", "layer": null}])
    );
    assert_eq!((&slots["rev"], slots.get("audio")), (&json!(4), None));
    server
        .emit(Event::NeedSlots {
            peer,
            audio: 3,
            video: 16,
        })
        .await;
    assert_eq!(ann.next("need_slots").await["video"], 16);
    let layers = vec![madang_core::LayerWanted {
        rid: Some("f".into()),
        active: false,
        max_height: Some(360),
        max_fps: None,
    }];
    server
        .emit(Event::Layers {
            peer,
            track: TrackId(9),
            layers,
        })
        .await;
    let layer =
        json!({"rid": "f", "active": false, "max_bps": null, "max_height": 360, "max_fps": null});
    assert_eq!(ann.next("layers").await["layers"], json!([layer]));

    assert_eq!(bob.all().await, Vec::<serde_json::Value>::new());
}

#[tokio::test]
async fn who_speaks_and_how_connections_do_is_told_to_all() {
    let server = Server::start(config()).await;
    let mut ann = server.join("ann").await;
    let mut bob = server.join("bob").await;
    // The first room of a server has the first id.
    let (room, peer) = (madang_core::RoomId(1), ann.peer());
    server
        .emit(Event::Speakers {
            worker: 0,
            room,
            speakers: vec![(bob.peer(), 100)],
        })
        .await;
    let quality = madang_core::Quality {
        score: 2,
        reason: madang_core::QualityReason::UplinkLoss,
    };
    server
        .emit(Event::Quality {
            room,
            peer,
            quality,
        })
        .await;
    for client in [&mut ann, &mut bob] {
        let speakers = client.next("speakers").await;
        assert_eq!(speakers.get("s"), None);
        assert_eq!(speakers["list"][0]["level"], 100);
        assert_eq!(
            client.next("quality").await["list"][0]["why"],
            "uplink_loss"
        );
    }
}

#[tokio::test]
async fn messages_go_to_everybody_or_to_those_named() {
    let mut server = Server::start(config()).await;
    let mut ann = server.join_with("ann", json!({"p2p": true})).await;
    let mut bob = server.join("bob").await;
    let mut eve = server.join("eve").await;

    ann.ok(json!({"t": "msg", "topic": "chat", "body": {"text": "hi"}}))
        .await;
    for client in [&mut bob, &mut eve] {
        let message = client.next("msg").await;
        assert_eq!(
            (&message["from"], &message["topic"], &message["body"]),
            (&json!(ann.id()), &json!("chat"), &json!({"text": "hi"}))
        );
        assert!(message["s"].is_u64());
    }
    ann.ok(json!({"t": "msg", "to": [bob.id()], "topic": "chat", "body": 1}))
        .await;
    ann.ok(json!({"t": "e2ee", "to": [bob.id()], "body": "key"}))
        .await;
    ann.ok(json!({"t": "p2p", "to": bob.id(), "kind": "ready"}))
        .await;
    assert_eq!(bob.next("msg").await["body"], 1);
    assert_eq!(bob.next("e2ee").await["body"], "key");
    assert_eq!(bob.next("p2p").await["kind"], "ready");
    assert_eq!(eve.all().await, Vec::<serde_json::Value>::new());

    ann.ok(json!({"t": "msg", "topic": "pos", "body": [1, 2], "reliable": false}))
        .await;
    let data = |command| {
        if let Command::Data { peers, payload } = command {
            Some((peers, payload))
        } else {
            None
        }
    };
    let (peers, payload) = server.command(data).await;
    assert_eq!(peers, [bob.peer(), eve.peer()]);
    let relayed: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(
        relayed,
        json!({"t": "msg", "from": ann.id(), "topic": "pos", "body": [1, 2]})
    );

    let payload = json!({"t": "msg", "to": [ann.id()], "topic": "pos", "body": 3})
        .to_string()
        .into();
    server
        .emit(Event::Data {
            peer: bob.peer(),
            payload,
        })
        .await;
    let (peers, _) = server.command(data).await;
    assert_eq!(peers, [ann.peer()]);
}

#[tokio::test]
async fn names_change_where_the_token_allows() {
    let server = Server::start(config()).await;
    let mut ann = server.join_with("ann", json!({"update_own": true})).await;
    let mut bob = server.join("bob").await;
    ann.ok(json!({"t": "update", "name": "Ann", "meta": {"hand": true}}))
        .await;
    let info = json!({"id": ann.id(), "identity": "ann", "name": "Ann", "meta": {"hand": true}});
    assert_eq!(bob.next("peers").await["upd"], json!([info]));
    assert_eq!(
        bob.refused(json!({"t": "update", "name": "Bobby"})).await,
        "forbidden"
    );
}

#[tokio::test]
async fn later_offers_and_candidates_go_by_generation() {
    let mut server = Server::start(config()).await;
    let mut ann = server.join("ann").await;
    let answer = ann
        .request(json!({"t": "offer", "gen": 1, "sdp": OFFER}))
        .await;
    assert_eq!(
        (&answer["t"], &answer["gen"], &answer["sdp"]),
        (&json!("answer"), &json!(1), &json!("answer 1"))
    );
    assert_eq!(answer["slots"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        ann.refused(json!({"t": "offer", "gen": 1, "sdp": OFFER}))
            .await,
        "stale_generation"
    );
    assert_eq!(
        ann.refused(json!({"t": "offer", "gen": 2, "sdp": "nonsense"}))
            .await,
        "sdp_rejected"
    );

    let line = "candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host";
    assert_eq!(
        ann.refused(json!({"t": "candidate", "gen": 0, "candidate": line}))
            .await,
        "stale_generation"
    );
    assert_eq!(
        ann.refused(json!({"t": "candidate", "gen": 7, "candidate": line}))
            .await,
        "bad_request"
    );
    assert_eq!(
        ann.refused(json!({"t": "candidate", "gen": 1, "candidate": "x"}))
            .await,
        "sdp_rejected"
    );
    ann.ok(json!({"t": "candidate", "gen": 1, "candidate": line}))
        .await;
    server
        .command(|command| matches!(command, Command::Candidate { .. }).then_some(()))
        .await;
    for nothing in [json!(null), json!("")] {
        ann.ok(json!({"t": "candidate", "gen": 1, "candidate": nothing}))
            .await;
    }
}

#[tokio::test]
async fn development_needs_no_token_and_tells_guests_apart() {
    let mut config = config();
    config.auth = madang_signaling::Auth::Development;
    let server = Server::start(config).await;
    let frame = json!({"t": "join", "v": 1, "room": "r", "name": "Ann", "offer": OFFER, "want": {"audio": 3, "video": 9}});
    let (mut ann, mut bob) = (server.connect().await, server.connect().await);
    let first = ann.request(frame.clone()).await;
    let second = bob.request(frame).await;
    assert_ne!(first["you"]["identity"], second["you"]["identity"]);
    assert_eq!(second["peers"][0]["name"], "Ann");
    assert_eq!(
        (&first["grants"]["admin"], &first["grants"]["p2p"]),
        (&json!(false), &json!(true))
    );
}

#[tokio::test]
async fn a_reply_comes_only_where_an_id_asks_for_it() {
    let server = Server::start(config()).await;
    let mut ann = server.join("ann").await;
    ann.send(json!({"t": "view", "rev": 1, "video": []})).await;
    assert_eq!(ann.all().await, Vec::<serde_json::Value>::new());
    ann.send(json!({"t": "mute", "track": "t99", "muted": true}))
        .await;
    let frames = ann.all().await;
    assert_eq!(
        (frames.len(), &frames[0]["code"], frames[0].get("re")),
        (1, &json!("not_found"), None)
    );
    ann.ok(json!({"t": "ping", "n": 5})).await;
    assert_eq!(ann.next("pong").await, json!({"t": "pong", "n": 5}));
}

#[tokio::test]
async fn a_token_with_a_name_wins_over_the_joiners_wish() {
    let server = Server::start(config()).await;
    let mut frame = crate::harness::join(&token("ann", json!({})));
    frame["name"] = json!("Queen");
    let mut ann = server.connect().await;
    assert_eq!(
        ann.request(frame).await["you"]["name"],
        "Queen",
        "the token has no name"
    );
    let exp = jsonwebtoken::get_current_timestamp() + 60;
    let claims =
        json!({"sub": "bob", "name": "Bob", "exp": exp, "madang": {"join": true, "room": "r"}});
    let mut frame = crate::harness::join(&crate::harness::sign(&claims));
    frame["name"] = json!("King");
    let mut bob = server.connect().await;
    assert_eq!(bob.request(frame).await["you"]["name"], "Bob");
}
