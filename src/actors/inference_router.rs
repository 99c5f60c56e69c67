//! Turns a prompt into a proven answer: gates, backends in order, gates again, envelope.
//!
//! Which tier and in which order is decided in `domain::inference::route`.

mod attempt;
mod board;
mod call;
mod listing;
mod output;
mod proof;
mod tell;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::actor::{Actor, Failure, Turn};
use crate::actors::inference_router::attempt::Attempts;
use crate::actors::inference_router::board::Board;
use crate::actors::inference_router::listing::Listing;
use crate::actors::inference_router::output::Output;
use crate::actors::inference_router::proof::Proof;
use crate::actors::inference_router::tell::Teller;
use crate::config;
use crate::domain::envelope::SealError;
use crate::domain::gate::{GateInput, Receipt};
use crate::domain::inference::route::{self, Complexity, Offer, Step};
use crate::domain::inference::{InferenceError, InferenceRequest, ModelInfo, Tier};
use crate::domain::inference::{breaker, retry};
use crate::domain::profile::Profile;
use crate::domain::rate::Client;
use crate::domain::reject::RejectCode;
use crate::messages::addr::{Addr, CallError, Deadline, unless_abandoned};
use crate::messages::backend::BackendMsg;
use crate::messages::envelope::EnvelopeMsg;
use crate::messages::event::Events;
use crate::messages::gate_chain::GateChainMsg;
use crate::messages::inference_router::{Answer, InferenceMsg, Recommendation};
use crate::metrics::{InferenceMeter, Metrics};

/// Its name in the tree.
pub const NAME: &str = "inference-router";

/// A backend that prompts may be sent to; its name is that of its address. Several may serve one
/// tier.
#[derive(Clone, Debug)]
pub struct Backend {
    /// What it is: `edge`, `ollama` and the like.
    pub kind: &'static str,
    /// Where its models run.
    pub tier: Tier,
    /// Requests that it works on at once; further ones wait in the router.
    pub parallel: usize,
    /// How to ask it.
    pub addr: Addr<BackendMsg>,
}

/// How prompts are shared out between backends.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Requests that wait for one backend.
    pub waiting_max: usize,
    /// When a backend is left alone.
    pub breaker: breaker::Rules,
    /// When a backend is asked again.
    pub retry: retry::Rules,
    /// Of a hundred requests so many may be asked again.
    pub retry_percent: u32,
    /// So many repeats are saved up for when they are needed.
    pub retry_reserve: u32,
    /// Of a hundred requests so many may be asked of two backends at once; 0 is never.
    pub hedge_percent: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Self::from_config(&config::Inference::default())
    }
}

impl Rules {
    /// What the configuration asks for.
    pub fn from_config(config: &config::Inference) -> Self {
        let (breaker, retry) = (&config.breaker, &config.retry);
        Self {
            waiting_max: config.queue.waiting_max,
            breaker: breaker::Rules {
                failed_percent: breaker.failed_percent,
                calls_min: breaker.calls_min,
                window: Duration::from_secs(breaker.window_seconds),
                in_a_row: breaker.in_a_row,
                open: Duration::from_secs(breaker.open_seconds),
                open_max: Duration::from_secs(breaker.open_seconds_max),
            },
            retry: retry::Rules {
                repeats_max: retry.repeats_max,
                pause: Duration::from_millis(retry.pause_ms),
                pause_max: Duration::from_millis(retry.pause_ms_max),
            },
            retry_percent: retry.budget_percent,
            retry_reserve: retry.budget_reserve,
            hedge_percent: config.hedge.percent,
        }
    }
}

/// What a restart needs; a restart loses nothing.
#[derive(Clone, Debug)]
pub struct InferenceRouter {
    gate_chain: Addr<GateChainMsg>,
    envelope: Addr<EnvelopeMsg>,
    /// Shared by all incarnations.
    board: Board,
    listing: Listing,
    events: Option<Events>,
    meter: InferenceMeter,
}

