//! For how long at a time nothing arrives, where losses come together.

/// Shorter ones are single packets that got lost, or two frames of a slow camera.
const HOLE_US_MIN: i64 = 70_000;
/// No picture is held so long (`egress/patience.rs`).
const HOLE_US_MAX: i64 = 400_000;
/// A hole is expected to come again for so long.
const MEMORY_US: i64 = 10_000_000;
/// The holes that are remembered: one in a second is a bad path.
const HOLES_MAX: usize = 10;

/// The newest holes in what has arrived.
#[derive(Debug, Default)]
pub(super) struct Holes {
    /// When the newest packet that has arrived left.
    arrived: Option<i64>,
    /// Something after it has got lost.
    open: bool,
    /// When each ended, and how long it was; the oldest is overwritten.
    newest: [(i64, i64); HOLES_MAX],
    next: usize,
}

impl Holes {
    /// A packet that left at `at` has arrived or got lost. In the order in which they left.
    pub(super) fn add(&mut self, at: i64, lost: bool) {
        if lost {
            self.open = true;
            return;
        }
        let hole = self.arrived.map_or(0, |arrived| at - arrived);
        if self.open && (HOLE_US_MIN..=HOLE_US_MAX).contains(&hole) {
            if let Some(place) = self.newest.get_mut(self.next) {
                *place = (at, hole);
            }
            self.next = (self.next + 1) % HOLES_MAX;
        }
        (self.arrived, self.open) = (Some(at), false);
    }

    /// The longest of late, in µs. One alone was an incident, and none is to be expected.
    pub(super) fn expected(&self, now: i64) -> i64 {
        let late = self
            .newest
            .iter()
            .filter(|(ended, hole)| *hole > 0 && now - ended < MEMORY_US);
        let (count, longest) = late.fold((0, 0), |(count, longest), (_, hole)| {
            (count + 1, longest.max(*hole))
        });
        if count > 1 { longest } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME_US: i64 = 33_000;

    /// Frames, of which those of a hole get lost.
    fn frames(holes: &mut Holes, from: i64, lost: std::ops::Range<i64>) {
        for frame in 0..30 {
            holes.add(from + frame * FRAME_US, lost.contains(&frame));
        }
    }

    #[test]
    fn holes_that_come_again_are_expected_until_they_have_not_come_for_long() {
        let mut holes = Holes::default();
        frames(&mut holes, 0, 10..15);
        assert_eq!(holes.expected(1_000_000), 0, "one was an incident");
        frames(&mut holes, 1_000_000, 10..14);
        assert_eq!(holes.expected(2_000_000), 6 * FRAME_US);
        assert_eq!(holes.expected(11_000_000), 0);
    }

    #[test]
    fn single_losses_and_what_nobody_waits_for_make_no_hole() {
        let mut holes = Holes::default();
        for second in 0..10 {
            frames(&mut holes, second * 1_000_000, 3..4);
            frames(&mut holes, second * 1_000_000, 10..23);
        }
        assert_eq!(holes.expected(10_000_000), 0);
    }
}
