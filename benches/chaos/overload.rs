//! Offers one actor more than it can do: what it takes must be answered in time, and the rest be
//! refused at once.

use std::hint::black_box;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bizra_omega::actor::{Actor, Failure, Turn};
use bizra_omega::adapters::process;
use bizra_omega::messages::addr::{Addr, CallError, Message, Reply};
use bizra_omega::metrics::Metrics;

use super::{Latencies, supervised, wait};

/// Places behind the overloaded address.
const PLACES: usize = 64;

/// Work per message of the overloaded actor.
const WORK: Duration = Duration::from_micros(50);

/// Callers that keep the actor busy without ever filling its address: that is its capacity.
const CALLERS_AT_CAPACITY: usize = 32;

/// Time between two looks at the memory in use.
const RESIDENT_PAUSE: Duration = Duration::from_millis(20);

/// Computes for a fixed number of rounds, not for a fixed time: a machine that is taken away from
/// it must show.
#[derive(Clone, Copy)]
struct Grinder {
    rounds: u64,
}

impl Grinder {
    /// Takes [`WORK`] per message on this machine at rest.
    fn calibrated() -> Self {
        let probe = Self { rounds: 100_000 };
        let time = |input| {
            let began = Instant::now();
            black_box(probe.grind(input));
            began.elapsed()
        };
        let best = (0..50).map(time).min().unwrap_or(WORK).as_secs_f64();
        Self { rounds: (probe.rounds as f64 * WORK.as_secs_f64() / best) as u64 }
    }

    fn grind(self, input: u64) -> u64 {
        (0..self.rounds).fold(black_box(input) | 1, |x, _| {
            let x = x ^ (x << 13);
            let x = x ^ (x >> 7);
            x ^ (x << 17)
        })
    }
}

struct Grind {
    input: u64,
    reply: Reply<u64>,
}

impl Message for Grind {
    fn kind(&self) -> &'static str {
        "grind"
    }

    fn is_idempotent(&self) -> bool {
        true
    }

    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }
}

impl Actor for Grinder {
    type Msg = Grind;
    type State = ();

