//! Models on disk. Without `--url` the commands work on the store of the data directory themselves,
//! whether or not a node runs there: the store is made for several processes at once.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::adapters::models::download::pull;
use crate::adapters::models::hub::{Hub, Waits};
use crate::adapters::models::{Installed, ModelStore, ModelStoreError, Stop, catalogue};
use crate::cli::client::{CliError, Client, Target};
use crate::cli::commands::Say;
use crate::cli::show::{self, table};
use crate::clock;
use crate::config::Config;
use crate::domain::model_store::catalogue::Catalogue;
use crate::domain::model_store::listing::{Condition, Listing};
use crate::domain::model_store::{ModelName, Progress, Stage};

/// Time between two pictures of the bar, and between two questions to a node.
const PICTURE_PAUSE: Duration = Duration::from_millis(200);
/// Time between two lines where there is no bar.
const LINE_PAUSE: Duration = Duration::from_secs(10);
/// Cells of the bar.
const BAR_CELLS: u64 = 30;

#[derive(Debug, Args)]
pub(super) struct ModelsArgs {
    #[command(subcommand)]
    pub(super) command: Option<ModelsCommand>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ModelsCommand {
    /// List the models on this machine and those that can be pulled
    List,
    /// Bring a model of the catalogue to this machine; goes on where one was cut off
    Pull {
        /// Its name in the list
        #[arg(value_parser = parse_name)]
        name: ModelName,
    },
    /// Take in a GGUF file of this machine
    Import {
        /// The file
        file: PathBuf,
        /// What to call it [default: as in the catalogue, otherwise as the file]
        #[arg(long, value_parser = parse_name)]
        name: Option<ModelName>,
        /// Make a link instead of a copy; the file must not be changed then
        #[arg(long)]
        link: bool,
    },
    /// Hash installed models again; exit code 1 if one is damaged or missing
    Verify {
        /// Only this one
        #[arg(value_parser = parse_name)]
        name: Option<ModelName>,
    },
    /// Remove a model, or what a pull of it left
    Rm {
        /// Its name in the list
        #[arg(value_parser = parse_name)]
        name: ModelName,
        /// Also while a process uses it
        #[arg(long)]
        force: bool,
    },
}

fn parse_name(text: &str) -> Result<ModelName, String> {
    ModelName::parse(text).map_err(|error| error.to_string())
}

/// Carries out a command.
pub(super) async fn run(
    command: ModelsCommand,
    target: &Target,
    say: &mut Say<'_>,
) -> Result<u8, CliError> {
    if target.url.is_some() {
        return ask(command, &target.client()?, say).await;
    }
    let config = target.config()?;
    let store = ModelStore::new(&config.node.data_dir, config.store.free_bytes_min);
    let catalogue = catalogue(config.inference.models.catalogue.as_deref())?;
    match command {
        ModelsCommand::List => {
            let models = store.list(&catalogue)?;
            let listing = Listing { models, free_bytes: store.free_bytes(), pulls: Vec::new() };
            say.answer(&json!(listing), list)
        }
        ModelsCommand::Pull { name } => {
            let installed = fetch(&name, &config, store, &catalogue, say).await?;
            say.answer(&told(&installed), show::fields)
        }
        ModelsCommand::Import { file, name, link } => {
            let installed = import(file, name, link, store, catalogue, say).await?;
            say.answer(&told(&installed), show::fields)
        }
        ModelsCommand::Verify { name } => {
            let stop = Stop::default();
            let work = move |tell: &(dyn Fn(Progress) + Send + Sync)| {
                store.verify(name.as_ref(), &stop, tell)
            };
            let models = blocking("verify", say, work).await?;
            let ok = models.iter().all(|found| found.condition == Condition::Ok);
            say.verdict(&json!({ "ok": ok, "models": models }), "ok", conditions)
        }
        ModelsCommand::Rm { name, force } => {
            let removed = store.remove(&name, &catalogue, force)?;
            let bytes_freed = removed.bytes_freed;
            let answer = json!({ "name": name, "removed": true, "bytes_freed": bytes_freed });
            say.answer(&answer, show::fields)
        }
    }
}

/// The same of a node that was named.
async fn ask(command: ModelsCommand, client: &Client, say: &mut Say<'_>) -> Result<u8, CliError> {
    match command {
        ModelsCommand::List => say.answer(&client.get(&["models"]).await?, list),
        ModelsCommand::Pull { name } => follow(&name, client, say).await,
        ModelsCommand::Import { .. } => {
            let text =
                "a file is imported on the machine that it is on: run this there, without --url";
            Err(CliError::Usage(text.to_owned()))
        }
        ModelsCommand::Verify { name } => {
            let body = name.map_or(json!({}), |name| json!({ "name": name }));
            let found = client.post(&["models", "verify"], &body).await?;
            say.verdict(&found, "ok", conditions)
        }
        ModelsCommand::Rm { name, force } => {
            let body = json!({ "name": name, "force": force });
            say.answer(&client.post(&["models", "remove"], &body).await?, show::fields)
        }
    }
}

/// Has a node pull, and watches until it ends. Whoever interrupts that leaves the node to it.
async fn follow(name: &ModelName, client: &Client, say: &mut Say<'_>) -> Result<u8, CliError> {
    let mut pulling = client.post(&["models", "pull"], &json!({ "name": name })).await?;
    let mut picture = Picture::new(name.as_str(), say);
    while matches!(pulling["state"].as_str(), Some("queued" | "running")) {
        let number = |key: &str| pulling[key].as_u64().unwrap_or_default();
        let reason = pulling["reason"].as_str().map(str::to_owned);
        let stage = match pulling["stage"].as_str() {
            Some("checking") => Stage::Checking,
            Some("downloading") => Stage::Downloading,
            Some("pausing") => Stage::Pausing,
            _ => Stage::Waiting,
        };
        let progress = Progress { reason, ..Progress::of(stage, number("bytes"), number("total")) };
        picture.show(&progress, say)?;
        tokio::time::sleep(PICTURE_PAUSE).await;
        let id = pulling["id"].as_str().unwrap_or_default().to_owned();
        pulling = client.get(&["models", "pulls", &id]).await?;
    }
    picture.end(say)?;
    let is_done = pulling["state"] == "done";
    say.answer(&pulling, show::fields)?;
    Ok(u8::from(!is_done))
}

async fn fetch(
    name: &ModelName,
    config: &Config,
    store: ModelStore,
    catalogue: &Catalogue,
    say: &mut Say<'_>,
) -> Result<Installed, CliError> {
    let Some(entry) = catalogue.find(name) else {
        return Err(store.unknown(name.as_str(), catalogue).into());
    };
    let models = &config.inference.models;
    let hub = Hub::new(&models.endpoint, models.token.expose(), models.offline, Waits::default())?;
    let (told, heard) = watch::channel(Progress::of(Stage::Waiting, 0, entry.bytes));
    let tell = Arc::new(move |progress| drop(told.send_replace(progress)));
    let pulling = pull(&store, &hub, entry, clock::shown_ms(), tell);
    shown(name.as_str(), say, heard, pulling).await
}

async fn import(
    file: PathBuf,
    name: Option<ModelName>,
    is_linked: bool,
    store: ModelStore,
    catalogue: Catalogue,
    say: &mut Say<'_>,
) -> Result<Installed, CliError> {
    let called = file.file_name().map(Path::new).unwrap_or(&file).display().to_string();
    let now_ms = clock::shown_ms();
    let work = move |tell: &(dyn Fn(Progress) + Send + Sync)| {
        store.import(&file, name, &catalogue, is_linked, now_ms, tell)
    };
    blocking(&called, say, work).await
}

/// Runs work that blocks, and shows how far it is.
async fn blocking<T: Send + 'static>(
    called: &str,
    say: &mut Say<'_>,
    work: impl FnOnce(&(dyn Fn(Progress) + Send + Sync)) -> Result<T, ModelStoreError> + Send + 'static,
) -> Result<T, CliError> {
    let (told, heard) = watch::channel(Progress::of(Stage::Waiting, 0, 0));
    let working = tokio::task::spawn_blocking(move || {
        work(&move |progress| drop(told.send_replace(progress)))
    });
    let working = async { working.await.unwrap_or(Err(ModelStoreError::Panicked)) };
    shown(called, say, heard, working).await
}

