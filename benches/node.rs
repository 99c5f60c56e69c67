//! How long each child of a node is away when it fails: from the order to fail to the first answer
//! of its successor, as its callers see it. Children fail in turn, each in every way, and rest in
//! between longer than the time within which a second failure would be held to be one at once.
//!
//! Without `--bench`, or with `--test`, one round is run.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bizra_omega::config::Config;
use bizra_omega::domain::envelope::EnvelopeId;
use bizra_omega::messages::addr::Deadline;
use bizra_omega::messages::envelope::EnvelopeMsg;
use bizra_omega::messages::event::{Change, Event, Heard, Told, Topic};
use bizra_omega::messages::gate_chain::GateChainMsg;
use bizra_omega::messages::identity::IdentityMsg;
use bizra_omega::messages::inference_router::InferenceMsg;
use bizra_omega::messages::supervisor::{ActorInfo, Fault, SupervisorMsg};
use bizra_omega::node::{self, Node};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

const ROUNDS: usize = 100;

/// Rest of a child between two failures, longer than `domain::restart::QUICK`.
const REST: Duration = Duration::from_millis(115);

const FAULTS: [Fault; 4] = [Fault::Panic, Fault::Kill, Fault::Error, Fault::Stop];

/// What was measured of one child.
struct Child {
    name: &'static str,
    /// Median goal: only for those that have no state to load.
    median_ms_max: Option<f64>,
    undisturbed: Vec<Duration>,
    answered: Vec<Duration>,
    restarted: Vec<Duration>,
    unanswered: usize,
    refused: usize,
}

impl Child {
    fn new(name: &'static str, is_stateless: bool) -> Self {
        Self {
            name,
            median_ms_max: is_stateless.then_some(1.0),
            undisturbed: Vec::new(),
            answered: Vec::new(),
            restarted: Vec::new(),
            unanswered: 0,
            refused: 0,
        }
    }

    /// Asks it something cheap; false when it does not answer. The backends have no address outside
    /// the tree, so they are asked through the router, which waits for them.
    async fn ask(&self, node: &Node) -> bool {
        let (roster, wait) = (node.roster(), wait());
        match self.name {
            "identity" => {
                roster.identity.call(wait, |reply| IdentityMsg::Active { reply }).await.is_ok()
            }
            "gate-chain" => {
                let ask = |reply| GateChainMsg::Constitution { reply };
                roster.gate_chain.call(wait, ask).await.is_ok()
            }
            "envelope" => {
                let find = |reply| EnvelopeMsg::Find { id: EnvelopeId([0; 16]), reply };
                matches!(roster.envelope.call(wait, find).await, Ok(Ok(None)))
            }
            // A connection waits in the kernel's queue while nobody accepts.
            "http" => health(node.address()).await.is_ok_and(|is_well| is_well),
            _ => {
                let models = roster.inference.call(wait, |reply| InferenceMsg::Models { reply });
                models.await.is_ok_and(|models| models.iter().any(|model| model.is_available))
            }
        }
    }

    /// Makes it fail and takes the times.
    async fn fail(&mut self, node: &Node, fault: Fault) {
        let mut events = node.roster().events.subscribe(Topic::Actors);
        let name = self.name;
        let drill = |reply| SupervisorMsg::Drill { name: name.to_owned(), fault, reply };
        if !matches!(node.roster().supervisor.call(wait(), drill).await, Ok(Ok(()))) {
            self.refused += 1;
            return;
        }
        let began = Instant::now();
        let answered = async { self.ask(node).await.then(|| began.elapsed()) };
        let restarted = async {
            while let Some(heard) = events.next().await {
                if let Heard::Told(Told { event: Event::Actor(event), .. }) = heard
                    && event.change == Change::Restarted
                    && event.actor.as_str() == self.name
                {
                    return Some(began.elapsed());
                }
            }
            None
        };
        let restarted = tokio::time::timeout(Duration::from_secs(10), restarted);
        let (answered, restarted) = tokio::join!(answered, restarted);
        self.unanswered += usize::from(answered.is_none());
        self.answered.extend(answered);
        self.restarted.extend(restarted.ok().flatten());
    }
}

fn wait() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

/// Asks for the health over a connection of its own; whether the node says that it is well.
async fn health(address: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    let request =
        format!("GET /api/v1/health HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200 "))
}

fn config(data_dir: &std::path::Path) -> Config {
    let mut config = Config::default();
    config.node.data_dir = data_dir.to_owned();
    config.http.port = 0;
    config.chaos.enabled = true;
    config.supervisor.max_restarts = 1_000_000;
    config.supervisor.group_max_restarts = 1_000_000;
    // Nothing listens there, whatever runs on this machine.
    config.inference.ollama.url = "http://127.0.0.1:9".to_owned();
    config
}

