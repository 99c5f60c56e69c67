//! Addresses: how one part of the node talks to an actor.
//!
//! An [`Addr`] outlives the actor behind it. Whatever incarnation serves the address at the moment
//! gets the message; while there is none, callers wait for the next one until their deadline.
//! Every address is bounded, every call has a deadline, and every failure is one of three
//! ([`CallError`]). ractor's own mailboxes are unbounded and its references die with their actor,
//! which is why nothing outside this module and `crate::actor` touches them.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ractor::ActorRef;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::metrics::AddrMeter;

/// Incarnations in a row that may end over one message before it is taken for the cause. A kill
/// from outside does not count.
const TAKEN_MAX: u32 = 3;

/// Pause before an address that still looks alive is tried again after it dropped a message.
const REPEAT_PAUSE: Duration = Duration::from_millis(2);

/// What may be said to one kind of actor.
pub trait Message: Send + 'static {
    /// One word per variant: the `message` label of metrics and logs.
    fn kind(&self) -> &'static str;

    /// Whether saying it twice has the effect of saying it once. Only such messages are sent again
    /// when the incarnation that had taken them up dies.
    fn is_idempotent(&self) -> bool;

    /// Whether nobody waits for the answer any more, so that the work can be left out.
    fn is_abandoned(&self) -> bool;
}

/// The instant after which nobody waits. It travels with the work from the edge of the node
/// through every actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// A deadline `wait` from now.
    pub fn after(wait: Duration) -> Self {
        Self(Instant::now() + wait)
    }

    /// The time left; zero when it has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    pub fn is_over(self) -> bool {
        self.0 <= Instant::now()
    }

    /// The earlier of this deadline and one `wait` from now.
    pub fn at_most(self, wait: Duration) -> Self {
        self.min(Self::after(wait))
    }

    /// As an instant of the runtime's clock.
    pub fn instant(self) -> Instant {
        self.0
    }
}

/// Why an actor gave no answer. Says nothing about the question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The address has as many messages waiting as it may.
    #[error("actor {actor} is busy: {waiting_max} messages wait already")]
    Busy {
        /// Name of the actor.
        actor: ActorName,
        /// The limit that was met.
        waiting_max: usize,
    },
    /// The deadline passed before the answer came.
    #[error("actor {actor} gave no answer in time")]
    Late {
        /// Name of the actor.
        actor: ActorName,
    },
    /// The actor died with the message, or is not coming back.
    #[error("actor {actor} is down")]
    Down {
        /// Name of the actor.
        actor: ActorName,
    },
}

/// An actor's name, unique within its node; cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ActorName(Arc<str>);

impl ActorName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ActorName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for ActorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ActorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where the answer to a call goes. Dropping it unanswered tells the caller that the work was lost.
#[derive(Debug)]
pub struct Reply<T>(oneshot::Sender<T>);

impl<T> Reply<T> {
    /// A reply port and the receiver of its answer, for work that is handed on outside an address.
    pub fn channel() -> (Self, oneshot::Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }

    /// Answers. The answer is dropped if the caller has left, which is its right.
    pub fn send(self, answer: T) {
        let _ = self.0.send(answer);
    }

    /// Whether the caller has left.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Resolves when the caller leaves.
    pub async fn closed(&mut self) {
        self.0.closed().await;
    }
}

/// One incarnation of an actor, as an address sees it.
#[derive(Debug)]
struct Incarnation<M: Message> {
    generation: u64,
    actor: ActorRef<Mail<M>>,
}

impl<M: Message> Clone for Incarnation<M> {
    fn clone(&self) -> Self {
        Self { generation: self.generation, actor: self.actor.clone() }
    }
}

/// Who serves an address at the moment.
#[derive(Debug)]
enum Serving<M: Message> {
    /// Nobody yet, or nobody for the moment.
    Nobody,
    /// This incarnation.
    Actor(Incarnation<M>),
    /// Nobody, and nobody is about to: the actor is failed, fenced or shut down.
    Gone,
}

/// What every clone of an address shares, and what survives its actors.
#[derive(Debug)]
struct Lane<M: Message> {
    name: ActorName,
    waiting_max: usize,
    waiting: Arc<AtomicUsize>,
    serving: watch::Sender<Serving<M>>,
    /// The last generation that ended from outside, over which no message is to blame.
    killed: AtomicU64,
    meter: AddrMeter,
}

