//! What every synthetic packet says about itself, so that whoever receives it knows where it comes from and how
//! long it took.

/// Where a tag begins. Long enough that no other byte of a payload is taken for one.
const MAGIC: [u8; 4] = *b"mLd1";
/// A server may change the length of the codec's descriptor: the tag is looked for behind it.
const SEARCHED_BYTES: usize = 32;

/// A stream is one encoding that a publisher sends: a microphone, or one layer of a camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StreamId(pub(crate) u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) stream: StreamId,
    /// Of the clock that the kernel stamps received datagrams with, in nanoseconds since 1970.
    pub(crate) sent_ns: u64,
}

impl Tag {
    pub(crate) const BYTES: usize = 16;

    pub(crate) fn write(self, out: &mut Vec<u8>) {
        out.extend(MAGIC);
        out.extend(self.stream.0.to_be_bytes());
        out.extend(self.sent_ns.to_be_bytes());
    }

    /// Finds the tag of a payload, behind a descriptor of any length.
    pub(crate) fn find(payload: &[u8]) -> Option<Self> {
        let at = payload
            .get(..payload.len().min(SEARCHED_BYTES))?
            .windows(MAGIC.len())
            .position(|window| window == MAGIC)?;
        let rest = payload.get(at + MAGIC.len()..)?;
        let (stream, rest) = rest.split_first_chunk()?;
        let (sent, _) = rest.split_first_chunk()?;
        Some(Self {
            stream: StreamId(u32::from_be_bytes(*stream)),
            sent_ns: u64::from_be_bytes(*sent),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: Tag = Tag {
        stream: StreamId(7),
        sent_ns: 1_700_000_000_123_456_789,
    };

    #[test]
    fn a_tag_is_found_behind_descriptors_of_any_length() {
        for descriptor in 0..SEARCHED_BYTES - MAGIC.len() {
            let mut payload = vec![0x90; descriptor];
            TAG.write(&mut payload);
            payload.resize(200, 0);
            assert_eq!(Tag::find(&payload), Some(TAG), "behind {descriptor} bytes");
        }
    }

    #[test]
    fn what_is_no_tag_is_none() {
        let mut payload = Vec::new();
        TAG.write(&mut payload);
        payload.pop();
        assert_eq!(Tag::find(&payload), None, "cut off");
        assert_eq!(Tag::find(&[]), None);
        assert_eq!(Tag::find(&[0; 100]), None);
    }
}
