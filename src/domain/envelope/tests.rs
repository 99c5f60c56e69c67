use proptest::prelude::*;

use super::*;
use crate::domain::identity::{KeyUse, NodeKey};
use crate::domain::reject::RejectCode;

/// When the test envelopes were made.
pub(crate) const NOW_MS: i64 = 1_767_225_600_123;

pub(crate) fn key() -> NodeKey {
    NodeKey::from_secret(&std::array::from_fn(|i| i as u8 + 1))
}

pub(crate) fn draft(payload: Value) -> Draft {
    Draft {
        id: EnvelopeId([7; 16]),
        timestamp_ms: NOW_MS,
        ttl_s: 60,
        audience: None,
        provenance: vec![Parent { id: EnvelopeId([1; 16]), content_hash: [2; 32] }],
        constitution: domain_separated_digest(b"constitution"),
        gates: Some(json!({ "profile": "check", "gates": [{ "gate": "Schema", "score": 0.97 }] })),
        payload,
    }
}

pub(crate) fn seal(draft: Draft) -> Sealed {
    let key = key();
    let unsigned = draft.prepare(key.public_key()).unwrap();
    let signed = key.sign(KeyUse::Envelope, unsigned.signing_bytes());
    unsigned.finish(&signed).unwrap()
}

fn header_of(envelope: &Value) -> Option<Value> {
    let mut fields = envelope.as_object()?.clone();
    fields.remove("payload");
    fields.remove("signature");
    Some(Value::Object(fields))
}

/// Signs an envelope that was changed, as a dishonest owner of the key would.
fn sign_again(json: &mut Value) {
    let header = canonical(&header_of(json).unwrap()).unwrap();
    json["signature"] = json!(key().sign(KeyUse::Envelope, &header).signature.to_hex());
}

fn report(json: &Value) -> Report {
    verify(json.to_string().as_bytes(), NOW_MS, &Options::default())
}

fn changed(change: impl FnOnce(&mut Value)) -> Report {
    let mut json = Value::clone(&seal(draft(json!({ "text": "hi" }))).json);
    change(&mut json);
    report(&json)
}

fn changed_json(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut json = Value::clone(&seal(draft(json!({ "text": "hi" }))).json);
    change(&mut json);
    json.to_string().into_bytes()
}

fn changed_and_signed(change: impl FnOnce(&mut Value)) -> Report {
    changed(|json| {
        change(json);
        sign_again(json);
    })
}

#[test]
fn an_envelope_holds_and_says_what_was_checked() {
    let report = changed(|_| ());
    assert!(report.is_valid(), "{report:?}");
    let checks: Vec<_> = report.checks.iter().map(|check| check.check).collect();
    assert_eq!(
        checks,
        [
            "size",
            "parse",
            "version",
            "form",
            "sender",
            "key",
            "ttl",
            "time",
            "content_hash",
            "signature",
            "audience",
            "provenance"
        ]
    );
    assert_eq!(report.to_json()["valid"], json!(true));
}

#[test]
fn sealing_again_gives_the_same_bytes() {
    let once = seal(draft(json!([1, 2.5])));
    assert_eq!(seal(draft(json!([1, 2.5]))).to_bytes(), once.to_bytes());
    assert_eq!(Sealed::from_trusted_bytes(&once.to_bytes()), Ok(once));
}

#[test]
fn a_draft_is_known_by_its_content_and_not_by_who_sealed_it() {
    let once = seal(draft(json!([1, 2.0])));
    let other = NodeKey::from_secret(&[9; 32]);
    let unsigned = draft(json!([1, 2])).prepare(key().public_key()).unwrap();
    let unsigned = unsigned.with_key(other.public_key()).unwrap();
    let signed = other.sign(KeyUse::Envelope, unsigned.signing_bytes());
    let by_other = unsigned.finish(&signed).unwrap();
    assert!(report(&by_other.json).is_valid(), "{:?}", report(&by_other.json));
    assert!(once.is_of_the_draft_of(&by_other));
    assert!(!seal(draft(json!([1, 2.5]))).is_of_the_draft_of(&once));
    assert!(!seal(Draft { ttl_s: 61, ..draft(json!([1, 2])) }).is_of_the_draft_of(&once));
}

