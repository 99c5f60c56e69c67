//! What a message costs: direct calls, tokio channels, ractor, and addresses, in one run. Read the
//! ratios; absolute times are the machine's.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bizra_omega::actor::{Actor, Failure, Turn};
use bizra_omega::domain::restart::{Allowance, Backoff, ChildRules, GroupRules, Restart, Strategy};
use bizra_omega::messages::addr::{Addr, Deadline, Message, Reply};
use bizra_omega::messages::event::Events;
use bizra_omega::messages::supervisor::{Fault, SupervisorMsg};
use bizra_omega::metrics::Metrics;
use bizra_omega::supervisor::{ChildSpec, Root, Settings, Watch};
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group};
use ed25519_dalek::{Signer, SigningKey};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

#[path = "mailbox/ratios.rs"]
mod ratios;

const CALLERS: u64 = 64;
const BATCH: u64 = 64;

/// The work behind each message.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Work {
    /// Nothing.
    Idle,
    /// As long as a gate check.
    Gate,
    /// One Ed25519 signature.
    Sign,
}

#[derive(Clone, Debug)]
struct Worker {
    work: Work,
    key: Arc<SigningKey>,
}

impl Worker {
    fn new(work: Work) -> Self {
        Self { work, key: Arc::new(SigningKey::from_bytes(&[7; 32])) }
    }

    fn once(&self, input: u64) -> u64 {
        match self.work {
            Work::Idle => input,
            Work::Gate => (0..300).fold(black_box(input) | 1, |x, _| {
                let x = x ^ (x << 13);
                let x = x ^ (x >> 7);
                x ^ (x << 17)
            }),
            Work::Sign => {
                let signature = self.key.sign(&input.to_le_bytes());
                u64::from(signature.to_bytes()[0])
            }
        }
    }
}

#[derive(Debug)]
enum WorkMsg {
    One {
        input: u64,
        reply: Reply<u64>,
    },
    Many {
        inputs: Vec<u64>,
        reply: Reply<u64>,
    },
    /// Like `One`, on whatever core is free.
    Spread {
        input: u64,
        reply: Reply<u64>,
    },
}

impl Message for WorkMsg {
    fn kind(&self) -> &'static str {
        match self {
            Self::One { .. } => "one",
            Self::Many { .. } => "many",
            Self::Spread { .. } => "spread",
        }
    }

    fn is_idempotent(&self) -> bool {
        true
    }

    fn is_abandoned(&self) -> bool {
        match self {
            Self::One { reply, .. } | Self::Many { reply, .. } | Self::Spread { reply, .. } => {
                reply.is_closed()
            }
        }
    }
}

impl Actor for Worker {
    type Msg = WorkMsg;
    type State = ();
    const STARTS_AT_ONCE: bool = true;

    async fn start(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn handle(&self, message: WorkMsg, turn: Turn, (): &mut ()) -> Result<(), Failure> {
        match message {
            WorkMsg::One { input, reply } => reply.send(self.once(input)),
            WorkMsg::Many { inputs, reply } => {
                reply.send(inputs.into_iter().fold(0, |sum, input| sum ^ self.once(input)));
            }
            WorkMsg::Spread { input, reply } => {
                let worker = self.clone();
                turn.spawn(async move { reply.send(worker.once(input)) });
            }
        }
        Ok(())
    }
}

/// The same worker as a plain ractor actor.
#[derive(Debug)]
struct Plain(Worker);

impl ractor::Actor for Plain {
    type Msg = (u64, ractor::RpcReplyPort<u64>);
    type State = ();
    type Arguments = ();

    async fn pre_start(
        &self,
        _: ractor::ActorRef<Self::Msg>,
        (): (),
    ) -> Result<(), ractor::ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ractor::ActorRef<Self::Msg>,
        (input, reply): Self::Msg,
        (): &mut (),
    ) -> Result<(), ractor::ActorProcessingErr> {
        let _ = reply.send(self.0.once(input));
        Ok(())
    }
}

