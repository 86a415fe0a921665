//! Whether an encoder has far less for a stream than it had.
//!
//! What its publisher says that it has tells that, and not the rate of what it sends: a picture that stands still takes little. Of
//! one that says nothing (Firefox, Safari), frames tell it: libwebrtc drops those that it has nothing for.

use crate::layer::Layer;

/// Below this share of what it had at best a stream has too little: libwebrtc begins none with less than about half of what it aims at,
/// but goes on with the only one that it is to send, and drops frames of it. Lower leaves viewers with what is left, higher wakes
/// smaller streams for a moment of less.
const TOO_LITTLE_PERCENT: u64 = 50;
/// And has enough again above this one, so that smaller streams do not come and go.
const ENOUGH_PERCENT: u64 = 70;
/// What it had at best counts for a 256th less each half second, half of it after a minute and a half: a camera may have been set
/// otherwise, or stand in the dark and take fewer pictures.
const FORGETS: u64 = 256;

/// What a stream has had.
#[derive(Debug, Default)]
pub(crate) struct Plenty {
    best: u64,
    starves: bool,
}

impl Plenty {
    /// What it has, twice a second: bit/s by what its publisher says, or frames a second; 0 where that is not known, or
    /// nothing is sent.
    pub(crate) fn note(&mut self, has: u64) {
        if has == 0 {
            return;
        }
        self.best = (self.best - self.best / FORGETS).max(has);
        let percent = if self.starves {
            ENOUGH_PERCENT
        } else {
            TOO_LITTLE_PERCENT
        };
        self.starves = has * 100 < self.best * percent;
    }

    pub(crate) fn starves(&self) -> bool {
        self.starves
    }
}

/// Adds the layers that an encoder can go over to where it has too little for one that is wanted: smaller ones.
pub(crate) fn want_fallbacks(layers: &[Layer], wanted: &mut [bool]) {
    let lines = |layer: &Layer| layer.size().map(|(_, height)| height);
    let starving = |(layer, wanted): &(&Layer, &bool)| **wanted && layer.starves();
    let starving = layers.iter().zip(wanted.iter()).filter(starving);
    let Some(largest) = starving.filter_map(|(layer, _)| lines(layer)).max() else {
        return;
    };
    for (layer, wanted) in layers.iter().zip(wanted) {
        *wanted |= lines(layer).is_some_and(|lines| lines < largest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_starves_from_half_of_what_it_had_until_it_has_most_of_it() {
        let mut plenty = Plenty::default();
        let mut after = |kbps: u64| {
            plenty.note(kbps * 1_000);
            plenty.starves()
        };
        assert!(![100, 300, 1_200, 700].map(&mut after).contains(&true));
        assert_eq!([500, 700, 0, 800].map(&mut after), [true; 4]);
        assert!(!after(900));
    }

    #[test]
    fn what_it_had_is_forgotten() {
        let mut plenty = Plenty::default();
        plenty.note(1_200_000);
        for _ in 0..600 {
            plenty.note(400_000);
        }
        assert!(!plenty.starves(), "for five minutes it has been like that");
    }
}
