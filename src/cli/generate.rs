//! `bizra generate`: an answer as it comes, and its proof.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::client::{CliError, Client};
use crate::cli::commands::{Say, object, text_or_input};
use crate::cli::error::INTERRUPTED;
use crate::cli::{printable, show};
use crate::private_file;

/// Time for an answer that has to be generated, or for its first piece: a large model on a small
/// machine takes minutes.
const GENERATE_WAIT: Duration = Duration::from_secs(600);

/// What `bizra generate` takes. The ranges are the node's to check: it may allow more or less.
#[derive(Debug, Args)]
pub(super) struct GenerateArgs {
    /// What to answer; - is standard input
    prompt: String,
    /// Instructions that go before the prompt
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Whose preferences to tell the model, as `bizra preferences` knows them
    #[arg(long, value_name = "SUBJECT")]
    preferences_of: Option<String>,
    /// edge, local or pool [default: by the form of the prompt]
    #[arg(long)]
    tier: Option<String>,
    /// Name of the model, as `bizra models` prints it [default: that of the tier]
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Most tokens to generate [default: as the node is configured, 512]
    #[arg(long, value_name = "COUNT")]
    max_tokens: Option<u64>,
    /// 0 always takes the likeliest token; at most 2 [default: 0.7]
    #[arg(long)]
    temperature: Option<f64>,
    /// Choose among the likeliest tokens that together have this probability [default: 1]
    #[arg(long, value_name = "PROBABILITY")]
    top_p: Option<f64>,
    /// Makes the choice repeatable
    #[arg(long)]
    seed: Option<u64>,
    /// Text that ends the answer; can be given again, up to 8 times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Write the whole answer with its proof to this file; nothing may be there yet
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Carries out the command and returns the exit code. An interrupt closes the connection, by which
/// the node knows to stop the work.
///
/// # Errors
/// When the node refuses or does not answer, or the answer cannot be written.
pub(super) async fn run(
    args: GenerateArgs,
    client: &Client,
    say: &mut Say<'_>,
) -> Result<u8, CliError> {
    if let Some(out) = args.out.as_deref().filter(|out| out.symlink_metadata().is_ok()) {
        let text = format!("--out: {} is there already", out.display());
        return Err(CliError::Usage(text));
    }
    let body = object([
        ("prompt", Some(json!(text_or_input(args.prompt)?))),
        ("system", args.system.map(Value::from)),
        ("preferences_of", args.preferences_of.map(Value::from)),
        ("tier", args.tier.map(Value::from)),
        ("model", args.model.map(Value::from)),
        ("max_tokens", args.max_tokens.map(Value::from)),
        ("temperature", args.temperature.map(Value::from)),
        ("top_p", args.top_p.map(Value::from)),
        ("seed", args.seed.map(Value::from)),
        ("stop", (!args.stop.is_empty()).then(|| json!(args.stop))),
        ("stream", (!say.is_json).then_some(json!(true))),
    ]);
    let answered = async {
        if say.is_json {
            client.post_within(&["inference", "generate"], &body, GENERATE_WAIT).await
        } else {
            streamed(client, &body, say).await
        }
    };
    let answer = tokio::select! {
        answer = answered => answer?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            if !say.is_json {
                writeln!(say.out)?;
                say.out.flush()?;
            }
            writeln!(say.errors, "bizra: interrupted; the node stops the work")?;
            return Ok(INTERRUPTED);
        }
    };
    if let Some(out) = args.out {
        private_file::write_new(&out, printable::json(&answer, true).as_bytes())?;
    }
    if say.is_json {
        return say.answer(&answer, |_| String::new());
    }
    writeln!(say.errors, "{}", show::generation(&answer))?;
    Ok(0)
}

/// Prints the text as it comes, and returns the whole answer.
async fn streamed(client: &Client, body: &Value, say: &mut Say<'_>) -> Result<Value, CliError> {
    let path = ["inference", "generate"];
    let mut events = client.stream(&path, body, GENERATE_WAIT).await?;
    let mut is_line_open = false;
    let outcome = loop {
        let event = match events.next().await {
            Ok(Some(event)) => event,
            Ok(None) => break Err(broken_off("the stream ended before the proof")),
            Err(error) => break Err(error),
        };
        let Ok(data) = serde_json::from_str::<Value>(&event.data) else {
            break Err(broken_off("an event of the stream holds no JSON"));
        };
        match event.name.as_str() {
            "token" => {
                let piece = data["text"].as_str().unwrap_or_default();
                write!(say.out, "{}", printable::text(piece))?;
                say.out.flush()?;
                is_line_open = !piece.ends_with('\n') && (is_line_open || !piece.is_empty());
            }
            "done" => break Ok(data),
            "error" => break Err(CliError::BrokenOff { body: data }),
            // A newer node may say more.
            _ => {}
        }
    };
    if is_line_open {
        writeln!(say.out)?;
        say.out.flush()?;
    }
    outcome
}

fn broken_off(reason: &str) -> CliError {
    CliError::BrokenOff { body: json!({ "error": reason, "code": "STREAM_ENDED" }) }
}
