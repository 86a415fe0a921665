//! A shard on one address, and offers as a browser makes them.

use std::time::{Instant, SystemTime};

use madang_core::limits::Limits;
use madang_core::sdp::{Offer, SdpError};
use madang_core::{
    Address, Answer, Command, Event, Identity, Join, MediaKind, PeerId, RoomId, Shard, ShardConfig,
    Source, TrackId, TrackSpec, Wallclock,
};
use str0m::media::{Direction, Mid};
use str0m::{Candidate, Rtc};

pub(crate) const SERVER: &str = "10.0.0.1:8080";

pub(crate) fn shard(limits: Limits) -> Shard {
    shard_of(limits, 0, 1)
}

/// The shard of one of several workers.
pub(crate) fn shard_of(limits: Limits, worker: u8, workers: usize) -> Shard {
    let address = SERVER.parse().unwrap();
    Shard::new(ShardConfig {
        worker,
        workers,
        node: 0,
        epoch: 7,
        identity: Identity::generate().unwrap(),
        addresses: vec![Address {
            advertised: address,
            local: address,
        }],
        ice_lite: false,
        wallclock: Wallclock {
            at: Instant::now(),
            time: SystemTime::now(),
        },
        initial_bitrate_bps: 1_000_000,
        limits,
        seed: 1,
    })
}

/// The text of an offer with that many recvonly video slots and sendonly cameras.
pub(crate) fn offer(now: Instant, slots: usize, cameras: usize) -> String {
    let mut rtc = Rtc::builder().build(now);
    rtc.add_local_candidate(Candidate::host("10.0.0.2:5000".parse().unwrap(), "udp").unwrap());
    let mut changes = rtc.sdp_api();
    changes.add_channel("madang".to_owned());
    for _ in 0..cameras {
        changes.add_media(MediaKind::Video, Direction::SendOnly, None, None, None);
    }
    for _ in 0..slots {
        changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
    }
    let (offer, _pending) = changes.apply().unwrap();
    offer.to_sdp_string()
}

pub(crate) fn join(
    shard: &mut Shard,
    now: Instant,
    peer: u64,
    sdp: &str,
) -> Result<Answer, SdpError> {
    join_room(shard, now, peer, RoomId(1), sdp)
}

pub(crate) fn join_room(
    shard: &mut Shard,
    now: Instant,
    peer: u64,
    room: RoomId,
    sdp: &str,
) -> Result<Answer, SdpError> {
    let engine = shard.engines().accept(now, Offer::parse(sdp)?)?;
    let join = Join {
        peer: PeerId(peer),
        room,
        engine,
        subscribe: true,
    };
    shard.handle_command(now, Command::Join(Box::new(join)));
    shard.flush(now);
    events(shard)
        .into_iter()
        .find_map(|event| match event {
            Event::Answered {
                peer: answered,
                generation: 0,
                result,
            } if answered == PeerId(peer) => Some(result),
            _ => None,
        })
        .unwrap()
}

pub(crate) fn publish(shard: &mut Shard, now: Instant, peer: u64, track: u64, mid: Mid) {
    let track = TrackSpec {
        id: TrackId(track),
        mid,
        kind: MediaKind::Video,
        source: Source::Camera,
        muted: false,
        width: Some(1280),
        height: Some(720),
        max_bps: Vec::new(),
        encrypted: false,
    };
    shard.handle_command(
        now,
        Command::Publish {
            peer: PeerId(peer),
            track,
        },
    );
    shard.flush(now);
}

pub(crate) fn events(shard: &mut Shard) -> Vec<Event> {
    std::iter::from_fn(|| shard.poll_event()).collect()
}
