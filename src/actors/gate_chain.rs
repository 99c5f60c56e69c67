//! Judges content under the constitution. The gates are in `domain::gate`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;
use tracing::error;

use crate::actor::{Actor, Failure, Turn};
use crate::domain::constitution::Constitution;
use crate::domain::gate::{GateInput, Profile, Receipt, run, run_timed};
use crate::domain::reject::RejectCode;
use crate::messages::addr::{Deadline, Reply};
use crate::messages::gate_chain::{BATCH_MAX, GateChainMsg};

/// Its name in the tree.
pub const NAME: &str = "gate-chain";

/// Bytes that are judged inside the handler: reading this much JSON takes a tenth of a millisecond.
const INLINE_BYTES_MAX: usize = 16 * 1024;

/// Inputs that are judged inside the handler, a fraction of a microsecond each over given scores.
const INLINE_INPUTS_MAX: usize = 64;

/// Bytes of content after which a chunk of a batch is closed, so that cores share large inputs.
const CHUNK_BYTES: usize = 64 * 1024;

/// What a restart needs; a restart loses nothing.
#[derive(Clone, Debug)]
pub struct GateChain {
    /// What is enforced.
    pub constitution: Arc<Constitution>,
}

impl Actor for GateChain {
    type Msg = GateChainMsg;
    type State = ();
    const STARTS_AT_ONCE: bool = true;

    async fn start(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn handle(&self, message: GateChainMsg, turn: Turn, (): &mut ()) -> Result<(), Failure> {
        match message {
            GateChainMsg::Constitution { reply } => reply.send(self.constitution.clone()),
            GateChainMsg::Check { profile, inputs, reply } => {
                self.check(profile, inputs, turn, reply);
            }
        }
        Ok(())
    }
}

impl GateChain {
    fn check(
        &self,
        profile: Profile,
        inputs: Vec<GateInput>,
        turn: Turn,
        reply: Reply<Vec<Receipt>>,
    ) {
        let bench = Bench { constitution: self.constitution.clone(), profile };
        let deadline = turn.deadline();
        let bytes: usize = inputs.iter().map(|input| input.content.len()).sum();
        if inputs.len() > BATCH_MAX {
            let reason = format!("a batch has at most {BATCH_MAX} inputs");
            let refuse = |input| bench.refuse(input, RejectCode::RejectQuota, &reason);
            reply.send(inputs.into_iter().map(refuse).collect());
        } else if inputs.len() <= INLINE_INPUTS_MAX && bytes <= INLINE_BYTES_MAX {
            reply.send(bench.judge_all(inputs, deadline));
        } else {
            turn.spawn(spread(bench, inputs, deadline, reply));
        }
    }
}

/// Judges a batch on as many cores as there are, and answers in the order of the inputs.
async fn spread(
    bench: Bench,
    inputs: Vec<GateInput>,
    deadline: Deadline,
    reply: Reply<Vec<Receipt>>,
) {
    let mut tasks = JoinSet::new();
    for (index, chunk) in chunks(inputs).into_iter().enumerate() {
        let bench = bench.clone();
        tasks.spawn_blocking(move || (index, bench.judge_all(chunk, deadline)));
    }
    let mut parts = Vec::with_capacity(tasks.len());
    while let Some(part) = tasks.join_next().await {
        // Judging does not panic and is not cancelled while the node runs. Should it be, the
        // reply is dropped and the caller told that the work was lost: never a pass.
        let Ok(part) = part else { return };
        parts.push(part);
    }
    parts.sort_unstable_by_key(|(index, _)| *index);
    reply.send(parts.into_iter().flat_map(|(_, receipts)| receipts).collect());
}

/// Cuts a batch into pieces of bounded work.
fn chunks(inputs: Vec<GateInput>) -> Vec<Vec<GateInput>> {
    let mut chunks = vec![Vec::new()];
    let mut bytes = 0;
    for input in inputs {
        bytes += input.content.len();
        if let Some(last) = chunks.last_mut() {
            last.push(input);
            if last.len() >= INLINE_INPUTS_MAX || bytes >= CHUNK_BYTES {
                chunks.push(Vec::new());
                bytes = 0;
            }
        }
    }
    chunks.retain(|chunk| !chunk.is_empty());
    chunks
}

/// What judging takes.
#[derive(Clone, Debug)]
struct Bench {
    constitution: Arc<Constitution>,
    profile: Profile,
}

impl Bench {
    fn judge_all(&self, inputs: Vec<GateInput>, deadline: Deadline) -> Vec<Receipt> {
        // A single input is what a person looks at, so its gates are timed. In a batch the clock
        // would take longer than the gates.
        let is_timed = inputs.len() == 1;
        let gates = |input: GateInput| {
            if is_timed {
                let began = Instant::now();
                run_timed(&self.constitution, self.profile, input, || began.elapsed())
            } else {
                run(&self.constitution, self.profile, input)
            }
        };
        let mut clock = DeadlineClock::new(deadline);
        inputs
            .into_iter()
            .map(|input| {
                if clock.is_over(input.content.len()) {
                    let reason = "the deadline passed before its turn came";
                    self.refuse(input, RejectCode::RejectTimeout, reason)
                } else {
                    self.guard(input, gates)
                }
            })
            .collect()
    }

