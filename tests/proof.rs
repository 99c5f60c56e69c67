//! The identity and envelope actors, under a supervisor: what they promise, over restarts too.

#[path = "proof/log.rs"]
mod log;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bizra_omega::actors::envelope::Envelope;
use bizra_omega::actors::gate_chain::GateChain;
use bizra_omega::actors::identity::Identity;
use bizra_omega::adapters::keystore::Keystore;
use bizra_omega::adapters::store::Store;
use bizra_omega::domain::bytes::from_hex;
use bizra_omega::domain::constitution::Constitution;
use bizra_omega::domain::digest::domain_separated_digest;
use bizra_omega::domain::envelope::{Draft, EnvelopeId, Head, Parent, Report, SealError, Sealed};
use bizra_omega::domain::id::NodeId;
use bizra_omega::domain::identity::{
    Claim, IdentityError, IdentityInfo, KeyUse, VerifyError, verify_claim,
};
use bizra_omega::domain::reject::RejectCode;
use bizra_omega::domain::replay::ReplayLimits;
use bizra_omega::domain::restart::Strategy;
use bizra_omega::messages::addr::{Addr, Reply};
use bizra_omega::messages::envelope::EnvelopeMsg;
use bizra_omega::messages::identity::{BATCH_MAX, IdentityMsg};
use bizra_omega::messages::supervisor::Fault;
use bizra_omega::supervisor::{ChildSpec, Root};
use bytes::Bytes;
use serde_json::{Value, json};
use support::*;

/// What the clock of the envelope actor shows when a draft is made.
const NOW_MS: i64 = 1_767_225_600_123;

fn noon() -> i64 {
    NOW_MS
}

struct Desk {
    root: Root,
    identity: Addr<IdentityMsg>,
    envelope: Addr<EnvelopeMsg>,
    store: Arc<Store>,
    _dir: tempfile::TempDir,
}

async fn desk() -> Desk {
    desk_with(noon, ReplayLimits::default()).await
}

async fn desk_with(now_ms: fn() -> i64, limits: ReplayLimits) -> Desk {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), 0).unwrap();
    desk_over(now_ms, limits, store, dir).await
}

async fn desk_over(
    now_ms: fn() -> i64,
    limits: ReplayLimits,
    store: Store,
    dir: tempfile::TempDir,
) -> Desk {
    let settings = settings(Strategy::OneForOne);
    let metrics = &settings.metrics;
    let keystore = Arc::new(Keystore::new(dir.path()));
    let make = move || Identity { keystore: Arc::clone(&keystore) };
    let (identity_child, identity) =
        ChildSpec::actor("identity", permanent(), SECOND, 256, metrics, make);
    let store = Arc::new(store);
    let judge = GateChain::new(Constitution::default(), None, Arc::clone(&store), metrics).unwrap();
    let make = move || judge.clone();
    let (gates_child, gates) =
        ChildSpec::actor("gate-chain", permanent(), SECOND, 256, metrics, make);
    let (signer, judge, log) = (identity.clone(), gates.clone(), Arc::clone(&store));
    let (events, meter) = (settings.events.clone(), metrics.envelopes());
    let make = move || {
        let (identity, gates, store) = (signer.clone(), judge.clone(), Arc::clone(&log));
        let (events, meter) = (events.clone(), meter.clone());
        Envelope { identity, gates, store, limits, accept_v1: true, now_ms, events, meter }
    };
    let (envelope_child, envelope) =
        ChildSpec::actor("envelope", permanent(), SECOND, 256, metrics, make);
    let root = root(&settings, vec![identity_child, gates_child, envelope_child]).await;
    Desk { root, identity, envelope, store, _dir: dir }
}

impl Desk {
    async fn ask<T: Send>(&self, ask: impl Fn(Reply<T>) -> IdentityMsg + Send) -> T {
        self.identity.call(soon(), ask).await.unwrap()
    }

    async fn say<T: Send>(&self, ask: impl Fn(Reply<T>) -> EnvelopeMsg + Send) -> T {
        self.envelope.call(soon(), ask).await.unwrap()
    }

