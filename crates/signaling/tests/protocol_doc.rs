//! `docs/protocol.md` and the Rust types say the same.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::collections::BTreeSet;

use madang_signaling::protocol::{
    ClientFrame, ClientMessage, ErrorCode, QualityWhy, SUBPROTOCOL, ServerMessage, Source, Why,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const DOC: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../docs/protocol.md"
));

/// A row `| type | fields | meaning |`.
struct Row {
    t: String,
    required: BTreeSet<String>,
    optional: BTreeSet<String>,
    meaning: String,
}

impl Row {
    fn all(&self) -> BTreeSet<String> {
        self.required.union(&self.optional).cloned().collect()
    }

    /// The fields of the object in the meaning that starts with this field.
    fn object(&self, first: &str) -> BTreeSet<String> {
        fields_of_object(&self.meaning, first)
    }
}

fn section(heading: &str) -> &'static str {
    let (_, rest) = DOC
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("no section {heading}"));
    rest.split("\n## ").next().unwrap()
}

fn cells(section: &str) -> impl Iterator<Item = Vec<&str>> {
    let rows = section.lines().filter(|line| line.starts_with('|'));
    rows.skip(2)
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
}

fn rows(heading: &str) -> Vec<Row> {
    cells(section(heading))
        .map(|cells| {
            let fields = cells[1]
                .split(',')
                .map(str::trim)
                .filter(|field| !field.is_empty() && *field != "…");
            let (optional, required): (BTreeSet<_>, _) = fields
                .map(String::from)
                .partition(|field| field.ends_with('?'));
            Row {
                t: cells[0].into(),
                required,
                optional: optional
                    .iter()
                    .map(|field| field.trim_end_matches('?').into())
                    .collect(),
                meaning: cells[2].into(),
            }
        })
        .collect()
}

/// The names in `{first, …}`, without what their values look like.
fn fields_of_object(text: &str, first: &str) -> BTreeSet<String> {
    let start = text
        .match_indices('{')
        .map(|(i, _)| text.get(i + 1..).unwrap_or_default())
        .find(|rest| {
            rest.strip_prefix(first)
                .is_some_and(|after| after.starts_with([',', ':', '?', '}']))
        });
    let mut depth = 0;
    let body: String = start
        .unwrap_or_else(|| panic!("no object with {first} first in: {text}"))
        .chars()
        .take_while(|c| {
            depth += match c {
                '{' => 1,
                '}' => -1,
                _ => 0,
            };
            depth >= 0
        })
        .collect();
    names(body.split(','))
}

fn names<'a>(fields: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    fields
        .map(|field| {
            field
                .split(':')
                .next()
                .unwrap()
                .trim()
                .trim_end_matches('?')
                .into()
        })
        .collect()
}

fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).into()).collect()
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

/// Every field of every type that a client sends.
fn client_samples() -> Value {
    json!({
        "join": {"v": 1, "token": "x", "room": "r", "offer": "v=0", "want": {"audio": 3, "video": 9}, "name": "n",
                 "meta": {}, "client": {}, "e2ee": true, "moved": true},
        "resume": {"v": 1, "session": "s", "secret": "x", "last_s": 4, "offer": "v=0"},
        "offer": {"gen": 1, "sdp": "v=0", "restart": true},
        "candidate": {"gen": 0, "candidate": null},
        "publish": {"tracks": [{"cid": "c", "mid": "0", "kind": "audio", "source": "microphone", "muted": false,
                                "rids": ["q"], "w": 1, "h": 1, "codec": "vp8", "max_bps": [1]}]},
        "unpublish": {"tracks": ["t1"]},
        "mute": {"track": "t1", "muted": true},
        "view": {"rev": 1, "video": [{"track": "t1", "slot": "5", "w": 1, "h": 1, "prio": 1, "min_h": 1, "fps": 1}],
                 "auto": {"max": 1, "w": 1, "h": 1, "pin": "t1"},
                 "audio": {"mode": "loudest", "pin": ["t1"], "tracks": ["t1"]}},
        "update": {"name": "n", "meta": {}},
        "msg": {"to": ["p1"], "topic": "x", "body": null, "reliable": false},
        "e2ee": {"to": ["p1"], "body": null},
        "p2p": {"to": "p1", "kind": "ready", "body": {}},
        "admin": {"op": "grant", "target": "p1", "track": "t1", "grants": {"publish": ["camera"], "subscribe": true,
                  "data": true, "update_own": true, "hidden": true, "recorder": true, "admin": true, "p2p": true}},
        "ping": {"n": 1},
        "leave": {},
    })
}

