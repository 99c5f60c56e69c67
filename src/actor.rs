//! What every actor is: the [`Actor`] trait, and the shell that runs one on ractor.
//!
//! The shell does for all actors what none should do by itself: it skips work nobody waits for,
//! carries the caller's deadline and span, measures, answers heartbeats, carries out drills, and
//! waits for handed-on work when the actor stops. An actor is then its state and its answers.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;
use ractor::{ActorCell, ActorProcessingErr, ActorRef};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::messages::addr::{Deadline, Mail, Message, Ticket, Work};
use crate::messages::supervisor::Fault;
use crate::metrics::{AddrMeter, Metrics};
use crate::trace;

/// Why an actor cannot go on. Bad input is a reply, never a failure.
pub type Failure = Box<dyn Error + Send + Sync + 'static>;

/// The deadline of work that came without one (a cast): nothing may run for ever.
const CAST_WAIT: Duration = Duration::from_secs(60);

/// Of so many messages one at most says how long it waited.
const STAMP_EVERY: u64 = 8;

/// Time that an actor with a full mailbox holds its thread before others are let in. The runtime's
/// own limit counts messages, and 128 of 50 microseconds are too many for whoever waits behind them.
const RUN_MAX: Duration = Duration::from_micros(500);

/// One kind of actor. A value of it holds what a fresh incarnation needs; what it loses with each
/// incarnation is its [`Actor::State`].
pub trait Actor: Send + Sync + Sized + 'static {
    /// What may be said to it.
    type Msg: Message;
    /// What it owns while it lives.
    type State: Send + 'static;
    /// Whether [`Actor::start`] neither waits nor computes. Its supervisor then starts it by itself
    /// and not in a task beside, which makes a restart quicker.
    const STARTS_AT_ONCE: bool = false;

    /// Makes the state of a new incarnation. Short: the supervisor allows it a limited time.
    ///
    /// # Errors
    /// When the actor cannot start; the supervisor tries again under its restart rules.
    fn start(&self) -> impl Future<Output = Result<Self::State, Failure>> + Send;

    /// Handles one message. Waits for no network and computes for no more than half a millisecond:
    /// longer work goes to [`Turn::spawn`] or [`Turn::spawn_blocking`].
    ///
    /// # Errors
    /// Only when the state can no longer be trusted; the incarnation ends and a fresh one starts.
    fn handle(
        &self,
        message: Self::Msg,
        turn: Turn,
        state: &mut Self::State,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Looks whether the state is still sound, at every heartbeat: for actors whose work goes on
    /// outside their messages. Short.
    ///
    /// # Errors
    /// As [`Actor::handle`].
    fn check(&self, state: &mut Self::State) -> impl Future<Output = Result<(), Failure>> + Send {
        let _ = state;
        async { Ok(()) }
    }

    /// Puts things in order before a graceful end, when every message and all work that was handed
    /// on is done. `is_told` says whether its supervisor told it to end; otherwise it stopped by
    /// itself, and the next incarnation is on its way. Not called when the actor fails or is killed.
    fn stop(&self, state: &mut Self::State, is_told: bool) -> impl Future<Output = ()> + Send {
        let _ = (state, is_told);
        async {}
    }
}

/// One message's turn: its deadline, its place in the queue, and the way to hand its work on.
#[derive(Debug)]
pub struct Turn {
    deadline: Deadline,
    ticket: Ticket,
    pulse: Arc<Pulse>,
}

impl Turn {
    /// When nobody waits any more.
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// Runs `work` beside the actor. It keeps the message's place in the queue until it ends, so
    /// that the address stays bounded, and a graceful stop waits for it.
    pub fn spawn(self, work: impl Future<Output = ()> + Send + 'static) {
        let span = tracing::Span::current();
        let ticket = self.ticket;
        self.pulse.tasks.spawn(
            async move {
                work.await;
                drop(ticket);
            }
            .instrument(span),
        );
    }

