//! The types of values and how their text is read. Every error says what is allowed, and never repeats a secret.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use madang_driver::WORKERS_MAX;
use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::{LevelFilter, Targets};

/// What stands in the place of a secret wherever people can read it.
pub(crate) const REDACTED: &str = "[redacted]";

/// One key that signs tokens, written `id=secret`.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) secret: String,
    /// The same, checked, for those who verify tokens.
    pub(crate) verifier: madang_signaling::Key,
}

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (id, secret) = text
            .split_once('=')
            .map(|(id, secret)| (id.trim(), secret.trim()))
            .filter(|(id, _)| !id.is_empty())
            .ok_or("expected id=secret, such as main=4f1c... with a secret from `openssl rand -hex 32`")?;
        let verifier = madang_signaling::Key::new(id, secret).map_err(|weak| weak.to_string())?;
        Ok(Self {
            id: id.to_owned(),
            secret: secret.to_owned(),
            verifier,
        })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={REDACTED}", self.id)
    }
}

/// The STUN and TURN servers that clients are told to use, in the form of the browsers' `RTCIceServer`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IceServers(pub Vec<IceServer>);

#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IceServer {
    pub(crate) urls: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) credential: Option<String>,
}

impl FromStr for IceServers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // What serde says quotes the text, which may be a credential in the wrong place.
        let servers: Vec<IceServer> = serde_json::from_str(text).map_err(|_| {
            r#"expected a list such as [{"urls":["turn:turn.example.org"],"username":"u","credential":"c"}]"#.to_owned()
        })?;
        for server in &servers {
            let is_known = |url: &String| {
                ["stun:", "stuns:", "turn:", "turns:"]
                    .iter()
                    .any(|scheme| url.starts_with(scheme))
            };
            if !server.urls.iter().all(is_known) {
                return Err(
                    "expected URLs that begin with stun:, stuns:, turn: or turns:".to_owned(),
                );
            }
            let secured = server.username.is_some() && server.credential.is_some();
            if !secured && server.urls.iter().any(|url| url.starts_with("turn")) {
                return Err(
                    "expected username and credential beside a turn: or turns: URL".to_owned(),
                );
            }
        }
        Ok(Self(servers))
    }
}

impl fmt::Debug for IceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceServer")
            .field("urls", &self.urls)
            .finish_non_exhaustive()
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// One line for a person to read
    Human,
    /// One JSON object per line
    Json,
}

/// The text of a value as it may be shown: secrets are replaced.
pub(crate) fn shown(key: &str, text: &str) -> String {
    match key {
        "auth.keys" => match text.split_once('=') {
            Some((id, _)) => format!("{id}={REDACTED}"),
            None => REDACTED.to_owned(),
        },
        "ice_servers" => match text.parse::<IceServers>() {
            Ok(IceServers(mut servers)) => {
                for credential in servers
                    .iter_mut()
                    .filter_map(|server| server.credential.as_mut())
                {
                    REDACTED.clone_into(credential);
                }
                serde_json::to_string(&servers).unwrap_or_else(|_| REDACTED.to_owned())
            }
            Err(_) => REDACTED.to_owned(),
        },
        _ => text.to_owned(),
    }
}

/// Reads a whole number within a range.
pub(crate) fn number<T: TryFrom<u64>>(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| {
        text.parse()
            .ok()
            .filter(|number| range.contains(number))
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| {
                format!(
                    "expected a whole number from {} to {}",
                    range.start(),
                    range.end()
                )
            })
    }
}

pub(crate) fn duration(text: &str) -> Result<humantime::Duration, String> {
    text.parse()
        .map_err(|_| "expected a duration with its unit, such as 500ms, 30s or 5m".to_owned())
}

pub(crate) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "expected an IP address and a port, such as 127.0.0.1:8080, 0.0.0.0:8080 or [::]:8080"
            .to_owned()
    })
}

pub(crate) fn ip_address(text: &str) -> Result<IpAddr, String> {
    text.parse()
        .map_err(|_| "expected an IP address, such as 203.0.113.7 or 2001:db8::7".to_owned())
}

/// An origin as browsers send it (RFC 6454 section 7).
pub(crate) fn origin(text: &str) -> Result<String, String> {
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    if host.is_some_and(|host| !host.is_empty() && !host.contains('/')) {
        Ok(text.to_owned())
    } else {
        Err(
            "expected scheme, host and port without a path, such as https://meet.example.org"
                .to_owned(),
        )
    }
}

/// The number of workers; `auto` is one per core.
pub(crate) fn workers(text: &str) -> Result<usize, String> {
    if text == "auto" {
        return Ok(std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(WORKERS_MAX));
    }
    number(1..=WORKERS_MAX as u64)(text)
        .map_err(|expected| format!("{expected}, or auto for one per core"))
}

/// A level, or levels by module: `info,madang_driver=debug`.
pub(crate) fn log_filter(text: &str) -> Result<Targets, String> {
    let levels_known = text.split(',').all(|directive| {
        let level = directive
            .rsplit_once('=')
            .map_or(directive, |(_, level)| level);
        !level.trim().is_empty() && level.parse::<LevelFilter>().is_ok()
    });
    text.parse::<Targets>().ok().filter(|_| levels_known).ok_or_else(|| {
        "expected off, error, warn, info, debug or trace, alone or by module as in info,madang_driver=debug".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_id_and_secret_and_hide_the_secret() {
        let secret = "0123456789abcdef0123456789abcdef";
        let key: Key = format!("main={secret}").parse().unwrap();
        assert_eq!((key.id.as_str(), key.secret.as_str()), ("main", secret));
        assert_eq!(format!("{key:?}"), "main=[redacted]");
        for bad in [
            "",
            "main",
            "=0123456789abcdef0123456789abcdef",
            "main=geheim",
        ] {
            let error = bad.parse::<Key>().unwrap_err();
            assert!(
                error.contains("openssl rand") && !error.contains("geheim"),
                "{error}"
            );
        }
    }

    #[test]
    fn ice_servers_hide_the_credential() {
        let text = r#"[{"urls":["turn:t.example.org"],"username":"u","credential":"geheim"}]"#;
        let servers: IceServers = text.parse().unwrap();
        assert!(!format!("{servers:?}").contains("geheim"));
        assert_eq!(shown("ice_servers", text), text.replace("geheim", REDACTED));
        for bad in [
            "stun:x",
            "{}",
            r#"[{"urls":["http://x"]}]"#,
            r#"[{"url":"stun:x"}]"#,
            r#"[{"urls":["turn:x"]}]"#,
        ] {
            assert!(
                bad.parse::<IceServers>()
                    .unwrap_err()
                    .starts_with("expected"),
                "{bad}"
            );
        }
    }

    #[test]
    fn log_filters_know_only_levels() {
        for good in ["off", "info", "warn,madang_driver=debug", "madang=trace"] {
            assert!(log_filter(good).is_ok(), "{good}");
        }
        for bad in ["", "verbose", "info,madang=loud", "madang"] {
            assert!(log_filter(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn origins_have_no_path() {
        assert!(
            origin("https://meet.example.org").is_ok() && origin("http://localhost:3000").is_ok()
        );
        for bad in [
            "meet.example.org",
            "https://",
            "https://meet.example.org/",
            "ftp://x",
        ] {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }
}
