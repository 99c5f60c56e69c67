//! Envelopes, version "2.0": a payload, its hash, and a signed header that anyone can check.
//!
//! The signature covers the canonical JSON of every field but `payload` and `signature` itself.
//! The header names the payload by its hash only, so a payload can be withheld and the rest still
//! verifies. Making is here; checking is in `envelope::verify`.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::domain::bytes;
use crate::domain::digest::{Digest, domain_separated_digest};
use crate::domain::id::NodeId;
use crate::domain::identity::{PublicKey, Signed};
use crate::domain::json::{JsonError, canonical, canonical_within};

pub mod log;
pub mod v1;
pub mod verify;

pub use log::{Head, Page};
pub use verify::{Check, Options, Report, Verified, examine, verify, verify_many};

/// The version made and read here.
pub const VERSION: &str = "2.0";

/// The longest time to live: an hour, so that a replay window stays small.
pub const TTL_S_MAX: u32 = 3600;

/// Parents of one envelope.
pub const PARENTS_MAX: usize = 64;

/// Canonical bytes of a payload: what the HTTP interface takes in one request.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// Canonical bytes of a gate receipt: some dozens of gates with their evidence.
pub const GATES_BYTES_MAX: usize = 64 << 10;

/// Bytes of a whole envelope as received: a payload in its longest reasonable spelling.
pub const ENVELOPE_BYTES_MAX: usize = 2 << 20;

/// Bytes of a canonical header without gates and parents, and of each parent; only to save growing.
const HEADER_BYTES: usize = 512;
const PARENT_BYTES: usize = 136;

/// The last millisecond of the year 9999, the last that RFC 3339 can write.
const TIMESTAMP_MS_MAX: i64 = 253_402_300_799_999;

/// Before the digits of an id.
const ID_PREFIX: &str = "pci_";

/// 128 random bits: names the envelope and is its replay nonce. `pci_` and 32 hex digits as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnvelopeId(pub [u8; 16]);

impl EnvelopeId {
    /// Reads `pci_` and 32 lower-case hex digits; `None` for anything else.
    pub fn from_text(text: &str) -> Option<Self> {
        bytes::from_hex(text.strip_prefix(ID_PREFIX)?).ok().map(Self)
    }
}

impl fmt::Display for EnvelopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ID_PREFIX}{}", bytes::to_hex(&self.0))
    }
}

impl fmt::Debug for EnvelopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A parent of an envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Its id.
    pub id: EnvelopeId,
    /// Its content hash.
    pub content_hash: [u8; 32],
}

/// What is to be sealed. The caller draws `id` and reads the clock, so that making the same
/// envelope twice gives the same bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// Random, drawn by the caller.
    pub id: EnvelopeId,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// Seconds it is valid, 1..=3600.
    pub ttl_s: u32,
    /// The only node that may consume it.
    pub audience: Option<NodeId>,
    /// What it was made from, at most 64.
    pub provenance: Vec<Parent>,
    /// Digest of the constitution it is made under.
    pub constitution: Digest,
    /// The receipt of the gates that judged the payload.
    pub gates: Option<Value>,
    /// Any I-JSON value.
    pub payload: Value,
}

impl Draft {
    /// Lays out the envelope for the node with this key, ready to be signed.
    ///
    /// # Errors
    /// [`SealError::Invalid`] if the draft breaks a rule of the format.
    pub fn prepare(self, key: &PublicKey) -> Result<Unsigned, SealError> {
        if !(1..=TTL_S_MAX).contains(&self.ttl_s) {
            return Err(invalid(format!("ttl {} is not in 1..={TTL_S_MAX} seconds", self.ttl_s)));
        }
        if self.provenance.len() > PARENTS_MAX {
            return Err(invalid(format!(
                "{} parents where at most {PARENTS_MAX} are allowed",
                self.provenance.len()
            )));
        }
        let timestamp = timestamp_text(self.timestamp_ms).ok_or_else(|| {
            invalid(format!("time {} ms is not representable", self.timestamp_ms))
        })?;
        let payload = bounded("payload", &self.payload, PAYLOAD_BYTES_MAX)?;
        if let Some(gates) = &self.gates {
            if !gates.is_object() {
                return Err(invalid("gates is not an object".to_owned()));
            }
            bounded("gates", gates, GATES_BYTES_MAX)?;
        }
        let header = Header {
            id: self.id,
            timestamp,
            ttl_s: self.ttl_s,
            audience: self.audience,
            content_hash: domain_separated_digest(&payload),
            provenance: self.provenance,
            constitution: self.constitution,
            gates: self.gates,
        };
        let signing_bytes = header.canonical(key)?;
        Ok(Unsigned { key: *key, header, signing_bytes, payload: self.payload })
    }
}

