//! The node's DTLS identity, and a DTLS provider that builds its configuration, and reads its key, once.
//!
//! str0m's own provider builds a `dimpl::Config` for every peer, and that runs the crypto
//! self-tests: 1.17 ms of a 1.55 ms join. With the configuration cached, a join takes 0.3 ms.

mod key;

use std::cell::Cell;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use str0m::config::{CryptoProvider, DtlsCert, DtlsVersion};
use str0m::crypto::dtls::{DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, ProtocolVersion};
use str0m::crypto::{CryptoError, SrtpProvider};

/// The node's DTLS certificate and the cached configuration of its DTLS engine. Cheap to clone.
#[derive(Clone)]
pub struct Identity {
    certificate: DtlsCert,
    provider: Arc<CryptoProvider>,
}

impl Identity {
    /// Makes a new self-signed certificate. Takes milliseconds: once per process.
    pub fn generate() -> Result<Self, IdentityError> {
        Self::with(&CACHED)
    }

    /// For simulations alone: handshakes repeat lost flights after the same time in each run. Keys stay random.
    pub fn repeatable() -> Result<Self, IdentityError> {
        Self::with(&REPEATABLE)
    }

    /// The same for the other side, which has identities of its own.
    pub fn repeatable_client() -> Arc<CryptoProvider> {
        Arc::new(cryptography(&CLIENTS))
    }

    fn with(dtls_provider: &'static dyn DtlsProvider) -> Result<Self, IdentityError> {
        let provider = cryptography(dtls_provider);
        let certificate = provider
            .dtls_provider
            .generate_certificate()
            .ok_or(IdentityError)?;
        Ok(Self {
            certificate,
            provider: Arc::new(provider),
        })
    }

    pub(crate) fn certificate(&self) -> DtlsCert {
        self.certificate.clone()
    }

    pub(crate) fn provider(&self) -> Arc<CryptoProvider> {
        self.provider.clone()
    }
}

/// The block cipher that session keys are derived with.
pub(crate) fn key_derivation() -> &'static dyn SrtpProvider {
    str0m_aws_lc_rs::default_provider().srtp_provider
}

fn cryptography(dtls_provider: &'static dyn DtlsProvider) -> CryptoProvider {
    CryptoProvider {
        dtls_provider,
        ..str0m_aws_lc_rs::default_provider()
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// The operating system gave no randomness, or the crypto library refuses to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the DTLS certificate could not be made")]
pub struct IdentityError;

static CACHED: CachedDtls = CachedDtls {
    config: OnceLock::new(),
    seed: None,
};

static REPEATABLE: CachedDtls = CachedDtls {
    config: OnceLock::new(),
    seed: Some(1),
};

static CLIENTS: CachedDtls = CachedDtls {
    config: OnceLock::new(),
    seed: Some(2),
};

/// What of a handshake is not answered is sent again after this, and then after twice as long each time; and no sooner, whoever asks.
/// Whoever looks on waits for it: the 1 s of RFC 6347 section 4.2.4.1 is a second without a picture, and two where it gets lost
/// twice. Less is sent in vain over long ways, which costs less than 1 KB each time (libwebrtc begins with 50 ms, or twice a round trip
/// where ICE has measured it).
const RETRANSMIT_AFTER: Duration = Duration::from_millis(100);
/// So often: all of it takes longer than the whole handshake may.
const RETRANSMISSIONS_MAX: usize = 8;

#[derive(Debug)]
struct CachedDtls {
    config: OnceLock<Arc<dimpl::Config>>,
    /// What timers and the randoms of handshakes are drawn from, where not from the system.
    seed: Option<u64>,
}

impl CachedDtls {
    fn config(&self, mtu: Option<usize>) -> Result<Arc<dimpl::Config>, CryptoError> {
        if let Some(config) = self.config.get() {
            return Ok(config.clone());
        }
        // ICE has verified the return path before DTLS starts: a server cookie would only cost a round trip.
        let builder = dimpl::Config::builder()
            .with_crypto_provider(dimpl::crypto::CryptoProvider {
                key_provider: &key::KEYS,
                ..str0m_aws_lc_rs::dimpl_crypto_provider()
            })
            .flight_start_rto(RETRANSMIT_AFTER)
            .flight_retries(RETRANSMISSIONS_MAX)
            .use_server_cookie(false);
        let builder = match mtu {
            Some(mtu) => builder.mtu(mtu),
            None => builder,
        };
        let config = match self.seed {
            Some(seed) => builder.dangerously_set_rng_seed(seed),
            None => builder,
        }
        .build()
        .map_err(|error| CryptoError::Other(format!("DTLS configuration: {error}")))?;
        Ok(self.config.get_or_init(|| Arc::new(config)).clone())
    }
}

impl DtlsProvider for CachedDtls {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        str0m_aws_lc_rs::default_provider()
            .dtls_provider
            .generate_certificate()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let config = self.config(mtu)?;
        let dtls = match version {
            DtlsVersion::Dtls12 => dimpl::Dtls::new_12(config, cert.clone(), now),
            DtlsVersion::Dtls13 => dimpl::Dtls::new_13(config, cert.clone(), now),
            DtlsVersion::Auto | _ => dimpl::Dtls::new_auto(config, cert.clone(), now),
        };
        Ok(Box::new(Instance { dtls }))
    }
}

/// The SRTP master keys that a DTLS handshake has exported (RFC 5764 section 4.2).
pub(crate) struct Keying {
    pub(crate) profile: dimpl::SrtpProfile,
    pub(crate) material: Vec<u8>,
    /// This side was the DTLS client.
    pub(crate) active: bool,
}

thread_local! {
    /// str0m makes its DTLS engines by itself and hands none of them out, so the keys of the peer that is being
    /// driven are left here by its engine, and taken when the drive ends. One thread drives one peer at a time.
    static EXPORTED: Cell<Option<Keying>> = const { Cell::new(None) };
}

/// The keys that the peer driven last has agreed on in that drive.
pub(crate) fn take_exported_keys() -> Option<Keying> {
    EXPORTED.take()
}

struct Instance {
    dtls: dimpl::Dtls,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").finish_non_exhaustive()
    }
}

