//! Keeps what the node has learned, recalls it by meaning, and has candidates elevated. The rules are
//! in `domain::pattern`; memory and store are kept alike by the [`Keeper`], which outlives this actor.
//!
//! A pattern is put to the vote by **consensus**, which starts before. That it was is on disk before
//! it is asked, so that whoever dies meanwhile, what was decided is heard of.

mod job;
mod keeper;
#[cfg(feature = "usearch")]
mod mirrors;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, warn};

use crate::actor::{Actor, Failure, Turn};
use crate::domain::federation::{Draft, Outcome, Proposal, ProposalId, Record};
use crate::domain::pattern::{BATCH_MAX, Elevation, Pattern, PatternError, PatternId, Remembered};
use crate::messages::addr::{Addr, Deadline, Reply};
use crate::messages::consensus::ConsensusMsg;
use crate::messages::identity::IdentityMsg;
use crate::messages::pattern_memory::{Changed, Elevated, MemoryError, PatternMemoryMsg};

use job::{Change, Job};
use keeper::unavailable;
pub use keeper::{Keeper, Parts};
#[cfg(feature = "usearch")]
pub use mirrors::Approximate;

/// The actor's name.
pub const NAME: &str = "pattern-memory";

/// Time between two looks at what is left to do: writing down which patterns were recalled, of which
/// so much may be lost when the process is killed, and asking what became of proposals.
const TIDY_EVERY: Duration = Duration::from_secs(5);

/// Time for **consensus** to tell what became of a proposal.
const ASK_WAIT: Duration = Duration::from_secs(10);

/// Time after which a proposal that **consensus** does not know is held never to have come there.
const UNHEARD: Duration = Duration::from_secs(60);

/// The pattern-memory actor.
#[derive(Clone, Debug)]
pub struct PatternMemory {
    /// Shared by all incarnations.
    pub keeper: Arc<Keeper>,
    /// Tells who proposes.
    pub identity: Addr<IdentityMsg>,
    /// Decides on elevations.
    pub consensus: Addr<ConsensusMsg>,
    /// The wall clock, in milliseconds since the Unix epoch: [`crate::clock::now_ms`] outside tests.
    pub now_ms: fn() -> i64,
}

impl Actor for PatternMemory {
    type Msg = PatternMemoryMsg;
    /// Does what is left to do; ends with the incarnation.
    type State = AbortOnDropHandle<()>;

    async fn start(&self) -> Result<Self::State, Failure> {
        self.keeper.open().await?;
        Ok(AbortOnDropHandle::new(tokio::spawn(self.clone().tidy())))
    }

    async fn handle(
        &self,
        message: PatternMemoryMsg,
        turn: Turn,
        _: &mut Self::State,
    ) -> Result<(), Failure> {
        let keeper = Arc::clone(&self.keeper);
        match message {
            PatternMemoryMsg::Learn { lessons, reply } if lessons.len() > BATCH_MAX => {
                let error = format!("a batch has at most {BATCH_MAX} lessons");
                reply.send(Err(unavailable(error)));
            }
            PatternMemoryMsg::Learn { lessons, reply } => turn.spawn(async move {
                match keeper.placed(lessons).await {
                    Ok(lessons) => keeper.carry_out(Job::Learn { lessons, reply }).await,
                    Err(error) => reply.send(Err(error)),
                }
            }),
            PatternMemoryMsg::Recall { query, reply } => turn.spawn(async move {
                reply.send(keeper.recall(*query).await);
            }),
            PatternMemoryMsg::Find { id, reply } => turn.spawn(async move {
                reply.send(keeper.find(id).await);
            }),
            PatternMemoryMsg::List { page, reply } => turn.spawn(async move {
                reply.send(keeper.list(page).await);
            }),
            PatternMemoryMsg::Stats { reply } => turn.spawn(async move {
                reply.send(keeper.figures().await);
            }),
            PatternMemoryMsg::Count { reply } => reply.send(keeper.count()),
            PatternMemoryMsg::Feedback { id, opinion, reply } => {
                turn.spawn(change(keeper, id, Change::Feedback(Box::new(opinion)), reply));
            }
            PatternMemoryMsg::Pin { id, is_pinned, reply } => {
                turn.spawn(change(keeper, id, Change::Pin(is_pinned), reply));
            }
            PatternMemoryMsg::Forget { id, reply } => {
                turn.spawn(change(keeper, id, Change::Forget, reply));
            }
            PatternMemoryMsg::Elevate { id, reply } => {
                let (memory, deadline) = (self.clone(), turn.deadline());
                turn.spawn(async move { reply.send(memory.elevate(id, deadline).await) });
            }
        }
        Ok(())
    }

    async fn stop(&self, _: &mut Self::State, is_told: bool) {
        self.keeper.note_uses().await;
        if is_told {
            self.keeper.put_away().await;
        }
    }
}

async fn change(
    keeper: Arc<Keeper>,
    id: PatternId,
    change: Change,
    reply: Reply<Result<Changed, MemoryError>>,
) {
    keeper.carry_out(Job::Change { id, change, reply }).await;
}

