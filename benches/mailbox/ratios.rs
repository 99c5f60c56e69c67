//! The ratios that are goals, measured so that they can be believed on a machine that others use
//! too: the ways are tried by turns, a few milliseconds each, for many rounds; a ratio is the median
//! of the ratios within the rounds.

use std::io::{self, Write};
use std::time::Duration;

use bizra_omega::messages::addr::Addr;
use bizra_omega::supervisor::Root;
use tokio::runtime::Runtime;

use super::{BATCH, CALLERS, Plain, Work, WorkMsg, Worker, supervised, timed, wait};

const ROUNDS: usize = 41;

/// One way to have work done, and the calls that take it some milliseconds.
struct Way<'w> {
    name: &'static str,
    calls: u64,
    /// Makes so many calls and returns how long they took.
    run: Box<dyn Fn(u64) -> Duration + 'w>,
    ns: Vec<f64>,
}

impl<'w> Way<'w> {
    fn new(name: &'static str, calls: u64, run: impl Fn(u64) -> Duration + 'w) -> Self {
        Self { name, calls, run: Box::new(run), ns: Vec::new() }
    }
}

fn median(samples: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<_> = samples.into_iter().collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Measures the ways by turns; prints each against the first.
fn compare(out: &mut impl Write, title: &str, ways: &mut [Way<'_>]) -> io::Result<()> {
    for way in &*ways {
        (way.run)(way.calls);
    }
    for round in 0..ROUNDS {
        // Each begins a round as often as the others: what follows what may matter.
        for turn in 0..ways.len() {
            let at = (round + turn) % ways.len();
            let way = &mut ways[at];
            let time = (way.run)(way.calls);
            way.ns.push(time.as_secs_f64() * 1e9 / way.calls as f64);
        }
    }
    writeln!(out, "\n{title}; medians of {ROUNDS} rounds by turns")?;
    let base = ways[0].ns.clone();
    for way in ways {
        let time = median(way.ns.iter().copied());
        let ratio = median(way.ns.iter().zip(&base).map(|(ns, base)| ns / base));
        writeln!(out, "{:<34} {time:>9.0} ns {ratio:>6.3} {:>6.3}", way.name, 1.0 / ratio)?;
    }
    Ok(())
}

fn plain(runtime: &Runtime, work: Work) -> ractor::ActorRef<(u64, ractor::RpcReplyPort<u64>)> {
    let spawned = ractor::Actor::spawn(None, Plain(Worker::new(work)), ());
    runtime.block_on(spawned).expect("a plain actor starts").0
}

fn ask_plain(
    runtime: &Runtime,
    actor: &ractor::ActorRef<(u64, ractor::RpcReplyPort<u64>)>,
    calls: u64,
    callers: u64,
) -> Duration {
    let actor = actor.clone();
    let call = move |input| {
        let actor = actor.clone();
        async move {
            let limit = Some(Duration::from_secs(30));
            match actor.call(|reply| (input, reply), limit).await {
                Ok(ractor::rpc::CallResult::Success(output)) => output,
                _ => 0,
            }
        }
    };
    runtime.block_on(runtime.spawn(timed(calls, callers, call))).expect("callers do not panic")
}

fn ask_addr(
    runtime: &Runtime,
    addr: &Addr<WorkMsg>,
    calls: u64,
    callers: u64,
    is_spread: bool,
) -> Duration {
    let addr = addr.clone();
    let call = move |input| {
        let addr = addr.clone();
        async move {
            let one = |reply| match is_spread {
                true => WorkMsg::Spread { input, reply },
                false => WorkMsg::One { input, reply },
            };
            addr.call(wait(), one).await.unwrap_or_default()
        }
    };
    runtime.block_on(runtime.spawn(timed(calls, callers, call))).expect("callers do not panic")
}

fn ask_batches(runtime: &Runtime, addr: &Addr<WorkMsg>, items: u64) -> Duration {
    let addr = addr.clone();
    let call = move |input: u64| {
        let addr = addr.clone();
        async move {
            let inputs: Vec<_> = (input..input + BATCH).collect();
            let ask = |reply| WorkMsg::Many { inputs: inputs.clone(), reply };
            addr.call(wait(), ask).await.unwrap_or_default()
        }
    };
    runtime.block_on(runtime.spawn(timed(items / BATCH, 1, call))).expect("callers do not panic")
}

/// The same work in plain calls, from tasks that let others in after each.
fn direct(runtime: &Runtime, work: Work, calls: u64, callers: u64) -> Duration {
    let worker = Worker::new(work);
    let pause = callers > 1;
    let call = move |input| {
        let worker = worker.clone();
        async move {
            let output = worker.once(input);
            if pause {
                tokio::task::yield_now().await;
            }
            output
        }
    };
    runtime.block_on(runtime.spawn(timed(calls, callers, call))).expect("callers do not panic")
}

/// Prints every ratio that has a goal.
pub(super) fn ratios(out: &mut impl Write) -> io::Result<()> {
    let runtime = Runtime::new()?;
    let start = |work| -> (Root, Addr<WorkMsg>) { runtime.block_on(supervised(work)) };

    let (_idle_root, idle) = start(Work::Idle);
    let idle_plain = plain(&runtime, Work::Idle);
    for (title, callers, calls) in
        [("idle, 64 callers", CALLERS, 12_800), ("idle, one caller", 1, 5_000)]
    {
        let title = format!("{title}: time per call, ratio of times, of rates (goal: 1.20, 0.83)");
        let mut ways = [
            Way::new("ractor call with a timeout", calls, |calls| {
                ask_plain(&runtime, &idle_plain, calls, callers)
            }),
            Way::new("Addr::call", calls, |calls| ask_addr(&runtime, &idle, calls, callers, false)),
        ];
        compare(out, &title, &mut ways)?;
    }

    let (_gate_root, gate) = start(Work::Gate);
    let mut ways = [
        Way::new("direct, one task", 64 * 200, |calls| direct(&runtime, Work::Gate, calls, 1)),
        Way::new("Addr::call, batches of 64", 64 * 200, |calls| {
            ask_batches(&runtime, &gate, calls)
        }),
    ];
    compare(out, "gate checks, per item (goal: rate 0.90)", &mut ways)?;

    let (_sign_root, sign) = start(Work::Sign);
    let mut ways = [
        Way::new("direct, 64 tasks on all cores", 1_280, |calls| {
            direct(&runtime, Work::Sign, calls, CALLERS)
        }),
        Way::new("Addr::call handed on, 64 callers", 1_280, |calls| {
            ask_addr(&runtime, &sign, calls, CALLERS, true)
        }),
    ];
    compare(out, "signatures (goal: rate 0.90)", &mut ways)?;
    writeln!(out)
}
