//! A node with the runtime it runs on, from its start to its end.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bizra_omega::config::Config;
use bizra_omega::domain::inference::request;
use bizra_omega::messages::addr::Deadline;
use bizra_omega::messages::roster::Roster;
use bizra_omega::node::{self, Embedded, Node, StartError};
use serde_json::json;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::AbortHandle;

use super::call::{Answer, Call, Filler};
use super::folder::Folder;
use super::lanes::Lanes;
use super::loops::Loops;
use super::process::{self, Process};
use crate::error::{Error, Family, Result};

/// Calls on their way in one node, those included that wait for their turn: some hundred megabytes
/// at most, of ordinary messages.
const CALLS_MAX: usize = 65_536;

/// Seconds that a call may be allowed: longer ones are mistakes in the unit.
const TIMEOUT_S_MAX: f64 = 86_400.0;

/// Time for the runtime's own threads to end once every actor has: they finish what they compute.
const THREADS_WAIT: Duration = Duration::from_secs(2);

/// A node that others may reach, or that only this process does.
#[derive(Debug)]
enum Alive {
    Open(Node),
    Inside(Embedded),
}

impl Alive {
    async fn start(config: Config, is_open: bool) -> Result<Self, StartError> {
        Ok(match is_open {
            true => Self::Open(node::start(config).await?),
            false => Self::Inside(node::start_embedded(config).await?),
        })
    }

    fn roster(&self) -> &Roster {
        match self {
            Self::Open(node) => node.roster(),
            Self::Inside(node) => node.roster(),
        }
    }

    fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Open(node) => Some(node.address()),
            Self::Inside(_) => None,
        }
    }

    async fn ended(&self) -> String {
        match self {
            Self::Open(node) => node.ended().await.reason,
            Self::Inside(node) => node.ended().await.reason,
        }
    }

    async fn shutdown(&self) {
        match self {
            Self::Open(node) => node.shutdown().await,
            Self::Inside(node) => node.shutdown().await,
        };
    }
}

/// What is taken apart when a node stops.
#[derive(Debug)]
struct Parts {
    runtime: Runtime,
    alive: Arc<Alive>,
    folder: Folder,
    loops_thread: JoinHandle<()>,
}

/// How far the end is.
enum Phase {
    Running,
    /// Those who wait for the end.
    Stopping(Vec<Filler>),
    /// The actors have ended and the data directory is free.
    Stopped,
    /// No thread of it is left that could take the GIL.
    Gone,
}

/// What the parts of a node that Python holds have in common.
pub(super) struct Inner {
    process: Process,
    parts: Mutex<Option<Parts>>,
    phase: Mutex<Phase>,
    is_changed: Condvar,
    /// Why it ended by itself, if it did.
    ended: Arc<OnceLock<String>>,
    handle: Handle,
    loops: Loops,
    calls: Arc<Semaphore>,
    /// True once the node is told to stop: streams end then, since a reader may never come.
    is_stopping: watch::Sender<bool>,
    pub(super) roster: Roster,
    pub(super) lanes: Lanes,
    pub(super) facts: Facts,
}

/// What does not change while a node runs.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) data_dir: PathBuf,
    pub(super) is_temporary: bool,
    pub(super) address: Option<SocketAddr>,
    /// Time that a call may take unless it says otherwise.
    pub(super) usual: Duration,
    /// The same of a prompt.
    pub(super) prompt: Duration,
    pub(super) prompts: request::Limits,
    pub(super) has_drills: bool,
}

impl Facts {
    fn new(config: &Config, folder: &Folder, address: Option<SocketAddr>) -> Self {
        Self {
            data_dir: config.node.data_dir.clone(),
            is_temporary: folder.is_temporary(),
            address,
            usual: Duration::from_secs(config.http.request_seconds),
            prompt: Duration::from_secs(config.http.generate_seconds),
            prompts: request::Limits {
                prompt_chars_max: config.inference.prompt_chars_max,
                max_tokens_max: config.inference.max_tokens_max,
                max_tokens_default: config.inference.max_tokens_default,
                ..request::Limits::default()
            },
            has_drills: config.chaos.enabled,
        }
    }
}

