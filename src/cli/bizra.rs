//! The command line of `bizra`: what can be asked for.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};

use crate::cli::args::parse_duration;
use crate::cli::doctor::DoctorArgs;
use crate::cli::generate::GenerateArgs;
use crate::cli::identity::parse_node_id;
use crate::cli::manual::{CompletionsArgs, ManArgs};
use crate::cli::models::ModelsArgs;
use crate::cli::patterns::PatternsCommand;
use crate::cli::preferences::PreferencesCommand;
use crate::domain::fault::Fault;
use crate::domain::id::NodeId;

const EXAMPLES: &str = "\
Examples:
  bizra generate \"Once upon a time\"         an answer from the node
  bizra generate hi --out answer.json       the same, and its proof in a file
  bizra envelope verify answer.json         check the proof; needs no node
  bizra actors --watch                      the supervision tree, live
  bizra chaos --for 60s --every 200ms       make actors fail and see who notices
  bizra doctor                              what this machine can run, and what is wrong

A running node is found by its data directory, on whichever port it listens, with its token and its
certificate. Another one is named with --url; its certificate is then verified by --ca, or by what
this machine trusts.

With --json every command but completions and man prints one JSON value, failures as {error, code};
actors --watch prints one a line.

Exit codes: 0 as it should be, 1 refused or failed, 2 wrong usage, 3 no node answers, 130 interrupted.";

/// Talks to a node, and checks its proofs without one.
#[derive(Debug, Parser)]
#[command(name = "bizra", version, after_help = EXAMPLES)]
pub struct BizraArgs {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Args)]
pub(super) struct Common {
    /// Where the node is [default: where the node of the data directory says, else as its
    /// configuration says, http://127.0.0.1:3001]
    #[arg(long, global = true, env = "BIZRA_URL")]
    pub(super) url: Option<String>,
    /// PEM file with the certificate of the node at --url, or of the authority it stands on
    /// [default: the authorities that this machine trusts]
    #[arg(long, global = true, env = "BIZRA_CA", value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
    /// The node's data directory, which holds its token [default: ~/.bizra]
    #[arg(long, global = true, value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// API token [default: read from the data directory]
    #[arg(long, global = true, env = "BIZRA_TOKEN", hide_env_values = true)]
    pub(super) token: Option<String>,
    /// Print JSON: the node's own where it answers, else one of the same kind
    #[arg(long, global = true)]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check or read the proof of an answer, without a node; look up what a node has made
    #[command(subcommand)]
    Envelope(EnvelopeCommand),
    /// Print the API token, or make a new one
    Token(TokenArgs),
    /// Check or print the record of privileged calls; needs no node
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Print what the node says about itself
    Status,
    /// Say whether the node serves: 0 it does, 1 it does not, 3 nobody answers
    Health,
    /// Print the supervision tree, or make an actor fail
    Actors(ActorsArgs),
    /// Generate text
    Generate(GenerateArgs),
    /// List the models that the node has seen; bring models to this machine and keep them
    Models(ModelsArgs),
    /// Check content against the gates
    #[command(subcommand)]
    Gates(GatesCommand),
    /// Show, check or reload what the gates enforce
    #[command(subcommand)]
    Constitution(ConstitutionCommand),
    /// Make, change and guard keys, sign and verify
    #[command(subcommand)]
    Identity(IdentityCommand),
    /// Teach the node patterns, recall them by meaning, judge and elevate them
    #[command(subcommand)]
    Patterns(PatternsCommand),
    /// Show what the node knows of others, propose patterns, check decisions
    #[command(subcommand)]
    Federation(FederationCommand),
    /// Learn, show and forget how people like to be answered
    #[command(subcommand)]
    Preferences(PreferencesCommand),
    /// Make actors of a running node fail and measure what callers notice
    Chaos(ChaosArgs),
    /// Look at this machine, the data directory and the configuration, and say which model fits and
    /// what is wrong; needs no node. Exit code 1 if a node could not run or serve
    Doctor(DoctorArgs),
    /// Print a script that completes commands and options in a shell
    Completions(CompletionsArgs),
    /// Print a manual page, or write all of them to a directory
    Man(ManArgs),
}

