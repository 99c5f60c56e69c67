//! A small actor that fails on demand, and a tree to keep it in.
#![expect(dead_code, reason = "each test file uses its part")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bizra_omega::actor::{Actor, Failure, Turn};
use bizra_omega::domain::restart::{Allowance, Backoff, ChildRules, GroupRules, Restart, Strategy};
use bizra_omega::messages::addr::{Addr, CallError, Deadline, Message, Reply};
use bizra_omega::messages::event::Events;
use bizra_omega::messages::supervisor::{ActorInfo, ActorState, Fault, SupervisorMsg};
use bizra_omega::metrics::Metrics;
use bizra_omega::supervisor::{ChildSpec, Root, Settings, Watch};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Later than any answer on a busy machine.
pub(crate) fn soon() -> Deadline {
    Deadline::after(20 * SECOND)
}

/// What may be said to a [`Fragile`].
#[derive(Debug)]
pub(crate) enum FragileMsg {
    /// Answers with the number and the incarnation. Idempotent.
    Echo { number: u64, reply: Reply<(u64, u64)> },
    /// Writes the number down, then answers. Not idempotent.
    Write { number: u64, reply: Reply<u64> },
    /// Writes the number down and panics before it answers. Not idempotent.
    WriteAndDie { number: u64, reply: Reply<u64> },
    /// Panics. Idempotent, so that it is said again.
    Poison { reply: Reply<()> },
    /// Sleeps in the handler, then answers. Idempotent.
    Sleep { pause: Duration, is_long: bool, reply: Reply<()> },
    /// Computes for so long without a pause, the first time; then answers. Idempotent.
    Spin { time: Duration, reply: Reply<()> },
    /// Answers with the spans the handler runs in, outermost first, and those of the work it hands
    /// on. Idempotent.
    Spans { reply: Reply<[String; 2]> },
    /// Hands a sleep on to a task that then writes the number down. Not idempotent.
    WriteLater { number: u64, pause: Duration, reply: Reply<()> },
    /// Writes the number down; not answered.
    Cast { number: u64 },
}

impl Message for FragileMsg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Echo { .. } => "echo",
            Self::Write { .. } => "write",
            Self::WriteAndDie { .. } => "write_and_die",
            Self::Poison { .. } => "poison",
            Self::Sleep { .. } => "sleep",
            Self::Spin { .. } => "spin",
            Self::Spans { .. } => "spans",
            Self::WriteLater { .. } => "write_later",
            Self::Cast { .. } => "cast",
        }
    }

    fn is_idempotent(&self) -> bool {
        matches!(
            self,
            Self::Echo { .. } | Self::Poison { .. } | Self::Sleep { .. } | Self::Spin { .. }
        )
    }

    fn is_abandoned(&self) -> bool {
        match self {
            Self::Echo { reply, .. } => reply.is_closed(),
            Self::Write { reply, .. } | Self::WriteAndDie { reply, .. } => reply.is_closed(),
            Self::Poison { reply } => reply.is_closed(),
            Self::Spans { reply } => reply.is_closed(),
            Self::Sleep { reply, .. } | Self::Spin { reply, .. } => reply.is_closed(),
            Self::WriteLater { reply, .. } => reply.is_closed(),
            Self::Cast { .. } => false,
        }
    }
}

/// What outlives a [`Fragile`]: what happened to it, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    pub(crate) lines: Arc<Mutex<Vec<String>>>,
    pub(crate) starts: Arc<AtomicU64>,
}

impl Journal {
    pub(crate) fn write(&self, line: impl Into<String>) {
        self.lines.lock().unwrap().push(line.into());
    }

    pub(crate) fn read(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, line: &str) -> usize {
        self.read().iter().filter(|written| *written == line).count()
    }
}

/// Fails on demand.
#[derive(Clone, Debug)]
pub(crate) struct Fragile {
    pub(crate) name: &'static str,
    pub(crate) journal: Journal,
    /// The first starts that fail.
    pub(crate) failing_starts: u64,
    /// How long each start takes.
    pub(crate) start_pause: Duration,
    /// How long a graceful stop takes.
    pub(crate) stop_pause: Duration,
}

impl Fragile {
    pub(crate) fn new(name: &'static str, journal: &Journal) -> Self {
        Self {
            name,
            journal: journal.clone(),
            failing_starts: 0,
            start_pause: Duration::ZERO,
            stop_pause: Duration::ZERO,
        }
    }
}

impl Actor for Fragile {
    type Msg = FragileMsg;
    /// Its incarnation.
    type State = u64;

    async fn start(&self) -> Result<u64, Failure> {
        let start = self.journal.starts.fetch_add(1, Ordering::SeqCst) + 1;
        if !self.start_pause.is_zero() {
            tokio::time::sleep(self.start_pause).await;
        }
        if start <= self.failing_starts {
            return Err("not yet".into());
        }
        self.journal.write(format!("start {}", self.name));
        Ok(start)
    }

