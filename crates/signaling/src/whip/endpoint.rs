//! The endpoints: an offer comes in, a session is made, the answer goes out.

use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::header::{CONTENT_TYPE, ETAG, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use madang_core::sdp::Offer;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::offer::OfferText;
use super::problem::{Problem, RETRY_SECONDS};
use super::request::{Path, Query, client, is_type, text, token};
use super::resource::{Agent, Happenings, Ice, Resource, Scene};
use super::session::ACCEPT_PATCH;
use super::{Gateway, Purpose, answer, cors, fragment, links};
use crate::hub::{Entrant, check_room_name, count_join, room_name};
use crate::protocol::{
    ClientMessage, ErrorCode, Fault, Grants, Joined, Kind, Publication, Secret, ServerMessage,
    Source,
};
use crate::room::{Participant, check_publishable};
use crate::session::Outgoing;
use crate::token::{Access, Renewal};

pub(super) const SDP: &str = "application/sdp";
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");

/// What may stand in the query of an endpoint.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    /// WHEP: whom to show, by identity or name. WHIP without tokens: who publishes.
    participant: Option<String>,
    /// WHEP: the client wants to answer an offer of ours.
    counter_offer: Option<String>,
    /// WHIP: the name to show, where the token says none.
    name: Option<String>,
    /// WHIP: the picture is a shared screen.
    screen: Option<String>,
    /// Another node has sent the client here.
    moved: Option<String>,
}

/// A request to an endpoint.
#[derive(Debug)]
struct Call {
    purpose: Purpose,
    room: String,
    asked: Asked,
    address: IpAddr,
    token: Option<Secret>,
    /// The endpoint's address, without the token that may stand in its path.
    endpoint: String,
    query: Option<String>,
}

/// The room, and the token where it stands in the path.
#[derive(Debug, Deserialize)]
pub(super) struct Place {
    room: String,
    token: Option<String>,
}

pub(super) async fn get() -> StatusCode {
    StatusCode::NO_CONTENT
}

pub(super) fn head(purpose: Purpose) -> Response {
    match purpose {
        Purpose::Publish => StatusCode::NO_CONTENT.into_response(),
        Purpose::Watch => [(CONTENT_TYPE, SDP)].into_response(),
    }
}

/// Servers for ICE are named only to a client that would be let in: with them go credentials, and RFC 9725 section 4.6 has
/// them on authenticated requests.
pub(super) fn options(
    purpose: Purpose,
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(connected): ConnectInfo<SocketAddr>,
    uri: Uri,
    place: Result<Path<Place>, Problem>,
    headers: HeaderMap,
) -> Response {
    let mut response = (StatusCode::NO_CONTENT, [(ACCEPT_POST, SDP)]).into_response();
    if cors::is_preflight(&Method::OPTIONS, &headers) {
        return response;
    }
    let from = (connected, &uri);
    let call = place.and_then(|Path(place)| {
        Call::new(&gateway, purpose, from, place, Asked::default(), &headers)
    });
    if call.and_then(|call| gateway.participant(&call)).is_ok() {
        links::add_ice_servers(response.headers_mut(), &gateway.hub.config().ice_servers);
    }
    response
}

pub(super) async fn post(
    purpose: Purpose,
    State(gateway): State<Arc<Gateway>>,
    (ConnectInfo(connected), uri): (ConnectInfo<SocketAddr>, Uri),
    Path(place): Path<Place>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let from = (connected, &uri);
    let call = Call::new(&gateway, purpose, from, place, asked, &headers)?;
    let opened = gateway.open(call, &headers, body).await;
    match purpose {
        Purpose::Publish => opened,
        // Players take a 400 for a wish to make the offer themselves.
        Purpose::Watch => opened.map_err(Problem::unprocessable),
    }
}

