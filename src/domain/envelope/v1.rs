//! The old form of envelopes, "1.0": read for verification only, never made.
//!
//! Existing nodes hash and sign text as `serde_json` writes it: the payload with its keys sorted by
//! code point, the header with its fields in one fixed order. The signature is that of
//! `identity.sign`. Every check of 2.0 is made that the form allows; [`SIGNATURE_NOTE`] says what it
//! does not.

use serde::Serialize;
use serde_json::{Map, Value};

use super::verify::{Form, Refusal, field, from_field, schema};
use super::{EnvelopeId, PARENTS_MAX, PAYLOAD_BYTES_MAX, TIMESTAMP_MS_MAX};
use crate::domain::bytes;
use crate::domain::digest::{Digest, domain_separated_digest};
use crate::domain::id::NodeId;
use crate::domain::identity::Signature;
use crate::domain::json::canonical;
use crate::domain::reject::RejectCode;

/// The version read here.
pub const VERSION: &str = "1.0";

/// What a valid signature does not say, for whoever reads the report.
pub(super) const SIGNATURE_NOTE: &str = "version 1.0: of public_key only the first half is signed, \
     as sender; and whoever may have messages signed as this node can make this signature";

/// Every field.
const FIELDS: [&str; 10] = [
    "id",
    "version",
    "sender",
    "timestamp",
    "ttl",
    "content_hash",
    "signature",
    "public_key",
    "provenance",
    "payload",
];

/// What is signed, in the order in which it is signed.
#[derive(Serialize)]
struct Header<'a> {
    id: &'a Value,
    version: &'a Value,
    sender: &'a Value,
    timestamp: &'a Value,
    ttl: &'a Value,
    content_hash: &'a Value,
    provenance: &'a Value,
}

/// The fields in their types; nothing is compared yet.
pub(super) fn read(envelope: &Map<String, Value>) -> Result<Form, Refusal> {
    for name in FIELDS {
        field(envelope, "form", name)?;
    }
    if let Some(name) = envelope.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        let name: String = name.chars().take(32).collect();
        return Err(schema("form", format!("unknown field {name:?}")));
    }
    let ttl = envelope["ttl"].as_i64().ok_or_else(|| schema("form", "ttl is no integer"))?;
    Ok(Form {
        id: from_field(envelope, "id", id)?,
        sender: from_field(envelope, "sender", |text| NodeId::from_hex(text).ok())?,
        key: from_field(envelope, "public_key", |text| bytes::from_hex(text).ok())?,
        timestamp_ms: from_field(envelope, "timestamp", timestamp_ms)?,
        ttl,
        audience: None,
        content_hash: from_field(envelope, "content_hash", |text| Digest::from_hex(text).ok())?,
        provenance: Vec::new(),
        parents_by_id: parents(&envelope["provenance"])?,
        constitution: None,
        signature: from_field(envelope, "signature", |text| Signature::from_hex(text).ok())?,
    })
}

/// Eight bytes, put before eight zeros: ids of 2.0 have sixteen random ones.
fn id(text: &str) -> Option<EnvelopeId> {
    let short: [u8; 8] = bytes::from_hex(text.strip_prefix(super::ID_PREFIX)?).ok()?;
    let mut id = [0; 16];
    id[..8].copy_from_slice(&short);
    Some(EnvelopeId(id))
}

/// How many there are. They are named by id only, so there is nothing to compare.
fn parents(provenance: &Value) -> Result<usize, Refusal> {
    let wrong = || schema("form", "provenance is not a list of ids");
    let parents = provenance.as_array().ok_or_else(wrong)?;
    if parents.len() > PARENTS_MAX {
        let error = format!("{} parents, at most {PARENTS_MAX}", parents.len());
        return Err(schema("form", error));
    }
    let is_id = |parent: &Value| parent.as_str().and_then(id).is_some();
    parents.iter().all(is_id).then_some(parents.len()).ok_or_else(wrong)
}

/// RFC 3339 in UTC with the fewest groups of three decimals, which is how existing nodes write it
/// and therefore what they sign. Parts of a millisecond are left out.
fn timestamp_ms(text: &str) -> Option<i64> {
    if text.len() > "1970-01-01T00:00:00.000000000Z".len() {
        return None;
    }
    let time: jiff::Timestamp = text.parse().ok()?;
    let written = match time.subsec_nanosecond() {
        0 => format!("{time:.0}"),
        ns if ns % 1_000_000 == 0 => format!("{time:.3}"),
        ns if ns % 1000 == 0 => format!("{time:.6}"),
        _ => format!("{time:.9}"),
    };
    let ms = time.as_millisecond();
    (written == text && (0..=TIMESTAMP_MS_MAX).contains(&ms)).then_some(ms)
}

/// Compares the payload with its hash.
pub(super) fn content(payload: Option<&Value>, hash: Digest) -> Result<Option<String>, Refusal> {
    let payload = payload.unwrap_or(&Value::Null);
    // The limits are those of 2.0, held by its writer; recursion below is then bounded as well.
    canonical(payload).map_err(|error| schema("content_hash", format!("payload: {error}")))?;
    let mut text = String::new();
    write(payload, &mut text);
    if text.len() > PAYLOAD_BYTES_MAX {
        let error = format!("payload has {} bytes, at most {PAYLOAD_BYTES_MAX}", text.len());
        return Err(schema("content_hash", error));
    }
    if domain_separated_digest(text.as_bytes()) != hash {
        let error = "content_hash is not the digest of the payload".to_owned();
        return Err(Refusal("content_hash", RejectCode::RejectHashMismatch, error));
    }
    Ok(None)
}

/// As `serde_json` writes a value whose maps are sorted.
fn write(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<(&String, &Value)> = members.iter().collect();
            members.sort_unstable_by_key(|(key, _)| *key);
            out.push('{');
            for (at, (key, member)) in members.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write(member, out);
            }
            out.push('}');
        }
        leaf => out.push_str(&leaf.to_string()),
    }
}

/// What `identity.sign` signed.
pub(super) fn signed_bytes(header: &Value) -> Result<Vec<u8>, Refusal> {
    let header = Header {
        id: &header["id"],
        version: &header["version"],
        sender: &header["sender"],
        timestamp: &header["timestamp"],
        ttl: &header["ttl"],
        content_hash: &header["content_hash"],
        provenance: &header["provenance"],
    };
    serde_json::to_vec(&header).map_err(|error| schema("signature", format!("header: {error}")))
}
