//! The dependency descriptor as libwebrtc's encoders write it and its receivers read it (AV1 RTP specification,
//! appendix A).
//!
//! Written and parsed here independently of the core, so that a mistake there is not repeated here.

use crate::extension::Value;
use crate::payload::Mode;

/// The bytes of one packet's descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DescriptorBytes(pub(crate) Vec<u8>);

impl Value for DescriptorBytes {
    const URI: &'static str =
        "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

    fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Where a frame stands in its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) spatial: u8,
    pub(crate) keyframe: bool,
    /// Pictures since the keyframe.
    pub(crate) picture: u32,
    /// The frames that it is predicted from: how many frames ago each was.
    pub(crate) back: Vec<u32>,
    /// The decode targets that are left, where that is to be said.
    pub(crate) active: Option<u32>,
}

/// Temporal layer of each picture of a cycle, and how many pictures back its reference is.
pub(crate) fn cycle(temporal_layers: u8) -> &'static [(u8, u32)] {
    match temporal_layers {
        1 => &[(0, 1)],
        2 => &[(0, 2), (1, 1)],
        _ => &[(0, 4), (2, 1), (1, 2), (2, 1)],
    }
}

/// A template: which frames look like that, and how.
#[derive(Debug, Clone)]
struct Template {
    spatial: u8,
    temporal: u8,
    /// Position in the cycle; none for a keyframe.
    position: Option<usize>,
    back: Vec<u32>,
}

fn templates(mode: Mode) -> Vec<Template> {
    let pictures = u32::from(mode.spatial);
    let mut all = Vec::new();
    for spatial in 0..mode.spatial {
        let below = |frames: &mut Vec<u32>| {
            if spatial > 0 {
                frames.push(1);
            }
        };
        let mut back = Vec::new();
        below(&mut back);
        all.push(Template {
            spatial,
            temporal: 0,
            position: None,
            back,
        });
        for (position, (temporal, reference)) in cycle(mode.temporal).iter().enumerate() {
            let mut back = vec![reference * pictures];
            if !mode.key {
                below(&mut back);
            }
            all.push(Template {
                spatial,
                temporal: *temporal,
                position: Some(position),
                back,
            });
        }
    }
    all.sort_by_key(|template| (template.spatial, template.temporal));
    all
}

/// '-', 'D', 'S' and 'R' as 0 to 3, by the rules of libwebrtc's scalability structures.
fn indication(mode: Mode, frame: &Template, (spatial, temporal): (u8, u8)) -> u32 {
    let keyframe = frame.position.is_none();
    if mode.key && !keyframe && spatial != frame.spatial {
        return 0;
    }
    if spatial < frame.spatial || temporal < frame.temporal {
        return 0;
    }
    if keyframe {
        return 2;
    }
    if spatial == frame.spatial {
        let own = temporal == frame.temporal && temporal > 0;
        return if own { 1 } else { 2 };
    }
    3
}

/// Writes the descriptor of a packet. `sizes` has the pictures' sizes where the packet begins a sequence.
pub(crate) fn write(
    mode: Mode,
    place: &Place,
    frame_number: u16,
    id_offset: u8,
    (starts, ends): (bool, bool),
    sizes: Option<&[(u16, u16)]>,
) -> Vec<u8> {
    let all = templates(mode);
    let cycle_length = u32::try_from(cycle(mode.temporal).len()).unwrap_or(1);
    let position = (!place.keyframe)
        .then(|| usize::try_from(place.picture % cycle_length).unwrap_or_default());
    let at = all
        .iter()
        .position(|template| (template.spatial, template.position) == (place.spatial, position))
        .unwrap_or_default();
    let template = u32::try_from(at).unwrap_or_default();
    let mut bits = BitWriter::default();
    bits.put(u32::from(starts), 1);
    bits.put(u32::from(ends), 1);
    bits.put((template + u32::from(id_offset)) % 64, 6);
    bits.put(frame_number.into(), 16);
    let sizes = sizes.filter(|_| starts);
    let usual = all.get(at).map(|template| &template.back);
    let unusual = usual.is_none_or(|usual| !same(usual, &place.back));
    if sizes.is_none() && place.active.is_none() && !unusual {
        return bits.bytes;
    }
    bits.put(sizes.is_some().into(), 1);
    bits.put(place.active.is_some().into(), 1);
    bits.put(0, 1);
    bits.put(unusual.into(), 1);
    bits.put(0, 1);
    if let Some(sizes) = sizes {
        bits.put(id_offset.into(), 6);
        write_structure(&mut bits, mode, &all, sizes);
    }
    if let Some(active) = place.active {
        bits.put(active, u32::from(mode.spatial) * u32::from(mode.temporal));
    }
    if unusual {
        for back in &place.back {
            // In eight bits: two times four.
            bits.put(2, 2);
            bits.put(back - 1, 8);
        }
        bits.put(0, 2);
    }
    bits.bytes
}

