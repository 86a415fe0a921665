//! The ways in: `GET /v1/rtc` here, WHIP and WHEP in their module.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, State, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::hub::{Hub, HubConfig, WebSocketPlace, client_prefix};
use crate::limits::{FRAME_BYTES_SLACK, READ_BUFFER_BYTES};
use crate::protocol::{ErrorCode, Fault, SUBPROTOCOL, Secret};
use crate::quality;
use crate::token::Auth;
use crate::{whip, ws};

/// The routes of signalling. They need the client's address: serve them with
/// `into_make_service_with_connect_info::<SocketAddr>()`.
pub fn router(hub: Arc<Hub>) -> Router {
    Router::new()
        .route("/v1/rtc", get(rtc))
        .merge(quality::routes())
        .with_state(Arc::clone(&hub))
        .merge(whip::router(hub))
}

async fn rtc(
    State(hub): State<Arc<Hub>>,
    ConnectInfo(socket_address): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let upgrade = upgrade.protocols([SUBPROTOCOL]);
    let address = client_address(socket_address.ip(), &headers, hub.config());
    let speaks = upgrade.selected_protocol().is_some();
    let place = match admit(&hub, &headers, address, speaks) {
        Ok(place) => place,
        Err((status, fault)) => {
            // No browser tells its page why a WebSocket was refused, so that it has to be found out here.
            let code = fault.code.as_str();
            tracing::debug!(%address, code, "WebSocket refused: {}", fault.text);
            fault.count();
            return (status, format!("{}\n", fault.text)).into_response();
        }
    };
    let bytes_max = hub.config().limits.offer_frame_bytes + FRAME_BYTES_SLACK;
    upgrade
        .max_message_size(bytes_max)
        .max_frame_size(bytes_max)
        .read_buffer_size(READ_BUFFER_BYTES)
        .on_upgrade(async move |socket| ws::serve(&hub, &place, socket).await)
}

/// Whether a WebSocket may be opened. `speaks`: it was asked for with our subprotocol.
fn admit(
    hub: &Arc<Hub>,
    headers: &HeaderMap,
    address: IpAddr,
    speaks: bool,
) -> Result<WebSocketPlace, (StatusCode, Fault)> {
    check_origin(headers, hub.config()).map_err(|text| {
        let fault = Fault::new(ErrorCode::Forbidden, text.trim_end());
        (StatusCode::FORBIDDEN, fault)
    })?;
    if !speaks {
        let text = format!("open the WebSocket with the subprotocol '{SUBPROTOCOL}'");
        let fault = Fault::new(ErrorCode::BadVersion, text);
        return Err((StatusCode::BAD_REQUEST, fault));
    }
    WebSocketPlace::take(hub, client_prefix(address))
        .map_err(|fault| (StatusCode::TOO_MANY_REQUESTS, fault))
}

/// The client's address: what the trusted proxy says, else who has connected.
pub(crate) fn client_address(connected: IpAddr, headers: &HeaderMap, config: &HubConfig) -> IpAddr {
    let forwarded = || {
        let last = headers.get_all("x-forwarded-for").iter().next_back()?;
        // What stands before the last entry was said by the client.
        last.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
    };
    config
        .trust_forwarded_for
        .then(forwarded)
        .flatten()
        .unwrap_or(connected)
}

/// The token of `Authorization: Bearer` (RFC 6750).
pub(crate) fn bearer(headers: &HeaderMap) -> Option<Secret> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| Secret(token.to_owned()))
}

/// Browsers let any page open a WebSocket anywhere, and say in `Origin` which page it was. This server's own pages may
/// always connect.
pub(crate) fn check_origin(headers: &HeaderMap, config: &HubConfig) -> Result<(), String> {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return Ok(());
    };
    let origin = origin.to_str().unwrap_or_default();
    let is = |allowed: &String| allowed.trim_end_matches('/').eq_ignore_ascii_case(origin);
    let any = config.allowed_origins.is_empty() && !matches!(config.auth, Auth::Development);
    if any
        || config.public_url.iter().any(is)
        || config.allowed_origins.iter().any(is)
        || config.nodes.serve(origin)
        || is_own(origin, headers, config)
    {
        return Ok(());
    }
    Err(format!(
        "pages of '{}' may not connect here: add them to allowed_origins\n",
        origin.escape_debug()
    ))
}

/// Whether a page comes from where its request has gone to.
fn is_own(origin: &str, headers: &HeaderMap, config: &HubConfig) -> bool {
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let forwarded = || value("x-forwarded-host")?.split(',').next();
    let forwarded = config.trust_forwarded_for.then(forwarded).flatten();
    let own = origin.split_once("://").map(|(_, host)| host);
    let hosts = [value(header::HOST.as_str()), forwarded.map(str::trim)];
    let same = |host: &str| own.is_some_and(|own| own.eq_ignore_ascii_case(host));
    hosts.into_iter().flatten().any(same) && check_host(headers, config).is_ok()
}