/// A running node. When the last of its clones is dropped, the node stops by itself.
pub(super) struct Running(Arc<Owner>);

/// The one that stops the node when it goes.
struct Owner(Arc<Inner>);

impl Clone for Running {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl std::ops::Deref for Running {
    type Target = Arc<Inner>;

    fn deref(&self) -> &Arc<Inner> {
        &self.0.0
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if self.0.process.is_this() {
            self.0.stop();
        } else {
            // The threads of a forked process are not there, and the folder is its parent's.
            std::mem::forget(Arc::clone(&self.0));
        }
    }
}

impl Running {
    /// Starts a node on a runtime of its own. Waits for it: call it on a thread of its own.
    pub(super) fn start(
        config: Config,
        folder: Folder,
        is_open: bool,
        loops: Loops,
        loops_thread: JoinHandle<()>,
    ) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .thread_name("bizra-node")
            .enable_all()
            .build()
            .map_err(|error| Error::internal(format!("no runtime: {error}")))?;
        let started = runtime.block_on(Alive::start(config.clone(), is_open));
        let alive = match started {
            Ok(alive) => Arc::new(alive),
            Err(error) => {
                runtime.shutdown_timeout(THREADS_WAIT);
                return Err(error.into());
            }
        };
        let ended = Arc::<OnceLock<String>>::default();
        let (watched, told) = (Arc::clone(&alive), Arc::clone(&ended));
        runtime.spawn(async move {
            let _ = told.set(watched.ended().await);
        });
        let roster = alive.roster().clone();
        let inner = Arc::new(Inner {
            process: Process::this(),
            lanes: Lanes::new(&roster, &config),
            facts: Facts::new(&config, &folder, alive.address()),
            roster,
            phase: Mutex::new(Phase::Running),
            is_changed: Condvar::new(),
            ended,
            handle: runtime.handle().clone(),
            loops,
            calls: Arc::new(Semaphore::new(CALLS_MAX)),
            is_stopping: watch::channel(false).0,
            parts: Mutex::new(Some(Parts { runtime, alive, folder, loops_thread })),
        });
        process::remember(&inner);
        Ok(Self(Arc::new(Owner(inner))))
    }
}

