//! The newest packets of one source layer, for receivers that miss some. All its subscribers share them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::keyframes::REQUEST_INTERVAL;
use crate::limits::{PICTURE_BYTES_MAX, PICTURE_PACKETS_MAX};
use crate::publish::Packet;

/// A second and more of a 3 Mbit/s layer. More would serve receivers that ask later than that, for a picture
/// that is shown no more; each costs one packet of memory per layer, not per receiver.
const PACKETS_MAX: usize = 512;
/// What is older has been given up by receivers: libwebrtc asks for a packet for about a second.
const AGE_MAX: Duration = Duration::from_secs(2);

/// A keyframe is fresh for this long: whoever starts with it is that far behind until the player has caught up, and
/// gets that much at once. Less leaves joiners to wait until the next one may be asked for.
const FRESH_PICTURE_AGE_MAX: Duration = REQUEST_INTERVAL;
const FRESH_PICTURE_PACKETS_MAX: u64 = 160;

/// A hole may still be filled while no more than this many packets have come after it.
const LATE_MAX: u64 = 128;

/// A ring by sequence number.
#[derive(Debug, Default)]
pub(crate) struct Store {
    ring: Vec<Option<Arc<Packet>>>,
    /// Of all payloads in the ring.
    bytes: usize,
    /// The encoder cannot be asked for a keyframe: the newest one and all since are kept, however old.
    patient: bool,
    stream: u32,
    /// Where the newest keyframe starts.
    keyframe: Option<u64>,
    /// All packets before this one are gone.
    oldest: u64,
    newest: u64,
}

impl Store {
    /// Keeps a packet. `patient`: no keyframe can be asked for.
    pub(crate) fn push(&mut self, packet: &Arc<Packet>, patient: bool) {
        self.patient = patient;
        if patient && !self.ring.is_empty() {
            self.widen();
        }
        if self.ring.is_empty() || (self.stream != packet.stream && !self.goes_on_with(packet)) {
            self.start_over(packet);
        }
        if self.stream != packet.stream {
            (self.stream, self.keyframe) = (packet.stream, None);
        }
        if packet.seq < self.oldest {
            return;
        }
        self.newest = self.newest.max(packet.seq);
        if self.newest - self.oldest >= 2 * self.ring.len() as u64 {
            self.start_over(packet);
        }
        while self.oldest < self.newest && self.is_outdated(packet) {
            self.put(self.oldest, None);
            self.oldest += 1;
        }
        if packet.starts_keyframe {
            self.keyframe = self.keyframe.max(Some(packet.seq));
        }
        self.put(packet.seq, Some(packet.clone()));
    }

    /// The newest keyframe and all that has come since, for somebody who has no picture yet. `None` where it is
    /// not fresh, or something is missing. Where no other can be asked for, waiting takes longer than catching up, and
    /// an older one will do.
    pub(crate) fn picture(&self, now: Instant) -> Option<Vec<Arc<Packet>>> {
        let from = self.keyframe?;
        let start = self.get(self.stream, from)?;
        let age = now.saturating_duration_since(start.arrived);
        let fresh = age <= FRESH_PICTURE_AGE_MAX && self.newest - from < FRESH_PICTURE_PACKETS_MAX;
        if !fresh && !self.patient {
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
        self.put(seq, Some(Arc::new(first)));
        self.keyframe = self.keyframe.max(Some(seq));
        true
    }

    /// What has come of a stream behind this number, in order.
    pub(crate) fn behind(&self, stream: u32, seq: u64) -> impl Iterator<Item = &Arc<Packet>> {
        let first = if self.stream == stream {
            self.oldest.max(seq + 1)
        } else {
            self.newest + 1
        };
        (first..=self.newest).filter_map(move |seq| self.get(stream, seq))
    }

    pub(crate) fn get(&self, stream: u32, seq: u64) -> Option<&Arc<Packet>> {
        let packet = self.ring.get(self.index(seq)?)?.as_ref()?;
        (packet.seq == seq && packet.stream == stream).then_some(packet)
    }

    /// Lets go of everything: the layer has been paused.
    pub(crate) fn clear(&mut self) {
        self.ring = Vec::new();
        self.bytes = 0;
        self.keyframe = None;
    }

    /// Whether a stream begins that goes on counting where the one before it has ended: some of that is still missed.
    fn goes_on_with(&self, first: &Packet) -> bool {
        first.seq > self.newest && first.seq - self.newest <= LATE_MAX
    }

    fn start_over(&mut self, first: &Packet) {
        self.ring.clear();
        self.bytes = 0;
        let places = if self.patient {
            PICTURE_PACKETS_MAX
        } else {
            PACKETS_MAX
        };
        self.ring.resize(places, None);
        self.stream = first.stream;
        self.keyframe = None;
        // What comes a little late still finds its place.
        self.oldest = first.seq.saturating_sub(LATE_MAX);
        self.newest = first.seq;
    }

    /// Makes room for a long picture.
    fn widen(&mut self) {
        if self.ring.len() >= PICTURE_PACKETS_MAX {
            return;
        }
        let packets = std::mem::take(&mut self.ring);
        self.ring.resize(PICTURE_PACKETS_MAX, None);
        self.bytes = 0;
        for packet in packets.into_iter().flatten() {
            self.put(packet.seq, Some(packet));
        }
    }

    /// Whether the oldest place has to go, now that `newest` has come.
    fn is_outdated(&self, newest: &Packet) -> bool {
        let kept = self.newest - self.oldest;
        let old = match self.get(self.stream, self.oldest) {
            Some(_) if self.begins_with_picture() => false,
            Some(packet) => newest.arrived.saturating_duration_since(packet.arrived) > AGE_MAX,
            None => kept > LATE_MAX,
        };
        old || kept >= self.ring.len() as u64 || self.bytes > PICTURE_BYTES_MAX
    }

    /// Whether nothing older is left than a picture for whoever comes, and that is to be kept.
    fn begins_with_picture(&self) -> bool {
        let is_whole = |from: u64| from <= self.oldest && self.get(self.stream, from).is_some();
        self.patient && self.keyframe.is_some_and(is_whole)
    }

    fn put(&mut self, seq: u64, packet: Option<Arc<Packet>>) {
        let bytes = |packet: &Option<Arc<Packet>>| packet.as_ref().map_or(0, |p| p.payload.len());
        if let Some(place) = self.index(seq).and_then(|index| self.ring.get_mut(index)) {
            self.bytes = self.bytes + bytes(&packet) - bytes(place);
            *place = packet;
        }
    }

    fn index(&self, seq: u64) -> Option<usize> {
        usize::try_from(seq.checked_rem(self.ring.len() as u64)?).ok()
    }
}
