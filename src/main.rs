//! The node: reads its command line and configuration, runs, and stops when it is told to.

use std::io::Write;
use std::process::ExitCode;

use bizra_omega::adapters::edge::threads;
use bizra_omega::cli::args::{NodeArgs, environment};
use bizra_omega::cli::passphrase;
use bizra_omega::config::{Config, Sources};
use bizra_omega::domain::passphrase::Passphrase;
use bizra_omega::logging;
use bizra_omega::node::{self, StartError};
use bizra_omega::open_files;
use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

/// Wrong usage or configuration; clap ends with the same.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let code = start();
    logging::end();
    code
}

/// Everything from the command line to the end of the node.
fn start() -> ExitCode {
    let args = match NodeArgs::try_parse() {
        Ok(args) => args,
        Err(shown) => {
            let _ = shown.print();
            return ExitCode::from(u8::try_from(shown.exit_code()).unwrap_or(USAGE));
        }
    };
    let (path, flags) = args.into_parts();
    let loaded = Config::load_with_sources(path.as_deref(), environment(), &flags);
    let (config, sources) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return usage(&error.to_string()),
    };
    if let Err(error) = logging::start(&config.log, &config.telemetry) {
        return usage(&format!("{}: {}", sources.of(error.key), error.reason));
    }
    if let Some(reason) = open_files::allow(config.http.connections_max) {
        warn!(reason, "not every connection that is allowed can be open");
    }
    if let Err(error) = threads::apply(config.inference.edge.threads) {
        return failed(&format!("cannot start with inference.edge.threads: {error}"));
    }
    // Before the runtime, which would keep an interrupt from ending the wait for an answer.
    let passphrase = match passphrase::ask_for_node(&config.node) {
        Ok(passphrase) => passphrase,
        Err(error) => return usage(&error.to_string()),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.to_string()),
    };
    let code = runtime.block_on(run(config, passphrase, &sources));
    // The node has stopped, or is not to be waited for: nor are its blocking threads.
    runtime.shutdown_background();
    code
}

/// Runs the node until a signal or its own end.
async fn run(config: Config, passphrase: Option<Passphrase>, sources: &Sources) -> ExitCode {
    // With nothing to read again, a terminal that closes ends the node, as it always does.
    let can_reload = config.http.tls_cert.is_some() || config.gates.constitution.is_some();
    let signals = signal(SignalKind::interrupt()).and_then(|interrupt| {
        let hangup = can_reload.then(|| signal(SignalKind::hangup())).transpose()?;
        Ok((interrupt, signal(SignalKind::terminate())?, hangup))
    });
    let (mut interrupt, mut terminate, mut hangup) = match signals {
        Ok(signals) => signals,
        Err(error) => return failed(&error.to_string()),
    };
    let started = tokio::select! {
        started = node::start_with(config, passphrase) => started,
        _ = told(&mut interrupt, &mut terminate) => return ExitCode::SUCCESS,
    };
    let node = match started {
        Ok(node) => node,
        Err(error) => return not_started(&error, sources),
    };
    loop {
        tokio::select! {
            exit = node.ended() => {
                node.shutdown().await;
                return failed(&exit.reason);
            }
            name = told(&mut interrupt, &mut terminate) => {
                info!(signal = name, "stopping");
                break;
            }
            () = hung_up(hangup.as_mut()) => node.reload().await,
        }
    }
    tokio::select! {
        exit = node.shutdown() => {
            info!(reason = exit.reason, "stopped");
            ExitCode::SUCCESS
        }
        name = told(&mut interrupt, &mut terminate) => {
            warn!(signal = name, "stopping at once, work in flight is lost");
            ExitCode::FAILURE
        }
    }
}

/// Waits for the next SIGHUP, if one means anything.
async fn hung_up(hangup: Option<&mut Signal>) {
    match hangup {
        Some(hangup) => _ = hangup.recv().await,
        None => std::future::pending().await,
    }
}

/// Waits for the next request to stop.
async fn told(interrupt: &mut Signal, terminate: &mut Signal) -> &'static str {
    tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}

/// Says why the node did not start, and who set the value if one is wrong.
fn not_started(error: &StartError, sources: &Sources) -> ExitCode {
    if !error.is_usage() {
        return failed(&error.to_string());
    }
    let reason = match error.key() {
        Some(key) => format!("{}: {error}", sources.of(&key)),
        None => error.to_string(),
    };
    error!(reason, "wrong configuration");
    ExitCode::from(USAGE)
}

fn failed(reason: &str) -> ExitCode {
    logging::last_word(reason);
    ExitCode::FAILURE
}

/// Says why nothing was started, before there is a log to say it in.
fn usage(reason: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "error: {reason}");
    ExitCode::from(USAGE)
}