/// Every field of every type that the server sends.
fn server_samples() -> Value {
    let you = json!({"id": "p1", "identity": "i", "name": "n", "meta": {}, "away": true});
    let track = json!({"id": "t1", "peer": "p1", "kind": "audio", "source": "microphone", "muted": false, "w": 1, "h": 1,
                       "rids": ["q"], "codec": "vp8", "profile": "64001f", "warnings": ["b_frames"]});
    let grants = json!({"publish": ["camera"], "subscribe": true, "data": true, "update_own": true, "hidden": true,
                        "recorder": true, "admin": true, "p2p": true});
    let room = json!({"name": "r", "locked": false, "max": 9});
    let slots = json!([{"mid": "1", "kind": "audio"}]);
    json!({
        "joined": {"re": 1, "session": "s", "secret": "x", "resume_ttl": 30, "you": you, "answer": "v=0",
                   "ice_servers": [{"urls": ["stun:x"], "username": "u", "credential": "c"}], "slots": slots, "peers": [you],
                   "tracks": [track], "grants": grants, "room": room, "ping_ms": 1, "codecs": ["VP8"]},
        "resumed": {"re": 1, "s": 4, "answer": "v=0", "full": {"you": you, "peers": [you], "tracks": [track],
                    "grants": grants, "room": room, "slots": slots}},
        "answer": {"re": 1, "gen": 1, "sdp": "v=0", "slots": slots},
        "candidate": {"gen": 0, "candidate": null},
        "peers": {"add": [you], "upd": [you], "del": ["p1"]},
        "tracks": {"add": [track], "upd": [track], "del": ["t1"]},
        "slots": {"rev": 1, "video": [{"mid": "1", "track": "t1", "paused": false, "why": "live",
                  "layer": {"rid": "q", "w": 1, "h": 1}}], "audio": [{"mid": "1", "track": "t1", "level": 1}]},
        "speakers": {"list": [{"peer": "p1", "level": 1}]},
        "layers": {"track": "t1", "layers": [{"rid": "q", "active": true, "max_bps": 1, "max_height": 1, "max_fps": 1}]},
        "quality": {"list": [{"peer": "p1", "score": 5, "why": "good"}]},
        "need_slots": {"audio": 3, "video": 16},
        "grants": {"grants": grants},
        "muted": {"track": "t1", "muted": true, "by": "p1"},
        "room": room,
        "token": {"token": "x"},
        "msg": {"from": "p1", "topic": "x", "body": null},
        "e2ee": {"from": "p1", "body": null},
        "p2p": {"from": "p1", "kind": "ready", "body": null},
        "bye": {"code": "draining", "msg": "m", "action": "rejoin", "url": "u", "after_ms": 1},
        "pong": {"n": 1},
        "ok": {"re": 1, "tracks": [{"cid": "c", "id": "t1"}]},
        "err": {"re": 1, "code": "timeout", "msg": "m", "retry_ms": 1, "url": "wss://b.example.org/v1/rtc"},
    })
}

/// The message of this type: what Rust makes of the fields, and writes again.
fn client_round_trip(t: &str, fields: &Value) -> Result<Value, String> {
    let mut frame = fields.clone();
    frame["t"] = json!(t);
    frame["id"] = json!(1);
    let frame = ClientFrame::parse(&frame.to_string()).map_err(|(_, fault)| fault.text)?;
    Ok(serde_json::to_value(frame.unwrap().message).unwrap()[t].take())
}

fn server_round_trip(t: &str, fields: &Value) -> Result<Value, String> {
    let mut frame = fields.clone();
    frame["t"] = json!(t);
    let message: ServerMessage =
        serde_json::from_value(frame).map_err(|error| error.to_string())?;
    let mut written: Value = serde_json::from_str(&message.to_text()).unwrap();
    assert_eq!(written.as_object_mut().unwrap().remove("t"), Some(json!(t)));
    Ok(written)
}

fn without(fields: &Value, names: &BTreeSet<String>) -> Value {
    let fields = fields.as_object().unwrap();
    fields
        .iter()
        .filter(|(name, _)| !names.contains(*name))
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect()
}

/// The table names exactly the fields that Rust reads and writes, and marks the optional ones.
fn check(
    heading: &str,
    samples: &Value,
    round_trip: impl Fn(&str, &Value) -> Result<Value, String>,
) {
    let rows = rows(heading);
    assert_eq!(
        rows.iter()
            .map(|row| row.t.clone())
            .collect::<BTreeSet<_>>(),
        keys(samples),
        "{heading}"
    );
    for row in rows {
        let (t, sample) = (row.t.as_str(), &samples[&row.t]);
        assert_eq!(
            &round_trip(t, sample).unwrap(),
            sample,
            "{t}: the sample is not all that Rust knows"
        );
        let extra = if t == "ok" {
            set(&["tracks"])
        } else {
            BTreeSet::new()
        };
        assert_eq!(
            row.all().union(&extra).cloned().collect::<BTreeSet<_>>(),
            keys(sample),
            "{t}: all fields"
        );
        let optional: BTreeSet<_> = row.optional.union(&extra).cloned().collect();
        let least = without(sample, &optional);
        assert_eq!(
            round_trip(t, &least).as_ref(),
            Ok(&least),
            "{t}: the required fields suffice"
        );
        for field in &row.required {
            let lacking = round_trip(t, &without(sample, &set(&[field])));
            assert!(
                lacking.map_or(true, |written| written.get(field).is_some()),
                "{t}: '{field}' is always there"
            );
        }
    }
}

