//! The identity actor, under a supervisor: batches, rotation and the way of a key from node to node,
//! also while the actor is killed.

mod support;

use std::path::PathBuf;
use std::sync::Arc;

use bizra_omega::actors::identity::Identity;
use bizra_omega::adapters::keystore::Keystore;
use bizra_omega::domain::id::NodeId;
use bizra_omega::domain::identity::{
    Claim, IdentityError, IdentityInfo, KeyUse, NodeKey, VerifyError, verify_claim,
};
use bizra_omega::domain::passphrase::Passphrase;
use bizra_omega::domain::restart::Strategy;
use bizra_omega::domain::rotation::Rotation;
use bizra_omega::messages::addr::{Addr, CallError, Deadline, Message, Reply};
use bizra_omega::messages::identity::IdentityMsg;
use bizra_omega::messages::supervisor::Fault;
use bizra_omega::supervisor::{ChildSpec, Root};
use bytes::Bytes;
use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::edwards::CompressedEdwardsY;
use proptest::prelude::*;
use support::*;
use zeroize::Zeroizing;

const AT_MS: i64 = 1_767_225_600_123;

struct Desk {
    root: Root,
    identity: Addr<IdentityMsg>,
    dir: tempfile::TempDir,
}

async fn desk() -> Desk {
    let dir = tempfile::tempdir().unwrap();
    let keystore = Arc::new(Keystore::new(dir.path()));
    desk_over(dir, keystore).await
}

async fn desk_over(dir: tempfile::TempDir, keystore: Arc<Keystore>) -> Desk {
    let settings = settings(Strategy::OneForOne);
    let make = move || Identity { keystore: Arc::clone(&keystore) };
    let (child, identity) =
        ChildSpec::actor("identity", permanent(), SECOND, 256, &settings.metrics, make);
    Desk { root: root(&settings, vec![child]).await, identity, dir }
}

fn soon() -> Deadline {
    Deadline::after(60 * SECOND)
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(Zeroizing::new(text.to_owned())).unwrap()
}

impl Desk {
    async fn ask<T: Send>(&self, ask: impl Fn(Reply<T>) -> IdentityMsg + Send) -> T {
        self.identity.call(soon(), ask).await.unwrap()
    }

    async fn list(&self) -> Vec<IdentityInfo> {
        self.ask(|reply| IdentityMsg::List { reply }).await
    }

    async fn activate(&self, id: NodeId) -> Result<IdentityInfo, IdentityError> {
        self.ask(|reply| IdentityMsg::Activate { id, reply }).await
    }

    async fn export(&self, id: NodeId, words: &str) -> Result<Bytes, IdentityError> {
        let ask = |reply| IdentityMsg::Export { id, passphrase: passphrase(words), reply };
        self.ask(ask).await
    }

    async fn import(
        &self,
        export: &Bytes,
        words: &str,
    ) -> Result<Result<IdentityInfo, IdentityError>, CallError> {
        let ask = |reply| IdentityMsg::Import {
            export: export.clone(),
            passphrase: passphrase(words),
            label: None,
            reply,
        };
        self.identity.call(soon(), ask).await
    }

    async fn signer(&self) -> NodeId {
        let messages = vec![Bytes::from_static(b"who")];
        let ask = |reply| {
            let messages = messages.clone();
            IdentityMsg::Sign { key_use: KeyUse::Message, messages, reply }
        };
        self.ask(ask).await.unwrap()[0].node_id
    }

    /// What the disk says, read by somebody else.
    fn on_disk(&self) -> Vec<IdentityInfo> {
        let all = Keystore::new(self.dir.path()).load().unwrap();
        all.iter().map(|identity| identity.info.clone()).collect()
    }

    fn files(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.dir.path().join("identities")).unwrap();
        files.map(|entry| entry.unwrap().path()).collect()
    }
}

/// A claim of every kind that verification has to tell apart.
fn claims() -> Vec<Claim> {
    let [honest, other] = [1, 9].map(|byte| NodeKey::from_secret(&[byte; 32]));
    let signed = |key: &NodeKey, message: &'static [u8]| {
        let signed = key.sign(KeyUse::Message, message);
        Claim {
            message: Bytes::from_static(message),
            signature: signed.signature.to_hex(),
            public_key: signed.public_key.to_hex(),
        }
    };
    let good = signed(&honest, b"a");
    let with_key = |public_key: String| Claim { public_key, ..good.clone() };
    let with_signature = |signature: String| Claim { signature, ..good.clone() };
    let hex = |bytes: &[u8]| base16ct::lower::encode_string(bytes);
    let point = CompressedEdwardsY(*honest.public_key().as_bytes()).decompress().unwrap();
    let mixed = |at: usize| with_key(hex(&(point + EIGHT_TORSION[at]).compress().0));
    // S + order: the equation holds, the encoding is another.
    let order = base16ct::lower::decode_vec(
        "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010",
    );
    let mut second = honest.sign(KeyUse::Message, b"a").signature.0;
    let mut carry = 0;
    for (byte, add) in second[32..].iter_mut().zip(order.unwrap()) {
        carry += u16::from(*byte) + u16::from(add);
        *byte = carry as u8;
        carry >>= 8;
    }
    vec![
        good.clone(),
        signed(&other, b"b"),
        Claim { message: Bytes::from_static(b"tampered"), ..good.clone() },
        with_key(other.public_key().to_hex()),
        mixed(1),
        mixed(4),
        with_key(hex(&EIGHT_TORSION[3].compress().0)),
        with_key(format!("01{}", "00".repeat(31))),
        // Not canonical: y + p.
        with_key("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f".to_owned()),
        with_key(good.public_key.to_uppercase()),
        with_key(String::new()),
        with_key("\u{e9}".repeat(32)),
        with_signature(hex(&second)),
        with_signature("00".repeat(64)),
        with_signature(good.signature.to_uppercase()),
        with_signature(good.signature[1..].to_owned()),
        with_signature("\u{6f22}".to_owned()),
    ]
}

