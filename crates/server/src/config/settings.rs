//! Every setting: its name, its default, what is allowed and what it means.
//!
//! The identifier of an argument is its place in the file, `section.name`. Flag, environment variable,
//! help, documentation and the checks of all four sources follow from this one place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use clap::{ArgAction, Args};
use humantime::Duration;
use madang_core::limits::Limits as ShardLimits;
use madang_driver::DriverConfig;
use madang_signaling::Limits as SignalingLimits;
use tracing_subscriber::filter::Targets;

use super::values::{
    IceServers, Key, LogFormat, duration, ip_address, log_filter, number, origin, socket_address,
    workers,
};

/// The resolved configuration.
#[derive(Debug, Clone, Args)]
pub(crate) struct Settings {
    /// Address and port of the page, the WebSocket and the API
    ///
    /// Only a loopback address, such as the default, may be used without `auth.keys`: whoever reaches the server then may
    /// enter every room. For the outside, set 0.0.0.0:8080 or [::]:8080 and let a proxy in front of it terminate TLS; browsers
    /// give a page cameras only over HTTPS or on localhost.
    #[arg(id = "listen", value_name = "ADDRESS", default_value = "127.0.0.1:8080", value_parser = socket_address)]
    pub(crate) listen: SocketAddr,

    /// STUN and TURN servers that browsers are told to use, a list as in RTCPeerConnection
    ///
    /// In the file each is a table `[[ice_servers]]` with the keys `urls`, `username` and `credential`; in the environment
    /// and on the command line the whole list is one JSON array. A server with a public address needs none of them, but for clients whose
    /// network lets no UDP out.
    #[arg(id = "ice_servers", value_name = "JSON", default_value = "[]")]
    pub(crate) ice_servers: IceServers,

    #[command(flatten)]
    pub(crate) http: Http,
    #[command(flatten)]
    pub(crate) media: Media,
    #[command(flatten)]
    pub(crate) auth: Auth,
    #[command(flatten)]
    pub(crate) rooms: Rooms,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
    #[command(flatten)]
    pub(crate) whip: Whip,
    #[command(flatten)]
    pub(crate) whep: Whep,