/// The address of an actor that is said `M`: cloneable, bounded, valid over restarts.
#[derive(Debug)]
pub struct Addr<M: Message> {
    lane: Arc<Lane<M>>,
}

impl<M: Message> Clone for Addr<M> {
    fn clone(&self) -> Self {
        Self { lane: self.lane.clone() }
    }
}

impl<M: Message> Addr<M> {
    /// An address that nobody serves yet. At most `waiting_max` messages wait behind it, those
    /// being handled included.
    pub fn new(name: &str, waiting_max: usize, meter: AddrMeter) -> Self {
        let (serving, _) = watch::channel(Serving::Nobody);
        Self {
            lane: Arc::new(Lane {
                name: name.into(),
                waiting_max,
                waiting: Arc::default(),
                serving,
                killed: AtomicU64::new(0),
                meter,
            }),
        }
    }

    /// The actor's name.
    pub fn name(&self) -> &ActorName {
        &self.lane.name
    }

    /// Messages that wait or are being handled.
    pub fn waiting(&self) -> usize {
        self.lane.waiting.load(Ordering::Relaxed)
    }

    /// The most messages that may wait.
    pub fn waiting_max(&self) -> usize {
        self.lane.waiting_max
    }

    /// Asks and waits for the answer, at most until `deadline`.
    ///
    /// `ask` makes the message around the reply port; it is called again when the message has to be
    /// said to another incarnation. That happens when the first one died before taking it up, and,
    /// if the message is idempotent, also when it died over it.
    ///
    /// # Errors
    /// [`CallError::Busy`] at once when the address is full, [`CallError::Late`] at the deadline,
    /// [`CallError::Down`] when the actor died over a message that must not be said twice, died
    /// over this one several times, or is not coming back.
    pub async fn call<T, F>(&self, deadline: Deadline, ask: F) -> Result<T, CallError>
    where
        T: Send,
        F: Fn(Reply<T>) -> M + Send,
    {
        let answer = tokio::time::timeout_at(deadline.0, self.ask_until_answered(deadline, &ask));
        match answer.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.failed(error)),
            Err(_) => Err(self.failed(CallError::Late { actor: self.lane.name.clone() })),
        }
    }

    /// Says something that is not answered.
    ///
    /// # Errors
    /// [`CallError::Busy`] when the address is full, [`CallError::Down`] when nobody serves it.
    pub fn cast(&self, message: M) -> Result<(), CallError> {
        let ticket = self.ticket().map_err(|error| self.failed(error))?;
        let down = || self.failed(CallError::Down { actor: self.lane.name.clone() });
        let Serving::Actor(live) = &*self.lane.serving.borrow() else { return Err(down()) };
        let work = Work::new(message, ticket, None);
        live.actor.send_message(Mail::Work(work)).map_err(|_| down())
    }

    async fn ask_until_answered<T, F>(&self, deadline: Deadline, ask: &F) -> Result<T, CallError>
    where
        F: Fn(Reply<T>) -> M,
    {
        let mut taken = 0;
        loop {
            let ticket = self.ticket()?;
            let live = self.live().await?;
            let (reply, answer) = Reply::channel();
            let message = ask(reply);
            let is_idempotent = message.is_idempotent();
            let was_taken = ticket.clone();
            let work = Work::new(message, ticket, Some(deadline));
            if live.actor.send_message(Mail::Work(work)).is_ok() {
                if let Ok(answer) = answer.await {
                    return Ok(answer);
                }
                if was_taken.is_taken() {
                    taken += 1;
                    if !is_idempotent {
                        return Err(CallError::Down { actor: self.lane.name.clone() });
                    }
                }
            }
            drop(was_taken);
            self.lane.meter.retries.inc();
            self.successor(live.generation).await;
            if self.lane.killed.load(Ordering::Acquire) == live.generation {
                taken = 0;
            } else if taken >= TAKEN_MAX {
                return Err(CallError::Down { actor: self.lane.name.clone() });
            }
        }
    }

    /// Waits until somebody serves the address.
    async fn live(&self) -> Result<Incarnation<M>, CallError> {
        if let Serving::Actor(live) = &*self.lane.serving.borrow() {
            return Ok(live.clone());
        }
        let mut serving = self.lane.serving.subscribe();
        // The lane holds the sender, so the channel cannot close while we wait.
        let found = serving.wait_for(|now| !matches!(now, Serving::Nobody)).await;
        match found.as_deref() {
            Ok(Serving::Actor(live)) => Ok(live.clone()),
            _ => Err(CallError::Down { actor: self.lane.name.clone() }),
        }
    }

    /// Waits until another generation serves the address, or a moment if the same one still does:
    /// it may have dropped a message without dying.
    async fn successor(&self, generation: u64) {
        let mut serving = self.lane.serving.subscribe();
        let changed = serving.wait_for(|now| match now {
            Serving::Actor(live) => live.generation != generation,
            Serving::Nobody => false,
            Serving::Gone => true,
        });
        let _ = tokio::time::timeout(REPEAT_PAUSE, changed).await;
    }

    fn ticket(&self) -> Result<Ticket, CallError> {
        let waiting = Arc::clone(&self.lane.waiting);
        let before = waiting.fetch_add(1, Ordering::AcqRel);
        // Made before the check, so that its drop takes the place back.
        let ticket = Ticket(Arc::new(Place { waiting, is_taken: AtomicBool::new(false) }));
        if before >= self.lane.waiting_max {
            return Err(CallError::Busy {
                actor: self.lane.name.clone(),
                waiting_max: self.lane.waiting_max,
            });
        }
        Ok(ticket)
    }

    fn failed(&self, error: CallError) -> CallError {
        self.lane.meter.failed(&error);
        error
    }

    /// From now on `actor` serves the address.
    pub(crate) fn bind(&self, generation: u64, actor: ActorRef<Mail<M>>) {
        self.lane.serving.send_if_modified(|serving| {
            let is_newer = match serving {
                Serving::Actor(live) => live.generation < generation,
                Serving::Nobody | Serving::Gone => true,
            };
            if is_newer {
                *serving = Serving::Actor(Incarnation { generation, actor });
            }
            is_newer
        });
    }

    /// The incarnation `generation` was ended from outside, not by what it was handling. Said
    /// before [`Addr::unbind`].
    pub(crate) fn exonerate(&self, generation: u64) {
        self.lane.killed.store(generation, Ordering::Release);
    }

    /// The incarnation `generation` no longer serves; callers wait for the next, or are told at
    /// once when there will be none.
    pub(crate) fn unbind(&self, generation: u64, is_gone: bool) {
        self.lane.serving.send_if_modified(|serving| {
            let is_current = match serving {
                Serving::Actor(live) => live.generation <= generation,
                Serving::Nobody => is_gone,
                Serving::Gone => !is_gone,
            };
            if is_current {
                *serving = if is_gone { Serving::Gone } else { Serving::Nobody };
            }
            is_current
        });
    }
}

