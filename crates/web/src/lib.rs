//! The app page and the browser client, embedded in the binary. Debug builds read the files from
//! disk at every request, so that a change shows after a reload.

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rust_embed::{EmbeddedFile, RustEmbed};

/// Serves the page of calls at `/` and `/r/{room}`, the ones that watch and broadcast at
/// `/watch/{room}` and `/broadcast/{room}`, and their files under `/app/` and `/client/`. All other
/// paths are left to whoever merges this router.
pub fn router() -> Router {
    Router::new()
        .route("/", get(call_page))
        .route("/r/{room}", get(call_page))
        .route("/watch/{room}", get(watch_page))
        .route("/broadcast/{room}", get(broadcast_page))
        .route(
            "/app/{*path}",
            get(async |path: Path<String>, headers: HeaderMap| {
                file(App::get(&path), &path, &headers)
            }),
        )
        .route(
            "/client/{*path}",
            get(async |path: Path<String>, headers: HeaderMap| {
                file(Client::get(&path), &path, &headers)
            }),
        )
        .layer(map_response(secured))
}

#[derive(RustEmbed)]
#[folder = "app/"]
struct App;

#[derive(RustEmbed)]
#[folder = "client/"]
struct Client;

const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
const CROSS_ORIGIN_OPENER_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-opener-policy");

/// Nothing but the page's own files runs.
macro_rules! content_security_policy {
    (connect-src $others:literal, frame-ancestors $ancestors:literal) => {
        HeaderValue::from_static(concat!(
            "default-src 'self'; connect-src 'self'",
            $others,
            "; media-src 'self' blob: mediastream:; img-src 'self' data: blob:; object-src 'none'; \
             base-uri 'none'; form-action 'none'; frame-ancestors ",
            $ancestors
        ))
    };
}

/// Nobody else's page may frame one of ours and borrow the camera.
const FILE: HeaderValue = content_security_policy!(connect-src "", frame-ancestors "'none'");

/// A call follows a `bye` to another node.
const CALL: HeaderValue =
    content_security_policy!(connect-src " ws: wss:", frame-ancestors "'none'");

/// WHIP and WHEP follow a redirect to another node.
const BROADCAST: HeaderValue =
    content_security_policy!(connect-src " https:", frame-ancestors "'none'");

/// The player, which asks for no device, may stand in every page.
const WATCH: HeaderValue = content_security_policy!(connect-src " https:", frame-ancestors "*");

const SECURITY_HEADERS: [(HeaderName, HeaderValue); 4] = [
    (
        PERMISSIONS_POLICY,
        HeaderValue::from_static(
            "camera=(self), microphone=(self), display-capture=(self), speaker-selection=(self), autoplay=(self), \
             clipboard-write=(self), geolocation=(), payment=(), usb=()",
        ),
    ),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    // The address names the room.
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        CROSS_ORIGIN_OPENER_POLICY,
        HeaderValue::from_static("same-origin"),
    ),
];

async fn secured(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.extend(SECURITY_HEADERS);
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(FILE);
    response
}

async fn call_page(headers: HeaderMap) -> Response {
    page("index.html", CALL, &headers)
}

async fn watch_page(headers: HeaderMap) -> Response {
    page("watch.html", WATCH, &headers)
}

async fn broadcast_page(headers: HeaderMap) -> Response {
    page("broadcast.html", BROADCAST, &headers)
}

fn page(name: &str, policy: HeaderValue, request: &HeaderMap) -> Response {
    let file = file(App::get(name), name, request);
    ([(CONTENT_SECURITY_POLICY, policy)], file).into_response()
}

/// The file, or 304 where the browser has this version. `no-cache` means to ask every time: after
/// an update of the server no browser mixes old and new modules.
fn file(found: Option<EmbeddedFile>, path: &str, request: &HeaderMap) -> Response {
    let Some(file) = found else {
        return (StatusCode::NOT_FOUND, "no such file\n").into_response();
    };
    let etag = etag(&file);
    let caching = [(ETAG, etag.clone()), (CACHE_CONTROL, "no-cache".to_owned())];
    if has_version(request, &etag) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (
        caching,
        [(CONTENT_TYPE, content_type(path))],
        Body::from(file.data.into_owned()),
    )
        .into_response()
}

fn etag(file: &EmbeddedFile) -> String {
    let hash: String = file
        .metadata
        .sha256_hash()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("\"{hash}\"")
}

