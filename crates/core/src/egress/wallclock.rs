//! Between the monotonic time that a shard is driven by and the NTP time that RTCP speaks of.

use std::time::{Duration, Instant, SystemTime};

/// One moment on both clocks. All peers of a node share it, so that what one publisher's sound and picture are
/// told to receivers stays comparable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wallclock {
    pub at: Instant,
    pub time: SystemTime,
}

impl Wallclock {
    /// The NTP timestamp of a moment (RFC 3550 section 4).
    pub(crate) fn ntp_at(&self, at: Instant) -> u64 {
        ntp(self.time_at(at))
    }

    /// What people call this moment.
    pub(crate) fn time_at(&self, at: Instant) -> SystemTime {
        let time = match at.checked_duration_since(self.at) {
            Some(later) => self.time.checked_add(later),
            None => self.time.checked_sub(self.at.saturating_duration_since(at)),
        };
        time.unwrap_or(self.time)
    }

    /// The moment as absolute send time: seconds modulo 64, in 6.18 bits fixed point.
    #[expect(clippy::cast_possible_truncation, reason = "24 bits are meant")]
    pub(crate) fn send_time(&self, at: Instant) -> u32 {
        (self.ntp_at(at) >> 14) as u32 & 0x00ff_ffff
    }
}

/// Seconds from 1900 to 1970.
const NTP_EPOCH: u64 = 2_208_988_800;

/// Seconds since 1900 in 32.32 bits fixed point.
pub(crate) fn ntp(time: SystemTime) -> u64 {
    let since_1970 = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let seconds = since_1970.as_secs().wrapping_add(NTP_EPOCH) & 0xffff_ffff;
    // Rounded, so that what was parsed from such a number is written as the same number.
    let fraction = (u128::from(since_1970.subsec_nanos()) << 32).div_ceil(1_000_000_000);
    (seconds << 32).saturating_add(u64::try_from(fraction).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntp_counts_from_1900() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
        assert_eq!(ntp(time), ((NTP_EPOCH + 1) << 32) + (1 << 31));
    }

    #[test]
    fn both_clocks_advance_together() {
        let at = Instant::now() + Duration::from_secs(100);
        let clock = Wallclock {
            at,
            time: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000),
        };
        let second = 1 << 32;
        assert_eq!(
            clock.ntp_at(at + Duration::from_secs(3)),
            clock.ntp_at(at) + 3 * second
        );
        assert_eq!(
            clock.ntp_at(at - Duration::from_secs(3)),
            clock.ntp_at(at) - 3 * second
        );
        let later = clock.send_time(at + Duration::from_millis(500));
        assert_eq!(
            later.wrapping_sub(clock.send_time(at)) & 0x00ff_ffff,
            1 << 17
        );
    }
}
