//! The old form of envelopes, "1.0": read for verification only, never made.
//!
//! Existing nodes hash and sign text as `serde_json` writes it: the payload with its keys sorted by
//! code point, the header with its fields in one fixed order. The signature is that of
//! `identity.sign`. Every check of 2.0 is made that the form allows; `SIGNATURE_NOTE` says what it
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::tests::{NOW_MS, key};
    use super::super::{Options, Report, verify};
    use super::*;
    use crate::domain::identity::{KeyUse, Signed};

    /// As existing nodes make one; `payload` is the text they hash.
    fn sealed(fields: &[(&str, Value)], payload: &str) -> Value {
        let mut header = json!({
            "id": "pci_0123456789abcdef",
            "version": "1.0",
            "sender": key().public_key().node_id().to_hex(),
            "timestamp": "2026-01-01T00:00:00Z",
            "ttl": 60,
            "content_hash": domain_separated_digest(payload.as_bytes()).to_hex(),
            "provenance": [],
        });
        for (name, value) in fields {
            header[name] = value.clone();
        }
        let Signed { signature, public_key, .. } =
            key().sign(KeyUse::Message, &signed_bytes(&header).ok().unwrap());
        header["signature"] = json!(signature.to_hex());
        header["public_key"] = json!(public_key.to_hex());
        header["payload"] = crate::domain::json::parse(payload.as_bytes()).unwrap();
        header
    }

    fn report(envelope: &Value) -> Report {
        let options = Options { accept_v1: true, ..Options::default() };
        verify(envelope.to_string().as_bytes(), NOW_MS, &options)
    }

    #[test]
    fn every_lie_that_its_owner_signs_is_refused() {
        assert!(report(&sealed(&[], "{\"a\":1}")).is_valid());
        use RejectCode as Code;
        for (name, value, code) in [
            ("id", json!("pci_0123456789ABCDEF"), Code::RejectSchema),
            ("id", json!("pci_0123456789abcdef0123456789abcdef"), Code::RejectSchema),
            ("version", json!("1.0.0"), Code::RejectVersion),
            ("sender", json!("00".repeat(16)), Code::RejectSenderMismatch),
            ("ttl", json!(0), Code::RejectSchema),
            ("ttl", json!(3601), Code::RejectSchema),
            ("ttl", json!(-1), Code::RejectSchema),
            ("ttl", json!("60"), Code::RejectSchema),
            ("ttl", json!(60.0), Code::RejectSchema),
            ("timestamp", json!("2025-12-31T23:59:00Z"), Code::RejectExpired),
            ("timestamp", json!("2036-01-01T00:00:00Z"), Code::RejectFuture),
            ("timestamp", json!("1969-12-31T23:59:59Z"), Code::RejectSchema),
            ("content_hash", json!("00".repeat(32)), Code::RejectHashMismatch),
            ("provenance", json!(["x"]), Code::RejectSchema),
            ("provenance", json!(vec!["pci_0123456789abcdef"; 65]), Code::RejectSchema),
            ("provenance", json!({}), Code::RejectSchema),
        ] {
            let report = report(&sealed(&[(name, value.clone())], "{\"a\":1}"));
            assert_eq!(report.code, Some(code), "{name} {value}: {report:?}");
        }
        for name in FIELDS {
            let mut missing = sealed(&[], "1");
            missing.as_object_mut().unwrap().remove(name);
            assert_eq!(report(&missing).code, Some(Code::RejectMissingField), "{name}");
        }
        for name in ["audience", "constitution", "gates", "extra"] {
            let mut more = sealed(&[], "1");
            more[name] = Value::Null;
            assert_eq!(report(&more).code, Some(Code::RejectSchema), "{name}");
        }
    }

    #[test]
    fn the_new_form_does_not_pass_for_the_old_one_nor_the_reverse() {
        let mut old = sealed(&[], "1");
        old["version"] = json!("2.0");
        assert_eq!(report(&old).code, Some(RejectCode::RejectMissingField));
        let header = json!({ "version": "1.0" });
        let signed = key().sign(KeyUse::Envelope, &signed_bytes(&header).ok().unwrap());
        let mut other = sealed(&[], "1");
        other["signature"] = json!(signed.signature.to_hex());
        assert_eq!(report(&other).code, Some(RejectCode::RejectSignature));
    }

    #[test]
    fn a_time_has_one_spelling() {
        for (text, ms) in [
            ("2026-01-01T00:00:00Z", Some(1_767_225_600_000)),
            ("2026-01-01T00:00:00.120Z", Some(1_767_225_600_120)),
            ("2026-01-01T00:00:00.000001Z", Some(1_767_225_600_000)),
            ("2026-01-01T00:00:00.123456789Z", Some(1_767_225_600_123)),
            ("2026-01-01T00:00:00.12Z", None),
            ("2026-01-01T00:00:00.000Z", None),
            ("2026-01-01T00:00:00.1234560Z", None),
            ("2026-01-01T00:00:00.123000Z", None),
            ("2026-01-01T00:00:00+00:00", None),
            ("2026-01-01 00:00:00Z", None),
            ("2026-01-01t00:00:00z", None),
            ("2026-01-01T00:00:60Z", None),
            ("2026-02-30T00:00:00Z", None),
            ("1969-12-31T23:59:59Z", None),
            ("+002026-01-01T00:00:00Z", None),
            ("", None),
        ] {
            assert_eq!(timestamp_ms(text), ms, "{text}");
        }
    }

    #[test]
    fn numbers_and_keys_are_written_as_existing_nodes_write_them() {
        for payload in [
            "1.0",
            "-0.0",
            "1e-7",
            "1e+30",
            "0.9396554707778659",
            "{\"a\":{\"y\":null,\"z\":[1,2.5,\"\u{e9}\"]},\"b\":1}",
            // By code point, where the canonical form of 2.0 has it by UTF-16.
            "{\"\u{fb33}\":1,\"\u{1f600}\":2}",
            "\"\\u0001\\b\\t\\n\\f\\r\\\"\\\\/\u{7f}\u{2028}\"",
        ] {
            let report = report(&sealed(&[], payload));
            assert!(report.is_valid(), "{payload}: {report:?}");
        }
        // Read in another order, it is still the same payload.
        let sorted = sealed(&[], "{\"a\":1,\"b\":2}");
        let mut swapped = sorted.clone();
        swapped["payload"] = crate::domain::json::parse(b"{\"b\":2,\"a\":1}").unwrap();
        assert!(report(&swapped).is_valid());
        // But 1.0 and 1 are two.
        let mut other = sealed(&[], "[1]");
        other["payload"] = json!([1.0]);
        assert_eq!(report(&other).code, Some(RejectCode::RejectHashMismatch));
    }

    proptest! {
        #[test]
        fn any_text_is_no_envelope_or_verifies(text: String, time in "[0-9TZ:.-]{0,32}") {
            let payload = Value::from(text.as_str()).to_string();
            prop_assert!(report(&sealed(&[], &payload)).is_valid());
            let _ = timestamp_ms(&text);
            let _ = timestamp_ms(&time);
            let _ = id(&text);
            let mut bad = sealed(&[], &payload);
            bad["id"] = json!(text);
            prop_assert!(!report(&bad).is_valid());
        }
    }
}
