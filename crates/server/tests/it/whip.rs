//! Publishing by WHIP and watching by WHEP, with media.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use madang_core::Source;
use madang_simulation::{BrowserConfig, Codec, Mode};

use crate::call::Call;
use crate::client::Client;
use crate::http::{Response, request};
use crate::process::Madang;

/// A client without a WebSocket, and the answer to its offer.
pub(crate) fn open(call: &mut Call, path: &str) -> (usize, Response) {
    open_with(call, path, |offer| offer)
}

/// The same for a client whose offers look otherwise. It follows a redirect, and stays at that server.
fn open_with(call: &mut Call, path: &str, change: impl Fn(String) -> String) -> (usize, Response) {
    let position = call.clients.len();
    let number = u32::try_from(position).unwrap();
    let mut client = Client::without_websocket(number, (call.browser, call.ip), call.start);
    let offer = if path.starts_with("/whip") {
        client.browser.whip_offer()
    } else {
        client.browser.whep_offer()
    };
    let head = format!("POST {path}\ncontent-type: application/sdp");
    let offer = change(offer);
    let mut created = request(call.http, &head, &offer);
    if created.status == 307 {
        let (http, path) = address(created.header("location").unwrap());
        call.http = http;
        let head = format!("POST {path}\ncontent-type: application/sdp");
        created = request(http, &head, &offer);
    }
    assert_eq!(created.status, 201, "{created:?}");
    let now = call.now();
    client.browser.accept_answer(now, &created.body);
    call.clients.push(client);
    (position, created)
}

/// Where a URL leads.
pub(crate) fn address(url: &str) -> (SocketAddr, String) {
    let (host, path) = url
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    (host.parse().unwrap(), format!("/{path}"))
}

/// A publisher who sends camera and microphone.
pub(crate) fn publish(call: &mut Call, path: &str) -> (usize, Response) {
    let (publisher, created) = open(call, path);
    let now = call.now();
    for source in [Source::Camera, Source::Microphone] {
        call.clients[publisher].browser.publish(now, source);
    }
    call.talk(publisher);
    (publisher, created)
}

/// Sends a fragment with this address of the client.
fn patch(call: &Call, path: &str, credentials: &str, client: usize) -> Response {
    let address = call.clients[client].browser.address();
    let (ip, port) = (address.ip(), address.port());
    let fragment = format!(
        "{credentials}m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=candidate:1 1 udp 2113937151 {ip} {port} typ host\r\n"
    );
    let head = format!("PATCH {path}\ncontent-type: application/trickle-ice-sdpfrag");
    request(call.http, &head, &fragment)
}

/// Restarts ICE of a client that has got this answer before.
fn restart(call: &mut Call, client: usize, path: &str, mut answer: String) {
    let offer = call.clients[client].browser.restart_offer();
    let line = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        format!("{line}\r\n")
    };
    let credentials = line(&offer, "a=ice-ufrag:") + &line(&offer, "a=ice-pwd:");
    let restarted = patch(call, path, &credentials, client);
    assert_eq!(restarted.status, 200, "{restarted:?}");
    for name in ["a=ice-ufrag:", "a=ice-pwd:"] {
        answer = answer.replace(&line(&answer, name), &line(&restarted.body, name));
    }
    let now = call.now();
    call.clients[client].browser.accept_answer(now, &answer);
}

/// The path of a session, as the server has told it.
fn session(call: &Call, created: &Response) -> String {
    let base = format!("http://{}", call.http);
    let location = created.header("location").unwrap();
    location.strip_prefix(&base).unwrap().to_owned()
}

#[test]
fn whip_01_what_is_published_is_watched() {
    let server = Madang::start(&[]);
    let mut call = Call::new(server.http);
    let (publisher, created) = publish(&mut call, "/whip/yard");
    assert_eq!(created.header("content-type"), Some("application/sdp"));
    let length = created.body.len().to_string();
    assert_eq!(created.header("content-length"), Some(length.as_str()));
    assert_eq!(created.header("transfer-encoding"), None);

    let (viewer, watched) = open(&mut call, "/whep/yard");
    call.watch(viewer, publisher, Source::Camera, 30);
    call.listen(viewer, publisher, 25);
    let caller = call.join("yard");
    call.watch(caller, publisher, Source::Camera, 30);
    assert_eq!(call.complaints(), [""; 0]);

    for created in [&watched, &created] {
        let path = session(&call, created);
        assert_eq!(
            request(call.http, &format!("DELETE {path}"), "").status,
            200
        );
        assert_eq!(
            request(call.http, &format!("DELETE {path}"), "").status,
            404
        );
    }
}

