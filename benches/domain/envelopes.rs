//! Making and checking an envelope with a payload of 66 bytes, no parents and no gates.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bizra_omega::clock::now_ms;
use bizra_omega::domain::digest::domain_separated_digest;
use bizra_omega::domain::envelope::{Draft, EnvelopeId, Options, Sealed, verify};
use bizra_omega::domain::identity::{KeyUse, NodeKey};
use bizra_omega::messages::addr::{Addr, Deadline};
use bizra_omega::messages::envelope::EnvelopeMsg;
use bytes::Bytes;
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{ONE, Operation, Way};

pub(super) const CREATE: &str = "envelope create";
pub(super) const BOTH: &str = "envelope create and verify strictly";

const SECRET: [u8; 32] = [7; 32];

fn payload() -> Value {
    json!({ "action": "infer", "prompt": "what is water?", "tokens": 128, "ok": true })
}

fn draft(id: u64) -> Draft {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&id.to_le_bytes());
    Draft {
        id: EnvelopeId(bytes),
        timestamp_ms: 1_767_225_600_123,
        ttl_s: 3600,
        audience: None,
        provenance: Vec::new(),
        constitution: domain_separated_digest(b"constitution"),
        gates: None,
        payload: payload(),
    }
}

fn create(key: &NodeKey, draft: Draft) -> Sealed {
    let unsigned = draft.prepare(key.public_key()).expect("the draft keeps the rules");
    let signed = key.sign(KeyUse::Envelope, unsigned.signing_bytes());
    unsigned.finish(&signed).expect("the key is that of the header")
}

fn check(bytes: &[u8], now_ms: i64) {
    let report = verify(black_box(bytes), now_ms, &Options::default());
    assert!(report.is_valid(), "{report:?}");
}

/// The bytes that an envelope's signature covers.
fn signed_bytes() -> Vec<u8> {
    let unsigned = draft(0).prepare(NodeKey::from_secret(&SECRET).public_key());
    [b"bizra-pci-env-v2:", unsigned.expect("the draft keeps the rules").signing_bytes()].concat()
}

pub(super) fn operations(
    runtime: &'static Runtime,
    envelope: &Addr<EnvelopeMsg>,
) -> Vec<Operation> {
    let key = Arc::new(NodeKey::from_secret(&SECRET));
    let plain = Arc::new(SigningKey::from_bytes(&SECRET));
    let bytes: Arc<[u8]> = signed_bytes().into();

    let (signer, signed) = (Arc::clone(&plain), Arc::clone(&bytes));
    let sign = move || signer.sign(black_box(&signed));
    let signature = plain.sign(&bytes);
    let (public, signed) = (plain.verifying_key(), Arc::clone(&bytes));
    let verify_strict = move || public.verify_strict(black_box(&signed), &signature);

    let maker = Arc::clone(&key);
    let template = draft(1);
    let make = move || create(&maker, template.clone());
    let now = draft(0).timestamp_ms;
    let both = {
        let make = make.clone();
        move || check(&make().to_bytes(), now)
    };

    // Every envelope that the actor makes has an id of its own, as it is logged.
    let ids = Arc::new(AtomicU64::new(1));
    let actor_creates = |name, callers| {
        let (envelope, ids) = (envelope.clone(), Arc::clone(&ids));
        Way::called(name, runtime, (callers, 1), move || {
            let (envelope, ids) = (envelope.clone(), Arc::clone(&ids));
            async move {
                let draft = Box::new(draft(ids.fetch_add(1, Ordering::Relaxed)));
                let ask = |reply| EnvelopeMsg::Create { draft: draft.clone(), reply };
                let made = envelope.call(wait(), ask).await;
                assert!(made.is_ok_and(|made| made.is_ok()));
            }
        })
    };
    // Checked by the node's own clock.
    let fresh = create(&key, Draft { timestamp_ms: now_ms(), ..draft(0) }).to_bytes();
    let fresh_at_ms = now_ms();
    let fresh = Bytes::from(fresh);
    let actor_verifies = |name, callers| {
        let (envelope, fresh) = (envelope.clone(), fresh.clone());
        Way::called(name, runtime, (callers, 1), move || {
            let (envelope, bytes) = (envelope.clone(), fresh.clone());
            async move {
                let ask = |reply| EnvelopeMsg::Verify { bytes: bytes.clone(), reply };
                let report = envelope.call(wait(), ask).await;
                assert!(report.is_ok_and(|report| report.is_valid()));
            }
        })
    };
    let examined = fresh.clone();
    let examine = move || check(&examined, fresh_at_ms);
    let (limit_sign, limit_verify) = (sign.clone(), verify_strict.clone());
    vec![
        Operation {
            name: CREATE,
            ways: vec![
                Way::direct("ed25519-dalek, sign its header", sign),
                Way::direct(ONE, make.clone()),
                Way::two_threads("domain, two threads", make),
                actor_creates("actor, one by one, on disk", 1),
                actor_creates("actor, 64 callers, on disk", 64),
            ],
        },
        Operation {
            name: "envelope verify strictly",
            ways: vec![
                Way::direct("ed25519-dalek, verify_strict its header", verify_strict),
                Way::direct(ONE, examine.clone()),
                Way::two_threads("domain, two threads", examine),
                actor_verifies("actor, one by one", 1),
                actor_verifies("actor, 64 callers", 64),
            ],
        },
        Operation {
            name: BOTH,
            ways: vec![
                Way::direct("ed25519-dalek, sign and verify_strict", move || {
                    (limit_sign(), limit_verify())
                }),
                Way::direct(ONE, both.clone()),
                Way::two_threads("domain, two threads", both),
            ],
        },
    ]
}

fn wait() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}