impl Call {
    fn new(
        gateway: &Gateway,
        purpose: Purpose,
        (connected, uri): (SocketAddr, &Uri),
        place: Place,
        asked: Asked,
        headers: &HeaderMap,
    ) -> Result<Self, Problem> {
        let config = gateway.hub.config();
        let address = client(connected, headers, config)?;
        // As the client has encoded it.
        let room = uri.path().split('/').nth(2).unwrap_or_default();
        let endpoint = format!(
            "{}/{}/{room}",
            links::base(headers, config)?,
            purpose.as_str()
        );
        Ok(Self {
            purpose,
            room: place.room,
            asked,
            address,
            token: token(headers, place.token),
            endpoint,
            query: uri.query().map(str::to_owned),
        })
    }

    /// The same endpoint on another node. The token goes along in the path: clients drop `Authorization` on the way to
    /// another host (Fetch standard, HTTP-redirect fetch; curl does so, too).
    fn elsewhere(&self, node: &str) -> Option<String> {
        let room = self.endpoint.rsplit('/').next()?;
        let token = self.token.as_ref().map(|Secret(token)| token.as_str());
        // What needs to be escaped in a path is no token (RFC 7515 section 7.1).
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
        let token = token.filter(|token| token.chars().all(is_plain));
        let token = token.map(|token| format!("/{token}")).unwrap_or_default();
        let query = self.query.as_ref().map(|query| format!("{query}&"));
        let (purpose, query) = (self.purpose.as_str(), query.unwrap_or_default());
        Some(format!("{node}/{purpose}/{room}{token}?{query}moved"))
    }
}

