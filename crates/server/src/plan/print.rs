//! The plan as people and programs read it.

use serde::Serialize;

use super::call::Call;
use super::capacity::{Instance, Limit, Need, Plan};
use super::model::{Model, Origin};

/// Everything, for programs. Shares are of 1.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    call: &'a Call,
    instance_has: Instance,
    #[serde(flatten)]
    plan: &'a Plan,
    /// The largest by which the model differs from a measurement.
    cpu_error_max: f64,
    memory_error_max: f64,
    measured_on: &'a Origin,
}

pub(super) fn json(
    model: &Model,
    call: &Call,
    instance: Instance,
    plan: &Plan,
) -> serde_json::Result<String> {
    let (cpu_error_max, memory_error_max) = errors_max(model);
    let answer = Answer {
        call,
        instance_has: instance,
        plan,
        cpu_error_max,
        memory_error_max,
        measured_on: &model.origin,
    };
    Ok(serde_json::to_string_pretty(&answer)? + "\n")
}

pub(super) fn table(model: &Model, call: &Call, instance: Instance, plan: &Plan) -> String {
    let mut text = format!("{}\n\n", asked(call));
    let row = |name: &str, of: &dyn Fn(&Need) -> f64| {
        let cell = |need: &Need| amount(of(need));
        format!(
            "{name:<24}{:>12}{:>12}{:>12}\n",
            cell(&plan.whole),
            cell(&plan.room),
            plan.instance.as_ref().map_or_else(|| "-".to_owned(), cell)
        )
    };
    text += &format!(
        "{:<24}{:>12}{:>12}{:>12}\n",
        "", "all", "a room", "an instance"
    );
    text += &row("rooms", &|need| need.rooms);
    let cores = format!("cores, used to {:.0} %", instance.core_target * 100.0);
    text += &row(&cores, &|need| need.cores);
    text += &row("memory, MiB", &|need| need.memory_mib);
    text += &row("bandwidth in, Mbit/s", &|need| need.traffic.bits_in / 1e6);
    text += &row("bandwidth out, Mbit/s", &|need| need.traffic.bits_out / 1e6);
    text += &row("packets in, 1/s", &|need| need.traffic.packets_in);
    text += &row("packets out, 1/s", &|need| need.traffic.packets_out);
    text += &format!("\n{}\n", instances(instance, plan));
    text += &format!("\n{}", confidence(model, plan));
    text
}

/// The model beside every measurement, and its constants.
pub(super) fn explanation(model: &Model) -> String {
    let Origin {
        machine,
        date,
        commands,
    } = &model.origin;
    let (cpu, memory) = (&model.cpu, &model.memory);
    let mut text = format!(
        "\nMeasured on {machine}, {date}:\n  {}\n\n\
         µs of a core for a packet in {:.1}, a packet out {:.1}, a frame or audio packet to one receiver {:.1} more,\n\
         a join {:.0}; each second for a participant {:.0}, for one who receives {:.0} more, for an idle worker {:.0};\n\
         once a worker is woken {:.1}.\n\
         KiB for a participant {:.0}, a slot {:.1}, a KiB of kept packets {:.2}, a process {:.0}.\n\n",
        commands.join("\n  "),
        cpu.packet_in_us,
        cpu.packet_out_us,
        cpu.burst_us,
        cpu.join_us,
        cpu.peer_us,
        cpu.receiver_us,
        cpu.idle_worker_us,
        cpu.wake_us,
        memory.peer_kib,
        memory.slot_kib,
        memory.stored_kib,
        memory.process_kib,
    );
    text += &format!(
        "{:<16}{:>14}{:>8}{:>8}{:>14}{:>8}{:>8}\n",
        "", "CPU measured", "model", "error", "MiB measured", "model", "error"
    );
    for point in &model.measured {
        let memory = point.memory_mib.zip(model.memory_error(point)).map_or_else(
            || format!("{:>14}{:>8}{:>8}", "-", "-", "-"),
            |(mib, error)| {
                format!(
                    "{mib:>14.1}{:>8.1}{:>+7.0}%",
                    model.memory.mib(&point.call, 1.0),
                    error * 100.0
                )
            },
        );
        text += &format!(
            "{:<16}{:>13.1}%{:>7.1}%{:>+7.0}%{memory}\n",
            point.scenario,
            point.cpu_percent,
            model.cpu_percent(point),
            model.cpu_error(point) * 100.0,
        );
    }
    text
}

