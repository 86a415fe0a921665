//! The settings as each part wants them.

use std::net::SocketAddr;

use madang_core::limits::Limits as ShardLimits;
use madang_driver::DriverConfig;
use madang_signaling::protocol::{IceServer, Secret};
use madang_signaling::{Auth, HubConfig, Keys, Limits as SignalingLimits, Live, Nodes};

use crate::config::Settings;
use crate::http::ServerLimits;

pub(crate) fn driver(settings: &Settings) -> DriverConfig {
    let media = &settings.media;
    DriverConfig {
        // All addresses by default, with or without keys: a datagram does nothing before it has named
        // the ICE credentials of a session, which only signalling hands out.
        bind: media
            .bind
            .iter()
            .map(|ip| SocketAddr::new(*ip, media.port))
            .collect(),
        workers: media.workers,
        node: 0,
        epoch: rand::random(),
        advertised: media.advertise.clone(),
        limits: shard_limits(settings),
        ice_lite: media.ice_lite,
        initial_bitrate_bps: media.initial_bitrate_bps,
        seed: rand::random(),
        receive_buffer_bytes: media.receive_buffer_bytes,
        send_buffer_bytes: media.send_buffer_bytes,
    }
}

pub(crate) fn hub(settings: &Settings) -> HubConfig {
    let ice_servers = settings.ice_servers.0.iter().map(|server| IceServer {
        urls: server.urls.clone(),
        username: server.username.clone(),
        credential: server.credential.clone().map(Secret),
    });
    HubConfig {
        ice_servers: ice_servers.collect(),
        resume_ttl: *settings.rooms.resume_ttl,
        allowed_origins: settings.http.allowed_origins.clone(),
        trust_forwarded_for: settings.http.trust_forwarded_for,
        public_url: settings.http.public_url.clone(),
        nodes: settings
            .http
            .public_url
            .as_ref()
            .map_or_else(Nodes::default, |own| {
                Nodes::new(own, &settings.cluster.nodes)
            }),
        live: Live {
            strict_etags: settings.whip.strict_etags,
            open: settings.whep.open.clone(),
            require_publisher: settings.whep.require_publisher,
            visible_viewers: settings.whep.visible,
            grace: *settings.whip.grace,
        },
        limits: signaling_limits(settings),
        ..HubConfig::new(auth(settings))
    }
}

pub(crate) fn server_limits(settings: &Settings) -> ServerLimits {
    ServerLimits {
        connections: settings.limits.http_connections,
        header_timeout: *settings.limits.http_header_timeout,
        write_timeout: *settings.limits.write_timeout,
    }
}

fn auth(settings: &Settings) -> Auth {
    if settings.is_development() {
        return Auth::Development;
    }
    let auth = &settings.auth;
    Auth::Keys(Keys {
        keys: auth.keys.iter().map(|key| key.verifier.clone()).collect(),
        audience: auth.audience.clone(),
        issuer: auth.issuer.clone(),
    })
}

fn shard_limits(settings: &Settings) -> ShardLimits {
    let limits = &settings.limits;
    ShardLimits {
        peers_per_worker: limits.peers_per_worker,
        slots_per_peer: limits.slots_per_participant,
        tracks_per_peer: limits.tracks_per_participant,
        layers_per_track: limits.layers_per_track,
        candidates_per_peer: limits.candidates_per_peer,
        connect_timeout: *limits.connect_timeout,
        consent_timeout: *limits.consent_timeout,
        data_message_bytes: limits.data_message_bytes,
    }
}

fn signaling_limits(settings: &Settings) -> SignalingLimits {
    let limits = &settings.limits;
    SignalingLimits {
        first_frame_timeout: *limits.first_frame_timeout,
        answer_timeout: *limits.answer_timeout,
        connect_timeout: *limits.connect_timeout,
        idle_timeout: *limits.idle_timeout,
        write_timeout: *limits.write_timeout,
        offer_frame_bytes: limits.offer_frame_bytes,
        frame_bytes: limits.frame_bytes,
        message_bytes: limits.message_bytes,
        frames_per_second: limits.frames_per_second,
        frames_burst: limits.frames_burst,
        relayed_bytes_per_second: limits.relayed_bytes_per_second,
        relayed_bytes_burst: limits.relayed_bytes_burst,
        rooms: settings.rooms.max_rooms,
        participants_per_room: settings.rooms.max_participants,
        viewers_per_room: settings.rooms.max_viewers,
        tracks_per_participant: limits.tracks_per_participant,
        slots_per_participant: limits.slots_per_participant,
        tiles_per_view: limits.tiles_per_view,
        sessions_per_address: limits.sessions_per_address,
        websockets_per_address: limits.websockets_per_address,
        joins_per_second_per_address: limits.joins_per_second_per_address,
        joins_burst_per_address: limits.joins_burst_per_address,
        requests_per_second_per_address: limits.requests_per_second_per_address,
        requests_burst_per_address: limits.requests_burst_per_address,
        outgoing_frames: limits.outgoing_frames,
        replay_frames: limits.replay_frames,
        replay_bytes: limits.replay_bytes,
        name_bytes: limits.name_bytes,
        meta_bytes: limits.meta_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_defaults;

    /// The parts' own defaults are the configuration's.
    #[test]
    fn defaults_are_those_of_the_parts() {
        let settings = load_defaults();
        assert_eq!(
            format!("{:?}", shard_limits(&settings)),
            format!("{:?}", ShardLimits::default())
        );
        assert_eq!(
            format!("{:?}", hub(&settings)),
            format!("{:?}", HubConfig::new(Auth::Development))
        );
    }
}