fn same(one: &[u32], other: &[u32]) -> bool {
    one.len() == other.len() && one.iter().all(|back| other.contains(back))
}

fn write_structure(bits: &mut BitWriter, mode: Mode, all: &[Template], sizes: &[(u16, u16)]) {
    let targets: Vec<(u8, u8)> = (0..mode.spatial)
        .flat_map(|spatial| (0..mode.temporal).map(move |temporal| (spatial, temporal)))
        .collect();
    bits.put(u32::try_from(targets.len()).unwrap_or(1) - 1, 5);
    for (at, template) in all.iter().enumerate() {
        let next = match all.get(at + 1) {
            None => 3,
            Some(next) if next.spatial > template.spatial => 2,
            Some(next) => u32::from(next.temporal > template.temporal),
        };
        bits.put(next, 2);
    }
    for template in all {
        for target in &targets {
            bits.put(indication(mode, template, *target), 2);
        }
    }
    for template in all {
        for back in &template.back {
            bits.put(1, 1);
            bits.put(back - 1, 4);
        }
        bits.put(0, 1);
    }
    // No chains: ns(n + 1) of 0 takes as many bits as n + 1 has, less one.
    bits.put(0, (u32::try_from(targets.len()).unwrap_or(1) + 1).ilog2());
    bits.put(1, 1);
    for (width, height) in sizes.iter().take(mode.spatial.into()) {
        bits.put(u32::from(*width) - 1, 16);
        bits.put(u32::from(*height) - 1, 16);
    }
}

/// What a receiver remembers of the structure: how far back each template refers, and how many decode targets there
/// are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Structure {
    id_offset: u32,
    layers: Vec<(u8, u8)>,
    back: Vec<Vec<u16>>,
    targets: u32,
    chains: u32,
}

/// What a receiver makes of a packet's descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) starts: bool,
    pub(crate) ends: bool,
    pub(crate) frame_number: u16,
    pub(crate) begins_sequence: bool,
    pub(crate) spatial: u8,
    pub(crate) temporal: u8,
    pub(crate) back: Vec<u16>,
    /// Decode targets that are left, where that is said.
    pub(crate) active: Option<u32>,
}

/// Reads a descriptor as a receiver does, which keeps the structure of the last keyframe.
pub(crate) fn read(bytes: &[u8], known: &mut Option<Structure>) -> Option<Read> {
    let mut bits = BitReader { bytes, at: 0 };
    let (starts, ends) = (bits.take(1)? == 1, bits.take(1)? == 1);
    let id = bits.take(6)?;
    let frame_number = u16::try_from(bits.take(16)?).ok()?;
    let flags = if bytes.len() > 3 { bits.take(5)? } else { 0 };
    if flags & 0b10000 != 0 {
        *known = Some(read_structure(&mut bits)?);
    }
    let structure = known.as_ref()?;
    let active = if flags & 0b01000 != 0 {
        Some(bits.take(structure.targets)?)
    } else {
        None
    };
    let at = usize::try_from((id + 64 - structure.id_offset) % 64).ok()?;
    let (spatial, temporal) = *structure.layers.get(at)?;
    let mut back = structure.back.get(at)?.clone();
    if flags & 0b00100 != 0 {
        bits.take(structure.targets * 2)?;
    }
    if flags & 0b00010 != 0 {
        back.clear();
        loop {
            match bits.take(2)? {
                0 => break,
                size => back.push(u16::try_from(bits.take(size * 4)? + 1).ok()?),
            }
        }
    }
    if flags & 0b00001 != 0 {
        bits.take(structure.chains * 8)?;
    }
    Some(Read {
        starts,
        ends,
        frame_number,
        begins_sequence: flags & 0b10000 != 0,
        spatial,
        temporal,
        back,
        active,
    })
}

