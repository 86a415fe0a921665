//! The sans-IO core of Madang.
//!
//! A [`Shard`] is the state of one worker: many peers (one [`str0m::Rtc`] each), the tracks they
//! publish and the slots through which they receive. It owns no socket, no thread and no clock:
//! time and datagrams come in as arguments, datagrams and [`Event`]s are polled out.
//! The order in which a shard is driven stands on [`Shard`].

#![cfg_attr(
    test,
    expect(
        clippy::disallowed_methods,
        reason = "a test takes one real instant to start its virtual time from"
    )
)]

mod allocate;
mod audio;
mod ceiling;
mod codec;
mod command;
mod crypto;
pub mod demux;
mod dependency;
mod egress;
mod engine;
mod event;
mod evidence;
mod explain;
mod formats;
mod forward;
mod gaps;
mod h264;
mod ids;
mod incoming;
mod keyframes;
mod ladder;
mod lateness;
mod layer;
mod layering;
pub mod limits;
mod nacks;
mod operating;
mod outbox;
mod peer;
mod plenty;
mod publish;
mod rate;
mod relay;
mod rewrite;
pub mod sdp;
mod shard;
mod store;
mod stun;
mod switching;
mod timers;
mod trembling;
mod unread;
mod view;
mod vp9;

pub use allocate::Downlink;
pub use command::{Command, Join, TrackSpec};
pub use crypto::{Identity, IdentityError};
pub use egress::{NackSender, UplinkEstimator, UplinkProbe, Wallclock};
pub use engine::{Engine, Engines};
pub use event::{
    Answer, AudioSlot, CloseReason, Event, Format, LayerAvailable, LayerName, LayerWanted, Quality,
    QualityReason, SlotName, Slots, Trouble, VideoSlot, Why,
};
pub use explain::{
    Change, ExplainedAudio, ExplainedDownlink, ExplainedLayer, ExplainedSlot, ExplainedTrack,
    Explanation, Heard, Limit, PublishedLayer,
};
pub use ids::{PeerId, RoomId, TrackId};
pub use outbox::{Outbox, Transmit};
pub use relay::{Control, Media, Relayed};
pub use shard::{Address, Datagram, Shard, ShardConfig, ShardStats};
pub use str0m::format::Codec;
pub use str0m::media::Rid;
pub use view::{AudioView, AutoView, LayerChoice, MediaKind, Source, TileView, View};
