//! Which spatial layers of a stream are encoded: where the rate is too small for all of them, the largest are left out
//! and the descriptor says so, as libwebrtc's rate allocator and its scalability structures do.

use super::LayerSpec;
use crate::payload::Mode;

/// Parts of a stream's bits that its spatial layers take, in percent.
const SHARES: [&[u64]; 3] = [&[100], &[25, 75], &[8, 24, 68]];

/// The parts that so many layers take.
pub(super) fn shares(layers: u8) -> &'static [u64] {
    let at = usize::from(layers).saturating_sub(1);
    SHARES.get(at).copied().unwrap_or(&[100])
}

/// The spatial layers of a stream that are encoded at present.
#[derive(Debug, Clone, Copy)]
pub(super) struct Active {
    pub(super) layers: u8,
    /// Layers, one bit each, that have not said yet which of them are left: the next frame of temporal layer 0 in
    /// each of them does.
    untold: u8,
}

impl Active {
    pub(super) fn all(mode: Mode) -> Self {
        Self {
            layers: mode.spatial,
            untold: 0,
        }
    }

    /// Encodes as many layers as the rate is enough for. `true` where one is back.
    pub(super) fn fit(&mut self, mode: Mode, spec: &LayerSpec, bps: u64) -> bool {
        let layers = fitting(mode, spec, bps);
        let more = layers > self.layers;
        if layers != self.layers {
            self.layers = layers;
            self.untold = bits(layers);
        }
        more
    }

    /// A keyframe says that all layers are there, if it says nothing else.
    pub(super) fn begin(&mut self, mode: Mode) {
        self.untold = if self.layers < mode.spatial {
            bits(self.layers)
        } else {
            0
        };
    }

    /// The decode targets that the next frame says to be left, where it has to.
    pub(super) fn told(self, mode: Mode) -> Option<u32> {
        let targets = u32::from(self.layers) * u32::from(mode.temporal);
        (self.untold != 0).then_some((1 << targets) - 1)
    }

    /// A frame has left.
    pub(super) fn sent(&mut self, spatial: u8, temporal: u8) {
        if temporal == 0 {
            self.untold &= !(1 << spatial);
        }
    }

    /// The most that these layers take of what the whole stream takes.
    pub(super) fn most(self, mode: Mode, full_bps: u64) -> u64 {
        let own = shares(mode.spatial).iter().take(self.layers.into());
        full_bps * own.sum::<u64>() / 100
    }
}

fn bits(layers: u8) -> u8 {
    (1 << layers) - 1
}

/// How many layers have the least that libwebrtc encodes a picture of their size with.
fn fitting(mode: Mode, spec: &LayerSpec, bps: u64) -> u8 {
    let enough = |layers: &u8| {
        (0..).zip(shares(*layers)).all(|(spatial, share)| {
            let scale = mode.spatial - 1 - spatial;
            bps * share / 100 >= least_bps(spec.width >> scale, spec.height >> scale)
        })
    };
    (2..=mode.spatial).rev().find(enough).unwrap_or(1)
}

/// libwebrtc's `ConfigureSvcNormalVideo`.
fn least_bps(width: u16, height: u16) -> u64 {
    let pixels = u64::from(width) * u64::from(height);
    (600 * pixels.isqrt()).saturating_sub(95_000).max(30_000)
}
