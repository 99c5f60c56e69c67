//! Files that a passphrase opens: the data key of an encrypted keystore, and exported identities.
//!
//! Such a file is a JSON object:
//!
//! | member | value |
//! |---|---|
//! | `type` | `bizra-keystore-key` or `bizra-identity-export` |
//! | `version` | 1 |
//! | `kdf` | `name` (`argon2id`), `memory_kib`, `passes`, `lanes`, `salt` (32 hex digits) |
//! | `cipher` | `xchacha20poly1305` |
//! | `nonce` | 48 hex digits |
//! | `label`, `public_key` | of an export only: its label or null, and its key, which anybody may read |
//! | `ciphertext` | 96 hex digits: 32 secret bytes and their tag |
//! | `checksum` | 64 hex digits: the domain digest of the canonical form (RFC 8785) of all the others |
//!
//! The passphrase makes a key by argon2id (RFC 9106). All members but the last two, in their
//! canonical form, are the associated data, so none of them can be changed. The checksum is no
//! protection, as anybody can make it; but with it a file that was cut short or garbled is told
//! apart from a wrong passphrase, which no cipher could do.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::KeystoreError;
use super::cipher::{Kdf, Key, NONCE_BYTES, random};
use crate::domain::bytes;
use crate::domain::digest::domain_separated_digest;
use crate::domain::json;
use crate::domain::passphrase::Passphrase;

const VERSION: u32 = 1;
const CIPHER: &str = "xchacha20poly1305";

/// Why a file that a passphrase should open does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealedError {
    /// It is whole, and another passphrase opens it.
    #[error("the passphrase is wrong")]
    Passphrase,
    /// It is not as it was written.
    #[error("it was changed or cut short; restore it from a backup")]
    Damaged,
    /// It is something else.
    #[error("it is not of type {0}")]
    Type(&'static str),
    /// A later version of this program wrote it.
    #[error("it was written by a newer version")]
    Newer,
    /// Opening it would cost too much, or too little to be safe.
    #[error("its {name} is {value}, which must be between {min} and {max}")]
    Costs {
        /// Which cost.
        name: &'static str,
        /// What the file asks for.
        value: u32,
        /// The least.
        min: u32,
        /// The most.
        max: u32,
    },
    /// There is not as much memory as opening it takes.
    #[error("there is not enough memory to derive its key")]
    Memory,
}

/// What such a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The key that encrypts every identity of a keystore.
    DataKey,
    /// One identity.
    Export,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::DataKey => "bizra-keystore-key",
            Self::Export => "bizra-identity-export",
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    #[serde(rename = "type")]
    _kind: String,
    version: u32,
    kdf: Kdf,
    cipher: String,
    nonce: String,
    label: Option<String>,
    public_key: Option<String>,
    ciphertext: String,
    #[serde(rename = "checksum")]
    _checksum: String,
}

/// What was in such a file.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) secret: Zeroizing<[u8; 32]>,
    pub(super) label: Option<String>,
    pub(super) public_key: Option<String>,
}

/// Encrypts `secret`. `about` are the members that anybody may read.
pub(super) fn seal(
    kind: Kind,
    about: Map<String, Value>,
    secret: &[u8; 32],
    passphrase: &Passphrase,
) -> Result<Vec<u8>, KeystoreError> {
    let kdf = Kdf::fresh()?;
    let key = kdf.derive(passphrase).map_err(KeystoreError::Import)?;
    let nonce = random::<NONCE_BYTES>()?;
    let mut file = about;
    for (member, value) in [
        ("type", json!(kind.as_str())),
        ("version", json!(VERSION)),
        ("kdf", json!(kdf)),
        ("cipher", json!(CIPHER)),
        ("nonce", json!(bytes::to_hex(&nonce))),
    ] {
        file.insert(member.to_owned(), value);
    }
    let damaged = |_| KeystoreError::Import(SealedError::Damaged);
    let mut file = Value::Object(file);
    let header = json::canonical(&file).map_err(damaged)?;
    let sealed = key.seal(&nonce, &header, secret).ok_or(SealedError::Damaged);
    file["ciphertext"] = json!(bytes::to_hex(&sealed.map_err(KeystoreError::Import)?));
    file["checksum"] = json!(checksum(&file).map_err(KeystoreError::Import)?);
    let mut text = json::canonical(&file).map_err(damaged)?;
    text.push(b'\n');
    Ok(text)
}

/// Decrypts what [`seal`] made.
pub(super) fn open(
    kind: Kind,
    text: &[u8],
    passphrase: &Passphrase,
) -> Result<Opened, SealedError> {
    let mut file = json::parse(text).map_err(|_| SealedError::Damaged)?;
    if file.get("type").and_then(Value::as_str) != Some(kind.as_str()) {
        return Err(SealedError::Type(kind.as_str()));
    }
    let form = Form::deserialize(&file);
    let members = file.as_object_mut().ok_or(SealedError::Damaged)?;
    let given = members.remove("checksum");
    if given != Some(Value::String(checksum(&file)?)) {
        return Err(SealedError::Damaged);
    }
    // From here on the file is as somebody wrote it.
    let form = form.map_err(|_| SealedError::Newer)?;
    if form.version != VERSION || form.cipher != CIPHER {
        return Err(SealedError::Newer);
    }
    let nonce = bytes::from_hex(&form.nonce).map_err(|_| SealedError::Damaged)?;
    let sealed = bytes::from_hex(&form.ciphertext).map_err(|_| SealedError::Damaged)?;
    if let Some(members) = file.as_object_mut() {
        members.remove("ciphertext");
    }
    let header = json::canonical(&file).map_err(|_| SealedError::Damaged)?;
    let key: Key = form.kdf.derive(passphrase)?;
    let secret = key.open(&nonce, &header, &sealed).ok_or(SealedError::Passphrase)?;
    Ok(Opened { secret, label: form.label, public_key: form.public_key })
}

fn checksum(file: &Value) -> Result<String, SealedError> {
    let bytes = json::canonical(file).map_err(|_| SealedError::Damaged)?;
    Ok(domain_separated_digest(&bytes).to_hex())
}
