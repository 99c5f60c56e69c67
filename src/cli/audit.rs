//! `bizra audit`: checks and prints the record of privileged calls. Needs no node.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::client::CliError;
use crate::cli::printable;
use crate::domain::audit::{
    ANCHOR_NAME, Anchor, End, FILE_NAME, Head, LINE_BYTES_MAX, Problem, Record, archive_first,
    read_chain,
};
use crate::domain::bytes;

/// The files of one record, in order, and what is known of where it begins and ends.
#[derive(Debug)]
struct Files {
    paths: Vec<PathBuf>,
    /// `None` for a file by itself.
    anchor: Option<Anchor>,
}

/// What a look at the files found.
#[derive(Debug, Default)]
struct Found {
    records: u64,
    first_seq: u64,
    head: Option<Head>,
    /// Bytes of an unfinished record at the end.
    torn_bytes: u64,
    /// Where the record is broken, and how.
    broken: Option<(PathBuf, u64, String)>,
}

/// Checks the whole record in `data_dir`, or one file. Returns the exit code: 1 if it is broken.
///
/// # Errors
/// When the files cannot be read or the outcome cannot be written.
pub(super) fn verify(
    file: Option<&Path>,
    data_dir: &Path,
    out: &mut dyn Write,
    is_json: bool,
) -> Result<u8, CliError> {
    let files = match file {
        Some(file) if !file.is_dir() => Files::alone(file)?,
        Some(dir) => Files::of_directory(dir)?,
        None => Files::of_directory(data_dir)?,
    };
    let found = files.read(&mut |_| {})?;
    if is_json {
        write!(out, "{}", printable::json(&found.to_json(files.anchor.is_some()), true))?;
    } else {
        write!(out, "{}", found.to_text(files.anchor.is_some()))?;
    }
    Ok(u8::from(found.broken.is_some()))
}

/// Prints the last records in `data_dir`.
///
/// # Errors
/// As [`verify`].
pub(super) fn show(
    limit: usize,
    data_dir: &Path,
    out: &mut dyn Write,
    is_json: bool,
) -> Result<u8, CliError> {
    let mut last: VecDeque<Record> = VecDeque::new();
    let found = Files::of_directory(data_dir)?.read(&mut |record| {
        if last.len() == limit {
            last.pop_front();
        }
        last.push_back(record);
    })?;
    if is_json {
        let records: Vec<Value> = last.iter().map(record_json).collect();
        write!(out, "{}", printable::json(&json!({ "records": records }), true))?;
    } else {
        for record in &last {
            let event = printable::line(&record.event.to_string());
            writeln!(out, "{:>6}  {}  {event}", record.seq, time(record.at_ms))?;
        }
    }
    if let (Some(broken), false) = (&found.broken, is_json) {
        writeln!(out, "{}", place(broken))?;
    }
    Ok(u8::from(found.broken.is_some()))
}

impl Files {
    fn of_directory(dir: &Path) -> Result<Self, CliError> {
        let anchor = read_anchor(&dir.join(ANCHOR_NAME))?;
        let first_kept = anchor.map_or(0, |anchor| anchor.first.seq);
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(|error| unreadable(dir, &error))? {
            let entry = entry.map_err(|error| unreadable(dir, &error))?;
            // What is older was about to be removed.
            let is_kept = |first: u64| first > first_kept;
            if entry.file_name().to_str().and_then(archive_first).is_some_and(is_kept) {
                paths.push(entry.path());
            }
        }
        paths.sort();
        let current = dir.join(FILE_NAME);
        if current.try_exists().map_err(|error| unreadable(&current, &error))? || paths.is_empty() {
            paths.push(current);
        }
        // With nothing to hold it against, even an empty record would be whole.
        Ok(Self { paths, anchor: Some(anchor.unwrap_or(Anchor::START)) })
    }

    /// One file, which may be a full one or a copy; only under its own name it has an anchor.
    fn alone(path: &Path) -> Result<Self, CliError> {
        let mut anchor = None;
        if path.file_name().is_some_and(|name| name == FILE_NAME) {
            anchor = read_anchor(&path.with_file_name(ANCHOR_NAME))?;
        }
        Ok(Self { paths: vec![path.to_owned()], anchor })
    }

