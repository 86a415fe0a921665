//! Offers and packets of clients that publish by WHIP, with what is peculiar about them.

use std::time::Instant;

use madang_core::Datagram;
use madang_core::limits::Limits;
use ring::hmac;

use crate::support::{SERVER, join, shard};

const TRANSPORT: &str = "c=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdef01234567\r\n\
    a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n";

/// FFmpeg 8.0: DTLS passive, no candidates, a bundle of two mids whatever there is, seven digits of profile.
fn ffmpeg(with_audio: bool) -> String {
    let audio = format!(
        "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n{TRANSPORT}a=setup:passive\r\na=mid:0\r\na=sendonly\r\n\
         a=msid:FFmpeg audio\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=ssrc:11 cname:FFmpeg\r\na=ssrc:11 msid:FFmpeg audio\r\n"
    );
    let video = format!(
        "m=video 9 UDP/TLS/RTP/SAVPF 106\r\n{TRANSPORT}a=setup:passive\r\na=mid:1\r\na=sendonly\r\na=msid:FFmpeg video\r\n\
         a=rtcp-mux\r\na=rtcp-rsize\r\na=rtpmap:106 H264/90000\r\n\
         a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=422001f\r\na=ssrc:12 cname:FFmpeg\r\na=ssrc:12 msid:FFmpeg video\r\n"
    );
    let sections = if with_audio { audio + &video } else { video };
    format!(
        "v=0\r\no=FFmpeg 1 2 IN IP4 127.0.0.1\r\ns=FFmpegPublishSession\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
         a=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n{sections}"
    )
}

/// OBS 32 with simulcast: the first rid is the highest; no extension but those for it.
fn obs() -> String {
    "v=0\r\no=rtc 1 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\na=group:LS 0 1\r\n\
         a=msid-semantic:WMS *\r\na=setup:actpass\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdef01234567\r\na=ice-options:ice2,trickle\r\n\
         a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n\
         m=audio 53270 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 192.0.2.1\r\na=mid:0\r\na=sendonly\r\na=ssrc:21 cname:obs\r\na=ssrc:21 msid:stream audio\r\na=msid:stream audio\r\na=rtcp-mux\r\n\
         a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1\r\na=candidate:1 1 UDP 2122317823 192.0.2.1 53270 typ host\r\n\
         m=video 53270 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 192.0.2.1\r\na=mid:1\r\na=sendonly\r\na=msid:stream video\r\na=rtcp-mux\r\n\
         a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=extmap:2 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n\
         a=rid:0 send\r\na=rid:1 send\r\na=rid:2 send\r\na=simulcast:send 0;1;2\r\n\
         a=rtpmap:96 H264/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtcp-fb:96 goog-remb\r\n\
         a=fmtp:96 profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1\r\n"
        .to_owned()
}

/// GStreamer: all m-lines but the first have port 0 and live in the bundle alone, encodings in capitals, mids that say what
/// they are.
fn gstreamer() -> String {
    let section = |kind: &str, port: u32, mid: &str, rest: &str| {
        format!(
            "m={kind} {port} UDP/TLS/RTP/SAVPF 96\r\n{TRANSPORT}a=setup:actpass\r\na=mid:{mid}\r\na=sendonly\r\na=rtcp-mux\r\n\
             a=rtcp-rsize\r\na=msid:user1@host webrtctransceiver0\r\na=ssrc:31 cname:user1@host\r\n{rest}"
        )
    };
    let audio = section(
        "audio",
        9,
        "audio0",
        "a=rtpmap:96 OPUS/48000/2\r\na=fmtp:96 sprop-maxcapturerate=48000;sprop-stereo=0\r\n",
    );
    let video = section(
        "video",
        0,
        "video1",
        "a=bundle-only\r\na=rtpmap:96 H264/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtcp-fb:96 ccm fir\r\n\
         a=fmtp:96 packetization-mode=1;profile-level-id=42c01f;level-asymmetry-allowed=1\r\n",
    );
    let video = video.replace(" 96\r\n", " 97\r\n").replace(":96 ", ":97 ");
    format!(
        "v=0\r\no=- 1 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-options:trickle\r\na=group:BUNDLE audio0 video1\r\n{audio}{video}"
    )
}

fn answer(sdp: &str) -> String {
    let now = Instant::now();
    let mut shard = shard(Limits::default());
    join(&mut shard, now, 1, sdp).unwrap().sdp.to_string()
}

