//! Identifiers as they stand in frames: `p12` is peer 12, `t34` is track 34.

use std::fmt;

use madang_core::{PeerId, TrackId};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $id:ident, $letter:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub $id);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $letter, self.0)
            }
        }

        impl From<$id> for $name {
            fn from(id: $id) -> Self {
                Self(id)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.strip_prefix($letter)
                    .and_then(|number| number.parse().ok())
                    .map(|number| Self($id(number)))
                    .ok_or_else(|| de::Error::invalid_value(de::Unexpected::Str(&text), &$what))
            }
        }
    };
}

name!(
    /// A participant's identifier on the wire.
    PeerName,
    PeerId,
    'p',
    "the id of a peer, such as \"p12\""
);
name!(
    /// A track's identifier on the wire.
    TrackName,
    TrackId,
    't',
    "the id of a track, such as \"t34\""
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_round_trip_and_foreign_ones_are_refused() {
        let name = TrackName(TrackId(34));
        assert_eq!(serde_json::to_string(&name).unwrap(), "\"t34\"");
        assert_eq!(serde_json::from_str::<TrackName>("\"t34\"").unwrap(), name);
        for text in [
            "\"p34\"",
            "\"t\"",
            "\"t-1\"",
            "\"t99999999999999999999\"",
            "34",
            "\"\"",
        ] {
            assert!(serde_json::from_str::<TrackName>(text).is_err(), "{text}");
        }
    }
}
