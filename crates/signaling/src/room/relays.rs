//! How much of what one participant says the server says again to others.

use std::num::NonZeroU32;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};
use madang_core::PeerId;

use crate::hub::millis;
use crate::limits::Limits;
use crate::protocol::{ErrorCode, Fault};

/// Bytes of all copies: what goes to everybody in a large room is many.
#[derive(Debug)]
pub(super) struct Relays {
    spent: DefaultKeyedRateLimiter<PeerId>,
    burst: NonZeroU32,
}

impl Relays {
    pub(super) fn new(limits: &Limits) -> Self {
        let at_least_one = |n: u32| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        let burst = at_least_one(limits.relayed_bytes_burst);
        let quota = Quota::per_second(at_least_one(limits.relayed_bytes_per_second));
        Self {
            spent: DefaultKeyedRateLimiter::keyed(quota.allow_burst(burst)),
            burst,
        }
    }

    /// Takes so many copies from what this participant may have relayed, or refuses them. What is more than a burst alone takes all of it.
    pub(super) fn spend(&self, peer: PeerId, bytes: usize, copies: usize) -> Result<(), Fault> {
        let bytes = u32::try_from(bytes.saturating_mul(copies)).unwrap_or(u32::MAX);
        let Some(bytes) = NonZeroU32::new(bytes) else {
            return Ok(());
        };
        let Ok(Err(not_until)) = self.spent.check_key_n(&peer, bytes.min(self.burst)) else {
            return Ok(());
        };
        let wait = not_until.wait_time_from(DefaultClock::default().now());
        let text = "the messages of this participant take too much: send fewer, smaller ones, or to fewer people";
        Err(Fault::new(ErrorCode::RateLimited, text).retry_ms(millis(wait).max(1)))
    }

    /// Those who have not spent anything lately are as good as new ones.
    pub(super) fn forget_idle(&self) {
        self.spent.retain_recent();
    }
}