/// Refuses requests to this machine by a name that is not its own, where it is used without tokens: a page of anywhere may
/// have had its own name pointed here (DNS rebinding), and browsers then take what it asks for as its own.
pub(crate) fn check_host(headers: &HeaderMap, config: &HubConfig) -> Result<(), String> {
    let host = headers.get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !matches!(config.auth, Auth::Development) || is_loopback(host) {
        return Ok(());
    }
    Err("in development mode this server is to be called localhost\n".to_owned())
}

/// Whether a `Host` is this machine by name.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Keys;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn may(config: &HubConfig, origin: &str) -> bool {
        check_origin(
            &headers(&[("host", "localhost:8080"), ("origin", origin)]),
            config,
        )
        .is_ok()
    }

    #[test]
    fn a_token_comes_as_bearer_whatever_its_case() {
        let token = |value: &str| {
            let headers = headers(&[("authorization", value)]);
            bearer(&headers).map(|Secret(token)| token)
        };
        assert_eq!(token("bEARER  abc ").as_deref(), Some("abc"));
        for none in ["Bearer ", "Bearer", "Basic abc", "abc"] {
            assert_eq!(token(none), None, "{none}");
        }
        assert_eq!(bearer(&HeaderMap::new()).map(|Secret(token)| token), None);
    }

    #[test]
    fn in_development_only_pages_of_this_host_connect() {
        let config = HubConfig::new(Auth::Development);
        assert!(may(&config, "http://localhost:8080"));
        assert!(!may(&config, "http://localhost:9090"));
        assert!(!may(&config, "https://evil.example"));
        assert!(!may(&config, "null"));
        assert!(
            check_origin(&headers(&[]), &config).is_ok(),
            "not a browser"
        );
    }

    #[test]
    fn in_development_a_foreign_name_for_this_machine_is_refused() {
        let config = HubConfig::new(Auth::Development);
        let at = |host: &str| {
            let origin = format!("http://{host}");
            check_origin(&headers(&[("host", host), ("origin", &origin)]), &config).is_ok()
        };
        assert!(
            at("localhost:8080") && at("127.0.0.1:8080") && at("[::1]:8080") && at("localhost")
        );
        assert!(!at("rebound.example:8080") && !at("192.0.2.7:8080"));
    }

    #[test]
    fn a_list_of_origins_is_final_and_tokens_suffice_without_one() {
        let mut config = HubConfig::new(Auth::Keys(Keys::default()));
        assert!(may(&config, "https://any.example"));
        config.allowed_origins = vec!["https://meet.example/".into()];
        assert!(may(&config, "https://meet.example"));
        assert!(!may(&config, "https://any.example"));
        assert!(!may(&config, "http://localhost:9090"));
    }

    #[test]
    fn own_pages_connect_whatever_the_list_says() {
        let mut config = HubConfig::new(Auth::Keys(Keys::default()));
        config.allowed_origins = vec!["https://meet.example".into()];
        assert!(may(&config, "http://localhost:8080"));
        let behind = [
            ("host", "10.0.0.1:8080"),
            ("origin", "https://live.example"),
            ("x-forwarded-host", "live.example"),
        ];
        assert!(
            check_origin(&headers(&behind), &config).is_err(),
            "anybody can say that"
        );
        config.trust_forwarded_for = true;
        assert!(check_origin(&headers(&behind), &config).is_ok());
        config.trust_forwarded_for = false;
        config.public_url = Some("https://live.example".into());
        assert!(check_origin(&headers(&behind), &config).is_ok());
        let mut development = HubConfig::new(Auth::Development);
        development.allowed_origins = vec!["https://meet.example".into()];
        assert!(may(&development, "http://localhost:8080"));
        let rebound = [("host", "evil.example"), ("origin", "http://evil.example")];
        assert!(check_origin(&headers(&rebound), &development).is_err());
    }

    #[test]
    fn forwarded_addresses_count_where_a_proxy_is_trusted() {
        let connected = IpAddr::from([10, 0, 0, 1]);
        let headers = headers(&[("x-forwarded-for", "1.1.1.1, 192.0.2.9")]);
        let mut config = HubConfig::new(Auth::Development);
        assert_eq!(client_address(connected, &headers, &config), connected);
        config.trust_forwarded_for = true;
        assert_eq!(
            client_address(connected, &headers, &config),
            IpAddr::from([192, 0, 2, 9])
        );
    }
}
