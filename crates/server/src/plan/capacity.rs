//! From a call to cores, memory, bandwidth and instances.

use serde::Serialize;

use super::call::{Call, Traffic};
use super::model::{Model, Point};

/// What one server is given.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Instance {
    pub(super) cores: f64,
    /// Share of the cores that may be used.
    pub(super) core_target: f64,
    /// In each direction.
    pub(super) bits: f64,
}

/// What some of the rooms need.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Need {
    pub(super) rooms: f64,
    pub(super) cores: f64,
    pub(super) memory_mib: f64,
    #[serde(flatten)]
    pub(super) traffic: Traffic,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Limit {
    Cores,
    BandwidthIn,
    BandwidthOut,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Plan {
    pub(super) whole: Need,
    pub(super) room: Need,
    /// The fullest instance; none where not even one room fits.
    pub(super) instance: Option<Need>,
    pub(super) instances: Option<f64>,
    pub(super) limit: Limit,
    /// None where nothing alike was measured.
    pub(super) nearest: Option<Nearest>,
    /// What is beyond all measurements.
    pub(super) outside: Vec<Outside>,
}

/// The measured scenario that is most like what is planned.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Nearest {
    pub(super) scenario: String,
    pub(super) title: String,
    /// The trait in which it is least like it.
    #[serde(rename = "trait")]
    pub(super) name: &'static str,
    pub(super) here: f64,
    pub(super) measured: f64,
    /// The share by which the model's CPU time is more than was measured there.
    pub(super) cpu_error: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Outside {
    #[serde(rename = "trait")]
    pub(super) name: &'static str,
    pub(super) here: f64,
    /// The least and the most that was measured.
    pub(super) measured: (f64, f64),
}

/// So far beyond what was measured a trait still counts as measured: scenarios are round numbers.
const MARGIN: f64 = 1.25;

pub(super) fn plan(model: &Model, call: &Call, joins_per_second: f64, instance: Instance) -> Plan {
    let rooms = f64::from(call.rooms);
    let need = |rooms_here: f64, instances: f64| {
        need(
            model,
            call,
            joins_per_second,
            instance,
            rooms_here,
            instances,
        )
    };
    let room = need(1.0, 1.0);
    let by_resource = [
        (Limit::Cores, instance.cores / room.cores),
        (Limit::BandwidthIn, instance.bits / room.traffic.bits_in),
        (Limit::BandwidthOut, instance.bits / room.traffic.bits_out),
    ];
    let (limit, fitting) = by_resource
        .into_iter()
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap_or((Limit::Cores, 0.0));
    // Rooms are whole; a rounding error is not to cost one.
    let fitting = (fitting + 1e-9).floor().min(rooms);
    let instances = (fitting >= 1.0).then(|| (rooms / fitting).ceil());
    Plan {
        whole: need(rooms, instances.unwrap_or(1.0)),
        room,
        instance: instances.map(|instances| need((rooms / instances).ceil(), 1.0)),
        instances,
        limit,
        nearest: nearest(model, call),
        outside: outside(model, call),
    }
}

fn need(
    model: &Model,
    call: &Call,
    joins_per_second: f64,
    instance: Instance,
    rooms: f64,
    instances: f64,
) -> Need {
    let all = f64::from(call.rooms);
    let share = rooms / all;
    let all_traffic = call.traffic();
    let busy_us = model.cpu.busy_us(call, &all_traffic, joins_per_second) * share;
    let traffic = all_traffic.scaled(share);
    // What a process needs at all is not shared by the rooms.
    let processes = model.memory.mib(call, 1.0) - model.memory.mib(call, 0.0);
    Need {
        rooms,
        cores: model
            .cpu
            .cores(busy_us, traffic.packets_in, instance.core_target),
        memory_mib: model.memory.mib(call, 0.0) * share + processes * instances,
        traffic,
    }
}

/// What the costs of a packet depend on; those that a call does not have are 0.
fn traits(call: &Call, traffic: &Traffic) -> [(&'static str, f64); 5] {
    let ratio = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
    let senders = f64::from(call.rooms) * f64::from(call.publishers);
    [
        ("participants in a room", call.participants()),
        (
            "packets out for each packet in",
            ratio(traffic.packets_out, traffic.packets_in),
        ),
        (
            "packets of a frame to a receiver",
            ratio(traffic.packets_out, traffic.bursts_out),
        ),
        (
            "packets per second to a receiver",
            ratio(traffic.packets_out, call.receivers()),
        ),
        (
            "packets per second from a publisher",
            ratio(traffic.packets_in, senders),
        ),
    ]
}

/// Pairs of the traits that both have: name, here, measured.
fn compared<'a>(
    call: &'a Call,
    point: &'a Point,
) -> impl Iterator<Item = (&'static str, f64, f64)> + use<'a> {
    let here = traits(call, &call.traffic());
    let there = traits(&point.call, &point.traffic());
    here.into_iter()
        .zip(there)
        .map(|((name, here), (_, there))| (name, here, there))
        .filter(|(_, here, there)| *here > 0.0 && *there > 0.0)
}

fn nearest(model: &Model, call: &Call) -> Option<Nearest> {
    let silent = |call: &Call| call.receivers() <= 0.0;
    let distance = |(_, here, there): &(&'static str, f64, f64)| (here / there).ln().abs();
    let worst =
        |point: &Point| compared(call, point).max_by(|a, b| distance(a).total_cmp(&distance(b)));
    let alike = model
        .measured
        .iter()
        .filter(|point| silent(&point.call) == silent(call))
        .filter_map(|point| Some((point, worst(point)?)))
        .min_by(|a, b| distance(&a.1).total_cmp(&distance(&b.1)));
    alike.map(|(point, (name, here, measured))| Nearest {
        scenario: point.scenario.clone(),
        title: point.title.clone(),
        name,
        here,
        measured,
        cpu_error: model.cpu_error(point),
    })
}

fn outside(model: &Model, call: &Call) -> Vec<Outside> {
    let measured = |name: &str| {
        let values = model
            .measured
            .iter()
            .flat_map(|point| compared(call, point))
            .filter(|of| of.0 == name)
            .map(|(_, _, measured)| measured);
        values.fold((f64::INFINITY, 0.0_f64), |(least, most), value| {
            (least.min(value), most.max(value))
        })
    };
    traits(call, &call.traffic())
        .into_iter()
        .filter(|(_, here)| *here > 0.0)
        .map(|(name, here)| Outside {
            name,
            here,
            measured: measured(name),
        })
        .filter(|of| of.here < of.measured.0 / MARGIN || of.here > of.measured.1 * MARGIN)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::model::embedded;
    use super::*;

    const INSTANCE: Instance = Instance {
        cores: 4.0,
        core_target: 0.6,
        bits: 10e9,
    };

    fn call(rooms: u32) -> Call {
        Call {
            rooms,
            publishers: 5,
            viewers: 0,
            video_kbps: vec![1_000],
            audio: true,
            visible: 4,
            audible: 4,
            slots: 8,
        }
    }

    fn planned(rooms: u32, instance: Instance) -> Plan {
        plan(&embedded().unwrap(), &call(rooms), 0.0, instance)
    }

    #[test]
    fn twice_the_rooms_need_twice_the_cores_and_bandwidth() {
        let (one, two) = (planned(100, INSTANCE).whole, planned(200, INSTANCE).whole);
        assert!((two.cores / one.cores - 2.0).abs() < 1e-9);
        assert!((two.traffic.bits_out / one.traffic.bits_out - 2.0).abs() < 1e-9);
        assert!(two.memory_mib > one.memory_mib * 1.8);
    }

    #[test]
    fn no_instance_has_more_than_it_can_carry() {
        for rooms in [1, 7, 100, 1_001] {
            let plan = planned(rooms, INSTANCE);
            let (fullest, instances) = (plan.instance.unwrap(), plan.instances.unwrap());
            assert!(
                fullest.cores <= INSTANCE.cores + 1e-6,
                "{rooms}: {fullest:?}"
            );
            assert!(fullest.rooms * instances >= f64::from(rooms));
            assert_eq!(plan.limit, Limit::Cores);
        }
    }

    #[test]
    fn a_thin_line_is_what_limits() {
        let plan = planned(
            100,
            Instance {
                bits: 100e6,
                ..INSTANCE
            },
        );
        assert_eq!(plan.limit, Limit::BandwidthOut);
        let fullest = plan.instance.unwrap();
        assert!(fullest.traffic.bits_out <= 100e6, "{fullest:?}");
        assert!(plan.instances > planned(100, INSTANCE).instances);
    }

    #[test]
    fn a_room_that_is_too_large_for_an_instance_has_no_number_of_them() {
        let plan = planned(
            2,
            Instance {
                bits: 1e6,
                ..INSTANCE
            },
        );
        assert_eq!((plan.instances, plan.instance), (None, None));
    }

    #[test]
    fn what_was_measured_is_near_and_what_was_not_is_told() {
        let model = embedded().unwrap();
        let measured = planned(1, INSTANCE);
        let nearest = measured.nearest.unwrap();
        assert!(nearest.scenario.contains("5x5"), "{nearest:?}");
        assert_eq!(measured.outside, []);
        let giant = Call {
            viewers: 50_000,
            ..call(1)
        };
        let plan = plan(&model, &giant, 0.0, INSTANCE);
        let names: Vec<_> = plan.outside.iter().map(|of| of.name).collect();
        assert!(names.contains(&"participants in a room"), "{names:?}");
    }

    #[test]
    fn people_who_come_and_go_cost_cores() {
        let model = embedded().unwrap();
        let with = plan(&model, &call(10), 20.0, INSTANCE).whole.cores;
        assert!(with > planned(10, INSTANCE).whole.cores);
    }

    #[test]
    fn silent_participants_are_like_silent_participants() {
        let silent = Call {
            publishers: 0,
            viewers: 5,
            ..call(200)
        };
        let plan = plan(&embedded().unwrap(), &silent, 0.0, INSTANCE);
        assert!(plan.nearest.unwrap().measured > 0.0);
        assert!(plan.whole.cores > 0.0 && plan.instances == Some(1.0));
    }
}
