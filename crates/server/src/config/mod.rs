//! The configuration: one TOML file, environment variables and flags with the same names.

mod docs;
mod file;
mod load;
mod settings;
#[cfg(test)]
mod tests;
mod values;

pub(crate) use docs::{markdown, print};
pub(crate) use load::{LoadError, load};
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
