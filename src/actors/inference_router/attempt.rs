//! Tries backends in order until one answers: each of a tier once, then some again, then the next
//! tier. Whether and when is decided in `domain::inference`.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::debug;

use crate::actors::inference_router::NAME;
use crate::actors::inference_router::board::{Board, Refusal};
use crate::actors::inference_router::call::{Call, Next, Outcome};
use crate::domain::inference::route::Step;
use crate::domain::inference::{
    Attempt, BackendError, Generated, InferenceError, InferenceRequest, Tier,
};
use crate::domain::rate::Client;
use crate::messages::addr::Deadline;

/// What a caller is told to wait when nobody has room and nobody knows for how long.
pub(super) const BUSY_WAIT: Duration = Duration::from_secs(1);

/// Attempts at one request.
#[derive(Debug)]
pub(super) struct Attempts<'r> {
    board: &'r Board,
    request: &'r InferenceRequest,
    client: Client,
    tokens: Option<mpsc::Sender<String>>,
    deadline: Deadline,
    done: Vec<Attempt>,
    /// What each failed attempt said, for the one who has to mend it.
    said: Vec<String>,
    /// Backends that were asked and may be asked again, with what they said.
    passing: Vec<(usize, BackendError)>,
    /// Time spent in queues.
    queued: Duration,
    /// The shortest time that anybody who is busy asks to wait.
    wait: Option<Duration>,
    /// Who answered.
    answered: Option<usize>,
    /// Whether the caller has seen text. Then no other backend may begin anew.
    has_shown: bool,
    /// The pool was asked for and nobody serves it.
    has_missed_pool: bool,
    /// The prompt was too long for a model; another may have room for it.
    too_long: Option<InferenceError>,
    /// An answer broke off before anything of it was shown; another may become whole.
    broken_off: Option<InferenceError>,
}

impl<'r> Attempts<'r> {
    pub(super) fn new(
        board: &'r Board,
        request: &'r InferenceRequest,
        client: Client,
        tokens: Option<mpsc::Sender<String>>,
        deadline: Deadline,
    ) -> Self {
        Self {
            board,
            request,
            client,
            tokens,
            deadline,
            done: Vec::new(),
            said: Vec::new(),
            passing: Vec::new(),
            queued: Duration::ZERO,
            wait: None,
            answered: None,
            has_shown: false,
            has_missed_pool: false,
            too_long: None,
            broken_off: None,
        }
    }

    /// Who answered.
    pub(super) fn answered(&self) -> Option<usize> {
        self.answered
    }

    /// Every attempt made, and the time spent in queues.
    pub(super) fn into_done(self) -> (Vec<Attempt>, Duration) {
        (self.done, self.queued)
    }

    /// Goes through `steps` until a backend answers or a failure is one that others would share.
    pub(super) async fn run(
        &mut self,
        steps: &[Step],
    ) -> Result<(Tier, Generated), InferenceError> {
        let board = self.board;
        let tier = |step: &Step| match step {
            Step::Try(index) => board.backends()[*index].tier,
            Step::Absent(tier) => *tier,
        };
        let mut left = steps.len();
        for group in steps.chunk_by(|a, b| tier(a) == tier(b)) {
            left -= group.len();
            if let Some(answer) = self.run_tier(group, left > 0).await? {
                return Ok(answer);
            }
        }
        Err(self.exhausted())
    }

    /// The backends of one tier: each once, then again those whose failure may have passed.
    async fn run_tier(
        &mut self,
        group: &[Step],
        has_others: bool,
    ) -> Result<Option<(Tier, Generated)>, InferenceError> {
        self.passing.clear();
        let begun = self.done.len();
        for (at, step) in group.iter().enumerate() {
            let index = match step {
                Step::Absent(tier) => {
                    self.absent(*tier);
                    continue;
                }
                Step::Try(index) => *index,
            };
            let name = self.board.name(index);
            if self.done[begun..].iter().any(|attempt| attempt.backend == name) {
                // It was asked as the second one for an answer that another should have given.
                continue;
            }
            let standby = group[at + 1..].iter().find_map(|step| match step {
                Step::Try(index) => Some(*index),
                Step::Absent(_) => None,
            });
            let answer = self.attempt(index, standby).await?;
            if answer.is_some() {
                return Ok(answer);
            }
        }
        for repeats in 0.. {
            let Some((index, pause)) = self.repeat(repeats, has_others) else { break };
            if !self.board.may_repeat(index) {
                break;
            }
            self.pause(pause).await?;
            self.passing.retain(|(known, _)| *known != index);
            let answer = self.attempt(index, None).await?;
            if answer.is_some() {
                return Ok(answer);
            }
        }
        Ok(None)
    }

