//! Decides on proposals. Of its ways there is one: solo, in which this node is the only validator
//! and its vote is the decision. The rules are in `domain::consensus` and `domain::federation`.
//!
//! A proposal is on disk before it is voted on, and a vote leaves the node only in a certificate that
//! is on disk. A restart loses nothing: what was kept and not decided is decided then.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Notify};
use tokio::time::{sleep, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, warn};

use crate::actor::{Actor, Failure, Turn};
use crate::adapters::store::{Decided, Kept, Store, StoreError};
use crate::domain::consensus::{Certificate, Decision, Vote};
use crate::domain::constitution::Constitution;
use crate::domain::digest::Digest;
use crate::domain::federation::{Bounds, Outcome, PAGE_MAX, Proposal, ProposalId, Record, record};
use crate::domain::gate::{Action, ContentType, Facts, GateInput, Receipt};
use crate::domain::identity::{KeyUse, PublicKey, Signed};
use crate::domain::profile::Profile;
use crate::domain::reject::RejectCode;
use crate::messages::addr::{Addr, CallError, Deadline, Reply};
use crate::messages::consensus::{ConsensusError, ConsensusMsg, Standing};
use crate::messages::event::{ConsensusEvent, Event, Events};
use crate::messages::gate_chain::GateChainMsg;
use crate::messages::identity::IdentityMsg;
use crate::metrics::FederationMeter;

/// The actor's name.
pub const NAME: &str = "consensus";

/// Who votes in a node that is alone: itself.
const VALIDATORS: usize = 1;

/// How often something is begun again because the key, the constitution or the height changed
/// meanwhile. Each of them changes when a person says so, or a few times at a restart.
const TRIES_MAX: usize = 3;

/// Time to decide what waits, for one that nobody asks for.
const FINISH_WAIT: Duration = Duration::from_secs(10);

/// Before what could not be decided is tried again: the keys, the gates or the disk are away.
const FINISH_PAUSE: Duration = Duration::from_secs(1);

/// The right to vote. There is one for a node, whichever incarnation uses it, so that no two votes
/// are made for one height.
#[derive(Debug, Default)]
pub struct Seat {
    /// The last height, as far as is known here. The store knows, and decides.
    last: Mutex<u64>,
    /// Told when a proposal was left without a decision.
    left: Notify,
}

/// The consensus actor of a node that is alone.
#[derive(Clone, Debug)]
pub struct Consensus {
    /// Signs proposals and votes.
    pub identity: Addr<IdentityMsg>,
    /// Judges proposals.
    pub gates: Addr<GateChainMsg>,
    /// Keeps proposals and decisions; shared by all incarnations.
    pub store: Arc<Store>,
    /// Shared by all incarnations.
    pub seat: Arc<Seat>,
    /// How many proposals are kept.
    pub bounds: Bounds,
    /// The wall clock, in milliseconds since the Unix epoch: [`crate::clock::now_ms`] outside tests.
    pub now_ms: fn() -> i64,
    /// Where it tells of proposals and decisions.
    pub events: Events,
    /// Counts them.
    pub meter: FederationMeter,
}

impl Actor for Consensus {
    type Msg = ConsensusMsg;
    /// Decides what was left undecided; ends with the incarnation.
    type State = AbortOnDropHandle<()>;

    async fn start(&self) -> Result<Self::State, Failure> {
        let decisions = self.store.beside(Store::decisions).await?;
        self.meter.reached(decisions.height);
        Ok(AbortOnDropHandle::new(tokio::spawn(self.clone().finish())))
    }