    async fn handle(
        &self,
        message: FragileMsg,
        turn: Turn,
        start: &mut u64,
    ) -> Result<(), Failure> {
        match message {
            FragileMsg::Echo { number, reply } => reply.send((number, *start)),
            FragileMsg::Write { number, reply } => {
                self.journal.write(number.to_string());
                reply.send(number);
            }
            FragileMsg::WriteAndDie { number, .. } => {
                self.journal.write(number.to_string());
                panic!("died over {number}");
            }
            FragileMsg::Poison { .. } => panic!("poisoned"),
            FragileMsg::Sleep { pause, is_long, reply } => {
                if is_long {
                    turn.is_long(pause + SECOND);
                }
                self.journal.write("sleep");
                tokio::time::sleep(pause).await;
                reply.send(());
            }
            FragileMsg::Spin { time, reply } => {
                let began = std::time::Instant::now();
                while *start == 1 && began.elapsed() < time {
                    std::hint::spin_loop();
                }
                reply.send(());
            }
            FragileMsg::Spans { reply } => {
                let here = spans();
                turn.spawn(async move { reply.send([here, spans()]) });
            }
            FragileMsg::WriteLater { number, pause, reply } => {
                let journal = self.journal.clone();
                turn.spawn(async move {
                    tokio::time::sleep(pause).await;
                    journal.write(number.to_string());
                    reply.send(());
                });
            }
            FragileMsg::Cast { number } => self.journal.write(number.to_string()),
        }
        Ok(())
    }

    async fn stop(&self, _: &mut u64, _: bool) {
        tokio::time::sleep(self.stop_pause).await;
        self.journal.write(format!("stop {}", self.name));
    }
}

/// The names of the spans around this, outermost first.
fn spans() -> String {
    use tracing_subscriber::registry::{LookupSpan, Registry};
    let id = tracing::Span::current().id();
    tracing::dispatcher::get_default(|dispatch| {
        let registry = dispatch.downcast_ref::<Registry>();
        let span = registry.zip(id.as_ref()).and_then(|(registry, id)| registry.span(id));
        let names = span.map(|span| span.scope().from_root().map(|span| span.name()).collect());
        names.map(|names: Vec<_>| names.join("/")).unwrap_or_default()
    })
}

pub(crate) fn allow(restarts_max: u32, seconds: u64) -> Allowance {
    Allowance { restarts_max, window: Duration::from_secs(seconds) }
}

pub(crate) fn permanent() -> ChildRules {
    ChildRules { restart: Restart::Permanent, is_critical: false, allowance: allow(1000, 10) }
}

pub(crate) fn settings(strategy: Strategy) -> Settings {
    let metrics = Metrics::new();
    Settings {
        rules: GroupRules {
            strategy,
            allowance: allow(10_000, 60),
            backoff: Backoff {
                first: Duration::from_millis(10),
                longest: Duration::from_secs(10),
                stable: Duration::from_secs(30),
            },
            retry: Duration::from_secs(30),
        },
        watch: Watch {
            heartbeat: Duration::from_millis(100),
            frozen: Duration::from_millis(500),
            start: SECOND,
        },
        events: Events::new(metrics.events_missed()),
        metrics,
    }
}

/// One child of `make` with `waiting_max` places.
pub(crate) fn child(
    settings: &Settings,
    rules: ChildRules,
    waiting_max: usize,
    fragile: Fragile,
) -> (ChildSpec, Addr<FragileMsg>) {
    let name = fragile.name;
    let make = move || fragile.clone();
    ChildSpec::actor(name, rules, SECOND, waiting_max, &settings.metrics, make)
}

pub(crate) async fn root(settings: &Settings, children: Vec<ChildSpec>) -> Root {
    let addr = Root::address(&settings.metrics);
    Root::start(addr, settings.clone(), children).await.unwrap()
}

/// A root over one permanent [`Fragile`] called `fragile`.
pub(crate) async fn alone() -> (Root, Addr<FragileMsg>, Journal) {
    let settings = settings(Strategy::OneForOne);
    let journal = Journal::default();
    let fragile = Fragile::new("fragile", &journal);
    let (spec, addr) = child(&settings, permanent(), 64, fragile);
    (root(&settings, vec![spec]).await, addr, journal)
}

pub(crate) async fn drill(root: &Root, name: &str, fault: Fault) {
    let ask = |reply| SupervisorMsg::Drill { name: name.to_owned(), fault, reply };
    root.addr().call(Deadline::after(SECOND), ask).await.unwrap().unwrap();
}

pub(crate) async fn tree(root: &Root) -> Vec<ActorInfo> {
    let ask = |reply| SupervisorMsg::Tree { reply };
    root.addr().call(Deadline::after(SECOND), ask).await.unwrap()
}

pub(crate) async fn info(root: &Root, name: &str) -> ActorInfo {
    let tree = tree(root).await;
    let mut all = tree.iter().chain(tree.iter().flat_map(|info| &info.children));
    all.find(|info| info.name.as_str() == name).unwrap().clone()
}

/// Waits until `name` stands like this; panics after a minute.
pub(crate) async fn until_state(root: &Root, name: &str, state: ActorState) {
    let reached = async {
        while info(root, name).await.state != state {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(60 * SECOND, reached).await.unwrap();
}

/// Waits until `condition` holds; panics after a minute.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    let reached = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(60 * SECOND, reached).await.unwrap();
}

pub(crate) async fn echo(addr: &Addr<FragileMsg>, number: u64) -> Result<(u64, u64), CallError> {
    addr.call(Deadline::after(5 * SECOND), |reply| FragileMsg::Echo { number, reply }).await
}

pub(crate) async fn write(addr: &Addr<FragileMsg>, number: u64) -> Result<u64, CallError> {
    addr.call(Deadline::after(5 * SECOND), |reply| FragileMsg::Write { number, reply }).await
}