#[test]
fn a_batch_answers_what_single_calls_answer() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let desk = runtime.block_on(desk());
    let kinds = claims();
    let single: Vec<_> = kinds.iter().map(verify_claim).collect();
    assert_eq!(single.iter().filter(|verified| verified.is_ok()).count(), 2);
    for error in [
        VerifyError::WeakKey,
        VerifyError::KeyForm,
        VerifyError::SignatureForm,
        VerifyError::Mismatch,
    ] {
        assert!(single.contains(&Err(error)), "no claim is refused for {error}");
    }
    let picks = prop::collection::vec(any::<prop::sample::Index>(), 0..60);
    proptest!(ProptestConfig::with_cases(100), |(picks in picks)| {
        let picks: Vec<usize> = picks.iter().map(|pick| pick.index(kinds.len())).collect();
        let batch: Vec<Claim> = picks.iter().map(|pick| kinds[*pick].clone()).collect();
        let ask = |reply| IdentityMsg::Verify { claims: batch.clone(), reply };
        let verified = runtime.block_on(desk.ask(ask));
        let expected: Vec<_> = picks.iter().map(|pick| single[*pick]).collect();
        prop_assert_eq!(verified, expected);
    });
    // Alone each is answered through the actor as it is by the rule.
    for (claim, expected) in kinds.iter().zip(single) {
        let ask = |reply| IdentityMsg::Verify { claims: vec![claim.clone()], reply };
        assert_eq!(runtime.block_on(desk.ask(ask)), vec![expected]);
    }
}

#[tokio::test]
async fn what_is_activated_signs_from_then_on_also_after_a_restart() {
    let desk = desk().await;
    let first = desk.list().await[0].node_id;
    let ask = |reply| IdentityMsg::Generate { label: None, activate: false, reply };
    let spare = desk.ask(ask).await.unwrap();
    assert_eq!(desk.signer().await, first);
    assert_eq!(desk.activate(spare.node_id).await.unwrap().node_id, spare.node_id);
    assert_eq!(desk.signer().await, spare.node_id);
    drill(&desk.root, "identity", Fault::Kill).await;
    assert_eq!(desk.signer().await, spare.node_id);
    let unknown = NodeId::from_hex(&"00".repeat(16)).unwrap();
    let refused = desk.activate(unknown).await;
    assert_eq!(refused, Err(IdentityError::Unknown("00".repeat(16))));
}

#[tokio::test]
async fn an_encrypted_keystore_is_read_again_without_asking_again() {
    let dir = tempfile::tempdir().unwrap();
    let keystore = Arc::new(Keystore::new(dir.path()));
    keystore.load().unwrap();
    keystore.encrypt(&passphrase("correct horse")).unwrap();
    let keystore = Arc::new(Keystore::new(dir.path()));
    keystore.unlock(&passphrase("correct horse")).unwrap();
    let desk = desk_over(dir, keystore).await;
    let first = desk.signer().await;
    for fault in [Fault::Kill, Fault::Panic] {
        drill(&desk.root, "identity", fault).await;
        assert_eq!(desk.signer().await, first);
    }
    let ask = |reply| IdentityMsg::Rotate { label: None, at_ms: AT_MS, reply };
    let rotated = desk.ask(ask).await.unwrap();
    drill(&desk.root, "identity", Fault::Kill).await;
    assert_eq!(desk.signer().await, rotated.new.node_id);
    assert!(Keystore::new(desk.dir.path()).load().unwrap_err().is_passphrase());
}