#[test]
fn no_single_bit_of_an_envelope_can_be_changed() {
    let bytes = seal(draft(json!({ "text": "caf\u{e9}", "n": [1, -2.5, null, true] }))).to_bytes();
    assert!(verify(&bytes, NOW_MS, &Options::default()).is_valid());
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let report = verify(&flipped, NOW_MS, &Options::default());
        assert!(!report.is_valid(), "bit {bit}: {}", String::from_utf8_lossy(&flipped));
    }
}

#[test]
fn every_lie_is_refused_with_its_code() {
    use RejectCode as Code;
    let other = NodeKey::from_secret(&[9; 32]);
    let other = other.public_key();
    type Change = Box<dyn FnOnce(&mut Value)>;
    let set =
        |name: &'static str, value: Value| -> Change { Box::new(move |json| json[name] = value) };
    let remove = |name: &'static str| -> Change {
        Box::new(move |json| {
            json.as_object_mut().unwrap().remove(name);
        })
    };
    let weak = format!("01{}", "00".repeat(31));
    let weak_again = weak.clone();
    let honest = [
        ("a version of its own", set("version", json!("9.9")), Code::RejectVersion),
        ("the old version", set("version", json!("1.0")), Code::RejectVersion),
        ("a number as version", set("version", json!(2.0)), Code::RejectSchema),
        ("no version", remove("version"), Code::RejectMissingField),
        (
            "another node as sender",
            set("sender", json!(other.node_id().to_hex())),
            Code::RejectSenderMismatch,
        ),
        ("a ttl of zero", set("ttl", json!(0)), Code::RejectSchema),
        ("a ttl of a century", set("ttl", json!(3_153_600_000_u64)), Code::RejectSchema),
        ("a ttl over the limit", set("ttl", json!(3601)), Code::RejectSchema),
        ("a fractional ttl", set("ttl", json!(1.5)), Code::RejectSchema),
        ("a ttl as text", set("ttl", json!("60")), Code::RejectSchema),
        ("a field nobody knows", set("extra", json!(1)), Code::RejectSchema),
        (
            "an upper-case id",
            set("id", json!("pci_AA070707070707070707070707070707")),
            Code::RejectSchema,
        ),
        ("a short id", set("id", json!("pci_0123456789abcdef")), Code::RejectSchema),
        (
            "a key of multi-byte text",
            set("public_key", json!("\u{20ac}a".repeat(16))),
            Code::RejectSchema,
        ),
        (
            "an offset for Z",
            set("timestamp", json!("2026-01-01T00:00:00.123+00:00")),
            Code::RejectSchema,
        ),
        ("no milliseconds", set("timestamp", json!("2026-01-01T00:00:00Z")), Code::RejectSchema),
        (
            "a day that is none",
            set("timestamp", json!("2026-02-30T00:00:00.123Z")),
            Code::RejectSchema,
        ),
        ("a leap second", set("timestamp", json!("2025-12-31T23:59:60.123Z")), Code::RejectSchema),
        (
            "a date in ten years",
            set("timestamp", json!("2036-01-01T00:00:00.123Z")),
            Code::RejectFuture,
        ),
        (
            "a date long ago",
            set("timestamp", json!("1976-01-01T00:00:00.123Z")),
            Code::RejectExpired,
        ),
        ("gates that are a list", set("gates", json!([])), Code::RejectSchema),
        ("a provenance of ids", set("provenance", json!(["pci_00"])), Code::RejectSchema),
        (
            "65 parents",
            set(
                "provenance",
                json!(vec![
                    json!({
                        "id": EnvelopeId([1; 16]).to_string(), "content_hash": "00".repeat(32),
                    });
                    65
                ]),
            ),
            Code::RejectSchema,
        ),
        ("another payload", set("payload", json!({ "text": "ho" })), Code::RejectHashMismatch),
        ("another hash", set("content_hash", json!("00".repeat(32))), Code::RejectHashMismatch),
        ("no audience field", remove("audience"), Code::RejectMissingField),
        ("no gates field", remove("gates"), Code::RejectMissingField),
        ("no constitution", remove("constitution"), Code::RejectMissingField),
        ("no hash", remove("content_hash"), Code::RejectMissingField),
        (
            "the identity point as key",
            Box::new(move |json: &mut Value| {
                json["sender"] = json!(weak[..32]);
                json["public_key"] = json!(weak);
            }),
            Code::RejectWeakKey,
        ),
    ];
    // Signed by the owner of the key all the same.
    for (lie, change, code) in honest {
        let report = changed_and_signed(change);
        assert_eq!(report.code, Some(code), "{lie}: {report:?}");
        assert!(report.checks.last().is_some_and(|check| !check.passed), "{lie}");
    }
    let other_hex = other.to_hex();
    let unsigned = [
        ("another ttl", set("ttl", json!(61)), Code::RejectSignature),
        ("another audience", set("audience", json!("00".repeat(16))), Code::RejectSignature),
        ("no parents", set("provenance", json!([])), Code::RejectSignature),
        ("no gates", set("gates", Value::Null), Code::RejectSignature),
        (
            "another constitution",
            set("constitution", json!("00".repeat(32))),
            Code::RejectSignature,
        ),
        ("no signature", remove("signature"), Code::RejectMissingField),
        ("a signature of zeros", set("signature", json!("00".repeat(64))), Code::RejectSignature),
        (
            "a key swapped with its sender",
            Box::new(move |json: &mut Value| {
                json["sender"] = json!(other_hex[..32]);
                json["public_key"] = json!(other_hex);
            }),
            Code::RejectSignature,
        ),
        (
            "the universal forgery",
            Box::new(move |json: &mut Value| {
                json["sender"] = json!(weak_again[..32]);
                json["public_key"] = json!(weak_again);
                json["signature"] = json!(format!("01{}", "00".repeat(63)));
            }),
            Code::RejectWeakKey,
        ),
    ];
    for (lie, change, code) in unsigned {
        let report = changed(change);
        assert_eq!(report.code, Some(code), "{lie}: {report:?}");
    }
}

