//! One scenario with one server: joins, warm-up, measurement.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::adapter::{Adapter, AdapterError, Media, Seat};
use crate::evaluate::{Sample, Span, evaluate};
use crate::media::socket::wallclock_ns;
use crate::result::Measured;
use crate::scenario::Scenario;

/// What a result says of a server that waits with connecting until there is something to receive.
const NOBODY: &str = "with this server nobody is connected where nobody publishes";
/// How long the last participants may take to receive all that they should; who has not by then is counted.
const SETTLING: Duration = Duration::from_secs(20);
/// Packets that were sent at the end of the measurement are on their way for so long.
const ON_THE_WAY: Duration = Duration::from_millis(500);
/// A server that refuses more than one viewer in so many is not measured.
const REFUSED_SHARE: usize = 10;
/// The media threads are told of the measurement so long before it begins: they may be busy.
const NOTICE: Duration = Duration::from_millis(300);
const GLANCE: Duration = Duration::from_millis(100);

/// Plays the scenario, and says what was measured.
pub(crate) fn run(
    adapter: &mut dyn Adapter,
    media: &mut Media,
    scenario: &Scenario,
    peer: &str,
) -> Result<Measured, AdapterError> {
    let mut performance = Performance {
        adapter,
        media,
        scenario,
        bar: bar(scenario, peer),
        next_seat: 0,
        refused: Vec::new(),
    };
    let measured = performance.play();
    performance.bar.finish_and_clear();
    measured
}

fn bar(scenario: &Scenario, peer: &str) -> ProgressBar {
    let bar = ProgressBar::new(scenario.participants() as u64);
    if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(format!("{} · {peer}", scenario.name));
    bar
}

struct Performance<'a> {
    adapter: &'a mut dyn Adapter,
    media: &'a mut Media,
    scenario: &'a Scenario,
    bar: ProgressBar,
    next_seat: usize,
    /// Why viewers were not let in.
    refused: Vec<String>,
}