#[derive(Debug, Subcommand)]
pub(super) enum EnvelopeCommand {
    /// Check every rule of an envelope; exit code 1 if one is broken
    Verify {
        /// A file with an envelope or an answer that holds one; - is standard input
        file: PathBuf,
        /// Check as of this time, such as 2026-01-31T12:00:00Z [default: now]
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
        /// Also take the old version "1.0", which promises less
        #[arg(long)]
        accept_v1: bool,
    },
    /// Print what an envelope says, without checking it
    Inspect {
        /// A file with an envelope or an answer that holds one; - is standard input
        file: PathBuf,
    },
    /// Compute a proven answer of this engine again; exit code 1 if another text comes
    Replay {
        /// A file with an envelope or an answer that holds one; - is standard input
        file: PathBuf,
        /// The GGUF file that it was computed with [default: the embedded demo model]
        #[arg(long, value_name = "PATH")]
        model: Option<PathBuf>,
        /// What was asked; the proof names it by hash only
        #[arg(long, value_name = "TEXT", required_unless_present = "request")]
        prompt: Option<String>,
        /// The instructions that went before the prompt
        #[arg(long, value_name = "TEXT", requires = "prompt")]
        system: Option<String>,
        /// The JSON body that was asked with, instead of --prompt and --system
        #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
        request: Option<PathBuf>,
    },
    /// Ask the node whether it made an envelope, when, and under which constitution; 1 if not
    Find {
        /// pci_ and 32 hexadecimal digits
        id: String,
    },
    /// List what the node has made, newest first
    Log {
        /// Most entries, at most 1000
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
        /// Only those of this time and later, such as 2026-01-31T12:00:00Z
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Only those after this one: the last of the page before
        #[arg(long, value_name = "ID")]
        after: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    #[command(subcommand)]
    pub(super) command: Option<TokenCommand>,
}

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a new token; the old one is refused from then on
    Rotate,
}

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Check every record; exit code 1 with the place if one is changed, missing or out of order
    Verify {
        /// A file or a data directory [default: the node's data directory]
        file: Option<PathBuf>,
    },
    /// Print the last records
    Show {
        /// How many, at most 100000
        #[arg(long, value_name = "COUNT", default_value_t = 20,
            value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
    },
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct ActorsArgs {
    /// Keep the picture up to date until interrupted
    #[arg(long)]
    pub(super) watch: bool,
    #[command(subcommand)]
    pub(super) command: Option<ActorsCommand>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ActorsCommand {
    /// Make an actor fail; its supervisor starts it again
    Stop {
        /// Its name in the tree
        name: String,
        /// How to fail; all but error need chaos.enabled [default: error]
        #[arg(long, value_parser = faults())]
        kind: Option<Fault>,
    },
}

/// Reads a way to fail, and lists them all in the help.
fn faults() -> impl TypedValueParser<Value = Fault> {
    let named = |fault: Fault| PossibleValue::new(fault.as_str()).help(fault.meaning());
    PossibleValuesParser::new(Fault::ALL.map(named))
        .try_map(|name| Fault::from_name(&name).ok_or_else(|| format!("no such kind: {name}")))
}

#[derive(Debug, Subcommand)]
pub(super) enum GatesCommand {
    /// Check content; exit code 1 if a gate refuses it
    Check {
        /// The content; - is standard input
        content: String,
        /// Its signal-to-noise score, as claimed
        #[arg(long, value_name = "SCORE")]
        snr: Option<f64>,
        /// Its excellence score, as claimed
        #[arg(long, value_name = "SCORE")]
        ihsan: Option<f64>,
        /// application/json if it must be JSON
        #[arg(long, value_name = "TYPE")]
        content_type: Option<String>,
        /// The list of gates
        #[arg(long)]
        profile: Option<String>,
        /// A text that the content is to be supported by; can be given again
        #[arg(long = "source", value_name = "FILE")]
        sources: Vec<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ConstitutionCommand {
    /// Print what the node enforces
    Show,
    /// Check a document before a node reads it; needs no node
    Check {
        /// The file; - is standard input
        file: PathBuf,
    },
    /// Make the node read its file again
    Reload,
}

#[derive(Debug, Subcommand)]
pub(super) enum IdentityCommand {
    /// Make a new key and use it
    Generate {
        /// A name for it
        #[arg(long)]
        label: Option<String>,
        /// Do not use it yet
        #[arg(long)]
        idle: bool,
    },
    /// List the keys, the one that signs first
    List,
    /// Let another key sign from now on
    Activate {
        /// Its node id, as list prints it
        #[arg(value_parser = parse_node_id)]
        node_id: NodeId,
    },
    /// Put a new key in the place of the one that signs, with a record that both sign
    Rotate {
        /// A name for it [default: that of the old key]
        #[arg(long)]
        label: Option<String>,
    },
    /// Check a rotation record; needs no node. Exit code 1 if it does not hold
    VerifyRotation {
        /// A file with a record, or with what rotate or list printed with --json; - is standard
        /// input
        file: PathBuf,
    },
    #[command(flatten)]
    Keystore(KeystoreCommand),
    /// Sign a message
    Sign {
        /// The message; - is standard input
        message: String,
    },
    /// Verify a signature; exit code 1 if it does not fit
    Verify {
        /// The message; - is standard input
        message: String,
        /// 128 hexadecimal digits
        #[arg(long)]
        signature: String,
        /// 64 hexadecimal digits
        #[arg(long)]
        public_key: String,
    },
}

/// What is done on the data directory alone: whoever has the node's token should not take its keys
/// with him.
#[derive(Debug, Subcommand)]
pub(super) enum KeystoreCommand {
    /// Write a key to a file that a passphrase opens; only while no node runs
    Export {
        /// Its node id [default: the key that signs]
        #[arg(value_parser = parse_node_id)]
        node_id: Option<NodeId>,
        /// Where to; nothing may be there yet
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// A file with the passphrase [default: asked for on the terminal]
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Take in a key that was exported, without using it yet; only while no node runs
    Import {
        /// The file; - is standard input
        file: PathBuf,
        /// A name for it [default: the one it had]
        #[arg(long)]
        label: Option<String>,
        /// A file with the passphrase [default: asked for on the terminal]
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Encrypt the keystore with the passphrase in BIZRA_PASSPHRASE_FILE, or one that is asked for;
    /// only while no node runs
    Encrypt,
    /// Write the keystore open again; only while no node runs
    Decrypt,
    /// Change the passphrase of the keystore; only while no node runs
    Passwd {
        /// A file with the new passphrase [default: asked for on the terminal]
        #[arg(long, value_name = "FILE")]
        new_passphrase_file: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum FederationCommand {
    /// Print how the node takes part, and how far the decisions are
    Status,
    /// List the other nodes that are known
    Peers,
    /// Put a pattern to the vote; exit code 1 if it is refused
    Propose {
        /// A JSON file with pattern_id, pattern_embedding, source_node, confidence and perhaps
        /// content; - is standard input
        file: PathBuf,
    },
    /// List what was proposed, newest first
    Proposals {
        /// Most entries, at most 100
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
        /// Only those after this one: the last of the page before
        #[arg(long, value_name = "ID")]
        after: Option<String>,
    },
    /// Print what became of a proposal
    Proposal {
        /// prop_ and 64 hexadecimal digits
        id: String,
        /// Check the decision here: signatures, receipt, certificate; exit code 1 if one is broken
        #[arg(long)]
        verify: bool,
    },
    /// Check a decision without a node; exit code 1 if it does not hold
    Verify {
        /// A file with a certificate, or with what proposal printed with --json; - is standard input
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(super) struct ChaosArgs {
    /// How long
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub(super) duration: Duration,
    /// Time between failures
    #[arg(long, value_name = "TIME", default_value = "200ms", value_parser = parse_duration)]
    pub(super) every: Duration,
    /// Only this actor; can be given again [default: every one that has no children]
    #[arg(long, value_name = "NAME")]
    pub(super) actor: Vec<String>,
    /// Only this way to fail; can be given again [default: all but freeze]
    #[arg(long, value_parser = faults())]
    pub(super) kind: Vec<Fault>,
    /// Repeats the choice of actors and kinds [default: random]
    #[arg(long)]
    pub(super) seed: Option<u64>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        BizraArgs::command().debug_assert();
    }

    #[test]
    fn every_fault_can_be_asked_for_by_its_name() {
        for fault in Fault::ALL {
            let args = ["bizra", "actors", "stop", "x", "--kind", fault.as_str()];
            let Command::Actors(args) = BizraArgs::try_parse_from(args).unwrap().command else {
                panic!("another command");
            };
            let Some(ActorsCommand::Stop { kind, .. }) = args.command else { panic!("no stop") };
            assert_eq!(kind, Some(fault));
        }
    }

    #[test]
    fn wrong_usage_ends_with_2() {
        for args in [
            &["bizra"][..],
            &["bizra", "nonsense"],
            &["bizra", "chaos", "--for", "1h"],
            &["bizra", "actors", "--watch", "stop", "x"],
            &["bizra", "actors", "stop", "x", "--kind", "sleep"],
            &["bizra", "generate"],
            &["bizra", "gates", "check", "x", "--snr", "high"],
            &["bizra", "identity", "activate", "x"],
            &["bizra", "envelope", "replay", "a.json"],
            &["bizra", "envelope", "replay", "a.json", "--prompt", "a", "--request", "b"],
            &["bizra", "identity", "export"],
            &["bizra", "preferences", "observe", "ann", "tone", "x"],
            &["bizra", "preferences", "forget", "ann", "--key", "editor"],
            &["bizra", "preferences", "list", "ann", "--after", "bob"],
            &["bizra", "patterns", "feedback", "pat_1"],
            &["bizra", "patterns", "feedback", "pat_1", "--positive", "--negative"],
            &["bizra", "patterns", "recall"],
            &["bizra", "identity", "encrypt", "--passphrase", "correct horse"],
        ] {
            let error = BizraArgs::try_parse_from(args).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{args:?}: {error}");
        }
    }
}