    async fn handle(
        &self,
        message: ConsensusMsg,
        turn: Turn,
        _: &mut Self::State,
    ) -> Result<(), Failure> {
        let consensus = self.clone();
        let deadline = turn.deadline();
        match message {
            ConsensusMsg::Propose { proposal, reply } => turn.spawn(async move {
                // Goes on when the caller leaves: what was begun is decided.
                let record = consensus.propose(*proposal, deadline).await;
                if record.is_err() {
                    consensus.meter.proposal("failed");
                }
                reply.send(record);
            }),
            ConsensusMsg::Find { id, reply } => turn.spawn(async move {
                reply.send(consensus.find(id).await);
            }),
            ConsensusMsg::List { mut page, reply } => turn.spawn(async move {
                page.limit = page.limit.min(PAGE_MAX);
                let listed = consensus.store.beside(move |store| store.proposals(&page)).await;
                reply.send(listed.map_err(failed));
            }),
            ConsensusMsg::Standing { reply } => turn.spawn(async move {
                let decisions = consensus.store.beside(Store::decisions).await.map_err(failed);
                reply.send(decisions.map(|decisions| Standing {
                    height: decisions.height,
                    patterns: decisions.patterns,
                    pending: decisions.pending,
                    validators: VALIDATORS,
                }));
            }),
        }
        Ok(())
    }
}

impl Consensus {
    async fn propose(
        &self,
        proposal: Proposal,
        deadline: Deadline,
    ) -> Result<Record, ConsensusError> {
        let record = match self.find(proposal.id()).await? {
            Some(known) => {
                self.meter.proposal("repeated");
                known
            }
            None => self.take(proposal, deadline).await?,
        };
        if !record.is_pending() {
            return Ok(record);
        }
        match self.decide(record.clone(), deadline).await {
            Ok(decided) => Ok(decided),
            Err(error) => {
                // It is on disk, and is decided when what is missing is there again.
                warn!(actor = NAME, proposal = %record.id(), %error, "a decision has to wait");
                self.seat.left.notify_one();
                Ok(record)
            }
        }
    }

    /// Has a new proposal signed and judged, and keeps it.
    async fn take(&self, proposal: Proposal, deadline: Deadline) -> Result<Record, ConsensusError> {
        let Signed { signature, public_key, .. } =
            self.sign(KeyUse::Proposal, proposal.statement(), deadline).await?;
        // The gates are told that it is signed, so it is looked at.
        let signed = public_key.verify(KeyUse::Proposal, proposal.statement(), &signature);
        signed.map_err(unavailable)?;
        let (receipt, constitution) = self.judge(&proposal, public_key, deadline).await?;
        let record = judged(
            Record {
                proposal,
                proposer: public_key,
                signature,
                at_ms: (self.now_ms)(),
                constitution: constitution.digest(),
                gates: record::receipt(&receipt).map_err(unavailable)?,
                outcome: Outcome::Pending,
            },
            &receipt,
        )?;
        if let Outcome::Rejected { reason, .. } = &record.outcome
            && record.proposal.has_harmful_name()
        {
            // The name would be read by whoever lists what was refused.
            let code = receipt.code().unwrap_or(RejectCode::RejectInternal);
            return Err(ConsensusError::Refused { code, reason: reason.clone() });
        }
        match self.store.keep_proposal(&record, self.bounds).await.map_err(failed)? {
            Kept::New => {}
            Kept::Existing(known) => return Ok(*known),
            Kept::Crowded => {
                return Err(ConsensusError::Crowded { max: self.bounds.pending_max });
            }
        }
        if record.is_pending() {
            self.events.publish(Event::Consensus(ConsensusEvent::Proposal {
                proposal_id: record.id().to_string(),
                pattern_id: record.proposal.pattern_id().to_owned(),
            }));
        } else {
            self.tell(&record);
        }
        Ok(record)
    }

