//! `bizra patterns`: what a node has learned.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::client::{CliError, Client};
use crate::cli::commands::{Say, object, read_json, text_or_input};
use crate::cli::show;

/// Characters of a content in a table.
const SHOWN_CHARS: usize = 60;

#[derive(Debug, Subcommand)]
pub(super) enum PatternsCommand {
    /// Teach a pattern; the same again changes nothing, and what is as good as the same is evidence
    Learn {
        /// What it says; - is standard input
        content: String,
        /// What it is about; can be given again
        #[arg(long = "tag", value_name = "TAG")]
        tags: Vec<String>,
        /// Who says so [default: local]
        #[arg(long, value_name = "NAME")]
        source: Option<String>,
    },
    /// Find the patterns nearest to a text
    Recall {
        /// The text; - is standard input
        query: String,
        /// At most so many, at most 100
        #[arg(long, value_name = "N", default_value_t = 10)]
        limit: u32,
        /// None that is less similar, -1 to 1 [default: 0.5]
        #[arg(long, value_name = "COSINE", allow_negative_numbers = true)]
        min_similarity: Option<f64>,
        /// Only those with this tag; can be given again
        #[arg(long = "tag", value_name = "TAG")]
        tags: Vec<String>,
        /// Only those that this one taught
        #[arg(long, value_name = "NAME")]
        source: Option<String>,
        /// Only those that a decision elevated
        #[arg(long)]
        elevated: bool,
    },
    /// Print a pattern
    Get {
        /// pat_ and 32 hexadecimal digits
        id: String,
    },
    /// List the patterns, newest first
    List {
        /// Most entries, at most 100
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
        /// Only those after this one: the last of the page before
        #[arg(long, value_name = "ID")]
        after: Option<String>,
    },
    /// Print what is held, and how much may be
    Stats,
    /// Speak for a pattern or against it
    Feedback {
        /// pat_ and 32 hexadecimal digits
        id: String,
        #[command(flatten)]
        verdict: Verdict,
    },
    /// Let the node sign a feedback with its key, to be given to it or to another node
    SignFeedback {
        /// pat_ and 32 hexadecimal digits
        id: String,
        #[command(flatten)]
        verdict: Judged,
    },
    /// Put a pattern to the vote; exit code 1 if it is no candidate or is refused
    Elevate {
        /// pat_ and 32 hexadecimal digits
        id: String,
    },
    /// Keep a pattern from being let go to make room
    Pin {
        /// pat_ and 32 hexadecimal digits
        id: String,
        /// No longer
        #[arg(long)]
        undo: bool,
    },
    /// Remove a pattern with all that belongs to it
    Forget {
        /// pat_ and 32 hexadecimal digits
        id: String,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Judged {
    /// It is right
    #[arg(long)]
    positive: bool,
    /// It is wrong
    #[arg(long)]
    negative: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Verdict {
    /// It is right
    #[arg(long)]
    positive: bool,
    /// It is wrong
    #[arg(long)]
    negative: bool,
    /// What sign-feedback printed with --json, here or at another node; - is standard input
    #[arg(long, value_name = "FILE")]
    signed: Option<PathBuf>,
}

impl Judged {
    fn is_positive(&self) -> bool {
        self.positive && !self.negative
    }
}

impl Verdict {
    fn is_positive(&self) -> bool {
        self.positive && !self.negative
    }
}

/// Carries out the command and returns the exit code.
pub(super) async fn run(
    command: PatternsCommand,
    client: &Client,
    say: &mut Say<'_>,
) -> Result<u8, CliError> {
    match command {
        PatternsCommand::Learn { content, tags, source } => {
            let body = object([
                ("content", Some(json!(text_or_input(content)?))),
                ("tags", Some(json!(tags))),
                ("source", source.map(Value::from)),
            ]);
            say.answer(&client.post(&["patterns"], &body).await?, show::fields)
        }
        PatternsCommand::Recall { query, limit, min_similarity, tags, source, elevated } => {
            let body = object([
                ("query", Some(json!(text_or_input(query)?))),
                ("limit", Some(json!(limit))),
                ("min_similarity", min_similarity.map(Value::from)),
                ("tags", Some(json!(tags))),
                ("source", source.map(Value::from)),
                ("elevated", elevated.then_some(json!(true))),
            ]);
            say.answer(&client.post(&["patterns", "recall"], &body).await?, show_recalled)
        }
        PatternsCommand::Get { id } => {
            say.answer(&client.get(&["patterns", &id]).await?, show::fields)
        }
        PatternsCommand::List { limit, after } => {
            let mut query = vec![("limit", limit.to_string())];
            query.extend(after.map(|after| ("after", after)));
            say.answer(&client.get_with(&["patterns"], &query).await?, show_page)
        }
        PatternsCommand::Stats => {
            say.answer(&client.get(&["patterns", "stats"]).await?, show::fields)
        }
        PatternsCommand::Feedback { id, verdict } => {
            let body = match verdict.signed {
                Some(file) => read_json(&file)?,
                None => json!({ "positive": verdict.is_positive() }),
            };
            let counted = client.post(&["patterns", &id, "feedback"], &body).await?;
            say.answer(&counted, show_counted)
        }
        PatternsCommand::SignFeedback { id, verdict } => {
            let body = json!({ "positive": verdict.is_positive() });
            let signed = client.post(&["patterns", &id, "feedback", "sign"], &body).await?;
            // A text for people would be of no use to who takes it.
            say.answer(&signed, |signed| crate::cli::printable::json(signed, true))
        }
        PatternsCommand::Elevate { id } => {
            let elevated = client.post(&["patterns", &id, "elevate"], &json!({})).await?;
            say.answer(&elevated, show_elevated)
        }
        PatternsCommand::Pin { id, undo } => {
            let last = if undo { "unpin" } else { "pin" };
            let pinned = client.post(&["patterns", &id, last], &json!({})).await?;
            say.answer(&pinned, show::fields)
        }
        PatternsCommand::Forget { id } => {
            say.answer(&client.delete(&["patterns", &id]).await?, show::fields)
        }
    }
}

/// The items, with their contents cut to a line.
fn rows(answer: &Value, header: &[&str], keys: &[&str]) -> String {
    let mut items = answer["patterns"].clone();
    for item in items.as_array_mut().into_iter().flatten() {
        if let Some(content) = item["content"].as_str() {
            let mut cut: String = content.chars().take(SHOWN_CHARS).collect();
            if cut.len() < content.len() {
                cut.push_str("...");
            }
            item["content"] = json!(cut);
        }
    }
    show::rows(&items, header, keys)
}

fn show_recalled(answer: &Value) -> String {
    let header = ["SIMILARITY", "CONFIDENCE", "ID", "TAGS", "CONTENT"];
    rows(answer, &header, &["similarity", "confidence", "id", "tags", "content"])
}

fn show_page(answer: &Value) -> String {
    let header = ["LEARNED", "CONFIDENCE", "EVIDENCE", "ID", "SOURCE", "CONTENT"];
    let keys = ["learned_at", "confidence", "evidence", "id", "source", "content"];
    rows(answer, &header, &keys) + &show::more(answer)
}

fn show_counted(answer: &Value) -> String {
    let pattern = &answer["pattern"];
    show::fields(&object([
        ("id", Some(pattern["id"].clone())),
        ("counted", Some(answer["counted"].clone())),
        ("confidence", Some(pattern["confidence"].clone())),
        ("positive", Some(pattern["positive"].clone())),
        ("negative", Some(pattern["negative"].clone())),
        ("candidate", Some(pattern["candidate"].clone())),
    ]))
}

fn show_elevated(answer: &Value) -> String {
    let proposal = &answer["proposal"];
    show::fields(&object([
        ("id", Some(answer["id"].clone())),
        ("is_elevated", Some(answer["is_elevated"].clone())),
        ("proposal_id", Some(proposal["proposal_id"].clone())),
        ("status", Some(proposal["status"].clone())),
        ("mode", Some(proposal["mode"].clone())),
        ("height", Some(proposal["height"].clone())),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_cut_to_a_line() {
        let page = json!({ "patterns": [{
            "id": "pat_1", "similarity": 0.9, "confidence": 0.5, "tags": ["a"],
            "content": format!("one\n\u{1b}[2J{}", "\u{6f22}".repeat(100)),
        }], "next": "pat_1" });
        let text = show_recalled(&page);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("one\\n") && text.ends_with("...\n"), "{text}");
        assert!(show_page(&page).ends_with("for more: --after pat_1\n"));
        for answer in [json!(null), json!({ "patterns": 3 }), json!([1])] {
            for show in [show_recalled, show_page, show_counted, show_elevated] {
                show(&answer);
            }
        }
    }
}
