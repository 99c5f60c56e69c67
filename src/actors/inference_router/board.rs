//! What the router knows of its backends. All its incarnations share it.
//!
//! The rules are in `domain::inference`; here they meet the clock, the lock and those who wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::actors::inference_router::{Backend, NAME, Rules};
use crate::domain::inference::admission::{self, Admission, Ticket};
use crate::domain::inference::breaker::{self, Breakers, Change, Stand};
use crate::domain::inference::hedge::FirstTokens;
use crate::domain::inference::retry::Budget;
use crate::domain::inference::route::Standing;
use crate::domain::inference::share::RecentWork;
use crate::domain::inference::{BackendError, Blame, Generated};
use crate::domain::rate::Client;
use crate::messages::addr::Deadline;
use crate::messages::event::{Event, Events, InferenceEvent};
use crate::messages::inference_router::{BackendInfo, LastError};
use crate::metrics::{InferenceMeter, Metrics, RoutingMeter, Work};

/// What all incarnations of a router share; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Board(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    backends: Arc<[Backend]>,
    rules: Rules,
    answers: InferenceMeter,
    meter: RoutingMeter,
    events: Option<Events>,
    /// What the pure rules count time from.
    born: Instant,
    known: Mutex<Known>,
}

/// Nothing in here is left half changed by a panic: each call on it is whole.
#[derive(Debug)]
struct Known {
    lanes: Vec<Lane>,
    breakers: Breakers,
    retries: Budget,
    hedges: Budget,
    work: RecentWork,
    requests: usize,
}

/// The way to one backend.
#[derive(Debug)]
struct Lane {
    door: Admission,
    /// Who waits at the door; there are as many as the door counts.
    waiters: HashMap<Ticket, oneshot::Sender<Called>>,
    first_tokens: FirstTokens,
    last_error: Option<(&'static str, Instant)>,
}

/// What somebody who waits hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Called {
    /// It may begin.
    In,
    /// Its place went to a client with less.
    Off,
}

/// Why a backend is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Its breaker lets no call pass.
    Open,
    /// Waiting is useless or there is no room; how long it would take, if that is known.
    Shed(Option<Duration>),
    /// The deadline passed at the door.
    Late,
}

impl Board {
    pub(super) fn new(
        backends: Arc<[Backend]>,
        rules: Rules,
        metrics: &Metrics,
        events: Option<Events>,
    ) -> Self {
        let lane = |backend: &Backend| {
            let (parallel, waiting_max) = (backend.parallel, rules.waiting_max);
            Lane {
                door: Admission::new(admission::Rules { parallel, waiting_max }),
                waiters: HashMap::new(),
                first_tokens: FirstTokens::default(),
                last_error: None,
            }
        };
        let known = Known {
            lanes: backends.iter().map(lane).collect(),
            breakers: Breakers::new(rules.breaker),
            retries: Budget::new(rules.retry_percent, rules.retry_reserve),
            hedges: Budget::new(rules.hedge_percent, 1),
            work: RecentWork::new(backends.len()),
            requests: 0,
        };
        let known = Mutex::new(known);
        let (answers, meter) = (metrics.inference(), metrics.routing());
        let born = Instant::now();
        let inner = Inner { backends, rules, answers, meter, events, born, known };
        let board = Self(Arc::new(inner));
        for index in 0..board.backends().len() {
            board.meter().begin(board.name(index));
        }
        board.show_all();
        // An open breaker becomes half open without anybody's doing.
        let shown = Arc::downgrade(&board.0);
        metrics.watch_backends(move || {
            if let Some(inner) = shown.upgrade() {
                Self(inner).show_all();
            }
        });
        board
    }

    pub(super) fn backends(&self) -> &[Backend] {
        &self.0.backends
    }

    pub(super) fn rules(&self) -> &Rules {
        &self.0.rules
    }

    pub(super) fn meter(&self) -> &RoutingMeter {
        &self.0.meter
    }

    /// Counts a call of a backend, or one that was not made.
    pub(super) fn tried(&self, index: usize, word: &'static str) {
        self.0.answers.tried(self.name(index), word);
    }

    pub(super) fn name(&self, index: usize) -> &str {
        self.0.backends[index].addr.name().as_str()
    }

    /// Notes a request: it earns a share of an extra call. Tells how each backend does, and the
    /// number of the request.
    pub(super) fn begin(&self, model: Option<&str>) -> (Vec<Standing>, usize) {
        let now = self.now();
        let mut known = self.known();
        known.retries.earn();
        known.hedges.earn();
        known.requests = known.requests.wrapping_add(1);
        let standing = |(index, lane): (usize, &Lane)| Standing {
            is_shut: !known.breakers.would_pass(index, model, now),
            load: lane.door.load(),
            first_token: lane.first_tokens.percentile(50),
        };
        (known.lanes.iter().enumerate().map(standing).collect(), known.requests)
    }