impl Gateway {
    /// Makes a session of an offer.
    async fn open(
        self: &Arc<Self>,
        call: Call,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Response, Problem> {
        let opened = match self.check_rates(&call) {
            Ok(()) => match self.redirect(&call) {
                Some(redirect) => {
                    // A client that is still sending might not read the response.
                    let limits = &self.hub.config().limits;
                    let _ = text(body, limits.offer_frame_bytes, limits).await;
                    return Ok(redirect);
                }
                None => self.try_open(call, headers, body).await,
            },
            Err(refused) => Err(refused.into()),
        };
        count_join(opened.as_ref().err().map(|problem| problem.code));
        opened
    }

    fn check_rates(&self, call: &Call) -> Result<(), Fault> {
        self.hub.check_join_rate(call.address)?;
        if let Some(token) = &call.token {
            self.hub.check_token_rate(token)?;
        }
        Ok(())
    }

    async fn try_open(
        self: &Arc<Self>,
        call: Call,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Response, Problem> {
        let (participant, renewal) = self.participant(&call)?;
        let offer = self.offer(&call, headers, body).await?;
        let invited = offer.is_none();
        let tracks = match (&offer, call.purpose) {
            (Some(offer), Purpose::Publish) => publications(&call, offer),
            (None, Purpose::Publish) | (_, Purpose::Watch) => Vec::new(),
        };
        let limits = &self.hub.config().limits;
        check_publishable(&participant.grants, &tracks, limits)?;
        let parsed = offer.as_ref().map(|offer| Offer::parse(&offer.text));
        let entrant = Entrant {
            re: 0,
            room: call.room.clone(),
            participant,
            renewal,
            offer: parsed
                .transpose()
                .map_err(|error| Problem::bad_request(error.to_string()))?,
            check_answer: match call.purpose {
                Purpose::Publish => |answer| answer::check_complete(&answer.to_string()),
                Purpose::Watch => |_| Ok(()),
            },
        };
        let (sender, mut outgoing) = mpsc::channel(limits.outgoing_frames);
        let at = self.hub.admit(entrant, call.address, sender).await?;
        let joined = first_message(&mut outgoing)?;
        let answer = answer::finish(&joined.answer);
        let ice = offer.map_or_else(Ice::invited, Ice::new);
        let etag = ice.etag.clone();
        let resource = Arc::new(Resource {
            at,
            ice: tokio::sync::Mutex::new(ice),
            pictures: pictures(&joined),
            choices: tokio::sync::Mutex::default(),
            happenings: (call.purpose == Purpose::Watch).then(Happenings::default),
        });
        let name = self.resources.insert(Arc::clone(&resource));
        let scene = (call.purpose == Purpose::Watch)
            .then(|| Scene::new(call.asked.participant.clone(), *joined));
        let agent = Agent {
            gateway: Arc::clone(self),
            resource: Arc::clone(&resource),
            outgoing,
            scene,
        };
        tokio::spawn(agent.run(name.clone()));
        if !tracks.is_empty() {
            let publish = ClientMessage::Publish { tracks };
            if let Err(fault) = self.hub.ask(&resource.at, publish).await {
                self.resources.remove(&name);
                let _ = self.hub.ask(&resource.at, ClientMessage::Leave {}).await;
                return Err(fault.into());
            }
        }
        let location = format!("{}/sessions/{name}", call.endpoint);
        let mut created = self.created(&location, &etag, answer);
        if invited {
            mark_as_offer(&mut created, limits.connect_timeout);
        }
        if call.purpose == Purpose::Watch {
            links::add_extensions(created.headers_mut(), &location);
        }
        Ok(created)
    }

    /// Sends a client to the node that has the room, with method and body as they are.
    fn redirect(&self, call: &Call) -> Option<Response> {
        let node = self.hub.redirect(&call.room, call.asked.moved.is_some())?;
        let location = HeaderValue::from_str(&call.elsewhere(node)?).ok()?;
        Some((StatusCode::TEMPORARY_REDIRECT, [(LOCATION, location)]).into_response())
    }

    /// What the body offers; `None` of who wants to answer an offer of this side.
    async fn offer(
        &self,
        call: &Call,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Option<OfferText>, Problem> {
        let limits = &self.hub.config().limits;
        let sdp = text(body, limits.offer_frame_bytes, limits).await?;
        let asked = call.asked.counter_offer.is_some() || sdp.is_empty();
        if call.purpose == Purpose::Watch && asked {
            return Ok(None);
        }
        if is_type(headers, SDP) {
            return Ok(Some(OfferText::read(&sdp, call.purpose)?));
        }
        let accepted = HeaderValue::from_static(SDP);
        Err(Problem::media_type(SDP).header(ACCEPT_POST, accepted))
    }

    /// Who comes, and what they may do here.
    fn participant(&self, call: &Call) -> Result<(Participant, Option<Renewal>), Problem> {
        let limits = &self.hub.config().limits;
        check_room_name(&call.room, limits)?;
        let mut access = self.access(call)?;
        room_name(&access, Some(call.room.clone()))?;
        let named = [&access.name, &call.asked.name, &call.asked.participant];
        for name in named.into_iter().flatten() {
            limits.check_name("name", name)?;
        }
        limits.check_name("the token's 'sub'", &access.identity)?;
        let renewal = access.renewal.take();
        let participant = match call.purpose {
            Purpose::Publish => publisher(access, call),
            Purpose::Watch => {
                self.check_live(call)?;
                viewer(access, self.hub.config().live.visible_viewers)?
            }
        };
        Ok((participant, renewal))
    }

    fn access(&self, call: &Call) -> Result<Access, Problem> {
        let config = self.hub.config();
        let is_open = |room: &String| room == "*" || *room == call.room;
        if call.purpose == Purpose::Watch
            && call.token.is_none()
            && config.live.open.iter().any(is_open)
        {
            return Ok(Access::viewer());
        }
        // A program that comes back without a name is known by its address.
        let unnamed = || format!("whip-{:08x}", self.callers.hash_one(call.address) >> 32);
        let guest = || call.asked.participant.clone().unwrap_or_else(unnamed);
        Ok(config.auth.check(call.token.as_ref(), guest)?)
    }

    /// Refuses viewers where there is nothing to see and the configuration wants that there is.
    fn check_live(&self, call: &Call) -> Result<(), Problem> {
        let participant = call.asked.participant.as_deref();
        if !self.hub.config().live.require_publisher || self.hub.is_live(&call.room, participant) {
            return Ok(());
        }
        let text = "nobody publishes here now: try again later";
        Err(Problem::new(StatusCode::CONFLICT, "no_publisher", text).retry_after(RETRY_SECONDS))
    }

    fn created(&self, location: &str, etag: &str, answer: String) -> Response {
        let headers = [
            (CONTENT_TYPE, SDP),
            (LOCATION, location),
            (ETAG, etag),
            (ACCEPT_PATCH, fragment::TYPE),
        ];
        let mut response = (StatusCode::CREATED, headers, answer).into_response();
        links::add_ice_servers(response.headers_mut(), &self.hub.config().ice_servers);
        response
    }
}

/// Turns the response around: what it carries is an offer, and good for as long as a session may take to connect.
fn mark_as_offer(response: &mut Response, valid: Duration) {
    *response.status_mut() = StatusCode::NOT_ACCEPTABLE;
    let until = httpdate::fmt_http_date(SystemTime::now() + valid);
    if let Ok(kind) = HeaderValue::from_str(&format!("{SDP}; valid-until=\"{until}\"")) {
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
}

/// The session begins with this.
fn first_message(outgoing: &mut mpsc::Receiver<Outgoing>) -> Result<Box<Joined>, Problem> {
    if let Ok(Outgoing::Text(text)) = outgoing.try_recv()
        && let Ok(ServerMessage::Joined(joined)) = serde_json::from_str(&text)
    {
        return Ok(joined);
    }
    Err(Fault::new(ErrorCode::Internal, "the session has got lost").into())
}

/// The mids of the m-lines that show something.
fn pictures(joined: &Joined) -> Vec<String> {
    let slots = joined.slots.iter();
    let pictures = slots.filter(|slot| slot.kind == Kind::Video);
    pictures.map(|slot| slot.mid.clone()).collect()
}

fn publisher(access: Access, call: &Call) -> Participant {
    Participant {
        name: access
            .name
            .or_else(|| call.asked.name.clone())
            .unwrap_or_else(|| access.identity.clone()),
        meta: access.meta.unwrap_or_default(),
        identity: access.identity,
        grants: access.grants,
        viewer: false,
        encrypts: false,
        returns: true,
    }
}

/// A viewer only receives. Several may come with the same token, so that each is somebody of its own.
fn viewer(access: Access, visible: bool) -> Result<Participant, Problem> {
    if !access.grants.subscribe {
        let text = "this needs the grant 'subscribe', which the token does not give";
        return Err(Fault::new(ErrorCode::Forbidden, text).into());
    }
    Ok(Participant {
        identity: format!("viewer-{:032x}", rand::random::<u128>()),
        name: access.name.unwrap_or_default(),
        meta: access.meta.unwrap_or_default(),
        grants: Grants {
            publish: Vec::new(),
            subscribe: true,
            data: false,
            update_own: false,
            hidden: !visible,
            recorder: access.grants.recorder,
            admin: false,
            p2p: false,
        },
        viewer: true,
        encrypts: false,
        returns: false,
    })
}

/// What the offer's m-lines become in the room.
fn publications(call: &Call, offer: &OfferText) -> Vec<Publication> {
    let screen = call.asked.screen.is_some();
    let media = offer.media().map(|(_, section)| {
        // The sound beside a screen is mostly that of who shows it.
        let (kind, source) = match (section.kind.as_str(), screen) {
            ("audio", _) => (Kind::Audio, Source::Microphone),
            (_, false) => (Kind::Video, Source::Camera),
            (_, true) => (Kind::Video, Source::Screen),
        };
        Publication {
            cid: source.as_str().to_owned(),
            mid: section.mid.clone(),
            kind,
            source,
            muted: false,
            rids: Some(section.rids.clone()),
            w: None,
            h: None,
            codec: None,
            max_bps: None,
        }
    });
    media.collect()
}