/// Waits for `work` and shows what is heard of it.
async fn shown<T>(
    called: &str,
    say: &mut Say<'_>,
    heard: watch::Receiver<Progress>,
    work: impl Future<Output = Result<T, ModelStoreError>>,
) -> Result<T, CliError> {
    let mut picture = Picture::new(called, say);
    tokio::pin!(work);
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            () = tokio::time::sleep(PICTURE_PAUSE) => {
                let progress = heard.borrow().clone();
                picture.show(&progress, say)?;
            }
        }
    };
    picture.end(say)?;
    Ok(done?)
}

/// A bar on a terminal, a line now and then elsewhere, nothing beside JSON.
struct Picture {
    called: String,
    is_bar: bool,
    is_shown: bool,
    last: Option<(Stage, Instant)>,
    /// Where the pace is measured from.
    first: Option<(u64, Instant)>,
}

impl Picture {
    fn new(called: &str, say: &Say<'_>) -> Self {
        let called = called.chars().filter(|c| !c.is_control()).take(40).collect();
        let is_bar = std::io::stderr().is_terminal();
        Self { called, is_bar, is_shown: !say.is_json, last: None, first: None }
    }

    fn show(&mut self, progress: &Progress, say: &mut Say<'_>) -> Result<(), CliError> {
        if !self.is_shown || progress.total == 0 {
            return Ok(());
        }
        let now = Instant::now();
        let is_due = self.last.is_none_or(|(stage, at)| {
            stage != progress.stage || now.duration_since(at) >= LINE_PAUSE
        });
        if !self.is_bar && !is_due {
            return Ok(());
        }
        if self.last.is_none_or(|(stage, _)| stage != progress.stage) {
            self.first = Some((progress.bytes, now));
        }
        self.last = Some((progress.stage, now));
        let mut line = format!("{}: {}", self.called, word(progress.stage));
        if self.is_bar {
            line.push_str(&bar(progress.bytes, progress.total));
        }
        let percent = progress.bytes.saturating_mul(100) / progress.total.max(1);
        line.push_str(&format!(
            " {percent}%, {} of {}",
            size(progress.bytes),
            size(progress.total)
        ));
        if let Some(left) = self.left(progress, now) {
            line.push_str(&left);
        }
        if let Some(reason) = &progress.reason {
            let reason: String = reason.chars().filter(|c| !c.is_control()).take(60).collect();
            line.push_str(&format!(" ({reason})"));
        }
        let errors = &mut say.errors;
        if self.is_bar {
            // To the begin of the line, and clear it.
            write!(errors, "\r\x1b[K{line}")?;
            errors.flush()?;
        } else {
            writeln!(errors, "{line}")?;
        }
        Ok(())
    }

