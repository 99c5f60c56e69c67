//! Judges contents one after another, on whatever thread it is asked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tracing::error;

use crate::actors::gate_chain::NAME;
use crate::domain::constitution::Constitution;
use crate::domain::gate::{GateInput, Receipt, Surroundings, run, run_timed};
use crate::domain::profile::{Gate, Profile};
use crate::domain::reject::RejectCode;
use crate::messages::addr::Deadline;
use crate::metrics::GateMeter;

/// What judging takes. The constitution is the one in force when the work began.
#[derive(Clone, Debug)]
pub(super) struct Bench {
    pub(super) constitution: Arc<Constitution>,
    pub(super) profile: Profile,
    pub(super) around: Surroundings,
    pub(super) meter: GateMeter,
}

impl Bench {
    /// Judges `inputs` in order. Those whose turn comes after `deadline` are refused.
    pub(super) fn judge_all(&self, inputs: Vec<GateInput>, deadline: Deadline) -> Vec<Receipt> {
        // A single input is what a person looks at, so its gates are timed. In a batch the clock
        // would take longer than the gates.
        let is_timed = inputs.len() == 1;
        let began = Instant::now();
        let gates = |input: GateInput| {
            let judge = if is_timed { run_timed } else { run };
            judge(&self.constitution, self.profile, input, &self.around, || began.elapsed())
        };
        let mut clock = DeadlineClock::new(deadline);
        let mut passed = [0; Gate::ALL.len()];
        let receipts = inputs
            .into_iter()
            .map(|input| {
                if clock.is_over(input.content.len()) {
                    let reason = "the deadline passed before its turn came";
                    return self.refuse(input, RejectCode::RejectTimeout, reason);
                }
                let receipt = self.guard(input, gates);
                self.count(&receipt, &mut passed);
                receipt
            })
            .collect();
        self.meter.passed(&passed);
        receipts
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

    pub(super) fn refuse(&self, input: GateInput, code: RejectCode, reason: &str) -> Receipt {
        let digest = self.constitution.digest();
        Receipt::refusal(self.profile, digest, input.content, code, reason)
    }

    /// Counts what is found at once, and what passes, which is the rule, in `passed`.
    fn count(&self, receipt: &Receipt, passed: &mut [u64; Gate::ALL.len()]) {
        for verdict in receipt.verdicts() {
            match verdict.code {
                None if verdict.passed => passed[verdict.gate as usize] += 1,
                None => self.meter.found(verdict.gate.as_str(), "unavailable"),
                Some(code) => self.meter.found(verdict.gate.as_str(), code.as_str()),
            }
        }
    }
}

/// Looks at the clock only after enough work that looking is cheap beside it.
struct DeadlineClock {
    deadline: Deadline,
    work: usize,
    is_over: bool,
}

impl DeadlineClock {
    /// Work between two looks, in bytes: some hundred microseconds of it at most.
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

    use proptest::prelude::*;

    use super::*;
    use crate::domain::score::Score;
    use crate::metrics::Metrics;

    fn bench() -> Bench {
        Bench {
            constitution: Arc::new(Constitution::default()),
            profile: Profile::Check,
            around: Surroundings::default(),
            meter: Metrics::new().gates(&Gate::ALL.map(Gate::as_str)),
        }
    }

    fn input(content: Vec<u8>, score: Option<f64>) -> GateInput {
        let score = score.map(|score| Score::try_from(score).unwrap());
        GateInput { snr_claim: score, ihsan_claim: score, ..GateInput::text(content) }
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
    fn every_verdict_is_counted_by_gate_and_outcome() {
        let metrics = Metrics::new();
        let bench = Bench { meter: metrics.gates(&Gate::ALL.map(Gate::as_str)), ..bench() };
        bench.judge_all(vec![input(vec![], Some(1.0)), input(vec![0xff], None)], later());
        let text = metrics.encode().unwrap();
        for line in [
            "gate_verdicts_total{gate=\"schema\",outcome=\"passed\"} 1",
            "gate_verdicts_total{gate=\"schema\",outcome=\"RejectGateSchema\"} 1",
            "gate_verdicts_total{gate=\"snr\",outcome=\"passed\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
    }

    proptest! {
        #[test]
        fn a_batch_answers_what_single_judgements_would(
            batch in proptest::collection::vec(
                (proptest::collection::vec(any::<u8>(), 0..8), proptest::option::of(0.8..=1.0f64)),
                0..100,
            ),
        ) {
            let bench = bench();
            let inputs: Vec<_> =
                batch.into_iter().map(|(content, score)| input(content, score)).collect();
            let singly: Vec<_> = inputs
                .iter()
                .flat_map(|input| bench.judge_all(vec![input.clone()], later()))
                .collect();
            prop_assert_eq!(bench.judge_all(inputs, later()), singly);
        }
    }
}