    /// Runs CPU-bound `work` on the blocking threads, otherwise as [`Turn::spawn`].
    pub fn spawn_blocking(self, work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
        let span = tracing::Span::current();
        let ticket = self.ticket;
        self.pulse.tasks.spawn_blocking(move || {
            span.in_scope(work);
            drop(ticket);
        })
    }

    /// Tells the heartbeat that this handler takes long on purpose, for at most `limit`.
    pub fn is_long(&self, limit: Duration) {
        self.pulse.allow(limit);
    }
}

/// What parts of a batch came to, put together in the order of their numbers. `None` if a part was
/// lost to a panic. Dropped, it ends the tasks that can be ended.
pub async fn in_order<T: 'static>(mut parts: JoinSet<(usize, Vec<T>)>) -> Option<Vec<T>> {
    let mut done = Vec::with_capacity(parts.len());
    while let Some(part) = parts.join_next().await {
        done.push(part.ok()?);
    }
    done.sort_unstable_by_key(|(number, _)| *number);
    Some(done.into_iter().flat_map(|(_, results)| results).collect())
}

/// Signs of life that an incarnation leaves for its supervisor, and the work it has handed on.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// Messages and probes handled.
    beats: AtomicU64,
    /// Whether a handler runs.
    is_busy: AtomicBool,
    /// End of announced long work, in milliseconds of the runtime's clock since `start`.
    long_until_ms: AtomicU64,
    /// Whether the last failure was an `Err` and not a panic.
    returned_error: AtomicBool,
    /// Whether the supervisor told it to stop.
    was_told: AtomicBool,
    /// Work handed on. A graceful stop waits for it.
    tasks: TaskTracker,
    start: std::sync::OnceLock<Instant>,
}

impl Pulse {
    /// Shows life.
    pub(crate) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// The handler that runs now, as the number of those before it.
    pub(crate) fn handler(&self) -> Option<u64> {
        self.is_busy.load(Ordering::Acquire).then(|| self.beats())
    }

    fn now_ms(&self) -> u64 {
        let start = *self.start.get_or_init(Instant::now);
        u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn allow(&self, limit: Duration) {
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        self.long_until_ms.store(self.now_ms().saturating_add(limit_ms), Ordering::Relaxed);
    }

    /// Marks that the supervisor told it to stop.
    pub(crate) fn tell(&self) {
        self.was_told.store(true, Ordering::Release);
    }

    /// Marks that the incarnation ends by returning an error.
    pub(crate) fn fail(&self) {
        self.returned_error.store(true, Ordering::Relaxed);
    }

    /// Messages and probes handled so far.
    pub(crate) fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    /// Whether long work was announced and its limit has not passed.
    pub(crate) fn is_long(&self) -> bool {
        self.now_ms() < self.long_until_ms.load(Ordering::Relaxed)
    }

    /// Whether the incarnation ended by returning an error.
    pub(crate) fn returned_error(&self) -> bool {
        self.returned_error.load(Ordering::Relaxed)
    }
}

/// Says that a handler runs, until it is dropped: also when the handler panics or is killed, since
/// work that it handed on keeps the pulse.
#[derive(Debug)]
struct Busy<'p>(&'p Pulse);

impl<'p> Busy<'p> {
    fn new(pulse: &'p Pulse) -> Self {
        pulse.is_busy.store(true, Ordering::Release);
        Self(pulse)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.is_busy.store(false, Ordering::Release);
        self.0.beat();
    }
}

/// Told of an incarnation before anything else can be heard of it.
pub(crate) type Announce = Box<dyn FnOnce(ActorCell) + Send>;

/// Runs an [`Actor`] as a ractor actor.
pub(crate) struct Shell<A: Actor> {
    pub(crate) actor: A,
    pub(crate) name: String,
    pub(crate) metrics: Metrics,
    pub(crate) meter: AddrMeter,
    pub(crate) pulse: Arc<Pulse>,
}

