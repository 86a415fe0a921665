//! What tests of adapters share: a server of HTTP that answers one request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};

use super::Seat;
use crate::media::dtls::Identity;
use crate::media::encoder::VideoCodec;
use crate::media::negotiation::Factory;

pub(super) fn factory() -> Factory {
    Factory {
        identity: Identity::generate().unwrap(),
        ip: Ipv4Addr::LOCALHOST.into(),
        gro: true,
        codec: VideoCodec::default(),
    }
}

pub(super) fn seat(number: usize, publisher: Option<u32>) -> Seat {
    Seat {
        number,
        room: 0,
        publisher,
        link_kbps: None,
    }
}

/// Answers one request: `answer` gets its first line and its body, and says the status and the body of the response.
pub(super) fn serve_one(listener: &TcpListener, answer: impl FnOnce(&str, &str) -> (u16, String)) {
    let (mut stream, _) = listener.accept().unwrap();
    let (line, body) = read_request(&stream);
    let (status, text) = answer(&line, &body);
    let length = text.len();
    let head = format!(
        "HTTP/1.1 {status} Some\r\nconnection: close\r\nlocation: /s/1\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all((head + &text).as_bytes()).unwrap();
}

/// The first line of a request, and its body.
fn read_request(stream: impl Read) -> (String, String) {
    let mut reader = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim();
        let field = line.to_lowercase();
        if let Some(text) = field.strip_prefix("content-length:") {
            length = text.trim().parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
        if first.is_empty() {
            line.clone_into(&mut first);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (first, String::from_utf8(body).unwrap())
}
