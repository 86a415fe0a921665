//! The way from an offer to DTLS with clients of either role, and with one that answers checks as FFmpeg does.

use std::time::{Duration, Instant};

use madang_core::limits::Limits;
use madang_core::sdp::Offer;
use madang_core::{Command, Datagram, Event, PeerId, Shard};
use ring::hmac;
use str0m::change::SdpAnswer;
use str0m::media::{Direction, MediaKind};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Input, Output, Rtc};

use crate::support::{SERVER, events, join, shard};

pub(crate) const CLIENT: &str = "10.0.0.2:5000";

#[test]
fn whip_06_all_dtls_roles_connect() {
    for role in ["passive", "active", "actpass"] {
        assert!(connects(role, <[u8]>::to_vec), "{role}");
    }
}

#[test]
fn whip_40_a_client_connects_that_answers_checks_without_mapped_address() {
    for role in ["passive", "actpass"] {
        let answers = |password: &str| {
            let password = password.to_owned();
            move |datagram: &[u8]| match datagram {
                [1, 1, ..] => bare_response(datagram, &password),
                _ => datagram.to_vec(),
            }
        };
        assert!(connects_as(role, answers), "{role}");
        assert!(!connects_as(role, |_| answers("guess")), "{role}: forged");
    }
}

#[test]
fn whip_06_who_is_dtls_client_need_answer_no_checks_before() {
    let answers_none = |datagram: &[u8]| match datagram {
        [1, 1, ..] => Vec::new(),
        _ => datagram.to_vec(),
    };
    assert!(connects("active", answers_none));
    assert!(!connects("passive", answers_none), "checks are made there");
}

#[test]
fn whip_29_a_client_that_is_gone_is_noticed_and_ended_within_half_a_minute() {
    // As DTLS client it gets no checks, and is known by its own.
    for role in ["actpass", "active"] {
        let mut pair = Pair::new(role, |_| <[u8]>::to_vec);
        assert!(pair.connect(), "{role}");
        let silence = pair.silence(40);
        let noticed = silence.noticed.is_some_and(|second| second <= 30);
        let ended = silence.ended.is_some_and(|second| second <= 30);
        assert!(noticed && ended, "{role}: {silence:?}");
    }
}

#[test]
fn whip_29_a_client_that_is_gone_in_a_restart_is_ended() {
    let mut pair = Pair::new("actpass", |_| <[u8]>::to_vec);
    assert!(pair.connect());
    pair.silence(10);
    pair.restart(|line| !line.starts_with("a=candidate"));
    let silence = pair.silence(40);
    assert!(
        silence.ended.is_some_and(|second| second <= 30),
        "{silence:?}"
    );
}

#[test]
fn whip_25_addresses_of_before_a_restart_are_forgotten() {
    for says_where in [true, false] {
        let mut pair = Pair::new("actpass", |_| <[u8]>::to_vec);
        assert!(pair.connect());
        pair.restart(|line| says_where || !line.starts_with("a=candidate"));
        assert_eq!(pair.is_looked_for(), says_where);
    }
}

#[test]
fn whip_27_28_who_is_to_go_is_told_by_dtls_at_once() {
    let mut pair = Pair::new("actpass", |_| <[u8]>::to_vec);
    assert!(pair.connect() && pair.rtc.is_alive());
    let leave = Command::Leave { peer: PeerId(1) };
    pair.shard.handle_command(pair.now, leave);
    exchange(&mut pair.rtc, &mut pair.shard, pair.now, pair.send);
    pair.rtc.handle_input(Input::Timeout(pair.now)).unwrap();
    while !matches!(pair.rtc.poll_output(), Ok(Output::Timeout(_)) | Err(_)) {}
    assert!(!pair.rtc.is_alive());
}

#[test]
fn a_client_that_is_back_by_a_restart_stays() {
    let mut pair = Pair::new("actpass", |_| <[u8]>::to_vec);
    assert!(pair.connect());
    let before = pair.silence(29);
    assert!(before.noticed.is_some() && before.ended.is_none());
    pair.restart(|_| true);
    assert!(pair.lives_for(40));
}

fn connects(role: &str, send: impl Fn(&[u8]) -> Vec<u8> + Copy) -> bool {
    connects_as(role, |_| send)
}

/// Whether both sides say that they are connected, within seconds. `habits` makes of the client's ICE password what
/// changes its datagrams.
fn connects_as<S: Fn(&[u8]) -> Vec<u8>>(role: &str, habits: impl Fn(&str) -> S) -> bool {
    Pair::new(role, habits).connect()
}

/// A client and a shard.
struct Pair<S> {
    rtc: Rtc,
    shard: Shard,
    now: Instant,
    /// Changes what the client sends.
    send: S,
}

impl<S: Fn(&[u8]) -> Vec<u8>> Pair<S> {
    fn new(role: &str, habits: impl Fn(&str) -> S) -> Self {
        let now = Instant::now();
        let mut shard = shard(Limits::default());
        let mut rtc = Rtc::builder().build(now);
        rtc.add_local_candidate(Candidate::host(CLIENT.parse().unwrap(), "udp").unwrap());
        let mut changes = rtc.sdp_api();
        changes.add_media(MediaKind::Video, Direction::SendOnly, None, None, None);
        let (offer, pending) = changes.apply().unwrap();
        let offer = offer.to_sdp_string().replace("actpass", role);
        let send = habits(&rtc.direct_api().local_ice_credentials().pass);
        let answer = join(&mut shard, now, 1, &offer).unwrap().sdp.to_string();
        let answer = SdpAnswer::from_sdp_string(&answer).unwrap();
        rtc.sdp_api().accept_answer(pending, answer).unwrap();
        Self {
            rtc,
            shard,
            now,
            send,
        }
    }

