//! Signatures and digests of a message of 48 bytes.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bizra_omega::domain::digest::domain_separated_digest;
use bizra_omega::domain::identity::{Claim, KeyUse, NodeKey, verify_claim};
use bizra_omega::messages::addr::{Addr, Deadline};
use bizra_omega::messages::identity::IdentityMsg;
use bytes::Bytes;
use ed25519_dalek::{Signer, SigningKey};
use tokio::runtime::Runtime;

use super::{BATCH, BATCHES, ONE, Operation, Way};

pub(super) const SIGN: &str = "sign";
pub(super) const SIGN_LIMIT: &str = "ed25519-dalek, sign";
pub(super) const VERIFY: &str = "verify strictly";
pub(super) const VERIFY_LIMIT: &str = "ed25519-dalek, verify_strict";
pub(super) const DIGEST: &str = "digest to hex";
pub(super) const DIGEST_LIMIT: &str = "blake3";

const MESSAGE: &[u8; 48] = b"a message of exactly forty-eight bytes, as it is";
const SECRET: [u8; 32] = [7; 32];

fn wait() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

async fn sign(identity: Addr<IdentityMsg>, items: usize) {
    let messages = vec![Bytes::from_static(MESSAGE); items];
    let ask = |reply| {
        let messages = messages.clone();
        IdentityMsg::Sign { key_use: KeyUse::Message, messages, reply }
    };
    let signed = identity.call(wait(), ask).await;
    assert!(signed.is_ok_and(|signed| signed.is_ok_and(|signed| signed.len() == items)));
}

async fn verify(identity: Addr<IdentityMsg>, claims: Arc<Vec<Claim>>) {
    let ask = |reply| IdentityMsg::Verify { claims: claims.to_vec(), reply };
    let verified = identity.call(wait(), ask).await;
    assert!(verified.is_ok_and(|verified| verified.iter().all(Result::is_ok)));
}

fn signing(runtime: &'static Runtime, identity: &Addr<IdentityMsg>) -> Operation {
    let text = domain_separated_digest(MESSAGE).to_hex();
    let plain = SigningKey::from_bytes(&SECRET);
    let key = Arc::new(NodeKey::from_secret(&SECRET));
    let ours = move || key.sign(KeyUse::Message, black_box(MESSAGE));
    let actor = |name, (callers, items): (u64, usize)| {
        let identity = identity.clone();
        Way::called(name, runtime, (callers, items as u64), move || sign(identity.clone(), items))
    };
    Operation {
        name: SIGN,
        ways: vec![
            Way::direct(SIGN_LIMIT, move || plain.sign(black_box(text.as_bytes()))),
            Way::direct(ONE, ours.clone()),
            actor("actor, one by one", (1, 1)),
            actor(BATCHES, (1, BATCH)),
            Way::two_threads("domain, two threads", ours),
            actor("actor, batches of 64, two callers", (2, BATCH)),
        ],
    }
}

fn verifying(runtime: &'static Runtime, identity: &Addr<IdentityMsg>) -> Operation {
    let text = domain_separated_digest(MESSAGE).to_hex();
    let plain = SigningKey::from_bytes(&SECRET);
    let plain_signature = plain.sign(text.as_bytes());
    let plain = plain.verifying_key();
    let key = NodeKey::from_secret(&SECRET);
    let signed = key.sign(KeyUse::Message, MESSAGE);
    let public = *key.public_key();
    let signature = signed.signature;
    let ours = move || public.verify(KeyUse::Message, black_box(MESSAGE), &signature);
    let claim = Claim {
        message: Bytes::from_static(MESSAGE),
        signature: signature.to_hex(),
        public_key: public.to_hex(),
    };
    let actor = |name, (callers, items): (u64, usize)| {
        let (identity, claims) = (identity.clone(), Arc::new(vec![claim.clone(); items]));
        let call = move || verify(identity.clone(), Arc::clone(&claims));
        Way::called(name, runtime, (callers, items as u64), call)
    };
    Operation {
        name: VERIFY,
        ways: vec![
            Way::direct(VERIFY_LIMIT, move || {
                plain.verify_strict(black_box(text.as_bytes()), &plain_signature)
            }),
            Way::direct(ONE, ours),
            actor("actor, one by one", (1, 1)),
            actor(BATCHES, (1, BATCH)),
            Way::two_threads("domain, two threads", ours),
            actor("actor, batches of 64, two callers", (2, BATCH)),
            Way::direct("domain, from hex, key known", move || verify_claim(black_box(&claim))),
        ],
    }
}

fn digesting() -> Operation {
    let ours = || domain_separated_digest(black_box(MESSAGE)).to_hex();
    let limit = || blake3::hash(black_box(MESSAGE)).to_hex().to_string();
    Operation {
        name: DIGEST,
        ways: vec![
            Way::direct(DIGEST_LIMIT, limit),
            Way::direct(ONE, ours),
            Way::two_threads("domain, two threads", ours),
        ],
    }
}

pub(super) fn operations(
    runtime: &'static Runtime,
    identity: &Addr<IdentityMsg>,
) -> Vec<Operation> {
    vec![signing(runtime, identity), verifying(runtime, identity), digesting()]
}
