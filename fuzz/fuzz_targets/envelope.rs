//! Verification answers any bytes. What came is then signed with a known key, in both forms, so
//! that the checks behind the signature are reached too; what is valid stays valid when it is
//! written again.
#![no_main]

use std::sync::LazyLock;

use bizra_omega::domain::digest::domain_separated_digest;
use bizra_omega::domain::envelope::{Options, Report, verify, verify::read};
use bizra_omega::domain::identity::{KeyUse, NodeKey};
use bizra_omega::domain::json::canonical;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};

static KEY: LazyLock<NodeKey> = LazyLock::new(|| NodeKey::from_secret(&[7; 32]));

/// Noon of the day that the seeds were made on.
const NOW_MS: i64 = 1_767_225_600_123;

fn check(bytes: &[u8]) -> Report {
    let strict = verify(bytes, NOW_MS, &Options::default());
    let report = verify(bytes, NOW_MS, &Options { accept_v1: true, ..Options::default() });
    for report in [&strict, &report] {
        assert_eq!(report.is_valid(), report.checks.iter().all(|check| check.passed));
        assert_eq!(report.is_valid(), report.code.is_none());
    }
    if strict.is_valid() {
        assert_eq!(strict, report);
    }
    report
}

fn sign(mut envelope: Map<String, Value>) -> Option<Value> {
    let public = KEY.public_key();
    envelope.insert("sender".into(), json!(public.node_id().to_hex()));
    envelope.insert("public_key".into(), json!(public.to_hex()));
    let payload = envelope.remove("payload").unwrap_or_default();
    let is_old = envelope.get("version") == Some(&json!("1.0"));
    let hashed =
        if is_old { payload.to_string().into_bytes() } else { canonical(&payload).ok()? };
    let hash = domain_separated_digest(&hashed).to_hex();
    envelope.insert("content_hash".into(), json!(hash));
    envelope.remove("signature");
    let signed = if is_old {
        let names =
            ["id", "version", "sender", "timestamp", "ttl", "content_hash", "provenance"];
        let fields: Vec<String> = names
            .into_iter()
            .map(|name| format!("{name:?}:{}", envelope.get(name).unwrap_or(&Value::Null)))
            .collect();
        KEY.sign(KeyUse::Message, format!("{{{}}}", fields.join(",")).as_bytes())
    } else {
        KEY.sign(KeyUse::Envelope, &canonical(&Value::Object(envelope.clone())).ok()?)
    };
    envelope.insert("signature".into(), json!(signed.signature.to_hex()));
    envelope.insert("payload".into(), payload);
    Some(Value::Object(envelope))
}

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    let Ok(Value::Object(envelope)) = read(bytes) else { return };
    let Some(signed) = sign(envelope) else { return };
    let report = check(signed.to_string().as_bytes());
    if report.is_valid() && signed["version"] == "2.0" {
        let rewritten = canonical(&signed).expect("what verifies can be written");
        assert!(check(&rewritten).is_valid());
    }
    // Signed, with all of the form in order, only the values can still be wrong.
    if let Some(last) = report.checks.last() {
        assert!(last.passed || last.check != "signature", "{report:?}");
    }
});
