//! What codecs count in their payload descriptors: pictures, and those of the lowest temporal layer.

use std::time::Duration;

use super::{Fault, Frame, VideoDecoder};

/// Frames are predicted from those of the last four pictures, of three sizes at the most.
const IDS_MAX: usize = 15;

impl VideoDecoder {
    pub(super) fn check_vp9_counters(
        &mut self,
        at: Duration,
        before: &Frame,
        frame: &Frame,
        same: bool,
    ) {
        let (Some(old), Some(new)) = (before.vp9, frame.vp9) else {
            return;
        };
        let tag = frame.tag;
        // What is left out leaves a gap: pictures are referred to by their ids.
        let ahead = new.picture_id.wrapping_sub(old.picture_id) & 0x7fff;
        if (ahead == 0) != same || ahead > 0x3fff {
            let fault = Fault::PictureId {
                expected: old.picture_id,
                found: new.picture_id,
                tag,
            };
            self.verdict.complain(at, fault);
        }
        let (Some(old), Some(found)) = (old.tl0, new.tl0) else {
            return;
        };
        let begins = new.temporal == 0 && !same;
        let expected = old.wrapping_add(u8::from(begins));
        // A keyframe needs nothing that was left out before it.
        let skips = tag.is_keyframe() && found.wrapping_sub(expected) < u8::MAX / 2;
        if expected != found && !skips {
            let fault = Fault::Tl0 {
                expected,
                found,
                tag,
            };
            self.verdict.complain(at, fault);
        }
    }

    /// In flexible mode, the picture that a frame names has to be the one that it is predicted from.
    pub(super) fn check_reference(&mut self, at: Duration, frame: &Frame) {
        let Some(vp9) = frame.vp9 else {
            return;
        };
        let tag = frame.tag;
        let source = (tag.source, tag.layer);
        let named = |back: u8| vp9.picture_id.wrapping_sub(back.into()) & 0x7fff;
        if let (Some(found), Some(reference)) = (vp9.back.map(named), tag.reference)
            && let Some(&(_, _, expected)) = self
                .ids
                .iter()
                .find(|(of, number, _)| (*of, *number) == (source, reference))
            && expected != found
        {
            let fault = Fault::PictureId {
                expected,
                found,
                tag,
            };
            self.verdict.complain(at, fault);
        }
        self.ids.push_front((source, tag.frame, vp9.picture_id));
        self.ids.truncate(IDS_MAX);
    }

    pub(super) fn check_vp8_counters(&mut self, at: Duration, before: &Frame, frame: &Frame) {
        let (Some(old), Some(new)) = (before.vp8, frame.vp8) else {
            return;
        };
        if let (Some(last), Some(found)) = (old.picture_id, new.picture_id) {
            let width = if new.long_picture_id { 0x7fff } else { 0x7f };
            let expected = (last + 1) & width;
            if expected != found {
                self.verdict.complain(
                    at,
                    Fault::PictureId {
                        expected,
                        found,
                        tag: frame.tag,
                    },
                );
            }
        }
        if let (Some(last), Some(found)) = (old.tl0, new.tl0) {
            let expected = if new.temporal == Some(0) {
                last.wrapping_add(1)
            } else {
                last
            };
            if expected != found {
                self.verdict.complain(
                    at,
                    Fault::Tl0 {
                        expected,
                        found,
                        tag: frame.tag,
                    },
                );
            }
        }
    }
}