#[test]
fn a_signed_message_is_not_an_envelope() {
    let report = changed(|json| {
        let header = canonical(&header_of(json).unwrap()).unwrap();
        json["signature"] = json!(key().sign(KeyUse::Message, &header).signature.to_hex());
    });
    assert_eq!(report.code, Some(RejectCode::RejectSignature));
}

#[test]
fn an_envelope_is_valid_from_the_tolerated_skew_to_its_last_millisecond() {
    let bytes = seal(draft(json!(1))).to_bytes();
    let code = |now_ms| verify(&bytes, now_ms, &Options::default()).code;
    assert_eq!(code(NOW_MS - verify::FUTURE_MS_MAX - 1), Some(RejectCode::RejectFuture));
    assert_eq!(code(NOW_MS - verify::FUTURE_MS_MAX), None);
    assert_eq!(code(NOW_MS + 60_000), None);
    assert_eq!(code(NOW_MS + 60_001), Some(RejectCode::RejectExpired));
    assert_eq!(code(i64::MAX), Some(RejectCode::RejectExpired));
    assert_eq!(code(i64::MIN), Some(RejectCode::RejectFuture));
}

#[test]
fn a_withheld_payload_is_said_to_be_withheld() {
    let report = changed(|json| {
        json.as_object_mut().unwrap().remove("payload");
    });
    assert!(report.is_valid(), "{report:?}");
    let check = report.checks.iter().find(|check| check.check == "content_hash").unwrap();
    assert!(check.detail.as_ref().unwrap().contains("withheld"));
}

#[test]
fn only_the_audience_may_read_what_is_addressed() {
    let reader = key().public_key().node_id();
    let stranger = NodeId::of_key(&[5; 32]);
    let bytes = seal(Draft { audience: Some(reader), ..draft(json!(1)) }).to_bytes();
    let code = |readers| verify(&bytes, NOW_MS, &Options { readers, ..Options::default() }).code;
    assert_eq!(code(None), None);
    assert_eq!(code(Some(vec![stranger, reader])), None);
    assert_eq!(code(Some(vec![stranger])), Some(RejectCode::RejectAudience));
}