/// RFC 9110 section 13.1.2: a list of tags or `*`, compared weakly.
fn has_version(request: &HeaderMap, etag: &str) -> bool {
    request
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|tags| tags.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some(_) | None => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;

    async fn get_with(path: &str, if_none_match: Option<&str>) -> Response {
        let mut request = Request::get(path);
        if let Some(tags) = if_none_match {
            request = request.header(IF_NONE_MATCH, tags);
        }
        router()
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap()
    }

    fn header(response: &Response, name: impl axum::http::header::AsHeaderName) -> &str {
        response
            .headers()
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    async fn text(response: Response) -> String {
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20)
            .await
            .unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn files_have_the_types_that_browsers_insist_on() {
        for (path, expected) in [
            ("/", "text/html; charset=utf-8"),
            ("/r/quiet-lantern-204", "text/html; charset=utf-8"),
            ("/watch/quiet-lantern-204", "text/html; charset=utf-8"),
            ("/broadcast/quiet-lantern-204", "text/html; charset=utf-8"),
            ("/app/main.js", "text/javascript; charset=utf-8"),
            ("/app/app.css", "text/css; charset=utf-8"),
            ("/app/icons.svg", "image/svg+xml"),
            ("/client/index.js", "text/javascript; charset=utf-8"),
        ] {
            let response = get_with(path, None).await;
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            assert_eq!(header(&response, CONTENT_TYPE), expected, "{path}");
        }
    }

    #[tokio::test]
    async fn other_paths_are_not_found() {
        for path in [
            "/app/",
            "/app/none.js",
            "/client/none.js",
            "/app/../Cargo.toml",
            "/app/%2e%2e/Cargo.toml",
            "/r",
            "/r/a/b",
            "/watch",
            "/broadcast/a/b",
            "/none",
        ] {
            assert_eq!(
                get_with(path, None).await.status(),
                StatusCode::NOT_FOUND,
                "{path}"
            );
        }
    }

    #[tokio::test]
    async fn every_answer_carries_the_security_headers() {
        for path in ["/", "/app/main.js", "/app/none.js"] {
            let response = get_with(path, None).await;
            assert!(
                header(&response, CONTENT_SECURITY_POLICY).starts_with("default-src 'self';"),
                "{path}"
            );
            assert!(
                header(&response, PERMISSIONS_POLICY).contains("display-capture=(self)"),
                "{path}"
            );
            assert_eq!(
                header(&response, X_CONTENT_TYPE_OPTIONS),
                "nosniff",
                "{path}"
            );
            assert_eq!(header(&response, REFERRER_POLICY), "no-referrer", "{path}");
        }
    }

    #[tokio::test]
    async fn only_the_player_may_stand_in_another_page_and_each_connects_where_it_must() {
        for (path, others, ancestors) in [
            ("/", " ws: wss:", "'none'"),
            ("/r/garden", " ws: wss:", "'none'"),
            ("/broadcast/garden", " https:", "'none'"),
            ("/app/watch.html", "", "'none'"),
            ("/watch/garden", " https:", "*"),
        ] {
            let response = get_with(path, None).await;
            let policies: Vec<_> = response
                .headers()
                .get_all(CONTENT_SECURITY_POLICY)
                .iter()
                .collect();
            assert_eq!(policies.len(), 1, "{path}");
            let policy = policies[0].to_str().unwrap();
            assert!(
                policy.ends_with(&format!("frame-ancestors {ancestors}")),
                "{path}: {policy}"
            );
            let connects = format!("; connect-src 'self'{others}; ");
            assert!(policy.contains(&connects), "{path}: {policy}");
        }
    }

    #[tokio::test]
    async fn a_version_that_the_browser_has_is_not_sent_again() {
        let first = get_with("/app/main.js", None).await;
        assert_eq!(header(&first, CACHE_CONTROL), "no-cache");
        let etag = header(&first, ETAG).to_owned();
        for tags in [
            etag.clone(),
            format!("W/{etag}"),
            format!("\"other\", {etag}"),
            "*".to_owned(),
        ] {
            let again = get_with("/app/main.js", Some(&tags)).await;
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{tags}");
            assert_eq!(header(&again, ETAG), etag);
            assert_eq!(text(again).await, "");
        }
        assert_eq!(
            get_with("/app/main.js", Some("\"other\"")).await.status(),
            StatusCode::OK
        );
    }

    /// A file that the page names and that is not there shows only in a browser.
    #[tokio::test]
    async fn every_file_that_a_page_names_is_there() {
        for page in ["/", "/watch/garden", "/broadcast/garden"] {
            let page = text(get_with(page, None).await).await;
            let paths: Vec<_> = page
                .split('"')
                .filter(|part| part.starts_with("/app/"))
                .collect();
            assert!(paths.len() > 5, "{paths:?}");
            for path in paths {
                let path = path.split('#').next().unwrap();
                assert_eq!(
                    get_with(path, None).await.status(),
                    StatusCode::OK,
                    "{path}"
                );
            }
        }
    }
}
