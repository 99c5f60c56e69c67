//! The commands of `bizra`, one function each.

use std::io::{IsTerminal, Read, Write};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::cli::bizra::{
    ActorsArgs, ActorsCommand, AuditCommand, BizraArgs, ChaosArgs, Command, Common,
    ConstitutionCommand, EnvelopeCommand, GatesCommand,
};
use crate::cli::chaos::{self, Plan};
use crate::cli::client::{CliError, Client, Target};
use crate::cli::models::ModelsArgs;
use crate::cli::{
    audit, constitution, doctor, envelope, federation, generate, identity, manual, models,
    patterns, preferences, printable, replay, show, token,
};
use crate::domain::fault::Fault;
use crate::domain::inference::recorded::Asked;
use crate::domain::json;

/// Time between two pictures of the tree.
const WATCH_PAUSE: Duration = Duration::from_secs(1);
/// Most bytes read from standard input; the node takes 1 MiB by default.
const INPUT_BYTES_MAX: u64 = 64 << 20;

/// Carries out the command and returns the exit code.
///
/// # Errors
/// When it could not be carried out; [`CliError::exit_code`] says how to end.
pub async fn run(
    args: BizraArgs,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> Result<u8, CliError> {
    let Common { url, ca, data_dir, token, json } = args.common;
    let target = Target { url, data_dir, token, ca };
    let mut say = Say { out, errors, is_json: json };
    match carry_out(args.command, &target, &mut say).await {
        // There is nobody left to tell.
        Err(CliError::Output(error)) => Err(CliError::Output(error)),
        // Whoever reads JSON finds the reason where the answer would be.
        Err(error) if json => {
            say.answer(&error.to_json(), show::fields)?;
            Ok(error.exit_code())
        }
        outcome => outcome,
    }
}

async fn carry_out(command: Command, target: &Target, say: &mut Say<'_>) -> Result<u8, CliError> {
    match command {
        Command::Envelope(command) => handle_envelope(command, target, say).await,
        Command::Token(args) => token::run(args, target, say).await,
        Command::Audit(AuditCommand::Verify { file }) => {
            let data_dir = target.config()?.node.data_dir;
            audit::verify(file.as_deref(), &data_dir, say.out, say.is_json)
        }
        Command::Audit(AuditCommand::Show { limit }) => {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            audit::show(limit, &target.config()?.node.data_dir, say.out, say.is_json)
        }
        Command::Status => {
            let status = target.client()?.get(&["status"]).await?;
            say.answer(&status, show::fields)
        }
        Command::Health => health(&target.client()?, say).await,
        Command::Actors(args) => actors(args, &target.client()?, say).await,
        Command::Generate(args) => generate::run(args, &target.client()?, say).await,
        Command::Models(ModelsArgs { command: Some(command) }) => {
            models::run(command, target, say).await
        }
        Command::Models(ModelsArgs { command: None }) => {
            let models = target.client()?.get(&["inference", "models"]).await?;
            say.answer(&models, show::models)
        }
        Command::Gates(command) => gates(command, &target.client()?, say).await,
        Command::Constitution(command) => constitution(command, target, say).await,
        Command::Identity(command) => identity::run(command, target, say).await,
        Command::Patterns(command) => patterns::run(command, &target.client()?, say).await,
        Command::Federation(command) => federation::run(command, target, say).await,
        Command::Preferences(command) => preferences::run(command, target, say).await,
        Command::Chaos(args) => drill(args, target, say).await,
        Command::Doctor(args) => doctor::run(&args, target, say).await,
        Command::Completions(args) => manual::completions(&args, say),
        Command::Man(args) => manual::man(args, say),
    }
}

/// Where answers and remarks go.
pub(super) struct Say<'a> {
    pub(super) out: &'a mut dyn Write,
    pub(super) errors: &'a mut dyn Write,
    pub(super) is_json: bool,
}