    async fn active(&self) -> IdentityInfo {
        self.ask(|reply| IdentityMsg::Active { reply }).await
    }

    async fn generate(&self, activate: bool) -> IdentityInfo {
        let ask = |reply| IdentityMsg::Generate { label: None, activate, reply };
        self.ask(ask).await.unwrap()
    }

    async fn create(&self, draft: &Draft) -> Result<Sealed, SealError> {
        self.say(|reply| EnvelopeMsg::Create { draft: Box::new(draft.clone()), reply }).await
    }

    async fn verify(&self, json: &Value) -> Report {
        let bytes = Bytes::from(json.to_string());
        self.say(|reply| EnvelopeMsg::Verify { bytes: bytes.clone(), reply }).await
    }

    async fn consume(&self, json: &Value) -> Report {
        let bytes = Bytes::from(json.to_string());
        self.say(|reply| EnvelopeMsg::Consume { bytes: bytes.clone(), reply }).await
    }
}

fn draft(id: u8, payload: Value) -> Draft {
    Draft {
        id: EnvelopeId([id; 16]),
        timestamp_ms: NOW_MS,
        ttl_s: 60,
        audience: None,
        provenance: Vec::new(),
        constitution: domain_separated_digest(b"constitution"),
        gates: None,
        payload,
    }
}

#[tokio::test]
async fn the_same_key_signs_after_every_restart() {
    let desk = desk().await;
    let before = desk.active().await;
    for fault in [Fault::Panic, Fault::Error, Fault::Stop, Fault::Kill] {
        drill(&desk.root, "identity", fault).await;
        assert_eq!(desk.active().await, before, "{fault:?}");
    }
}

#[tokio::test]
async fn a_batch_is_signed_in_order_and_each_signature_verifies() {
    let desk = desk().await;
    for count in [0, 1, 8, 9, 100] {
        let messages: Vec<Bytes> = (0..count).map(|i: u32| Bytes::from(i.to_string())).collect();
        let ask = |reply| IdentityMsg::Sign {
            key_use: KeyUse::Message,
            messages: messages.clone(),
            reply,
        };
        let signed = desk.ask(ask).await.unwrap();
        let mut claims: Vec<Claim> = messages
            .iter()
            .zip(&signed)
            .map(|(message, signed)| Claim {
                message: message.clone(),
                signature: signed.signature.to_hex(),
                public_key: signed.public_key.to_hex(),
            })
            .collect();
        for claim in claims.iter_mut().step_by(3) {
            claim.message = Bytes::from_static(b"another");
        }
        let ask = |reply| IdentityMsg::Verify { claims: claims.clone(), reply };
        let verified = desk.ask(ask).await;
        assert_eq!(verified, claims.iter().map(verify_claim).collect::<Vec<_>>());
        assert_eq!(
            verified.iter().filter(|result| result.is_err()).count(),
            claims.len().div_ceil(3)
        );
    }
}

#[tokio::test]
async fn a_batch_over_the_limit_is_refused() {
    let desk = desk().await;
    let messages = vec![Bytes::new(); BATCH_MAX + 1];
    let ask = |reply| {
        let messages = messages.clone();
        IdentityMsg::Sign { key_use: KeyUse::Message, messages, reply }
    };
    assert_eq!(desk.ask(ask).await, Err(IdentityError::Batch { max: BATCH_MAX }));
    let claim =
        Claim { message: Bytes::new(), signature: String::new(), public_key: String::new() };
    let claims = vec![claim; BATCH_MAX + 1];
    let verified = desk.ask(|reply| IdentityMsg::Verify { claims: claims.clone(), reply }).await;
    assert_eq!(verified, vec![Err(VerifyError::Batch); BATCH_MAX + 1]);
}

