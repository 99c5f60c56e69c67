//! What failures and overload cost the callers of a supervised actor, and whether any of their
//! calls is lost or takes effect twice. The process fails when one does.
//!
//! Without `--bench`, or with `--test`, each part lasts a tenth of a second. With `--long`, only the
//! overload is run, and its highest load for a minute.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bizra_omega::actor::{Actor, Failure, Turn};
use bizra_omega::domain::restart::{Allowance, Backoff, ChildRules, GroupRules, Restart, Strategy};
use bizra_omega::messages::addr::{Addr, CallError, Deadline, Message, Reply};
use bizra_omega::messages::event::Events;
use bizra_omega::messages::supervisor::{Fault, SupervisorMsg};
use bizra_omega::metrics::Metrics;
use bizra_omega::supervisor::{ChildSpec, Root, Settings, Watch};
use tokio::runtime::Runtime;
use tokio::time::MissedTickBehavior;

#[path = "chaos/overload.rs"]
mod overload;

const CALLERS: usize = 16;

/// Counts of durations in buckets some 3 % wide. Its size is fixed, so that a million samples do
/// not show up as growth of memory.
struct Latencies {
    buckets: Vec<AtomicU64>,
    max_ns: AtomicU64,
}

impl Latencies {
    fn new() -> Self {
        let buckets = std::iter::repeat_with(AtomicU64::default).take(60 * 32).collect();
        Self { buckets, max_ns: AtomicU64::default() }
    }

    fn add(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let shift = (63 - (ns | 32).leading_zeros()) - 5;
        // The lowest 32 values have shift 0 and no leading one.
        let bucket = (shift << 5) as usize + (ns >> shift) as usize;
        self.buckets[bucket.min(self.buckets.len() - 1)].fetch_add(1, Ordering::Relaxed);
        self.max_ns.fetch_max(ns, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// Lower end of the bucket that `share` of all samples do not exceed, in microseconds.
    fn quantile_us(&self, share: f64) -> f64 {
        let mut left = (self.count() as f64 * share).ceil();
        for (bucket, count) in self.buckets.iter().enumerate() {
            left -= count.load(Ordering::Relaxed) as f64;
            if left <= 0.0 {
                let shift = (bucket >> 5).saturating_sub(1);
                return (bucket - (shift << 5)) as f64 * 2_f64.powi(shift as i32) / 1e3;
            }
        }
        0.0
    }

    fn max_us(&self) -> f64 {
        self.max_ns.load(Ordering::Relaxed) as f64 / 1e3
    }
}

/// One kind of write: how often each of its numbers took effect.
#[derive(Default)]
struct Writes {
    next: AtomicU64,
    effects: Mutex<Vec<u8>>,
}

impl Writes {
    fn effects(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.effects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, number: u64, effect: impl FnOnce(&mut u8)) {
        let number = number as usize;
        let mut effects = self.effects();
        if effects.len() <= number {
            effects.resize(number + 1, 0);
        }
        effect(&mut effects[number]);
    }
}

/// What outlives every incarnation of the ledger.
#[derive(Default)]
struct Book {
    sets: Writes,
    adds: Writes,
    starts: AtomicU64,
    /// Where in its next message the ledger is to panic; 0 is nowhere.
    panics_at: AtomicU8,
}

const BEFORE_THE_WRITE: u8 = 1;
const AFTER_THE_WRITE: u8 = 2;

impl Book {
    fn may_panic(&self, here: u8) {
        let was = self.panics_at.compare_exchange(here, 0, Ordering::AcqRel, Ordering::Relaxed);
        assert!(was.is_err(), "drill: panic over a message");
    }
}

enum LedgerMsg {
    /// Marks the number as written. Idempotent.
    Set { number: u64, reply: Reply<()> },
    /// Counts the number up. Not idempotent.
    Add { number: u64, reply: Reply<()> },
}

impl Message for LedgerMsg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Set { .. } => "set",
            Self::Add { .. } => "add",
        }
    }

    fn is_idempotent(&self) -> bool {
        matches!(self, Self::Set { .. })
    }

    fn is_abandoned(&self) -> bool {
        match self {
            Self::Set { reply, .. } | Self::Add { reply, .. } => reply.is_closed(),
        }
    }
}

struct Ledger(Arc<Book>);

impl Actor for Ledger {
    type Msg = LedgerMsg;
    type State = ();