#[test]
fn whip_08_09_the_answer_is_complete_and_small_and_candidates_may_follow() {
    let server = Madang::start(&[]);
    let mut call = Call::new(server.http);
    let (publisher, created) = publish(&mut call, "/whip/yard");
    let answer = &created.body;
    assert!(answer.len() < 8_192, "{} bytes", answer.len());
    assert!(
        answer.contains(" udp ") && answer.contains(&format!(" {} typ host", server.udp)),
        "{answer}"
    );
    assert_eq!(answer.matches("a=end-of-candidates\r\n").count(), 1);
    assert_eq!(answer.matches("a=recvonly\r\n").count(), 2);
    let path = session(&call, &created);
    assert_eq!(patch(&call, &path, "", publisher).status, 204);
}

#[test]
fn whep_13_a_viewer_who_came_first_gets_the_picture() {
    let server = Madang::start(&[]);
    let mut call = Call::new(server.http);
    let (viewer, created) = open(&mut call, "/whep/yard");
    assert_eq!(created.body.matches("a=sendonly\r\n").count(), 2);
    assert_eq!(created.body.matches("a=msid:madang ").count(), 2);
    call.until("the viewer to connect", |call| {
        call.clients[viewer].browser.connected_at.is_some()
    });
    let (publisher, _) = publish(&mut call, "/whip/yard");
    call.watch(viewer, publisher, Source::Camera, 30);
    call.listen(viewer, publisher, 25);
    assert_eq!(call.complaints(), [""; 0]);
}

#[test]
fn whip_28_viewers_go_on_with_a_publisher_who_comes_back() {
    let server = Madang::start(&[]);
    let mut call = Call::new(server.http);
    let (before, _) = publish(&mut call, "/whip/yard?name=studio");
    let (viewer, _) = open(&mut call, "/whep/yard?participant=studio");
    call.watch(viewer, before, Source::Camera, 30);
    let (after, _) = publish(&mut call, "/whip/yard?name=studio");
    call.watch(viewer, after, Source::Camera, 30);
    call.listen(viewer, after, 25);
    assert_eq!(call.complaints(), [""; 0]);
}

/// Posts a choice of layers of the picture that a viewer gets.
fn choose(call: &Call, watched: &Response, choice: &str) {
    let mids = watched.body.lines();
    let mut mids = mids.filter_map(|line| line.strip_prefix("a=mid:"));
    let mid = mids.nth(1).unwrap();
    let path = format!("{}/layers", session(call, watched));
    let head = format!("POST {path}\ncontent-type: application/json");
    let body = format!("{{\"mediaId\": \"{mid}\"{choice}}}");
    let chosen = request(call.http, &head, &body);
    assert_eq!(chosen.status, 200, "{chosen:?}");
}

#[test]
fn whep_35_a_chosen_layer_is_what_comes() {
    let server = Madang::start(&[]);
    let mut call = Call::new(server.http);
    let (publisher, _) = publish(&mut call, "/whip/yard");
    let (viewer, created) = open(&mut call, "/whep/yard");
    let layer_of_last = |call: &Call| {
        let shown = call.shown(viewer, publisher, Source::Camera);
        shown.last().map(|frame| frame.tag.layer)
    };
    call.until("the largest layer", |call| layer_of_last(call) == Some(2));
    choose(&call, &created, ", \"rid\": \"q\"");
    call.until("the chosen layer", |call| layer_of_last(call) == Some(0));
    choose(&call, &created, "");
    call.until("the largest layer again", |call| {
        layer_of_last(call) == Some(2)
    });
    assert_eq!(call.complaints(), [""; 0]);
}