    /// Whom to ask again, and after which pause. Who was waited for in vain is not while there are
    /// others to ask: that has taken long enough.
    fn repeat(&self, repeats: u32, has_others: bool) -> Option<(usize, Duration)> {
        let (rules, remaining) = (self.board.rules().retry, self.deadline.remaining());
        let is_slow = |error: &BackendError| matches!(error, BackendError::Timeout { .. });
        let passing = self.passing.iter().filter(|(_, error)| !(has_others && is_slow(error)));
        let pauses = passing.filter_map(|(index, error)| {
            Some((*index, rules.pause(error, repeats, chance(), remaining)?))
        });
        pauses.min_by_key(|(_, pause)| *pause)
    }

    async fn pause(&self, pause: Duration) -> Result<(), InferenceError> {
        tokio::select! {
            () = gone(self.tokens.clone()) => Err(InferenceError::Cancelled),
            () = tokio::time::sleep(pause) => Ok(()),
        }
    }

    /// Asks the backend at `index`; if it is slow to begin, perhaps also the one that stands by.
    async fn attempt(
        &mut self,
        index: usize,
        standby: Option<usize>,
    ) -> Result<Option<(Tier, Generated)>, InferenceError> {
        let began = Instant::now();
        let model = self.request.model.as_deref();
        let (board, tokens) = (self.board, self.tokens.clone());
        let admitted = tokio::select! {
            biased;
            () = gone(tokens.clone()) => return Err(InferenceError::Cancelled),
            admitted = board.admit(index, self.client, model, self.deadline) => admitted,
        };
        let slot = match admitted {
            Ok(slot) => slot,
            Err(refusal) => {
                self.refused(index, refusal, began.elapsed());
                return Ok(None);
            }
        };
        self.queued += slot.waited();
        let hedge = standby.and_then(|peer| Some((board.hedge_after(index)?, peer)));
        let is_streamed = tokens.is_some() || hedge.is_some();
        let call =
            Call::begin(&board.backends()[index], slot, self.request, self.deadline, is_streamed);
        let (index, outcome) = tokio::select! {
            biased;
            () = gone(tokens) => return Err(InferenceError::Cancelled),
            ended = self.follow(call, hedge) => ended,
        };
        match outcome {
            Ok(generated) => {
                self.answered = Some(index);
                Ok(Some((board.backends()[index].tier, generated)))
            }
            Err(error) => self.failed(index, error).map(|()| None),
        }
    }

    /// Shows the text of a call to the caller as it comes. Tells whose it was in the end.
    async fn follow(
        &mut self,
        mut call: Call<'r>,
        hedge: Option<(Duration, usize)>,
    ) -> (usize, Outcome) {
        let mut next;
        (call, next) = match hedge {
            None => {
                next = call.next().await;
                (call, next)
            }
            Some((after, peer)) => self.hedged(call, after, peer).await,
        };
        loop {
            let piece = match next {
                Next::Piece(piece) => piece,
                Next::End(outcome) => return (call.index(), self.end(call, outcome)),
            };
            if let Some(tokens) = &self.tokens {
                self.has_shown = true;
                if tokens.send(piece).await.is_err() {
                    return (call.index(), Err(BackendError::Cancelled));
                }
            }
            next = call.next().await;
        }
    }

    /// Waits for the beginning of an answer; after a while from either of two backends. The slower
    /// one is cancelled.
    async fn hedged(
        &mut self,
        mut first: Call<'r>,
        after: Duration,
        peer: usize,
    ) -> (Call<'r>, Next) {
        tokio::select! {
            biased;
            next = first.next() => return (first, next),
            () = tokio::time::sleep(after) => {}
        }
        let (board, model) = (self.board, self.request.model.as_deref());
        let slot = match board.has_room(peer, model) && board.may_hedge(peer) {
            true => board.admit_at_once(peer, self.client, model, self.deadline),
            false => None,
        };
        let Some(slot) = slot else {
            let next = first.next().await;
            return (first, next);
        };
        let second = &board.backends()[peer];
        let mut second = Call::begin(second, slot, self.request, self.deadline, true);
        let (next, is_second) = tokio::select! {
            next = first.next() => (next, false),
            next = second.next() => (next, true),
        };
        let (mut other, winner) = if is_second { (first, second) } else { (second, first) };
        match next {
            Next::End(Err(error)) => {
                // It is out of the race, and the other goes on alone.
                self.said.push(format!("{}: {error}", board.name(winner.index())));
                let _ = self.end(winner, Err(error));
                let next = other.next().await;
                (other, next)
            }
            next => {
                if is_second {
                    board.meter().hedge_won(board.name(peer));
                }
                self.record(other.index(), "cancelled", other.began().elapsed());
                (winner, next)
            }
        }
    }

