//! Publishing by WHIP and watching by WHEP, with media.

use madang_core::Source;

use crate::call::Call;
use crate::client::Client;
use crate::http::{Response, request};
use crate::process::Madang;

/// A client without a WebSocket, and the answer to its offer.
fn open(call: &mut Call, path: &str) -> (usize, Response) {
    let position = call.clients.len();
    let number = u32::try_from(position).unwrap();
    let mut client = Client::without_websocket(number, (call.browser, call.ip), call.start);
    let offer = if path.starts_with("/whip") {
        client.browser.whip_offer()
    } else {
        client.browser.whep_offer()
    };
    let head = format!("POST {path}\ncontent-type: application/sdp");
    let created = request(call.http, &head, &offer);
    assert_eq!(created.status, 201, "{created:?}");
    let now = call.now();
    client.browser.accept_answer(now, &created.body);
    call.clients.push(client);
    (position, created)
}

/// A publisher who sends camera and microphone.
fn publish(call: &mut Call, path: &str) -> (usize, Response) {
    let (publisher, created) = open(call, path);
    let now = call.now();
    for source in [Source::Camera, Source::Microphone] {
        call.clients[publisher].browser.publish(now, source);
    }
    call.talk(publisher);
    (publisher, created)
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