fn read_structure(bits: &mut BitReader<'_>) -> Option<Structure> {
    let mut structure = Structure {
        id_offset: bits.take(6)?,
        targets: bits.take(5)? + 1,
        ..Structure::default()
    };
    let (mut spatial, mut temporal) = (0, 0);
    loop {
        structure.layers.push((spatial, temporal));
        match bits.take(2)? {
            1 => temporal += 1,
            2 => (spatial, temporal) = (spatial + 1, 0),
            3 => break,
            _ => {}
        }
    }
    let templates = structure.layers.len();
    for _ in 0..templates {
        bits.take(structure.targets * 2)?;
    }
    for _ in 0..templates {
        let mut back = Vec::new();
        while bits.take(1)? == 1 {
            back.push(u16::try_from(bits.take(4)? + 1).ok()?);
        }
        structure.back.push(back);
    }
    // No encoder here has chains, and the server adds none.
    let width = (structure.targets + 1).ilog2();
    (bits.take(width)? == 0).then_some(())?;
    if bits.take(1)? == 1 {
        bits.take(16 * 2 * (u32::from(spatial) + 1))?;
    }
    Some(structure)
}

#[derive(Debug, Default)]
struct BitWriter {
    bytes: Vec<u8>,
    count: usize,
}

impl BitWriter {
    fn put(&mut self, value: u32, count: u32) {
        for at in (0..count).rev() {
            if self.count.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let bit = u8::from((value >> at) & 1 == 1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= bit << (7 - self.count % 8);
            }
            self.count += 1;
        }
    }
}

struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl BitReader<'_> {
    /// The last 32 of so many bits.
    fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            value = (value << 1) | u32::from((byte >> (7 - self.at % 8)) & 1);
            self.at += 1;
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mode = Mode {
            spatial: 3,
            temporal: 3,
            key: true,
        };
        let sizes = [(320, 180), (640, 360), (1_280, 720)];
        let mut known = None;
        let place = |spatial, keyframe, picture, back: &[u32]| Place {
            spatial,
            keyframe,
            picture,
            back: back.to_vec(),
            active: None,
        };
        let first = write(
            mode,
            &place(0, true, 0, &[]),
            9,
            60,
            (true, false),
            Some(&sizes),
        );
        let read_first = read(&first, &mut known).unwrap();
        assert!(read_first.begins_sequence && read_first.back.is_empty());
        let above = write(mode, &place(2, true, 0, &[1]), 11, 60, (true, true), None);
        assert_eq!(read(&above, &mut known).unwrap().back, [1]);
        let delta = write(mode, &place(2, false, 6, &[6]), 29, 60, (false, true), None);
        let delta = read(&delta, &mut known).unwrap();
        assert_eq!((delta.spatial, delta.temporal), (2, 1));
        assert_eq!(delta.back, [6], "two pictures of three frames");
        let mut fewer = place(1, false, 4, &[8]);
        fewer.active = Some(0b111_111);
        let fewer = write(mode, &fewer, 40, 60, (true, true), None);
        let fewer = read(&fewer, &mut known).unwrap();
        assert_eq!(fewer.back, [8], "four pictures of two frames");
        assert_eq!(fewer.active, Some(0b111_111));
    }
}
