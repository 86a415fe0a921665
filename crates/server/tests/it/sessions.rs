//! Sessions over real sockets: tokens, cuts and the server's end.

use madang_core::Source;

use crate::call::Call;
use crate::process::{Madang, madang};

#[test]
fn clients_are_told_that_the_server_drains_and_it_ends_well() {
    const CLOSE_CODE_DRAINING: u16 = 4_017;
    let mut server = Madang::start(&[]);
    let mut call = Call::new(server.http);
    let clients = [call.join("yard"), call.join("garden")];
    server.signal("TERM");
    for client in clients {
        let bye = call.frame(client, "a bye", |frame| frame["t"] == "bye");
        assert_eq!(
            (&bye["code"], &bye["action"]),
            (&"draining".into(), &"rejoin".into()),
            "{bye}"
        );
        call.until("the end of the WebSocket", |call| {
            call.clients[client].closed.is_some()
        });
        assert_eq!(call.clients[client].closed, Some(CLOSE_CODE_DRAINING));
    }
    drop(call);
    let status = server.wait();
    assert!(status.success(), "{status}");
}

#[test]
fn media_goes_on_while_the_websocket_is_cut() {
    let server = Madang::start(&[]);
    let mut call = Call::new(server.http);
    let (ann, bob) = (call.join("yard"), call.join("yard"));
    call.publish(ann, Source::Camera);
    call.publish(bob, Source::Camera);
    call.watch(bob, ann, Source::Camera, 30);
    call.watch(ann, bob, Source::Camera, 30);

    call.clients[bob].cut();
    call.watch(bob, ann, Source::Camera, 30);
    call.watch(ann, bob, Source::Camera, 30);
    call.publish(ann, Source::Microphone);

    let id = call.clients[bob].resume(server.http);
    let resumed = call.reply(bob, id);
    assert_eq!(resumed["t"], "resumed", "{resumed}");
    let missed = call.frame(bob, "the missed event", |frame| {
        frame["t"] == "tracks" && frame["add"][0]["source"] == "microphone"
    });
    assert!(
        missed["s"].as_u64() <= resumed["s"].as_u64(),
        "{missed}, {resumed}"
    );
    call.talk(ann);
    call.listen(bob, ann, 50);
    call.watch(bob, ann, Source::Camera, 30);
    assert_eq!(call.complaints(), [""; 0]);
}

const KEY: &str = "main=0123456789abcdef0123456789abcdef";

/// A token for ada and the yard.
fn token_of(key: &str) -> String {
    let printed = madang(&["token", "--room=yard", "--identity=ada"])
        .env("MADANG_AUTH_KEYS", key)
        .output()
        .unwrap();
    assert!(printed.status.success(), "{printed:?}");
    String::from_utf8(printed.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

#[test]
fn a_log_of_everything_holds_no_secret() {
    let mut server = Madang::start(&[&format!("--auth-keys={KEY}"), "--log-level=trace"]);
    let log = server.rest_of_log();
    let mut call = Call::new(server.http);
    let ada = call.add();
    let (now, token) = (call.now(), token_of(KEY));
    let id = call.clients[ada].join(now, "yard", Some(&token));
    let joined = call.reply(ada, id);
    call.until("media connected", |call| {
        call.clients[ada].browser.connected_at.is_some()
    });
    server.signal("KILL");
    let log = log.join().unwrap();
    assert!(log.contains("str0m"), "all that happens is logged");
    let answer = joined["answer"].as_str().unwrap();
    let password = |sdp: &str| {
        let from = sdp.split_once("a=ice-pwd:").unwrap().1;
        from.split_whitespace().next().unwrap().to_owned()
    };
    let offer = call.clients[ada].browser.first_offer();
    let secret = joined["secret"].as_str().unwrap();
    for (what, secret) in [
        ("the token", token.as_str()),
        ("the key", KEY.split_once('=').unwrap().1),
        ("the session's secret", secret),
        ("the server's ICE password", &password(answer)),
        ("the client's ICE password", &password(&offer)),
    ] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{what}");
    }
}

#[test]
fn a_printed_token_opens_its_room_and_another_key_does_not() {
    let wrong = "main=fedcba9876543210fedcba9876543210";
    let server = Madang::start(&[&format!("--auth-keys={KEY}")]);
    let mut call = Call::new(server.http);

    for token in [Some(token_of(wrong)), None] {
        let client = call.add();
        let now = call.now();
        let id = call.clients[client].join(now, "yard", token.as_deref());
        let refused = call.reply(client, id);
        assert_eq!(
            (&refused["t"], &refused["code"]),
            (&"err".into(), &"unauthorized".into()),
            "{refused}"
        );
    }
    let ada = call.add();
    let now = call.now();
    let id = call.clients[ada].join(now, "yard", Some(&token_of(KEY)));
    let joined = call.reply(ada, id);
    assert_eq!(joined["you"]["identity"], "ada", "{joined}");
    assert_eq!(joined["room"]["name"], "yard");
}
