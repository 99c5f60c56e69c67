//! A call on its way: begun in the node, waited for by a thread or in an event loop.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use tokio::task::AbortHandle;

use super::loops::{Loops, Sleeper};
use super::process::{self, Process};
use crate::error::{Error, Result};
use crate::guard;

/// How often a thread that waits looks whether it was interrupted: soon enough for a person at the
/// keyboard, and far less work than what it waits for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Makes Python's object of an answer. Called with the GIL, by whoever asked.
pub(super) type Make = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// An answer of the node, on its way to Python.
pub(super) trait Answer: Send + 'static {
    /// As an object of Python.
    fn make(self, py: Python<'_>) -> PyResult<Py<PyAny>>;
}

/// Where the answer to a call is put, once.
pub(super) struct Slot {
    state: Mutex<State>,
    is_changed: Condvar,
}

enum State {
    /// Nobody knows the answer yet. The one who sleeps is to be woken.
    Open(Option<Sleeper>),
    Done(Result<Make>),
    Taken,
}

impl Slot {
    fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State::Open(None)), is_changed: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the first outcome; those after it come too late and are dropped.
    fn fill(&self, outcome: Result<Make>) {
        let mut state = self.lock();
        let State::Open(sleeper) = &mut *state else {
            // An answer may own what must not be dropped under the lock.
            drop(state);
            return;
        };
        let sleeper = sleeper.take();
        *state = State::Done(outcome);
        drop(state);
        self.is_changed.notify_all();
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
    }

    /// Waits until there is an outcome, at most so long.
    fn wait(&self, longest: Duration) {
        let is_open = |state: &mut State| matches!(state, State::Open(_));
        drop(self.is_changed.wait_timeout_while(self.lock(), longest, is_open));
    }
}

/// Whoever works on a call. Dropped without an answer, it says that there will be none.
pub(super) struct Filler(Option<Arc<Slot>>);

impl Filler {
    /// Answers.
    pub(super) fn fill<T: Answer>(mut self, outcome: Result<T>) {
        if let Some(slot) = self.0.take() {
            slot.fill(outcome.map(|answer| -> Make { Box::new(|py| answer.make(py)) }));
        }
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take() {
            slot.fill(Err(match std::thread::panicking() {
                true => Error::internal("the work behind a call panicked"),
                false => process::stopped(),
            }));
        }
    }
}

/// A call on its way. Internal to this package: `bizra.Node` waits for it.
///
/// Dropping it, or cancelling it, ends the work.
#[pyclass(frozen, module = "bizra._native")]
pub(crate) struct Call {
    slot: Arc<Slot>,
    work: Option<AbortHandle>,
    loops: Loops,
    process: Process,
}

impl Call {
    /// A call that `filler` answers.
    pub(super) fn new(loops: &Loops) -> (Self, Filler) {
        let slot = Slot::new();
        let filler = Filler(Some(Arc::clone(&slot)));
        let process = Process::this();
        (Self { slot, work: None, loops: loops.clone(), process }, filler)
    }

    /// The call is the work of this task, which ends with it.
    pub(super) fn is_work_of(&mut self, task: AbortHandle) {
        self.work = Some(task);
    }
}

#[pymethods]
impl Call {
    /// Waits without the GIL until there is an answer, and returns or raises it.
    ///
    /// Signals are looked for while it waits; one that raises (Ctrl-C) ends the work.
    fn wait(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.process.check()?;
        // What is there already is taken without a pause, at the exit of the interpreter as well.
        while !self.done() {
            py.detach(|| process::unless_exiting(|| self.slot.wait(LOOK_EVERY)));
            py.check_signals().inspect_err(|_| self.cancel())?;
        }
        self.take(py)
    }

    /// Whether there is an answer.
    fn done(&self) -> bool {
        !matches!(*self.slot.lock(), State::Open(_))
    }

    /// Has the future woken in its event loop when there is an answer; False if there is one already.
    fn notify(&self, event_loop: Py<PyAny>, future: Py<PyAny>) -> PyResult<bool> {
        self.process.check()?;
        match &mut *self.slot.lock() {
            State::Open(sleeper) => {
                *sleeper = Some(self.loops.sleeper(event_loop, future));
                Ok(true)
            }
            State::Done(_) | State::Taken => Ok(false),
        }
    }

    /// The answer, once, when there is one.
    fn take(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let mut state = self.slot.lock();
        if matches!(*state, State::Open(_)) {
            return Err(Error::internal("a call was asked for its answer too early").into());
        }
        let taken = std::mem::replace(&mut *state, State::Taken);
        // Making objects may run any code of Python, which may come back here.
        drop(state);
        match taken {
            State::Done(Ok(make)) => guard::calm(|| make(py))
                .unwrap_or_else(|panic| Err(Error::internal(format!("a fault: {panic}")).into())),
            State::Done(Err(error)) => Err(error.into()),
            State::Open(_) | State::Taken => {
                Err(Error::internal("a call was asked for its answer twice").into())
            }
        }
    }

    /// Ends the work, whose answer nobody waits for any more.
    fn cancel(&self) {
        if let Some(work) = &self.work
            && self.process.is_this()
        {
            work.abort();
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.cancel();
        if !self.process.is_this() {
            // What the runtime shares with threads that are not here must not be touched.
            std::mem::forget((Arc::clone(&self.slot), self.work.clone(), self.loops.clone()));
        }
    }
}
