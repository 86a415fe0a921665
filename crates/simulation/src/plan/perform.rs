//! Carrying out the steps of a plan.

use madang_core::Source;

use super::{Action, EXPECTATION_WINDOW, Expectation};
use crate::browser::{BrowserConfig, layer_of};
use crate::control::Request;
use crate::network::{LinkConfig, ScriptedDrop};
use crate::page::source_name;
use crate::world::{Seat, World};

pub(super) fn perform(world: &mut World, action: &Action) {
    match action {
        Action::Join(name) => {
            let seat = world.add(name, BrowserConfig::default());
            world.page_joins(seat);
            world.page_publishes(seat, Source::Microphone);
            world.page_publishes(seat, Source::Camera);
        }
        Action::JoinWith(name, config) => {
            let seat = world.add(name, *config);
            world.page_joins(seat);
        }
        Action::Leave(name) => {
            let seat = world.position(name);
            let now = world.now();
            world.request(seat, Request::Leave);
            world.seat_mut(seat).browser.close(now);
        }
        Action::Vanish(name) => {
            world.set_uplink(name, LinkConfig::outage());
            world.set_downlink(name, LinkConfig::outage());
            let seat = world.position(name);
            world.set_signalling(seat, false);
        }
        Action::Publish(name, source) => world.page_publishes(world.position(name), *source),
        Action::Unpublish(name, source) => world.page_unpublishes(world.position(name), *source),
        Action::Mute(name, source) => world.page_mutes(world.position(name), *source, true),
        Action::MuteAtServer(name, source) => {
            world.mute_at_server(world.position(name), *source);
        }
        Action::Unmute(name, source) => world.page_mutes(world.position(name), *source, false),
        Action::Encode(name, codec, svc) => {
            world.seat_named(name).browser.change_codec(*codec, *svc);
        }
        Action::Talk(name, level) => world.seat_named(name).browser.talk(Some(*level)),
        Action::Hush(name) => world.seat_named(name).browser.talk(None),
        Action::Uplink(name, config) => world.set_uplink(name, config.clone()),
        Action::Downlink(name, config) => world.set_downlink(name, config.clone()),
        Action::Rebind(name) => world.rebind(name),
        Action::SignallingLost(name) => world.set_signalling(world.position(name), false),
        Action::SignallingBack(name) => world.set_signalling(world.position(name), true),
        Action::RestartIce(name) => world.page_restarts_ice(world.position(name)),
        Action::MoreSlots(name, count) => world.page_adds_slots(world.position(name), *count),
        Action::Data(name, text) => send_data(world, name, text),
        Action::Tiles(..)
        | Action::Tile { .. }
        | Action::Frames(..)
        | Action::Audio(..)
        | Action::Auto(..) => {
            change_view(world, action);
        }
        Action::LoseUp {
            publisher,
            source,
            rid,
            packets,
            retransmissions,
        } => {
            lose_up(
                world.seat_named(publisher),
                (*source, *rid),
                *packets,
                *retransmissions,
            );
        }
        Action::Expect(expectation) => expect(world, expectation),
    }
}

fn send_data(world: &mut World, name: &str, text: &str) {
    let now = world.now();
    let sender = &mut world.seat_named(name).browser;
    let sent = sender.send_data(now, text.as_bytes());
    assert!(sent, "the data channel of {name} is not open");
}

fn lose_up(
    seat: &mut Seat,
    (source, rid): (Source, Option<&str>),
    packets: usize,
    retransmissions: usize,
) {
    let (ssrc, rtx) = seat
        .browser
        .sent_ssrcs(source, rid)
        .expect("the source is sent");
    seat.up.drop_next(ScriptedDrop {
        ssrc,
        count: packets,
    });
    if let Some(ssrc) = rtx {
        seat.up.drop_next(ScriptedDrop {
            ssrc,
            count: retransmissions,
        });
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the caller passes the actions that change a view"
)]
fn change_view(world: &mut World, action: &Action) {
    let viewer = match action {
        Action::Tiles(name, size) => {
            let page = &mut world.seat_named(name).page;
            page.default_tile = *size;
            page.tiles.clear();
            *name
        }
        Action::Tile {
            viewer,
            publisher,
            source,
            size,
        } => {
            let owner = world.position(publisher);
            world
                .seat_named(viewer)
                .page
                .tiles
                .insert((owner, source_name(*source)), *size);
            *viewer
        }
        Action::Frames(name, frames) => {
            world.seat_named(name).page.frames = *frames;
            *name
        }
        Action::Audio(name, view) => {
            world.seat_named(name).page.audio_view = view.clone();
            *name
        }
        Action::Auto(name, view) => {
            world.seat_named(name).page.auto = Some(view.clone());
            *name
        }
        _ => return,
    };
    let seat = world.position(viewer);
    // A page that has not joined yet sends its view when it has.
    if world.seat(viewer).page.joined_at.is_some() {
        world.page_views(seat);
    }
}

fn expect(world: &mut World, expectation: &Expectation) {
    let from = world.now().saturating_sub(EXPECTATION_WINDOW);
    match expectation {
        Expectation::Sees(viewer, publisher, source) => {
            let frames = world.frames(viewer, publisher, *source, from).len();
            let slot = world.slot_of(viewer, publisher, *source);
            assert!(
                frames >= 20,
                "{viewer} got {frames} frames of {publisher} in the last second; {slot:?}"
            );
        }
        Expectation::SeesLayer(viewer, publisher, rid) => {
            let layer = layer_of(Some((*rid).into()));
            let frames = world.frames(viewer, publisher, Source::Camera, from);
            let slot = world.slot_of(viewer, publisher, Source::Camera);
            let right = frames
                .iter()
                .filter(|frame| frame.tag.layer == layer)
                .count();
            let all = frames.len();
            let count = format!("{right} of {all} frames of the last second are of layer {rid}");
            assert!(
                right >= 20 && right == all,
                "{viewer} looking at {publisher}: {count}; {slot:?}"
            );
        }
        Expectation::SeesNot(viewer, publisher, source) => {
            let frames = world.frames(viewer, publisher, *source, from).len();
            assert_eq!(frames, 0, "{viewer} still sees {publisher}");
        }
        Expectation::Hears(listener, speaker) => {
            let packets = world
                .sounds(listener, speaker, Source::Microphone, from)
                .len();
            assert!(
                packets >= 40,
                "{listener} heard {packets} packets of {speaker} in the last second"
            );
        }
        Expectation::HearsNot(listener, speaker) => {
            let packets = world
                .sounds(listener, speaker, Source::Microphone, from)
                .len();
            assert_eq!(packets, 0, "{listener} still hears {speaker}");
        }
        Expectation::Connected(name) => {
            let seat = world.seat(name);
            let refused = &seat.page.refusals;
            assert!(
                seat.browser.connected_at.is_some(),
                "{name} is not connected; refusals: {refused:?}"
            );
        }
        Expectation::Gone(name) => {
            let page = &world.seat(name).page;
            assert!(page.closed.is_some(), "{name} is still there");
        }
    }
}
