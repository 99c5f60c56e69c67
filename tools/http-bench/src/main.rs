//! What the door of the node costs: the node and a bare axum server that does the same work side by
//! side, under the same load of wrk, turn by turn.

use std::env;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

mod bare;
mod client;
mod gateway;
mod idle;
mod load;
mod mock;
mod server;
mod table;
mod work;

use table::Row;
use work::Work;

const HELP: &str = "\
Usage: cargo xtask bench-http [--seconds N] [--rounds N] [--connections N] [--idle N]
       cargo xtask bench-http gateway [--seconds N] [--rounds N] [--other ADDRESS]

Builds the node and a bare axum server that returns the same bytes, loads both in turn with wrk,
which must be installed, and prints rates, latencies and their ratios; then opens idle WebSockets
and prints the memory that each takes.

  --seconds      of each load; 5 if not given
  --rounds       loads of each server for each row; 3 if not given. Medians are printed
  --connections  of wrk, over which requests follow one another; 64 if not given
  --idle         WebSockets that are opened and say nothing; 2000 if not given, 0 for none

With gateway, loads /v1/chat/completions of the node and of the model server behind it, which only
waits, in turn, and prints what the way through the node adds; then kills one of two such servers.

  --other        one more gateway, started before, that serves a model \"mock\", for example LiteLLM with
                 api_base http://127.0.0.1:PORT/v1; cargo xtask bench-http mock FIRST_MS BETWEEN_MS
                 is such a server
";

/// What is asked for.
struct Options {
    seconds: u64,
    rounds: usize,
    connections: usize,
    idle: usize,
}

impl Options {
    fn from_args(args: &[&str]) -> Result<Self, String> {
        let mut options = Self { seconds: 5, rounds: 3, connections: 64, idle: 2000 };
        let mut rest = args.iter();
        while let Some(name) = rest.next() {
            let value = rest.next().ok_or_else(|| format!("{name} needs a number"))?;
            let number: u32 = value.parse().map_err(|_| format!("{name}: {value} is no number"))?;
            let count = number as usize;
            match *name {
                "--seconds" if number > 0 => options.seconds = u64::from(number),
                "--rounds" if count > 0 => options.rounds = count,
                "--connections" if count > 1 => options.connections = count,
                "--idle" => options.idle = count,
                _ => return Err(format!("{name} {value} is nothing to go by")),
            }
        }
        Ok(options)
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["serve", health] => bare::serve(health).map_err(|error| error.to_string()),
        ["mock", first, between] => serve_mock(first, between),
        ["gateway", given @ ..] => gateway(given),
        ["help" | "--help" | "-h"] => Err(HELP.to_owned()),
        given => Options::from_args(given)
            .map_err(|reason| format!("{reason}\n\n{HELP}"))
            .and_then(|options| measure(&options).map_err(|error| error.to_string())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            let _ = writeln!(io::stderr().lock(), "{reason}");
            ExitCode::FAILURE
        }
    }
}

fn serve_mock(first: &str, between: &str) -> Result<(), String> {
    let milliseconds = |text: &str| {
        let number = text.parse().map_err(|_| format!("{text} is no number of milliseconds"))?;
        Ok::<_, String>(Duration::from_millis(number))
    };
    mock::serve(milliseconds(first)?, milliseconds(between)?).map_err(|error| error.to_string())
}

fn gateway(given: &[&str]) -> Result<(), String> {
    let (given, other) = match given {
        [rest @ .., "--other", address] => {
            let address: SocketAddr =
                address.parse().map_err(|_| format!("--other: {address} is no address"))?;
            (rest, Some(address))
        }
        rest => (rest, None),
    };
    let options = Options::from_args(given).map_err(|reason| format!("{reason}\n\n{HELP}"))?;
    let time = Duration::from_secs(options.seconds);
    gateway::measure(&mut io::stdout().lock(), time, options.rounds, other)
        .map_err(|error| error.to_string())
}

fn measure(options: &Options) -> io::Result<()> {
    load::is_there()?;
    let mut out = io::stdout().lock();
    let node = server::Node::start(&[])?;
    let works = Work::all(&node)?;
    let bare = server::Served::bare(&node)?;
    writeln!(
        out,
        "{} connections, {} s a load, medians of {} in turn; latency in ms",
        options.connections, options.seconds, options.rounds
    )?;
    writeln!(out, "{}", table::HEAD)?;
    let time = Duration::from_secs(options.seconds);
    for work in works {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            ours.push(load::run(node.address(), &work.ours, options.connections, time)?);
            theirs.push(load::run(bare.address(), &work.theirs, options.connections, time)?);
        }
        writeln!(out, "{}", Row::new(&work, &ours, &theirs))?;
    }
    let quiet = [load::Request::get("/api/v1/livez-not-there")];
    // What is refused is served as well: it must not be a cheap way to keep the node busy.
    let refused = load::run_any(node.address(), &quiet[0], options.connections, time)?;
    writeln!(out, "\nunknown path: {:.0} refusals a second", refused.rate)?;
    drop((node, bare));
    if options.idle > 0 {
        idle::measure(&mut out, options.idle)?;
    }
    Ok(())
}