fn settings() -> Settings {
    let metrics = Metrics::new();
    Settings {
        rules: GroupRules {
            strategy: Strategy::OneForOne,
            allowance: Allowance { restarts_max: u32::MAX, window: Duration::from_secs(1) },
            backoff: Backoff {
                first: Duration::ZERO,
                longest: Duration::ZERO,
                stable: Duration::ZERO,
            },
            retry: Duration::from_secs(1),
        },
        watch: Watch {
            heartbeat: Duration::from_secs(1),
            frozen: Duration::from_secs(2),
            start: Duration::from_secs(1),
        },
        events: Events::new(metrics.events_missed()),
        metrics,
    }
}

async fn supervised(work: Work) -> (Root, Addr<WorkMsg>) {
    let settings = settings();
    let rules = ChildRules {
        restart: Restart::Permanent,
        is_critical: false,
        allowance: settings.rules.allowance,
    };
    let make = move || Worker::new(work);
    let (spec, addr) =
        ChildSpec::actor("worker", rules, Duration::from_secs(1), 4096, &settings.metrics, make);
    let root = Root::start(Root::address(&settings.metrics), settings, vec![spec]);
    (root.await.expect("a worker starts"), addr)
}

fn wait() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

/// Runs `calls` calls shared out between `callers` tasks and returns how long they took.
async fn timed<F, C>(calls: u64, callers: u64, call: C) -> Duration
where
    C: Fn(u64) -> F + Clone + Send + 'static,
    F: Future<Output = u64> + Send,
{
    let began = Instant::now();
    let each = calls.div_ceil(callers);
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let call = call.clone();
            tokio::spawn(async move {
                for number in 0..each {
                    black_box(call(caller ^ number).await);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("callers do not panic");
    }
    began.elapsed()
}

type Group<'a> = BenchmarkGroup<'a, criterion::measurement::WallTime>;

fn direct(group: &mut Group<'_>, work: Work) {
    let worker = Worker::new(work);
    group.bench_function("direct", |b| b.iter(|| worker.once(black_box(1))));
}

fn direct_on_all_cores(group: &mut Group<'_>, runtime: &Runtime, work: Work) {
    let worker = Worker::new(work);
    group.bench_function("direct, 64 tasks", |b| {
        b.to_async(runtime).iter_custom(|calls| {
            let worker = worker.clone();
            timed(calls, CALLERS, move |input| {
                let worker = worker.clone();
                async move {
                    let output = worker.once(input);
                    tokio::task::yield_now().await;
                    output
                }
            })
        });
    });
}

fn channels(group: &mut Group<'_>, runtime: &Runtime, work: Work) {
    let (sender, mut receiver) = mpsc::channel::<(u64, oneshot::Sender<u64>)>(4096);
    let worker = Worker::new(work);
    runtime.spawn(async move {
        while let Some((input, reply)) = receiver.recv().await {
            let _ = reply.send(worker.once(input));
        }
    });
    group.bench_function("tokio mpsc + oneshot, 64 callers", |b| {
        b.to_async(runtime).iter_custom(|calls| {
            let sender = sender.clone();
            timed(calls, CALLERS, move |input| {
                let sender = sender.clone();
                async move {
                    let (reply, answer) = oneshot::channel();
                    let _ = sender.send((input, reply)).await;
                    answer.await.unwrap_or_default()
                }
            })
        });
    });
}

fn plain_ractor(group: &mut Group<'_>, runtime: &Runtime, work: Work) {
    let spawned = ractor::Actor::spawn(None, Plain(Worker::new(work)), ());
    let (actor, _) = runtime.block_on(spawned).expect("a plain actor starts");
    for (name, callers) in [("ractor call", 1), ("ractor call, 64 callers", CALLERS)] {
        group.bench_function(name, |b| {
            b.to_async(runtime).iter_custom(|calls| {
                let actor = actor.clone();
                timed(calls, callers, move |input| {
                    let actor = actor.clone();
                    async move {
                        let limit = Some(Duration::from_secs(30));
                        match actor.call(|reply| (input, reply), limit).await {
                            Ok(ractor::rpc::CallResult::Success(output)) => output,
                            _ => 0,
                        }
                    }
                })
            });
        });
    }
}

fn addresses(group: &mut Group<'_>, runtime: &Runtime, work: Work) {
    let (_root, addr) = runtime.block_on(supervised(work));
    for (name, callers) in [("Addr::call", 1), ("Addr::call, 64 callers", CALLERS)] {
        group.bench_function(name, |b| {
            b.to_async(runtime).iter_custom(|calls| {
                let addr = addr.clone();
                timed(calls, callers, move |input| {
                    let addr = addr.clone();
                    async move {
                        let ask = |reply| WorkMsg::One { input, reply };
                        addr.call(wait(), ask).await.unwrap_or_default()
                    }
                })
            });
        });
    }
    group.bench_function("Addr::call handed on, 64 callers", |b| {
        b.to_async(runtime).iter_custom(|calls| {
            let addr = addr.clone();
            timed(calls, CALLERS, move |input| {
                let addr = addr.clone();
                async move {
                    let ask = |reply| WorkMsg::Spread { input, reply };
                    addr.call(wait(), ask).await.unwrap_or_default()
                }
            })
        });
    });
    group.bench_function("Addr::call in batches of 64, per item", |b| {
        b.to_async(runtime).iter_custom(|calls| {
            let addr = addr.clone();
            timed(calls.div_ceil(BATCH), 1, move |input| {
                let addr = addr.clone();
                async move {
                    let inputs: Vec<_> = (input..input + BATCH).collect();
                    let ask = |reply| WorkMsg::Many { inputs: inputs.clone(), reply };
                    addr.call(wait(), ask).await.unwrap_or_default()
                }
            })
        });
    });
}

fn messages(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    for (name, work) in [("idle", Work::Idle), ("gate", Work::Gate), ("sign", Work::Sign)] {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(1));
        direct(&mut group, work);
        direct_on_all_cores(&mut group, &runtime, work);
        channels(&mut group, &runtime, work);
        plain_ractor(&mut group, &runtime, work);
        addresses(&mut group, &runtime, work);
        group.finish();
    }
}

/// From the order to fail to the first answer of the next incarnation.
fn restarts(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    let (root, addr) = runtime.block_on(supervised(Work::Idle));
    let mut group = criterion.benchmark_group("restart to first answer");
    for fault in [Fault::Panic, Fault::Error, Fault::Kill, Fault::Stop] {
        group.bench_function(fault.as_str(), |b| {
            b.to_async(&runtime).iter(|| async {
                let fail = |reply| SupervisorMsg::Drill { name: "worker".into(), fault, reply };
                while !matches!(root.addr().call(wait(), fail).await, Ok(Ok(()))) {
                    tokio::task::yield_now().await;
                }
                let ask = |reply| WorkMsg::One { input: 1, reply };
                addr.call(wait(), ask).await.unwrap_or_default()
            });
        });
    }
    group.finish();
}

/// The panics of the drills are meant; a trace for each would hide the figures.
fn quiet(criterion: &mut Criterion) {
    std::panic::set_hook(Box::new(|_| {}));
    restarts(criterion);
}

criterion_group!(
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1500));
    targets = messages, quiet
);

/// `cargo bench --bench mailbox -- ratios` prints the ratios and nothing else.
fn main() -> std::io::Result<()> {
    let has = |word: &str| std::env::args().any(|argument| argument == word);
    if has("--bench") && !has("--test") {
        ratios::ratios(&mut std::io::stdout())?;
    }
    if !has("ratios") {
        benches();
        Criterion::default().configure_from_args().final_summary();
    }
    Ok(())
}
