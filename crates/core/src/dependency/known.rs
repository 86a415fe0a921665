//! What the descriptors of one stream refer to: its structure, and what was said last of the decode targets.

use std::sync::Arc;

use super::{Descriptor, Raw, Structure, Unreadable};

#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Since which packet.
    structure: Option<(Arc<Structure>, u64)>,
    /// The decode targets that are active, since which packet.
    active: (u32, u64),
}

/// What is new with a packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// A coded video sequence begins.
    pub(crate) begins: bool,
    /// Its structure differs from the one before.
    pub(crate) restructured: bool,
    /// The decode targets that the encoder makes from now on have been named.
    pub(crate) names_active: bool,
}

impl Known {
    pub(crate) fn structure(&self) -> Option<&Structure> {
        self.structure
            .as_ref()
            .map(|(structure, _)| structure.as_ref())
    }

    /// Reads a descriptor, and remembers what later ones refer to. One that was overtaken changes nothing.
    pub(crate) fn read(&mut self, raw: &Raw, seq: u64) -> Result<(Descriptor, News), Unreadable> {
        let known = self.structure.as_ref();
        let descriptor = Descriptor::read(&raw.0, known.map(|(known, _)| (known, self.active.0)))?;
        let newest = known.is_none_or(|(_, since)| seq >= *since);
        let news = News {
            begins: newest && descriptor.begins_sequence,
            restructured: known.is_none_or(|(known, _)| *known != descriptor.structure),
            names_active: newest && descriptor.names_active && seq >= self.active.1,
        };
        if news.begins {
            self.structure = Some((descriptor.structure.clone(), seq));
        }
        if news.names_active {
            self.active = (descriptor.active, seq);
        }
        Ok((descriptor, news))
    }
}
