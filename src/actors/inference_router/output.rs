//! What the gates are told of an answer beside its text.

use std::time::Duration;

use crate::actors::inference_router::proof::asked;
use crate::domain::digest::{Digest, domain_separated_digest};
use crate::domain::fate::{Autonomy, Cost};
use crate::domain::gate::{Action, Facts, GateInput};
use crate::domain::ihsan::contract::Clause;
use crate::domain::ihsan::{Budget, Resource};
use crate::domain::inference::{Generated, InferenceRequest};
use crate::domain::json::canonical;
use crate::messages::envelope::Issuer;

/// An answer and how it came about.
#[derive(Debug)]
pub(super) struct Output<'a> {
    pub(super) request: &'a InferenceRequest,
    pub(super) generated: &'a Generated,
    /// The time that it was allowed to take, and took.
    pub(super) allowed: Duration,
    pub(super) elapsed: Duration,
    /// Recent answers of each backend.
    pub(super) work: Vec<u64>,
    /// Who will seal it, if that is known.
    pub(super) issuer: Option<Issuer>,
}

impl Output<'_> {
    /// The answer as the gates judge it.
    pub(super) fn input(&self) -> GateInput {
        let Self { request, generated, .. } = self;
        let (used, max) = (count(generated.completion_tokens), count(request.max_tokens));
        let excludes = request.stop.iter().cloned().map(Clause::Excludes);
        let facts = Facts {
            contract: [Clause::TokensMax(max)].into_iter().chain(excludes).collect(),
            tokens: Some(used),
            budgets: vec![
                Budget { resource: Resource::Tokens, used, allowed: max },
                Budget {
                    resource: Resource::LatencyMs,
                    used: millis(self.elapsed),
                    allowed: millis(self.allowed),
                },
            ],
            work: self.work.clone(),
            action: Some(self.action(used, max)),
            ..Facts::default()
        };
        let facts = Some(Box::new(facts));
        GateInput { facts, ..GateInput::text(generated.text.clone()) }
    }

    /// A text is shown to whoever asked, who decides what to do with it: autonomy 0. What was read
    /// cannot be unread, so it is not reversible.
    fn action(&self, used: u64, max: u64) -> Action {
        let intent = intent(self.request);
        let issuer = self.issuer.as_ref();
        Action {
            intent_declared: intent,
            // The proof records the request that was answered.
            intent_of_output: intent,
            signer: issuer.map(|issuer| issuer.active),
            known_keys: issuer.map(|issuer| issuer.known.clone()),
            receipt_ready: issuer.map(|issuer| issuer.is_ready),
            inputs: intent,
            model: Some(self.generated.model.clone()),
            cost: Cost::try_from(used).ok(),
            cost_max: Cost::try_from(max).ok(),
            autonomy: Autonomy::try_from(0).ok(),
            risk: None,
            is_reversible: Some(false),
            approval: None,
        }
    }
}

/// The digest of what was asked for.
fn intent(request: &InferenceRequest) -> Option<Digest> {
    canonical(&asked(request).ok()?).ok().map(|asked| domain_separated_digest(&asked))
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
