//! How the extensions about layers get through the media engine, which does not know the one, and tells the other.

use str0m::rtp::vla::{self, VideoLayersAllocation};
use str0m::rtp::{Extension, ExtensionSerializer, ExtensionValues};

const URI: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

pub(crate) fn dependency_descriptor() -> Extension {
    Extension::with_serializer(URI, Carrier)
}

pub(crate) fn video_layers_allocation() -> Extension {
    Extension::with_serializer(vla::URI, vla::Serializer)
}

/// A dependency descriptor as it stands in the packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Raw(pub(crate) Box<[u8]>);

/// What a publisher's packet said of layers.
#[derive(Debug, Default)]
pub(crate) struct Extensions {
    pub(crate) allocation: Option<std::sync::Arc<VideoLayersAllocation>>,
}

impl Extensions {
    /// Takes them out: they are not for receivers as they stand.
    pub(crate) fn take(values: &mut ExtensionValues) -> Self {
        let taken = Self {
            allocation: values.user_values.get_arc(),
        };
        values.user_values = str0m::rtp::UserExtensionValues::default();
        taken
    }
}

#[derive(Debug)]
struct Carrier;

/// Longer values need the two-byte form (RFC 8285 section 4.3).
const ONE_BYTE_VALUE_MAX: usize = 16;

impl ExtensionSerializer for Carrier {
    fn write_to(&self, buffer: &mut [u8], values: &ExtensionValues) -> usize {
        let Some(Raw(bytes)) = values.user_values.get::<Raw>() else {
            return 0;
        };
        let Some(place) = buffer.get_mut(..bytes.len()) else {
            return 0;
        };
        place.copy_from_slice(bytes);
        bytes.len()
    }

    fn parse_value(&self, bytes: &[u8], values: &mut ExtensionValues) -> bool {
        values.user_values.set(Raw(bytes.into()));
        true
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        false
    }

    fn requires_two_byte_form(&self, values: &ExtensionValues) -> bool {
        values
            .user_values
            .get::<Raw>()
            .is_some_and(|Raw(bytes)| bytes.len() > ONE_BYTE_VALUE_MAX)
    }
}
