//! WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep): publishing and watching by one HTTP request.
//!
//! Who publishes or watches so is a participant like any other. Its session has no WebSocket: a [`resource`] on this side takes
//! what the session is told, and asks for what the protocol `madang.v1` has requests for. The HTTP requests come to the
//! [`endpoint`] and to the [`session`].

mod answer;
mod cors;
mod endpoint;
mod events;
mod fragment;
mod layers;
mod links;
mod offer;
mod problem;
mod request;
mod resource;
mod session;

use std::convert::Infallible;
use std::hash::RandomState;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use futures_util::stream;

use crate::hub::Hub;
use problem::Problem;
use resource::Resources;

/// What a client comes for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// WHIP.
    Publish,
    /// WHEP.
    Watch,
}

impl Purpose {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "whip",
            Self::Watch => "whep",
        }
    }
}

/// The state of the routes.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) hub: Arc<Hub>,
    pub(crate) resources: Resources,
    /// Makes names of addresses that nobody can read the addresses from.
    pub(crate) callers: RandomState,
}

/// The routes of WHIP and WHEP.
pub(crate) fn router(hub: Arc<Hub>) -> Router {
    let gateway = Arc::new(Gateway {
        hub,
        resources: Resources::default(),
        callers: RandomState::new(),
    });
    let whip = || endpoint_routes(Purpose::Publish);
    let whep = || endpoint_routes(Purpose::Watch);
    Router::new()
        .route("/whip/{room}", whip())
        .route("/whip/{room}/{token}", whip())
        .route("/whep/{room}", whep())
        .route("/whep/{room}/{token}", whep())
        .route("/whip/{room}/sessions/{id}", session_routes())
        .route("/whep/{room}/sessions/{id}", session_routes())
        .route("/whep/{room}/sessions/{id}/events", stream_maker_routes())
        .route(
            "/whep/{room}/sessions/{id}/events/{stream}",
            stream_routes(),
        )
        .route("/whep/{room}/sessions/{id}/layers", layer_routes())
        .merge(nowhere())
        .layer(from_fn(without_length))
        .layer(from_fn(cors::add))
        .with_state(gateway)
}

/// What is easily asked for instead of an endpoint or a session, and told so as all else is.
fn nowhere() -> Router<Arc<Gateway>> {
    let paths = [
        "/whip",
        "/whip/",
        "/whip/{room}/",
        "/whip/{room}/{token}/",
        "/whip/{room}/sessions/{id}/{*rest}",
        "/whep",
        "/whep/",
        "/whep/{room}/",
        "/whep/{room}/{token}/",
    ];
    let told = || {
        MethodRouter::new()
            .options(extension_options)
            .fallback(|| async { Problem::no_such_address() })
    };
    let add = |router: Router<_>, path| router.route(path, told());
    paths.into_iter().fold(Router::new(), add)
}

/// A 204 has no `Content-Length` (RFC 9110 section 8.6), and axum adds one to HEAD's where it knows the length of the body.
async fn without_length(request: Request, next: Next) -> Response {
    let is_head = request.method() == Method::HEAD;
    let response = next.run(request).await;
    if is_head && response.status() == StatusCode::NO_CONTENT {
        let unknown = stream::empty::<Result<Bytes, Infallible>>();
        return response.map(|_| Body::from_stream(unknown));
    }
    response
}

fn endpoint_routes(purpose: Purpose) -> MethodRouter<Arc<Gateway>> {
    let head = move || async move { endpoint::head(purpose) };
    let options = move |gateway, from, uri, place, headers| async move {
        endpoint::options(purpose, gateway, from, uri, place, headers)
    };
    let post = move |gateway, from, place, asked, headers, body| {
        endpoint::post(purpose, gateway, from, place, asked, headers, body)
    };
    MethodRouter::new()
        .post(post)
        .get(endpoint::get)
        .head(head)
        .options(options)
        .fallback(|| async { Problem::method("GET, HEAD, OPTIONS, POST") })
}

fn stream_maker_routes() -> MethodRouter<Arc<Gateway>> {
    post(events::open)
        .options(extension_options)
        .fallback(|| async { Problem::method("OPTIONS, POST") })
}

fn stream_routes() -> MethodRouter<Arc<Gateway>> {
    get(events::listen)
        // By itself axum answers HEAD by what GET does, which would end the listener.
        .head(events::head)
        .delete(events::close)
        .options(extension_options)
        .fallback(|| async { Problem::method("DELETE, GET, HEAD, OPTIONS") })
}

fn layer_routes() -> MethodRouter<Arc<Gateway>> {
    post(layers::choose)
        .delete(layers::automatic)
        .options(extension_options)
        .fallback(|| async { Problem::method("DELETE, OPTIONS, POST") })
}

async fn extension_options() -> StatusCode {
    StatusCode::NO_CONTENT
}

fn session_routes() -> MethodRouter<Arc<Gateway>> {
    get(session::get)
        .options(session::options)
        .patch(session::patch)
        .delete(session::delete)
        .fallback(|| async { Problem::method("DELETE, GET, HEAD, OPTIONS, PATCH") })
}
