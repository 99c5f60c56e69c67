//! Makes the tables of the SNR scorer, and measures the scorer on folders of text.

use std::env;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use bizra_omega::domain::snr::{SCORER, version};

mod clusters;
mod corpus;
mod eval;
mod markup;
mod train;

const HELP: &str = "\
Usage: cargo xtask snr-tables DIR... --out FILE
       cargo xtask eval-snr DIR [--cut WORDS] [--seed NUMBER] [--figures FILE]

snr-tables  makes the tables of the SNR scorer from the paragraphs of the folders
            (.txt, .md, .rst, .html)
eval-snr    prints pass rates for the paragraphs of 25 to 200 words of a folder
            (.txt, .md, .rst) and for what is made of them; exit code 1 if the floor of
            the scorer is not met

  --cut      measure only the first WORDS words of each paragraph
  --seed     of what is drawn at random; 1 if not given
  --figures  write every score with its parts as tab-separated lines
";

/// Why a command ends early.
enum Failure {
    Usage(String),
    Io(String, io::Error),
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.split_first() {
        Some((&"tables", rest)) => tables(rest),
        Some((&"eval", rest)) => evaluate(rest),
        _ => Err(Failure::Usage("no such command".into())),
    };
    match done {
        Ok(code) => code,
        Err(Failure::Usage(reason)) => {
            say(&format!("{reason}\n\n{HELP}"));
            ExitCode::from(2)
        }
        Err(Failure::Io(name, error)) => {
            say(&format!("{name}: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// The plain arguments, and the values of the named ones.
fn parsed<'a>(
    args: &[&'a str],
    names: &[&'static str],
) -> Result<(Vec<&'a str>, Vec<Option<&'a str>>), Failure> {
    let (mut plain, mut values) = (Vec::new(), vec![None; names.len()]);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match names.iter().position(|name| name == arg) {
            Some(at) => match args.next() {
                Some(value) => values[at] = Some(*value),
                None => return Err(Failure::Usage(format!("{arg} needs a value"))),
            },
            None if arg.starts_with("--") => {
                return Err(Failure::Usage(format!("no option {arg}")));
            }
            None => plain.push(*arg),
        }
    }
    Ok((plain, values))
}

fn tables(args: &[&str]) -> Result<ExitCode, Failure> {
    let (folders, values) = parsed(args, &["--out"])?;
    let Some(out) = values[0].filter(|_| !folders.is_empty()) else {
        return Err(Failure::Usage("snr-tables needs folders and --out".into()));
    };
    let folders: Vec<&Path> = folders.into_iter().map(Path::new).collect();
    let made = train::tables(&folders);
    let (bytes, report) = made.map_err(|error| Failure::Io("reading".into(), error))?;
    report.iter().for_each(|line| say(line));
    fs::write(out, &bytes).map_err(|error| Failure::Io(out.into(), error))?;
    say(&format!("{out}: {} bytes, BLAKE3 {}", bytes.len(), blake3::hash(&bytes)));
    Ok(ExitCode::SUCCESS)
}

fn number(value: Option<&str>, name: &str) -> Result<Option<u64>, Failure> {
    let parse = |value: &str| value.parse().map_err(|_| format!("{name} needs a number"));
    value.map(parse).transpose().map_err(Failure::Usage)
}

fn evaluate(args: &[&str]) -> Result<ExitCode, Failure> {
    let (folders, values) = parsed(args, &["--cut", "--seed", "--figures"])?;
    let &[folder] = folders.as_slice() else {
        return Err(Failure::Usage("eval-snr needs one folder".into()));
    };
    let cut = number(values[0], "--cut")?;
    let seed = number(values[1], "--seed")?.unwrap_or(1);
    let found = corpus::paragraphs(Path::new(folder), corpus::Formats::Texts);
    let mut found = found.map_err(|error| Failure::Io(folder.into(), error))?;
    if let Some(cut) = cut {
        for paragraph in &mut found {
            let words = paragraph.split_whitespace().take(cut as usize).collect::<Vec<_>>();
            *paragraph = words.join(" ");
        }
    }
    let mut figures = String::new();
    let outcomes = eval::run(&found, seed, |row| {
        let (score, evidence) = match &row.score {
            Ok(snr) => (format!("{:.4}", snr.score.value()), snr.evidence().to_string()),
            Err(reason) => ("-".to_owned(), reason.to_string()),
        };
        if values[2].is_some() {
            figures.push_str(&format!("{:?}\t{score}\t{evidence}\t{}\n", row.class, row.text));
        }
    });
    if let Some(path) = values[2] {
        fs::write(path, figures).map_err(|error| Failure::Io(path.into(), error))?;
    }
    let (table, is_met) = eval::table(&outcomes);
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{SCORER} {} over {} paragraphs", version(), found.len());
    let _ = write!(out, "{table}");
    Ok(if is_met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes a line to standard error.
fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
