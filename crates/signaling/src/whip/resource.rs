//! What a client of WHIP or WHEP has on this side: the place of its session at the hub, and somebody who listens there.

mod agent;
mod happening;
mod ice;
mod scene;

use std::collections::HashMap;
use std::sync::Arc;

use madang_core::LayerChoice;
use parking_lot::Mutex;

pub(super) use agent::Agent;
pub(super) use happening::{Happenings, Kind, Listening};
pub(super) use ice::{Ice, Patch};
pub(super) use scene::Scene;

use super::problem::Problem;
use crate::hub::Attached;

/// A session that was made by an HTTP request.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(super) at: Attached,
    /// Held while a PATCH is carried out: they may overlap.
    pub(super) ice: tokio::sync::Mutex<Ice>,
    /// Mids of the pictures that a viewer gets, and what it has chosen of their layers.
    pub(super) pictures: Vec<String>,
    pub(super) choices: tokio::sync::Mutex<Vec<LayerChoice>>,
    /// `None` for who publishes.
    pub(super) happenings: Option<Happenings>,
}

impl Resource {
    pub(super) fn happenings(&self) -> Result<&Happenings, Problem> {
        self.happenings.as_ref().ok_or_else(Problem::not_found)
    }
}

/// All of them, by the unguessable part of their addresses. Each has a session at the hub, whose limits bound them.
#[derive(Debug)]
pub(crate) struct Resources {
    by_name: Mutex<HashMap<String, Arc<Resource>>>,
    /// What all names that this process gives end with.
    run: String,
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            by_name: Mutex::default(),
            run: format!("-{:08x}", rand::random::<u32>()),
        }
    }
}

impl Resources {
    /// Adds a resource; returns its name, of which 128 bits are the system's randomness.
    pub(super) fn insert(&self, resource: Arc<Resource>) -> String {
        let name = format!("{:032x}{}", rand::random::<u128>(), self.run);
        self.by_name.lock().insert(name.clone(), resource);
        name
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<Resource>> {
        self.by_name.lock().get(name).cloned()
    }

    pub(super) fn remove(&self, name: &str) -> Option<Arc<Resource>> {
        self.by_name.lock().remove(name)
    }

    /// Why there is no resource of this name.
    pub(super) fn missing(&self, name: &str) -> Problem {
        if name.ends_with(&self.run) {
            Problem::not_found()
        } else {
            Problem::elsewhere()
        }
    }
}