    async fn start(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn handle(&self, message: Grind, _: Turn, (): &mut ()) -> Result<(), Failure> {
        message.reply.send(self.grind(message.input));
        Ok(())
    }
}

/// What became of the calls that were offered.
struct Load {
    accepted: Latencies,
    shed: Latencies,
    /// As `shed`, but from the moment the caller itself got its turn: what the address took, and
    /// not what the machine took to let the caller run.
    shed_inside: Latencies,
    failed: AtomicU64,
    peak_kib: AtomicU64,
}

impl Load {
    fn new() -> Arc<Self> {
        let (failed, peak_kib) = (AtomicU64::default(), AtomicU64::default());
        let [accepted, shed, shed_inside] = std::array::from_fn(|_| Latencies::new());
        Arc::new(Self { accepted, shed, shed_inside, failed, peak_kib })
    }
}

async fn call(addr: Addr<Grind>, load: Arc<Load>, began: Instant) {
    let inside = Instant::now();
    let answer = addr.call(wait(), |reply| Grind { input: 1, reply }).await;
    match answer {
        Ok(_) => load.accepted.add(began.elapsed()),
        Err(CallError::Busy { .. }) => {
            load.shed_inside.add(inside.elapsed());
            load.shed.add(began.elapsed());
        }
        Err(_) => {
            load.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Messages per second that the actor handles when it always has one to do.
async fn capacity(addr: &Addr<Grind>, time: Duration) -> f64 {
    let load = Load::new();
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..CALLERS_AT_CAPACITY {
        let (addr, load) = (addr.clone(), Arc::clone(&load));
        tasks.spawn(async move {
            while began.elapsed() < time {
                call(addr.clone(), Arc::clone(&load), Instant::now()).await;
            }
        });
    }
    tasks.join_all().await;
    load.accepted.count() as f64 / began.elapsed().as_secs_f64()
}

/// Makes `rate` calls a second whether or not they are answered, each in a task of its own.
async fn offer(addr: Addr<Grind>, load: Arc<Load>, rate: f64, time: Duration) {
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    let began = Instant::now();
    let mut sampled = began;
    let mut offered = 0;
    while began.elapsed() < time {
        ticks.tick().await;
        let due = (began.elapsed().min(time).as_secs_f64() * rate) as u64;
        for _ in offered..due {
            tokio::spawn(call(addr.clone(), Arc::clone(&load), Instant::now()));
        }
        offered = due;
        if sampled.elapsed() >= RESIDENT_PAUSE
            && let Some(kib) = resident_kib()
        {
            load.peak_kib.fetch_max(kib, Ordering::Relaxed);
            sampled = Instant::now();
        }
    }
    while addr.waiting() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Resident memory of this process, where the system tells.
fn resident_kib() -> Option<u64> {
    process::figures().resident_bytes.map(|bytes| bytes / 1024)
}

/// Prints how callers fare when more is asked of an actor than it can do.
/// With `is_long`, the highest load lasts a minute.
pub(super) async fn overload(
    out: &mut (impl Write + Send),
    is_short: bool,
    is_long: bool,
) -> io::Result<()> {
    let grinder = Grinder::calibrated();
    let (root, addr) = supervised(PLACES, &Metrics::new(), move || grinder).await;
    let time = |seconds: u64| Duration::from_millis(if is_short { 100 } else { seconds * 1000 });
    let capacity = capacity(&addr, time(2)).await;
    writeln!(
        out,
        "\n{PLACES} places, {WORK:?} of work per message, capacity {capacity:.0} a second; times \
         in ms; full queue is {:.1} ms",
        PLACES as f64 / capacity * 1e3
    )?;
    writeln!(
        out,
        "load offered/s accepted   shed failed    p50    p99    max shed p50 shed p99 \
         inside p99 goodput    growth    after"
    )?;
    for (times, seconds) in [(2_u32, 3_u64), (10, if is_long { 60 } else { 5 })] {
        let load = Load::new();
        let before = resident_kib();
        let began = Instant::now();
        let rate = capacity * f64::from(times);
        offer(addr.clone(), Arc::clone(&load), rate, time(seconds)).await;
        let elapsed = began.elapsed().as_secs_f64();
        let (accepted, shed) = (load.accepted.count(), load.shed.count());
        let offered = (accepted + shed) as f64 / elapsed;
        let share = 100.0 * shed as f64 / (accepted + shed) as f64;
        let goodput = accepted as f64 / elapsed / capacity;
        let failed = load.failed.load(Ordering::Relaxed);
        let [p50, p99] = [0.5, 0.99].map(|share| load.accepted.quantile_us(share) / 1e3);
        let [shed_p50, shed_p99] = [0.5, 0.99].map(|share| load.shed.quantile_us(share) / 1e3);
        let inside_p99 = load.shed_inside.quantile_us(0.99) / 1e3;
        let max = load.accepted.max_us() / 1e3;
        let growth = |now: Option<u64>| match (before, now) {
            (Some(before), Some(now)) => format!("{} KiB", now.saturating_sub(before)),
            _ => "-".to_owned(),
        };
        let peak = growth(Some(load.peak_kib.load(Ordering::Relaxed)).filter(|kib| *kib > 0));
        let after = growth(resident_kib());
        writeln!(
            out,
            "{times:>3}x {offered:>9.0} {accepted:>8} {share:>5.1}% {failed:>6} {p50:>6.2} \
             {p99:>6.2} {max:>6.2} {shed_p50:>8.4} {shed_p99:>8.4} {inside_p99:>10.4} {goodput:>7.3} {peak:>9} \
             {after:>8}"
        )?;
    }
    root.shutdown(Duration::from_secs(5)).await;
    Ok(())
}