    fn read(&self, visit: &mut dyn FnMut(Record)) -> Result<Found, CliError> {
        let known = self.anchor.map_or(Head::START, |anchor| anchor.last);
        let mut found = Found::default();
        let mut head = match (self.anchor, self.paths.as_slice()) {
            (Some(anchor), paths) if paths.len() > 1 || anchor.first == Head::START => anchor.first,
            (_, paths) => begin(paths.first().map(PathBuf::as_path))?,
        };
        found.first_seq = head.seq + 1;
        for (at, path) in self.paths.iter().enumerate() {
            let file = File::open(path).map_err(|error| unreadable(path, &error))?;
            let length = file.metadata().map_err(|error| unreadable(path, &error))?.len();
            let mut reader = BufReader::new(file);
            let before = found.records;
            let end = read_chain(&mut reader, &mut head, known, &mut |record| {
                found.records += 1;
                visit(record);
            });
            let is_last = at + 1 == self.paths.len();
            let line = found.records - before + 1;
            let broken = match end.map_err(|error| unreadable(path, &error))? {
                End::Whole => None,
                End::Torn { at } if is_last => {
                    found.torn_bytes = length - at;
                    None
                }
                End::Torn { .. } => Some(Problem::NotARecord.to_string()),
                End::Broken { problem, .. } => Some(problem.to_string()),
            };
            if let Some(problem) = broken {
                found.broken = Some((path.clone(), line, problem));
                break;
            }
            if is_last && head.seq < known.seq {
                let problem = format!("the records end here, and record {} was written", known.seq);
                found.broken = Some((path.clone(), line, problem));
            }
        }
        // A record that begins and does not say how far it goes could have lost its end.
        if found.broken.is_none()
            && found.records > 0
            && known == Head::START
            && self.anchor.is_some()
            && let Some(path) = self.paths.last()
        {
            let problem = "is missing, so records may be missing at the end".to_owned();
            found.broken = Some((path.with_file_name(ANCHOR_NAME), 1, problem));
        }
        found.head = Some(head);
        Ok(found)
    }
}

impl Found {
    fn to_json(&self, is_anchored: bool) -> Value {
        let (file, line, problem) = match &self.broken {
            Some((file, line, problem)) => {
                (json!(file.display().to_string()), json!(line), json!(problem))
            }
            None => (Value::Null, Value::Null, Value::Null),
        };
        let head = self.head.unwrap_or(Head::START);
        json!({
            "valid": self.broken.is_none(),
            "records": self.records,
            "first": self.first_seq,
            "last": head.seq,
            "hash": bytes::to_hex(&head.hash),
            "end_known": is_anchored,
            "unfinished_bytes": self.torn_bytes,
            "file": file,
            "line": line,
            "problem": problem,
        })
    }

    fn to_text(&self, is_anchored: bool) -> String {
        let head = self.head.unwrap_or(Head::START);
        let mut text = match (&self.broken, self.records) {
            (Some(broken), _) => format!("{}\n", place(broken)),
            (None, 0) => "valid: no records\n".to_owned(),
            (None, _) => format!(
                "valid: records {} to {}, the last has hash {}\n",
                self.first_seq,
                head.seq,
                bytes::to_hex(&head.hash)
            ),
        };
        if self.torn_bytes > 0 {
            text.push_str(&format!(
                "{} bytes of an unfinished record follow; nobody was promised it\n",
                self.torn_bytes
            ));
        }
        if !is_anchored {
            text.push_str("what came before and after this file is not known\n");
        }
        text
    }
}

fn place((file, line, problem): &(PathBuf, u64, String)) -> String {
    printable::line(&format!("broken: {}:{line}: {problem}", file.display()))
}

fn record_json(record: &Record) -> Value {
    let mut value = record.event.to_json();
    value["seq"] = json!(record.seq);
    value["at"] = json!(time(record.at_ms));
    value["hash"] = json!(record.hash.to_hex());
    value
}

fn time(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).map_or_else(|_| at_ms.to_string(), |at| at.to_string())
}

/// The head before the first record of a file whose beginning nobody knows.
fn begin(path: Option<&Path>) -> Result<Head, CliError> {
    use std::io::{BufRead, Read};
    let Some(path) = path else { return Ok(Head::START) };
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let mut line = Vec::new();
    let read = BufReader::new(file.take(LINE_BYTES_MAX as u64)).read_until(b'\n', &mut line);
    read.map_err(|error| unreadable(path, &error))?;
    let first = line.strip_suffix(b"\n").map(Record::parse);
    // Reading the file tells what is wrong with its first line.
    Ok(first.and_then(Result::ok).map_or(Head::START, |record| record.before()))
}

fn read_anchor(path: &Path) -> Result<Option<Anchor>, CliError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Anchor::from_bytes(&bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(path, &error)),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> CliError {
    CliError::Usage(format!("{}: {error}", path.display()))
}
