//! Numbers of one stream, of which some are left out: what is left out leaves no gap, what got lost leaves one.

/// Maps a source's numbers to those that leave. The newest `WORDS` × 64 are remembered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gaps<const WORDS: usize> {
    newest: u64,
    /// What is added to the newest number. Wraps.
    offset: u64,
    /// By number: it has been left out.
    left_out: [u64; WORDS],
    any: bool,
}

impl<const WORDS: usize> Gaps<WORDS> {
    const BITS: u64 = WORDS as u64 * 64;
    /// Of a source that has sent nothing.
    pub(crate) const NONE: Self = Self {
        newest: u64::MAX,
        offset: 0,
        left_out: [0; WORDS],
        any: false,
    };

    /// The source's `first` leaves as `out`.
    pub(crate) fn new(first: u64, out: u64) -> Self {
        Self {
            newest: first.wrapping_sub(1),
            offset: out.wrapping_sub(first),
            ..Self::NONE
        }
    }

    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    /// What the number leaves as; `None` where it is left out, or too old to tell.
    pub(crate) fn pass(&mut self, number: u64) -> Option<u64> {
        if !self.any {
            self.newest = later(self.newest, number);
            return Some(number.wrapping_add(self.offset));
        }
        self.advance(number);
        self.get(number)
    }

    /// The same without taking it for the newest.
    pub(crate) fn get(&self, number: u64) -> Option<u64> {
        let behind = self.newest.wrapping_sub(number);
        // Far ahead wraps to far behind.
        if !self.any || behind > u64::MAX / 2 {
            return Some(number.wrapping_add(self.offset));
        }
        if behind >= Self::BITS || self.is_left_out(number) {
            return None;
        }
        let since: u64 = (0..behind)
            .map(|back| u64::from(self.is_left_out(self.newest.wrapping_sub(back))))
            .sum();
        Some(number.wrapping_add(self.offset).wrapping_add(since))
    }

    /// Leaves the number out. `false` where others have left after it: it is missed there.
    pub(crate) fn leave_out(&mut self, number: u64) -> bool {
        let ahead = number.wrapping_sub(self.newest);
        if ahead == 0 || ahead > u64::MAX / 2 {
            return self.is_left_out(number);
        }
        if !self.any {
            self.left_out = [0; WORDS];
            self.any = true;
        }
        self.advance(number);
        self.set(number, true);
        self.offset = self.offset.wrapping_sub(1);
        true
    }

    /// Which number has left as this one.
    pub(crate) fn source_of(&self, out: u64) -> Option<u64> {
        let mut number = self.newest;
        let mut steps = self.newest.wrapping_add(self.offset).wrapping_sub(out);
        if !self.any {
            return Some(number.wrapping_sub(steps));
        }
        for _ in 0..Self::BITS {
            if !self.is_left_out(number) {
                if steps == 0 {
                    return Some(number);
                }
                steps -= 1;
            }
            number = number.wrapping_sub(1);
        }
        None
    }

    fn advance(&mut self, number: u64) {
        let ahead = number.wrapping_sub(self.newest);
        if ahead > u64::MAX / 2 {
            return;
        }
        for passed in 0..ahead.min(Self::BITS) {
            self.set(number.wrapping_sub(passed), false);
        }
        self.newest = number;
    }

    fn is_left_out(&self, number: u64) -> bool {
        let (word, bit) = Self::place(number);
        self.left_out.get(word).is_some_and(|word| word & bit != 0)
            && self.newest.wrapping_sub(number) < Self::BITS
    }

    fn set(&mut self, number: u64, left_out: bool) {
        let (word, bit) = Self::place(number);
        if let Some(word) = self.left_out.get_mut(word) {
            *word = if left_out { *word | bit } else { *word & !bit };
        }
    }

    fn place(number: u64) -> (usize, u64) {
        ((number % Self::BITS / 64) as usize, 1 << (number % 64))
    }
}

fn later(a: u64, b: u64) -> u64 {
    if b.wrapping_sub(a) > u64::MAX / 2 {
        a
    } else {
        b
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_leaves_no_gap_and_what_is_lost_does() {
        let mut gaps: Gaps<8> = Gaps::new(1_000, 7);
        assert_eq!(gaps.pass(1_000), Some(7));
        assert!(gaps.leave_out(1_001));
        assert_eq!(gaps.pass(1_002), Some(8));
        assert!(gaps.leave_out(1_004), "1003 is lost");
        assert_eq!(gaps.pass(1_005), Some(10));
        assert_eq!(gaps.pass(1_003), Some(9), "it comes late");
        assert_eq!(gaps.source_of(10), Some(1_005));
        assert_eq!(gaps.source_of(9), Some(1_003));
        assert_eq!(gaps.source_of(8), Some(1_002));
        assert_eq!(gaps.source_of(7), Some(1_000));
    }

    #[test]
    fn what_should_have_been_left_out_and_comes_late_is_missed() {
        let mut gaps: Gaps<8> = Gaps::new(0, 100);
        gaps.pass(0);
        gaps.pass(2);
        assert!(!gaps.leave_out(1));
        assert_eq!(gaps.get(1), Some(101), "the number that receivers miss");
    }

    proptest::proptest! {
        #[test]
        fn numbers_that_leave_are_dense_and_found_again(
            keep in proptest::collection::vec(proptest::bool::ANY, 1..400),
            first: u32,
        ) {
            let mut gaps: Gaps<8> = Gaps::new(u64::from(first), 50);
            let mut expected = 50;
            for (number, keep) in (u64::from(first)..).zip(keep) {
                if keep {
                    proptest::prop_assert_eq!(gaps.pass(number), Some(expected));
                    proptest::prop_assert_eq!(gaps.source_of(expected), Some(number));
                    expected += 1;
                } else {
                    proptest::prop_assert!(gaps.leave_out(number));
                }
            }
        }
    }
}
