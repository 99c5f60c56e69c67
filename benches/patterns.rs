//! Pattern memory at 1,000, 10,000 and 100,000 patterns of 384 numbers, through its actor and with its
//! store on disk: learning one by one and in batches, recalling beside a plain scan of the same vectors
//! in single precision, what a pattern takes, and how long a start takes.
//!
//! With the feature `usearch` then once more with the approximate index, beside usearch alone.
//!
//! Vectors lie around a few hundred centres, as texts on a few hundred subjects would. Numbers among the
//! arguments are sizes to measure instead. Without `--bench`, or with `--test`, a small memory is made to
//! see that it runs.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bizra_omega::actors::pattern_memory::{self, Keeper, Parts, PatternMemory};
use bizra_omega::adapters::process;
use bizra_omega::adapters::store::Store;
use bizra_omega::clock;
use bizra_omega::domain::embedding::EmbedderId;
use bizra_omega::domain::embedding::ngram::NgramEmbedder;
use bizra_omega::domain::pattern::view::{Filter, Near, Query};
use bizra_omega::domain::pattern::{BATCH_MAX, Bounds, Lesson, PatternId, Position, Source, Tags};
use bizra_omega::domain::restart::{Allowance, Backoff, ChildRules, GroupRules, Restart, Strategy};
use bizra_omega::messages::addr::{Addr, Deadline};
use bizra_omega::messages::event::Events;
use bizra_omega::messages::pattern_memory::{PatternMemoryMsg, Recalled};
use bizra_omega::metrics::Metrics;
use bizra_omega::supervisor::{ChildSpec, Root, Settings, Watch};
use tokio::runtime::Runtime;

#[cfg(feature = "usearch")]
#[path = "patterns/approximate.rs"]
mod approximate;

const DIMENSION: usize = 384;
const CENTRES: u64 = 300;
const NEAREST: usize = 10;

/// Numbers that a seed repeats (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Evenly from -1 to 1.
    fn number(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }

    /// Near one of the centres.
    fn vector(&mut self) -> Vec<f64> {
        let mut centre = Random(self.next() % CENTRES);
        (0..DIMENSION).map(|_| centre.number() + self.number()).collect()
    }
}

fn embedder() -> EmbedderId {
    EmbedderId { name: "bench".to_owned(), version: 1, dimension: DIMENSION }
}

fn position(random: &mut Random) -> Position {
    Position::new(embedder(), &random.vector()).expect("numbers that are not zero")
}

fn lesson(random: &mut Random, number: usize) -> Lesson {
    let content = format!("pattern {number}: what is to be done in such a case");
    let source = Source::new("bench").expect("a name");
    let position = Some(position(random));
    Lesson::new(&content, Tags::default(), source, position).expect("a short content")
}

/// The memory's actor over a store.
struct Memory {
    root: Root,
    addr: Addr<PatternMemoryMsg>,
    keeper: Arc<Keeper>,
    #[cfg(feature = "usearch")]
    metrics: Metrics,
}

async fn memory(store: &Arc<Store>) -> Memory {
    memory_with(store, |keeper| keeper).await
}

async fn memory_with(store: &Arc<Store>, change: impl FnOnce(Keeper) -> Keeper) -> Memory {
    let metrics = Metrics::new();
    let bounds = Bounds {
        patterns_max: 1_000_000,
        source_patterns_max: 1_000_000,
        bytes_max: 1 << 40,
        source_bytes_max: 1 << 40,
    };
    let events = Events::new(metrics.events_missed());
    let keeper = Arc::new(change(Keeper::new(Parts {
        store: Arc::clone(store),
        embedder: Arc::new(NgramEmbedder::default()),
        bounds,
        computing_max: 2,
        now_ms: clock::now_ms,
        events: events.clone(),
        meter: metrics.patterns(),
    })));
    let memory = PatternMemory {
        keeper: Arc::clone(&keeper),
        // Nothing is elevated here.
        identity: Addr::new("identity", 1, metrics.addr("identity")),
        consensus: Addr::new("consensus", 1, metrics.addr("consensus")),
        now_ms: clock::now_ms,
    };
    let allowance = Allowance { restarts_max: 1, window: Duration::from_secs(10) };
    let rules = ChildRules { restart: Restart::Permanent, is_critical: false, allowance };
    let make = move || memory.clone();
    let second = Duration::from_secs(1);
    let (child, addr) =
        ChildSpec::actor(pattern_memory::NAME, rules, 5 * second, 256, &metrics, make);
    let settings = Settings {
        rules: GroupRules {
            strategy: Strategy::OneForOne,
            allowance,
            backoff: Backoff { first: second, longest: second, stable: second },
            retry: second,
        },
        watch: Watch { heartbeat: second, frozen: 10 * second, start: 60 * second },
        metrics: metrics.clone(),
        events,
    };
    let root = Root::start(Root::address(&metrics), settings, vec![child]).await;
    Memory {
        root: root.expect("the actor comes up"),
        addr,
        keeper,
        #[cfg(feature = "usearch")]
        metrics,
    }
}