    async fn start(&self) -> Result<(), Failure> {
        self.0.starts.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn handle(&self, message: LedgerMsg, _: Turn, (): &mut ()) -> Result<(), Failure> {
        let book = &self.0;
        book.may_panic(BEFORE_THE_WRITE);
        let reply = match message {
            LedgerMsg::Set { number, reply } => {
                book.sets.write(number, |effect| *effect = 1);
                reply
            }
            LedgerMsg::Add { number, reply } => {
                book.adds.write(number, |effect| *effect = effect.saturating_add(1));
                reply
            }
        };
        // A kill takes effect here, at the worst moment: written and not answered.
        tokio::task::yield_now().await;
        book.may_panic(AFTER_THE_WRITE);
        reply.send(());
        Ok(())
    }
}

/// A root over one permanent child. Its budget is endless and its back-off zero: these kills come
/// within 100 ms of the start and would be held to be a child that keeps failing at once, whose
/// growing pauses are right in a node and would be all that is measured here.
async fn supervised<A: Actor>(
    places: usize,
    metrics: &Metrics,
    make: impl Fn() -> A + Send + Sync + 'static,
) -> (Root, Addr<A::Msg>) {
    let second = Duration::from_secs(1);
    let zero = Duration::ZERO;
    let allowance = Allowance { restarts_max: u32::MAX, window: second };
    let settings = Settings {
        rules: GroupRules {
            strategy: Strategy::OneForOne,
            allowance,
            backoff: Backoff { first: zero, longest: zero, stable: zero },
            retry: second,
        },
        watch: Watch { heartbeat: second, frozen: 2 * second, start: second },
        metrics: metrics.clone(),
        events: Events::new(metrics.events_missed()),
    };
    let rules = ChildRules { restart: Restart::Permanent, is_critical: false, allowance };
    let (spec, addr) = ChildSpec::actor("child", rules, second, places, metrics, make);
    let root = Root::start(Root::address(metrics), settings, vec![spec]);
    (root.await.expect("the child starts"), addr)
}

fn wait() -> Deadline {
    Deadline::after(Duration::from_secs(5))
}

/// Kills the ledger and makes it panic by turns, every so often.
async fn torment(root: Addr<SupervisorMsg>, book: Arc<Book>, every: Duration, until: Instant) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for turn in 0_u64.. {
        ticks.tick().await;
        if Instant::now() >= until {
            return;
        }
        match turn % 4 {
            1 => book.panics_at.store(BEFORE_THE_WRITE, Ordering::Release),
            3 => book.panics_at.store(AFTER_THE_WRITE, Ordering::Release),
            _ => {
                let (name, fault) = ("child", Fault::Kill);
                let kill = |reply| SupervisorMsg::Drill { name: name.to_owned(), fault, reply };
                // Refused between two incarnations, which is as good as killed.
                let _ = root.call(wait(), kill).await;
            }
        }
    }
}

/// What the callers of one kind of write saw.
struct Seen {
    latencies: Latencies,
    acked: Mutex<Vec<u64>>,
    /// Told that the ledger died over the call: right for a write that is not idempotent.
    down: AtomicU64,
    /// Not answered in time, or refused as too many.
    late: AtomicU64,
}

impl Seen {
    fn new() -> Self {
        let (down, late) = (AtomicU64::default(), AtomicU64::default());
        Self { latencies: Latencies::new(), acked: Mutex::default(), down, late }
    }
}