#[test]
fn an_answer_around_an_envelope_says_nothing_else_than_the_envelope() {
    let sealed = seal(draft(json!({ "text": "hi", "score": 1 })));
    let mut answer = json!({
        "envelope": *sealed.json, "text": "hi", "score": 1.0, "id": sealed.id.to_string(),
        "payload": { "text": "hi", "score": 1 }, "request_id": "r1",
    });
    assert!(report(&answer).is_valid(), "{:?}", report(&answer));
    for (name, lie) in [
        ("text", json!("ho")),
        ("payload", json!({ "text": "ho" })),
        ("signature", json!("00")),
        ("ttl", json!(1)),
    ] {
        let before = answer.as_object_mut().unwrap().insert(name.to_owned(), lie);
        assert_eq!(report(&answer).code, Some(RejectCode::RejectHashMismatch), "{name}");
        match before {
            Some(before) => answer[name] = before,
            None => _ = answer.as_object_mut().unwrap().remove(name),
        }
    }
    assert_eq!(report(&json!({ "envelope": 1 })).code, Some(RejectCode::RejectSchema));
    let nested = json!({ "envelope": { "envelope": *sealed.json } });
    assert_eq!(report(&nested).code, Some(RejectCode::RejectMissingField));
}

#[test]
fn what_the_strict_reader_would_change_is_refused() {
    let text = String::from_utf8(seal(draft(json!({ "n": 1 }))).to_bytes()).unwrap();
    for (from, to) in [
        (r#""ttl":60"#, r#""ttl":60,"ttl":60"#),
        (r#"{"n":1}"#, r#"{"n":1,"n":1}"#),
        (r#"{"n":1}"#, r#"{"n":9007199254740993}"#),
        (r#"{"n":1}"#, r#"{"n":1e999}"#),
        (r#"{"n":1}"#, r#"{"n":"\ud800"}"#),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        let report = verify(changed.as_bytes(), NOW_MS, &Options::default());
        assert_eq!(report.code, Some(RejectCode::RejectSchema), "{to}");
    }
    let spaced = text.replacen("{\"n\":1}", "{ \"n\" : 1.0 }", 1);
    assert!(verify(spaced.as_bytes(), NOW_MS, &Options::default()).is_valid(), "only spelling");
}

#[test]
fn a_form_is_read_without_being_believed() {
    let read = |bytes: &[u8]| verify::read_form(bytes, false).map_err(|(code, _)| code);
    let lie = changed_json(|json| json["payload"] = json!("another"));
    assert_eq!(read(&lie).unwrap()["payload"], "another");
    for (bytes, code) in [
        (changed_json(|json| json["ttl"] = json!("60")), RejectCode::RejectSchema),
        (changed_json(|json| json["more"] = json!(1)), RejectCode::RejectSchema),
        (changed_json(|json| json["version"] = json!("1.0")), RejectCode::RejectVersion),
        (b"{}".to_vec(), RejectCode::RejectMissingField),
        (b"[]".to_vec(), RejectCode::RejectSchema),
    ] {
        assert_eq!(read(&bytes), Err(code));
    }
}

#[test]
fn exact_floats_seal_and_verify() {
    for float in ["0.9396554707778659", "0.20413183694220038", "5e-324", "0.96"] {
        let payload = crate::domain::json::parse(format!("{{\"x\":{float}}}").as_bytes()).unwrap();
        assert!(report(&seal(draft(payload)).json).is_valid(), "{float}");
    }
}

#[test]
fn a_draft_outside_the_limits_is_not_sealed() {
    let deep = |levels: usize| (0..levels).fold(json!(1), |value, _| json!([value]));
    let parent = Parent { id: EnvelopeId([1; 16]), content_hash: [2; 32] };
    for wrong in [
        Draft { ttl_s: 0, ..draft(json!(1)) },
        Draft { ttl_s: 3601, ..draft(json!(1)) },
        Draft { timestamp_ms: -1, ..draft(json!(1)) },
        Draft { timestamp_ms: i64::MAX, ..draft(json!(1)) },
        Draft { provenance: vec![parent; 65], ..draft(json!(1)) },
        Draft { gates: Some(json!(1)), ..draft(json!(1)) },
        Draft { gates: Some(json!({ "x": "y".repeat(GATES_BYTES_MAX) })), ..draft(json!(1)) },
        draft(json!(u64::MAX)),
        draft(json!("x".repeat(PAYLOAD_BYTES_MAX))),
        draft(deep(65)),
    ] {
        let id = wrong.ttl_s;
        let result = wrong.prepare(key().public_key());
        assert!(matches!(result, Err(SealError::Invalid(_))), "{id}: {result:?}");
    }
    let deepest = seal(draft(deep(64)));
    assert!(report(&deepest.json).is_valid());
    assert!(report(&json!({ "envelope": *deepest.json })).is_valid());
}

#[test]
fn another_key_than_the_prepared_one_does_not_finish() {
    let unsigned = draft(json!(1)).prepare(key().public_key()).unwrap();
    let signed = NodeKey::from_secret(&[9; 32]).sign(KeyUse::Envelope, unsigned.signing_bytes());
    assert!(matches!(unsigned.finish(&signed), Err(SealError::Unavailable(_))));
}

#[test]
fn too_many_bytes_are_refused_before_they_are_read() {
    let report = verify(&vec![b' '; ENVELOPE_BYTES_MAX + 1], NOW_MS, &Options::default());
    assert_eq!(report.code, Some(RejectCode::RejectSchema));
    assert_eq!(report.checks.len(), 1);
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..128), now: i64) {
        for accept_v1 in [false, true] {
            let options = Options { accept_v1, ..Options::default() };
            prop_assert!(!verify(&bytes, now, &options).is_valid());
        }
    }

    /// Envelopes of every kind: genuine, changed anywhere, cut off, or no envelopes at all.
    #[test]
    fn a_batch_is_as_strict_as_its_items_one_by_one(
        changes in prop::collection::vec((0_u8..6, any::<prop::sample::Index>(), any::<u8>()), 0..12),
        accept_v1: bool,
    ) {
        let genuine = seal(draft(json!({ "text": "hi" }))).to_bytes();
        let weak = changed_json(|json| json["public_key"] = json!(format!("01{}", "00".repeat(31))));
        let old = changed_json(|json| json["version"] = json!("1.0"));
        let items: Vec<Vec<u8>> = changes
            .into_iter()
            .map(|(kind, at, byte)| {
                let mut bytes = genuine.clone();
                match kind {
                    0 => (),
                    1 => bytes[at.index(genuine.len())] = byte,
                    2 => bytes.truncate(at.index(genuine.len())),
                    3 => bytes.insert(at.index(genuine.len()), byte),
                    4 => bytes.clone_from(&weak),
                    _ => bytes.clone_from(&old),
                }
                bytes
            })
            .collect();
        let options = Options { accept_v1, ..Options::default() };
        let single: Vec<Report> =
            items.iter().map(|bytes| verify(bytes, NOW_MS, &options)).collect();
        prop_assert_eq!(verify_many(&items, NOW_MS, &options), single);
    }

    #[test]
    fn any_text_can_be_sealed(text: String, now in 0..=TIMESTAMP_MS_MAX) {
        let sealed = seal(Draft { timestamp_ms: now, ..draft(json!({ text.clone(): text })) });
        prop_assert!(verify(&sealed.to_bytes(), now, &Options::default()).is_valid());
    }
}

proptest! {
    #[test]
    fn a_header_is_signed_in_its_canonical_form(
        id: [u8; 16],
        audience: Option<[u8; 32]>,
        content_hash: [u8; 32],
        parents in prop::collection::vec(any::<([u8; 16], [u8; 32])>(), 0..4),
        timestamp_ms in 0..=TIMESTAMP_MS_MAX,
        ttl_s in 1..=TTL_S_MAX,
        gates in prop::option::of(("\\PC{0,8}", any::<f32>().prop_filter("finite", |f| f.is_normal()))),
    ) {
        let key = key();
        let parent = |(id, content_hash)| Parent { id: EnvelopeId(id), content_hash };
        let draft = Draft {
            id: EnvelopeId(id),
            timestamp_ms,
            ttl_s,
            audience: audience.map(|key| NodeId::of_key(&key)),
            provenance: parents.into_iter().map(parent).collect(),
            constitution: Digest::from(content_hash),
            gates: gates.map(|(name, score)| json!({ name: score / f32::MAX })),
            payload: Value::Null,
        };
        let unsigned = draft.prepare(key.public_key()).unwrap();
        let signing_bytes = unsigned.signing_bytes().to_vec();
        let signed = key.sign(KeyUse::Envelope, &signing_bytes);
        let sealed = unsigned.finish(&signed).unwrap();
        let header = header_of(&sealed.json).unwrap();
        prop_assert_eq!(signing_bytes, serde_json_canonicalizer::to_vec(&header).unwrap());
    }
}
