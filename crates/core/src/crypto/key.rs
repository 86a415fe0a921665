//! The node's private key, read once. dimpl reads it for each engine, two for each peer, and aws-lc multiplies a point to
//! check it each time: 280,000 instructions of a join.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use dimpl::crypto::{Buf, HashAlgorithm, KeyProvider, SignatureAlgorithm, SigningKey};
use dimpl::{CryptoError, CryptoOperation};

pub(super) static KEYS: ReadOnce = ReadOnce {
    first: OnceLock::new(),
};

/// Keeps the first key that it is asked for: a process has one. Others are read each time.
#[derive(Debug)]
pub(super) struct ReadOnce {
    first: OnceLock<Key>,
}

#[derive(Clone)]
struct Key {
    der: Arc<[u8]>,
    pair: Arc<EcdsaKeyPair>,
}

impl KeyProvider for ReadOnce {
    fn load_private_key(&self, der: &[u8]) -> Result<Box<dyn SigningKey>, CryptoError> {
        if let Some(key) = self.first.get().filter(|key| *key.der == *der) {
            return Ok(Box::new(key.clone()));
        }
        let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der) else {
            return Err(CryptoError::InvalidPrivateKey);
        };
        let key = Key {
            der: der.into(),
            pair: Arc::new(pair),
        };
        // Who comes second has a key that is not kept.
        let _ = self.first.set(key.clone());
        Ok(Box::new(key))
    }
}

impl SigningKey for Key {
    fn sign(
        &mut self,
        data: &[u8],
        hash: HashAlgorithm,
        signature: &mut Buf,
    ) -> Result<(), CryptoError> {
        if hash != HashAlgorithm::SHA256 {
            return Err(CryptoError::SigningKeyHashMismatch {
                key_hash: HashAlgorithm::SHA256,
                requested: hash,
            });
        }
        let signed = self.pair.sign(&SystemRandom::new(), data);
        let signed = signed.map_err(|_| CryptoError::OperationFailed(CryptoOperation::Sign))?;
        signature.clear();
        signature.extend_from_slice(signed.as_ref());
        Ok(())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        HashAlgorithm::SHA256
    }

    fn supported_hash_algorithms(&self) -> &[HashAlgorithm] {
        &[HashAlgorithm::SHA256]
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, KeyPair, UnparsedPublicKey};

    fn key() -> Vec<u8> {
        let pair =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new());
        pair.unwrap().as_ref().to_vec()
    }

    #[test]
    fn each_key_signs_for_itself_whichever_is_kept() {
        let keys = ReadOnce {
            first: OnceLock::new(),
        };
        let (one, other) = (key(), key());
        for der in [&one, &other, &one] {
            let mut signature = Buf::new();
            let mut loaded = keys.load_private_key(der).unwrap();
            loaded
                .sign(b"data", HashAlgorithm::SHA256, &mut signature)
                .unwrap();
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der).unwrap();
            let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, pair.public_key());
            assert!(public.verify(b"data", &signature).is_ok());
            assert!(
                loaded
                    .sign(b"data", HashAlgorithm::SHA384, &mut signature)
                    .is_err()
            );
        }
        assert_eq!(*keys.first.get().unwrap().der, *one);
        assert!(keys.load_private_key(b"no key").is_err());
    }
}
