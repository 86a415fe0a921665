//! RTP header extensions that the engine hands through as they stand.

use std::fmt::Debug;
use std::marker::PhantomData;

use str0m::rtp::{Extension, ExtensionSerializer, ExtensionValues};

/// The bytes of an extension of video packets.
pub(crate) trait Value: Debug + Send + Sync + 'static {
    const URI: &'static str;

    fn new(bytes: Vec<u8>) -> Self;
    fn bytes(&self) -> &[u8];
}

pub(crate) fn extension<V: Value>() -> Extension {
    Extension::with_serializer(V::URI, Carrier::<V>(PhantomData))
}

#[derive(Debug)]
struct Carrier<V>(PhantomData<V>);

impl<V: Value> ExtensionSerializer for Carrier<V> {
    fn write_to(&self, buffer: &mut [u8], values: &ExtensionValues) -> usize {
        let bytes = values.user_values.get::<V>().map_or(&[][..], V::bytes);
        for (to, from) in buffer.iter_mut().zip(bytes) {
            *to = *from;
        }
        bytes.len()
    }

    fn parse_value(&self, bytes: &[u8], values: &mut ExtensionValues) -> bool {
        values.user_values.set(V::new(bytes.to_vec()));
        true
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        false
    }

    fn requires_two_byte_form(&self, values: &ExtensionValues) -> bool {
        let bytes = values.user_values.get::<V>();
        bytes.is_some_and(|value| value.bytes().len() > 16)
    }
}
