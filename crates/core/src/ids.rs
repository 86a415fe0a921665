//! Identifiers that the control plane hands out and the shard uses as they are.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A room. Unique within a node.
    RoomId
);
id!(
    /// A participant's media leg: one `str0m::Rtc`. Unique within a node, never reused.
    PeerId
);
id!(
    /// What a participant publishes: one microphone, camera or screen. Unique within a node, never reused.
    TrackId
);
