//! What a prompt costs on its way through the node to a model server and back, beside asking that
//! server directly; and what happens when one of two such servers dies.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::client::{Answer, Target, load};
use crate::mock::MODEL;
use crate::server::{Node, Served};
use crate::table::middle;

/// Connections of each row.
const CONNECTIONS: [usize; 3] = [1, 64, 256];

/// Time to the first piece of an answer, and between two: a small model on a good card. So a row is
/// about the way, not about who saturates two cores first.
const FIRST: Duration = Duration::from_millis(40);
const BETWEEN: Duration = Duration::from_millis(5);

/// Clients while a server dies.
const CLIENTS: usize = 32;

/// A model server in a process of its own.
fn mock() -> io::Result<Served> {
    let waits = [FIRST, BETWEEN].map(|it| it.as_millis().to_string());
    Served::start(["mock", &waits[0], &waits[1]].map(OsStr::new))
}

/// A node before these servers, which it may ask as much as it likes.
fn node(servers: &[&Served]) -> io::Result<Node> {
    let mut config = String::from("[inference.queue]\nwaiting_max = 1024\n");
    for (index, server) in servers.iter().enumerate() {
        config += &format!(
            "[[inference.openai]]\nname = \"mock{index}\"\nurl = \"http://{}/v1\"\n\
             parallel = 512\nprobe_seconds = 1\n",
            server.address()
        );
    }
    let node = Node::with_config(
        &config,
        &[
            ("BIZRA_HTTP__REQUESTS_MAX", "1024"),
            ("BIZRA_HTTP__CONNECTIONS_MAX", "2048"),
            ("BIZRA_HTTP__CONNECTIONS_PER_CLIENT_MAX", "1024"),
        ],
    )?;
    let given_up = Instant::now() + Duration::from_secs(20);
    loop {
        let seen = node.ask(&crate::load::Request::get("/v1/models"))?;
        if seen["data"].as_array().is_some_and(|all| all.iter().any(|it| it["id"] == MODEL)) {
            return Ok(node);
        }
        if Instant::now() > given_up {
            return Err(io::Error::other(format!(
                "the node does not see the model server: {seen}"
            )));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Prints all rows. `other` is one more gateway before the same kind of server, if one runs.
pub(crate) fn measure(
    out: &mut impl Write,
    time: Duration,
    rounds: usize,
    other: Option<SocketAddr>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let mock = mock()?;
    let node = node(&[&mock])?;
    let token = node.token().to_owned();
    let mut targets = vec![
        ("direct", Target { address: mock.address(), token: "none".to_owned() }),
        ("node", Target { address: node.address(), token: token.clone() }),
    ];
    targets.extend(other.map(|address| ("other", Target { address, token })));
    writeln!(
        out,
        "\n/v1/chat/completions before a server that takes {} ms to the first of 8 pieces and {} ms \
         to the last; ms, medians of {rounds}; added is to direct\n\
         answer        connections  gateway      req/s      p50      p99   added p50   added p99  failed",
        FIRST.as_millis(),
        (FIRST + BETWEEN * 7).as_millis()
    )?;
    for streams in [false, true] {
        for connections in CONNECTIONS {
            let mut rows: Vec<Vec<Row>> = vec![Vec::new(); targets.len()];
            for _ in 0..rounds {
                for (rows, (_, target)) in rows.iter_mut().zip(&targets) {
                    let answers = runtime.block_on(load(target, connections, time, streams))?;
                    rows.push(Row::of(&answers, time, streams));
                }
            }
            let rows: Vec<Row> = rows.iter().map(|rows| Row::median(rows)).collect();
            if let Some(failure) = &rows.iter().find_map(|row| row.failure.as_ref()) {
                writeln!(out, "not answered: {}", failure.trim())?;
            }
            for (row, (name, _)) in rows.iter().zip(&targets) {
                let what = if streams { "first token" } else { "whole" };
                write!(out, "{what:<13} {connections:>11}  {name:<8} {row}")?;
                let (p50, p99) = (row.p50 - rows[0].p50, row.p99 - rows[0].p99);
                writeln!(out, "   {p50:>9.3}   {p99:>9.3} {:>7}", row.failed)?;
            }
        }
    }
    drop((node, mock));
    failover(out, &runtime, rounds)
}

#[derive(Clone)]
struct Row {
    rate: f64,
    p50: f64,
    p99: f64,
    failed: usize,
    /// What one of those was told.
    failure: Option<String>,
}

impl Row {
    fn of(answers: &[Answer], time: Duration, streams: bool) -> Self {
        let whole = answers.iter().filter(|it| it.failure.is_none());
        let mut took: Vec<f64> =
            whole.map(|it| if streams { it.first } else { it.last }.as_secs_f64() * 1e3).collect();
        took.sort_unstable_by(f64::total_cmp);
        Self {
            rate: took.len() as f64 / time.as_secs_f64(),
            p50: part(&took, 0.5),
            p99: part(&took, 0.99),
            failed: answers.len() - took.len(),
            failure: answers.iter().find_map(|it| it.failure.clone()),
        }
    }

    fn median(rows: &[Self]) -> Self {
        Self {
            rate: middle(rows, |it| it.rate),
            p50: middle(rows, |it| it.p50),
            p99: middle(rows, |it| it.p99),
            failed: rows.iter().map(|it| it.failed).sum(),
            failure: rows.iter().find_map(|it| it.failure.clone()),
        }
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>9.0} {:>8.3} {:>8.3}", self.rate, self.p50, self.p99)
    }
}

/// The value below which `share` of the sorted values are.
fn part(sorted: &[f64], share: f64) -> f64 {
    let index = (sorted.len() as f64 * share) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// Kills one of two equal servers under load, each time before a fresh node.
fn failover(
    out: &mut impl Write,
    runtime: &tokio::runtime::Runtime,
    rounds: usize,
) -> io::Result<()> {
    let (before, after) = (Duration::from_secs(2), Duration::from_secs(2));
    let (mut usual, mut hit, mut failed, mut all) = (Vec::new(), Vec::new(), 0, 0);
    for _ in 0..rounds * 3 {
        let (mut first, second) = (mock()?, mock()?);
        let node = node(&[&first, &second])?;
        let target = Target { address: node.address(), token: node.token().to_owned() };
        let answers = runtime.block_on(async {
            let load = load(&target, CLIENTS, before + after, false);
            let kill = async {
                tokio::time::sleep(before).await;
                first.kill();
                Instant::now()
            };
            let (answers, killed) = tokio::join!(load, kill);
            answers.map(|answers| (answers, killed))
        });
        let (answers, killed) = answers?;
        all += answers.len();
        failed += answers.iter().filter(|it| it.failure.is_some()).count();
        if let Some(failure) = answers.iter().find_map(|it| it.failure.as_ref()) {
            writeln!(out, "not answered: {}", failure.trim())?;
        }
        let milliseconds = |it: &Answer| it.last.as_secs_f64() * 1e3;
        // Those that were under way when it died, and those that came in the half second after.
        let is_hit = |it: &&Answer| {
            it.began + it.last > killed && it.began < killed + Duration::from_millis(500)
        };
        hit.extend(answers.iter().filter(is_hit).map(milliseconds));
        usual.extend(answers.iter().filter(|it| it.began + it.last < killed).map(milliseconds));
    }
    for times in [&mut usual, &mut hit] {
        times.sort_unstable_by(f64::total_cmp);
    }
    writeln!(
        out,
        "\none of two equal servers is killed under {CLIENTS} clients, {} times: {failed} of {all} \
         requests failed\nbefore: p50 {:.1} ms, p99 {:.1} ms; under way then, or begun within 0.5 s: \
         p50 {:.1} ms, p99 {:.1} ms",
        rounds * 3,
        part(&usual, 0.5),
        part(&usual, 0.99),
        part(&hit, 0.5),
        part(&hit, 0.99)
    )
}
