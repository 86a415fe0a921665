//! Who is heard and who is shown as speaking: levels of one room's audio tracks, by RFC 6464.

use std::time::{Duration, Instant};

use crate::publish::TrackKey;

/// Levels run from 0 (silent) to 127 (loudest): 127 minus the -dBov of RFC 6464.
const LEVEL_MAX: u8 = 127;
/// Speech comes in at 85 and above, a quiet room at 50 to 65.
const SPEAKING: f32 = 72.0;
/// What a track without the level extension counts as while it sends: it must be heard, and must
/// not silence those who do tell their level.
const LEVEL_UNTOLD: u8 = 85;
/// A pause between sentences is no silence.
const HOLD: Duration = Duration::from_millis(1_500);
/// Somebody who is heard is replaced only by a voice that is clearly louder.
const HEARD_BONUS: f32 = 6.0;

/// The audio tracks of a room.
#[derive(Debug, Default)]
pub(crate) struct Levels {
    entries: Vec<Entry>,
    ranking: Vec<TrackKey>,
}

#[derive(Debug)]
struct Entry {
    track: TrackKey,
    /// Always heard: the sound of a shared screen.
    always: bool,
    smoothed: f32,
    spoke: Option<Instant>,
    muted: bool,
}

impl Levels {
    pub(crate) fn add(&mut self, track: TrackKey, always: bool, muted: bool) {
        self.entries.push(Entry {
            track,
            always,
            smoothed: 0.0,
            spoke: None,
            muted,
        });
        self.ranking.push(track);
    }

    pub(crate) fn remove(&mut self, track: TrackKey) {
        self.entries.retain(|entry| entry.track != track);
        self.ranking.retain(|ranked| *ranked != track);
    }

    pub(crate) fn set_muted(&mut self, track: TrackKey, muted: bool) {
        if let Some(entry) = self.entry(track) {
            entry.muted = muted;
            entry.smoothed = 0.0;
        }
    }

    /// Takes in one packet's level (-dBov as negative numbers, as str0m gives it). True where the
    /// track has just started to speak: the ranking should be looked at now, not at the next tick.
    pub(crate) fn record(&mut self, now: Instant, track: TrackKey, dbov: Option<i8>) -> bool {
        let level = dbov.map_or(LEVEL_UNTOLD, |dbov| {
            LEVEL_MAX.saturating_sub(dbov.unsigned_abs())
        });
        let Some(entry) = self.entry(track) else {
            return false;
        };
        let was_speaking = entry.speaks(now);
        let level = f32::from(level);
        // Fast up, slow down: half-way in one packet of 20 ms, and back in about 300 ms.
        let pace = if level > entry.smoothed { 0.5 } else { 0.05 };
        entry.smoothed += (level - entry.smoothed) * pace;
        if entry.smoothed >= SPEAKING && !entry.muted {
            entry.spoke = Some(now);
        }
        !was_speaking && entry.speaks(now)
    }

    /// Sorts anew; true where the order has changed. `heard` tracks have a small advantage.
    pub(crate) fn rank(&mut self, now: Instant, heard: usize) -> bool {
        let before = self.ranking.clone();
        let score = |track: &TrackKey| {
            let Some(entry) = self.entries.iter().find(|entry| entry.track == *track) else {
                return (0, 0.0);
            };
            let bonus = if before.iter().take(heard).any(|ranked| ranked == track) {
                HEARD_BONUS
            } else {
                0.0
            };
            let class = if entry.always {
                2
            } else {
                u8::from(entry.speaks(now))
            };
            (class, entry.smoothed + bonus)
        };
        // A stable sort: those who are silent keep the order in which they last spoke.
        let mut scored: Vec<_> = before.iter().map(|track| (score(track), *track)).collect();
        scored.sort_by(|((class_a, level_a), _), ((class_b, level_b), _)| {
            class_b.cmp(class_a).then(if *class_a == 1 {
                level_b.total_cmp(level_a)
            } else {
                std::cmp::Ordering::Equal
            })
        });
        self.ranking = scored.into_iter().map(|(_, track)| track).collect();
        self.ranking != before
    }

    /// All audio tracks, the ones to be heard first.
    pub(crate) fn ranking(&self) -> &[TrackKey] {
        &self.ranking
    }

    /// Who speaks, loudest first, with levels.
    pub(crate) fn speakers(&self, now: Instant) -> Vec<(TrackKey, u8)> {
        let mut speakers: Vec<_> = self
            .entries
            .iter()
            .filter(|entry| entry.speaks(now) && !entry.always)
            .map(|entry| (entry.track, entry.level()))
            .collect();
        speakers.sort_by_key(|(_, level)| std::cmp::Reverse(*level));
        speakers
    }

    pub(crate) fn level(&self, track: TrackKey) -> u8 {
        self.entries
            .iter()
            .find(|entry| entry.track == track)
            .map_or(0, Entry::level)
    }

    fn entry(&mut self, track: TrackKey) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.track == track)
    }
}

impl Entry {
    fn speaks(&self, now: Instant) -> bool {
        !self.muted
            && self
                .spoke
                .is_some_and(|at| now.saturating_duration_since(at) < HOLD)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 127 by construction"
    )]
    fn level(&self) -> u8 {
        self.smoothed.clamp(0.0, f32::from(LEVEL_MAX)) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speak(levels: &mut Levels, now: Instant, track: TrackKey, dbov: Option<i8>) -> bool {
        (0..5).fold(false, |onset, _| levels.record(now, track, dbov) || onset)
    }

    #[test]
    fn a_new_voice_is_noticed_within_three_packets_and_ranked_first() {
        let now = Instant::now();
        let mut levels = Levels::default();
        for track in 0..6 {
            levels.add(track, false, false);
        }
        assert!(speak(&mut levels, now, 5, Some(-20)));
        assert!(levels.rank(now, 3));
        assert_eq!(levels.ranking().first(), Some(&5));
        assert_eq!(levels.speakers(now).len(), 1);
    }

    #[test]
    fn a_track_without_levels_is_heard_and_room_noise_is_not() {
        let now = Instant::now();
        let mut levels = Levels::default();
        levels.add(0, false, false);
        levels.add(1, false, false);
        assert!(!speak(&mut levels, now, 0, Some(-65)));
        assert!(speak(&mut levels, now, 1, None));
        levels.rank(now, 1);
        assert_eq!(levels.ranking(), [1, 0]);
    }

    #[test]
    fn a_slightly_louder_voice_replaces_nobody() {
        let now = Instant::now();
        let mut levels = Levels::default();
        levels.add(0, false, false);
        levels.add(1, false, false);
        speak(&mut levels, now, 0, Some(-30));
        levels.rank(now, 1);
        speak(&mut levels, now, 1, Some(-28));
        levels.rank(now, 1);
        assert_eq!(levels.ranking(), [0, 1]);
    }

    #[test]
    fn silence_ends_speaking_after_a_pause() {
        let now = Instant::now();
        let mut levels = Levels::default();
        levels.add(0, false, false);
        speak(&mut levels, now, 0, Some(-20));
        assert_eq!(levels.speakers(now + Duration::from_secs(1)).len(), 1);
        assert!(levels.speakers(now + Duration::from_secs(2)).is_empty());
    }
}