#[tokio::test]
async fn an_identity_that_is_activated_signs_from_then_on() {
    let desk = desk().await;
    let first = desk.active().await;
    let idle = desk.generate(false).await;
    assert_eq!(desk.active().await, first);
    let sealed = desk.create(&draft(1, json!(1))).await.unwrap();
    assert_eq!(sealed.json["sender"], json!(first.node_id.to_hex()));
    let second = desk.generate(true).await;
    // The envelope actor guesses the first key, and learns from the signature.
    let sealed = desk.create(&draft(2, json!(1))).await.unwrap();
    assert_eq!(sealed.json["sender"], json!(second.node_id.to_hex()));
    assert!(desk.verify(&sealed.json).await.is_valid());
    drill(&desk.root, "identity", Fault::Kill).await;
    let listed = desk.ask(|reply| IdentityMsg::List { reply }).await;
    assert_eq!(listed[0], second);
    let ids: Vec<NodeId> = listed.iter().map(|info| info.node_id).collect();
    assert!(ids.contains(&first.node_id) && ids.contains(&idle.node_id), "{ids:?}");
}

#[tokio::test]
async fn what_was_generated_while_the_actor_died_is_on_disk_or_was_not_promised() {
    let desk = desk().await;
    let mut promised = Vec::new();
    for _ in 0..8 {
        let ask = |reply| IdentityMsg::Generate { label: None, activate: true, reply };
        let (made, ()) = tokio::join!(
            desk.identity.call(soon(), ask),
            drill(&desk.root, "identity", Fault::Kill)
        );
        promised.extend(made.ok().map(|made| made.unwrap().node_id));
        desk.active().await;
    }
    let listed = desk.ask(|reply| IdentityMsg::List { reply }).await;
    for id in promised {
        assert!(listed.iter().any(|info| info.node_id == id), "{id}");
    }
    assert!(listed[0].is_active && listed[1..].iter().all(|info| !info.is_active));
}

#[tokio::test]
async fn an_envelope_is_made_once_logged_and_found_after_a_restart() {
    let desk = desk().await;
    let draft = draft(1, json!({ "text": "hi", "score": 2.0 }));
    let sealed = desk.create(&draft).await.unwrap();
    assert!(desk.verify(&sealed.json).await.is_valid());
    let constitution = domain_separated_digest(b"constitution");
    assert_eq!(sealed.json["constitution"], json!(constitution.to_hex()));
    drill(&desk.root, "envelope", Fault::Kill).await;
    // Asked again, also by another key, it is the same envelope.
    desk.generate(true).await;
    let again = desk.create(&draft).await.unwrap();
    assert_eq!(again.json["signature"], sealed.json["signature"]);
    let id = sealed.id;
    let found = desk.say(|reply| EnvelopeMsg::Find { id, reply }).await.unwrap().unwrap();
    assert_eq!(found.json["signature"], sealed.json["signature"]);
    assert!(desk.verify(&found.json).await.is_valid());
    let other = Draft { payload: json!("other"), ..draft };
    assert!(matches!(desk.create(&other).await, Err(SealError::Invalid(_))));
    let id = EnvelopeId([9; 16]);
    assert_eq!(desk.say(|reply| EnvelopeMsg::Find { id, reply }).await, Ok(None));
}

#[tokio::test]
async fn a_large_envelope_is_made_and_checked_like_a_small_one() {
    let desk = desk().await;
    let sealed = desk.create(&draft(1, json!({ "text": "x".repeat(900_000) }))).await.unwrap();
    assert!(desk.verify(&sealed.json).await.is_valid());
    let too_large = draft(2, json!("x".repeat(1 << 20)));
    assert!(matches!(desk.create(&too_large).await, Err(SealError::Invalid(_))));
}

#[tokio::test]
async fn an_envelope_is_consumed_once_also_over_restarts() {
    let desk = desk().await;
    let sealed = desk.create(&draft(1, json!(1))).await.unwrap();
    let first = desk.consume(&sealed.json).await;
    assert!(first.is_valid(), "{first:?}");
    for fault in [Fault::Panic, Fault::Kill, Fault::Stop] {
        assert_eq!(desk.consume(&sealed.json).await.code, Some(RejectCode::RejectReplay));
        drill(&desk.root, "envelope", fault).await;
    }
    assert_eq!(desk.consume(&sealed.json).await.code, Some(RejectCode::RejectReplay));
    // Checking is not consuming.
    assert!(desk.verify(&sealed.json).await.is_valid());
}

