//! What a real receiver would hold against a stream, slot by slot.
//!
//! A decoder gets the packets of one m-line in the order of their arrival, restores the order of
//! the sequence numbers, waits a while for what is missing, and checks everything that libwebrtc
//! and hardware decoders rely on. A hole in the sequence numbers is a loss that the receiver sees,
//! and lives with; a discontinuity without a hole is a [`Complaint`].

mod audio;
mod descriptor;
mod order;
mod video;

use std::time::Duration;

pub use audio::{AudioDecoder, Heard};
pub use video::{Shown, VideoDecoder};

use crate::payload::{Codec, Tag};

/// An RTP packet as the receiver's stack hands it over: decrypted, retransmissions restored,
/// sequence number extended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub at: Duration,
    pub codec: Codec,
    pub ssrc: u32,
    pub sequence: u64,
    pub timestamp: u32,
    pub marker: bool,
    /// The dependency descriptor, where the packet has one.
    pub descriptor: Option<Vec<u8>>,
    /// It had been asked for.
    pub repaired: bool,
    /// For how long the sender wants pictures to be held at the least, where the packet says so.
    pub hold: Option<Duration>,
    /// Empty where the sender says that there is nothing under this number.
    pub payload: Vec<u8>,
}

/// A fault of the stream, and when it was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Complaint {
    pub at: Duration,
    pub fault: Fault,
}

/// What is wrong with a stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The SSRC of a slot changed.
    SsrcChanged { from: u32, to: u32 },
    /// No descriptor, or a payload that no encoder wrote.
    Garbled { sequence: u64 },
    /// Packets of a frame are missing, though no sequence number is.
    TornFrame { frame: Tag, next: Tag },
    /// Two packets of a frame with different timestamps, or two frames with the same.
    TimestampWithinFrame { frame: Tag, next: Tag },
    /// The marker bit is not on exactly the last packet of the frame.
    Marker { packet: Tag },
    /// The source or the layer changed on something else than a keyframe.
    SwitchWithoutKeyframe { from: Tag, to: Tag },
    /// A frame whose reference was never received, though no sequence number is missing.
    HiddenLoss { frame: Tag },
    /// The timestamp does not advance as time does; in microseconds.
    Timestamp {
        elapsed_us: i64,
        advanced_us: i64,
        tag: Tag,
    },
    /// The picture id does not count up by one.
    PictureId { expected: u16, found: u16, tag: Tag },
    /// The dependency descriptor cannot be read, is of another frame, or refers to what has not been received.
    Descriptor { what: &'static str, tag: Tag },
    /// TL0PICIDX does not count the frames of temporal layer 0.
    Tl0 { expected: u8, found: u8, tag: Tag },
}

/// What decoders of both kinds have in common.
#[derive(Debug, Default)]
struct Verdict {
    complaints: Vec<Complaint>,
    ssrc: Option<u32>,
    /// Packets that never came.
    lost: u64,
}

impl Verdict {
    fn complain(&mut self, at: Duration, fault: Fault) {
        self.complaints.push(Complaint { at, fault });
    }

    fn check_ssrc(&mut self, packet: &Received) {
        let from = *self.ssrc.get_or_insert(packet.ssrc);
        if from != packet.ssrc {
            self.complain(
                packet.at,
                Fault::SsrcChanged {
                    from,
                    to: packet.ssrc,
                },
            );
            self.ssrc = Some(packet.ssrc);
        }
    }
}

/// Compares the way that the timestamps went with the way that time went.
///
/// Capture times stand for time: all simulated publishers have one clock.
fn check_timestamp(
    verdict: &mut Verdict,
    at: Duration,
    (before, before_timestamp): (&Tag, u32),
    (tag, timestamp): (&Tag, u32),
    (clock_rate, tolerance): (u32, Duration),
) {
    let ticks = i64::from(timestamp.wrapping_sub(before_timestamp).cast_signed());
    let advanced_us = ticks * 1_000_000 / i64::from(clock_rate);
    let elapsed_us = micros(tag.captured) - micros(before.captured);
    if advanced_us.abs_diff(elapsed_us) > tolerance.as_micros().try_into().unwrap_or(u64::MAX) {
        verdict.complain(
            at,
            Fault::Timestamp {
                elapsed_us,
                advanced_us,
                tag: *tag,
            },
        );
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