impl Say<'_> {
    /// Prints an answer as it came, or as `show` puts it.
    pub(super) fn answer(
        &mut self,
        answer: &Value,
        show: impl Fn(&Value) -> String,
    ) -> Result<u8, CliError> {
        let text = if self.is_json { printable::json(answer, true) } else { show(answer) };
        self.out.write_all(text.as_bytes())?;
        self.out.flush()?;
        Ok(0)
    }

    /// Prints an answer whose boolean `key` is its verdict.
    pub(super) fn verdict(
        &mut self,
        answer: &Value,
        key: &str,
        show: impl Fn(&Value) -> String,
    ) -> Result<u8, CliError> {
        self.answer(answer, show)?;
        Ok(u8::from(answer[key] != Value::Bool(true)))
    }
}

async fn handle_envelope(
    command: EnvelopeCommand,
    target: &Target,
    say: &mut Say<'_>,
) -> Result<u8, CliError> {
    match command {
        EnvelopeCommand::Verify { file, at, accept_v1 } => {
            let at = match at.as_deref().map(str::parse::<Timestamp>) {
                None => Timestamp::now(),
                Some(Ok(at)) => at,
                Some(Err(error)) => return Err(CliError::Usage(format!("--at: {error}"))),
            };
            let (mut input, at_ms) = (open(&file)?, at.as_millisecond());
            Ok(envelope::verify(&mut *input, say.out, at_ms, accept_v1, say.is_json)?)
        }
        EnvelopeCommand::Inspect { file } => {
            Ok(envelope::inspect(&mut *open(&file)?, say.out, say.is_json)?)
        }
        EnvelopeCommand::Replay { file, model, prompt, system, request } => {
            let asked = match request {
                Some(request) => replay::asked_in(&read_text(&request)?)?,
                None => {
                    let prompt = text_or_input(prompt.unwrap_or_default())?;
                    Asked { prompt, system, history: Vec::new() }
                }
            };
            let input = &mut *open(&file)?;
            replay::replay(input, model.as_deref(), asked, say.out, say.is_json)
        }
        EnvelopeCommand::Find { id } => {
            let found = target.client()?.get(&["pci", "envelope", &id]).await?;
            say.answer(&found, show::fields)
        }
        EnvelopeCommand::Log { limit, since, after } => {
            let mut query = vec![("limit", limit.to_string())];
            query.extend(since.map(|since| ("since", since)));
            query.extend(after.map(|after| ("after", after)));
            let page = target.client()?.get_with(&["pci", "envelopes"], &query).await?;
            say.answer(&page, show::envelopes)
        }
    }
}

async fn health(client: &Client, say: &mut Say<'_>) -> Result<u8, CliError> {
    match client.get(&["health"]).await {
        Ok(health) => say.answer(&health, show::health),
        // Also the unhealthy answer says which actor is to blame.
        Err(CliError::Refused { status: 503, body }) if body["status"].is_string() => {
            say.answer(&body, show::health)?;
            Ok(1)
        }
        Err(error) => Err(error),
    }
}

async fn actors(args: ActorsArgs, client: &Client, say: &mut Say<'_>) -> Result<u8, CliError> {
    if let Some(ActorsCommand::Stop { name, kind }) = args.command {
        let body = kind.map_or(json!({}), |kind| json!({ "kind": kind.as_str() }));
        let stopped = client.post(&["actors", &name, "stop"], &body).await?;
        return say.answer(&stopped, show::fields);
    }
    if !args.watch {
        return say.answer(&client.get(&["actors"]).await?, show::tree);
    }
    let is_terminal = std::io::stdout().is_terminal();
    loop {
        // The node may come back; whoever watches wants to see that.
        let tree = client.get(&["actors"]).await;
        if say.is_json {
            let line = tree.unwrap_or_else(|error| error.to_json());
            say.out.write_all(printable::json(&line, false).as_bytes())?;
            say.out.flush()?;
        } else {
            if is_terminal {
                // Home, and clear to the end.
                say.out.write_all(b"\x1b[H\x1b[J")?;
            }
            match tree {
                Ok(tree) => say.answer(&tree, show::tree).map(drop)?,
                Err(error) => writeln!(say.errors, "bizra: {}", error.to_text())?,
            }
        }
        tokio::time::sleep(WATCH_PAUSE).await;
    }
}

