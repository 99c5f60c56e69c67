//! Seals envelopes, checks them, keeps the log of those made here and the replay window. The rules
//! are in `domain::envelope` and `domain::replay`.
//!
//! A restart reads the replay window from the store again and loses nothing that was acknowledged.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use serde_json::Value;

use crate::actor::{Actor, Failure, Turn};
use crate::adapters::store::{Appended, Recorded, Store, StoreError};
use crate::domain::envelope::log::PAGE_MAX;
use crate::domain::envelope::{
    Draft, EnvelopeId, Head, Options, Page, Report, SealError, Sealed, Unsigned, Verified, examine,
};
use crate::domain::gate::{ContentType, Facts, GateInput};
use crate::domain::id::NodeId;
use crate::domain::identity::{KeyUse, PublicKey};
use crate::domain::json::canonical;
use crate::domain::profile::Profile;
use crate::domain::reject::RejectCode;
use crate::domain::replay::{Nonce, ReplayError, ReplayLimits, ReplayWindow};
use crate::messages::addr::{Addr, CallError, Deadline, Reply, unless_abandoned};
use crate::messages::envelope::{BATCH_BYTES_MAX, BATCH_MAX, EnvelopeMsg, Issuer};
use crate::messages::event::Events;
use crate::messages::gate_chain::GateChainMsg;
use crate::messages::identity::IdentityMsg;
use crate::metrics::EnvelopeMeter;

mod batch;
mod provenance;
mod tell;

use provenance::add_provenance;

/// The actor's name.
pub const NAME: &str = "envelope";

/// From this many bytes on, reading and hashing takes longer than a task may keep its thread.
const LARGE_BYTES: usize = 16 << 10;

/// How often a draft is prepared for the identity that signs; it changes when a person says so.
const KEYS_MAX: usize = 3;

/// The envelope actor.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// Signs.
    pub identity: Addr<IdentityMsg>,
    /// Judges what is consumed.
    pub gates: Addr<GateChainMsg>,
    /// Shared by all incarnations.
    pub store: Arc<Store>,
    /// How much the replay window remembers.
    pub limits: ReplayLimits,
    /// Whether envelopes of version "1.0" are read as well.
    pub accept_v1: bool,
    /// The wall clock, in milliseconds since the Unix epoch: [`crate::clock::now_ms`] outside tests.
    pub now_ms: fn() -> i64,
    /// Where it tells what was made, verified and refused.
    pub events: Events,
    /// Counts the same.
    pub meter: EnvelopeMeter,
}

/// What one incarnation and its tasks share.
#[derive(Debug)]
pub struct Desk {
    identity: Addr<IdentityMsg>,
    gates: Addr<GateChainMsg>,
    store: Arc<Store>,
    accept_v1: bool,
    now_ms: fn() -> i64,
    events: Events,
    meter: EnvelopeMeter,
    window: Mutex<ReplayWindow>,
    /// The key that signed last. Only a guess at the next: the signature says who made it.
    key: ArcSwapOption<PublicKey>,
}

impl Actor for Envelope {
    type Msg = EnvelopeMsg;
    type State = Arc<Desk>;

    async fn start(&self) -> Result<Arc<Desk>, Failure> {
        let nonces_max = self.limits.nonces_max;
        let replay = self.store.beside(move |store| store.load_replay(nonces_max)).await?;
        let mut window = ReplayWindow::new(self.limits, replay.closed_until_ms);
        for (nonce, expires_ms) in replay.nonces {
            window.restore(nonce, expires_ms);
        }
        Ok(Arc::new(Desk {
            identity: self.identity.clone(),
            gates: self.gates.clone(),
            store: Arc::clone(&self.store),
            accept_v1: self.accept_v1,
            now_ms: self.now_ms,
            events: self.events.clone(),
            meter: self.meter.clone(),
            window: Mutex::new(window),
            key: ArcSwapOption::empty(),
        }))
    }

