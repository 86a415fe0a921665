//! Requests of simulated receivers.

use super::rtcp;
use super::srtp::Keys;
use crate::crypto;

/// For simulations alone. Asks for packets as a browser does: str0m asks for no more than 100, five times, and not sooner than 33 ms after the last time.
pub struct NackSender {
    keys: Keys,
    index: u32,
}

/// Nobody else speaks under it.
const SSRC: u32 = 2;

impl NackSender {
    /// Of the client that has been driven last on this thread, if that has ended its handshake since another one was.
    pub fn take() -> Option<Self> {
        let keying = crypto::take_exported_keys()?;
        let keys = Keys::new(&keying, crypto::key_derivation())?;
        Some(Self { keys, index: 0 })
    }

    /// A datagram that asks for these packets of a stream; `None` where it cannot be sealed.
    pub fn nack(&mut self, media: u32, missing: &[u16]) -> Option<Vec<u8>> {
        let mut datagram = Vec::new();
        rtcp::write_nack(&mut datagram, SSRC, media, missing);
        self.index += 1;
        self.keys.seal_rtcp(&mut datagram, 0, SSRC, self.index)?;
        Some(datagram)
    }
}

impl std::fmt::Debug for NackSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NackSender").finish_non_exhaustive()
    }
}