fn asked(call: &Call) -> String {
    let participants = call.publishers + call.viewers;
    let video = match call.video_kbps.last() {
        None => "no video".to_owned(),
        Some(kbps) => format!(
            "at most {} at {} kbit/s",
            counted(f64::from(call.visible), "tile"),
            amount(f64::from(*kbps))
        ),
    };
    let audio = match (call.audio, call.audible) {
        (false, _) => "no audio".to_owned(),
        (true, 1) => "1 voice".to_owned(),
        (true, voices) => format!("{voices} voices"),
    };
    format!(
        "{} of {participants}, {} of them publish; each gets {video} and {audio}",
        counted(f64::from(call.rooms), "room"),
        call.publishers,
    )
}

fn instances(instance: Instance, plan: &Plan) -> String {
    let limit = match plan.limit {
        Limit::Cores => "cores",
        Limit::BandwidthIn => "bandwidth in",
        Limit::BandwidthOut => "bandwidth out",
    };
    let has = format!(
        "{}, {:.0} % of them used, and {} Mbit/s",
        counted(instance.cores, "core"),
        instance.core_target * 100.0,
        amount(instance.bits / 1e6)
    );
    match plan.instances {
        Some(number) => format!(
            "{} with {has}; what limits is {limit}",
            counted(number, "instance")
        ),
        None => format!(
            "No number of instances is enough: one room is more than {has} ({limit}), and a room is on one instance"
        ),
    }
}

/// How far the numbers can be trusted.
fn confidence(model: &Model, plan: &Plan) -> String {
    let (cpu, memory) = errors_max(model);
    let with_memory = (model.measured.iter()).filter(|point| point.memory_mib.is_some());
    let mut text = format!(
        "The model is within {:.0} % of the {} measurements of CPU that it is fitted to, and {:.0} % of {} of memory.\n",
        cpu * 100.0,
        model.measured.len(),
        memory * 100.0,
        with_memory.count(),
    );
    if let Some(nearest) = &plan.nearest {
        text += &format!(
            "Nearest of them: {} ({}), where its CPU is {:+.0} %; least alike: {}, {} there, {} here.\n",
            nearest.scenario,
            nearest.title,
            nearest.cpu_error * 100.0,
            nearest.name,
            amount(nearest.measured),
            amount(nearest.here),
        );
    }
    for outside in &plan.outside {
        let (least, most) = outside.measured;
        text += &format!(
            "warning: not measured: {} {}; measured from {} to {}\n",
            amount(outside.here),
            outside.name,
            amount(least),
            amount(most),
        );
    }
    let workers = model.measured.iter().map(|point| point.workers).max();
    if plan
        .instance
        .is_some_and(|need| need.cores > f64::from(workers.unwrap_or(1)))
    {
        text += &format!(
            "warning: measured with {}; more are taken to carry as much each\n",
            counted(f64::from(workers.unwrap_or(1)), "core")
        );
    }
    text
}

/// Of CPU and memory.
fn errors_max(model: &Model) -> (f64, f64) {
    let max = |errors: &mut dyn Iterator<Item = f64>| errors.map(f64::abs).fold(0.0, f64::max);
    let points = &model.measured;
    (
        max(&mut points.iter().map(|point| model.cpu_error(point))),
        max(&mut points.iter().filter_map(|point| model.memory_error(point))),
    )
}

fn counted(number: f64, what: &str) -> String {
    let plural = if number > 1.0 { "s" } else { "" };
    format!("{} {what}{plural}", amount(number))
}

/// Whole from 100 on, with separators; below with what matters.
fn amount(number: f64) -> String {
    let rounded = (number * 100.0).round() / 100.0;
    if rounded.fract() == 0.0 || number >= 100.0 {
        return grouped(&format!("{number:.0}"));
    }
    let digits = if number < 10.0 { 2 } else { 1 };
    format!("{number:.digits$}")
}

fn grouped(digits: &str) -> String {
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_the_digits_that_matter() {
        for (number, text) in [
            (0.034, "0.03"),
            (1.5, "1.50"),
            (2.0, "2"),
            (41.26, "41.3"),
            (999.6, "1,000"),
            (1_234_567.0, "1,234,567"),
        ] {
            assert_eq!(amount(number), text);
        }
    }
}