#[tokio::test]
async fn of_many_at_once_exactly_one_consumes() {
    let desk = desk().await;
    let sealed = desk.create(&draft(1, json!(1))).await.unwrap();
    let attempts: Vec<_> = (0..50)
        .map(|_| {
            let (envelope, bytes) = (desk.envelope.clone(), Bytes::from(sealed.json.to_string()));
            tokio::spawn(async move {
                let ask = |reply| EnvelopeMsg::Consume { bytes: bytes.clone(), reply };
                envelope.call(soon(), ask).await.unwrap()
            })
        })
        .collect();
    let mut accepted = 0;
    for attempt in attempts {
        let report = attempt.await.unwrap();
        assert!(report.is_valid() || report.code == Some(RejectCode::RejectReplay));
        accepted += usize::from(report.is_valid());
    }
    assert_eq!(accepted, 1);
}

#[tokio::test]
async fn what_does_not_verify_leaves_no_trace_in_the_window() {
    let desk = desk().await;
    let sealed = desk.create(&draft(1, json!(1))).await.unwrap();
    let mut forged = Value::clone(&sealed.json);
    forged["signature"] = json!("00".repeat(64));
    assert_eq!(desk.consume(&forged).await.code, Some(RejectCode::RejectSignature));
    assert!(desk.consume(&sealed.json).await.is_valid());
}

#[tokio::test]
async fn only_the_addressee_consumes() {
    let desk = desk().await;
    let me = desk.active().await.node_id;
    let other = NodeId::from_hex(&"00".repeat(16)).unwrap();
    let mine = Draft { audience: Some(me), ..draft(1, json!(1)) };
    let theirs = Draft { audience: Some(other), ..draft(2, json!(1)) };
    let mine = desk.create(&mine).await.unwrap();
    let theirs = desk.create(&theirs).await.unwrap();
    // Still this node, after its identity was changed.
    desk.generate(true).await;
    assert!(desk.consume(&mine.json).await.is_valid());
    assert_eq!(desk.consume(&theirs.json).await.code, Some(RejectCode::RejectAudience));
    assert!(desk.verify(&theirs.json).await.is_valid());
}

#[tokio::test]
async fn a_full_window_refuses_and_can_be_tried_again() {
    static CLOCK: AtomicI64 = AtomicI64::new(NOW_MS);
    let limits = ReplayLimits { nonces_max: 10, per_sender_max: 1 };
    let desk = desk_with(|| CLOCK.load(Ordering::SeqCst), limits).await;
    let long = Draft { ttl_s: 3600, ..draft(2, json!(1)) };
    let first = desk.create(&draft(1, json!(1))).await.unwrap();
    let second = desk.create(&long).await.unwrap();
    assert!(desk.consume(&first.json).await.is_valid());
    let full = desk.consume(&second.json).await;
    assert_eq!(full.code, Some(RejectCode::RejectQuota));
    // When the first has expired there is room, and a clock set back does not bring it to life.
    CLOCK.store(NOW_MS + 91_000, Ordering::SeqCst);
    assert!(desk.consume(&second.json).await.is_valid());
    drill(&desk.root, "envelope", Fault::Kill).await;
    CLOCK.store(NOW_MS, Ordering::SeqCst);
    assert_eq!(desk.consume(&first.json).await.code, Some(RejectCode::RejectExpired));
}

