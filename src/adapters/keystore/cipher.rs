//! Symmetric encryption of secret keys: XChaCha20-Poly1305, with argon2id where the key is a
//! passphrase.

use std::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::KeystoreError;
use super::sealed::SealedError;
use crate::domain::bytes;
use crate::domain::passphrase::Passphrase;

/// Bytes of a secret key once it is encrypted: itself and the tag.
pub(super) const SEALED_BYTES: usize = 48;
/// Bytes of a nonce: enough to draw it at random for ever.
pub(super) const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
const SALT_BYTES: usize = 16;

/// What argon2id costs: the second recommended option of RFC 9106, section 4. A file may ask for
/// more, but not for so much that reading it would take down the machine.
const MEMORY_KIB: u32 = 64 << 10;
const MEMORY_KIB_MAX: u32 = 1 << 20;
const PASSES: u32 = 3;
const PASSES_MAX: u32 = 10;
const LANES: u32 = 4;
const LANES_MAX: u32 = 16;

/// How a key was made of a passphrase, as it is written into the header of a file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kdf {
    name: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
}

impl Kdf {
    /// The present costs and a fresh salt.
    pub(super) fn fresh() -> Result<Self, KeystoreError> {
        let salt = random::<SALT_BYTES>()?;
        Ok(Self {
            name: "argon2id".to_owned(),
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            lanes: LANES,
            salt: bytes::to_hex(&salt),
        })
    }

    /// The key that the passphrase makes. Takes a tenth of a second and 64 MiB, or as much more as
    /// the header may ask for.
    pub(super) fn derive(&self, passphrase: &Passphrase) -> Result<Key, SealedError> {
        if self.name != "argon2id" {
            return Err(SealedError::Newer);
        }
        for (name, value, min, max) in [
            ("memory_kib", self.memory_kib, MEMORY_KIB, MEMORY_KIB_MAX),
            ("passes", self.passes, PASSES, PASSES_MAX),
            ("lanes", self.lanes, 1, LANES_MAX),
        ] {
            if !(min..=max).contains(&value) {
                return Err(SealedError::Costs { name, value, min, max });
            }
        }
        let salt = bytes::from_hex::<SALT_BYTES>(&self.salt).map_err(|_| SealedError::Damaged)?;
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32));
        let params = params.map_err(|_| SealedError::Damaged)?;
        let count = params.block_count();
        // Our own, since the library's is not overwritten, and it ends the process when there is
        // too little memory.
        let mut blocks = Vec::new();
        blocks.try_reserve_exact(count).map_err(|_| SealedError::Memory)?;
        blocks.resize(count, Block::new());
        let mut key = Key(Zeroizing::new([0; 32]));
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let done = argon2.hash_password_into_with_memory(
            passphrase.as_bytes(),
            &salt,
            &mut *key.0,
            blocks.as_mut_slice(),
        );
        blocks.zeroize();
        done.map(|()| key).map_err(|_| SealedError::Damaged)
    }
}

/// A symmetric key. Overwritten when dropped, never printed.
#[derive(Clone)]
pub(super) struct Key(Zeroizing<[u8; 32]>);

impl Key {
    /// A random one.
    pub(super) fn random() -> Result<Self, KeystoreError> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *key).map_err(KeystoreError::Random)?;
        Ok(Self(key))
    }

    pub(super) fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    pub(super) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Encrypts a secret; `header` is authenticated with it.
    pub(super) fn seal(
        &self,
        nonce: &[u8; NONCE_BYTES],
        header: &[u8],
        secret: &[u8; 32],
    ) -> Option<[u8; SEALED_BYTES]> {
        let mut sealed = [0; SEALED_BYTES];
        let (text, tag) = sealed.split_at_mut(SEALED_BYTES - TAG_BYTES);
        text.copy_from_slice(secret);
        // It fails only for texts of gigabytes.
        match self.cipher().encrypt_inout_detached(nonce.into(), header, (&mut *text).into()) {
            Ok(made) => tag.copy_from_slice(&made),
            Err(_) => {
                sealed.zeroize();
                return None;
            }
        }
        Some(sealed)
    }

    /// Decrypts a secret; `None` if it, its nonce or its header is not what was sealed with this key.
    pub(super) fn open(
        &self,
        nonce: &[u8; NONCE_BYTES],
        header: &[u8],
        sealed: &[u8; SEALED_BYTES],
    ) -> Option<Zeroizing<[u8; 32]>> {
        let (text, tag) = sealed.split_at(SEALED_BYTES - TAG_BYTES);
        let mut secret = Zeroizing::new([0; 32]);
        secret.copy_from_slice(text);
        let tag = Tag::try_from(tag).ok()?;
        let buffer = (&mut secret[..]).into();
        self.cipher().decrypt_inout_detached(nonce.into(), header, buffer, &tag).ok()?;
        Some(secret)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.0).into())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(hidden)")
    }
}

/// Bytes of the system's randomness, for what is not secret.
pub(super) fn random<const N: usize>() -> Result<[u8; N], KeystoreError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(KeystoreError::Random)?;
    Ok(bytes)
}