    async fn handle(
        &self,
        message: EnvelopeMsg,
        turn: Turn,
        desk: &mut Arc<Desk>,
    ) -> Result<(), Failure> {
        let desk = Arc::clone(desk);
        let deadline = turn.deadline();
        match message {
            EnvelopeMsg::Create { draft, reply } => turn.spawn(async move {
                let sealed = desk.create(*draft, deadline).await;
                desk.tell_created(&sealed);
                reply.send(sealed);
            }),
            EnvelopeMsg::Verify { bytes, reply } => turn.spawn(async move {
                let (report, id) = desk.verify(bytes).await;
                desk.tell_judged(&report, id, false);
                reply.send(report);
            }),
            EnvelopeMsg::VerifyMany { items, mut reply } => turn.spawn(async move {
                let verified = unless_abandoned(&mut reply, desk.verify_many(items)).await;
                if let Some(Some(reports)) = verified {
                    desk.count_verified(&reports);
                    reply.send(reports);
                }
            }),
            EnvelopeMsg::Consume { bytes, reply } => turn.spawn(async move {
                let (report, id) = desk.consume(bytes, deadline).await;
                desk.tell_judged(&report, id, true);
                reply.send(report);
            }),
            EnvelopeMsg::Find { id, reply } => turn.spawn(async move {
                reply.send(desk.find(id).await);
            }),
            EnvelopeMsg::Log { page, reply } => turn.spawn(async move {
                reply.send(desk.log(page).await);
            }),
            EnvelopeMsg::Issuer { reply } => turn.spawn(async move {
                reply.send(desk.issuer(deadline).await);
            }),
        }
        Ok(())
    }
}

impl Desk {
    async fn create(&self, draft: Draft, deadline: Deadline) -> Result<Sealed, SealError> {
        let key = match self.key.load_full() {
            Some(key) => *key,
            None => {
                let active = self.ask(deadline, |reply| IdentityMsg::Active { reply }).await;
                active.map_err(unavailable)?.public_key
            }
        };
        let is_large = weight_up_to(&draft.payload, LARGE_BYTES) >= LARGE_BYTES;
        let prepared = beside(is_large, move || draft.prepare(&key)).await;
        let unsigned = prepared.map_err(unavailable)??;
        let sealed = self.sign(unsigned, key, deadline).await?;
        let id = sealed.id;
        let head = Head::of(&sealed).map_err(SealError::Unavailable)?;
        let appended = self.store.append_envelope(head, sealed.to_bytes()).await;
        match appended.map_err(|error| match error {
            StoreError::DiskFull { .. } => SealError::Full(error.to_string()),
            _ => unavailable(error),
        })? {
            Appended::New => Ok(sealed),
            Appended::Existing(bytes) => {
                let logged = read_logged(id, &bytes)?;
                if logged.is_of_the_draft_of(&sealed) {
                    return Ok(logged);
                }
                Err(SealError::Invalid(format!("id {id} names another envelope")))
            }
        }
    }

    async fn sign(
        &self,
        mut unsigned: Unsigned,
        mut key: PublicKey,
        deadline: Deadline,
    ) -> Result<Sealed, SealError> {
        for _ in 0..KEYS_MAX {
            let bytes = Bytes::copy_from_slice(unsigned.signing_bytes());
            let ask = |reply| IdentityMsg::Sign {
                key_use: KeyUse::Envelope,
                messages: vec![bytes.clone()],
                reply,
            };
            let signed =
                self.ask(deadline, ask).await.map_err(unavailable)?.map_err(unavailable)?;
            let signed = signed.into_iter().next();
            let signed = signed.ok_or_else(|| unavailable("no signature was made"))?;
            if signed.public_key == key {
                self.key.store(Some(Arc::new(key)));
                return unsigned.finish(&signed);
            }
            key = signed.public_key;
            unsigned = unsigned.with_key(&key)?;
        }
        Err(unavailable("the active identity kept changing"))
    }

    /// The outcome, and the envelope's id if its own checks held.
    async fn verify(&self, bytes: Bytes) -> (Report, Option<EnvelopeId>) {
        let (report, verified) = self.examine(bytes, None).await;
        match verified {
            Some(verified) => {
                let id = verified.id;
                (self.resolve(report, verified).await, Some(id))
            }
            None => (report, None),
        }
    }

