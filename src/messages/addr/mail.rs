//! What travels to an actor: messages, and the places they hold on the way.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;

use super::Deadline;
use crate::messages::supervisor::Fault;

/// What lies in an actor's mailbox.
#[derive(Debug)]
pub(crate) enum Mail<M> {
    /// Something said by a caller.
    Work(Work<M>),
    /// The supervisor asks for a sign of life.
    Probe,
    /// A drill: fail in this way.
    Fault(Fault),
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
    /// When it was sent, of some messages: reading the clock for each would cost more than the
    /// figure is worth.
    pub(crate) sent: Option<Instant>,
}

impl<M> Work<M> {
    pub(super) fn new(message: M, ticket: Ticket, deadline: Option<Deadline>) -> Self {
        let sent = ticket.0.gate.stamps().then(Instant::now);
        Self { message, ticket, deadline, span: tracing::Span::current(), sent }
    }
}

/// Counts the messages behind one address, and lets no more in than may wait.
#[derive(Debug)]
pub(super) struct Gate {
    waiting: AtomicUsize,
    waiting_max: usize,
    /// Whether the next message is to say when it was sent.
    wants_stamp: AtomicBool,
    /// Casts that were lost with a mailbox.
    dead_letters: Counter,
}

impl Gate {
    pub(super) fn new(waiting_max: usize, dead_letters: Counter) -> Self {
        let wants_stamp = AtomicBool::new(true);
        Self { waiting: AtomicUsize::new(0), waiting_max, wants_stamp, dead_letters }
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(super) fn waiting_max(&self) -> usize {
        self.waiting_max
    }

    /// A place, unless all are taken.
    pub(super) fn enter(self: &Arc<Self>, is_cast: bool) -> Option<Ticket> {
        // Looked at before it is written: a flood must not fight over the line with the work.
        if self.waiting.load(Ordering::Acquire) >= self.waiting_max {
            return None;
        }
        if self.waiting.fetch_add(1, Ordering::AcqRel) >= self.waiting_max {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Ticket::new(self, is_cast, true))
    }

    /// Asks one more message to say when it was sent.
    pub(super) fn want_stamp(&self) {
        self.wants_stamp.store(true, Ordering::Relaxed);
    }

    fn stamps(&self) -> bool {
        // Read before it is written: callers on several cores share the line.
        self.wants_stamp.load(Ordering::Relaxed) && self.wants_stamp.swap(false, Ordering::Relaxed)
    }
}

/// A place among those that may wait behind an address. It is free again when the last clone is
/// dropped: after the work, or with the mailbox of a dead actor.
#[derive(Clone, Debug)]
pub struct Ticket(Arc<Place>);

#[derive(Debug)]
struct Place {
    gate: Arc<Gate>,
    is_taken: AtomicBool,
    is_cast: bool,
    /// Whether the gate counts it; not when a successor took the place over.
    is_counted: AtomicBool,
}

impl Ticket {
    fn new(gate: &Arc<Gate>, is_cast: bool, is_counted: bool) -> Self {
        Self(Arc::new(Place {
            gate: Arc::clone(gate),
            is_taken: AtomicBool::new(false),
            is_cast,
            is_counted: AtomicBool::new(is_counted),
        }))
    }

    /// Marks that an actor has begun with the message.
    pub(crate) fn take(&self) {
        self.0.is_taken.store(true, Ordering::Release);
    }

    /// Asks one more message to say when it was sent.
    pub(crate) fn want_stamp(&self) {
        self.0.gate.want_stamp();
    }

    pub(super) fn is_taken(&self) -> bool {
        self.0.is_taken.load(Ordering::Acquire)
    }

    /// The same place for saying the message again: whoever was let in once is not refused because
    /// an actor died.
    pub(super) fn renew(self) -> Self {
        let is_counted = self.0.is_counted.swap(false, Ordering::AcqRel);
        Self::new(&self.0.gate, self.0.is_cast, is_counted)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_cast && !*self.is_taken.get_mut() {
            self.gate.dead_letters.inc();
        }
        if *self.is_counted.get_mut() {
            self.gate.waiting.fetch_sub(1, Ordering::AcqRel);
        }
    }
}
