//! Which pages may talk to the routes, and what they may read.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;

/// Whether the browser asks what it may send (a preflight), and not the page.
pub(super) fn is_preflight(method: &Method, headers: &axum::http::HeaderMap) -> bool {
    method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Adds to every response, errors too, what lets pages of other origins read it. Credentials are tokens, never cookies, so
/// that a foreign page has none of ours to abuse; which pages may open sessions is checked where they are opened.
pub(super) async fn add(request: Request, next: Next) -> Response {
    let preflight = is_preflight(request.method(), request.headers());
    let mut response = next.run(request).await;
    let mut set = |name: HeaderName, value: &'static str| {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    };
    set(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    set(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        "Location, Link, ETag, Accept-Post, Accept-Patch, Retry-After",
    );
    if preflight {
        set(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            "OPTIONS, GET, HEAD, POST, PATCH, DELETE",
        );
        set(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "Authorization, Content-Type, If-Match, ETag",
        );
        set(header::ACCESS_CONTROL_MAX_AGE, "86400");
    }
    response
}
