//! What must hold for any input, one function for each fuzz target. `tests/parsers.rs` asks the same
//! of generated inputs in the ordinary test run.

use std::sync::LazyLock;
use std::time::Duration;

use bizra_omega::domain::bytes::{from_hex, to_hex};
use bizra_omega::domain::constitution::{Constitution, DEFAULT_TOML};
use bizra_omega::domain::digest::{Digest, domain_separated_digest};
use bizra_omega::domain::envelope::verify::read;
use bizra_omega::domain::envelope::{EnvelopeId, GATES_BYTES_MAX, Options, Report, verify};
use bizra_omega::domain::gate::{Action, ContentType, Facts, GateInput, Surroundings, run};
use bizra_omega::domain::id::NodeId;
use bizra_omega::domain::identity::{KeyUse, NodeKey, Signature};
use bizra_omega::domain::json::{canonical, parse};
use bizra_omega::domain::profile::Profile;
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// Hex has one spelling: what is read is written alike, and nothing else is read.
pub fn hex(text: &str) {
    fixed::<0>(text);
    fixed::<1>(text);
    fixed::<16>(text);
    fixed::<32>(text);
    fixed::<64>(text);
    assert_eq!(NodeId::from_hex(text).is_ok(), is_hex(text, 32));
    assert_eq!(Digest::from_hex(text).is_ok(), is_hex(text, 64));
    assert_eq!(Signature::from_hex(text).is_ok(), is_hex(text, 128));
    if let Some(id) = EnvelopeId::from_text(text) {
        assert_eq!(id.to_string(), text);
    }
}

fn fixed<const N: usize>(text: &str) {
    match from_hex::<N>(text) {
        Ok(bytes) => assert_eq!(to_hex(&bytes), text),
        Err(_) => assert!(!is_hex(text, 2 * N)),
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// What the strict reader accepts, an ordinary reader reads alike, and its canonical form is
/// accepted and is its own canonical form.
pub fn json(bytes: &[u8]) {
    let Ok(value) = parse(bytes) else { return };
    let written = canonical(&value).expect("what is read can be written");
    let read = parse(&written).expect("what is written can be read");
    assert_eq!(canonical(&read).expect("and written again"), written);
    let other: Value = serde_json::from_slice(bytes).expect("JSON to other readers");
    assert_eq!(canonical(&other).expect("the same value"), written);
}

/// The constitution parser answers any text; what it accepts has one digest.
pub fn constitution(text: &str) {
    let Ok(constitution) = Constitution::parse("fuzz", text) else { return };
    let again = Constitution::parse("again", text).expect("accepted before");
    assert_eq!(constitution.digest(), again.digest());
}

/// Gates answer any content, alike every time, and no run without a verdict passes.
pub fn gates(content: &[u8]) {
    static SENDER: LazyLock<NodeKey> = LazyLock::new(|| NodeKey::from_secret(&[1; 32]));
    static CONSTITUTION: LazyLock<Constitution> =
        LazyLock::new(|| Constitution::parse("built in", DEFAULT_TOML).expect("it is valid"));
    let content = Bytes::copy_from_slice(content);
    for profile in Profile::ALL {
        for content_type in [ContentType::Text, ContentType::Json] {
            let facts = Facts {
                sources: vec![String::from_utf8_lossy(&content).into_owned()],
                sender: Some(*SENDER.public_key()),
                action: Some(Action::default()),
                ..Facts::default()
            };
            let input = GateInput {
                content_type,
                facts: Some(Box::new(facts)),
                ..GateInput::text(content.clone())
            };
            let judge = |input| {
                run(&CONSTITUTION, profile, input, &Surroundings::default(), || Duration::ZERO)
            };
            let receipt = judge(input.clone());
            assert!(!receipt.verdicts().is_empty());
            assert_eq!(receipt.passed(), receipt.code().is_none());
            assert_eq!(receipt, judge(input));
            let sealed = canonical(&receipt.to_json()).expect("it goes into an envelope");
            assert!(sealed.len() <= GATES_BYTES_MAX / 3, "three of them do");
        }
    }
}

/// The moment that envelopes are verified at; the seeds were made just before.
pub const NOW_MS: i64 = 1_767_225_600_123;

/// Verification answers any bytes. What came is then signed with a known key, in the form of its
/// version, so that the checks up to the signature hold and those behind it are reached; and what is
/// valid stays valid when it is written in another way.
pub fn envelope(bytes: &[u8]) {
    verdict(bytes);
    let Ok(Value::Object(envelope)) = read(bytes) else { return };
    let Some(signed) = sign(envelope) else { return };
    let report = verdict(signed.to_string().as_bytes());
    if let Some(last) = report.checks.last() {
        assert!(last.passed || last.check != "signature", "{report:?}");
    }
    if report.is_valid() && signed["version"] == "2.0" {
        let rewritten = canonical(&signed).expect("what verifies can be written");
        assert!(verdict(&rewritten).is_valid());
    }
}

fn verdict(bytes: &[u8]) -> Report {
    let strict = verify(bytes, NOW_MS, &Options::default());
    let report = verify(bytes, NOW_MS, &Options { accept_v1: true, ..Options::default() });
    for report in [&strict, &report] {
        assert_eq!(report.is_valid(), report.checks.iter().all(|check| check.passed));
        assert_eq!(report.is_valid(), report.code.is_none());
    }
    // The old form is read beside the new one, and changes nothing about it.
    assert!(!strict.is_valid() || strict == report);
    report
}

fn sign(mut envelope: Map<String, Value>) -> Option<Value> {
    static KEY: LazyLock<NodeKey> = LazyLock::new(|| NodeKey::from_secret(&[7; 32]));
    let public = KEY.public_key();
    envelope.insert("sender".into(), json!(public.node_id().to_hex()));
    envelope.insert("public_key".into(), json!(public.to_hex()));
    envelope.remove("signature");
    let is_old = envelope.get("version") == Some(&json!("1.0"));
    if is_old {
        let payload = envelope.entry("payload").or_insert(Value::Null).take();
        let payload = by_code_point(payload);
        let hash = domain_separated_digest(payload.to_string().as_bytes());
        envelope.insert("payload".into(), payload);
        envelope.insert("content_hash".into(), json!(hash.to_hex()));
    } else if let Some(payload) = envelope.get("payload") {
        let hash = domain_separated_digest(&canonical(payload).ok()?);
        envelope.insert("content_hash".into(), json!(hash.to_hex()));
    }
    let signed = if is_old {
        let names = ["id", "version", "sender", "timestamp", "ttl", "content_hash", "provenance"];
        let field = |name| format!("{name:?}:{}", envelope.get(name).unwrap_or(&Value::Null));
        let header = format!("{{{}}}", names.map(field).join(","));
        KEY.sign(KeyUse::Message, header.as_bytes())
    } else {
        let payload = envelope.remove("payload");
        let header = canonical(&Value::Object(envelope.clone())).ok()?;
        envelope.extend(payload.map(|payload| ("payload".to_owned(), payload)));
        KEY.sign(KeyUse::Envelope, &header)
    };
    envelope.insert("signature".into(), json!(signed.signature.to_hex()));
    Some(Value::Object(envelope))
}

/// The same value with its keys in the order in which existing nodes write them.
fn by_code_point(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(by_code_point).collect(),
        Value::Object(members) => {
            let mut members: Vec<(String, Value)> = members.into_iter().collect();
            members.sort_unstable_by(|one, other| one.0.cmp(&other.0));
            members.into_iter().map(|(key, member)| (key, by_code_point(member))).collect()
        }
        leaf => leaf,
    }
}
