//! What the operations of the domain cost against the library calls that bound them: directly,
//! through their actors one by one and in batches, and on two cores. All ways of an operation are
//! measured in turns, so that a busy machine is as busy for each; read the ratios.
//!
//! Without `--bench`, or with `--test`, one short round is run.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use bizra_omega::config::Config;
use bizra_omega::node;
use cpu_time::ProcessTime;
use tokio::runtime::Runtime;

#[path = "domain/crypto.rs"]
mod crypto;
#[path = "domain/envelopes.rs"]
mod envelopes;
#[path = "domain/gates.rs"]
mod gates;
#[path = "domain/text.rs"]
mod text;

/// Items of one message to an actor.
const BATCH: usize = 64;

/// How much is measured.
#[derive(Clone, Copy)]
struct Extent {
    rounds: usize,
    /// How long a way is measured in each round.
    turn: Duration,
}

/// Does an operation at least so many times, and tells how many times it did.
type Run = Box<dyn FnMut(u64) -> u64>;

/// One way to an operation.
struct Way {
    name: &'static str,
    run: Run,
    times: u64,
    wall_s: Vec<f64>,
    cpu_s: Vec<f64>,
}

/// An operation and the ways to it; the first is the limit that the others are held against.
struct Operation {
    name: &'static str,
    ways: Vec<Way>,
}

/// A rate that has to be reached, in operations for each second of processor time.
struct Goal {
    operation: &'static str,
    way: &'static str,
    least: Least,
}

enum Least {
    PerSecond(f64),
    /// Of the rate of another way.
    Of(&'static str, f64),
}

const ONE: &str = "domain";
const BATCHES: &str = "actor, batches of 64";

const GOALS: [Goal; 16] = [
    Goal { operation: crypto::SIGN, way: ONE, least: Least::Of(crypto::SIGN_LIMIT, 0.95) },
    Goal { operation: crypto::SIGN, way: ONE, least: Least::PerSecond(46e3) },
    Goal { operation: crypto::VERIFY, way: ONE, least: Least::PerSecond(42e3) },
    Goal { operation: crypto::VERIFY, way: ONE, least: Least::Of(crypto::VERIFY_LIMIT, 0.95) },
    Goal { operation: crypto::VERIFY, way: BATCHES, least: Least::PerSecond(0.9 * 42e3) },
    Goal { operation: crypto::VERIFY, way: BATCHES, least: Least::Of(ONE, 0.9) },
    Goal { operation: crypto::DIGEST, way: ONE, least: Least::PerSecond(9e6) },
    Goal { operation: crypto::DIGEST, way: ONE, least: Least::Of(crypto::DIGEST_LIMIT, 0.95) },
    Goal { operation: envelopes::CREATE, way: ONE, least: Least::PerSecond(47e3) },
    Goal { operation: envelopes::BOTH, way: ONE, least: Least::PerSecond(28e3) },
    Goal { operation: envelopes::BOTH, way: ONE, least: Least::PerSecond(15.7e3) },
    Goal { operation: text::PARSE, way: ONE, least: Least::Of(text::PARSE_LIMIT, 0.95) },
    Goal { operation: text::CANONICAL, way: ONE, least: Least::Of(text::CANONICAL_LIMIT, 0.95) },
    Goal { operation: gates::CHAIN, way: ONE, least: Least::PerSecond(10e6) },
    Goal { operation: gates::CHAIN, way: ONE, least: Least::PerSecond(2.8e6) },
    Goal { operation: gates::CHAIN, way: BATCHES, least: Least::Of(ONE, 0.9) },
];

impl Way {
    fn new(name: &'static str, run: impl FnMut(u64) -> u64 + 'static) -> Self {
        let run = Box::new(run);
        Self { name, run, times: 1, wall_s: Vec::new(), cpu_s: Vec::new() }
    }

    /// Calls `once` again and again on this thread.
    fn direct<T>(name: &'static str, mut once: impl FnMut() -> T + 'static) -> Self {
        Self::new(name, move |times| {
            for _ in 0..times {
                std::hint::black_box(once());
            }
            times
        })
    }

    /// Calls `once` on two threads; the rate is that of both together.
    fn two_threads<T>(name: &'static str, once: impl Fn() -> T + Clone + Send + 'static) -> Self {
        Self::new(name, move |times| {
            let each = times.div_ceil(2);
            let threads = [(), ()].map(|()| {
                let once = once.clone();
                std::thread::spawn(move || {
                    for _ in 0..each {
                        std::hint::black_box(once());
                    }
                })
            });
            threads.into_iter().for_each(|thread| thread.join().expect("no operation panics"));
            2 * each
        })
    }