/// What is signed but for the key.
#[derive(Clone, Debug)]
struct Header {
    id: EnvelopeId,
    timestamp: String,
    ttl_s: u32,
    audience: Option<NodeId>,
    content_hash: Digest,
    provenance: Vec<Parent>,
    constitution: Digest,
    gates: Option<Value>,
}

impl Header {
    /// The canonical form of the header fields of [`Header::into_json`], written in the order that
    /// it has. All text in it is plain: hex digits and names.
    fn canonical(&self, key: &PublicKey) -> Result<Vec<u8>, SealError> {
        let mut out = Vec::with_capacity(HEADER_BYTES + PARENT_BYTES * self.provenance.len());
        out.extend_from_slice(b"{\"audience\":");
        match self.audience {
            None => out.extend_from_slice(b"null"),
            Some(node) => quoted(&mut out, &[&node.to_hex()]),
        }
        out.extend_from_slice(b",\"constitution\":");
        quoted(&mut out, &[&self.constitution.to_hex()]);
        out.extend_from_slice(b",\"content_hash\":");
        quoted(&mut out, &[&self.content_hash.to_hex()]);
        out.extend_from_slice(b",\"gates\":");
        // The gates lie one level deeper here than when they were measured.
        canonical_within(self.gates.as_ref().unwrap_or(&Value::Null), 1, &mut out)
            .map_err(|error| unfit("gates", error))?;
        out.extend_from_slice(b",\"id\":");
        quoted(&mut out, &[ID_PREFIX, &bytes::to_hex(&self.id.0)]);
        out.extend_from_slice(b",\"provenance\":[");
        for (index, parent) in self.provenance.iter().enumerate() {
            let before: &[u8] = if index == 0 { b"" } else { b"," };
            out.extend_from_slice(before);
            out.extend_from_slice(b"{\"content_hash\":");
            quoted(&mut out, &[&bytes::to_hex(&parent.content_hash)]);
            out.extend_from_slice(b",\"id\":");
            quoted(&mut out, &[ID_PREFIX, &bytes::to_hex(&parent.id.0)]);
            out.push(b'}');
        }
        out.extend_from_slice(b"],\"public_key\":");
        quoted(&mut out, &[&key.to_hex()]);
        out.extend_from_slice(b",\"sender\":");
        quoted(&mut out, &[&key.node_id().to_hex()]);
        out.extend_from_slice(b",\"timestamp\":");
        quoted(&mut out, &[&self.timestamp]);
        out.extend_from_slice(b",\"ttl\":");
        out.extend_from_slice(self.ttl_s.to_string().as_bytes());
        out.extend_from_slice(b",\"version\":");
        quoted(&mut out, &[VERSION]);
        out.push(b'}');
        Ok(out)
    }

    /// The fields of the header, in the order in which an envelope is shown.
    fn into_json(self, key: &PublicKey) -> Map<String, Value> {
        let parent = |parent: &Parent| {
            let content_hash = bytes::to_hex(&parent.content_hash);
            json!({ "id": parent.id.to_string(), "content_hash": content_hash })
        };
        let provenance: Vec<Value> = self.provenance.iter().map(parent).collect();
        let mut fields = Map::with_capacity(verify::FIELDS.len() + 1);
        let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        put("id", Value::String(self.id.to_string()));
        put("version", Value::String(VERSION.to_owned()));
        put("sender", Value::String(key.node_id().to_hex()));
        put("public_key", Value::String(key.to_hex()));
        put("timestamp", Value::String(self.timestamp));
        put("ttl", Value::from(self.ttl_s));
        put("audience", self.audience.map_or(Value::Null, |node| Value::String(node.to_hex())));
        put("content_hash", Value::String(self.content_hash.to_hex()));
        put("provenance", Value::Array(provenance));
        put("constitution", Value::String(self.constitution.to_hex()));
        put("gates", self.gates.unwrap_or(Value::Null));
        fields
    }
}

fn quoted(out: &mut Vec<u8>, parts: &[&str]) {
    out.push(b'"');
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
    out.push(b'"');
}

/// An envelope that lacks its signature.
#[derive(Clone, Debug)]
pub struct Unsigned {
    key: PublicKey,
    header: Header,
    signing_bytes: Vec<u8>,
    payload: Value,
}

