//! The node: reads its command line and configuration, runs, and stops when it is told to.

use std::io::IsTerminal;
use std::process::ExitCode;

use bizra_omega::cli::args::{NodeArgs, environment};
use bizra_omega::config::{Config, Log, LogFormat};
use bizra_omega::node;
use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

/// Wrong usage or configuration; clap ends with the same.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let args = match NodeArgs::try_parse() {
        Ok(args) => args,
        Err(shown) => {
            let _ = shown.print();
            return ExitCode::from(u8::try_from(shown.exit_code()).unwrap_or(USAGE));
        }
    };
    let (path, flags) = args.into_parts();
    let config = match Config::load(path.as_deref(), environment(), &flags) {
        Ok(config) => config,
        Err(error) => return usage(&error.to_string()),
    };
    if let Err(reason) = log_to_stderr(&config.log) {
        return usage(&reason);
    }
    std::panic::set_hook(Box::new(log_panic));
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.to_string()),
    };
    let code = runtime.block_on(run(config));
    // The node has stopped, or is not to be waited for: nor are its blocking threads.
    runtime.shutdown_background();
    code
}

/// Runs the node until a signal or its own end.
async fn run(config: Config) -> ExitCode {
    let signals =
        signal(SignalKind::interrupt()).and_then(|i| Ok((i, signal(SignalKind::terminate())?)));
    let (mut interrupt, mut terminate) = match signals {
        Ok(signals) => signals,
        Err(error) => return failed(&error.to_string()),
    };
    let started = tokio::select! {
        started = node::start(config) => started,
        _ = told(&mut interrupt, &mut terminate) => return ExitCode::SUCCESS,
    };
    let node = match started {
        Ok(node) => node,
        Err(error) => return failed(&error.to_string()),
    };
    tokio::select! {
        reason = node.failed() => return failed(&reason),
        name = told(&mut interrupt, &mut terminate) => info!(signal = name, "stopping"),
    }
    tokio::select! {
        () = node.shutdown() => ExitCode::SUCCESS,
        name = told(&mut interrupt, &mut terminate) => {
            warn!(signal = name, "stopping at once, work in flight is lost");
            ExitCode::FAILURE
        }
    }
}

/// Waits for the next request to stop.
async fn told(interrupt: &mut Signal, terminate: &mut Signal) -> &'static str {
    tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}

fn log_to_stderr(log: &Log) -> Result<(), String> {
    let filter = EnvFilter::builder().parse(&log.filter);
    let filter = filter.map_err(|error| format!("log.filter: {:?}: {error}", log.filter))?;
    let is_terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Json => lines.json().init(),
        LogFormat::Auto if !is_terminal => lines.json().init(),
        LogFormat::Auto | LogFormat::Text => lines.with_ansi(is_terminal).init(),
    }
    Ok(())
}

/// One line per panic. The supervisor restarts the actor, so the process goes on.
fn log_panic(info: &std::panic::PanicHookInfo<'_>) {
    let text = info.payload_as_str().unwrap_or("a payload that is no text");
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    error!(thread = thread.name().unwrap_or("unnamed"), location, reason = text, "panicked");
}

fn failed(reason: &str) -> ExitCode {
    error!(reason, "the node failed");
    ExitCode::FAILURE
}

/// Says why nothing was started, before there is a log to say it in.
fn usage(reason: &str) -> ExitCode {
    let _ =
        std::io::Write::write_all(&mut std::io::stderr(), format!("error: {reason}\n").as_bytes());
    ExitCode::from(USAGE)
}
