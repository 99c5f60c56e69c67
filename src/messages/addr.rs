//! Addresses: how one part of the node talks to an actor.
//!
//! An [`Addr`] outlives the actor behind it. Whatever incarnation serves the address at the moment
//! gets the message; while there is none, callers wait for the next one until their deadline.
//! Every address is bounded, every call has a deadline, and every failure is one of three
//! ([`CallError`]). ractor's own mailboxes are unbounded and its references die with their actor,
//! which is why nothing outside this module and `crate::actor` touches them.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use ractor::{ActorRef, ActorStatus};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::metrics::AddrMeter;

use mail::Gate;
pub use mail::Ticket;
pub(crate) use mail::{Mail, Work};
use succession::{Killed, Serving, Succession};

mod mail;
mod succession;

/// Incarnations in a row that may end over one message before it is taken for the cause. A kill
/// from outside does not count.
const TAKEN_MAX: usize = 3;

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

/// What every clone of an address shares, and what survives its actors.
#[derive(Debug)]
struct Lane<M: Message> {
    name: ActorName,
    gate: Arc<Gate>,
    /// Who serves now, for the way that nearly every message takes. Written under the lock of
    /// `succession`, which is for those who have to wait.
    live: ArcSwapOption<Incarnation<M>>,
    succession: watch::Sender<Succession>,
    killed: Mutex<Killed>,
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

/// What became of a message that was to be sent.
enum Sent<T> {
    /// This generation has it.
    To(u64, oneshot::Receiver<T>),
    /// This generation no longer takes messages.
    Refused(u64),
    /// Nobody serves the address.
    Kept,
}

impl<M: Message> Addr<M> {
    /// An address that nobody serves yet. At most `waiting_max` messages wait behind it, those
    /// being handled included.
    pub fn new(name: &str, waiting_max: usize, meter: AddrMeter) -> Self {
        let (succession, _) = watch::channel(Succession::default());
        Self {
            lane: Arc::new(Lane {
                name: name.into(),
                gate: Arc::new(Gate::new(waiting_max, meter.dead_letters.clone())),
                live: ArcSwapOption::empty(),
                succession,
                killed: Mutex::default(),
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
        self.lane.gate.waiting()
    }

    /// The most messages that may wait.
    pub fn waiting_max(&self) -> usize {
        self.lane.gate.waiting_max()
    }

    /// Asks and waits for the answer, at most until `deadline`.
    ///
    /// `ask` makes the message around the reply port; it is called again when the message has to be
    /// said to another incarnation. That happens when the first one died before taking it up, and,
    /// if the message is idempotent, also when it died over it. The message keeps its place.
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
        self.ask_until_answered(deadline, &ask).await.map_err(|error| self.failed(error))
    }

    /// Says something that is not answered.
    ///
    /// # Errors
    /// [`CallError::Busy`] when the address is full, [`CallError::Down`] when nobody serves it.
    pub fn cast(&self, message: M) -> Result<(), CallError> {
        let ticket = self.lane.gate.enter(true);
        let ticket = ticket.ok_or_else(|| self.failed(self.busy()))?;
        let is_sent = match &*self.lane.live.load() {
            Some(live) => {
                live.actor.send_message(Mail::Work(Work::new(message, ticket, None))).is_ok()
            }
            None => false,
        };
        if is_sent { Ok(()) } else { Err(self.failed(self.down())) }
    }

    async fn ask_until_answered<T, F>(&self, deadline: Deadline, ask: &F) -> Result<T, CallError>
    where
        F: Fn(Reply<T>) -> M,
    {
        let mut ticket = self.lane.gate.enter(false).ok_or_else(|| self.busy())?;
        let mut blamed = Vec::new();
        loop {
            let generation = match self.send(&ticket, deadline, ask) {
                (Sent::To(generation, answer), is_idempotent) => {
                    if let Some(answer) = self.answered(deadline, answer).await? {
                        return Ok(answer);
                    }
                    if ticket.is_taken() && !is_idempotent {
                        return Err(self.down());
                    }
                    if ticket.is_taken() {
                        blamed.push(generation);
                    }
                    generation
                }
                (Sent::Refused(generation), _) => generation,
                (Sent::Kept, _) => {
                    self.before(deadline, self.served()).await??;
                    continue;
                }
            };
            self.lane.meter.retries.inc();
            ticket = ticket.renew();
            self.before(deadline, self.successor(generation)).await?;
            if blamed.len() >= TAKEN_MAX {
                let killed = self.lane.killed.lock().unwrap_or_else(PoisonError::into_inner);
                blamed.retain(|generation| !killed.has(*generation));
            }
            if blamed.len() >= TAKEN_MAX {
                return Err(self.down());
            }
        }
    }

    /// Sends the message to whoever serves now, and says whether it is idempotent.
    fn send<T, F>(&self, ticket: &Ticket, deadline: Deadline, ask: &F) -> (Sent<T>, bool)
    where
        F: Fn(Reply<T>) -> M,
    {
        let live = self.lane.live.load();
        let Some(live) = &*live else { return (Sent::Kept, true) };
        let (reply, answer) = Reply::channel();
        let message = ask(reply);
        let is_idempotent = message.is_idempotent();
        let work = Work::new(message, ticket.clone(), Some(deadline));
        let sent = match live.actor.send_message(Mail::Work(work)) {
            Ok(()) => Sent::To(live.generation, answer),
            Err(_) => Sent::Refused(live.generation),
        };
        (sent, is_idempotent)
    }

    /// Waits for the answer; `None` when it was dropped unanswered.
    async fn answered<T>(
        &self,
        deadline: Deadline,
        mut answer: oneshot::Receiver<T>,
    ) -> Result<Option<T>, CallError> {
        // Most answers are there when the actor has had its turn on this thread. Only a call that
        // is still unanswered when its own turn comes again pays for a timer.
        let mut had_turn = false;
        let early = poll_fn(|context| match Pin::new(&mut answer).poll(context) {
            Poll::Ready(answer) => Poll::Ready(Some(answer.ok())),
            Poll::Pending if had_turn => Poll::Ready(None),
            Poll::Pending => {
                had_turn = true;
                context.waker().wake_by_ref();
                Poll::Pending
            }
        });
        match early.await {
            Some(answer) => Ok(answer),
            None => self.before(deadline, answer).await.map(Result::ok),
        }
    }

    async fn before<O>(
        &self,
        deadline: Deadline,
        work: impl Future<Output = O>,
    ) -> Result<O, CallError> {
        let in_time = tokio::time::timeout_at(deadline.0, work).await;
        in_time.map_err(|_| CallError::Late { actor: self.lane.name.clone() })
    }

    /// Waits until somebody serves the address.
    async fn served(&self) -> Result<(), CallError> {
        let mut succession = self.lane.succession.subscribe();
        // The lane holds the sender, so the channel cannot close while we wait.
        let found = succession.wait_for(|now| now.serving != Serving::Nobody).await;
        match found.map(|now| now.serving) {
            Ok(Serving::Live(_)) => Ok(()),
            _ => Err(self.down()),
        }
    }

    /// Waits until another generation serves the address, or a moment if the same one still does:
    /// it may have dropped a message without dying.
    async fn successor(&self, generation: u64) {
        let mut succession = self.lane.succession.subscribe();
        loop {
            let changed = succession.wait_for(|now| match now.serving {
                Serving::Live(now) => now != generation,
                Serving::Nobody => false,
                Serving::Gone => true,
            });
            let in_time = tokio::time::timeout(REPEAT_PAUSE, changed).await.is_ok();
            // Once it is known to end, its supervisor will say what follows.
            if in_time || !self.is_ending(generation) {
                return;
            }
        }
    }

    fn is_ending(&self, generation: u64) -> bool {
        let live = self.lane.live.load();
        let same = live.as_ref().filter(|live| live.generation == generation);
        same.is_none_or(|live| live.actor.get_status() >= ActorStatus::Draining)
    }

    fn busy(&self) -> CallError {
        let (actor, waiting_max) = (self.lane.name.clone(), self.waiting_max());
        CallError::Busy { actor, waiting_max }
    }

    fn down(&self) -> CallError {
        CallError::Down { actor: self.lane.name.clone() }
    }

    fn failed(&self, error: CallError) -> CallError {
        self.lane.meter.failed(&error);
        error
    }

    /// From now on `actor` serves the address, unless it is known to have ended already.
    pub(crate) fn bind(&self, generation: u64, actor: ActorRef<Mail<M>>) {
        self.lane.succession.send_if_modified(|now| {
            let is_due = now.bind(generation);
            if is_due {
                self.lane.live.store(Some(Arc::new(Incarnation { generation, actor })));
                // The last one may have died with the stamp that was asked for.
                self.lane.gate.want_stamp();
            }
            is_due
        });
    }

    /// The incarnation `generation` was ended from outside, not by what it was handling. Said
    /// before [`Addr::unbind`].
    pub(crate) fn exonerate(&self, generation: u64) {
        self.lane.killed.lock().unwrap_or_else(PoisonError::into_inner).add(generation);
    }

    /// The incarnation `generation` no longer serves; callers wait for the next, or are told at
    /// once when there will be none.
    pub(crate) fn unbind(&self, generation: u64, is_gone: bool) {
        self.lane.succession.send_if_modified(|now| {
            let is_current = now.unbind(generation, is_gone);
            if is_current {
                self.lane.live.store(None);
            }
            is_current
        });
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