    #[command(flatten)]
    pub(crate) log: Log,
    #[command(flatten)]
    pub(crate) metrics: Metrics,
    #[command(flatten)]
    pub(crate) shutdown: Shutdown,
    #[command(flatten)]
    pub(crate) limits: Limits,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Http {
    /// Origins of other pages that may connect, such as https://meet.example.org
    ///
    /// None: any page, as it needs a token; in development mode no other page. This server's own pages always may.
    #[arg(id = "http.allowed_origins", value_name = "ORIGIN", value_delimiter = ',', value_parser = origin)]
    pub(crate) allowed_origins: Vec<String>,
    /// Take the client's address from X-Forwarded-For
    ///
    /// Only behind a proxy that sets the header; elsewhere clients could choose the address that the limits
    /// per address count.
    #[arg(id = "http.trust_forwarded_for", value_name = "true|false", hide_possible_values = true, action = ArgAction::Set, default_value = "false")]
    pub(crate) trust_forwarded_for: bool,
    /// Address under which clients reach this server, such as https://live.example.org
    ///
    /// WHIP and WHEP clients are told addresses that begin with it. None: what each request says in `Host`, and behind a trusted proxy
    /// in `X-Forwarded-Proto` and `X-Forwarded-Host`.
    #[arg(id = "http.public_url", value_name = "ORIGIN", value_parser = origin)]
    pub(crate) public_url: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Cluster {
    /// All nodes that share the rooms, each by its `http.public_url`
    ///
    /// The same list on each of them. A room is on one node, which all of them know: others send there
    /// who joins, and WHIP and WHEP clients with a 307. None: this server has all rooms.
    #[arg(id = "cluster.nodes", value_name = "ORIGIN", value_delimiter = ',', value_parser = origin)]
    pub(crate) nodes: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Whip {
    /// Want the ETag in `If-Match` of each PATCH
    ///
    /// From WHIP and WHEP clients alike. RFC 9725 asks for it, and several clients send none.
    #[arg(id = "whip.strict_etags", value_name = "true|false", hide_possible_values = true, action = ArgAction::Set, default_value = "false")]
    pub(crate) strict_etags: bool,
    /// How long tracks wait for their publisher
    ///
    /// One that comes back in time has them and its place in the room again.
    #[arg(id = "whip.grace", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) grace: Duration,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Whep {
    /// Rooms that everybody may watch without a token; * opens all
    #[arg(id = "whep.open", value_name = "ROOM", value_delimiter = ',')]
    pub(crate) open: Vec<String>,
    /// Answer viewers of a room in which nobody publishes with 409, instead of letting them wait for the picture
    #[arg(id = "whep.require_publisher", value_name = "true|false", hide_possible_values = true, action = ArgAction::Set, default_value = "false")]
    pub(crate) require_publisher: bool,
    /// Show viewers to the others in the room
    #[arg(id = "whep.visible", value_name = "true|false", hide_possible_values = true, action = ArgAction::Set, default_value = "false")]
    pub(crate) visible: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Media {
    /// UDP port of all media
    ///
    /// 0 picks a free one.
    #[arg(id = "media.port", value_name = "PORT", default_value = "8080", value_parser = number::<u16>(0..=65_535))]
    pub(crate) port: u16,
    /// Local addresses of the media port
    ///
    /// ICE credentials protect this port, so that all addresses are a safe default. A machine without IPv6 skips `::`.
    #[arg(id = "media.bind", value_name = "IP", value_delimiter = ',', value_parser = ip_address,
          default_values_t = [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)])]
    pub(crate) bind: Vec<IpAddr>,
    /// Addresses that clients are told to send media to; none: those of this machine
    ///
    /// Needed behind NAT, as on most clouds: the public address.
    #[arg(id = "media.advertise", value_name = "IP", value_delimiter = ',', value_parser = ip_address)]
    pub(crate) advertise: Vec<IpAddr>,
    /// Threads that forward media; auto is one per core
    #[arg(id = "media.workers", value_name = "COUNT", default_value = "auto", value_parser = workers)]
    pub(crate) workers: usize,
    /// Be an ICE-lite agent, which only answers connectivity checks
    ///
    /// Only for servers whose advertised address every client can reach.
    #[arg(id = "media.ice_lite", value_name = "true|false", hide_possible_values = true, action = ArgAction::Set, default_value = "false")]
    pub(crate) ice_lite: bool,
    /// Where the bandwidth estimate of a participant starts, in bit/s
    ///
    /// Higher shows sharp pictures sooner, and loses packets where the link cannot carry them.
    #[arg(id = "media.initial_bitrate_bps", value_name = "BITRATE", default_value_t = 1_000_000,
          value_parser = number::<u64>(50_000..=1_000_000_000))]
    pub(crate) initial_bitrate_bps: u64,
    /// Kernel buffer of each UDP socket for receiving, in bytes
    ///
    /// The kernel gives at most its own limit (`net.core.rmem_max`); the server warns where that is less.
    #[arg(id = "media.receive_buffer_bytes", value_name = "BYTES", default_value_t = DriverConfig::SOCKET_BUFFER_BYTES,
          value_parser = number::<usize>(65_536..=1_073_741_824))]
    pub(crate) receive_buffer_bytes: usize,
    /// Kernel buffer of each UDP socket for sending, in bytes
    ///
    /// The kernel's own limit is `net.core.wmem_max`.
    #[arg(id = "media.send_buffer_bytes", value_name = "BYTES", default_value_t = DriverConfig::SOCKET_BUFFER_BYTES,
          value_parser = number::<usize>(65_536..=1_073_741_824))]
    pub(crate) send_buffer_bytes: usize,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Auth {
    /// Keys that sign access tokens (JWT, HS256), each id=secret
    ///
    /// In the file: a table `[auth.keys]` of `id = "secret"`. A token's header may name its key as `kid`. Prefer `auth.keys_file` or the
    /// environment to the command line, which other users of the machine can read.
    #[arg(id = "auth.keys", value_name = "ID=SECRET", value_delimiter = ',')]
    pub(crate) keys: Vec<Key>,
    /// File with more keys, one id=secret a line
    ///
    /// Empty lines and those that begin with # are skipped.
    #[arg(id = "auth.keys_file", value_name = "FILE")]
    pub(crate) keys_file: Option<PathBuf>,
    /// What the aud claim of a token must contain; unset: anything
    #[arg(id = "auth.audience", value_name = "TEXT")]
    pub(crate) audience: Option<String>,
    /// What the iss claim of a token must be; unset: anything
    #[arg(id = "auth.issuer", value_name = "TEXT")]
    pub(crate) issuer: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Rooms {
    /// Participants of one room
    #[arg(id = "rooms.max_participants", value_name = "COUNT",
          default_value_t = signaling().participants_per_room, value_parser = number::<usize>(1..=100_000))]
    pub(crate) max_participants: usize,
    /// Rooms of this server at one time
    #[arg(id = "rooms.max_rooms", value_name = "COUNT",
          default_value_t = signaling().rooms, value_parser = number::<usize>(1..=1_000_000))]
    pub(crate) max_rooms: usize,
    /// Viewers of one room, who come by WHEP; they take no places of participants
    #[arg(id = "rooms.max_viewers", value_name = "COUNT",
          default_value_t = signaling().viewers_per_room, value_parser = number::<usize>(1..=100_000))]
    pub(crate) max_viewers: usize,
    /// How long the media of a participant whose WebSocket is lost goes on, waiting for its return
    #[arg(id = "rooms.resume_ttl", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) resume_ttl: Duration,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Log {
    /// Lowest level that is logged: error, warn, info, debug or trace
    ///
    /// Also by module: `info,madang_driver=debug`.
    #[arg(id = "log.level", value_name = "LEVEL", default_value = "info", value_parser = log_filter)]
    pub(crate) level: Targets,
    /// Look of the log lines on standard error
    #[arg(
        id = "log.format",
        value_name = "FORMAT",
        default_value = "human",
        value_enum
    )]
    pub(crate) format: LogFormat,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Metrics {
    /// Serve /metrics on an address of its own instead of beside the page
    #[arg(id = "metrics.listen", value_name = "ADDRESS", value_parser = socket_address)]
    pub(crate) listen: Option<SocketAddr>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Shutdown {
    /// How long a stop waits for participants to leave
    ///
    /// On SIGTERM or SIGINT they are told to join again elsewhere. Kubernetes' `terminationGracePeriodSeconds` should be longer.
    #[arg(id = "shutdown.grace", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(crate) grace: Duration,
}

/// How far anything may grow that a remote party can grow.
#[derive(Debug, Clone, Args)]
pub(crate) struct Limits {
    /// Participants on one worker
    #[arg(id = "limits.peers_per_worker", value_name = "COUNT",
          default_value_t = shard().peers_per_worker, value_parser = number::<usize>(1..=1_000_000))]
    pub(crate) peers_per_worker: usize,
    /// Slots of one participant, audio and video together
    #[arg(id = "limits.slots_per_participant", value_name = "COUNT",
          default_value_t = signaling().slots_per_participant, value_parser = number::<usize>(1..=256))]
    pub(crate) slots_per_participant: usize,
    /// Tracks that one participant publishes
    #[arg(id = "limits.tracks_per_participant", value_name = "COUNT",
          default_value_t = signaling().tracks_per_participant, value_parser = number::<usize>(1..=64))]
    pub(crate) tracks_per_participant: usize,
    /// Simulcast layers of one track; media of further ones is dropped
    #[arg(id = "limits.layers_per_track", value_name = "COUNT",
          default_value_t = shard().layers_per_track, value_parser = number::<usize>(1..=4))]
    pub(crate) layers_per_track: usize,
    /// Candidates that a client may trickle in one ICE generation
    #[arg(id = "limits.candidates_per_peer", value_name = "COUNT",
          default_value_t = shard().candidates_per_peer, value_parser = number::<usize>(1..=1_000))]
    pub(crate) candidates_per_peer: usize,
    /// How long ICE and DTLS may take after a join
    #[arg(id = "limits.connect_timeout", value_name = "DURATION",
          default_value_t = shard().connect_timeout.into(), value_parser = duration)]
    pub(crate) connect_timeout: Duration,
    /// How long a participant's media path may be silent before it is ended (RFC 7675)
    #[arg(id = "limits.consent_timeout", value_name = "DURATION",
          default_value_t = shard().consent_timeout.into(), value_parser = duration)]
    pub(crate) consent_timeout: Duration,
    /// Size of a message on the data channel, in bytes
    #[arg(id = "limits.data_message_bytes", value_name = "BYTES",
          default_value_t = shard().data_message_bytes, value_parser = number::<usize>(1_024..=262_144))]
    pub(crate) data_message_bytes: usize,

    /// HTTP connections at one time, WebSockets included; further ones wait
    #[arg(id = "limits.http_connections", value_name = "COUNT", default_value_t = 16_384,
          value_parser = number::<usize>(1..=1_000_000))]
    pub(crate) http_connections: usize,
    /// How long the head of an HTTP request may take
    #[arg(id = "limits.http_header_timeout", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(crate) http_header_timeout: Duration,
    /// From the opening of a WebSocket to its first frame; from the head of a WHIP or WHEP request to the end of its body
    #[arg(id = "limits.first_frame_timeout", value_name = "DURATION",
          default_value_t = signaling().first_frame_timeout.into(), value_parser = duration)]
    pub(crate) first_frame_timeout: Duration,
    /// From an accepted join or offer to the answer of the media worker
    #[arg(id = "limits.answer_timeout", value_name = "DURATION",
          default_value_t = signaling().answer_timeout.into(), value_parser = duration)]
    pub(crate) answer_timeout: Duration,
    /// How long a WebSocket may be silent; clients ping every 10 seconds
    #[arg(id = "limits.idle_timeout", value_name = "DURATION",
          default_value_t = signaling().idle_timeout.into(), value_parser = duration)]
    pub(crate) idle_timeout: Duration,
    /// How long a client may take nothing of what is written to its WebSocket or HTTP connection
    #[arg(id = "limits.write_timeout", value_name = "DURATION",
          default_value_t = signaling().write_timeout.into(), value_parser = duration)]
    pub(crate) write_timeout: Duration,
    /// Size of a join, resume or offer frame and of an offer of WHIP and WHEP, in bytes; one with 49 slots has 81 KB
    #[arg(id = "limits.offer_frame_bytes", value_name = "BYTES",
          default_value_t = signaling().offer_frame_bytes, value_parser = number::<usize>(16_384..=4_194_304))]
    pub(crate) offer_frame_bytes: usize,
    /// Size of any other frame and of an ICE fragment of WHIP and WHEP, in bytes
    #[arg(id = "limits.frame_bytes", value_name = "BYTES",
          default_value_t = signaling().frame_bytes, value_parser = number::<usize>(1_024..=1_048_576))]
    pub(crate) frame_bytes: usize,
    /// Size of a relayed message, in bytes
    #[arg(id = "limits.message_bytes", value_name = "BYTES",
          default_value_t = signaling().message_bytes, value_parser = number::<usize>(256..=1_048_576))]
    pub(crate) message_bytes: usize,
    /// Frames of one participant, sustained
    #[arg(id = "limits.frames_per_second", value_name = "COUNT",
          default_value_t = signaling().frames_per_second, value_parser = number::<u32>(1..=10_000))]
    pub(crate) frames_per_second: u32,
    /// Frames of one participant that may come at once after a pause
    #[arg(id = "limits.frames_burst", value_name = "COUNT",
          default_value_t = signaling().frames_burst, value_parser = number::<u32>(1..=100_000))]
    pub(crate) frames_burst: u32,
    /// What one participant's messages may take on the way to all who get them, in bytes a second, sustained
    #[arg(id = "limits.relayed_bytes_per_second", value_name = "BYTES",
          default_value_t = signaling().relayed_bytes_per_second, value_parser = number::<u32>(1_000..=1_000_000_000))]
    pub(crate) relayed_bytes_per_second: u32,
    /// What they may take at once after a pause, in bytes; a larger one takes all of it
    #[arg(id = "limits.relayed_bytes_burst", value_name = "BYTES",
          default_value_t = signaling().relayed_bytes_burst, value_parser = number::<u32>(1_000..=4_000_000_000))]
    pub(crate) relayed_bytes_burst: u32,
    /// Tiles and pinned tracks of one view
    #[arg(id = "limits.tiles_per_view", value_name = "COUNT",
          default_value_t = signaling().tiles_per_view, value_parser = number::<usize>(1..=10_000))]
    pub(crate) tiles_per_view: usize,
    /// Participants of one client address (one /64 for IPv6), those included whose WebSocket is away
    ///
    /// A school or office behind one address needs a high value.
    #[arg(id = "limits.sessions_per_address", value_name = "COUNT",
          default_value_t = signaling().sessions_per_address, value_parser = number::<usize>(1..=1_000_000))]
    pub(crate) sessions_per_address: usize,
    /// WebSockets of one client address, those included that have not joined
    #[arg(id = "limits.websockets_per_address", value_name = "COUNT",
          default_value_t = signaling().websockets_per_address, value_parser = number::<usize>(1..=1_000_000))]
    pub(crate) websockets_per_address: usize,
    /// Attempts to join, resume, publish or watch of one client address, sustained
    #[arg(id = "limits.joins_per_second_per_address", value_name = "COUNT",
          default_value_t = signaling().joins_per_second_per_address, value_parser = number::<u32>(1..=100_000))]
    pub(crate) joins_per_second_per_address: u32,
    /// Attempts to join, resume, publish or watch of one client address that may come at once after a pause
    #[arg(id = "limits.joins_burst_per_address", value_name = "COUNT",
          default_value_t = signaling().joins_burst_per_address, value_parser = number::<u32>(1..=1_000_000))]
    pub(crate) joins_burst_per_address: u32,
    /// Requests of one client address about its WHIP and WHEP sessions, and all with one token, sustained
    #[arg(id = "limits.requests_per_second_per_address", value_name = "COUNT",
          default_value_t = signaling().requests_per_second_per_address, value_parser = number::<u32>(1..=100_000))]
    pub(crate) requests_per_second_per_address: u32,
    /// Requests of one client address about its WHIP and WHEP sessions, and all with one token, that may come at once after a pause
    #[arg(id = "limits.requests_burst_per_address", value_name = "COUNT",
          default_value_t = signaling().requests_burst_per_address, value_parser = number::<u32>(1..=1_000_000))]
    pub(crate) requests_burst_per_address: u32,
    /// Frames that wait for one WebSocket before it is closed; its client may resume
    #[arg(id = "limits.outgoing_frames", value_name = "COUNT",
          default_value_t = signaling().outgoing_frames, value_parser = number::<usize>(16..=65_536))]
    pub(crate) outgoing_frames: usize,
    /// Events that are kept for a participant's return
    #[arg(id = "limits.replay_frames", value_name = "COUNT",
          default_value_t = signaling().replay_frames, value_parser = number::<usize>(1..=65_536))]
    pub(crate) replay_frames: usize,
    /// Size of the events that are kept for a participant's return, in bytes
    #[arg(id = "limits.replay_bytes", value_name = "BYTES",
          default_value_t = signaling().replay_bytes, value_parser = number::<usize>(1_024..=67_108_864))]
    pub(crate) replay_bytes: usize,
    /// Size of a display name, identity, room name or topic, in bytes
    #[arg(id = "limits.name_bytes", value_name = "BYTES",
          default_value_t = signaling().name_bytes, value_parser = number::<usize>(16..=4_096))]
    pub(crate) name_bytes: usize,
    /// Size of a participant's metadata as JSON, in bytes
    #[arg(id = "limits.meta_bytes", value_name = "BYTES",
          default_value_t = signaling().meta_bytes, value_parser = number::<usize>(16..=65_536))]
    pub(crate) meta_bytes: usize,
}

fn shard() -> ShardLimits {
    ShardLimits::default()
}

fn signaling() -> SignalingLimits {
    SignalingLimits::default()
}