impl InferenceRouter {
    /// A router that has prompts and answers judged by `gate_chain` and answers sealed by
    /// `envelope`, and tells by `events` what becomes of them. `backends` are listed in the order
    /// given, lowest tier first. Clones share what is known of them.
    pub fn new(
        gate_chain: Addr<GateChainMsg>,
        envelope: Addr<EnvelopeMsg>,
        backends: impl IntoIterator<Item = Backend>,
        rules: Rules,
        metrics: &Metrics,
        events: Option<Events>,
    ) -> Self {
        let backends: Arc<[Backend]> = backends.into_iter().collect();
        let listing = Listing::new(Arc::clone(&backends));
        let board = Board::new(backends, rules, metrics, events.clone());
        Self { gate_chain, envelope, board, listing, events, meter: metrics.inference() }
    }
}

impl Actor for InferenceRouter {
    type Msg = InferenceMsg;
    type State = ();
    const STARTS_AT_ONCE: bool = true;

    async fn start(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn handle(&self, message: InferenceMsg, turn: Turn, (): &mut ()) -> Result<(), Failure> {
        let router = self.clone();
        match message {
            InferenceMsg::Generate { request_id, client, request, tokens, deadline, mut reply } => {
                let deadline = deadline.min(turn.deadline());
                turn.spawn(async move {
                    let teller = router.teller(&request_id);
                    let work = router.generate(request_id, client, *request, tokens, deadline);
                    let work = tokio::time::timeout_at(deadline.instant(), work);
                    if let Some(outcome) = unless_abandoned(&mut reply, work).await {
                        let outcome = outcome.unwrap_or(Err(InferenceError::Timeout));
                        teller.end(&outcome);
                        reply.send(outcome.map(Box::new));
                    }
                });
            }
            InferenceMsg::Models { reply } => {
                let deadline = turn.deadline();
                turn.spawn(async move {
                    let models = router.listing.ask(deadline).await;
                    reply.send(models.into_iter().flatten().collect());
                });
            }
            InferenceMsg::Backends { reply } => reply.send(self.board.infos()),
            InferenceMsg::Recommend { prompt, max_tokens, is_latency_sensitive, reply } => {
                let deadline = turn.deadline();
                turn.spawn(async move {
                    let available = router.available(deadline).await;
                    let choice =
                        route::choose(&prompt, max_tokens, is_latency_sensitive, &available);
                    reply.send(Recommendation {
                        tier: choice.tier,
                        complexity: choice.complexity.as_str(),
                        reasoning: choice.reasoning,
                        available,
                    });
                });
            }
        }
        Ok(())
    }
}

impl InferenceRouter {
    async fn generate(
        self,
        request_id: String,
        client: Client,
        request: InferenceRequest,
        tokens: Option<mpsc::Sender<String>>,
        deadline: Deadline,
    ) -> Result<Answer, InferenceError> {
        let (began, allowed) = (Instant::now(), deadline.remaining());
        let asked = [Some(request.prompt.clone()), request.system.clone(), request.history_text()];
        let input = asked.into_iter().flatten().map(GateInput::text).collect();
        let input = self.judge(Profile::InferenceInput, input, deadline).await?;

        let steps = self.plan(&request, deadline).await?;
        let mut attempts = Attempts::new(&self.board, &request, client, tokens, deadline);
        let (tier, generated) = attempts.run(&steps).await?;

        let issuer = self.envelope.call(deadline, |reply| EnvelopeMsg::Issuer { reply }).await;
        let output = Output {
            request: &request,
            generated: &generated,
            allowed,
            elapsed: began.elapsed(),
            work: self.board.note(attempts.answered()),
            // Without it the gates say what is missing.
            issuer: issuer.ok().and_then(Result::ok),
        };
        let output = self.judge(Profile::InferenceOutput, vec![output.input()], deadline).await?;
        let is_degraded = route::is_degraded(request.tier, tier);
        let (attempts, queued) = attempts.into_done();
        let proof = Proof {
            request_id: &request_id,
            request: &request,
            tier,
            is_degraded,
            attempts: &attempts,
            generated: &generated,
            input: &input,
            output: &output,
        };
        let draft = proof.draft()?;
        let create = |reply| EnvelopeMsg::Create { draft: Box::new(draft.clone()), reply };
        let sealed = self.envelope.call(deadline, create).await.map_err(unanswered)?;
        let envelope = sealed.map_err(|error| match error {
            SealError::Invalid(reason) => InferenceError::Failed(reason),
            SealError::Unavailable(reason) | SealError::Full(reason) => {
                InferenceError::Unavailable(reason)
            }
        })?;
        Ok(Answer {
            requested_tier: request.tier,
            tier,
            is_degraded,
            attempts,
            queued,
            generated,
            elapsed: began.elapsed(),
            envelope,
            request_id,
        })
    }