    /// Runs `gates`; a panic inside them costs this one verdict.
    fn guard(&self, input: GateInput, gates: impl Fn(GateInput) -> Receipt) -> Receipt {
        let content = input.content.clone();
        catch_unwind(AssertUnwindSafe(|| gates(input))).unwrap_or_else(|_| {
            // The panic hook has logged what it said; a person must look at it.
            error!(actor = NAME, profile = self.profile.as_str(), "a gate panicked");
            let digest = self.constitution.digest();
            let reason = "a gate failed; the node's log says why";
            Receipt::refusal(self.profile, digest, content, RejectCode::RejectInternal, reason)
        })
    }

    fn refuse(&self, input: GateInput, code: RejectCode, reason: &str) -> Receipt {
        Receipt::refusal(self.profile, self.constitution.digest(), input.content, code, reason)
    }
}

/// Looks at the clock only after enough work that looking is cheap beside it.
struct DeadlineClock {
    deadline: Deadline,
    work: usize,
    is_over: bool,
}

impl DeadlineClock {
    /// Work between two looks, in bytes: some ten microseconds of it.
    const STEP: usize = 4096;
    /// What an input costs beside its bytes, in the same unit.
    const INPUT: usize = 256;

    fn new(deadline: Deadline) -> Self {
        Self { deadline, work: Self::STEP, is_over: false }
    }

    fn is_over(&mut self, bytes: usize) -> bool {
        if self.work >= Self::STEP {
            self.work = 0;
            self.is_over = self.is_over || self.deadline.is_over();
        }
        self.work = self.work.saturating_add(bytes).saturating_add(Self::INPUT);
        self.is_over
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::gate::ContentType;
    use crate::domain::score::Score;

    fn bench() -> Bench {
        Bench { constitution: Arc::new(Constitution::default()), profile: Profile::Check }
    }

    fn input(content: Vec<u8>, score: Option<f64>) -> GateInput {
        let score = score.map(|score| Score::try_from(score).unwrap());
        GateInput {
            content: Bytes::from(content),
            content_type: ContentType::Text,
            snr_claim: score,
            ihsan_claim: score,
        }
    }

    fn later() -> Deadline {
        Deadline::after(Duration::from_secs(60))
    }

    #[test]
    fn a_panic_costs_one_verdict() {
        let receipt = bench().guard(input(vec![], None), |_| panic!("a gate"));
        assert!(!receipt.passed());
        assert_eq!(receipt.code(), Some(RejectCode::RejectInternal));
    }

    #[test]
    fn nothing_is_judged_after_the_deadline() {
        let inputs = vec![input(b"text".to_vec(), Some(1.0)); 3];
        let receipts = bench().judge_all(inputs, Deadline::after(Duration::ZERO));
        assert_eq!(receipts.len(), 3);
        for receipt in receipts {
            assert_eq!(receipt.code(), Some(RejectCode::RejectTimeout));
            assert!(!receipt.passed() && receipt.verdicts().is_empty());
        }
    }

    #[test]
    fn a_single_judgement_is_timed_and_a_batch_is_not() {
        let one = bench().judge_all(vec![input(vec![], Some(1.0))], later());
        assert!(one[0].duration(0).is_some());
        let two = bench().judge_all(vec![input(vec![], Some(1.0)); 2], later());
        assert!(two[0].duration(0).is_none());
    }

    #[test]
    fn chunks_keep_every_input_in_order() {
        let inputs: Vec<_> = (0..500usize).map(|n| input(vec![b'x'; n * 100], Some(0.0))).collect();
        let sizes: Vec<_> = inputs.iter().map(|input| input.content.len()).collect();
        let chunks = chunks(inputs);
        assert!(chunks.len() > 100);
        let kept: Vec<_> = chunks.iter().flatten().map(|input| input.content.len()).collect();
        assert_eq!(kept, sizes);
    }

    proptest! {
        #[test]
        fn a_batch_answers_what_single_judgements_would(
            batch in proptest::collection::vec(
                (proptest::collection::vec(any::<u8>(), 0..8), proptest::option::of(0.8..=1.0f64)),
                0..100,
            ),
        ) {
            let inputs: Vec<_> =
                batch.into_iter().map(|(content, score)| input(content, score)).collect();
            let singly: Vec<_> = inputs
                .iter()
                .flat_map(|input| bench().judge_all(vec![input.clone()], later()))
                .collect();
            prop_assert_eq!(bench().judge_all(inputs, later()), singly);
        }
    }
}