impl Performance<'_> {
    fn play(&mut self) -> Result<Measured, AdapterError> {
        let empty = self.sample();
        let viewers = self.join_all()?;
        if self.media.open() == 0 {
            return Err(AdapterError::NotRun(NOBODY.to_owned()));
        }
        self.settle(|(_, complete, _)| complete)?;
        let joined = self.sample();
        let (before, after) = if self.scenario.measure_joins {
            (empty.clone(), joined.clone())
        } else {
            self.measure(viewers)?
        };
        self.adapter.serve(Instant::now() + ON_THE_WAY)?;
        let (_, complete, broken) = self.media.progress();
        let reports = self
            .media
            .report()
            .ok_or_else(|| AdapterError::Refused("a media thread has ended".to_owned()))?;
        let connections = self.media.open();
        self.adapter.end(self.media);
        let span = Span {
            empty,
            joined,
            before,
            after,
        };
        let mut measured = evaluate(self.scenario, &reports, &span);
        measured.connections = connections;
        measured.incomplete = connections.saturating_sub(complete);
        measured.broken = broken;
        let mut reasons = std::mem::take(&mut self.refused);
        reasons.extend_from_slice(self.adapter.ended());
        measured.turned_away = reasons.len();
        reasons.sort();
        reasons.dedup();
        measured.reasons = reasons;
        Ok(measured)
    }

    /// First all publishers, then all viewers, at the scenario's rate. Returns the viewers of the first kind of rooms.
    fn join_all(&mut self) -> Result<VecDeque<Seat>, AdapterError> {
        let scenario = self.scenario;
        self.bar.set_message("joining");
        let mut publishers = Vec::new();
        for (first_room, kind) in scenario.kinds() {
            for place in 0..kind.rooms * kind.publishers {
                let room = first_room + place / kind.publishers;
                let seat = self.take_seat(room, u32::try_from(publishers.len()).ok(), None);
                self.adapter.join(seat, kind, self.media)?;
                publishers.push((seat, kind));
                self.bar.inc(1);
                self.pause()?;
            }
        }
        // Some servers let nobody watch who isn't connected.
        self.settle(|(connected, _, _)| connected)?;
        for (seat, kind) in publishers {
            if kind.publishers_watch {
                self.adapter.watch(seat, kind, self.media)?;
                self.pause()?;
            }
        }
        let viewers = self.join_viewers(0, scenario)?;
        for (first_room, kind) in scenario.kinds().skip(1) {
            self.join_viewers(first_room, kind)?;
        }
        Ok(viewers)
    }

    /// Round robin, so that rooms grow side by side.
    fn join_viewers(
        &mut self,
        first_room: usize,
        kind: &Scenario,
    ) -> Result<VecDeque<Seat>, AdapterError> {
        let mut viewers = VecDeque::new();
        for viewer in 0..kind.viewers {
            for room in first_room..first_room + kind.rooms {
                viewers.extend(self.view(room, kind.link_kbps(viewer), kind)?);
                self.bar.inc(1);
                self.pause()?;
            }
        }
        Ok(viewers)
    }

    fn take_seat(&mut self, room: usize, publisher: Option<u32>, link_kbps: Option<u32>) -> Seat {
        let number = self.next_seat;
        self.next_seat += 1;
        Seat {
            number,
            room,
            publisher,
            link_kbps,
        }
    }

    /// Lets another viewer in; `None` where the server does not.
    fn view(
        &mut self,
        room: usize,
        link_kbps: Option<u32>,
        kind: &Scenario,
    ) -> Result<Option<Seat>, AdapterError> {
        let seat = self.take_seat(room, None, link_kbps);
        let entered = self
            .adapter
            .join(seat, kind, self.media)
            .and_then(|()| self.adapter.watch(seat, kind, self.media));
        match entered {
            Ok(()) => Ok(Some(seat)),
            Err(error @ (AdapterError::Refused(_) | AdapterError::Silent(_)))
                if self.refused.len() < kind.viewers / REFUSED_SHARE =>
            {
                self.refused.push(error.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Until the next participant comes.
    fn pause(&mut self) -> Result<(), AdapterError> {
        let interval = Duration::from_secs(1) / self.scenario.joins_per_second;
        self.adapter.serve(Instant::now() + interval)
    }

    /// Waits until all peers are counted by `count`, one of the numbers of [`Media::progress`].
    fn settle(&mut self, count: fn((usize, usize, usize)) -> usize) -> Result<(), AdapterError> {
        let deadline = Instant::now() + SETTLING;
        loop {
            let progress = self.media.progress();
            let (connected, complete, _) = progress;
            self.bar
                .set_message(format!("{connected} connected, {complete} receive all"));
            if count(progress) >= self.media.open() || Instant::now() >= deadline {
                return Ok(());
            }
            self.adapter.serve(Instant::now() + GLANCE)?;
        }
    }

    fn measure(&mut self, mut viewers: VecDeque<Seat>) -> Result<(Sample, Sample), AdapterError> {
        self.bar.set_message("warming up");
        self.adapter
            .serve(Instant::now() + self.scenario.warm_up())?;
        self.bar.set_message("measuring");
        let measured = self.scenario.measured();
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let from = wallclock_ns() + ns(NOTICE);
        self.media.measure(from, from + ns(measured));
        self.adapter.serve(Instant::now() + NOTICE)?;
        let before = self.sample();
        let end = Instant::now() + measured;
        let churn = self.scenario.churn_per_second;
        while churn > 0 && Instant::now() < end {
            if let Some(seat) = viewers.pop_front() {
                self.adapter.leave(seat.number, self.media)?;
                viewers.extend(self.view(seat.room, seat.link_kbps, self.scenario)?);
            }
            let next = Instant::now() + Duration::from_secs(1) / churn;
            self.adapter.serve(next.min(end))?;
        }
        self.adapter.serve(end)?;
        Ok((before, self.sample()))
    }

    fn sample(&self) -> Sample {
        Sample::take(self.adapter.pid())
    }
}