    /// Whether a request without a model would be let through to a backend.
    pub(super) fn would_pass(&self, index: usize) -> bool {
        self.known().breakers.would_pass(index, None, self.now())
    }

    /// The right to ask the backend at `index`, after having waited for it.
    pub(super) async fn admit(
        &self,
        index: usize,
        client: Client,
        model: Option<&str>,
        deadline: Deadline,
    ) -> Result<Slot, Refusal> {
        let came = Instant::now();
        let mut place = self.knock(index, client, model, deadline)?;
        if let Some((_, called)) = &mut place.waits {
            match tokio::time::timeout_at(deadline.instant(), called).await {
                Ok(Ok(Called::In)) => place.waits = None,
                Ok(Ok(Called::Off)) => {
                    place.waits = None;
                    place.is_in = false;
                    self.meter().shed(self.name(index));
                    return Err(Refusal::Shed(self.wait(index, client)));
                }
                Ok(Err(_)) | Err(_) => return Err(Refusal::Late),
            }
        }
        let waited = came.elapsed();
        self.meter().waited(self.name(index), waited);
        self.pass(place, model, waited).ok_or(Refusal::Open)
    }

    /// The right to ask the backend at `index` now, if that takes no waiting.
    pub(super) fn admit_at_once(
        &self,
        index: usize,
        client: Client,
        model: Option<&str>,
        deadline: Deadline,
    ) -> Option<Slot> {
        let place = self.knock(index, client, model, deadline).ok()?;
        if place.waits.is_some() { None } else { self.pass(place, model, Duration::ZERO) }
    }

    /// A place at the door of the backend, inside or in the queue.
    fn knock(
        &self,
        index: usize,
        client: Client,
        model: Option<&str>,
        deadline: Deadline,
    ) -> Result<Place, Refusal> {
        let now = self.now();
        let mut known = self.known();
        if !known.breakers.would_pass(index, model, now) {
            self.show(index, &known);
            return Err(Refusal::Open);
        }
        let lane = &mut known.lanes[index];
        let wait = lane.door.wait(client);
        let waits = match lane.door.enter(client, deadline.remaining()) {
            admission::Entry::Begins => None,
            admission::Entry::Shed => {
                self.meter().shed(self.name(index));
                return Err(Refusal::Shed(wait));
            }
            admission::Entry::Waits { ticket, instead_of } => {
                if let Some(other) = instead_of.and_then(|other| lane.waiters.remove(&other)) {
                    // It listens: who stops listening takes its waiter away first.
                    let _ = other.send(Called::Off);
                }
                let (sender, called) = oneshot::channel();
                lane.waiters.insert(ticket, sender);
                Some((ticket, called))
            }
        };
        self.show(index, &known);
        Ok(Place { board: self.clone(), index, waits, is_in: true, took: None })
    }

    /// Lets a call pass the breaker, which may have opened meanwhile.
    fn pass(&self, place: Place, model: Option<&str>, waited: Duration) -> Option<Slot> {
        let index = place.index;
        let mut known = self.known();
        let pass = known.breakers.enter(index, model, self.now());
        self.show(index, &known);
        drop(known);
        let pass = Some(pass?);
        Some(Slot { place, pass, began: Instant::now(), waited })
    }

    /// How long a request would wait for the backend.
    fn wait(&self, index: usize, client: Client) -> Option<Duration> {
        self.known().lanes[index].door.wait(client)
    }

    /// Takes a repeat from the budget.
    pub(super) fn may_repeat(&self, index: usize) -> bool {
        let may = self.known().retries.spend();
        self.meter().retried(self.name(index), may);
        may
    }

    /// When a second backend may be asked as well, if hedges are made and enough is known.
    pub(super) fn hedge_after(&self, index: usize) -> Option<Duration> {
        let is_used = self.0.rules.hedge_percent > 0;
        is_used.then(|| self.known().lanes[index].first_tokens.hedge_after()).flatten()
    }

    /// Whether the backend at `index` would take a request at once.
    pub(super) fn has_room(&self, index: usize, model: Option<&str>) -> bool {
        let known = self.known();
        let door = &known.lanes[index].door;
        let is_free = door.waiting() == 0 && door.running() < self.backends()[index].parallel;
        is_free && known.breakers.would_pass(index, model, self.now())
    }

    /// Takes a second call from the budget.
    pub(super) fn may_hedge(&self, index: usize) -> bool {
        let may = self.known().hedges.spend();
        self.meter().hedged(self.name(index), may);
        may
    }

    /// Notes who answered; tells how many of the recent answers each backend gave.
    pub(super) fn note(&self, index: Option<usize>) -> Vec<u64> {
        let mut known = self.known();
        if let Some(index) = index {
            known.work.note(index);
        }
        known.work.counts().to_vec()
    }

