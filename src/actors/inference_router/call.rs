//! One call of one backend.

use std::pin::Pin;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{Instrument, Span};

use crate::actors::inference_router::Backend;
use crate::actors::inference_router::board::Slot;
use crate::domain::inference::{BackendError, Generated, InferenceRequest, Stage};
use crate::messages::addr::{CallError, Deadline};
use crate::messages::backend::BackendMsg;
use crate::trace;

/// Pieces of text between a backend and a slow caller. Then the backend waits.
const PIECES_MAX: usize = 32;

/// What a backend came to.
pub(super) type Outcome = Result<Generated, BackendError>;

/// A call on its way. Dropping it cancels the work.
pub(super) struct Call<'r> {
    slot: Slot,
    began: Instant,
    span: Span,
    shown: mpsc::Receiver<String>,
    answer: Option<Pin<Box<dyn Future<Output = Outcome> + Send + 'r>>>,
    outcome: Outcome,
}

/// What comes next of a call.
#[derive(Debug)]
pub(super) enum Next {
    /// A piece of the answer.
    Piece(String),
    /// Its end; nothing follows.
    End(Outcome),
}

impl<'r> Call<'r> {
    /// Asks `backend`, for which `slot` is; piece by piece if `is_streamed`. A whole answer is asked
    /// for again when its actor dies over it.
    pub(super) fn begin(
        backend: &'r Backend,
        slot: Slot,
        request: &'r InferenceRequest,
        deadline: Deadline,
        is_streamed: bool,
    ) -> Self {
        let (sender, shown) = mpsc::channel(PIECES_MAX);
        let pieces = is_streamed.then_some(sender);
        let answer = async move {
            let ask = |reply| BackendMsg::Generate {
                request: request.clone(),
                tokens: pieces.clone(),
                deadline,
                reply,
            };
            flatten(backend.addr.call(deadline, ask).await)
        };
        let span = trace::attempt(backend.addr.name().as_str(), request);
        let answer: Pin<Box<dyn Future<Output = Outcome> + Send + 'r>> =
            Box::pin(answer.instrument(span.clone()));
        let (answer, outcome) = (Some(answer), Err(BackendError::Cancelled));
        Self { slot, began: Instant::now(), span, shown, answer, outcome }
    }

    /// Whom it asks.
    pub(super) fn index(&self) -> usize {
        self.slot.index()
    }

    /// When it was asked.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// Waits for what comes next. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Next {
        if let Some(answer) = &mut self.answer {
            let outcome = tokio::select! {
                biased;
                Some(piece) = self.shown.recv() => return Next::Piece(piece),
                outcome = answer.as_mut() => outcome,
            };
            (self.outcome, self.answer) = (outcome, None);
        }
        match self.shown.try_recv() {
            // What came before the answer and was not taken yet.
            Ok(piece) => Next::Piece(piece),
            Err(_) => Next::End(std::mem::replace(&mut self.outcome, Err(BackendError::Cancelled))),
        }
    }

    /// Takes note of how it ended.
    pub(super) fn end(self, outcome: &Outcome) {
        let word = outcome.as_ref().map_or_else(BackendError::word, |_| "ok");
        trace::attempted(&self.span, word, outcome.as_ref().ok());
        self.slot.end(outcome.as_ref());
    }
}

/// Whether the actor gave no answer or the backend did is one for the next attempt.
fn flatten(outcome: Result<Outcome, CallError>) -> Outcome {
    outcome.unwrap_or_else(|error| {
        Err(match error {
            CallError::Busy { actor, .. } => BackendError::Busy { backend: actor.to_string() },
            CallError::Late { actor } => {
                BackendError::Timeout { backend: actor.to_string(), stage: Stage::Total }
            }
            CallError::Down { .. } => BackendError::Unreachable(error.to_string()),
        })
    })
}