/// The records of a datagram that come before an alert without protection: anybody can send one, and it would end the
/// handshake (RFC 6347 section 4.1.2.7). Whoever means it sends no more, and that ends it, too.
fn before_alert(datagram: &[u8]) -> &[u8] {
    let mut at = 0;
    while let Some(rest) = datagram.get(at..) {
        // Content type, version, epoch.
        if matches!(rest, [21, _, _, 0, 0, ..]) {
            return datagram.get(..at).unwrap_or_default();
        }
        let Some(bytes) = record_bytes(rest) else {
            break;
        };
        at += bytes;
    }
    datagram
}

/// The length of the record with which this begins; `None` where it is the last one.
fn record_bytes(records: &[u8]) -> Option<usize> {
    const LONG_SEQUENCE: u8 = 1 << 3;
    const HAS_LENGTH: u8 = 1 << 2;
    let first = *records.first()?;
    let (length_at, has_length) = if first >> 5 == 0b001 {
        // Protected by DTLS 1.3 (RFC 9147 section 4), without a connection id.
        let length_at = if first & LONG_SEQUENCE == 0 { 2 } else { 3 };
        (length_at, first & HAS_LENGTH != 0)
    } else {
        // Content type, version, epoch, sequence number (RFC 6347 section 4.1).
        (11, true)
    };
    let length = records.get(length_at..)?.first_chunk()?;
    has_length.then(|| length_at + 2 + usize::from(u16::from_be_bytes(*length)))
}

impl DtlsInstance for Instance {
    fn set_active(&mut self, active: bool) {
        self.dtls.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        match before_alert(packet) {
            [] => Ok(()),
            records => self.dtls.handle_packet(records),
        }
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        let output = self.dtls.poll_output(buf);
        if let DtlsOutput::KeyingMaterial(material, profile) = &output {
            EXPORTED.set(Some(Keying {
                profile: *profile,
                material: material.to_vec(),
                active: self.dtls.is_active(),
            }));
        }
        output
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.dtls.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.dtls.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.dtls.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.dtls.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.dtls.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.dtls.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.dtls.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(content_type: u8, epoch: u8, length: u8) -> Vec<u8> {
        let header = [content_type, 0xfe, 0xfd, 0, epoch];
        [&header[..], &[0; 7], &[length], &vec![7; length.into()]].concat()
    }

    #[test]
    fn alerts_without_protection_are_left_out_wherever_they_stand() {
        let (alert, handshake) = (record(21, 0, 2), record(22, 0, 30));
        let short = vec![0x24, 1, 0, 3, 7, 7, 7];
        let long = vec![0x2c, 0, 1, 0, 1, 7];
        assert_eq!(before_alert(&alert), []);
        for before in [&handshake, &short, &long] {
            let datagram = [&before[..], &alert[..]].concat();
            assert_eq!(before_alert(&datagram), &before[..]);
        }
    }

    #[test]
    fn all_else_is_left_as_it_is() {
        let protected = record(21, 1, 2);
        let until_the_end = [&[0x28, 0, 1][..], &record(21, 0, 2)].concat();
        for datagram in [&protected[..], &until_the_end, &[22], &[]] {
            assert_eq!(before_alert(datagram), datagram);
        }
    }
}