impl<A: Actor> fmt::Debug for Shell<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shell").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The state of a [`Shell`]: the actor's own, and what the shell keeps beside it.
#[derive(Debug)]
pub(crate) struct Shelled<S> {
    inner: S,
    seconds: Vec<(&'static str, Histogram)>,
    wait_seconds: Histogram,
    /// Whether another message is to say when it was sent.
    is_stamp_due: bool,
    /// Time in handlers since others were let in.
    without_pause: Duration,
}

impl<A: Actor> Shell<A> {
    async fn work(
        &self,
        work: Work<A::Msg>,
        shelled: &mut Shelled<A::State>,
    ) -> Result<(), Failure> {
        let Work { message, ticket, deadline, span, sent } = work;
        let started = Instant::now();
        if let Some(sent) = sent {
            shelled.wait_seconds.observe(started.duration_since(sent).as_secs_f64());
            shelled.is_stamp_due = true;
        }
        if shelled.is_stamp_due && self.pulse.beats().is_multiple_of(STAMP_EVERY) {
            shelled.is_stamp_due = false;
            ticket.want_stamp();
        }
        if message.is_abandoned() || deadline.is_some_and(|deadline| deadline.instant() <= started)
        {
            self.meter.skipped.inc();
            return Ok(());
        }
        ticket.take();
        let kind = self.kind(message.kind(), &mut shelled.seconds);
        let turn = Turn {
            deadline: deadline.unwrap_or_else(|| Deadline::after(CAST_WAIT)),
            ticket,
            pulse: self.pulse.clone(),
        };
        let span = trace::message(span, &self.name, shelled.seconds[kind].0);
        let outcome = self.actor.handle(message, turn, &mut shelled.inner).instrument(span).await;
        let elapsed = started.elapsed();
        shelled.seconds[kind].1.observe(elapsed.as_secs_f64());
        shelled.without_pause += elapsed;
        if shelled.without_pause >= RUN_MAX {
            shelled.without_pause = Duration::ZERO;
            tokio::task::yield_now().await;
        }
        outcome
    }

    /// The place of one message kind's histogram. Kinds are few, so a scan beats hashing two labels.
    fn kind(&self, kind: &'static str, known: &mut Vec<(&'static str, Histogram)>) -> usize {
        let place = known.iter().position(|(name, _)| std::ptr::eq(*name, kind));
        place.unwrap_or_else(|| {
            known.push((kind, self.metrics.handle_seconds(&self.name, kind)));
            known.len() - 1
        })
    }

    fn fail(&self, fault: Fault, myself: &ActorRef<Mail<A::Msg>>) -> Result<(), Failure> {
        match fault {
            Fault::Panic => std::panic::panic_any("drill: panic".to_owned()),
            Fault::Error => return Err("drill: error".into()),
            Fault::Stop => myself.stop(Some("drill: stop".to_owned())),
            Fault::Kill => myself.kill(),
            // Handled by the caller, which can wait.
            Fault::Freeze => {}
        }
        Ok(())
    }
}

impl<A: Actor> ractor::Actor for Shell<A> {
    type Msg = Mail<A::Msg>;
    type State = Shelled<A::State>;
    type Arguments = Announce;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        announce: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        announce(myself.get_cell());
        let inner = self.actor.start().await?;
        self.pulse.beat();
        Ok(Shelled {
            inner,
            seconds: Vec::new(),
            wait_seconds: self.metrics.wait_seconds(&self.name),
            is_stamp_due: false,
            without_pause: Duration::ZERO,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        mail: Self::Msg,
        shelled: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let busy = Busy::new(&self.pulse);
        let outcome = match mail {
            Mail::Work(work) => self.work(work, shelled).await,
            Mail::Probe => self.actor.check(&mut shelled.inner).await,
            Mail::Note(_) => Ok(()),
            Mail::Fault(Fault::Freeze) => std::future::pending().await,
            Mail::Fault(fault) => self.fail(fault, &myself),
        };
        drop(busy);
        if outcome.is_err() {
            self.pulse.fail();
        }
        outcome
    }

    async fn post_stop(
        &self,
        _: ActorRef<Self::Msg>,
        shelled: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        self.pulse.tasks.close();
        self.pulse.tasks.wait().await;
        let is_told = self.pulse.was_told.load(Ordering::Acquire);
        self.actor.stop(&mut shelled.inner, is_told).await;
        Ok(())
    }
}