/// Writes number after number, idempotent and not by turns.
async fn write(addr: Addr<LedgerMsg>, book: Arc<Book>, seen: Arc<[Seen; 2]>, until: Instant) {
    let mut acked = [Vec::new(), Vec::new()];
    let mut began = Instant::now();
    for kind in [0, 1].into_iter().cycle() {
        let writes = if kind == 0 { &book.sets } else { &book.adds };
        let number = writes.next.fetch_add(1, Ordering::Relaxed);
        let answer = match kind {
            0 => addr.call(wait(), |reply| LedgerMsg::Set { number, reply }).await,
            _ => addr.call(wait(), |reply| LedgerMsg::Add { number, reply }).await,
        };
        let now = Instant::now();
        match answer {
            Ok(()) => {
                acked[kind].push(number);
                seen[kind].latencies.add(now - began);
            }
            Err(error) => {
                let is_down = matches!(error, CallError::Down { .. });
                let count = if is_down { &seen[kind].down } else { &seen[kind].late };
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
        if now >= until {
            break;
        }
        began = now;
    }
    for (seen, mut acked) in seen.iter().zip(acked) {
        seen.acked.lock().unwrap_or_else(PoisonError::into_inner).append(&mut acked);
    }
}

/// Reads the number of messages that were said again to another incarnation.
fn retries(metrics: &Metrics) -> u64 {
    let text = metrics.encode().unwrap_or_default();
    let line = text.lines().find(|line| line.contains("_retries_total{actor=\"child\"}"));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
}

/// Prints how callers fare under failures; true when nothing was lost or doubled.
async fn failures(out: &mut (impl Write + Send), time: Duration) -> io::Result<bool> {
    writeln!(out, "{CALLERS} callers, {time:?} each, kill and panic by turns; times in us")?;
    writeln!(
        out,
        "failures writes        acks lost double  down late   success restarts retries    \
         p50    p99    max p99 x"
    )?;
    let mut is_sound = true;
    let mut calm_p99 = [0.0; 2];
    for (label, every_ms) in [("none", 0), ("10 ms", 10), ("1 ms", 1)] {
        let metrics = Metrics::new();
        let book = Arc::new(Book::default());
        let ledger = Arc::clone(&book);
        let make = move || Ledger(Arc::clone(&ledger));
        let (root, addr) = supervised(4 * CALLERS, &metrics, make).await;
        let seen = Arc::new([Seen::new(), Seen::new()]);
        let until = Instant::now() + time;
        let mut tasks = tokio::task::JoinSet::new();
        if every_ms > 0 {
            let every = Duration::from_millis(every_ms);
            tasks.spawn(torment(root.addr().clone(), Arc::clone(&book), every, until));
        }
        for _ in 0..CALLERS {
            tasks.spawn(write(addr.clone(), Arc::clone(&book), Arc::clone(&seen), until));
        }
        tasks.join_all().await;
        root.shutdown(Duration::from_secs(5)).await;
        let restarts = book.starts.load(Ordering::Relaxed).saturating_sub(1);
        for (kind, name) in ["idempotent", "counted"].into_iter().enumerate() {
            let seen = &seen[kind];
            let effects = if kind == 0 { book.sets.effects() } else { book.adds.effects() };
            let acked = seen.acked.lock().unwrap_or_else(PoisonError::into_inner);
            let is_lost = |number: &&u64| effects.get(**number as usize).is_none_or(|e| *e == 0);
            let lost = acked.iter().filter(is_lost).count();
            let double = effects.iter().filter(|effect| **effect > 1).count();
            is_sound &= lost == 0 && double == 0;
            let [down, late] = [&seen.down, &seen.late].map(|count| count.load(Ordering::Relaxed));
            let all = acked.len() as u64 + down + late;
            let success = 100.0 * acked.len() as f64 / all as f64;
            let p99 = seen.latencies.quantile_us(0.99);
            if every_ms == 0 {
                calm_p99[kind] = p99;
            }
            let p50 = seen.latencies.quantile_us(0.5);
            let (max, ratio) = (seen.latencies.max_us(), p99 / calm_p99[kind]);
            let (acks, again) = (acked.len(), retries(&metrics));
            writeln!(
                out,
                "{label:<8} {name:<10} {acks:>7} {lost:>4} {double:>6} {down:>5} {late:>4} \
                 {success:>8.4}% {restarts:>8} {again:>7} {p50:>6.1} {p99:>6.1} {max:>6.0} \
                 {ratio:>5.2}"
            )?;
        }
    }
    Ok(is_sound)
}

fn main() -> io::Result<ExitCode> {
    let has = |flag: &str| std::env::args().any(|argument| argument == flag);
    let is_short = has("--test") || !has("--bench");
    let is_long = has("--long");
    let usual = std::panic::take_hook();
    // The panics of the drills are meant; a trace for each would hide the figures.
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str().is_none_or(|text| !text.starts_with("drill")) {
            usual(panic);
        }
    }));
    let runtime = Runtime::new()?;
    // Beside the actors, as the node's own callers are, and not on a thread apart.
    let is_sound =
        runtime.block_on(runtime.spawn(run(is_short, is_long))).map_err(io::Error::other)??;
    Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn run(is_short: bool, is_long: bool) -> io::Result<bool> {
    let mut out = io::stdout();
    let time = Duration::from_millis(if is_short { 100 } else { 5000 });
    // Who asks for the long overload has seen the rest.
    let is_sound = is_long || failures(&mut out, time).await?;
    overload::overload(&mut out, is_short, is_long).await?;
    Ok(is_sound)
}