    /// The pace, and how long the rest takes at it.
    fn left(&self, progress: &Progress, now: Instant) -> Option<String> {
        let (from, since) = self.first?;
        let seconds = now.duration_since(since).as_secs_f64();
        let gained = progress.bytes.checked_sub(from)?;
        if seconds < 1.0 || gained == 0 {
            return None;
        }
        let pace = gained as f64 / seconds;
        let rest = progress.total.saturating_sub(progress.bytes) as f64 / pace;
        Some(format!(", {}/s, {}", size(pace as u64), show::seconds(rest)))
    }

    fn end(&mut self, say: &mut Say<'_>) -> Result<(), CliError> {
        if self.is_bar && self.last.is_some() {
            write!(say.errors, "\r\x1b[K")?;
        }
        Ok(())
    }
}

fn word(stage: Stage) -> &'static str {
    match stage {
        Stage::Waiting => "waiting",
        Stage::Checking => "checking what is here",
        Stage::Downloading => "downloading",
        Stage::Pausing => "trying again",
        Stage::Copying => "copying",
        Stage::Verifying => "verifying",
    }
}

fn bar(bytes: u64, total: u64) -> String {
    let full = bytes.min(total).saturating_mul(BAR_CELLS) / total.max(1);
    let cell = |n| if n < full { '#' } else { '.' };
    format!(" [{}]", (0..BAR_CELLS).map(cell).collect::<String>())
}

