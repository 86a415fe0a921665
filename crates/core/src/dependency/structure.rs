//! The template structure, which a coded video sequence begins with (AV1 RTP specification, appendix A.8.2).

use super::bits::Reader;
use crate::layering::{Point, Points, SPATIAL_LAYERS, TEMPORAL_LAYERS};

/// What the frames of a sequence have in common. Comes with its first packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Structure {
    id_offset: u8,
    templates: Vec<Template>,
    /// The operating point of each decode target.
    targets: Vec<Point>,
    /// For each decode target, one bit for each of those that lack no frame where it has all of its own.
    within: Vec<u32>,
    chains: u8,
    /// Width and height in pixels of each spatial layer, where that is said.
    sizes: Vec<(u32, u32)>,
    /// The decode target that serves each operating point, in the order of [`Point::all`].
    serves: Vec<u8>,
    /// See [`crate::layering::Frame::nested`].
    pub(crate) nested: bool,
}

/// What frames that look alike have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    pub(super) layer: Point,
    pub(super) indications: Indications,
    pub(super) references: References,
    pub(super) needed: Points,
    pub(super) switch: Points,
}

/// What a frame is to each decode target: two bits each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Indications(u64);

const NOT_PRESENT: u64 = 0;
const SWITCH: u64 = 2;

impl Indications {
    pub(super) fn read(reader: &mut Reader<'_>, targets: usize) -> Option<Self> {
        let mut all = 0;
        for target in 0..targets {
            all |= u64::from(reader.take(2)?) << (target * 2);
        }
        Some(Self(all))
    }

    fn of(self, target: usize) -> u64 {
        (self.0 >> (target * 2)) & 3
    }

    fn is_present(self, target: usize) -> bool {
        self.of(target) != NOT_PRESENT
    }
}

/// The frames that a frame is predicted from: how far back each is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct References {
    back: [u16; REFERENCES_KEPT],
    count: u8,
    /// There are more than are kept.
    more: bool,
}

/// AV1 refers to seven frames, VP9 to three.
const REFERENCES_KEPT: usize = 7;

impl References {
    pub(super) fn push(&mut self, back: u16) {
        match self.back.get_mut(usize::from(self.count)) {
            Some(place) => {
                *place = back;
                self.count += 1;
            }
            None => self.more = true,
        }
    }

    /// Whether all of them are `there`.
    pub(crate) fn all(&self, there: impl Fn(u16) -> bool) -> bool {
        !self.more
            && self
                .back
                .iter()
                .take(usize::from(self.count))
                .all(|back| there(*back))
    }
}

/// Decode targets have 5 bits, templates 6.
const TEMPLATES_MAX: usize = 64;

