//! The approximate index through the actor, beside usearch alone on the same vectors with the library's own
//! settings. Both by turns with as many threads, and each is asked for the ten nearest; what these are the
//! exact index says.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use bizra_omega::actors::pattern_memory::Approximate;
use bizra_omega::adapters::store::Store;
use bizra_omega::domain::pattern::index::Index as Exact;
use bizra_omega::domain::pattern::index::Search;
use bizra_omega::domain::pattern::{Pattern, Position};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use usearch::{Index, IndexOptions, MetricKind};

use super::{DIMENSION, Memory, NEAREST, Random, memory_with, position, resident};

/// The share of usearch's own rate that the actor is to reach.
const GOAL: f64 = 0.8;

/// Turns in which the queries are asked.
const ROUNDS: usize = 5;

/// A query, and the numbers of the patterns that are nearest to it.
struct Asked {
    position: Position,
    nearest: Vec<u64>,
}

/// What one way came to.
#[derive(Default)]
struct Rate {
    asked: usize,
    found: usize,
    took: Duration,
}

impl Rate {
    fn per_second(&self) -> f64 {
        self.asked as f64 / self.took.as_secs_f64()
    }

    fn recall(&self) -> f64 {
        self.found as f64 / (self.asked * NEAREST) as f64
    }
}

/// Prints a table over the stores that were filled.
pub(crate) fn compare(
    runtime: &Runtime,
    out: &mut impl Write,
    filled: &[(usize, TempDir)],
    turns: usize,
) -> io::Result<()> {
    writeln!(
        out,
        "\n{:>7} {:>42} {:>42} {:>15}",
        "", "usearch alone", "through the actor", "of its rate"
    )?;
    writeln!(
        out,
        "{:>7} {:>8} {:>9} {:>9} {:>6} {:>6} {:>8} {:>9} {:>9} {:>6} {:>6} {:>7} {:>7}",
        "size",
        "build s",
        "1, q/s",
        "all, q/s",
        "@10",
        "bytes",
        "build s",
        "1, q/s",
        "all, q/s",
        "@10",
        "bytes",
        "1",
        "all"
    )?;
    let mut ratios = Vec::new();
    for (size, folder) in filled {
        let ratio = runtime.block_on(compare_at(out, *size, folder.path(), turns))?;
        ratios.push((*size, ratio));
    }
    for (size, ratio) in ratios {
        let told = if ratio >= GOAL { "met" } else { "MISSED" };
        writeln!(out, "goal at {size}: {ratio:.2}, at least {GOAL} of usearch alone: {told}")?;
    }
    Ok(())
}