impl Memory {
    async fn learn(&self, lessons: Vec<Lesson>) {
        let wait = Deadline::after(Duration::from_secs(60));
        let ask = |reply| PatternMemoryMsg::Learn { lessons: lessons.clone(), reply };
        let learned = self.addr.call(wait, ask).await.expect("an answer").expect("learned");
        assert!(learned.iter().all(Result::is_ok), "something was refused");
    }

    async fn recall(&self, position: &Position) -> Vec<Recalled> {
        let near = Near::Position(position.clone());
        let query = Query::new(near, NEAREST, Some(-1.0), Filter::default());
        let query = Box::new(query.expect("numbers within their ranges"));
        let wait = Deadline::after(Duration::from_secs(10));
        let ask = |reply| PatternMemoryMsg::Recall { query: query.clone(), reply };
        self.addr.call(wait, ask).await.expect("an answer").expect("recalled")
    }
}

/// Vectors one behind another, and the scan that everybody writes first.
struct Plain {
    ids: Vec<PatternId>,
    numbers: Vec<f32>,
}

impl Plain {
    fn nearest(&self, unit: &[f32]) -> Vec<PatternId> {
        let mut best: Vec<(f32, PatternId)> = Vec::with_capacity(NEAREST + 1);
        for (id, row) in self.ids.iter().zip(self.numbers.chunks_exact(DIMENSION)) {
            let mut sums = [0.0_f32; 16];
            for (row, unit) in row.chunks_exact(16).zip(unit.chunks_exact(16)) {
                for ((sum, a), b) in sums.iter_mut().zip(row).zip(unit) {
                    *sum += a * b;
                }
            }
            let product: f32 = sums.iter().sum();
            if best.len() < NEAREST || product > best[NEAREST - 1].0 {
                let at = best.partition_point(|(other, _)| *other >= product);
                best.insert(at, (product, *id));
                best.truncate(NEAREST);
            }
        }
        best.into_iter().map(|(_, id)| id).collect()
    }
}