    fn teller(&self, request_id: &str) -> Teller {
        Teller::begin(self.events.clone(), Some(self.meter.clone()), request_id)
    }

    /// The receipts of `profile` over `inputs`, if all passed.
    async fn judge(
        &self,
        profile: Profile,
        inputs: Vec<GateInput>,
        deadline: Deadline,
    ) -> Result<Vec<Receipt>, InferenceError> {
        let check = |reply| GateChainMsg::Check { profile, inputs: inputs.clone(), reply };
        let receipts = self.gate_chain.call(deadline, check).await.map_err(unanswered)?;
        if receipts.len() != inputs.len() {
            return Err(InferenceError::Failed("the gates gave no verdict".into()));
        }
        match receipts.iter().find(|receipt| !receipt.passed()) {
            None => Ok(receipts),
            Some(refusal) => Err(InferenceError::Refused {
                code: refusal.code().unwrap_or(RejectCode::RejectInternal),
                reason: refusal.reason().unwrap_or_else(|| "no gate gave a verdict".into()),
                receipt: Box::new(refusal.to_json()),
            }),
        }
    }

    /// What to try. Backends are only asked for their models when the request names one: one that
    /// is away says so by itself when it is tried.
    async fn plan(
        &self,
        request: &InferenceRequest,
        deadline: Deadline,
    ) -> Result<Vec<Step>, InferenceError> {
        let model = request.model.as_deref();
        let models = match model {
            Some(model) => match self.listing.known(model) {
                Some(names) => names,
                None => names(self.listing.ask(deadline).await),
            },
            None => vec![Vec::new(); self.board.backends().len()],
        };
        let (standings, turn) = self.board.begin(model);
        let backends = self.board.backends().iter().zip(standings);
        let offer = |((backend, standing), models): ((&Backend, _), _)| Offer {
            tier: backend.tier,
            models,
            standing,
        };
        let offers: Vec<_> = backends.zip(models).map(offer).collect();
        let complexity = Complexity::estimate(&request.prompt, request.max_tokens);
        route::plan(request.tier, model, complexity, &offers, turn).map_err(|missing| {
            InferenceError::UnknownModel {
                model: model.unwrap_or_default().to_owned(),
                tier: request.tier,
                available: missing.available,
            }
        })
    }

    /// Tiers that would serve a request now, lowest first.
    async fn available(&self, deadline: Deadline) -> Vec<Tier> {
        let models = self.listing.ask(deadline).await;
        let works = models.iter().enumerate().filter(|(index, _)| self.board.would_pass(*index));
        let models = works.flat_map(|(_, models)| models);
        let mut tiers: Vec<_> =
            models.filter(|model| model.is_available).map(|model| model.tier).collect();
        tiers.sort_unstable();
        tiers.dedup();
        tiers
    }
}

fn names(lists: Vec<Vec<ModelInfo>>) -> Vec<Vec<String>> {
    let names = |list: Vec<ModelInfo>| list.into_iter().map(|model| model.name).collect();
    lists.into_iter().map(names).collect()
}

/// What the caller is told when an actor of this node gave no answer.
fn unanswered(error: CallError) -> InferenceError {
    match error {
        CallError::Busy { .. } => InferenceError::Busy { wait: attempt::BUSY_WAIT },
        CallError::Late { .. } => InferenceError::Timeout,
        CallError::Down { .. } => InferenceError::Unavailable(error.to_string()),
    }
}
