//! A server's process: started on its cores, and what it has used of them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Unit of the times in /proc/PID/stat: USER_HZ, 100 on every Linux architecture in use.
const TICK: Duration = Duration::from_millis(10);
/// Part of util-linux; it becomes the program that it starts.
const SETPRIV: &str = "/usr/bin/setpriv";
/// How long a server may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(3);
const PAGE_BYTES: u64 = 4_096;

/// Keeps the calling thread, and what it starts from here on, on these cores.
pub(crate) fn pin(cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu)?;
    }
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// Starts a command on these cores; none: wherever the kernel likes.
pub(crate) fn spawn_on(command: &mut Command, cpus: &[usize]) -> io::Result<Child> {
    if cpus.is_empty() {
        return command.spawn();
    }
    // A child begins with the affinity of the thread that starts it.
    let own = sched_getaffinity(Pid::from_raw(0))?;
    pin(cpus)?;
    let child = command.spawn();
    sched_setaffinity(Pid::from_raw(0), &own)?;
    child
}

/// A command that ends with this process, however this one ends.
pub(crate) fn command(program: impl AsRef<Path>) -> Command {
    let program = program.as_ref();
    if !Path::new(SETPRIV).is_file() {
        return Command::new(program);
    }
    let mut command = Command::new(SETPRIV);
    command.args(["--pdeathsig", "TERM", "--"]).arg(program);
    command
}

/// A server that ends with this value.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    pub(crate) child: Child,
}

impl ServerProcess {
    pub(crate) fn start(command: &mut Command, cpus: &[usize]) -> io::Result<Self> {
        let child = spawn_on(command.stdin(Stdio::null()), cpus)?;
        Ok(Self { child })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).map(Pid::from_raw);
        let asked = pid.is_ok_and(|pid| kill(pid, Signal::SIGTERM).is_ok());
        let deadline = Instant::now() + PATIENCE;
        while asked && Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a process, its threads and its children have used so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Usage {
    pub(crate) at: Option<Instant>,
    /// Name and time on a core of each thread, by its id.
    pub(crate) threads: BTreeMap<u32, (String, Duration)>,
    pub(crate) user: Duration,
    pub(crate) system: Duration,
    pub(crate) resident_bytes: u64,
}

/// The difference of two [`Usage`]s.
#[derive(Debug, Clone, Default)]
pub(crate) struct Used {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    pub(crate) user: Duration,
    pub(crate) system: Duration,
    /// The busiest first.
    pub(crate) threads: Vec<(String, Duration)>,
}

impl Usage {
    /// Of one process and all that it has started.
    pub(crate) fn of(pid: u32) -> Self {
        let mut usage = Self {
            at: Some(Instant::now()),
            ..Self::default()
        };
        usage.add(pid, true);
        usage
    }

    /// Of this process without what it has started.
    pub(crate) fn own() -> Self {
        let mut usage = Self {
            at: Some(Instant::now()),
            ..Self::default()
        };
        usage.add(std::process::id(), false);
        usage
    }

    fn add(&mut self, pid: u32, children: bool) {
        let read = |path: String| fs::read_to_string(path).unwrap_or_default();
        let [user, system] = user_and_system(&read(format!("/proc/{pid}/stat")));
        self.user += user;
        self.system += system;
        let pages = read(format!("/proc/{pid}/statm"));
        let resident = pages.split(' ').nth(1).and_then(|text| text.parse().ok());
        self.resident_bytes += resident.unwrap_or(0_u64) * PAGE_BYTES;
        let tasks = fs::read_dir(format!("/proc/{pid}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            let Ok(id) = task.file_name().to_string_lossy().parse::<u32>() else {
                continue;
            };
            let file = |name: &str| read(format!("/proc/{pid}/task/{id}/{name}"));
            let schedule = file("schedstat");
            let running = schedule
                .split(' ')
                .next()
                .and_then(|text| text.parse().ok());
            let time = Duration::from_nanos(running.unwrap_or_default());
            self.threads
                .insert(id, (file("comm").trim().to_owned(), time));
            let started = if children {
                file("children")
            } else {
                String::new()
            };
            for child in started.split_whitespace().filter_map(|id| id.parse().ok()) {
                self.add(child, children);
            }
        }
    }

    pub(crate) fn since(&self, before: &Self) -> Used {
        let thread = |(id, (name, time)): (&u32, &(String, Duration))| {
            let earlier = before.threads.get(id).map_or(Duration::ZERO, |(_, at)| *at);
            (name.clone(), time.saturating_sub(earlier))
        };
        let mut threads: Vec<_> = self.threads.iter().map(thread).collect();
        threads.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
        let wall = self.at.zip(before.at);
        let user = self.user.saturating_sub(before.user);
        let system = self.system.saturating_sub(before.system);
        let living = threads.iter().map(|(_, time)| *time).sum();
        Used {
            wall: wall.map_or(Duration::ZERO, |(now, then)| now - then),
            cpu: with_ended_threads(living, user + system),
            user,
            system,
            threads,
        }
    }
}

/// The time of threads that have ended meanwhile is in the process's coarse count only.
fn with_ended_threads(living: Duration, process: Duration) -> Duration {
    if process > living + 5 * TICK {
        process
    } else {
        living
    }
}

/// Time in user mode and in the kernel; the fields 14 and 15 of /proc/PID/stat.
fn user_and_system(stat: &str) -> [Duration; 2] {
    // Field 2 is a name in parentheses that may contain anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || {
        let ticks = fields.next().and_then(|text| text.parse::<u32>().ok());
        TICK * ticks.unwrap_or_default()
    };
    [next(), next()]
}

/// Time that all cores of the machine were busy, whoever kept them so.
pub(crate) fn machine_busy() -> Duration {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    busy_of(stat.lines().next().unwrap_or_default())
}

/// user, nice, system, irq, softirq and steal of the line `cpu` of /proc/stat.
fn busy_of(line: &str) -> Duration {
    let ticks = line.split_whitespace().skip(1);
    let ticks = ticks.map(|text| text.parse::<u32>().unwrap_or_default());
    ticks
        .take(8)
        .enumerate()
        .filter(|(position, _)| ![3, 4].contains(position))
        .map(|(_, ticks)| TICK * ticks)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_behind_a_name_with_spaces_and_parentheses() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 1 0 1 1 1";
        assert_eq!(
            user_and_system(stat),
            [Duration::from_millis(1_500), Duration::from_millis(500)]
        );
        assert_eq!(user_and_system(""), [Duration::ZERO; 2]);
    }

    #[test]
    fn threads_that_have_ended_count() {
        let ms = Duration::from_millis;
        assert_eq!(with_ended_threads(ms(995), ms(1_000)), ms(995));
        assert_eq!(with_ended_threads(ms(600), ms(1_000)), ms(1_000));
    }

    #[test]
    fn idle_and_waiting_for_disks_are_not_busy() {
        let busy = busy_of("cpu  1 2 3 1000 1000 4 5 6 70 80");
        assert_eq!(busy, Duration::from_millis(210));
    }

    #[test]
    fn work_of_a_child_is_seen() {
        let mut command = command("/bin/sh");
        command.args(["-c", "while :; do :; done"]);
        let server = ServerProcess::start(&mut command, &[0]).unwrap();
        let before = Usage::of(server.pid());
        let busy = || Usage::of(server.pid()).since(&before);
        let deadline = Instant::now() + Duration::from_secs(10);
        while busy().cpu < Duration::from_millis(20) {
            assert!(Instant::now() < deadline, "{:?}", busy());
        }
        assert!(Usage::of(server.pid()).resident_bytes > 0);
    }
}
