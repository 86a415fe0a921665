//! Addresses that responses name: the session's, those of its extensions, and ICE servers.

use axum::http::header::{HOST, LINK};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue};

use super::problem::Problem;
use super::{events, layers};
use crate::hub::HubConfig;
use crate::protocol::{IceServer, Secret};

/// The address under which the client has reached this server, such as `https://live.example.org`. Clients resolve
/// relative addresses wrongly, so that all that are told them are absolute.
pub(super) fn base(headers: &HeaderMap, config: &HubConfig) -> Result<String, Problem> {
    if let Some(url) = &config.public_url {
        return Ok(url.trim_end_matches('/').to_owned());
    }
    let first = |name: &str| {
        let value = headers.get(name)?.to_str().ok()?;
        Some(value.split(',').next()?.trim().to_owned())
    };
    let forwarded = |name: &str| config.trust_forwarded_for.then(|| first(name)).flatten();
    let scheme = match forwarded("x-forwarded-proto").as_deref() {
        Some("https") => "https",
        _ => "http",
    };
    let host = forwarded("x-forwarded-host").or_else(|| first(HOST.as_str()));
    let host = host.filter(|host| host.parse::<Authority>().is_ok());
    let host = host.ok_or_else(|| Problem::bad_request("the request has no usable Host"))?;
    Ok(format!("{scheme}://{host}"))
}

/// Adds a `Link` for each ICE server.
pub(super) fn add_ice_servers(headers: &mut HeaderMap, servers: &[IceServer]) {
    let mut links: Vec<(u8, String)> = servers
        .iter()
        .flat_map(|server| server.urls.iter().filter_map(|url| ice_server(server, url)))
        .collect();
    links.sort_by_key(|(rank, _)| *rank);
    for (_, link) in links {
        if let Ok(link) = HeaderValue::from_str(&link) {
            headers.append(LINK, link);
        }
    }
}

/// Adds a `Link` for each extension of a viewer's session.
pub(super) fn add_extensions(headers: &mut HeaderMap, session: &str) {
    let kinds = events::KINDS;
    let links = [
        format!(
            "<{session}/events>; rel=\"{}\"; events=\"{kinds}\"",
            events::RELATION
        ),
        format!("<{session}/layers>; rel=\"{}\"", layers::RELATION),
    ];
    for link in links
        .iter()
        .filter_map(|link| HeaderValue::from_str(link).ok())
    {
        headers.append(LINK, link);
    }
}

/// A server's link, and its rank: clients that take only one take the first.
fn ice_server(server: &IceServer, url: &str) -> Option<(u8, String)> {
    let rank = if url.starts_with("stun:") {
        0
    } else if url.starts_with("turn:") {
        1
    } else {
        2
    };
    let mut link = format!("<{url}>; rel=\"ice-server\"");
    if let (Some(username), Some(Secret(credential))) = (&server.username, &server.credential) {
        // OBS splits the header at these, quoted or not.
        if [username, credential]
            .iter()
            .any(|text| text.contains([',', ';', '"', '\\']))
        {
            tracing::warn!(
                url,
                "an ICE server is not told to WHIP and WHEP clients: no ',' ';' or '\"' may be in its credential"
            );
            return None;
        }
        link.push_str(&format!(
            "; username=\"{username}\"; credential=\"{credential}\"; credential-type=\"password\""
        ));
    }
    Some((rank, link))
}
