//! What one value alone cannot tell.

use std::collections::BTreeSet;
use std::path::Path;

use super::Settings;
use super::error::{ConfigError, Origin};
use super::values::Key;

impl Settings {
    /// Reads the file of keys and checks what one value alone cannot tell.
    pub(super) fn resolve(&mut self) -> Result<(), Vec<ConfigError>> {
        if let Some(path) = &self.auth.keys_file {
            self.auth.keys.extend(read_keys(path)?);
        }
        let mut errors = Vec::new();
        let mut ids = BTreeSet::new();
        for key in &self.auth.keys {
            if !ids.insert(&key.id) {
                errors.push(ConfigError::Together(format!(
                    "auth.keys: there are two keys with the id '{}'",
                    key.id
                )));
            }
        }
        if !self.cluster.nodes.is_empty() && !self.is_a_node() {
            errors.push(ConfigError::Together(
                "cluster.nodes must hold this server's own address, which http.public_url must say"
                    .to_owned(),
            ));
        }
        if self.is_development() && !self.listen.ip().is_loopback() {
            errors.push(ConfigError::Together(format!(
                "listen = \"{}\" can be reached from outside, but there are no keys, so that anybody could enter every \
                 room. Set a key, in the file as\n\n    [auth.keys]\n    main = \"<the output of `openssl rand -hex 32`>\"\n\n\
                 or in the environment as MADANG_AUTH_KEYS=\"main=<the same>\", or listen on 127.0.0.1 only.",
                self.listen
            )));
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }
}

impl Settings {
    fn is_a_node(&self) -> bool {
        let own = self.http.public_url.as_ref();
        own.is_some_and(|own| self.cluster.nodes.contains(own))
    }
}

fn read_keys(path: &Path) -> Result<Vec<Key>, Vec<ConfigError>> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        vec![ConfigError::Unreadable {
            path: path.to_owned(),
            problem: format!("{error}; auth.keys_file must name a file of lines id=secret"),
        }]
    })?;
    let mut keys = Vec::new();
    let mut errors = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        if text.trim().is_empty() || text.trim_start().starts_with('#') {
            continue;
        }
        match text.parse() {
            Ok(key) => keys.push(key),
            Err(problem) => errors.push(ConfigError::Syntax {
                origin: Origin::File {
                    path: path.to_owned(),
                    line,
                },
                problem,
            }),
        }
    }
    if errors.is_empty() {
        Ok(keys)
    } else {
        Err(errors)
    }
}
