//! `bizra doctor`: looks at the machine, the data directory and the configuration, and says what is
//! wrong and which model fits. Needs no node, and changes nothing.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::client::{CliError, Target};
use crate::cli::commands::Say;
use crate::cli::show;
use crate::config::{Config, Flags};
use crate::domain::hardware::{Bound, Fit, Machine, Memory, fit, needed_bytes};
use crate::machine;

mod checks;
mod models;
mod servers;

/// What `bizra doctor` takes.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Configuration file that the node is started with [default: node.toml in the data directory,
    /// if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// As it should be.
    Ok,
    /// It works, and not as well as it could.
    Warn,
    /// A node could not run, or not serve.
    Fail,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What one look found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    check: &'static str,
    state: State,
    text: String,
    /// The way out.
    remedy: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, state: State::Ok, text: text.into(), remedy: None }
    }

    fn warn(
        check: &'static str,
        text: impl Into<String>,
        remedy: impl Into<Option<String>>,
    ) -> Self {
        Self { check, state: State::Warn, text: text.into(), remedy: remedy.into() }
    }

    fn fail(
        check: &'static str,
        text: impl Into<String>,
        remedy: impl Into<Option<String>>,
    ) -> Self {
        Self { check, state: State::Fail, text: text.into(), remedy: remedy.into() }
    }

    fn to_json(&self) -> Value {
        json!({
            "check": self.check,
            "state": self.state.as_str(),
            "text": self.text,
            "remedy": self.remedy,
        })
    }
}

/// Carries out the command. Returns the exit code: 1 if something failed.
///
/// # Errors
/// When the outcome cannot be written.
pub(super) async fn run(
    args: &DoctorArgs,
    target: &Target,
    say: &mut Say<'_>,
) -> Result<u8, CliError> {
    let machine = machine::read();
    let mut findings = checks::hardware(&machine);
    let flags = Flags { data_dir: target.data_dir.clone(), ..Flags::default() };
    let env = super::args::environment();
    let mut advice = Value::Null;
    match Config::load(args.config.as_deref(), env, &flags) {
        Err(error) => {
            let remedy = "set it right; what depends on it was not looked at".to_owned();
            findings.push(Finding::fail("configuration", error.to_string(), remedy));
        }
        Ok(config) => {
            findings.push(checks::configuration(&config));
            findings.extend(checks::files(&config));
            let (found, pid) = checks::node(&config, target).await;
            findings.extend(found);
            findings.push(checks::open_files(&config, pid));
            findings.push(models::embedding(&config.embedding).await);
            let servers = servers::ask(&config.inference).await;
            findings.extend(servers.iter().map(servers::Server::finding));
            let is_served = servers::serve_locally(&servers);
            findings.extend(models::edge(&config.inference.edge, &machine, is_served));
            findings.push(models::size(&machine));
            advice = models::advice(&machine, is_served);
            findings.push(models::tier(&machine, is_served));
        }
    }
    let failed = findings.iter().filter(|finding| finding.state == State::Fail).count();
    let answer = json!({
        "failed": failed,
        "checks": findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
        "machine": machine_json(&machine),
        "advice": advice,
    });
    say.answer(&answer, |_| to_text(&findings, failed))?;
    Ok(u8::from(failed > 0))
}

fn to_text(findings: &[Finding], failed: usize) -> String {
    let mut rows = Vec::new();
    for finding in findings {
        let check = finding.check.to_owned();
        rows.push(vec![finding.state.as_str().to_owned(), check, finding.text.clone()]);
        if let Some(remedy) = &finding.remedy {
            rows.push(vec![String::new(), String::new(), format!("-> {remedy}")]);
        }
    }
    let mut text = show::table(&rows);
    text.push_str(&match failed {
        0 => "a node can run here\n".to_owned(),
        1 => "1 check failed\n".to_owned(),
        failed => format!("{failed} checks failed\n"),
    });
    text
}

fn machine_json(machine: &Machine) -> Value {
    let memory = |memory: Option<Memory>| {
        memory.map(
            |memory| json!({ "total_bytes": memory.total, "available_bytes": memory.available }),
        )
    };
    let gpus = machine.gpus.as_ref().map(|gpus| {
        gpus.iter()
            .map(|gpu| json!({ "name": gpu.name, "memory_bytes": gpu.memory }))
            .collect::<Vec<_>>()
    });
    json!({
        "cores": machine.cores,
        "processor_limit": machine.quota,
        "memory": memory(machine.memory),
        "memory_limit": memory(machine.limit),
        "gpus": gpus,
    })
}

/// Which model fits in this process, as JSON.
fn fit_json(machine: &Machine) -> Value {
    let Some(Fit { weights, bound, tokens_per_second }) = fit(machine) else { return Value::Null };
    let bound = match bound {
        Bound::Memory => json!("memory"),
        Bound::Processors => json!("processors"),
        Bound::None => Value::Null,
    };
    json!({
        "weights_max": weights,
        "memory_bytes": weights.map(needed_bytes),
        "tokens_per_second": tokens_per_second.map(f64::round),
        "bound_by": bound,
    })
}

/// Bytes with a unit that fits.
fn bytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let gigabytes = bytes as f64 / 1e9;
    if gigabytes < 1.0 {
        format!("{:.0} MB", gigabytes * 1e3)
    } else {
        format!("{gigabytes:.1} GB")
    }
}

/// A number of weights, as models are called by.
fn billions(weights: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let billions = weights as f64 / 1e9;
    format!("{billions} billion weights")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_says_how_bad_it_is_and_the_way_out() {
        let findings = [
            Finding::ok("memory", "2.0 GB"),
            Finding::fail("port", "taken by\u{1b}[2J", Some("choose another".to_owned())),
        ];
        let expected = "\
ok    memory  2.0 GB
fail  port    taken by\\u{1b}[2J
              -> choose another
1 check failed
";
        assert_eq!(to_text(&findings, 1), expected);
    }

    #[test]
    fn numbers_are_told_in_units_that_fit() {
        assert_eq!((bytes(999_000_000), bytes(1_500_000_000)), ("999 MB".into(), "1.5 GB".into()));
        assert_eq!(billions(1_500_000_000), "1.5 billion weights");
        assert_eq!(billions(7_000_000_000), "7 billion weights");
    }
}