/// What lies in an actor's mailbox.
#[derive(Debug)]
pub(crate) enum Mail<M> {
    /// Something said by a caller.
    Work(Work<M>),
    /// The supervisor asks for a sign of life.
    Probe,
    /// A drill: fail in this way.
    Fault(crate::messages::supervisor::Fault),
    /// A note of a supervisor to itself, of a type only it knows.
    Note(Box<dyn Any + Send>),
}

/// A message on its way, with what it needs on the way.
#[derive(Debug)]
pub(crate) struct Work<M> {
    pub(crate) message: M,
    pub(crate) ticket: Ticket,
    pub(crate) deadline: Option<Deadline>,
    pub(crate) span: tracing::Span,
}

impl<M> Work<M> {
    fn new(message: M, ticket: Ticket, deadline: Option<Deadline>) -> Self {
        Self { message, ticket, deadline, span: tracing::Span::current() }
    }
}

/// A place among those that may wait behind an address. It is free again when the last clone is
/// dropped: after the work, or with the mailbox of a dead actor.
#[derive(Clone, Debug)]
pub struct Ticket(Arc<Place>);

#[derive(Debug)]
struct Place {
    waiting: Arc<AtomicUsize>,
    is_taken: AtomicBool,
}

impl Ticket {
    /// Marks that an actor has begun with the message.
    pub(crate) fn take(&self) {
        self.0.is_taken.store(true, Ordering::Release);
    }

    fn is_taken(&self) -> bool {
        self.0.is_taken.load(Ordering::Acquire)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Runs `work` unless its caller leaves first.
///
/// Returns `None` when the caller left.
pub async fn unless_abandoned<T, W: Future>(reply: &mut Reply<T>, work: W) -> Option<W::Output> {
    tokio::select! {
        biased;
        () = reply.closed() => None,
        output = work => Some(output),
    }
}
