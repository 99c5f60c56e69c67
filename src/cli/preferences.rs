//! `bizra preferences`: what a node has learned of how people like to be answered.

use clap::{Subcommand, builder::PossibleValuesParser};
use serde_json::{Value, json};

use crate::cli::client::{CliError, Target};
use crate::cli::commands::{Say, object};
use crate::cli::{printable, show};
use crate::domain::preference::Kind;

#[derive(Debug, Subcommand)]
pub(super) enum PreferencesCommand {
    /// Take in that somebody chose a value; six times in a row make it active
    Observe {
        /// Whose choice: a name of letters, digits, . _ -
        subject: String,
        /// What it is about
        #[arg(value_name = "TYPE", value_parser = kinds())]
        kind: String,
        /// What was chosen; a wrong value of a type with a vocabulary is answered with all of it
        value: String,
        /// The name of a custom preference
        #[arg(long)]
        key: Option<String>,
    },
    /// List what is known of a subject, or all subjects
    List {
        /// Only of this one
        subject: Option<String>,
        /// Most subjects, at most 100
        #[arg(long, value_name = "N", default_value_t = 50, conflicts_with = "subject")]
        limit: u32,
        /// Only subjects after this one: the last of the page before
        #[arg(long, value_name = "SUBJECT", conflicts_with = "subject")]
        after: Option<String>,
    },
    /// Forget what is known of a subject
    Forget {
        /// Of whom
        subject: String,
        /// Only of this type
        #[arg(long = "type", value_name = "TYPE", value_parser = kinds())]
        kind: Option<String>,
        /// Only the custom preference of this name
        #[arg(long, requires = "kind")]
        key: Option<String>,
    },
    /// Print the system text that a model would get with the preferences of a subject
    Apply {
        /// Whose
        subject: String,
        /// Instructions that come first
        #[arg(long, value_name = "TEXT")]
        system: Option<String>,
    },
}

fn kinds() -> PossibleValuesParser {
    PossibleValuesParser::new(Kind::ALL.map(Kind::as_str))
}

/// Carries out the command and returns the exit code.
///
/// # Errors
/// When the node refuses or does not answer.
pub(super) async fn run(
    command: PreferencesCommand,
    target: &Target,
    say: &mut Say<'_>,
) -> Result<u8, CliError> {
    let client = target.client()?;
    match command {
        PreferencesCommand::Observe { subject, kind, value, key } => {
            let body = object([
                ("subject", Some(json!(subject))),
                ("type", Some(json!(kind))),
                ("key", key.map(Value::from)),
                ("value", Some(json!(value))),
            ]);
            let observed = client.post(&["preferences", "observe"], &body).await?;
            say.answer(&observed, show::fields)
        }
        PreferencesCommand::List { subject: Some(subject), .. } => {
            let known = client.get(&["preferences", "of", &subject]).await?;
            say.answer(&known, show_known)
        }
        PreferencesCommand::List { subject: None, limit, after } => {
            let mut query = vec![("limit", limit.to_string())];
            query.extend(after.map(|after| ("after", after)));
            let page = client.get_with(&["preferences"], &query).await?;
            say.answer(&page, show_subjects)
        }
        PreferencesCommand::Forget { subject, kind, key } => {
            let body = object([
                ("subject", Some(json!(subject))),
                ("type", kind.map(Value::from)),
                ("key", key.map(Value::from)),
            ]);
            let forgotten = client.post(&["preferences", "forget"], &body).await?;
            say.answer(&forgotten, show::fields)
        }
        PreferencesCommand::Apply { subject, system } => {
            let body = json!({ "subject": subject, "system": system });
            let shown = client.post(&["preferences", "apply"], &body).await?;
            if shown["text"].is_null() && !say.is_json {
                let text = "bizra: the node is sure of no preference of this subject";
                writeln!(say.errors, "{text}")?;
            }
            say.answer(&shown, show_system)
        }
    }
}

fn show_system(answer: &Value) -> String {
    answer["system"].as_str().map(|it| printable::text(it) + "\n").unwrap_or_default()
}

fn show_known(answer: &Value) -> String {
    let header = ["TYPE", "KEY", "VALUE", "CONFIDENCE", "OBSERVED", "ACTIVE", "LAST"];
    let keys = ["type", "key", "value", "confidence", "observations", "active", "observed_at"];
    show::rows(&answer["preferences"], &header, &keys)
}

fn show_subjects(answer: &Value) -> String {
    let shown = show::rows(
        &answer["subjects"],
        &["SUBJECT", "VALUES", "ACTIVE"],
        &["subject", "values", "active"],
    );
    shown + &show::more(answer)
}
