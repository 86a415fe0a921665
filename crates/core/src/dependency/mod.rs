//! The dependency descriptor, an RTP header extension that says of each frame who needs it (AV1 RTP specification,
//! appendix A). It serves every codec, and payloads that nobody here can read.
//!
//! Frames that are left out leave a gap in the frame numbers: references count in frames of the encoder. Only where
//! one source follows another are the numbers moved.

mod bits;
mod extension;
mod known;
mod structure;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::layering::{Frame, Point, Points};
use bits::{Reader, Writer};
pub(crate) use extension::{Extensions, Raw, dependency_descriptor, video_layers_allocation};
pub(crate) use known::Known;
use structure::{Indications, read_u16};
pub(crate) use structure::{References, Structure};

/// One packet's descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub(crate) structure: Arc<Structure>,
    pub(crate) frame: Frame,
    pub(crate) frame_number: u16,
    pub(crate) references: References,
    /// The packet brings its structure along: a coded video sequence begins.
    pub(crate) begins_sequence: bool,
    /// Decode targets that the encoder makes at present, one bit each.
    pub(crate) active: u32,
    /// The packet itself names them.
    pub(crate) names_active: bool,
    /// Receivers are told which decode targets are left for them: where they were told before, and with each frame
    /// of the base layer, so that what is lost is made up for.
    tells_active: bool,
    first_byte: u8,
    extended: Option<Extended>,
}

/// What stands behind the mandatory three bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Extended {
    bytes: Box<[u8]>,
    /// Structure, and custom indications, references and chains.
    flags: u32,
    /// Positions in bits.
    structure: (usize, usize),
    custom: (usize, usize),
}

/// Why a descriptor cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreadable {
    Malformed,
    /// The structure that it refers to has not come yet, or is no more.
    NoStructure,
}

const MANDATORY_BYTES: usize = 3;
const START_OF_FRAME: u8 = 0x80;
const END_OF_FRAME: u8 = 0x40;
const TEMPLATE_ID: u8 = 0x3f;
/// The five flags in front of the extended fields.
const FLAG_BITS: u32 = 5;
const STRUCTURE: u32 = 0x10;
const ACTIVE: u32 = 0x08;
const CUSTOM_INDICATIONS: u32 = 0x04;
const CUSTOM_REFERENCES: u32 = 0x02;
const CUSTOM_CHAINS: u32 = 0x01;

impl Descriptor {
    /// `known` is the structure of the packets before it, and the decode targets that were active.
    pub(crate) fn read(
        bytes: &[u8],
        known: Option<(&Arc<Structure>, u32)>,
    ) -> Result<Self, Unreadable> {
        let Some((&[first_byte, high, low], rest)) = bytes.split_first_chunk::<MANDATORY_BYTES>()
        else {
            return Err(Unreadable::Malformed);
        };
        let frame_number = u16::from_be_bytes([high, low]);
        let mut fields = Fields::default();
        let mut reader = Reader::new(bytes);
        let mut structure = known.map(|(structure, _)| structure.clone());
        let mut active = known.map_or(0, |(_, active)| active);
        if !rest.is_empty() {
            fields.read(&mut reader, &mut structure, &mut active)?;
        }
        let structure = structure.ok_or(Unreadable::NoStructure)?;
        let template = structure.template(first_byte & TEMPLATE_ID);
        let template = template.ok_or(if fields.flags & STRUCTURE == 0 {
            Unreadable::NoStructure
        } else {
            Unreadable::Malformed
        })?;
        let custom_from = reader.position();
        let (layer, nested) = (template.layer, structure.nested);
        let (mut needed, mut switch) = (template.needed, template.switch);
        let mut references = template.references;
        let mut custom = || {
            if fields.flags & CUSTOM_INDICATIONS != 0 {
                let own = Indications::read(&mut reader, structure.target_count())?;
                (needed, switch) = structure.points(own);
            }
            if fields.flags & CUSTOM_REFERENCES != 0 {
                references = read_references(&mut reader)?;
            }
            if fields.flags & CUSTOM_CHAINS != 0 {
                for _ in 0..structure.chains() {
                    reader.take(8)?;
                }
            }
            Some(reader.position())
        };
        let custom_to = custom().ok_or(Unreadable::Malformed)?;
        let frame = Frame {
            layer,
            needed,
            switch,
            base: Points::ALL,
            starts: first_byte & START_OF_FRAME != 0,
            ends: first_byte & END_OF_FRAME != 0,
            nested,
        };
        let layered = structure.target_count() > 1;
        let tells_active =
            layered && (fields.flags & ACTIVE != 0 || (frame.starts && layer.temporal == 0));
        Ok(Self {
            frame,
            frame_number,
            references,
            begins_sequence: fields.flags & STRUCTURE != 0,
            active,
            names_active: fields.flags & (STRUCTURE | ACTIVE) != 0,
            tells_active,
            first_byte,
            extended: (!rest.is_empty()).then(|| Extended {
                bytes: bytes.into(),
                flags: fields.flags & !ACTIVE,
                structure: fields.structure,
                custom: (custom_from, custom_to),
            }),
            structure,
        })
    }

