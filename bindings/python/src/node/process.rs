//! What holds for the whole process: forks, the exit of the interpreter, the nodes there are.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError, Weak};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use super::running::Inner;
use crate::error::{Error, Result};

/// Set when the interpreter ends: from then on no thread of ours may take the GIL.
static IS_EXITING: AtomicBool = AtomicBool::new(false);

/// The process in which the first node was started; 0 before that.
static STARTED_IN: AtomicU32 = AtomicU32::new(0);

/// Every node of this process, also those that are stopping.
static NODES: Mutex<Vec<Weak<Inner>>> = Mutex::new(Vec::new());

/// The longest wait for the list of nodes. It is held for less than a microsecond; only in a forked
/// child can it be held for ever, by a thread that is not there.
const LIST_WAIT: Duration = Duration::from_millis(200);

/// The process in which something was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process(u32);

impl Process {
    pub(super) fn this() -> Self {
        Self(std::process::id())
    }

    pub(super) fn is_this(self) -> bool {
        self == Self::this()
    }

    /// # Errors
    /// `FORKED` in any other process: the threads of the node are not there.
    pub(super) fn check(self) -> Result<()> {
        if self.is_this() {
            return Ok(());
        }
        let Self(made_in) = self;
        let here = std::process::id();
        let message = format!(
            "this node was started by process {made_in} and cannot be used in process {here}, which \
             was forked from it; {REMEDY}"
        );
        Err(forked(message, made_in, here))
    }
}

const REMEDY: &str = "start processes by the method \"spawn\", or fork before the first node";

fn forked(message: String, started_by: u32, here: u32) -> Error {
    let details = serde_json::json!({ "started_by": started_by, "process": here });
    Error::unavailable(message).code("FORKED").details(details)
}

/// Whether a node may be started here.
///
/// # Errors
/// `NODE_STOPPED` when the interpreter ends, and `FORKED` in a process that was forked from one with
/// a node: libraries of the runtime keep tables for the whole process, which the threads that are not
/// there may have left in any state.
pub(super) fn may_start() -> Result<()> {
    if is_exiting() {
        return Err(stopped());
    }
    let here = std::process::id();
    match STARTED_IN.compare_exchange(0, here, Ordering::AcqRel, Ordering::Acquire) {
        Err(first) if first != here => {
            let message = format!(
                "no node can be started in process {here}, which was forked from process {first} \
                 after that had started one; {REMEDY}"
            );
            Err(forked(message, first, here))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// What a call to a node is told that was stopped.
pub(super) fn stopped() -> Error {
    Error::unavailable("the node was stopped").code("NODE_STOPPED")
}

/// Whether the interpreter ends.
pub(super) fn is_exiting() -> bool {
    IS_EXITING.load(Ordering::Acquire)
}

/// Runs `work`, which waits without the GIL. When the interpreter ends meanwhile, this thread must
/// not take the GIL again, and does not return; it is a daemon thread, which the exit does not wait
/// for.
pub(super) fn unless_exiting<T>(work: impl FnOnce() -> T) -> T {
    let result = work();
    while is_exiting() {
        std::thread::park();
    }
    result
}

fn nodes() -> Option<MutexGuard<'static, Vec<Weak<Inner>>>> {
    let until = Instant::now() + LIST_WAIT;
    loop {
        match NODES.try_lock() {
            Ok(nodes) => return Some(nodes),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::yield_now(),
            Err(TryLockError::WouldBlock) => return None,
        }
    }
}

/// Has the node stopped when the interpreter ends.
pub(super) fn remember(node: &Arc<Inner>) {
    if let Some(mut nodes) = nodes() {
        nodes.retain(|node| node.strong_count() > 0);
        nodes.push(Arc::downgrade(node));
    }
}

/// Stops every node of this process and waits, at most so many seconds. Called at the exit of the
/// interpreter; no node can be used afterwards.
#[pyfunction]
pub(super) fn stop_all(py: Python<'_>, seconds: f64) {
    let wait = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    py.detach(|| {
        let until = Instant::now() + wait;
        let all = nodes().map(|nodes| nodes.iter().filter_map(Weak::upgrade).collect::<Vec<_>>());
        // Those of a process that this one was forked from are not ours.
        let ours: Vec<_> = all.into_iter().flatten().filter(|node| node.is_ours()).collect();
        for node in &ours {
            node.stop();
        }
        for node in &ours {
            node.wait_until_gone(until);
        }
    });
    IS_EXITING.store(true, Ordering::Release);
}