    async fn verify_many(&self, items: Vec<Bytes>) -> Option<Vec<Report>> {
        let bytes: usize = items.iter().map(Bytes::len).sum();
        if items.len() > BATCH_MAX || bytes > BATCH_BYTES_MAX {
            let mut report = Report::default();
            let error = format!(
                "a batch has at most {BATCH_MAX} envelopes with {BATCH_BYTES_MAX} bytes in all"
            );
            report.refuse("batch", RejectCode::RejectQuota, error);
            return Some(vec![report; items.len()]);
        }
        let (store, options) = (Arc::clone(&self.store), self.options(None));
        // One moment for all of them.
        let now_ms = (self.now_ms)();
        batch::judge_all(items, move |bytes| {
            let (mut report, verified) = examine(bytes, now_ms, &options);
            if let Some(verified) = verified {
                add_provenance(&mut report, &store, &verified);
            }
            report
        })
        .await
    }

    /// As [`Desk::verify`].
    async fn consume(&self, bytes: Bytes, deadline: Deadline) -> (Report, Option<EnvelopeId>) {
        let readers = match self.ask(deadline, |reply| IdentityMsg::List { reply }).await {
            Ok(identities) => identities.into_iter().map(|identity| identity.node_id).collect(),
            Err(error) => {
                let mut report = Report::default();
                report.refuse("audience", RejectCode::RejectInternal, error.to_string());
                return (report, None);
            }
        };
        let (mut report, verified) = self.examine(bytes, Some(readers)).await;
        let Some(verified) = verified else { return (report, None) };
        match self.record(&verified).await {
            Ok(()) => report.pass("replay", None),
            Err((code, error)) => {
                report.refuse("replay", code, error);
                return (report, None);
            }
        }
        // After the nonce: whoever repeats an envelope cannot have its sender punished again.
        match self.admit(&verified, deadline).await {
            Ok(warnings) => report.pass("gates", warnings),
            Err((code, error)) => {
                report.refuse("gates", code, error);
                return (report, None);
            }
        }
        let id = verified.id;
        (self.resolve(report, verified).await, Some(id))
    }

    /// Has the payload judged as a message of the one who signed it; tells what was warned of. A
    /// payload that was withheld is judged as `null`: its sender still needs a good standing.
    async fn admit(
        &self,
        verified: &Verified,
        deadline: Deadline,
    ) -> Result<Option<String>, (RejectCode, String)> {
        let internal = |error: String| (RejectCode::RejectInternal, error);
        let content = canonical(verified.payload.as_ref().unwrap_or(&Value::Null));
        let content = content.map_err(|error| internal(error.to_string()))?;
        let sender = Some(verified.public_key);
        let input = Box::new(GateInput {
            content_type: ContentType::Json,
            facts: Some(Box::new(Facts { sender, ..Facts::default() })),
            ..GateInput::text(content)
        });
        let profile = Profile::PeerMessage;
        let ask = |reply| GateChainMsg::Admit { profile, input: input.clone(), reply };
        let receipt = self.gates.call(deadline, ask).await.map_err(|error| match error {
            CallError::Busy { .. } => (RejectCode::RejectQuota, error.to_string()),
            CallError::Late { .. } => (RejectCode::RejectTimeout, error.to_string()),
            CallError::Down { .. } => internal(error.to_string()),
        })?;
        if let Some(code) = receipt.code() {
            return Err((code, receipt.reason().unwrap_or_default()));
        }
        let warnings = receipt.warnings();
        Ok((!warnings.is_empty()).then(|| warnings.join("; ")))
    }

    fn options(&self, readers: Option<Vec<NodeId>>) -> Options {
        Options { readers, accept_v1: self.accept_v1, ..Options::default() }
    }

    async fn examine(
        &self,
        bytes: Bytes,
        readers: Option<Vec<NodeId>>,
    ) -> (Report, Option<Verified>) {
        let options = self.options(readers);
        let now_ms = (self.now_ms)();
        let is_large = bytes.len() >= LARGE_BYTES;
        let examined = beside(is_large, move || examine(&bytes, now_ms, &options)).await;
        examined.unwrap_or_else(|error| {
            let mut report = Report::default();
            report.refuse("parse", RejectCode::RejectInternal, error.to_string());
            (report, None)
        })
    }

