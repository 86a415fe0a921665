//! How much of what one participant says the server says again to others.

use std::num::NonZeroU32;

use governor::DefaultKeyedRateLimiter;
use madang_core::PeerId;

use crate::hub::{quota, too_fast};
use crate::limits::Limits;
use crate::protocol::Fault;

/// Bytes of all copies: what goes to everybody in a large room is many.
#[derive(Debug)]
pub(super) struct Relays {
    spent: DefaultKeyedRateLimiter<PeerId>,
    burst: NonZeroU32,
}

impl Relays {
    pub(super) fn new(limits: &Limits) -> Self {
        let quota = quota(limits.relayed_bytes_per_second, limits.relayed_bytes_burst);
        Self {
            spent: DefaultKeyedRateLimiter::keyed(quota),
            burst: quota.burst_size(),
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
        let text = "the messages of this participant take too much: send fewer, smaller ones, or to fewer people";
        Err(too_fast(&not_until, text))
    }

    /// Those who have not spent anything lately are as good as new ones.
    pub(super) fn forget_idle(&self) {
        self.spent.retain_recent();
    }
}
