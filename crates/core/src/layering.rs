//! Layers within one stream: operating points, and what each frame is to them.

/// What a receiver gets of a stream with spatial and temporal layers: all that the frames of this layer need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Point {
    pub(crate) spatial: u8,
    pub(crate) temporal: u8,
}

/// The dependency descriptor has two bits for what comes after a spatial layer and counts up to three; RTP payload
/// formats have three bits for both, and nobody sends so many.
pub(crate) const SPATIAL_LAYERS: u8 = 4;
pub(crate) const TEMPORAL_LAYERS: u8 = 8;

impl Point {
    /// Everything that the stream has, whatever that is.
    pub(crate) const WHOLE: Self = Self {
        spatial: SPATIAL_LAYERS - 1,
        temporal: TEMPORAL_LAYERS - 1,
    };

    /// Layers beyond the last count as the last.
    pub(crate) fn new(spatial: u8, temporal: u8) -> Self {
        Self {
            spatial: spatial.min(SPATIAL_LAYERS - 1),
            temporal: temporal.min(TEMPORAL_LAYERS - 1),
        }
    }

    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..SPATIAL_LAYERS).flat_map(|spatial| {
            (0..TEMPORAL_LAYERS).map(move |temporal| Self { spatial, temporal })
        })
    }

    /// The other one has no frame that this one lacks, as far as numbers can tell.
    pub(crate) fn covers(self, other: Self) -> bool {
        other.spatial <= self.spatial && other.temporal <= self.temporal
    }

    fn bit(self) -> u32 {
        1 << (self.spatial * TEMPORAL_LAYERS + self.temporal)
    }
}

/// A set of operating points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Points(u32);

impl Points {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const ALL: Self = Self(u32::MAX);

    pub(crate) fn contains(self, point: Point) -> bool {
        self.0 & point.bit() != 0
    }

    /// Those that have at least these layers.
    pub(crate) fn from(point: Point) -> Self {
        let row = (0xff_u32 << point.temporal) & 0xff;
        Self((row * 0x0101_0101) & (u32::MAX << (point.spatial * TEMPORAL_LAYERS)))
    }

    /// Of these, those that have this spatial layer and none above.
    pub(crate) fn only(self, spatial: u8) -> Self {
        Self(self.0 & (0xff << (spatial * TEMPORAL_LAYERS)))
    }

    /// Those that have this temporal layer and none above.
    pub(crate) fn temporal(temporal: u8) -> Self {
        Self((1_u32 << temporal.min(TEMPORAL_LAYERS - 1)) * 0x0101_0101)
    }

    pub(crate) fn filter(keep: impl Fn(Point) -> bool) -> Self {
        let kept = Point::all().filter(|point| keep(*point));
        Self(kept.fold(0, |points, point| points | point.bit()))
    }
}

/// What a packet tells of its frame, by the dependency descriptor or by its payload descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The frame's own layer.
    pub(crate) layer: Point,
    /// Whoever is to show one of these needs the frame.
    pub(crate) needed: Points,
    /// Who has had one of `base`, and the frames that this one refers to, may go on with one of these from here.
    pub(crate) switch: Points,
    pub(crate) base: Points,
    /// The packet is the first of the frame. Known of layered streams only, as is the end.
    pub(crate) starts: bool,
    pub(crate) ends: bool,
    /// Larger spatial layers need all frames of the smaller ones, so that whoever has the larger can go back.
    pub(crate) nested: bool,
}

impl Frame {
    /// A frame that everybody needs, of a stream without layers.
    pub(crate) const PLAIN: Self = Self {
        layer: Point {
            spatial: 0,
            temporal: 0,
        },
        needed: Points::ALL,
        switch: Points::NONE,
        base: Points::NONE,
        starts: false,
        ends: false,
        nested: true,
    };
}

/// What a slot is to carry: a stream of a track, and how much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    /// Index into [`crate::publish::Track::layers`].
    pub(crate) layer: usize,
    pub(crate) point: Point,
}

impl Target {
    pub(crate) fn whole(layer: usize) -> Self {
        Self {
            layer,
            point: Point::WHOLE,
        }
    }

    /// The same picture with the fewest frames.
    pub(crate) fn slowest(self) -> Self {
        Self {
            point: Point::new(self.point.spatial, 0),
            ..self
        }
    }

    /// The two differ in frames per second at the most.
    pub(crate) fn shows_as_much_as(self, other: Self) -> bool {
        (self.layer, self.point.spatial) == (other.layer, other.point.spatial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_needed_by_its_own_layer_and_those_above() {
        let needed = Points::from(Point::new(1, 2));
        for point in Point::all() {
            assert_eq!(
                needed.contains(point),
                point.spatial >= 1 && point.temporal >= 2,
                "{point:?}"
            );
        }
        assert_eq!(Points::from(Point::new(0, 0)), Points::ALL);
        assert!(needed.only(1).contains(Point::new(1, 3)));
        assert!(!needed.only(1).contains(Point::new(2, 3)));
        assert_eq!(Points::filter(|_| true), Points::ALL);
    }
}