    /// Has the gates judge it as what its proposer sent; gives the constitution that they judged by
    /// as well.
    async fn judge(
        &self,
        proposal: &Proposal,
        proposer: PublicKey,
        deadline: Deadline,
    ) -> Result<(Receipt, Arc<Constitution>), ConsensusError> {
        let known = self.identity.call(deadline, |reply| IdentityMsg::List { reply }).await;
        let known = known.map_err(unavailable)?.iter().map(|it| it.public_key).collect();
        let action = Action {
            signer: Some(proposer),
            known_keys: Some(known),
            receipt_ready: Some(self.store.broken().is_none()),
            inputs: Some(Digest::from(proposal.id().0)),
            ..Action::default()
        };
        let facts = Facts { sender: Some(proposer), action: Some(action), ..Facts::default() };
        let input = Box::new(GateInput {
            content_type: ContentType::Json,
            facts: Some(Box::new(facts)),
            ..GateInput::text(proposal.judged().map_err(unavailable)?)
        });
        for _ in 0..TRIES_MAX {
            let constitution = self.constitution(deadline).await?;
            let profile = Profile::Proposal;
            let ask = |reply| GateChainMsg::Admit { profile, input: input.clone(), reply };
            let receipt = match self.gates.call(deadline, ask).await {
                // Its incarnation died over it. A penalty, if there was one, was for this node.
                Err(CallError::Down { .. }) => continue,
                receipt => receipt.map_err(unavailable)?,
            };
            if receipt.constitution_digest() == constitution.digest() {
                return Ok((receipt, constitution));
            }
        }
        Err(unavailable("the gates gave no verdict"))
    }

    /// Decides what waits: this node is the only validator, so its vote is enough. Decisions are made
    /// one after another.
    async fn decide(&self, record: Record, deadline: Deadline) -> Result<Record, ConsensusError> {
        let last = timeout_at(deadline.instant(), self.seat.last.lock());
        let mut last = last.await.map_err(|_| unavailable("others are decided first"))?;
        for _ in 0..TRIES_MAX {
            let decided = self.outcome(record.clone(), *last + 1, deadline).await?;
            match self.store.decide_proposal(&decided).await.map_err(failed)? {
                Decided::New => {
                    *last = decided.height().unwrap_or(*last);
                    self.tell(&decided);
                    return Ok(decided);
                }
                Decided::Existing(decided) => return Ok(*decided),
                Decided::Behind(height) => *last = height,
                Decided::Unknown => return Err(unavailable("the proposal is not kept")),
            }
        }
        Err(unavailable("the height kept changing"))
    }

    /// What becomes of a proposal at `height`.
    async fn outcome(
        &self,
        mut record: Record,
        height: u64,
        deadline: Deadline,
    ) -> Result<Record, ConsensusError> {
        let now_ms = (self.now_ms)();
        if record.is_over(now_ms) {
            return Ok(Record { outcome: Outcome::Expired, ..record });
        }
        let mut constitution = self.constitution(deadline).await?;
        if constitution.digest() != record.constitution {
            // It waited while the constitution changed, and is decided by the one in force.
            let (receipt, in_force) =
                self.judge(&record.proposal, record.proposer, deadline).await?;
            record.constitution = in_force.digest();
            record.gates = record::receipt(&receipt).map_err(unavailable)?;
            record = judged(record, &receipt)?;
            if !record.is_pending() {
                return Ok(record);
            }
            constitution = in_force;
        }
        if let Some(rule) = constitution.broken_by_votes(VALIDATORS, VALIDATORS) {
            let reason = format!("{}: no vote of {VALIDATORS} satisfies it", rule.name);
            return Ok(rejected(record, rule.id.clone(), reason));
        }
        let certificate = self.vote(&record, height, now_ms, deadline).await?;
        Ok(Record { outcome: Outcome::Committed(Box::new(certificate)), ..record })
    }

    /// The certificate with this node's vote.
    async fn vote(
        &self,
        record: &Record,
        height: u64,
        now_ms: i64,
        deadline: Deadline,
    ) -> Result<Certificate, ConsensusError> {
        let active = self.identity.call(deadline, |reply| IdentityMsg::Active { reply }).await;
        let mut key = active.map_err(unavailable)?.public_key;
        for _ in 0..TRIES_MAX {
            let decision =
                Decision::new(height, record.id(), record.constitution, now_ms, vec![key]);
            let decision = decision.map_err(unavailable)?;
            let statement = decision.statement().map_err(unavailable)?;
            let Signed { signature, public_key, .. } =
                self.sign(KeyUse::Vote, &statement, deadline).await?;
            if public_key == key {
                return decision.certify(vec![Vote { public_key, signature }]).map_err(unavailable);
            }
            key = public_key;
        }
        Err(unavailable("the active identity kept changing"))
    }

