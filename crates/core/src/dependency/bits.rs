//! Bits, most significant first, as the AV1 RTP specification counts them (appendix A.8).

#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bits have been read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// f(n), with up to 32 bits.
    pub(super) fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            let bit = (byte >> (7 - self.at % 8)) & 1;
            value = (value << 1) | u32::from(bit);
            self.at += 1;
        }
        Some(value)
    }

    /// The same for fields of up to 8 bits.
    pub(super) fn byte(&mut self, count: u32) -> Option<u8> {
        self.take(count).and_then(|value| u8::try_from(value).ok())
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        Some(self.take(1)? == 1)
    }

    /// ns(n): a number below `n`, which is not 0.
    pub(super) fn below(&mut self, n: u32) -> Option<u32> {
        let width = n.checked_ilog2()? + 1;
        let short = (1_u32 << width) - n;
        let value = self.take(width - 1)?;
        if value < short {
            return Some(value);
        }
        Some((value << 1) - short + self.take(1)?)
    }
}

/// Appends bits to bytes.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// Bits that are free in the last byte.
    free: u32,
}

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, free: 0 }
    }

    pub(super) fn put(&mut self, value: u32, count: u32) {
        for at in (0..count).rev() {
            if self.free == 0 {
                self.out.push(0);
                self.free = 8;
            }
            self.free -= 1;
            if let Some(last) = self.out.last_mut()
                && (value >> at) & 1 == 1
            {
                *last |= 1 << self.free;
            }
        }
    }

    /// Copies the bits `from..to` of `bytes`.
    pub(super) fn copy(&mut self, bytes: &[u8], from: usize, to: usize) {
        let mut reader = Reader { bytes, at: from };
        while reader.at < to {
            let count = u32::try_from(to - reader.at).unwrap_or(u32::MAX).min(32);
            let Some(value) = reader.take(count) else {
                return;
            };
            self.put(value, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_below_five_take_two_or_three_bits() {
        // AV1 specification section 4.10.7: n = 5 has 00, 01, 10, 110, 111.
        let mut reader = Reader::new(&[0b0001_1011, 0b0111_0000]);
        let values: Vec<_> = (0..5).map(|_| reader.below(5)).collect();
        assert_eq!(values, [Some(0), Some(1), Some(2), Some(3), Some(4)]);
        assert_eq!(Reader::new(&[]).below(1), Some(0));
        assert_eq!(Reader::new(&[255]).below(0), None);
    }

    proptest::proptest! {
        #[test]
        fn what_is_copied_is_the_same(bytes: Vec<u8>, offset in 0u32..9) {
            let mut out = Vec::new();
            let mut writer = Writer::new(&mut out);
            writer.put(0, offset);
            writer.copy(&bytes, 0, bytes.len() * 8);
            let mut reader = Reader::new(&out);
            reader.take(offset);
            for byte in &bytes {
                proptest::prop_assert_eq!(reader.byte(8), Some(*byte));
            }
        }
    }
}
