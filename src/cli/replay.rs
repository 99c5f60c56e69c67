//! `bizra envelope replay`: computes a proven answer again, with no node running.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::adapters::edge::demo::DEMO;
use crate::adapters::edge::engine;
use crate::adapters::edge::generate::{Limits, generate_fitting};
use crate::adapters::edge::model::{EdgeModel, ModelSource};
use crate::cli::client::CliError;
use crate::cli::envelope::{INVALID, VALID, read_bounded};
use crate::cli::printable;
use crate::config::Engine;
use crate::domain::envelope::Options;
use crate::domain::envelope::verify::{read, verify};
use crate::domain::inference::conversation::Turn;
use crate::domain::inference::recorded::{Asked, Recorded, first_difference};

/// What was looked at, in order, and whether it held.
#[derive(Debug, Default)]
struct Replay {
    checks: Vec<(&'static str, bool, String)>,
}

impl Replay {
    fn note(&mut self, check: &'static str, passed: bool, detail: impl Into<String>) -> bool {
        self.checks.push((check, passed, detail.into()));
        passed
    }

    fn is_reproduced(&self) -> bool {
        self.checks.iter().all(|(_, passed, _)| *passed)
            && self.checks.last().is_some_and(|(check, ..)| *check == "text")
    }
}

/// Verifies the envelope in `bytes` as of when it was made, computes its text again from `asked` with
/// the model at `model` (otherwise the one inside the program), and says whether the same text came.
/// Answers the exit code.
///
/// # Errors
/// When `out` cannot be written.
pub(super) fn replay(
    input: &mut dyn std::io::Read,
    model: Option<&Path>,
    asked: Asked,
    out: &mut dyn Write,
    is_json: bool,
) -> Result<u8, CliError> {
    let bytes = read_bounded(input)?;
    let mut replay = Replay::default();
    run(&bytes, model, asked, &mut replay);
    let reproduced = replay.is_reproduced();
    if is_json {
        let check = |(check, passed, detail): &(&str, bool, String)| json!({ "check": check, "passed": passed, "detail": detail });
        let checks: Vec<Value> = replay.checks.iter().map(check).collect();
        let report = json!({ "reproduced": reproduced, "checks": checks });
        write!(out, "{}", printable::json(&report, true))?;
    } else {
        for (check, passed, detail) in &replay.checks {
            let verdict = if *passed { "ok" } else { "FAILED" };
            writeln!(out, "{check:<13} {verdict}  {}", printable::line(detail))?;
        }
        writeln!(out, "{}", if reproduced { "reproduced" } else { "not reproduced" })?;
    }
    Ok(if reproduced { VALID } else { INVALID })
}

/// Goes on until something does not hold.
fn run(bytes: &[u8], model: Option<&Path>, asked: Asked, replay: &mut Replay) -> Option<()> {
    let envelope = match read(bytes) {
        Ok(envelope) => envelope,
        Err((code, error)) => {
            replay.note("envelope", false, format!("{}: {error}", code.as_str()));
            return None;
        }
    };
    // It may be long past its time; what it says was true when it was made.
    let made = envelope["timestamp"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let at_ms = made.unwrap_or_else(Timestamp::now).as_millisecond();
    let report = verify(bytes, at_ms, &Options::default());
    if let Some(error) = &report.error {
        replay.note("envelope", false, error);
        return None;
    }
    replay.note("envelope", true, "genuine, as of when it was made");

    let recorded = match Recorded::read(&envelope["payload"]) {
        Ok(recorded) => recorded,
        Err(error) => {
            replay.note("record", false, error.to_string());
            return None;
        }
    };
    let request = match recorded.request(asked) {
        Ok(request) => request,
        Err(error) => {
            replay.note("question", false, error.to_string());
            return None;
        }
    };
    replay.note("question", true, "what was asked");

    // By the engine that computed it: another one computes other numbers.
    let engine = recorded.engine.as_deref().map_or(Engine::default(), engine::of);
    let ours = engine::id(engine);
    if !engine.is_built() {
        let theirs = recorded.engine.unwrap_or_default();
        let said =
            format!("it was {theirs}, which this build lacks; build it with --features llama-cpp");
        replay.note("engine", false, said);
        return None;
    }
    let source = model.map_or(DEMO, |path| ModelSource::Path(path.to_owned()));
    let model = match EdgeModel::load(&source, engine) {
        Ok(model) => model,
        Err(error) => {
            replay.note("model", false, error.to_string());
            return None;
        }
    };
    let digest = &model.facts().digest;
    if *digest != recorded.model_digest {
        let said = format!("this one is {digest}, the answer is of {}", recorded.model_digest);
        replay.note("model", false, said);
        return None;
    }
    replay.note("model", true, digest);

    // Another build may compute other numbers in the last place, and then another token.
    let is_same_engine = recorded.engine.as_deref() == Some(ours);
    let detail = match &recorded.engine {
        Some(_) if is_same_engine => ours.to_owned(),
        Some(theirs) => format!("another build: it was {theirs}, this is {ours}"),
        None => format!("it does not say which build it was; this is {ours}"),
    };
    // Not a failure by itself: the same text may come nevertheless.
    replay.note("engine", true, detail);

    let mut shown = |_: &str| ControlFlow::Continue(());
    let limits = Limits::default();
    let text = match generate_fitting(&model, &request, limits, &mut shown, &|| false) {
        Ok(generated) => generated.text,
        Err(error) => {
            replay.note("text", false, error.to_string());
            return None;
        }
    };
    match first_difference(&text, &recorded.text) {
        None => replay.note("text", true, format!("the same {} bytes", text.len())),
        Some(at) if is_same_engine => replay.note("text", false, format!("differs at byte {at}")),
        Some(at) => {
            let said = "; another build may compute another text, so this proves nothing";
            replay.note("text", false, format!("differs at byte {at}{said}"))
        }
    };
    Some(())
}

/// What was asked, from the body of a request: of `/api/v1/inference/generate`, or with `messages` as
/// other interfaces have them.
///
/// # Errors
/// When it is none.
pub(super) fn asked_in(text: &str) -> Result<Asked, CliError> {
    let usage = |reason: &str| CliError::Usage(format!("--request: {reason}"));
    let body: Value = serde_json::from_str(text).map_err(|error| usage(&error.to_string()))?;
    let string = |value: &Value| value.as_str().map(str::to_owned);
    if body["preferences_of"].is_string() || body["bizra"]["preferences_of"].is_string() {
        let error = "it was asked with preferences, which it does not hold; give --prompt, and as \
                     --system the instructions, an empty line, and preferences.text of the answer";
        return Err(usage(error));
    }
    if let Some(prompt) = string(&body["prompt"]) {
        return Ok(Asked { prompt, system: string(&body["system"]), history: Vec::new() });
    }
    let messages = body["messages"].as_array();
    let messages = messages.ok_or_else(|| usage("it has neither prompt nor messages"))?;
    let mut asked = Asked::default();
    for (index, message) in messages.iter().enumerate() {
        let text = string(&message["content"]).ok_or_else(|| usage("a message has no text"))?;
        match message["role"].as_str() {
            Some("system" | "developer") if index == 0 => asked.system = Some(text),
            Some("user") if index + 1 == messages.len() => asked.prompt = text,
            Some("user") => asked.history.push(Turn::user(text)),
            Some("assistant") => asked.history.push(Turn::assistant(text)),
            _ => return Err(usage("a message has no role, or one that is not for its place")),
        }
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_is_read_from_either_kind_of_body() {
        let plain = asked_in(r#"{"prompt":"p","system":"s","max_tokens":3}"#).unwrap();
        assert_eq!((plain.prompt.as_str(), plain.system.as_deref()), ("p", Some("s")));
        let chat = asked_in(
            r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"a"},
                {"role":"assistant","content":"b"},{"role":"user","content":"p"}]}"#,
        )
        .unwrap();
        let history = vec![Turn::user("a"), Turn::assistant("b")];
        assert_eq!(chat, Asked { history, ..plain });
        for body in [
            r#"{"prompt":"p","preferences_of":"ann"}"#,
            r#"{"messages":[{"role":"user","content":"p"}],"bizra":{"preferences_of":"ann"}}"#,
            "",
            "[]",
            "{}",
            r#"{"messages":[{"role":"tool","content":"x"}]}"#,
        ] {
            assert!(matches!(asked_in(body), Err(CliError::Usage(_))), "{body}");
        }
    }
}