impl Structure {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let id_offset = reader.byte(6)?;
        let targets = reader.take(5)? as usize + 1;
        let layers = read_layers(reader)?;
        let mut templates = Vec::with_capacity(layers.len());
        for layer in &layers {
            templates.push(Template {
                layer: *layer,
                indications: Indications::read(reader, targets)?,
                references: References::default(),
                needed: Points::NONE,
                switch: Points::NONE,
            });
        }
        for template in &mut templates {
            while reader.flag()? {
                template.references.push(read_u16(reader, 4)? + 1);
            }
        }
        let chains = read_chains(reader, targets, templates.len())?;
        let sizes = if reader.flag()? {
            let spatial_layers = layers.last().map_or(0, |layer| layer.spatial) + 1;
            read_sizes(reader, spatial_layers)?
        } else {
            Vec::new()
        };
        Some(Self::new((id_offset, chains), (targets, templates), sizes))
    }

    fn new(
        (id_offset, chains): (u8, u8),
        (count, templates): (usize, Vec<Template>),
        sizes: Vec<(u32, u32)>,
    ) -> Self {
        let targets: Vec<Point> = (0..count).map(|at| point_of(&templates, at)).collect();
        let lacks_nothing = |of: usize, inner: usize| {
            templates.iter().all(|template| {
                template.indications.is_present(of) || !template.indications.is_present(inner)
            })
        };
        let within: Vec<u32> = (0..count)
            .map(|of| {
                (0..count)
                    .filter(|inner| lacks_nothing(of, *inner))
                    .fold(0, |bits, inner| bits | (1 << inner))
            })
            .collect();
        let nested = targets.iter().zip(&within).all(|(point, within)| {
            targets
                .iter()
                .enumerate()
                .all(|(inner, other)| !point.covers(*other) || (within >> inner) & 1 == 1)
        });
        let serves = Point::all().map(|point| serving(&targets, point)).collect();
        let mut structure = Self {
            id_offset,
            templates,
            targets,
            within,
            chains,
            sizes,
            serves,
            nested,
        };
        for at in 0..structure.templates.len() {
            if let Some(indications) = structure.templates.get(at).map(|t| t.indications) {
                let (needed, switch) = structure.points(indications);
                if let Some(template) = structure.templates.get_mut(at) {
                    (template.needed, template.switch) = (needed, switch);
                }
            }
        }
        structure
    }

    /// Which operating points need a frame with these indications, and which may go on from it.
    pub(super) fn points(&self, indications: Indications) -> (Points, Points) {
        let of = |point: Point| indications.of(self.target(point));
        (
            Points::filter(|point| of(point) != NOT_PRESENT),
            Points::filter(|point| of(point) == SWITCH),
        )
    }

    pub(super) fn template(&self, id: u8) -> Option<&Template> {
        let at = (id + 64 - self.id_offset) % 64;
        self.templates.get(usize::from(at))
    }

    pub(super) fn target_count(&self) -> usize {
        self.targets.len()
    }

    /// The same, as many bits as there are.
    pub(super) fn target_bits(&self) -> u32 {
        u32::try_from(self.targets.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn chains(&self) -> u8 {
        self.chains
    }

    /// One bit for each decode target.
    pub(super) fn all_targets(&self) -> u32 {
        u32::MAX >> (32 - self.targets.len().clamp(1, 32))
    }

    /// The decode targets that are still to be had by who gets this operating point.
    pub(super) fn within(&self, point: Point) -> u32 {
        self.within.get(self.target(point)).copied().unwrap_or(0)
    }

    /// The operating points of the decode targets.
    pub(crate) fn operating_points(&self) -> impl Iterator<Item = Point> {
        self.targets.iter().copied()
    }

    /// Whether one of these decode targets, one bit each, is of this operating point.
    pub(crate) fn has(&self, point: Point, targets: u32) -> bool {
        let mut numbered = self.targets.iter().zip(0..);
        numbered.any(|(target, at)| *target == point && (targets >> at) & 1 == 1)
    }

    pub(crate) fn size(&self, spatial: u8) -> Option<(u32, u32)> {
        self.sizes.get(usize::from(spatial)).copied()
    }

    fn target(&self, point: Point) -> usize {
        let at =
            usize::from(point.spatial) * usize::from(TEMPORAL_LAYERS) + usize::from(point.temporal);
        self.serves.get(at).map_or(0, |target| usize::from(*target))
    }
}

/// The largest decode target within the point, or the smallest of all.
fn serving(targets: &[Point], point: Point) -> u8 {
    let numbered = || targets.iter().zip(0_u8..);
    let within = numbered().filter(|(target, _)| point.covers(**target));
    within
        .max_by_key(|(target, _)| **target)
        .or_else(|| numbered().min_by_key(|(target, _)| **target))
        .map_or(0, |(_, at)| at)
}

/// Appendix A.8.2.3: a decode target has the layers of the frames that are present in it.
fn point_of(templates: &[Template], target: usize) -> Point {
    let present = templates
        .iter()
        .filter(|template| template.indications.is_present(target));
    present.fold(Point::new(0, 0), |point, template| Point {
        spatial: point.spatial.max(template.layer.spatial),
        temporal: point.temporal.max(template.layer.temporal),
    })
}

fn read_layers(reader: &mut Reader<'_>) -> Option<Vec<Point>> {
    const NEXT_TEMPORAL: u32 = 1;
    const NEXT_SPATIAL: u32 = 2;
    const NO_MORE: u32 = 3;
    let (mut spatial, mut temporal) = (0_u8, 0_u8);
    let mut layers = Vec::new();
    loop {
        if layers.len() == TEMPLATES_MAX {
            return None;
        }
        if spatial >= SPATIAL_LAYERS || temporal >= TEMPORAL_LAYERS {
            return None;
        }
        layers.push(Point { spatial, temporal });
        match reader.take(2)? {
            NEXT_TEMPORAL => temporal += 1,
            NEXT_SPATIAL => (spatial, temporal) = (spatial + 1, 0),
            NO_MORE => return Some(layers),
            _ => {}
        }
    }
}

/// How many chains there are. What they say is of use to receivers.
fn read_chains(reader: &mut Reader<'_>, targets: usize, templates: usize) -> Option<u8> {
    let chains = reader.below(u32::try_from(targets).ok()? + 1)?;
    if chains > 0 {
        for _ in 0..targets {
            reader.below(chains)?;
        }
        for _ in 0..templates {
            for _ in 0..chains {
                reader.take(4)?;
            }
        }
    }
    u8::try_from(chains).ok()
}

fn read_sizes(reader: &mut Reader<'_>, layers: u8) -> Option<Vec<(u32, u32)>> {
    (0..layers)
        .map(|_| Some((reader.take(16)? + 1, reader.take(16)? + 1)))
        .collect()
}

pub(super) fn read_u16(reader: &mut Reader<'_>, bits: u32) -> Option<u16> {
    reader
        .take(bits)
        .and_then(|value| u16::try_from(value).ok())
}