impl Inner {
    pub(super) fn is_ours(&self) -> bool {
        self.process.is_this()
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether calls are taken.
    pub(super) fn is_running(&self) -> bool {
        self.check().is_ok()
    }

    /// # Errors
    /// When no call is taken: in a forked process, or because the node stopped or ended by itself.
    pub(super) fn check(&self) -> Result<()> {
        self.process.check()?;
        if !matches!(*self.phase(), Phase::Running) {
            return Err(process::stopped());
        }
        if let Some(reason) = self.ended.get() {
            let message = format!("the node has ended: {reason}");
            return Err(Error::unavailable(message).code("NODE_ENDED"));
        }
        Ok(())
    }

    /// Begins a call of an actor, when there is a place in its lane.
    ///
    /// # Errors
    /// When no call is taken, or the time is no time.
    pub(super) fn begin<T: Answer>(
        &self,
        lane: &Arc<Semaphore>,
        deadline: Deadline,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<Call> {
        let lane = Arc::clone(lane);
        self.spawn(async move {
            // The lane is never closed.
            let place = tokio::time::timeout_at(deadline.instant(), lane.acquire_owned()).await;
            let _place = place.map_err(|_| late("no place for the call became free in time"))?;
            work.await
        })
    }

    /// Begins work that ends with the call.
    ///
    /// # Errors
    /// When no call is taken.
    pub(super) fn spawn<T: Answer>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<Call> {
        self.check()?;
        let place = Arc::clone(&self.calls).try_acquire_owned().map_err(|_| {
            let message = format!("{CALLS_MAX} calls of this program are on their way already");
            Error::unavailable(message).code("NODE_BUSY")
        })?;
        let (mut call, filler) = Call::new(&self.loops);
        let task = self.handle.spawn(async move {
            let _place = place;
            filler.fill(work.await);
        });
        call.is_work_of(task.abort_handle());
        Ok(call)
    }

    /// A call that is answered already.
    pub(super) fn answered<T: Answer>(&self, answer: T) -> Result<Call> {
        self.check()?;
        let (call, filler) = Call::new(&self.loops);
        filler.fill(Ok(answer));
        Ok(call)
    }

    /// Begins the work behind a stream, which ends when the node is told to stop. What became of it
    /// is sent to `end`.
    pub(super) fn spawn_stream<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
        end: oneshot::Sender<Result<T>>,
    ) -> Result<AbortHandle> {
        self.check()?;
        let mut is_stopping = self.is_stopping.subscribe();
        let task = self.handle.spawn(async move {
            let outcome = tokio::select! {
                biased;
                _ = is_stopping.wait_for(|is_stopping| *is_stopping) => Err(process::stopped()),
                outcome = work => outcome,
            };
            // Nobody listens if the stream was dropped.
            let _ = end.send(outcome);
        });
        Ok(task.abort_handle())
    }

    /// Stops the actors in order, on a thread of its own. Does not wait.
    pub(super) fn stop(self: &Arc<Self>) {
        let taken = self.parts.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(parts) = taken else { return };
        self.is_stopping.send_replace(true);
        *self.phase() = Phase::Stopping(Vec::new());
        let stopping = Stopping(Arc::clone(self));
        let thread = std::thread::Builder::new().name("bizra-stop".to_owned());
        // Without a thread the parts are dropped here, which stops them without order.
        let _ = thread.spawn(move || stopping.stop(parts));
    }

    /// A call that is answered when the node has stopped; told to stop it is now.
    pub(super) fn stopped(self: &Arc<Self>) -> Result<Call> {
        self.process.check()?;
        self.stop();
        let (call, filler) = Call::new(&self.loops);
        let mut phase = self.phase();
        if let Phase::Stopping(waiting) = &mut *phase {
            waiting.push(filler);
        } else {
            drop(phase);
            filler.fill(Ok(()));
        }
        Ok(call)
    }

    /// Waits until nothing of it is left, at the latest until then.
    pub(super) fn wait_until_gone(&self, until: Instant) {
        let mut phase = self.phase();
        while !matches!(*phase, Phase::Gone) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.is_changed.wait_timeout(phase, left);
            (phase, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Says how far the end is, whatever happens on the way.
struct Stopping(Arc<Inner>);

impl Stopping {
    fn stop(self, parts: Parts) {
        let Parts { runtime, alive, folder, loops_thread } = parts;
        runtime.block_on(alive.shutdown());
        drop(alive);
        // Every call that is still on its way is told now.
        runtime.shutdown_timeout(THREADS_WAIT);
        drop(folder);
        self.reach(Phase::Stopped);
        self.0.loops.quit();
        // It may wait for the GIL, but never for one that is held until this node has stopped.
        let _ = loops_thread.join();
    }

    fn reach(&self, next: Phase) {
        let before = std::mem::replace(&mut *self.0.phase(), next);
        self.0.is_changed.notify_all();
        if let Phase::Stopping(waiting) = before {
            for filler in waiting {
                filler.fill(Ok(()));
            }
        }
    }
}

impl Drop for Stopping {
    fn drop(&mut self) {
        self.reach(Phase::Gone);
    }
}

/// The deadline of a call that says how long it may take, in seconds, or does not.
///
/// # Errors
/// When that is no number above zero and up to a day.
pub(super) fn deadline(timeout: Option<f64>, usual: Duration) -> Result<Deadline> {
    let Some(seconds) = timeout else { return Ok(Deadline::after(usual)) };
    if !(seconds > 0.0 && seconds <= TIMEOUT_S_MAX) {
        let message = format!("timeout is {seconds}; it is above 0 and at most {TIMEOUT_S_MAX} s");
        let error = Error::invalid(message).code("OUT_OF_RANGE");
        return Err(error.details(json!({ "argument": "timeout" })));
    }
    Ok(Deadline::after(Duration::from_secs_f64(seconds)))
}

/// The time of a call is over.
pub(super) fn late(message: impl Into<String>) -> Error {
    Error::new(Family::Timeout, message)
}
