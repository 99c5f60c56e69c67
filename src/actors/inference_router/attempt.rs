//! Tries backends in order until one answers.

use std::pin::pin;
use std::time::Instant;

use tokio::sync::mpsc;
use tracing::{Instrument, debug};

use crate::actors::inference_router::{Backend, InferenceRouter, NAME};
use crate::domain::inference::route::Step;
use crate::domain::inference::{
    Attempt, BackendError, Generated, InferenceError, InferenceRequest, Tier,
};
use crate::messages::addr::{CallError, Deadline};
use crate::messages::backend::BackendMsg;
use crate::metrics::{InferenceMeter, Work};
use crate::trace;

/// Pieces of text between a backend and a slow caller. Then the backend waits.
const PIECES_MAX: usize = 32;

/// Attempts at one request.
#[derive(Debug)]
pub(super) struct Attempts<'r> {
    backends: &'r [Backend],
    meter: Option<&'r InferenceMeter>,
    request: &'r InferenceRequest,
    tokens: Option<mpsc::Sender<String>>,
    deadline: Deadline,
    done: Vec<Attempt>,
    /// What each failed attempt said, for the one who has to mend it.
    said: Vec<String>,
    /// Whether the caller has seen text. Then no other backend may begin anew.
    has_shown: bool,
    /// The prompt was too long for a model; another may have room for it.
    too_long: Option<InferenceError>,
}

impl<'r> Attempts<'r> {
    pub(super) fn new(
        router: &'r InferenceRouter,
        request: &'r InferenceRequest,
        tokens: Option<mpsc::Sender<String>>,
        deadline: Deadline,
    ) -> Self {
        let (done, said) = (Vec::new(), Vec::new());
        let (has_shown, too_long) = (false, None);
        let (backends, meter) = (&*router.backends, router.meter.as_ref());
        Self { backends, meter, request, tokens, deadline, done, said, has_shown, too_long }
    }

    /// Who was tried last.
    pub(super) fn last_backend(&self) -> Option<&str> {
        self.done.last().map(|attempt| attempt.backend.as_str())
    }

    /// Every attempt made.
    pub(super) fn into_done(self) -> Vec<Attempt> {
        self.done
    }

    /// Goes through `steps` until a backend answers or a failure is one that others would share.
    pub(super) async fn run(
        &mut self,
        steps: &[Step],
    ) -> Result<(Tier, Generated), InferenceError> {
        for step in steps {
            let backend = match step {
                Step::Absent(tier) => {
                    self.absent(*tier);
                    continue;
                }
                Step::Try(index) => &self.backends[*index],
            };
            let began = Instant::now();
            let span = trace::attempt(backend.addr.name().as_str(), self.request);
            let outcome = self.ask(backend).instrument(span.clone()).await;
            let (word, elapsed) = (word(&outcome), began.elapsed());
            let name = backend.addr.name().to_string();
            let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
            debug!(actor = NAME, backend = name, outcome = word, elapsed_ms, "backend tried");
            trace::attempted(&span, word, outcome.as_ref().ok());
            self.count(&name, word, &outcome);
            let attempt = Attempt { tier: backend.tier, backend: name, outcome: word, elapsed };
            self.done.push(attempt);
            match outcome {
                Ok(generated) => return Ok((backend.tier, generated)),
                Err(error) => self.failed(error)?,
            }
        }
        Err(self.exhausted())
    }

    fn count(&self, name: &str, word: &'static str, outcome: &Result<Generated, BackendError>) {
        let Some(meter) = self.meter else { return };
        meter.tried(name, word);
        if let Ok(generated) = outcome {
            let count = |tokens| u64::try_from(tokens).unwrap_or(u64::MAX);
            meter.generated(
                name,
                &Work {
                    input_tokens: count(generated.prompt_tokens),
                    output_tokens: count(generated.completion_tokens),
                    time_to_first_token: generated.time_to_first_token,
                    duration: generated.duration,
                },
            );
        }
    }

    /// A tier that was asked for and that nobody serves.
    fn absent(&mut self, tier: Tier) {
        self.said.push(format!("{tier}: no backend of this node serves this tier"));
        self.done.push(Attempt {
            tier,
            backend: "none".into(),
            outcome: "unavailable",
            elapsed: std::time::Duration::ZERO,
        });
    }