/// Bytes in a unit that fits.
fn size(bytes: u64) -> String {
    match bytes {
        b if b < 1000 => format!("{b} B"),
        b if b < 1_000_000 => format!("{:.1} KB", b as f64 / 1e3),
        b if b < 1_000_000_000 => format!("{:.1} MB", b as f64 / 1e6),
        b => format!("{:.2} GB", b as f64 / 1e9),
    }
}

fn told(installed: &Installed) -> Value {
    json!({
        "name": installed.name,
        "path": installed.path,
        "sha256": installed.sha256,
        "bytes": installed.bytes,
        "architecture": installed.architecture,
        "quantization": installed.quantization,
        "parameters": installed.parameters,
        "context_length": installed.context,
    })
}

/// What is here and what can be.
fn list(answer: &Value) -> String {
    let header = ["MODEL", "STATE", "SIZE", "FORMAT", "CONTEXT", "MEMORY", "LICENCE", "ABOUT"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    let plain = |value: &Value| show::plain(value);
    for model in answer["models"].as_array().into_iter().flatten() {
        let bytes = |key: &str| model[key].as_u64();
        let mut state = plain(&model["state"]);
        if let (true, Some(here), Some(all)) =
            (state == "partial", bytes("bytes_here"), bytes("bytes"))
        {
            state = format!("partial {}%", here.saturating_mul(100) / all.max(1));
        }
        rows.push(vec![
            plain(&model["name"]),
            state,
            bytes("bytes").map(size).unwrap_or_default(),
            plain(&model["quantization"]),
            plain(&model["context_length"]),
            bytes("memory_bytes").map(size).unwrap_or_default(),
            plain(&model["licence"]),
            plain(&model["description"]),
        ]);
    }
    let free = answer["free_bytes"].as_u64().map(|free| format!("{} are free\n", size(free)));
    table(&rows) + &free.unwrap_or_default()
}

/// How each was found.
fn conditions(answer: &Value) -> String {
    let mut text = String::new();
    for found in answer["models"].as_array().into_iter().flatten() {
        let name = show::plain(&found["name"]);
        let line = match found["condition"].as_str() {
            Some("ok") => format!("{name}  ok\n"),
            Some("missing") => {
                format!("{name}  missing; bring it again: bizra models pull {name}\n")
            }
            _ => format!(
                "{name}  damaged: {}; bring it again: bizra models pull {name}\n",
                show::plain(&found["reason"])
            ),
        };
        text.push_str(&line);
    }
    if text.is_empty() { "no model is installed\n".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_bars_are_readable() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 KB"),
            (491_400_032, "491.4 MB"),
            (4_683_074_240, "4.68 GB"),
            (u64::MAX, "18446744073.71 GB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(bar(0, 100), format!(" [{}]", ".".repeat(30)));
        assert_eq!(bar(50, 100), format!(" [{}{}]", "#".repeat(15), ".".repeat(15)));
        assert_eq!(bar(u64::MAX, 1), format!(" [{}]", "#".repeat(30)));
        bar(1, 0);
    }

    #[test]
    fn an_answer_of_another_shape_is_shown_without_panicking() {
        for answer in [json!(null), json!({"models": [7]}), json!({"models": [{"name": "\u{1b}"}]})]
        {
            assert!(!list(&answer).contains('\u{1b}') && !conditions(&answer).contains('\u{1b}'));
        }
    }

    #[test]
    fn a_partial_model_says_how_far_it_is() {
        let answer = json!({ "free_bytes": 1_000_000_000_u64, "models": [{
            "name": "a", "state": "partial", "bytes": 200, "bytes_here": 50,
            "quantization": "Q4_K_M", "context_length": 8192, "memory_bytes": 400,
            "licence": "MIT", "description": "small" }] });
        let expected = "\
MODEL  STATE        SIZE   FORMAT  CONTEXT  MEMORY  LICENCE  ABOUT
a      partial 25%  200 B  Q4_K_M  8192     400 B   MIT      small
1.00 GB are free
";
        assert_eq!(list(&answer), expected);
    }
}