#[tokio::test]
async fn parents_are_looked_up_in_the_log() {
    let desk = desk().await;
    let parent = desk.create(&draft(1, json!("parent"))).await.unwrap();
    let known = Parent { id: parent.id, content_hash: Head::of(&parent).unwrap().content_hash };
    let foreign = Parent { id: EnvelopeId([8; 16]), content_hash: [0; 32] };
    let lie = Parent { content_hash: [0; 32], ..known.clone() };
    let child = |id, provenance| Draft { provenance, ..draft(id, json!("child")) };
    let detail = |report: &Report| report.checks.last().unwrap().detail.clone().unwrap();

    let sealed = desk.create(&child(2, vec![known.clone()])).await.unwrap();
    let report = desk.verify(&sealed.json).await;
    assert_eq!((report.is_valid(), detail(&report)), (true, "resolved: 1 of 1 parents".into()));

    let sealed = desk.create(&child(3, vec![known, foreign])).await.unwrap();
    let report = desk.consume(&sealed.json).await;
    assert_eq!((report.is_valid(), detail(&report)), (true, "unresolved: 1 of 2 parents".into()));

    let sealed = desk.create(&child(4, vec![lie])).await.unwrap();
    assert_eq!(desk.verify(&sealed.json).await.code, Some(RejectCode::RejectHashMismatch));
}

#[tokio::test]
async fn nothing_is_promised_when_the_store_cannot_write() {
    let desk = desk().await;
    let sealed = desk.create(&draft(1, json!(1))).await.unwrap();
    desk.store.stop_writing();
    let refused = desk.create(&draft(2, json!(1))).await;
    assert!(matches!(refused, Err(SealError::Unavailable(_))), "{refused:?}");
    assert_eq!(desk.consume(&sealed.json).await.code, Some(RejectCode::RejectInternal));
    assert!(desk.verify(&sealed.json).await.is_valid());
}

#[tokio::test]
async fn near_a_full_disk_no_envelope_is_made_and_consuming_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), u64::MAX).unwrap();
    let desk = desk_over(noon, ReplayLimits::default(), store, dir).await;
    let refused = desk.create(&draft(1, json!(1))).await;
    assert!(matches!(refused, Err(SealError::Full(_))), "{refused:?}");
    let key = bizra_omega::domain::identity::NodeKey::from_secret(&[9; 32]);
    let unsigned = draft(1, json!(1)).prepare(key.public_key()).unwrap();
    let signed = key.sign(KeyUse::Envelope, unsigned.signing_bytes());
    let sealed = unsigned.finish(&signed).unwrap();
    assert!(desk.consume(&sealed.json).await.is_valid());
    assert_eq!(desk.store.broken(), None);
}

#[tokio::test]
async fn a_harmful_message_is_refused_and_its_sender_pays_once_for_it() {
    let desk = desk().await;
    let leak = json!({ "note": "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp\n\
                                -----END PRIVATE KEY-----\n" });
    let bad = desk.create(&draft(1, leak.clone())).await.unwrap();
    assert!(desk.verify(&bad.json).await.is_valid(), "verifying judges no content");
    let report = desk.consume(&bad.json).await;
    assert_eq!(report.code, Some(RejectCode::RejectGateIhsan), "{report:?}");
    assert!(!report.error.unwrap().contains("MC4CAQ"));
    // Whoever repeats it costs its sender nothing.
    for _ in 0..9 {
        assert_eq!(desk.consume(&bad.json).await.code, Some(RejectCode::RejectReplay));
    }
    let good = desk.create(&draft(2, json!({ "x": 0.9396554707778659 }))).await.unwrap();
    assert!(desk.consume(&good.json).await.is_valid());
    // Each costs a quarter of the trust, of which a quarter must be left.
    for id in 3..6 {
        let bad = desk.create(&draft(id, leak.clone())).await.unwrap();
        let code = desk.consume(&bad.json).await.code;
        assert_eq!(code, Some(RejectCode::RejectGateIhsan), "{id}");
    }
    let good = desk.create(&draft(6, json!("hello"))).await.unwrap();
    let report = desk.consume(&good.json).await;
    assert_eq!(report.code, Some(RejectCode::RejectGateRate), "{report:?}");
    assert_eq!(report.checks.last().unwrap().check, "gates");
}