    /// Awaits `call`, which does `items` operations, again and again in each of `callers` tasks.
    fn called<F>(
        name: &'static str,
        runtime: &'static Runtime,
        (callers, items): (u64, u64),
        call: impl Fn() -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send,
    {
        Self::new(name, move |times| {
            let each = times.div_ceil(callers * items);
            let tasks: Vec<_> = (0..callers)
                .map(|_| {
                    let call = call.clone();
                    runtime.spawn(async move {
                        for _ in 0..each {
                            call().await;
                        }
                    })
                })
                .collect();
            for task in tasks {
                runtime.block_on(task).expect("no call fails");
            }
            each * callers * items
        })
    }

    /// Finds how many times fit into a turn of processor time, which other work does not take.
    fn settle(&mut self, turn: Duration) {
        loop {
            let began = ProcessTime::now();
            let done = (self.run)(self.times);
            let took = began.elapsed();
            if took * 4 >= turn {
                let fitting = done as f64 * turn.as_secs_f64() / took.as_secs_f64();
                self.times = (fitting as u64).max(1);
                return;
            }
            self.times *= 2;
        }
    }

    fn measure(&mut self) {
        // The time of all threads of the process: while one works, the others sleep.
        let (began, cpu_began) = (Instant::now(), ProcessTime::now());
        let done = (self.run)(self.times) as f64;
        self.cpu_s.push(cpu_began.elapsed().as_secs_f64() / done);
        self.wall_s.push(began.elapsed().as_secs_f64() / done);
    }
}

fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn rate(per_second: f64) -> String {
    if per_second >= 1e6 {
        format!("{:.2} M/s", per_second / 1e6)
    } else {
        format!("{:.1} K/s", per_second / 1e3)
    }
}

fn report(out: &mut impl Write, operations: &[Operation]) -> io::Result<()> {
    let title = "a CPU second";
    writeln!(out, "{:<66} {:>11} {title:>13} {:>6}", "operation, way", "by clock", "ratio")?;
    for Operation { name, ways } in operations {
        let limit = ways.first().map_or(f64::NAN, |way| median(&way.cpu_s));
        for way in ways {
            let (wall, cpu) = (1.0 / median(&way.wall_s), 1.0 / median(&way.cpu_s));
            let (wall, per_cpu, ratio) = (rate(wall), rate(cpu), limit * cpu);
            let name = format!("{name}: {}", way.name);
            writeln!(out, "{name:<66} {wall:>11} {per_cpu:>13} {ratio:>6.2}")?;
        }
    }
    writeln!(out, "\ngoals, by processor time")?;
    for Goal { operation, way, least } in &GOALS {
        let ways =
            operations.iter().find(|other| other.name == *operation).map(|found| &found.ways);
        let per_cpu = |name: &str| {
            let found = ways.and_then(|ways| ways.iter().find(|way| way.name == name));
            found.map_or(f64::NAN, |way| 1.0 / median(&way.cpu_s))
        };
        let found = per_cpu(way);
        let (seen, goal, is_met) = match least {
            Least::PerSecond(goal) => (rate(found), rate(*goal), found >= *goal),
            Least::Of(limit, goal) => {
                let ratio = found / per_cpu(limit);
                (format!("{ratio:.2}"), format!("{goal:.2} of {limit}"), ratio >= *goal)
            }
        };
        let verdict = if is_met { "met" } else { "MISSED" };
        let name = format!("{operation}: {way}");
        writeln!(out, "{name:<56} {seen:>10}, at least {goal:<40} {verdict}")?;
    }
    Ok(())
}

fn config(data_dir: &std::path::Path) -> Config {
    let mut config = Config::default();
    config.node.data_dir = data_dir.to_owned();
    config.http.port = 0;
    // Nothing listens there, whatever runs on this machine.
    config.inference.ollama.url = "http://127.0.0.1:9".to_owned();
    config
}

fn main() -> io::Result<()> {
    let has = |flag: &str| std::env::args().any(|argument| argument == flag);
    let is_short = has("--test") || !has("--bench");
    let extent = if is_short {
        Extent { rounds: 1, turn: Duration::from_micros(100) }
    } else {
        Extent { rounds: 31, turn: Duration::from_millis(20) }
    };
    let folder = tempfile::tempdir()?;
    // It lives as long as the process; so the ways need not share it out.
    let runtime: &'static Runtime = Box::leak(Box::new(Runtime::new()?));
    let node = runtime.block_on(node::start(config(folder.path()))).map_err(io::Error::other)?;
    let roster = node.roster();
    let mut operations = crypto::operations(runtime, &roster.identity);
    operations.extend(envelopes::operations(runtime, &roster.envelope));
    operations.extend(text::operations());
    operations.push(gates::operation(runtime, &roster.gate_chain));
    for way in operations.iter_mut().flat_map(|operation| &mut operation.ways) {
        way.settle(extent.turn);
    }
    for _ in 0..extent.rounds {
        operations.iter_mut().flat_map(|operation| &mut operation.ways).for_each(Way::measure);
    }
    runtime.block_on(node.shutdown());
    report(&mut io::stdout(), &operations)
}