impl Unsigned {
    /// The canonical header, to be signed with [`KeyUse::Envelope`](super::identity::KeyUse).
    pub fn signing_bytes(&self) -> &[u8] {
        &self.signing_bytes
    }

    /// Names another key in the header, whose signature it then needs.
    ///
    /// # Errors
    /// [`SealError::Invalid`], as for [`Draft::prepare`].
    pub fn with_key(mut self, key: &PublicKey) -> Result<Self, SealError> {
        self.signing_bytes = self.header.canonical(key)?;
        self.key = *key;
        Ok(self)
    }

    /// Puts the signature in.
    ///
    /// # Errors
    /// [`SealError::Unavailable`] if another key signed than the header names; the draft has to be
    /// prepared again for that key.
    pub fn finish(self, signed: &Signed) -> Result<Sealed, SealError> {
        if signed.public_key != self.key {
            return Err(SealError::Unavailable("the active identity changed".to_owned()));
        }
        let id = self.header.id;
        let mut fields = self.header.into_json(&self.key);
        fields.insert("payload".to_owned(), self.payload);
        fields.insert("signature".to_owned(), Value::String(signed.signature.to_hex()));
        Ok(Sealed { id, json: Arc::new(Value::Object(fields)) })
    }
}

/// A finished envelope.
#[derive(Clone, Debug, PartialEq)]
pub struct Sealed {
    /// Its id.
    pub id: EnvelopeId,
    /// The whole object, as in `pci.md`.
    pub json: Arc<Value>,
}

impl Sealed {
    /// The whole object in one line of JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.json.to_string().into_bytes()
    }

    /// Reads back what [`Sealed::to_bytes`] wrote to a place that is trusted: nothing is verified.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn from_trusted_bytes(bytes: &[u8]) -> Result<Self, String> {
        let json = crate::domain::json::parse_nested(bytes, verify::DOCUMENT_DEPTH_MAX)
            .map_err(|error| error.to_string())?;
        let id = json.get("id").and_then(Value::as_str).and_then(EnvelopeId::from_text);
        let id = id.ok_or("it has no envelope id")?;
        Ok(Self { id, json: Arc::new(json) })
    }

    /// Whether both were sealed from one draft, whichever key sealed them: the question when an id
    /// comes again.
    pub fn is_of_the_draft_of(&self, other: &Self) -> bool {
        let fields = |sealed: &Self| {
            let mut fields = sealed.json.as_object().cloned().unwrap_or_default();
            for name in ["sender", "public_key", "signature"] {
                fields.remove(name);
            }
            // 1.0 and 1 are one number, and what was read back has the shorter spelling.
            canonical(&Value::Object(fields)).ok()
        };
        let mine = fields(self);
        mine.is_some() && mine == fields(other)
    }
}

/// Why an envelope could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The draft breaks a rule of the format.
    #[error("{0}")]
    Invalid(String),
    /// The log or the key could not be used.
    #[error("{0}")]
    Unavailable(String),
    /// The log may not grow: the disk is nearly full.
    #[error("{0}")]
    Full(String),
}

fn invalid(text: String) -> SealError {
    SealError::Invalid(text)
}

fn unfit(name: &str, error: JsonError) -> SealError {
    SealError::Invalid(format!("{name}: {error}"))
}

fn bounded(name: &str, value: &Value, bytes_max: usize) -> Result<Vec<u8>, SealError> {
    let bytes = canonical(value).map_err(|error| unfit(name, error))?;
    if bytes.len() > bytes_max {
        return Err(invalid(format!("{name} has {} bytes, at most {bytes_max}", bytes.len())));
    }
    Ok(bytes)
}

/// RFC 3339 in UTC with milliseconds: one time has one spelling, 24 characters long.
pub(crate) fn timestamp_text(ms: i64) -> Option<String> {
    if !(0..=TIMESTAMP_MS_MAX).contains(&ms) {
        return None;
    }
    let time = jiff::Timestamp::from_millisecond(ms).ok()?;
    Some(format!("{time:.3}"))
}

/// Reads what [`timestamp_text`] writes and nothing else.
pub(in crate::domain) fn timestamp_ms(text: &str) -> Option<i64> {
    if text.len() != "1970-01-01T00:00:00.000Z".len() {
        return None;
    }
    let ms = text.parse::<jiff::Timestamp>().ok()?.as_millisecond();
    (timestamp_text(ms)? == text).then_some(ms)
}

#[cfg(test)]
pub(crate) mod tests;
