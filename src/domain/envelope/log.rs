//! What the log of envelopes made here knows of each beside the envelope itself.

use serde_json::{Value, json};

use super::{EnvelopeId, Sealed, timestamp_ms, timestamp_text};
use crate::domain::bytes;
use crate::domain::id::NodeId;

/// Entries in one page of the log.
pub const PAGE_MAX: usize = 1000;

/// Who made an envelope, when, of what and under which constitution: enough to list it and to
/// recognise it as a parent, without reading its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its id.
    pub id: EnvelopeId,
    /// The time in its header, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Digest of its payload.
    pub content_hash: [u8; 32],
    /// Digest of the constitution it was made under.
    pub constitution: [u8; 32],
    /// Who signed it.
    pub public_key: [u8; 32],
}

impl Head {
    /// Its bytes beside the id: time (big-endian), content hash, constitution, key.
    pub const BYTES: usize = 8 + 3 * 32;

    /// Reads the head of an envelope that was made here.
    ///
    /// # Errors
    /// The name of the field that is missing or wrong.
    pub fn of(sealed: &Sealed) -> Result<Self, String> {
        let text = |name: &str| sealed.json.get(name).and_then(Value::as_str);
        let hex = |name: &str| -> Result<[u8; 32], String> {
            let found = text(name).and_then(|text| bytes::from_hex(text).ok());
            found.ok_or_else(|| format!("{name} is missing or wrong"))
        };
        let at_ms = text("timestamp").and_then(timestamp_ms);
        Ok(Self {
            id: sealed.id,
            at_ms: at_ms.ok_or("timestamp is missing or wrong")?,
            content_hash: hex("content_hash")?,
            constitution: hex("constitution")?,
            public_key: hex("public_key")?,
        })
    }

    /// Everything but the id, for the store.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut all = [0; Self::BYTES];
        all[..8].copy_from_slice(&self.at_ms.to_be_bytes());
        all[8..40].copy_from_slice(&self.content_hash);
        all[40..72].copy_from_slice(&self.constitution);
        all[72..].copy_from_slice(&self.public_key);
        all
    }

    /// Reads what [`Head::to_bytes`] wrote.
    pub fn from_bytes(id: EnvelopeId, all: &[u8; Self::BYTES]) -> Self {
        let mut at_ms = [0; 8];
        at_ms.copy_from_slice(&all[..8]);
        let hash = |at: usize| {
            let mut hash = [0; 32];
            hash.copy_from_slice(&all[at..at + 32]);
            hash
        };
        Self {
            id,
            at_ms: i64::from_be_bytes(at_ms),
            content_hash: hash(8),
            constitution: hash(40),
            public_key: hash(72),
        }
    }

    /// As the HTTP interface and the command line answer it.
    pub fn to_json(&self) -> Value {
        json!({
            "id": self.id.to_string(),
            "at": timestamp_text(self.at_ms),
            "sender": NodeId::of_key(&self.public_key).to_hex(),
            "content_hash": bytes::to_hex(&self.content_hash),
            "constitution": bytes::to_hex(&self.constitution),
        })
    }
}

/// Which part of the log is asked for. The newest entries come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Entries, at most [`PAGE_MAX`].
    pub limit: usize,
    /// Only entries of this time and later, in milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// Only entries that come after this one: the last of the page before. Nothing if it is not in
    /// the log.
    pub after: Option<EnvelopeId>,
}