async fn compare_at(
    out: &mut impl Write,
    size: usize,
    folder: &Path,
    turns: usize,
) -> io::Result<f64> {
    let threads = available_parallelism().map_or(1, usize::from);
    let store = Arc::new(Store::open(folder, 0).map_err(io::Error::other)?);
    let mut random = Random(!(size as u64));
    let exact = load(&store)?;
    let ask = |_| {
        let position = position(&mut random);
        let search = Search {
            unit: position.unit(),
            limit: NEAREST,
            similarity_min: -1.0,
            is_wanted: &|_| true,
        };
        let nearest = exact.search(&search).iter().map(|hit| hit.pattern.number).collect();
        Asked { position, nearest }
    };
    let asked: Vec<Asked> = (0..turns).map(ask).collect();

    let began = Instant::now();
    let alone = alone(&exact, threads)?;
    let alone_build = began.elapsed().as_secs_f64();
    let patterns = exact.len();
    drop(exact);

    let rules = Approximate {
        above: size as u64 / 2,
        dir: folder.join("graphs"),
        free_bytes_min: 0,
        searches_max: threads,
    };
    let began = Instant::now();
    let memory = memory_with(&store, |keeper| keeper.approximate(rules)).await;
    let loaded = resident();
    let made = "pattern_indexes_made_total{origin=\"absent\"} 1";
    while !memory.metrics.encode().map_err(io::Error::other)?.contains(made) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let own_build = began.elapsed().as_secs_f64();
    let own_bytes = resident().saturating_sub(loaded) / patterns as u64;

    let mut rates: [Rate; 4] = Default::default();
    let per_round = turns.div_ceil(ROUNDS);
    for asked in asked.chunks(per_round) {
        ask_alone(&mut rates[0], &alone, asked, 1)?;
        ask_actor(&mut rates[1], &memory, asked, 1).await;
        ask_alone(&mut rates[2], &alone, asked, threads)?;
        ask_actor(&mut rates[3], &memory, asked, 4 * threads).await;
    }
    let [alone_one, own_one, alone_all, own_all] = &rates;
    let (one, all) = (
        own_one.per_second() / alone_one.per_second(),
        own_all.per_second() / alone_all.per_second(),
    );
    writeln!(
        out,
        "{size:>7} {alone_build:>8.2} {:>9.0} {:>9.0} {:>6.4} {:>6} {own_build:>8.2} {:>9.0} {:>9.0} \
         {:>6.4} {own_bytes:>6} {one:>7.2} {all:>7.2}",
        alone_one.per_second(),
        alone_all.per_second(),
        alone_all.recall(),
        alone.memory_usage() / patterns,
        own_one.per_second(),
        own_all.per_second(),
        own_all.recall(),
    )?;
    memory.root.shutdown(Duration::from_secs(30)).await;
    store.close();
    Ok(all)
}

/// Every vector of the store.
fn load(store: &Store) -> io::Result<Exact> {
    let mut exact = Exact::new(DIMENSION);
    let take = |pattern: Pattern, unit: &[f32]| {
        exact.push(Arc::new(pattern), unit);
        Ok(())
    };
    store.load_patterns(take).map_err(io::Error::other)?;
    Ok(exact)
}

fn alone(exact: &Exact, threads: usize) -> io::Result<Index> {
    let options =
        IndexOptions { dimensions: DIMENSION, metric: MetricKind::IP, ..IndexOptions::default() };
    let index = Index::new(&options).map_err(io::Error::other)?;
    index.reserve_capacity_and_threads(exact.len(), threads).map_err(io::Error::other)?;
    for (row, pattern) in exact.patterns().enumerate() {
        let unit = exact.unit(row).unwrap_or_default();
        index.add(pattern.number, unit).map_err(io::Error::other)?;
    }
    Ok(index)
}

fn among(found: impl Iterator<Item = u64>, asked: &Asked) -> usize {
    found.filter(|number| asked.nearest.contains(number)).count()
}

fn ask_alone(rate: &mut Rate, index: &Index, asked: &[Asked], threads: usize) -> io::Result<()> {
    let next = AtomicUsize::new(0);
    let work = || -> io::Result<usize> {
        let mut found = 0;
        while let Some(asked) = asked.get(next.fetch_add(1, Ordering::Relaxed)) {
            let matches =
                index.search(&asked.position.unit()[..], NEAREST).map_err(io::Error::other)?;
            found += among(matches.keys.into_iter(), asked);
        }
        Ok(found)
    };
    let began = Instant::now();
    let found: io::Result<usize> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| io::Error::other("panic"))?)
            .sum()
    });
    rate.took += began.elapsed();
    rate.found += found?;
    rate.asked += asked.len();
    Ok(())
}

async fn ask_actor(rate: &mut Rate, memory: &Memory, asked: &[Asked], callers: usize) {
    let next = AtomicUsize::new(0);
    let call = || async {
        let mut found = 0;
        while let Some(asked) = asked.get(next.fetch_add(1, Ordering::Relaxed)) {
            let recalled = memory.recall(&asked.position).await;
            found += among(recalled.iter().map(|it| it.pattern.number), asked);
        }
        found
    };
    let began = Instant::now();
    let found = futures_util::future::join_all((0..callers).map(|_| call())).await;
    rate.took += began.elapsed();
    rate.found += found.into_iter().sum::<usize>();
    rate.asked += asked.len();
}