    async fn sign(
        &self,
        key_use: KeyUse,
        message: &[u8],
        deadline: Deadline,
    ) -> Result<Signed, ConsensusError> {
        let message = bytes::Bytes::copy_from_slice(message);
        let ask =
            |reply: Reply<_>| IdentityMsg::Sign { key_use, messages: vec![message.clone()], reply };
        let signed = self.identity.call(deadline, ask).await.map_err(unavailable)?;
        let signed = signed.map_err(unavailable)?.into_iter().next();
        signed.ok_or_else(|| unavailable("no signature was made"))
    }

    async fn constitution(&self, deadline: Deadline) -> Result<Arc<Constitution>, ConsensusError> {
        let ask = |reply| GateChainMsg::Constitution { reply };
        self.gates.call(deadline, ask).await.map_err(unavailable)
    }

    /// Decides what was left undecided, by an incarnation before or because something was away.
    async fn finish(self) {
        loop {
            match self.finish_all().await {
                Ok(()) => self.seat.left.notified().await,
                Err(error) => {
                    debug!(actor = NAME, %error, "what waits for a decision has to wait on");
                    sleep(FINISH_PAUSE).await;
                }
            }
        }
    }

    async fn finish_all(&self) -> Result<(), ConsensusError> {
        let mut finished = Ok(());
        for record in self.store.beside(Store::pending_proposals).await.map_err(failed)? {
            // One that cannot be decided yet holds up none of the others.
            let decided = self.decide(record, Deadline::after(FINISH_WAIT)).await;
            finished = finished.and(decided.map(drop));
        }
        finished
    }

    async fn find(&self, id: ProposalId) -> Result<Option<Record>, ConsensusError> {
        self.store.beside(move |store| store.find_proposal(id)).await.map_err(failed)
    }

    /// Tells what became of a proposal.
    fn tell(&self, record: &Record) {
        let (status, height) = (record.status(), record.height());
        self.meter.proposal(status);
        if let Some(height) = height {
            self.meter.reached(height);
        }
        debug!(actor = NAME, proposal = %record.id(), status, height, "decided");
        let proposal_id = record.id().to_string();
        let event = ConsensusEvent::Decided { proposal_id, status, height };
        self.events.publish(Event::Consensus(event));
    }
}

/// The record as the receipt leaves it: pending, or rejected without its content. A verdict that may
/// be another one the next time is none to keep.
fn judged(record: Record, receipt: &Receipt) -> Result<Record, ConsensusError> {
    let reason = receipt.reason().unwrap_or_default();
    match receipt.code() {
        None if receipt.passed() => Ok(record),
        None | Some(RejectCode::RejectQuota | RejectCode::RejectTimeout) => {
            Err(unavailable(format!("the gates did not come to an end: {reason}")))
        }
        Some(RejectCode::RejectInternal) => Err(unavailable(reason)),
        Some(code) if code.is_retryable() => Err(ConsensusError::Refused { code, reason }),
        Some(code) => Ok(rejected(record, code.as_str().to_owned(), reason)),
    }
}

/// What is refused is not kept: it may hold what nobody should read. Its hash is.
fn rejected(record: Record, code: String, reason: String) -> Record {
    let proposal = record.proposal.withheld();
    Record { proposal, outcome: Outcome::Rejected { code, reason }, ..record }
}

fn failed(error: StoreError) -> ConsensusError {
    match error {
        StoreError::DiskFull { .. } => ConsensusError::DiskFull(error.to_string()),
        error => unavailable(error),
    }
}

fn unavailable(error: impl std::fmt::Display) -> ConsensusError {
    ConsensusError::Unavailable(error.to_string())
}
