//! Holds the node's keys: nobody else sees a secret. The rules are in `domain::identity`, the files
//! in `adapters::keystore`.
//!
//! A restart reads the keystore again and loses nothing.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::actor::{Actor, Failure, Turn, in_order};
use crate::adapters::keystore::{Keystore, KeystoreError, SealedError};
use crate::domain::identity::{IdentityError, KeyUse, Signed, VerifyError, verify_claims};
use crate::messages::addr::{Reply, unless_abandoned};
use crate::messages::identity::{BATCH_MAX, IdentityMsg};

/// The actor's name.
pub const NAME: &str = "identity";

/// Signatures that one task makes or checks: a third of a millisecond, so that a batch goes over
/// all cores and keeps no thread for long.
const TASK_ITEMS: usize = 8;

/// The identity actor.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Shared by all incarnations, so that two never write at once.
    pub keystore: Arc<Keystore>,
}

impl Actor for Identity {
    type Msg = IdentityMsg;
    /// The keystore knows everything, also what an earlier incarnation was still writing.
    type State = ();

    async fn start(&self) -> Result<(), Failure> {
        let keystore = Arc::clone(&self.keystore);
        tokio::task::spawn_blocking(move || keystore.load()).await??;
        Ok(())
    }

    async fn handle(&self, message: IdentityMsg, turn: Turn, (): &mut ()) -> Result<(), Failure> {
        match message {
            IdentityMsg::Sign { messages, reply, .. } if messages.len() > BATCH_MAX => {
                reply.send(Err(IdentityError::Batch { max: BATCH_MAX }));
            }
            IdentityMsg::Sign { key_use, messages, reply } => {
                let keystore = Arc::clone(&self.keystore);
                turn.spawn(async move { sign(&keystore, key_use, messages, reply).await });
            }
            IdentityMsg::Verify { claims, reply } if claims.len() > BATCH_MAX => {
                reply.send(vec![Err(VerifyError::Batch); claims.len()]);
            }
            IdentityMsg::Verify { claims, mut reply } => turn.spawn(async move {
                let verified = unless_abandoned(&mut reply, spread(claims, verify_claims)).await;
                if let Some(Some(verified)) = verified {
                    reply.send(verified);
                }
            }),
            IdentityMsg::Generate { label, activate, reply } => {
                let keystore = Arc::clone(&self.keystore);
                turn.spawn_blocking(move || {
                    reply.send(keystore.generate(label, activate).map_err(told));
                });
            }
            IdentityMsg::Activate { id, reply } => {
                let keystore = Arc::clone(&self.keystore);
                turn.spawn_blocking(move || reply.send(keystore.activate(id).map_err(told)));
            }
            IdentityMsg::Rotate { label, at_ms, reply } => {
                let keystore = Arc::clone(&self.keystore);
                turn.spawn_blocking(move || {
                    reply.send(keystore.rotate(label, at_ms).map_err(told));
                });
            }
            IdentityMsg::Export { id, passphrase, reply } => {
                let keystore = Arc::clone(&self.keystore);
                turn.spawn_blocking(move || {
                    let export = keystore.export(id, &passphrase);
                    reply.send(export.map(bytes::Bytes::from).map_err(told));
                });
            }
            IdentityMsg::Import { export, passphrase, label, reply } => {
                let keystore = Arc::clone(&self.keystore);
                turn.spawn_blocking(move || {
                    reply.send(keystore.import(&export, &passphrase, label).map_err(told));
                });
            }
            IdentityMsg::Active { reply } => {
                let identities = self.keystore.identities();
                // A keystore is loaded with an active identity or not at all.
                let active = identities.first().ok_or("the keystore is empty")?;
                reply.send(active.info.clone());
            }
            IdentityMsg::List { reply } => {
                let identities = self.keystore.identities();
                reply.send(identities.iter().map(|identity| identity.info.clone()).collect());
            }
        }
        Ok(())
    }
}

async fn sign(
    keystore: &Keystore,
    key_use: KeyUse,
    messages: Vec<bytes::Bytes>,
    mut reply: Reply<Result<Vec<Signed>, IdentityError>>,
) {
    // One key for the whole batch, also when another is activated meanwhile.
    let Some(key) = keystore.identities().first().map(|active| Arc::clone(&active.key)) else {
        return;
    };
    let sign = move |messages: &[bytes::Bytes]| {
        messages.iter().map(|message| key.sign(key_use, message)).collect()
    };
    if let Some(Some(signed)) = unless_abandoned(&mut reply, spread(messages, sign)).await {
        reply.send(Ok(signed));
    }
}

/// What callers are told of it: of files only that there is something to see to.
fn told(error: KeystoreError) -> IdentityError {
    match error {
        KeystoreError::Full { max } => IdentityError::Full { max },
        KeystoreError::Label => IdentityError::Label,
        KeystoreError::Unknown(id) => IdentityError::Unknown(id.to_hex()),
        KeystoreError::Retired { old, new } => IdentityError::Retired { old, new },
        KeystoreError::Exists(id) => IdentityError::Exists(id),
        KeystoreError::Import(SealedError::Passphrase) => IdentityError::Passphrase,
        KeystoreError::Import(other) => IdentityError::Export(other.to_string()),
        other => IdentityError::Store(other.to_string()),
    }
}

/// Does `work` on parts of `items`, on all cores if there are many, and puts the results together in
/// order. `None` if a part was lost to a panic.
async fn spread<I, O>(
    items: Vec<I>,
    work: impl Fn(&[I]) -> Vec<O> + Clone + Send + 'static,
) -> Option<Vec<O>>
where
    I: Send + 'static,
    O: Send + 'static,
{
    if items.len() <= TASK_ITEMS {
        return Some(work(&items));
    }
    // Dropped with this future when the caller leaves, and then the tasks end too.
    let mut tasks = JoinSet::new();
    let mut items = items.into_iter();
    for part in 0.. {
        let part_items: Vec<I> = items.by_ref().take(TASK_ITEMS).collect();
        if part_items.is_empty() {
            break;
        }
        let work = work.clone();
        tasks.spawn(async move { (part, work(&part_items)) });
    }
    in_order(tasks).await
}
