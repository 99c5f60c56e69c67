//! Log lines on standard error.

use std::io::IsTerminal;
use std::panic::PanicHookInfo;

use tracing::error;
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Logs from now on, panics included. Once per process.
///
/// # Errors
/// When the filter cannot be read.
pub fn start(log: &Log) -> Result<(), String> {
    // ractor names actors by number; ours say their names themselves.
    let filter = EnvFilter::builder().parse(format!("ractor=warn,{}", log.filter));
    let filter = filter.map_err(|error| format!("log.filter: {:?}: {error}", log.filter))?;
    let is_terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Json => lines.json().init(),
        LogFormat::Auto if !is_terminal => lines.json().init(),
        LogFormat::Auto | LogFormat::Text => lines.with_ansi(is_terminal).init(),
    }
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// One line per panic. The supervisor restarts the actor, so the process goes on.
fn log_panic(info: &PanicHookInfo<'_>) {
    let reason = info.payload_as_str().unwrap_or("a payload that is no text");
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    error!(thread = thread.name().unwrap_or("unnamed"), location, reason, "panicked");
}