    /// Notes a failure; returns it when the next backend must not be tried.
    fn failed(&mut self, error: BackendError) -> Result<(), InferenceError> {
        let backend = self.done.last().map_or("", |attempt| attempt.backend.as_str());
        self.said.push(format!("{backend}: {error}"));
        if self.has_shown && error != BackendError::Cancelled {
            return Err(InferenceError::Failed(format!("the answer broke off: {error}")));
        }
        match error {
            BackendError::Unavailable(_)
            | BackendError::Busy { .. }
            | BackendError::Timeout { .. } => Ok(()),
            BackendError::TooLong { tokens, max_tokens, context } => {
                let error = InferenceError::TooLong { tokens, max_tokens, context };
                self.too_long.get_or_insert(error);
                Ok(())
            }
            BackendError::UnknownModel { model, available } => {
                // It was listed and is gone, or its backend would not have been tried.
                Err(InferenceError::UnknownModel { model, tier: self.request.tier, available })
            }
            BackendError::Cancelled => Err(InferenceError::Cancelled),
            BackendError::Failed { .. } => Err(InferenceError::Failed(error.to_string())),
        }
    }

    /// No backend is left.
    fn exhausted(&self) -> InferenceError {
        if let Some(error) = &self.too_long {
            return error.clone();
        }
        let outcomes = || self.done.iter().map(|attempt| attempt.outcome);
        if self.deadline.is_over() || outcomes().next_back() == Some("timeout") {
            return InferenceError::Timeout;
        }
        if !self.done.is_empty() && outcomes().all(|outcome| outcome == "busy") {
            return InferenceError::Busy;
        }
        if self.said.is_empty() {
            return InferenceError::Unavailable("this node has no backend".into());
        }
        InferenceError::Unavailable(self.said.join("; "))
    }

    /// Asks one backend and shows its text to the caller as it comes.
    async fn ask(&mut self, backend: &Backend) -> Result<Generated, BackendError> {
        let (pieces, mut shown) = mpsc::channel::<String>(PIECES_MAX);
        let pieces = self.tokens.is_some().then_some(pieces);
        let ask = |reply| BackendMsg::Generate {
            request: self.request.clone(),
            tokens: pieces.clone(),
            deadline: self.deadline,
            reply,
        };
        let answer = backend.addr.call(self.deadline, ask);
        let Some(tokens) = &self.tokens else { return flatten(answer.await) };
        let mut answer = pin!(answer);
        let outcome = loop {
            tokio::select! {
                biased;
                () = tokens.closed() => return Err(BackendError::Cancelled),
                Some(piece) = shown.recv() => {
                    self.has_shown = true;
                    if tokens.send(piece).await.is_err() {
                        return Err(BackendError::Cancelled);
                    }
                }
                outcome = &mut answer => break outcome,
            }
        };
        // What came before the answer and was not taken yet.
        while let Ok(piece) = shown.try_recv() {
            self.has_shown = true;
            if tokens.send(piece).await.is_err() {
                return Err(BackendError::Cancelled);
            }
        }
        flatten(outcome)
    }
}

/// Whether the actor gave no answer or the backend did is one for the next attempt.
fn flatten(
    outcome: Result<Result<Generated, BackendError>, CallError>,
) -> Result<Generated, BackendError> {
    outcome.unwrap_or_else(|error| {
        Err(match error {
            CallError::Busy { actor, .. } => BackendError::Busy { backend: actor.to_string() },
            CallError::Late { actor } => BackendError::Timeout { backend: actor.to_string() },
            CallError::Down { .. } => BackendError::Unavailable(error.to_string()),
        })
    })
}

/// An attempt's outcome in one word.
fn word(outcome: &Result<Generated, BackendError>) -> &'static str {
    match outcome {
        Ok(_) => "ok",
        Err(BackendError::Unavailable(_)) => "unavailable",
        Err(BackendError::Busy { .. }) => "busy",
        Err(BackendError::Timeout { .. }) => "timeout",
        Err(
            BackendError::UnknownModel { .. }
            | BackendError::TooLong { .. }
            | BackendError::Cancelled
            | BackendError::Failed { .. },
        ) => "failed",
    }
}