    /// How each backend does, for whoever looks after the node.
    pub(super) fn infos(&self) -> Vec<BackendInfo> {
        let now = self.now();
        let known = self.known();
        let info = |(index, (backend, lane)): (usize, (&Backend, &Lane))| BackendInfo {
            name: backend.addr.name().to_string(),
            kind: backend.kind,
            tier: backend.tier,
            breaker: known.breakers.stand(index, now).as_str(),
            parallel: backend.parallel,
            running: lane.door.running(),
            queued: lane.door.waiting(),
            first_token_p50: lane.first_tokens.percentile(50),
            first_token_p95: lane.first_tokens.percentile(95),
            last_error: lane.last_error.map(|(class, at)| LastError { class, age: at.elapsed() }),
        };
        self.backends().iter().zip(&known.lanes).enumerate().map(info).collect()
    }

    fn show_all(&self) {
        let known = self.known();
        for index in 0..self.backends().len() {
            self.show(index, &known);
        }
    }

    /// Shows in the metrics how a backend stands.
    fn show(&self, index: usize, known: &Known) {
        let (name, door) = (self.name(index), &known.lanes[index].door);
        self.meter().set_load(name, door.running(), door.waiting());
        let stand = known.breakers.stand(index, self.now()).as_str();
        let states = [Stand::Closed, Stand::HalfOpen, Stand::Open].map(Stand::as_str);
        self.meter().set_breaker(name, stand, states);
    }

    fn tell(&self, index: usize, change: Change) {
        let backend = self.name(index).to_owned();
        let event = match change {
            Change::Opened(pause) => {
                let seconds = pause.as_secs();
                warn!(actor = NAME, backend, seconds, "a backend fails and is left alone");
                InferenceEvent::BreakerOpened { backend, seconds }
            }
            Change::Closed => {
                info!(actor = NAME, backend, "a backend works again");
                InferenceEvent::BreakerClosed { backend }
            }
        };
        if let Some(events) = &self.0.events {
            events.publish(Event::Inference(event));
        }
    }

    fn now(&self) -> Duration {
        self.0.born.elapsed()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place at a backend's door. Dropped, it is free for the next.
#[derive(Debug)]
struct Place {
    board: Board,
    index: usize,
    /// Its ticket and where it is called, while it waits.
    waits: Option<(Ticket, oneshot::Receiver<Called>)>,
    /// Whether it is inside, or will be when it is called.
    is_in: bool,
    /// How long its answer took, if it was answered.
    took: Option<Duration>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut known = self.board.known();
        let lane = &mut known.lanes[self.index];
        let is_inside = match &mut self.waits {
            None => self.is_in,
            Some((ticket, called)) => match lane.waiters.remove(ticket) {
                Some(_) => {
                    lane.door.give_up(*ticket);
                    false
                }
                // It was called and does not know yet.
                None => called.try_recv() == Ok(Called::In),
            },
        };
        if is_inside {
            let mut took = self.took;
            while let Some(next) = lane.door.leave(took.take()) {
                let waiter = lane.waiters.remove(&next);
                if waiter.is_some_and(|waiter| waiter.send(Called::In).is_ok()) {
                    break;
                }
            }
        }
        self.board.show(self.index, &known);
    }
}

/// The right to make one call of a backend. Dropped without an end, the call was cancelled.
#[derive(Debug)]
pub(super) struct Slot {
    place: Place,
    pass: Option<breaker::Entry>,
    began: Instant,
    waited: Duration,
}

impl Slot {
    /// How long it was waited for.
    pub(super) fn waited(&self) -> Duration {
        self.waited
    }

    /// The backend that may be asked.
    pub(super) fn index(&self) -> usize {
        self.place.index
    }

    /// Takes note of how the call ended.
    pub(super) fn end(mut self, outcome: Result<&Generated, &BackendError>) {
        let blame = match outcome {
            Ok(generated) => {
                self.place.took = Some(self.began.elapsed());
                self.measure(generated);
                Blame::Works
            }
            Err(error) => error.blame(),
        };
        self.close(blame, outcome.map_or_else(BackendError::word, |_| "ok"));
    }

    fn measure(&self, generated: &Generated) {
        let (board, index) = (&self.place.board, self.place.index);
        let (name, first_token) = (board.name(index), generated.time_to_first_token);
        board.known().lanes[index].first_tokens.note(first_token);
        let count = |tokens| u64::try_from(tokens).unwrap_or(u64::MAX);
        board.0.answers.generated(
            name,
            &Work {
                input_tokens: count(generated.prompt_tokens),
                output_tokens: count(generated.completion_tokens),
                time_to_first_token: first_token,
                duration: generated.duration,
            },
        );
    }

    fn close(&mut self, blame: Blame, word: &'static str) {
        let Some(pass) = self.pass.take() else { return };
        let (board, index) = (&self.place.board, self.place.index);
        board.tried(index, word);
        let mut known = board.known();
        if blame == Blame::Fails {
            known.lanes[index].last_error = Some((word, Instant::now()));
        }
        let change = known.breakers.leave(&pass, blame, board.now());
        board.show(index, &known);
        drop(known);
        if let Some(change) = change {
            board.tell(index, change);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.close(Blame::None, "cancelled");
    }
}