#[tokio::test]
async fn an_actor_killed_over_a_rotation_leaves_the_old_state_or_the_new_one() {
    let desk = desk().await;
    let mut rotations = 0;
    for round in 0..12 {
        let before = desk.list().await;
        let ask = |reply| IdentityMsg::Rotate { label: None, at_ms: AT_MS + round, reply };
        let fault = [Fault::Kill, Fault::Panic, Fault::Error, Fault::Stop][round as usize % 4];
        let (rotated, ()) =
            tokio::join!(desk.identity.call(soon(), ask), drill(&desk.root, "identity", fault));
        // What was handed on goes on: wait until it is over.
        let after = settled(&desk).await;
        assert_eq!(after, desk.on_disk(), "the actor and the disk agree");
        assert!(desk.files().iter().all(|path| path.extension() != Some("pending".as_ref())));
        let old = before[0].clone();
        if let Ok(rotated) = rotated {
            let rotated = rotated.unwrap();
            assert_eq!(after[0], rotated.new, "what was promised is there");
        }
        if after[0].node_id == old.node_id {
            assert_eq!(after, before, "not done, so nothing of it is there");
        } else {
            rotations += 1;
            assert_eq!(after.len(), before.len() + 1);
            let found = after.iter().find(|it| it.node_id == old.node_id).unwrap();
            let record = found.rotation.clone().unwrap();
            assert_eq!(record.new_key(), &after[0].public_key);
            assert!(Rotation::parse(&record.to_bytes().unwrap()).is_ok());
            assert_eq!(desk.signer().await, after[0].node_id);
            let refused = desk.activate(old.node_id).await;
            let new = after[0].node_id;
            assert_eq!(refused, Err(IdentityError::Retired { old: old.node_id, new }));
        }
    }
    assert!(rotations > 0, "no rotation was seen through");
}

/// What the actor tells once everything that was handed on is done: work is waited for by asking for
/// something that is done after it.
async fn settled(desk: &Desk) -> Vec<IdentityInfo> {
    until(|| desk.identity.waiting() == 0).await;
    desk.list().await
}

#[tokio::test]
async fn an_actor_killed_over_an_import_has_the_whole_identity_or_none() {
    let from = desk().await;
    let exported = from.list().await[0].clone();
    let export = from.export(exported.node_id, "correct horse").await.unwrap();
    for fault in [Fault::Kill, Fault::Panic, Fault::Stop] {
        let to = desk().await;
        let before = to.list().await;
        let (taken, ()) =
            tokio::join!(to.import(&export, "correct horse"), drill(&to.root, "identity", fault));
        let after = settled(&to).await;
        assert_eq!(after, to.on_disk());
        let found = after.iter().find(|it| it.node_id == exported.node_id);
        if let Ok(taken) = taken {
            assert_eq!(found, Some(&taken.unwrap()), "what was promised is there");
        }
        match found {
            Some(found) => assert_eq!((found.is_active, after.len()), (false, before.len() + 1)),
            None => assert_eq!(after, before),
        }
        assert_eq!(to.signer().await, before[0].node_id);
    }
}

#[tokio::test]
async fn a_key_leaves_only_encrypted_and_comes_in_with_its_passphrase() {
    let (from, to) = (desk().await, desk().await);
    let key = from.list().await[0].clone();
    let export = from.export(key.node_id, "correct horse").await.unwrap();
    for path in from.files().iter().filter(|path| path.extension() == Some("json".as_ref())) {
        let text = std::fs::read_to_string(path).unwrap();
        let file: serde_json::Value = serde_json::from_str(&text).unwrap();
        let secret = file["secret"].as_str().unwrap();
        assert!(!String::from_utf8_lossy(&export).contains(secret));
    }
    let refused = to.import(&export, "battery staple").await.unwrap();
    assert_eq!(refused, Err(IdentityError::Passphrase));
    let refused = to.import(&export.slice(1..), "correct horse").await.unwrap();
    assert!(matches!(refused, Err(IdentityError::Export(_))), "{refused:?}");
    let taken = to.import(&export, "correct horse").await.unwrap().unwrap();
    assert_eq!((taken.public_key, taken.is_active), (key.public_key, false));
    let again = to.import(&export, "correct horse").await.unwrap();
    assert_eq!(again, Err(IdentityError::Exists(key.node_id)));
    to.activate(key.node_id).await.unwrap();
    assert_eq!(to.signer().await, from.signer().await);
    let unknown = NodeId::from_hex(&"00".repeat(16)).unwrap();
    let refused = to.export(unknown, "correct horse").await;
    assert!(matches!(refused, Err(IdentityError::Unknown(_))), "{refused:?}");
}

#[test]
fn what_makes_a_key_is_not_said_twice() {
    let (id, export) = (NodeId::of_key(&[0; 32]), Bytes::new());
    let words = || passphrase("correct horse");
    let said = [
        (IdentityMsg::Activate { id, reply: Reply::channel().0 }, true),
        (IdentityMsg::Export { id, passphrase: words(), reply: Reply::channel().0 }, true),
        (IdentityMsg::List { reply: Reply::channel().0 }, true),
        (IdentityMsg::Rotate { label: None, at_ms: 0, reply: Reply::channel().0 }, false),
        (
            IdentityMsg::Import {
                export,
                passphrase: words(),
                label: None,
                reply: Reply::channel().0,
            },
            false,
        ),
        (IdentityMsg::Generate { label: None, activate: true, reply: Reply::channel().0 }, false),
    ];
    for (message, is_idempotent) in said {
        assert_eq!(message.is_idempotent(), is_idempotent, "{}", message.kind());
        assert!(message.is_abandoned());
        assert!(!format!("{message:?}").contains("horse"));
    }
}