    /// Takes note of a call that ended.
    fn end(&mut self, call: Call<'_>, outcome: Outcome) -> Outcome {
        let word = outcome.as_ref().map_or_else(BackendError::word, |_| "ok");
        self.record(call.index(), word, call.began().elapsed());
        call.end(&outcome);
        outcome
    }

    /// A tier that was asked for and that nobody serves.
    fn absent(&mut self, tier: Tier) {
        self.has_missed_pool |= tier == Tier::Pool;
        self.said.push(format!("{tier}: no backend of this node serves this tier"));
        let (backend, elapsed) = ("none".to_owned(), Duration::ZERO);
        self.done.push(Attempt { tier, backend, outcome: "unavailable", elapsed });
    }

    /// A backend that was not asked.
    fn refused(&mut self, index: usize, refusal: Refusal, elapsed: Duration) {
        let name = self.board.name(index);
        let (word, reason) = match refusal {
            Refusal::Open => ("open", "it failed too often and is left alone for now"),
            Refusal::Shed(_) => ("busy", "it has too much to do to answer in time"),
            Refusal::Late => ("timeout", "its turn did not come in time"),
        };
        self.said.push(format!("{name}: {reason}"));
        if let Refusal::Shed(wait) = refusal {
            self.is_busy_for(wait.unwrap_or(BUSY_WAIT));
        }
        if refusal == Refusal::Late {
            self.queued += elapsed;
        }
        self.board.tried(index, word);
        self.record(index, word, elapsed);
    }

    fn record(&mut self, index: usize, outcome: &'static str, elapsed: Duration) {
        let backend = self.board.name(index).to_owned();
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        debug!(actor = NAME, backend, outcome, elapsed_ms, "backend tried");
        let tier = self.board.backends()[index].tier;
        self.done.push(Attempt { tier, backend, outcome, elapsed });
    }

    fn is_busy_for(&mut self, wait: Duration) {
        self.wait = Some(self.wait.map_or(wait, |known| known.min(wait)));
    }

    /// Notes a failure; returns it when the next backend must not be tried.
    fn failed(&mut self, index: usize, error: BackendError) -> Result<(), InferenceError> {
        self.said.push(format!("{}: {error}", self.board.name(index)));
        if self.has_shown && error != BackendError::Cancelled {
            return Err(InferenceError::Failed(format!("the answer broke off: {error}")));
        }
        if error.is_passing() {
            self.passing.push((index, error.clone()));
        }
        match error {
            BackendError::Unavailable(_)
            | BackendError::Unreachable(_)
            | BackendError::Timeout { .. } => Ok(()),
            BackendError::Busy { .. } => {
                self.is_busy_for(BUSY_WAIT);
                Ok(())
            }
            BackendError::TurnedAway { status, retry_after, .. } => {
                if matches!(status, 429 | 503) {
                    self.is_busy_for(retry_after.unwrap_or(BUSY_WAIT));
                }
                Ok(())
            }
            BackendError::TooLong { tokens, max_tokens, context } => {
                let error = InferenceError::TooLong { tokens, max_tokens, context };
                self.too_long.get_or_insert(error);
                Ok(())
            }
            BackendError::BrokenOff { .. } => {
                self.broken_off.get_or_insert(InferenceError::Failed(error.to_string()));
                Ok(())
            }
            BackendError::UnknownModel { model, available } => {
                // It was listed and is gone, or its backend would not have been tried.
                Err(InferenceError::UnknownModel { model, tier: self.request.tier, available })
            }
            BackendError::Cancelled => Err(InferenceError::Cancelled),
            BackendError::Rejected { .. } | BackendError::Failed { .. } => {
                Err(InferenceError::Failed(error.to_string()))
            }
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
        if let Some(error) = &self.broken_off {
            return error.clone();
        }
        if let Some(wait) = self.wait {
            return InferenceError::Busy { wait };
        }
        if self.has_missed_pool && outcomes().all(|outcome| outcome != "timeout") {
            return InferenceError::PoolUnavailable(self.said.join("; "));
        }
        if self.said.is_empty() {
            return InferenceError::Unavailable("this node has no backend".into());
        }
        InferenceError::Unavailable(self.said.join("; "))
    }
}

/// Resolves when nobody listens to a stream any more; never if there is none.
async fn gone(tokens: Option<mpsc::Sender<String>>) {
    match tokens {
        Some(tokens) => tokens.closed().await,
        None => std::future::pending().await,
    }
}

/// A number in [0, 1) that nobody can foretell; without randomness the middle.
fn chance() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    let chance = |drawn: u64| (drawn >> 11) as f64 / (1_u64 << 53) as f64;
    getrandom::u64().map_or(0.5, chance)
}