#[test]
fn whip_38_39_the_offer_of_ffmpeg_8_is_answered() {
    for with_audio in [true, false] {
        let answer = answer(&ffmpeg(with_audio));
        assert!(answer.contains("a=rtpmap:106 H264/90000"), "{answer}");
        assert!(!answer.contains("m=video 0 "), "{answer}");
        assert!(answer.contains("a=recvonly"), "{answer}");
    }
}

#[test]
fn whip_07_an_m_line_that_lives_in_the_bundle_alone_is_answered_as_the_others() {
    let answer = answer(&gstreamer());
    assert_eq!(answer.matches("a=recvonly\r\n").count(), 2, "{answer}");
    for line in [
        "a=group:BUNDLE audio0 video1",
        "a=mid:video1",
        "a=rtpmap:97 H264/90000",
    ] {
        assert!(answer.contains(line), "{line} in {answer}");
    }
    assert!(answer.contains("a=rtpmap:96 opus/48000/2"), "{answer}");
    assert!(!answer.contains("m=video 0 "), "{answer}");
}

#[test]
fn whip_06_all_dtls_roles_work() {
    for (offered, answered) in [
        ("passive", "active"),
        ("active", "passive"),
        ("actpass", "passive"),
    ] {
        let sdp = ffmpeg(true).replace("a=setup:passive", &format!("a=setup:{offered}"));
        let answer = answer(&sdp);
        assert!(
            answer.contains(&format!("a=setup:{answered}\r\n")),
            "{offered}: {answer}"
        );
    }
}

#[test]
fn whip_13_every_layer_of_a_simulcast_offer_is_answered() {
    let answer = answer(&obs());
    for rid in 0..3 {
        assert!(answer.contains(&format!("a=rid:{rid} recv")), "{answer}");
    }
    assert!(answer.contains("a=simulcast:recv 0;1;2"), "{answer}");
}

#[test]
fn whip_42_stereo_is_answered_with_stereo() {
    let stereo = answer(&obs());
    assert!(stereo.contains("stereo=1"), "{stereo}");
    let mono = answer(&obs().replace(";stereo=1;sprop-stereo=1", ""));
    assert!(!mono.contains("stereo=1"), "{mono}");
    // Who watches is told the same.
    let viewer = obs()
        .replace("sendonly", "recvonly")
        .replace("a=simulcast:send 0;1;2\r\n", "");
    let viewer = viewer.replace("a=rid:0 send\r\na=rid:1 send\r\na=rid:2 send\r\n", "");
    assert!(answer(&viewer).contains("stereo=1"));
    assert!(!answer(&viewer.replace(";stereo=1;sprop-stereo=1", "")).contains("stereo=1"));
}

/// A Binding request as FFmpeg 8.0 sends it, signed with the server's password.
fn check(username: &str, password: &str) -> Vec<u8> {
    let mut request = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    request.extend_from_slice(&[5; 12]);
    let length = u16::try_from(username.len()).unwrap();
    request.extend_from_slice(&[0, 6]);
    request.extend_from_slice(&length.to_be_bytes());
    request.extend_from_slice(username.as_bytes());
    request.resize(request.len().next_multiple_of(4), 0);
    request.extend_from_slice(&[0, 0x25, 0, 0]);
    let length = u16::try_from(request.len() - 20 + 24).unwrap();
    request.splice(2..4, length.to_be_bytes());
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    let tag = hmac::sign(&key, &request);
    request.extend_from_slice(&[0, 8, 0, 20]);
    request.extend_from_slice(tag.as_ref());
    request
}

#[test]
fn whip_40_a_check_without_priority_is_answered() {
    let now = Instant::now();
    let mut shard = shard(Limits::default());
    let answer = join(&mut shard, now, 1, &ffmpeg(true)).unwrap().sdp;
    let answer = answer.to_string();
    let line = |prefix: &str| {
        let line = answer.lines().find(|line| line.starts_with(prefix));
        line.unwrap().split_once(':').unwrap().1.to_owned()
    };
    let (ufrag, password) = (line("a=ice-ufrag:"), line("a=ice-pwd:"));
    let username = format!("{ufrag}:abcd");
    let source = "10.0.0.9:4000".parse().unwrap();
    let mut answered = |password: &str| {
        shard.outbox().clear();
        let contents = check(&username, password);
        let datagram = Datagram {
            source,
            destination: SERVER.parse().unwrap(),
            contents: &contents,
        };
        shard.handle_datagram(now, datagram);
        shard.take_learned() == Some(source)
    };
    assert!(!answered("0123456789abcdef01234567"), "a forged check");
    assert!(answered(&password));
}
