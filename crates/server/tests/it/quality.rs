//! Why somebody sees what they see, as an operator reads it.

use madang_core::Source;
use serde_json::{Value, json};

use crate::call::Call;
use crate::process::Madang;

#[test]
fn an_operator_reads_why_somebody_sees_what_they_see() {
    let server = Madang::start(&[]);
    let mut call = Call::new(server.http);
    let (ann, bob) = (call.join("yard"), call.join("yard"));
    call.publish(bob, Source::Camera);
    call.publish(bob, Source::Microphone);
    call.talk(bob);
    call.listen(ann, bob, 5);
    call.watch(ann, bob, Source::Camera, 30);

    let quality = |call: &Call, client: usize| -> Value {
        let id = call.clients[client].joined["you"]["id"].as_str().unwrap();
        let (status, body) = server.get(&format!("/v1/rooms/yard/participants/{id}/quality"));
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    };
    let mut report = Value::Null;
    call.until("the wanted layer", |call| {
        report = quality(call, ann);
        let slot = &report["slots"][0];
        // Rates are measured after half a second.
        slot["why"] == "live" && slot["sent"] == slot["wanted"] && slot["sent"]["bps"] != 0
    });
    let slot = &report["slots"][0];
    let rid = &slot["wanted"]["rid"];
    assert_eq!(slot["why"], "live", "{report}");
    for layer in ["wanted", "given", "sent"] {
        assert_eq!(
            (&slot[layer]["rid"], slot[layer]["bps"].as_u64() > Some(0)),
            (rid, true),
            "{report}"
        );
    }
    // A tile of 360 lines, of a camera of 720.
    assert_eq!(slot["limit"], "chosen", "{report}");
    assert_eq!(slot["sent"]["temporal"], 2, "{report}");
    let fps = slot["sent"]["fps"].as_u64().unwrap();
    assert!((25..=35).contains(&fps), "{report}");
    let whys: Vec<&Value> = report["audio"]
        .as_array()
        .unwrap()
        .iter()
        .map(|slot| &slot["why"])
        .collect();
    assert_eq!(whys, ["loud", "empty", "empty"], "{report}");
    let downlink = &report["downlink"];
    for number in ["estimate_bps", "wanted_bps", "given_bps", "rtt_ms"] {
        assert!(downlink[number].is_u64(), "{number}: {report}");
    }
    let last = report["changes"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["why"], &last["track"], &last["layer"]["rid"]),
        (&json!("live"), &slot["track"], rid),
        "{report}"
    );

    let of_bob = quality(&call, bob);
    let published = &of_bob["published"][0];
    assert_eq!(published["track"], slot["track"]);
    let layers = published["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 3, "{of_bob}");
    assert!(layers.iter().any(|layer| layer["active"] == true));
}
