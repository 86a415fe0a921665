//! The newest packets of one source layer, for receivers that miss some. All its subscribers share them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::publish::Packet;

/// A second and more of a 3 Mbit/s layer. More would serve receivers that ask later than that, for a picture
/// that is shown no more; each costs one packet of memory per layer, not per receiver.
const PACKETS_MAX: usize = 512;
/// What is older has been given up by receivers: libwebrtc asks for a packet for about a second.
const AGE_MAX: Duration = Duration::from_secs(2);

/// A keyframe is fresh for this long: whoever starts with it is that far behind until the player has caught up, and
/// gets that much at once. Less leaves more joiners to wait for a keyframe of their own.
const PICTURE_AGE_MAX: Duration = Duration::from_millis(1_000);
const PICTURE_PACKETS_MAX: u64 = 160;
/// Where the encoder cannot be asked for a keyframe, waiting takes longer than catching up: all that is kept is given.
const PATIENT_PICTURE_AGE_MAX: Duration = AGE_MAX;
const PATIENT_PICTURE_PACKETS_MAX: u64 = PACKETS_MAX as u64;

/// A hole may still be filled while no more than this many packets have come after it.
const LATE_MAX: u64 = 128;

/// A ring by sequence number.
#[derive(Debug, Default)]
pub(crate) struct Store {
    ring: Vec<Option<Arc<Packet>>>,
    stream: u32,
    /// Where the newest keyframe starts.
    keyframe: Option<u64>,
    /// All packets before this one are gone.
    oldest: u64,
    newest: u64,
}

impl Store {
    pub(crate) fn push(&mut self, packet: &Arc<Packet>) {
        if self.ring.is_empty() || self.stream != packet.stream {
            self.start_over(packet);
        }
        if packet.seq < self.oldest {
            return;
        }
        self.newest = self.newest.max(packet.seq);
        if self.newest - self.oldest >= 2 * PACKETS_MAX as u64 {
            self.start_over(packet);
        }
        while self.oldest < self.newest && self.is_outdated(packet) {
            if let Some(place) = self.place(self.oldest) {
                *place = None;
            }
            self.oldest += 1;
        }
        if packet.starts_keyframe {
            self.keyframe = self.keyframe.max(Some(packet.seq));
        }
        if let Some(place) = self.place(packet.seq) {
            *place = Some(packet.clone());
        }
    }

    /// The newest keyframe and all that has come since, for somebody who has no picture yet. `None` where it is
    /// not fresh, or something is missing. An older one will do where no `other` can be asked for.
    pub(crate) fn picture(&self, now: Instant, other: bool) -> Option<Vec<Arc<Packet>>> {
        let from = self.keyframe?;
        let start = self.get(self.stream, from)?;
        let age = now.saturating_duration_since(start.arrived);
        let (age_max, packets_max) = if other {
            (PICTURE_AGE_MAX, PICTURE_PACKETS_MAX)
        } else {
            (PATIENT_PICTURE_AGE_MAX, PATIENT_PICTURE_PACKETS_MAX)
        };
        if age > age_max || self.newest - from >= packets_max {
            return None;
        }
        (from..=self.newest)
            .map(|seq| self.get(self.stream, seq).cloned())
            .collect()
    }

    /// A picture can begin with this packet, as has been found out only now. `false` where it is gone.
    pub(crate) fn begin_picture(&mut self, stream: u32, seq: u64) -> bool {
        let Some(packet) = self.get(stream, seq) else {
            return false;
        };
        let mut first = Packet::clone(packet);
        first.starts_keyframe = true;
        if let Some(place) = self.place(seq) {
            *place = Some(Arc::new(first));
        }
        self.keyframe = self.keyframe.max(Some(seq));
        true
    }

    pub(crate) fn get(&self, stream: u32, seq: u64) -> Option<&Arc<Packet>> {
        let at = usize::try_from(seq % PACKETS_MAX as u64).ok()?;
        let packet = self.ring.get(at)?.as_ref()?;
        (packet.seq == seq && packet.stream == stream).then_some(packet)
    }

    /// Lets go of everything: the layer has been paused.
    pub(crate) fn clear(&mut self) {
        self.ring = Vec::new();
        self.keyframe = None;
    }

    fn start_over(&mut self, first: &Packet) {
        self.ring.clear();
        self.ring.resize(PACKETS_MAX, None);
        self.stream = first.stream;
        self.keyframe = None;
        // What comes a little late still finds its place.
        self.oldest = first.seq.saturating_sub(LATE_MAX);
        self.newest = first.seq;
    }

    /// Whether the oldest place has to go, now that `newest` has come.
    fn is_outdated(&self, newest: &Packet) -> bool {
        let kept = self.newest - self.oldest;
        let old = match self.get(self.stream, self.oldest) {
            Some(packet) => newest.arrived.saturating_duration_since(packet.arrived) > AGE_MAX,
            None => kept > LATE_MAX,
        };
        old || kept >= PACKETS_MAX as u64
    }

    fn place(&mut self, seq: u64) -> Option<&mut Option<Arc<Packet>>> {
        let at = usize::try_from(seq % PACKETS_MAX as u64).ok()?;
        self.ring.get_mut(at)
    }
}