    /// The client says nothing for that many seconds.
    fn silence(&mut self, seconds: u64) -> Silence {
        let mut silence = Silence::default();
        for second in 1..=seconds {
            self.now += Duration::from_secs(1);
            self.shard.handle_timeout(self.now);
            self.shard.flush(self.now);
            for event in events(&mut self.shard) {
                match event {
                    Event::Disconnected { .. } => silence.noticed = Some(second),
                    Event::Closed { .. } => silence.ended = Some(second),
                    _ => {}
                }
            }
        }
        silence
    }

    /// The client restarts ICE, and offers these lines.
    fn restart(&mut self, says: impl Fn(&str) -> bool) {
        let mut changes = self.rtc.sdp_api();
        changes.ice_restart(true);
        let (offer, pending) = changes.apply().unwrap();
        let offer = offer.to_sdp_string();
        let lines = offer.lines().filter(|line| says(line));
        let offer: String = lines.map(|line| format!("{line}\r\n")).collect();
        let command = Command::Offer {
            peer: PeerId(1),
            generation: 1,
            offer: Box::new(Offer::parse(&offer).unwrap()),
        };
        self.shard.handle_command(self.now, command);
        let answered = |event| match event {
            Event::Answered { result, .. } => result.ok(),
            _ => None,
        };
        let mut answers = events(&mut self.shard).into_iter().filter_map(answered);
        let answer = answers.next().unwrap().sdp.to_string();
        let answer = SdpAnswer::from_sdp_string(&answer).unwrap();
        self.rtc.sdp_api().accept_answer(pending, answer).unwrap();
    }

    /// Whether the server makes connectivity checks in the next seconds, to a client that says nothing.
    fn is_looked_for(&mut self) -> bool {
        let mut checks = 0;
        for _ in 0..300 {
            self.now += Duration::from_millis(10);
            self.shard.handle_timeout(self.now);
            self.shard.flush(self.now);
            let sent = self.shard.outbox().datagrams();
            checks += sent.filter(|(_, sent)| sent.starts_with(&[0, 1])).count();
            self.shard.outbox().clear();
        }
        checks > 0
    }

    /// Whether the server keeps the client for that many seconds.
    fn lives_for(&mut self, seconds: u64) -> bool {
        let end = self.now + Duration::from_secs(seconds);
        let mut lives = true;
        while self.now < end {
            self.now += Duration::from_millis(10);
            exchange(&mut self.rtc, &mut self.shard, self.now, &self.send);
            lives &= !events(&mut self.shard)
                .iter()
                .any(|event| matches!(event, Event::Closed { .. }));
        }
        lives
    }

    fn connect(&mut self) -> bool {
        let end = self.now + Duration::from_secs(4);
        let (mut client, mut server) = (false, false);
        while self.now < end {
            self.now += Duration::from_millis(1);
            client |= exchange(&mut self.rtc, &mut self.shard, self.now, &self.send);
            server |= events(&mut self.shard)
                .iter()
                .any(|event| matches!(event, Event::Connected { .. }));
        }
        client && server
    }
}

/// When a client that was silent was given up, in seconds.
#[derive(Debug, Default)]
struct Silence {
    noticed: Option<u64>,
    ended: Option<u64>,
}

/// Lets both sides say what they have to; true where the client connects.
pub(crate) fn exchange(
    rtc: &mut Rtc,
    shard: &mut Shard,
    now: Instant,
    send: impl Fn(&[u8]) -> Vec<u8>,
) -> bool {
    let (client, server) = (CLIENT.parse().unwrap(), SERVER.parse().unwrap());
    let mut connected = false;
    rtc.handle_input(Input::Timeout(now)).unwrap();
    loop {
        match rtc.poll_output().unwrap() {
            Output::Transmit(transmit) => {
                let datagram = Datagram {
                    source: client,
                    destination: server,
                    contents: &send(&transmit.contents),
                };
                shard.handle_datagram(now, datagram);
            }
            Output::Event(event) => connected |= matches!(event, str0m::Event::Connected),
            Output::Timeout(_) => break,
        }
    }
    shard.handle_timeout(now);
    shard.flush(now);
    let down = shard.outbox().datagrams();
    let down: Vec<Vec<u8>> = down.map(|(_, datagram)| datagram.to_vec()).collect();
    shard.outbox().clear();
    for datagram in &down {
        let received = Receive::new(Protocol::Udp, server, client, datagram).unwrap();
        rtc.handle_input(Input::Receive(now, received)).unwrap();
    }
    connected
}

/// A Binding response as FFmpeg gives it: nothing but a signature.
fn bare_response(response: &[u8], password: &str) -> Vec<u8> {
    let mut bare = vec![1, 1, 0, 24];
    bare.extend(response.iter().take(20).skip(4));
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    let tag = hmac::sign(&key, &bare);
    bare.extend_from_slice(&[0, 8, 0, 20]);
    bare.extend_from_slice(tag.as_ref());
    bare
}