#[test]
fn whep_35_layers_within_a_stream_are_chosen() {
    let server = Madang::start(&[]);
    let mut call = Call::new(server.http);
    call.browser = BrowserConfig {
        video_codec: Codec::Vp9,
        svc: Some(Mode::new(3, 3)),
        ..BrowserConfig::default()
    };
    let (publisher, _) = publish(&mut call, "/whip/yard");
    let (viewer, created) = open(&mut call, "/whep/yard");
    // The spatial and the temporal layers of the newest frames.
    let newest = |call: &Call| {
        let shown = call.shown(viewer, publisher, Source::Camera);
        let frames: Vec<_> = shown.map(|frame| frame.tag).collect();
        let frames = frames.iter().rev().take(12);
        let layers: BTreeSet<_> = frames.map(|tag| (tag.spatial, tag.temporal)).collect();
        layers.into_iter().collect::<Vec<_>>()
    };
    let all = |spatial: u8| [0, 1, 2].map(|temporal| (spatial, temporal)).to_vec();
    for (choice, layers) in [
        ("", all(2)),
        (", \"spatialLayerId\": 1", all(1)),
        (
            ", \"spatialLayerId\": 1, \"temporalLayerId\": 0",
            vec![(1, 0)],
        ),
        (", \"temporalLayerId\": 1", vec![(2, 0), (2, 1)]),
        ("", all(2)),
    ] {
        choose(&call, &created, choice);
        call.until(choice, |call| newest(call) == layers);
    }
    assert_eq!(call.complaints(), [""; 0]);
}

#[test]
fn whep_33_a_viewer_who_answers_gets_media_too() {
    let server = Madang::start(&[]);
    let mut call = Call::new(server.http);
    let (publisher, _) = publish(&mut call, "/whip/yard");
    let position = call.clients.len();
    let number = u32::try_from(position).unwrap();
    let mut client = Client::without_websocket(number, (call.browser, call.ip), call.start);
    let offered = request(call.http, "POST /whep/yard", "");
    assert_eq!(offered.status, 406, "{offered:?}");
    let answer = client.browser.answer(call.now(), &offered.body);
    let path = session(&call, &offered);
    let head = format!("PATCH {path}\ncontent-type: application/sdp");
    assert_eq!(request(call.http, &head, &answer).status, 204);
    call.clients.push(client);
    call.watch(position, publisher, Source::Camera, 30);
    call.listen(position, publisher, 25);
    // For a restart of ICE, what the server has offered is its answer.
    let server = offered.body.replace("setup:actpass", "setup:passive");
    restart(&mut call, position, &path, server);
    call.watch(position, publisher, Source::Camera, 60);
    call.listen(position, publisher, 50);
    assert_eq!(call.complaints(), [""; 0]);
}

#[test]
fn whip_45_audio_without_mid_and_ssrc_is_heard() {
    let server = Madang::start(&[]);
    let mut call = Call::new(server.http);
    let unmarked = |offer: String| {
        let (audio, video) = offer.split_once("m=video").unwrap();
        let says = |line: &&str| !line.contains("sdes:mid") && !line.starts_with("a=ssrc");
        let audio: String = audio
            .lines()
            .filter(says)
            .map(|line| format!("{line}\r\n"))
            .collect();
        format!("{audio}m=video{video}")
    };
    let (publisher, created) = open_with(&mut call, "/whip/yard", unmarked);
    call.until("the publisher to connect", |call| {
        call.clients[publisher].browser.connected_at.is_some()
    });
    // Anybody can write headers, and leaves no room for the client's own SSRCs if they are believed.
    for ssrc in 1..=100u32 {
        let header = [&[0x80, 111, 0, 1, 0, 0, 0, 1], &ssrc.to_be_bytes()[..]].concat();
        let forged = [header, vec![7; 40]].concat();
        call.clients[publisher].send_raw(candidate(&created.body), &forged);
    }
    let now = call.now();
    for source in [Source::Camera, Source::Microphone] {
        call.clients[publisher].browser.publish(now, source);
    }
    call.talk(publisher);
    let (viewer, _) = open(&mut call, "/whep/yard");
    call.listen(viewer, publisher, 25);
    call.watch(viewer, publisher, Source::Camera, 30);
}

/// An address in an answer that the clients of these tests reach.
fn candidate(answer: &str) -> SocketAddr {
    let mut candidates = answer.lines().filter_map(|line| {
        let mut words = line.strip_prefix("a=candidate:")?.split(' ').skip(4);
        let ip: IpAddr = words.next()?.parse().ok()?;
        Some(SocketAddr::new(ip, words.next()?.parse().ok()?))
    });
    candidates
        .find(|address| address.ip().is_loopback())
        .unwrap()
}

