//! The narrow link of a viewer: what the server sends waits in a queue and is lost where that is full, before the viewer sees it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The longest wait in the queue. A shorter queue loses the bursts that a paced server may send; in a longer one, the delay
/// hides from the server for long that it sends too much.
const QUEUE: Duration = Duration::from_millis(300);
/// A token bucket holds as much as the link carries in this time: datagrams of one burst come behind each other, as they do
/// behind a real link, but need not wake the thread one by one.
const BUCKET: Duration = Duration::from_millis(5);
/// Headers of IPv4 and UDP, which take their share of a link.
const HEADERS_BYTES: usize = 28;

/// A datagram that has passed the link, or waits to.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) due: Instant,
    /// Nanoseconds since 1970: when the kernel took it, and how long it waited since.
    pub(super) arrived_ns: u64,
    pub(super) waited: Duration,
    pub(super) source: SocketAddr,
    pub(super) datagram: Vec<u8>,
}

/// What came in the window of the measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinkReport {
    pub(crate) kbps: u32,
    pub(crate) passed: u64,
    /// With the headers of IP and UDP.
    pub(crate) passed_bytes: u64,
    pub(crate) dropped: u64,
}

/// A token bucket with a queue and tail drop.
#[derive(Debug)]
pub(crate) struct Link {
    /// When the link has carried all that was put on it: the bucket is empty where that is [`BUCKET`] ahead.
    busy_until: Option<Instant>,
    queue: VecDeque<Queued>,
    report: LinkReport,
}

impl Link {
    pub(crate) fn new(kbps: u32) -> Self {
        Self {
            busy_until: None,
            queue: VecDeque::new(),
            report: LinkReport {
                kbps: kbps.max(1),
                passed: 0,
                passed_bytes: 0,
                dropped: 0,
            },
        }
    }

    pub(crate) fn report(&self) -> LinkReport {
        self.report
    }

    /// Takes what came at `now`, or drops it where the queue is full.
    pub(super) fn push(
        &mut self,
        now: Instant,
        arrived_ns: u64,
        source: SocketAddr,
        datagram: &[u8],
        counted: bool,
    ) {
        let start = self.busy_until.map_or(now, |busy| busy.max(now));
        if start - now > QUEUE {
            self.report.dropped += u64::from(counted);
            return;
        }
        let bytes = (datagram.len() + HEADERS_BYTES) as u64;
        let end = start + Duration::from_micros(bytes * 8_000 / u64::from(self.report.kbps));
        self.busy_until = Some(end);
        let due = end.checked_sub(BUCKET).map_or(now, |due| due.max(now));
        if counted {
            self.report.passed += 1;
            self.report.passed_bytes += bytes;
        }
        self.queue.push_back(Queued {
            due,
            arrived_ns,
            waited: due - now,
            source,
            datagram: datagram.to_vec(),
        });
    }

    /// When the next datagram has passed.
    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.front().map(|queued| queued.due)
    }

    /// The next datagram, where it has passed by then.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Queued> {
        self.queue.pop_front_if(|queued| queued.due <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9);
    const MS: Duration = Duration::from_millis(1);

    /// Offers so many kbit/s for so long, and returns how many bytes had passed at the end.
    fn offer(link: &mut Link, kbps: u64, time: Duration) -> u64 {
        let start = Instant::now();
        let (mut offered, mut passed) = (0, 0);
        let mut now = start;
        while now < start + time {
            let elapsed = u64::try_from((now - start).as_millis()).unwrap();
            while offered * 8 <= kbps * elapsed {
                link.push(now, 0, SOURCE, &[0; 972], true);
                offered += 1_000;
            }
            while let Some(queued) = link.pop(now) {
                passed += queued.datagram.len() as u64 + 28;
            }
            now += MS;
        }
        passed
    }

    #[test]
    fn no_more_passes_than_the_link_carries_and_the_rest_is_lost() {
        let mut link = Link::new(300);
        let passed = offer(&mut link, 900, 10_000 * MS);
        let kbps = passed * 8 / 10_000;
        assert!((290..=310).contains(&kbps), "{kbps} kbit/s");
        let LinkReport {
            passed, dropped, ..
        } = link.report();
        let share = dropped as f64 / (passed + dropped) as f64;
        assert!((0.6..0.7).contains(&share), "two of three: {share}");
    }

    #[test]
    fn nothing_is_lost_below_the_rate_of_the_link() {
        let mut link = Link::new(300);
        let passed = offer(&mut link, 270, 10_000 * MS);
        assert!(passed * 8 / 10_000 >= 265, "{passed} bytes");
        assert_eq!(link.report().dropped, 0);
    }

    #[test]
    fn a_burst_waits_in_order_and_what_the_queue_has_no_room_for_is_dropped() {
        let mut link = Link::new(1_000);
        let now = Instant::now();
        for number in 0..60_u8 {
            link.push(now, 0, SOURCE, &[number; 972], true);
        }
        // 8 ms each: 300 ms and the one that is on its way.
        assert_eq!(link.report().passed, 38);
        assert_eq!(link.report().dropped, 22);
        assert_eq!(link.next(), Some(now + 3 * MS), "8 ms less the bucket's 5");
        assert!(link.pop(now + 2 * MS).is_none());
        let mut all = Vec::new();
        while let Some(queued) = link.pop(now + 400 * MS) {
            assert_eq!(queued.waited, queued.due - now);
            all.push(queued.datagram[0]);
        }
        assert_eq!(all, (0..38).collect::<Vec<_>>());
    }

    #[test]
    fn what_came_outside_the_measurement_is_not_counted() {
        let mut link = Link::new(1_000);
        link.push(Instant::now(), 0, SOURCE, &[0; 972], false);
        assert_eq!((link.report().passed, link.report().dropped), (0, 0));
        assert!(link.next().is_some());
    }
}