    /// Takes the nonce in memory, which is quick and bounded, then on disk, which decides: another
    /// incarnation of this actor may have taken it since this one began.
    async fn record(&self, verified: &Verified) -> Result<(), (RejectCode, String)> {
        let nonce = Nonce { public_key: *verified.public_key.as_bytes(), id: verified.id };
        let expires_ms = verified.expires_ms();
        let closed_until_ms = {
            let mut window = self.window();
            window.expire((self.now_ms)());
            window.record(nonce, expires_ms).map_err(|error| {
                let code = match error {
                    ReplayError::Seen => RejectCode::RejectReplay,
                    ReplayError::Closed => RejectCode::RejectExpired,
                    ReplayError::SenderFull { .. } | ReplayError::Full { .. } => {
                        RejectCode::RejectQuota
                    }
                };
                (code, error.to_string())
            })?;
            window.closed_until_ms()
        };
        let content = *verified.content_hash.as_bytes();
        match self.store.record_nonce(nonce, content, expires_ms, closed_until_ms).await {
            Ok(Recorded::New) => Ok(()),
            Ok(Recorded::Seen) => Err((RejectCode::RejectReplay, ReplayError::Seen.to_string())),
            Err(error) => {
                self.window().forget(&nonce);
                let code = match error {
                    StoreError::Busy => RejectCode::RejectQuota,
                    _ => RejectCode::RejectInternal,
                };
                Err((code, error.to_string()))
            }
        }
    }

    fn window(&self) -> MutexGuard<'_, ReplayWindow> {
        // No call on it panics half way; if one did, what it remembers is still remembered.
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn resolve(&self, mut report: Report, verified: Verified) -> Report {
        if verified.parents() == 0 {
            return report;
        }
        let store = Arc::clone(&self.store);
        let resolved = beside(true, move || {
            add_provenance(&mut report, &store, &verified);
            report
        });
        resolved.await.unwrap_or_else(|error| {
            let mut report = Report::default();
            report.refuse("provenance", RejectCode::RejectInternal, error.to_string());
            report
        })
    }

    async fn find(&self, id: EnvelopeId) -> Result<Option<Sealed>, SealError> {
        let found = self.store.beside(move |store| store.find_envelope(id)).await;
        found.map_err(unavailable)?.map(|bytes| read_logged(id, &bytes)).transpose()
    }

    async fn log(&self, mut page: Page) -> Result<Vec<Head>, SealError> {
        page.limit = page.limit.min(PAGE_MAX);
        self.store.beside(move |store| store.page(&page)).await.map_err(unavailable)
    }

    async fn issuer(&self, deadline: Deadline) -> Result<Issuer, SealError> {
        let identities = self.ask(deadline, |reply| IdentityMsg::List { reply }).await;
        let known: Vec<_> =
            identities.map_err(unavailable)?.iter().map(|it| it.public_key).collect();
        let active = *known.first().ok_or_else(|| unavailable("there is no identity"))?;
        Ok(Issuer { active, known, is_ready: self.store.broken().is_none() })
    }

    async fn ask<T: Send>(
        &self,
        deadline: Deadline,
        ask: impl Fn(Reply<T>) -> IdentityMsg + Send,
    ) -> Result<T, CallError> {
        self.identity.call(deadline, ask).await
    }
}

fn read_logged(id: EnvelopeId, bytes: &[u8]) -> Result<Sealed, SealError> {
    let damaged = |error| SealError::Unavailable(format!("log entry {id} is damaged: {error}"));
    Sealed::from_trusted_bytes(bytes).map_err(damaged)
}

fn unavailable(error: impl std::fmt::Display) -> SealError {
    SealError::Unavailable(error.to_string())
}

/// Does `work` here, or on the blocking threads if it is large. Fails only if it panics there.
async fn beside<T: Send + 'static>(
    is_large: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, tokio::task::JoinError> {
    if is_large { tokio::task::spawn_blocking(work).await } else { Ok(work()) }
}

/// About how many bytes a value takes as text, counted no further than `limit`.
fn weight_up_to(value: &Value, limit: usize) -> usize {
    let mut weight = 0;
    let mut rest = vec![value];
    while let Some(value) = rest.pop() {
        weight += match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 8,
            Value::String(text) => text.len() + 3,
            Value::Array(items) => {
                rest.extend(items.iter().take(limit));
                2
            }
            Value::Object(members) => {
                rest.extend(members.values().take(limit));
                members.keys().take(limit).map(|key| key.len() + 4).sum()
            }
        };
        if weight >= limit {
            break;
        }
    }
    weight
}