#[test]
fn whip_29_viewers_wait_for_a_publisher_who_has_gone() {
    let server = Madang::start(&[]);
    let mut call = Call::new(server.http);
    let (before, created) = publish(&mut call, "/whip/yard");
    let (viewer, _) = open(&mut call, "/whep/yard");
    call.watch(viewer, before, Source::Camera, 30);
    let path = session(&call, &created);
    assert_eq!(
        request(call.http, &format!("DELETE {path}"), "").status,
        200
    );
    let (after, _) = publish(&mut call, "/whip/yard");
    call.watch(viewer, after, Source::Camera, 30);
    call.listen(viewer, after, 25);
    assert_eq!(call.complaints(), [""; 0]);
}

#[test]
fn whip_28_a_publisher_who_comes_back_takes_its_old_place() {
    let server = Madang::start(&["--media-workers=2"]);
    let mut call = Call::new(server.http);
    let silent = |call: &mut Call, who: &str| {
        let (publisher, created) = open(call, &format!("/whip/yard?participant={who}"));
        let now = call.now();
        call.clients[publisher].browser.publish(now, Source::Camera);
        (publisher, created)
    };
    let (ann, created) = silent(&mut call, "ann");
    let (viewer, _) = open(&mut call, "/whep/yard");
    call.watch(viewer, ann, Source::Camera, 30);
    let (bob, _) = silent(&mut call, "bob");
    let path = session(&call, &created);
    request(call.http, &format!("DELETE {path}"), "");
    call.watch(viewer, bob, Source::Camera, 30);
    // Without leaving, it comes once more.
    for _ in 0..2 {
        let (ann, _) = silent(&mut call, "ann");
        call.watch(viewer, ann, Source::Camera, 30);
    }
    assert_eq!(call.complaints(), [""; 0]);
}

#[test]
fn whip_38_39_a_publisher_with_the_habits_of_ffmpeg_8_is_seen() {
    let server = Madang::start(&[]);
    let mut call = Call::new(server.http);
    let habits = |offer: String| {
        let lines = offer
            .lines()
            .filter(|line| !line.starts_with("a=candidate"));
        let lines = lines.map(|line| match line {
            line if line.starts_with("a=group:BUNDLE") => format!("{line} absent\r\n"),
            "a=setup:actpass" => "a=setup:passive\r\n".to_owned(),
            line => format!(
                "{}\r\n",
                line.replace("profile-level-id=42e01f", "profile-level-id=422001f")
            ),
        });
        lines.collect()
    };
    let (publisher, _) = open_with(&mut call, "/whip/yard", habits);
    call.until("the publisher to connect", |call| {
        call.clients[publisher].browser.connected_at.is_some()
    });
    let now = call.now();
    for source in [Source::Camera, Source::Microphone] {
        call.clients[publisher].browser.publish(now, source);
    }
    call.talk(publisher);
    let (viewer, _) = open(&mut call, "/whep/yard");
    call.watch(viewer, publisher, Source::Camera, 30);
    call.listen(viewer, publisher, 25);
    assert_eq!(call.complaints(), [""; 0]);
}

#[test]
fn whip_07_a_publisher_with_the_habits_of_gstreamer_is_seen() {
    let server = Madang::start(&[]);
    let mut call = Call::new(server.http);
    let habits = |offer: String| {
        let (audio, video) = offer.split_once("m=video 9 ").unwrap();
        let audio = audio.replace("opus/48000/2", "OPUS/48000/2");
        let video = video.replacen("a=mid:", "a=bundle-only\r\na=mid:", 1);
        format!("{audio}m=video 0 {video}")
    };
    let (publisher, _) = open_with(&mut call, "/whip/yard", habits);
    let now = call.now();
    for source in [Source::Camera, Source::Microphone] {
        call.clients[publisher].browser.publish(now, source);
    }
    call.talk(publisher);
    let (viewer, _) = open(&mut call, "/whep/yard");
    call.watch(viewer, publisher, Source::Camera, 30);
    call.listen(viewer, publisher, 25);
    assert_eq!(call.complaints(), [""; 0]);
}

#[test]
fn whip_25_media_goes_on_over_a_restart() {
    let server = Madang::start(&[]);
    let mut call = Call::new(server.http);
    let (publisher, created) = publish(&mut call, "/whip/yard");
    let (viewer, _) = open(&mut call, "/whep/yard");
    call.watch(viewer, publisher, Source::Camera, 10);
    let path = session(&call, &created);
    restart(&mut call, publisher, &path, created.body);
    call.watch(viewer, publisher, Source::Camera, 60);
    call.listen(viewer, publisher, 50);
    assert_eq!(call.complaints(), [""; 0]);
}
