//! Checks dependency descriptors against what the frames themselves say.

use std::collections::VecDeque;

use super::Received;
use crate::dependency::{self, Structure};
use crate::payload::Tag;

/// What a receiver keeps of the descriptors that have come.
#[derive(Debug, Default)]
pub(super) struct Descriptors {
    structure: Option<Structure>,
    /// Number and frame of the newest packet.
    newest: Option<(u16, Tag)>,
    /// The newest frames that could be decoded: their numbers, and what they were.
    decoded: VecDeque<(u16, u32)>,
}

/// Frames are predicted from one of the last 16.
const DECODED_KEPT: usize = 64;

impl Descriptors {
    /// What is wrong with a packet's descriptor.
    pub(super) fn accept(&mut self, packet: &Received, tag: &Tag) -> Option<&'static str> {
        let Some(bytes) = &packet.descriptor else {
            self.newest = None;
            return None;
        };
        let Some(read) = dependency::read(bytes, &mut self.structure) else {
            return Some("it cannot be read");
        };
        let before = self.newest.replace((read.frame_number, *tag));
        if read.starts != (tag.packet == 0) || read.ends != (tag.packet + 1 == tag.packets) {
            return Some("it starts or ends elsewhere than the frame");
        }
        if (read.spatial, read.temporal) != (tag.spatial, tag.temporal) {
            return Some("it is of another layer");
        }
        if read.begins_sequence != (tag.is_keyframe() && tag.packet == 0) {
            return Some("the structure comes with something else than a keyframe");
        }
        if read.active == Some(0) {
            return Some("nothing is left");
        }
        if let Some((number, last)) = before {
            let ahead = read.frame_number.wrapping_sub(number);
            let same = (last.source, last.layer, last.frame) == (tag.source, tag.layer, tag.frame);
            if (ahead == 0) != same || ahead > u16::MAX / 2 {
                return Some("its number does not go on");
            }
        }
        if read.begins_sequence {
            self.decoded.clear();
        }
        let mut refers: Vec<u32> = [tag.reference, tag.below].into_iter().flatten().collect();
        let numbers = read
            .back
            .iter()
            .map(|back| read.frame_number.wrapping_sub(*back));
        let mut found: Vec<u32> = numbers
            .filter_map(|number| {
                let decoded = self.decoded.iter().find(|(other, _)| *other == number);
                decoded.map(|(_, frame)| *frame)
            })
            .collect();
        refers.sort_unstable();
        found.sort_unstable();
        (found != refers)
            .then_some("it refers to other frames than those that it is predicted from")
    }

    /// The newest frame could be decoded.
    pub(super) fn decoded(&mut self, tag: &Tag) {
        if let Some((number, _)) = self.newest {
            self.decoded.push_front((number, tag.frame));
            self.decoded.truncate(DECODED_KEPT);
        }
    }
}