impl PatternMemory {
    /// Puts a candidate to the vote, and takes note of the decision if it comes at once.
    async fn elevate(&self, id: PatternId, deadline: Deadline) -> Result<Elevated, MemoryError> {
        let found = self.keeper.find(id).await?.ok_or(PatternError::Unknown(id))?;
        if let Some(elevation) = found.pattern.elevation {
            let record = self.find(elevation.proposal, deadline).await?.map(Box::new);
            return Ok(Elevated { pattern: found.pattern, record });
        }
        found.pattern.check_candidate((self.now_ms)())?;
        let proposal = self.proposal(found, deadline).await?;
        self.change(id, Change::Propose(proposal.id())).await?;
        let boxed = Box::new(proposal);
        let ask = |reply| ConsensusMsg::Propose { proposal: boxed.clone(), reply };
        let record = self.consensus.call(deadline, ask).await.map_err(unavailable)??;
        let pattern = self.heard(id, &record).await?;
        Ok(Elevated { pattern, record: Some(Box::new(record)) })
    }

    /// What is put to the vote: the pattern as it is now, seen by this node.
    async fn proposal(
        &self,
        Remembered { pattern, content }: Remembered,
        deadline: Deadline,
    ) -> Result<Proposal, MemoryError> {
        let active = self.identity.call(deadline, |reply| IdentityMsg::Active { reply }).await;
        let unit = self.keeper.unit(pattern.id).await?;
        Ok(Proposal::new(Draft {
            pattern_id: pattern.id.to_string(),
            pattern_embedding: unit.into_iter().map(shortest).collect(),
            source_node: active.map_err(unavailable)?.node_id.to_hex(),
            confidence: pattern.confidence_at((self.now_ms)()).value(),
            content: Some(content),
        })?)
    }

    /// Takes note of what became of a proposal: only a decision that holds elevates.
    async fn heard(&self, id: PatternId, record: &Record) -> Result<Arc<Pattern>, MemoryError> {
        let elevation = match &record.outcome {
            Outcome::Pending => {
                let found = self.keeper.find(id).await?.ok_or(PatternError::Unknown(id))?;
                return Ok(found.pattern);
            }
            Outcome::Rejected { .. } | Outcome::Expired => None,
            Outcome::Committed(_) if record.proposal.pattern_id() != id.to_string() => None,
            Outcome::Committed(_) => {
                let certificate = record.verify().map_err(unavailable)?;
                Some(Elevation {
                    proposal: record.id(),
                    height: certificate.height(),
                    validators: certificate.validators().len() as u64,
                    at_ms: (self.now_ms)(),
                })
            }
        };
        self.change(id, Change::Decided { proposal: record.id(), elevation }).await
    }

    async fn change(&self, id: PatternId, change: Change) -> Result<Arc<Pattern>, MemoryError> {
        let (reply, changed) = Reply::channel();
        self.keeper.carry_out(Job::Change { id, change, reply }).await;
        Ok(changed.await.map_err(unavailable)??.pattern)
    }

    async fn find(
        &self,
        id: ProposalId,
        deadline: Deadline,
    ) -> Result<Option<Record>, MemoryError> {
        let ask = |reply| ConsensusMsg::Find { id, reply };
        Ok(self.consensus.call(deadline, ask).await.map_err(unavailable)??)
    }

    /// Does again and again what is left to do.
    async fn tidy(self) {
        let mut ticks = interval(TIDY_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unheard = HashMap::new();
        loop {
            ticks.tick().await;
            self.keeper.note_uses().await;
            self.follow(&mut unheard).await;
        }
    }

    /// Asks what became of proposals that were not heard of since.
    async fn follow(&self, unheard: &mut HashMap<ProposalId, Instant>) {
        let proposed = self.keeper.proposed().await;
        unheard.retain(|known, _| proposed.iter().any(|(_, proposal)| proposal == known));
        for (id, proposal) in proposed {
            let heard = match self.find(proposal, Deadline::after(ASK_WAIT)).await {
                Ok(Some(record)) => self.heard(id, &record).await.map(drop),
                // It may be on its way; after a while it is not any more.
                Ok(None) => {
                    let since = *unheard.entry(proposal).or_insert_with(Instant::now);
                    if since.elapsed() < UNHEARD {
                        continue;
                    }
                    warn!(actor = NAME, pattern = %id, "a proposal never came to be kept");
                    let change = Change::Decided { proposal, elevation: None };
                    self.change(id, change).await.map(drop)
                }
                Err(error) => Err(error),
            };
            if let Err(error) = heard {
                debug!(actor = NAME, pattern = %id, %error, "a decision is asked for again");
            }
        }
    }
}

/// The double with the fewest digits that is this number in single precision: a proposal is text.
fn shortest(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::from(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_a_proposal_has_no_more_digits_than_it_needs() {
        assert_eq!(shortest(0.1).to_string(), "0.1");
        for number in [0.0, -1.0, 0.577_350_26, 1e-20, f32::MIN_POSITIVE] {
            #[expect(clippy::cast_possible_truncation, reason = "that is what is tested")]
            let back = shortest(number) as f32;
            assert_eq!(back, number);
        }
    }
}