fn quantile_ms(samples: &mut [Duration], share: f64) -> f64 {
    samples.sort_unstable();
    let place = (samples.len() as f64 * share).ceil() as usize;
    samples.get(place.saturating_sub(1)).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

/// Bytes of memory that the process has, as the system counts them.
fn resident() -> u64 {
    process::figures().resident_bytes.unwrap_or(0)
}

/// Everything about one size, in a folder that is left with the store.
async fn measure(out: &mut impl Write, folder: &Path, size: usize, turns: usize) -> io::Result<()> {
    let store = Arc::new(Store::open(folder, 0).map_err(io::Error::other)?);
    let mut random = Random(size as u64);
    let before = resident();
    let filled = memory(&store).await;

    // In batches, from nothing; the last tenth is at the full size.
    let lessons: Vec<Lesson> = (0..size).map(|number| lesson(&mut random, number)).collect();
    let lessons_bytes = lessons.len() as u64 * (DIMENSION as u64 * 4 + 200);
    let mut last_tenth = Instant::now();
    let began = Instant::now();
    let mut done = 0;
    for batch in lessons.chunks(BATCH_MAX) {
        if done < size / 10 * 9 {
            last_tenth = Instant::now();
        }
        filled.learn(batch.to_vec()).await;
        done += batch.len();
    }
    let batched = size as f64 / began.elapsed().as_secs_f64();
    let at_size = (size / 10).max(1) as f64 / last_tenth.elapsed().as_secs_f64();

    // The same vectors for the plain scan, by the ids that they have here.
    let mut plain = Plain { ids: Vec::new(), numbers: Vec::new() };
    for lesson in &lessons {
        let (id, _) = lesson.ids(&embedder()).map_err(io::Error::other)?;
        plain.ids.push(id);
        let position = lesson.position();
        plain.numbers.extend(position.iter().flat_map(|position| position.unit().iter()));
    }
    drop(lessons);

    // One by one, each waited for; then many callers with one each.
    let singles = turns.min(200);
    let began = Instant::now();
    for number in 0..singles {
        filled.learn(vec![lesson(&mut random, size + number)]).await;
    }
    let single = singles as f64 / began.elapsed().as_secs_f64();
    let began = Instant::now();
    let callers = (0..64).map(|caller| {
        let lessons: Vec<Lesson> = (0..(turns / 20).max(1))
            .map(|number| lesson(&mut random, 2 * size + caller * 1000 + number))
            .collect();
        let filled = &filled;
        async move {
            for lesson in lessons {
                filled.learn(vec![lesson]).await;
            }
        }
    });
    let callers: Vec<_> = callers.collect();
    futures_util::future::join_all(callers).await;
    let crowd = (64 * (turns / 20).max(1)) as f64 / began.elapsed().as_secs_f64();

    // By turns, so that both meet the same machine.
    let (mut recalls, mut scans) = (Vec::new(), Vec::new());
    let (mut found, mut expected) = (0, 0);
    for _ in 0..turns {
        let position = position(&mut random);
        let began = Instant::now();
        let recalled = filled.recall(&position).await;
        recalls.push(began.elapsed());
        let began = Instant::now();
        let nearest = plain.nearest(position.unit());
        scans.push(began.elapsed());
        // What was learned after the plain scan was filled is not in it.
        let known: Vec<PatternId> = recalled.iter().map(|it| it.pattern.id).collect();
        let later = known.iter().filter(|id| !plain.ids.contains(id)).count();
        let wanted = nearest.len().saturating_sub(later);
        expected += wanted;
        found += nearest.iter().take(wanted).filter(|id| known.contains(id)).count();
    }
    drop(plain);
    let took = resident().saturating_sub(before).saturating_sub(lessons_bytes / 8);
    let held = filled
        .addr
        .call(Deadline::after(Duration::from_secs(10)), |reply| PatternMemoryMsg::Stats { reply });
    let held = held.await.map_err(io::Error::other)?.map_err(io::Error::other)?;
    let disk = std::fs::metadata(folder.join("node.redb"))?.len();
    filled.root.shutdown(Duration::from_secs(5)).await;
    drop(filled.keeper);

    let began = Instant::now();
    let again = memory(&store).await;
    again.recall(&position(&mut random)).await;
    let start = began.elapsed().as_secs_f64();
    again.root.shutdown(Duration::from_secs(5)).await;
    store.close();

    let patterns = held.held.patterns;
    writeln!(
        out,
        "{size:>7} {single:>9.0} {crowd:>9.0} {batched:>9.0} {at_size:>9.0} {:>8.3} {:>8.3} {:>8.3} \
         {:>8.3} {:>8.4} {:>7} {:>7} {:>7} {start:>7.3}",
        quantile_ms(&mut recalls, 0.5),
        quantile_ms(&mut recalls, 0.99),
        quantile_ms(&mut scans, 0.5),
        quantile_ms(&mut scans, 0.99),
        f64::from(found as u32) / f64::from((expected as u32).max(1)),
        held.index_bytes / patterns.max(1),
        took / patterns.max(1),
        disk / patterns.max(1),
    )
}

fn main() -> io::Result<()> {
    let has = |flag: &str| std::env::args().any(|argument| argument == flag);
    let is_short = has("--test") || !has("--bench");
    let (all, turns) = if is_short { (vec![500], 20) } else { (vec![1_000, 10_000, 100_000], 400) };
    let chosen: Vec<usize> = std::env::args().filter_map(|it| it.parse().ok()).collect();
    let sizes = if chosen.is_empty() { all } else { chosen };
    let mut out = io::stdout();
    writeln!(
        out,
        "{:>7} {:>39} {:>17} {:>17} {:>8} {:>23} {:>7}",
        "",
        "learned durably, a second",
        "recall, ms",
        "plain scan, ms",
        "recall",
        "bytes a pattern",
        ""
    )?;
    writeln!(
        out,
        "{:>7} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>7} {:>7} {:>7} {:>7}",
        "size",
        "singly",
        "64 at it",
        "batched",
        "at size",
        "p50",
        "p99",
        "p50",
        "p99",
        "@10",
        "index",
        "memory",
        "disk",
        "start s"
    )?;
    let runtime = Runtime::new()?;
    let mut folders = Vec::new();
    for size in &sizes {
        let folder = tempfile::tempdir()?;
        runtime.block_on(measure(&mut out, folder.path(), *size, turns))?;
        folders.push((*size, folder));
    }
    #[cfg(feature = "usearch")]
    approximate::compare(&runtime, &mut out, &folders, turns)?;
    Ok(())
}
