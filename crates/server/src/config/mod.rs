//! The configuration: one TOML file, environment variables and flags with the same names.

mod docs;
mod error;
mod file;
mod load;
mod resolve;
mod settings;
#[cfg(test)]
mod tests;
mod values;

pub(crate) use docs::{markdown, print};
pub(crate) use error::LoadError;
pub(crate) use load::load;
pub(crate) use settings::Settings;
pub(crate) use values::{LogFormat, duration};

impl Settings {
    /// Without keys everybody may enter every room.
    pub(crate) fn is_development(&self) -> bool {
        self.auth.keys.is_empty()
    }
}

/// The settings of somebody who has set nothing.
#[cfg(test)]
pub(crate) fn load_defaults() -> Settings {
    load(&["madang".into()], &Default::default())
        .unwrap()
        .cli
        .settings
}
