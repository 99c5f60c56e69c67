//! Log lines on standard error, and traces.

use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use std::time::Duration;

use tracing::error;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::adapters::log_writer::{self, LogWriter};
use crate::config::{Log, LogFormat, Telemetry};

/// Longest wait at the end of the program for the last spans, and then for the last lines. With the
/// grace of the node it stays below the 30 s that service managers wait.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Why nothing can be logged: the key of the configuration that is wrong, and what is.
#[derive(Debug)]
pub struct LoggingError {
    /// The key.
    pub key: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

/// Logs from now on, panics included, and makes traces if there is a collector. Once per process.
///
/// # Errors
/// When the filter cannot be read, or traces cannot be sent.
pub fn start(log: &Log, telemetry: &Telemetry) -> Result<(), LoggingError> {
    let fail = |key, reason: String| LoggingError { key, reason };
    // ractor names actors by number; ours say their names themselves. Spans of traces are there
    // whatever is logged.
    let spans = match telemetry.endpoint {
        Some(_) => concat!(",", "bizra_omega::span=debug"),
        None => "",
    };
    // llama.cpp tells every tensor and, of each request, how its room is rounded.
    let quiet = "ractor=warn,llama_cpp_2=warn,llama-cpp-2=error";
    let filter = EnvFilter::builder().parse(format!("{quiet},{}{spans}", log.filter));
    let filter = filter
        .map_err(|error| fail("log.filter", format!("log.filter: {:?}: {error}", log.filter)))?;
    let is_terminal = std::io::stderr().is_terminal();
    let writer = LogWriter::start().map_err(|error| fail("log.format", error.to_string()))?;
    let lines = tracing_subscriber::fmt::layer().with_writer(move || writer);
    let lines = match log.format {
        LogFormat::Json => lines.json().boxed(),
        LogFormat::Auto if !is_terminal => lines.json().boxed(),
        LogFormat::Auto | LogFormat::Text => lines.with_ansi(is_terminal).boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    #[cfg(feature = "otlp")]
    let subscriber = subscriber.with(match &telemetry.endpoint {
        Some(endpoint) => {
            let share = telemetry.sampling_ratio.as_f64();
            let traces = crate::adapters::otlp::layer(endpoint, share, &telemetry.service_name);
            Some(traces.map_err(|error| fail("telemetry.endpoint", error.to_string()))?)
        }
        None => None,
    });
    subscriber.init();
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Says why the program ends. Nobody else is heard after it.
pub fn last_word(reason: &str) {
    log_writer::have_the_last_word();
    error!(reason, "the node failed");
}

/// Sends and writes what waits, at the end of the program. Waits for the network and for whoever
/// reads standard error, but not for ever.
pub fn end() {
    #[cfg(feature = "otlp")]
    crate::adapters::otlp::close(LAST_WAIT);
    log_writer::flush(LAST_WAIT);
}

/// One line per panic. The supervisor restarts the actor, so the process goes on.
fn log_panic(info: &PanicHookInfo<'_>) {
    let reason = info.payload_as_str().unwrap_or("a payload that is no text");
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    error!(thread = thread.name().unwrap_or("unnamed"), location, reason, "panicked");
}