async fn constitution(
    command: ConstitutionCommand,
    target: &Target,
    say: &mut Say<'_>,
) -> Result<u8, CliError> {
    match command {
        ConstitutionCommand::Check { file } => {
            let origin = file.display().to_string();
            Ok(constitution::check(&mut *open(&file)?, &origin, say.out, say.is_json)?)
        }
        ConstitutionCommand::Show => {
            let shown = target.client()?.get(&["constitution"]).await?;
            say.answer(&shown, show::constitution)
        }
        ConstitutionCommand::Reload => {
            let shown = target.client()?.post(&["constitution", "reload"], &json!({})).await?;
            say.answer(&shown, show::constitution)
        }
    }
}

async fn gates(command: GatesCommand, client: &Client, say: &mut Say<'_>) -> Result<u8, CliError> {
    let GatesCommand::Check { content, snr, ihsan, content_type, profile, sources } = command;
    let sources = sources.iter().map(|path| read_text(path)).collect::<Result<Vec<_>, _>>()?;
    let body = object([
        ("content", Some(json!(text_or_input(content)?))),
        ("snr_score", snr.map(Value::from)),
        ("ihsan_score", ihsan.map(Value::from)),
        ("content_type", content_type.map(Value::from)),
        ("profile", profile.map(Value::from)),
        ("sources", (!sources.is_empty()).then(|| json!(sources))),
    ]);
    let checked = client.post(&["pci", "gates", "check"], &body).await?;
    say.verdict(&checked, "passed", show::gates)
}

async fn drill(args: ChaosArgs, target: &Target, say: &mut Say<'_>) -> Result<u8, CliError> {
    let client = target.client()?;
    let all_but_freeze = vec![Fault::Panic, Fault::Error, Fault::Stop, Fault::Kill];
    // 32 bits are enough to be different, and easy to type again.
    let fresh_seed = u64::from(getrandom::u32().unwrap_or_default());
    let plan = Plan {
        duration: args.duration,
        every: args.every,
        actors: args.actor,
        kinds: if args.kind.is_empty() { all_but_freeze } else { args.kind },
        seed: args.seed.unwrap_or(fresh_seed),
    };
    let report = chaos::run(&plan, &client, target.config()?.supervisor, say.errors).await?;
    say.answer(&report.to_json(), |_| report.to_text())?;
    Ok(u8::from(!report.is_clean()))
}

/// An object of the members that are there.
pub(super) fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let present = members.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(present.collect::<Map<String, Value>>())
}

/// The text itself, or standard input for `-`.
pub(super) fn text_or_input(text: String) -> Result<String, CliError> {
    if text == "-" { read_text(Path::new("-")) } else { Ok(text) }
}

pub(super) fn read_text(path: &Path) -> Result<String, CliError> {
    let name =
        if path.as_os_str() == "-" { "standard input".into() } else { path.display().to_string() };
    let mut bytes = Vec::new();
    let read = open(path)?.take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| CliError::Usage(format!("{name}: {error}")))?;
    if bytes.len() as u64 > INPUT_BYTES_MAX {
        return Err(CliError::Usage(format!("{name} is larger than {INPUT_BYTES_MAX} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| CliError::Usage(format!("{name} is not UTF-8")))
}

/// Strict JSON of a file.
pub(super) fn read_json(path: &Path) -> Result<Value, CliError> {
    let text = read_text(path)?;
    json::parse(text.as_bytes())
        .map_err(|error| CliError::Usage(format!("{}: {error}", path.display())))
}

pub(super) fn open(path: &Path) -> Result<Box<dyn Read>, CliError> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(std::io::stdin().lock()));
    }
    match std::fs::File::open(path) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(CliError::Usage(format!("{}: {error}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_holds_only_what_was_said() {
        let body = object([("a", Some(json!(1))), ("b", None)]);
        assert_eq!(body, json!({ "a": 1 }));
    }
}