#[test]
fn the_types_of_the_client_are_those_of_the_table() {
    check("Client to server", &client_samples(), client_round_trip);
    let types: Vec<_> = rows("Client to server")
        .into_iter()
        .map(|row| row.t)
        .collect();
    assert_eq!(types, ClientMessage::TYPES);
}

#[test]
fn the_types_of_the_server_are_those_of_the_table() {
    check("Server to client", &server_samples(), server_round_trip);
}

#[test]
fn objects_inside_messages_have_the_fields_that_the_tables_say() {
    let find = |heading: &str, t: &str| rows(heading).into_iter().find(|row| row.t == t).unwrap();
    let (client, server) = (client_samples(), server_samples());
    for (t, first, sample) in [
        ("join", "audio", &client["join"]["want"]),
        ("publish", "cid", &client["publish"]["tracks"][0]),
        ("view", "track", &client["view"]["video"][0]),
        ("view", "max", &client["view"]["auto"]),
    ] {
        assert_eq!(
            find("Client to server", t).object(first),
            keys(sample),
            "{t}"
        );
    }
    for (t, first, sample) in [
        ("joined", "mid", &server["joined"]["slots"][0]),
        ("joined", "name", &server["joined"]["room"]),
        ("resumed", "you", &server["resumed"]["full"]),
        ("peers", "id", &server["peers"]["add"][0]),
        ("tracks", "id", &server["tracks"]["add"][0]),
        ("slots", "mid", &server["slots"]["video"][0]),
        ("slots", "rid", &server["slots"]["video"][0]["layer"]),
        ("speakers", "peer", &server["speakers"]["list"][0]),
        ("layers", "rid", &server["layers"]["layers"][0]),
        ("quality", "peer", &server["quality"]["list"][0]),
    ] {
        assert_eq!(
            find("Server to client", t).object(first),
            keys(sample),
            "{t}"
        );
    }
    let (_, audio_slots) = find("Server to client", "slots")
        .meaning
        .split_once("`audio:")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    assert_eq!(
        fields_of_object(&audio_slots, "mid"),
        keys(&server["slots"]["audio"][0])
    );
    let grants = section("Server to client")
        .split("`grants` is `")
        .nth(1)
        .unwrap();
    assert_eq!(
        fields_of_object(grants, "publish"),
        keys(&server["joined"]["grants"])
    );
}

/// The words that this enum takes, of all that are quoted in `text`, are these.
fn check_words<T: Serialize + DeserializeOwned>(text: &str, all: &[T]) {
    let ours: BTreeSet<_> = all
        .iter()
        .map(|word| serde_json::to_value(word).unwrap())
        .collect::<Vec<_>>()
        .iter()
        .map(|word| word.as_str().unwrap().to_owned())
        .collect();
    let theirs: BTreeSet<_> = quoted(text).into_iter().map(String::from).collect();
    assert_eq!(theirs, ours);
    for word in theirs {
        assert!(serde_json::from_value::<T>(json!(word)).is_ok(), "{word}");
    }
}

#[test]
fn every_reason_is_in_the_document() {
    let why = section("Server to client")
        .lines()
        .find_map(|line| line.strip_prefix("`why` is one of "));
    let all = [
        Why::Live,
        Why::Muted,
        Why::NoBandwidth,
        Why::NoKeyframe,
        Why::NotVisible,
        Why::PublisherGone,
        Why::NoCommonCodec,
    ];
    check_words(why.unwrap(), &all);
    let quality = rows("Server to client")
        .into_iter()
        .find(|row| row.t == "quality")
        .unwrap()
        .meaning;
    let all = [
        QualityWhy::Good,
        QualityWhy::UplinkLoss,
        QualityWhy::DownlinkBandwidth,
        QualityWhy::Disconnected,
    ];
    check_words(quality.split("; why ").nth(1).unwrap(), &all);
    let publish = rows("Client to server")
        .into_iter()
        .find(|row| row.t == "publish")
        .unwrap()
        .meaning;
    let sources = publish
        .split("`source` one of ")
        .nth(1)
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    check_words(sources, &Source::ALL);
}

#[test]
fn error_codes_have_their_place_in_the_table() {
    let codes: Vec<_> = cells(section("Errors"))
        .map(|cells| cells[0].to_owned())
        .collect();
    assert_eq!(codes, ErrorCode::ALL.map(ErrorCode::as_str));
    for (position, code) in ErrorCode::ALL.into_iter().enumerate() {
        assert_eq!(usize::from(code.close_code()), 4000 + position);
        assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
    }
    assert!(DOC.contains(&format!("# The browser protocol `{SUBPROTOCOL}`")));
}