/// The sample that `share` of all do not exceed, in milliseconds.
fn quantile_ms(samples: &[Duration], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let place = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(place.saturating_sub(1)).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

fn report(out: &mut impl Write, children: &[Child], tree: &[ActorInfo]) -> io::Result<()> {
    writeln!(out, "failure to first answer, in ms; goals: median < 1 if stateless, p99 < 10")?;
    writeln!(
        out,
        "child            drills undisturbed  median     p99     max restarted     p99 \
         restarts unanswered median    p99"
    )?;
    let goal = |is_met: bool| if is_met { "met" } else { "MISSED" };
    for child in children {
        let all = tree.iter().flat_map(|info| std::iter::once(info).chain(&info.children));
        let restarts = all.filter(|info| info.name.as_str() == child.name).map(|i| i.restarts);
        let restarts: u64 = restarts.sum();
        let undisturbed = quantile_ms(&child.undisturbed, 0.5);
        let [median, p99, max] = [0.5, 0.99, 1.0].map(|share| quantile_ms(&child.answered, share));
        let [again, again_p99] = [0.5, 0.99].map(|share| quantile_ms(&child.restarted, share));
        let (name, drills) = (child.name, child.answered.len());
        let failed = child.unanswered + child.refused;
        let is_quick = child.median_ms_max.map_or("-", |max| goal(median < max));
        let is_even = goal(p99 < 10.0);
        writeln!(
            out,
            "{name:<16} {drills:>6} {undisturbed:>11.3} {median:>7.3} {p99:>7.3} {max:>7.3} \
             {again:>9.3} {again_p99:>7.3} {restarts:>8} {failed:>10} {is_quick:>6} {is_even:>6}"
        )?;
    }
    // By fault, because they take different ways: a stop is graceful, and a panic unwinds.
    writeln!(out, "\nmedian and max by fault, in ms")?;
    write!(out, "{:<17}", "child")?;
    for fault in FAULTS {
        write!(out, " {:>17}", fault.as_str())?;
    }
    writeln!(out)?;
    for child in children {
        write!(out, "{:<17}", child.name)?;
        for turn in 0..FAULTS.len() {
            let of_fault = child.answered.iter().copied().skip(turn).step_by(FAULTS.len());
            let times: Vec<_> = of_fault.collect();
            let (median, max) = (quantile_ms(&times, 0.5), quantile_ms(&times, 1.0));
            write!(out, " {median:>8.3} {max:>8.3}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

async fn measure(mut out: impl Write + Send, rounds: usize) -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = node::start(config(folder.path())).await.map_err(io::Error::other)?;
    let mut children = vec![
        Child::new("identity", false),
        Child::new("gate-chain", true),
        Child::new("envelope", false),
        Child::new("edge", true),
        Child::new("ollama", true),
        Child::new("inference-router", true),
        Child::new("inference", false),
        Child::new("http", true),
    ];
    for child in &mut children {
        // The model is loaded behind the start, and until then there is none to list.
        let given_up = Instant::now() + Duration::from_secs(10);
        while !child.ask(&node).await && Instant::now() < given_up {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for _ in 0..rounds {
            let began = Instant::now();
            if child.ask(&node).await {
                child.undisturbed.push(began.elapsed());
            }
        }
    }
    for round in 0..rounds {
        tokio::time::sleep(REST).await;
        for child in &mut children {
            child.fail(&node, FAULTS[round % FAULTS.len()]).await;
        }
    }
    let ask = |reply| SupervisorMsg::Tree { reply };
    let tree = node.roster().supervisor.call(wait(), ask).await.map_err(io::Error::other)?;
    node.shutdown().await;
    report(&mut out, &children, &tree)
}

fn main() -> io::Result<()> {
    let has = |flag: &str| std::env::args().any(|argument| argument == flag);
    let is_short = has("--test") || !has("--bench");
    let usual = std::panic::take_hook();
    // The panics of the drills are meant; a trace for each would hide the figures.
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str().is_none_or(|text| !text.starts_with("drill")) {
            usual(panic);
        }
    }));
    let rounds = if is_short { 1 } else { ROUNDS };
    let runtime = Runtime::new()?;
    // Beside the actors, as the node's own callers are, and not on a thread apart.
    runtime.block_on(runtime.spawn(measure(io::stdout(), rounds))).map_err(io::Error::other)?
}