    /// The decode targets that a receiver of this operating point is told of, where it is told. What was sent before its
    /// own were given up comes after that now and then: of those left, none is for this receiver yet.
    pub(crate) fn told_active(&self, point: Point) -> Option<u32> {
        let left = self.structure.within(point) & self.active;
        (self.tells_active && left != 0).then_some(left)
    }

    /// Appends the descriptor as it goes to one receiver.
    pub(crate) fn write(&self, out: &mut Vec<u8>, frame_number: u16, active: Option<u32>) {
        let [high, low] = frame_number.to_be_bytes();
        out.extend_from_slice(&[self.first_byte, high, low]);
        let flags = self.extended.as_ref().map_or(0, |extended| extended.flags);
        if flags == 0 && active.is_none() {
            return;
        }
        let mut writer = Writer::new(out);
        writer.put(flags | if active.is_some() { ACTIVE } else { 0 }, FLAG_BITS);
        if let Some(Extended {
            bytes, structure, ..
        }) = &self.extended
        {
            writer.copy(bytes, structure.0, structure.1);
        }
        if let Some(active) = active {
            // The first decode target has the least significant bit.
            writer.put(active, self.structure.target_bits());
        }
        if let Some(Extended { bytes, custom, .. }) = &self.extended {
            writer.copy(bytes, custom.0, custom.1);
        }
    }
}

/// The extended fields, on their way in.
#[derive(Debug, Default)]
struct Fields {
    flags: u32,
    structure: (usize, usize),
}

impl Fields {
    fn read(
        &mut self,
        reader: &mut Reader<'_>,
        structure: &mut Option<Arc<Structure>>,
        active: &mut u32,
    ) -> Result<(), Unreadable> {
        let malformed = Unreadable::Malformed;
        reader.take(24).ok_or(malformed)?;
        self.flags = reader.take(FLAG_BITS).ok_or(malformed)?;
        if self.flags & STRUCTURE != 0 {
            let from = reader.position();
            let new = Structure::read(reader).ok_or(malformed)?;
            *active = new.all_targets();
            self.structure = (from, reader.position());
            *structure = Some(Arc::new(new));
        }
        if self.flags & ACTIVE != 0 {
            let known = structure.as_ref().ok_or(Unreadable::NoStructure)?;
            *active = reader.take(known.target_bits()).ok_or(malformed)?;
        }
        Ok(())
    }
}

fn read_references(reader: &mut Reader<'_>) -> Option<References> {
    let mut references = References::default();
    loop {
        match reader.take(2)? {
            0 => return Some(references),
            size => references.push(read_u16(reader, 4 * size)? + 1),
        }
    }
}
