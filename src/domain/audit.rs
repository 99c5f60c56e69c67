//! The audit record: which privileged calls were let in, as a chain that shows every change.
//!
//! A record is one line of canonical JSON. It holds the hash of the record before it and its own,
//! which covers everything else in it, so a record that is changed, removed, added or moved breaks
//! the chain there. That nothing is missing at the end is said by the [`Anchor`], which is kept
//! beside the records.

use std::fmt;
use std::io::{self, BufRead, Read};

use serde_json::{Map, Value, json};

use crate::domain::bytes;
use crate::domain::digest::Digest;
use crate::domain::json as strict;

/// The file that is written to, in the data directory.
pub const FILE_NAME: &str = "audit.log";
/// The file that holds the [`Anchor`].
pub const ANCHOR_NAME: &str = "audit.head";
/// What the name of a full file begins with; its first record's number and `.log` follow.
pub const ARCHIVE_PREFIX: &str = "audit-";

/// Put before every hashed record, so that no hash of this chain means anything elsewhere.
const DOMAIN: &[u8] = b"bizra-audit-v1:";

/// Bytes of one line. A record has some 350; a line that is longer is none.
pub const LINE_BYTES_MAX: usize = 4096;

/// Bytes of the anchor's file, always the same, so that it is written in one piece.
const ANCHOR_BYTES: usize = 256;

/// The name of the file that begins with this record, once it is full. Names sort by age.
pub fn archive_name(first_seq: u64) -> String {
    format!("{ARCHIVE_PREFIX}{first_seq:020}.log")
}

/// The first record of the file of this name, if it is the name of a full file.
pub fn archive_first(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(ARCHIVE_PREFIX)?.strip_suffix(".log")?;
    let is_number = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

/// A privileged call: who asks for what. Never what is asked with: no body, no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The request's id, under which the log tells how it ended.
    pub request_id: String,
    /// The HTTP method.
    pub method: String,
    /// The pattern of the path, never the path.
    pub route: String,
    /// Where the caller is: `loopback`, `relayed` or `distant`.
    pub peer: String,
    /// Its address, without the port.
    pub address: String,
}

/// What is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A call was let in and is about to take effect. How it ended is not recorded here.
    Call(Call),
    /// What was left of a write that a crash or a full disk cut short was removed. It had been
    /// promised to nobody.
    Cut {
        /// So many bytes.
        bytes: u64,
    },
}

/// One record, as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number; the first is 1.
    pub seq: u64,
    /// When it was made, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// What it says.
    pub event: Event,
    /// The hash of the record before it.
    pub prev: Digest,
    /// Its own hash.
    pub hash: Digest,
}

/// The end of a chain: its last record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its number; 0 before the first record.
    pub seq: u64,
    /// Its hash; zeros before the first record.
    pub hash: [u8; 32],
}

/// From where to where the records must reach at least. Written after them, so it is never ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The record before the oldest that is kept.
    pub first: Head,
    /// The last record that was on disk when this was written.
    pub last: Head,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It is none, or not written as records are.
    #[error("this is not a record")]
    NotARecord,
    /// Its hash is not that of what it says.
    #[error("the record was changed: its hash does not fit")]
    Changed,
    /// Its number is not the next one.
    #[error("record {expected} should be here, and this is record {found}")]
    Order {
        /// The number that was due.
        expected: u64,
        /// The number that it has.
        found: u64,
    },
    /// It does not name the record before it.
    #[error("the record does not continue the one before it")]
    Unlinked,
    /// It is not the record that the anchor knows under this number.
    #[error("this is not the record that {ANCHOR_NAME} knows under this number")]
    Foreign,
}

/// How a file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With its last record.
    Whole,
    /// In the middle of a line, as a crash leaves it.
    Torn {
        /// Where the line begins.
        at: u64,
    },
    /// It is broken here; what follows was not read.
    Broken {
        /// The line, from 1.
        line: u64,
        /// Where the line begins.
        at: u64,
        /// What is wrong with it.
        problem: Problem,
    },
}

impl Event {
    /// Its members, as they stand in a record.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Call(call) => json!({
                "event": "call",
                "request_id": call.request_id,
                "method": call.method,
                "route": call.route,
                "peer": call.peer,
                "address": call.address,
            }),
            Self::Cut { bytes } => json!({ "event": "cut", "bytes": bytes }),
        }
    }
}

impl Head {
    /// Before the first record.
    pub const START: Self = Self { seq: 0, hash: [0; 32] };

    /// Makes the next record: one line, with its end.
    pub fn append(&mut self, event: &Event, at_ms: i64) -> Vec<u8> {
        let seq = self.seq + 1;
        let mut record = event.to_json();
        record["seq"] = json!(seq);
        record["at_ms"] = json!(at_ms);
        record["prev"] = json!(bytes::to_hex(&self.hash));
        // Text and small integers have a canonical form, so this is never empty.
        let unhashed = strict::canonical(&record).unwrap_or_default();
        let hash = hash_of(&unhashed);
        record["hash"] = json!(bytes::to_hex(&hash));
        let mut line = strict::canonical(&record).unwrap_or_default();
        line.push(b'\n');
        *self = Self { seq, hash };
        line
    }

    /// Reads the next record from its line (without its end), and goes on to it.
    ///
    /// # Errors
    /// What is wrong with it; the head stays where it is.
    pub fn follow(&mut self, line: &[u8]) -> Result<Record, Problem> {
        let record = Record::parse(line)?;
        let expected = self.seq + 1;
        if record.seq != expected {
            return Err(Problem::Order { expected, found: record.seq });
        }
        if *record.prev.as_bytes() != self.hash {
            return Err(Problem::Unlinked);
        }
        *self = Self { seq: record.seq, hash: *record.hash.as_bytes() };
        Ok(record)
    }
}

impl Record {
    /// Reads one line by itself, and checks that its hash is its own.
    ///
    /// # Errors
    /// [`Problem::NotARecord`] or [`Problem::Changed`].
    pub fn parse(line: &[u8]) -> Result<Self, Problem> {
        let Ok(Value::Object(mut object)) = strict::parse(line) else {
            return Err(Problem::NotARecord);
        };
        let whole = strict::canonical(&Value::Object(object.clone()));
        if whole.as_deref() != Ok(line) {
            return Err(Problem::NotARecord);
        }
        let hash = object.remove("hash").as_ref().and_then(digest).ok_or(Problem::NotARecord)?;
        let record = Self::read(&object, hash).ok_or(Problem::NotARecord)?;
        let unhashed = strict::canonical(&Value::Object(object)).unwrap_or_default();
        if hash_of(&unhashed) != *hash.as_bytes() {
            return Err(Problem::Changed);
        }
        Ok(record)
    }

    /// The head after the record before this one.
    pub fn before(&self) -> Head {
        Head { seq: self.seq.saturating_sub(1), hash: *self.prev.as_bytes() }
    }

    fn read(object: &Map<String, Value>, hash: Digest) -> Option<Self> {
        let text = |key: &str| object.get(key).and_then(Value::as_str).map(str::to_owned);
        let event = match text("event")?.as_str() {
            "call" => Event::Call(Call {
                request_id: text("request_id")?,
                method: text("method")?,
                route: text("route")?,
                peer: text("peer")?,
                address: text("address")?,
            }),
            "cut" => Event::Cut { bytes: object.get("bytes")?.as_u64()? },
            _ => return None,
        };
        Some(Self {
            seq: object.get("seq")?.as_u64()?,
            at_ms: object.get("at_ms")?.as_i64()?,
            event,
            prev: digest(object.get("prev")?)?,
            hash,
        })
    }
}

impl Anchor {
    /// Before the first record.
    pub const START: Self = Self { first: Head::START, last: Head::START };

    /// As it is written: always the same number of bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let head = |head: &Head| json!({ "seq": head.seq, "hash": bytes::to_hex(&head.hash) });
        let value = json!({ "first": head(&self.first), "last": head(&self.last) });
        let mut line = value.to_string().into_bytes();
        line.resize(ANCHOR_BYTES - 1, b' ');
        line.push(b'\n');
        line
    }

    /// Reads what [`Anchor::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let value = strict::parse(bytes).ok()?;
        let head = |key: &str| {
            let head = value.get(key)?;
            let hash = *digest(head.get("hash")?)?.as_bytes();
            Some(Head { seq: head.get("seq")?.as_u64()?, hash })
        };
        let anchor = Self { first: head("first")?, last: head("last")? };
        (anchor.first.seq <= anchor.last.seq).then_some(anchor)
    }
}

/// Reads records from `file` for as long as they follow each other, from `head` on. The record with
/// the number of `known` must be `known`. Each record goes to `visit`.
///
/// # Errors
/// When the file cannot be read.
pub fn read_chain(
    file: &mut impl BufRead,
    head: &mut Head,
    known: Head,
    visit: &mut dyn FnMut(Record),
) -> io::Result<End> {
    let (mut line, mut at) = (1, 0);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let read = file.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut bytes)?;
        if read == 0 {
            return Ok(End::Whole);
        }
        let broken = |problem| Ok(End::Broken { line, at, problem });
        let Some(text) = bytes.strip_suffix(b"\n") else {
            return if read > LINE_BYTES_MAX {
                broken(Problem::NotARecord)
            } else {
                Ok(End::Torn { at })
            };
        };
        let before = *head;
        let record = match head.follow(text) {
            Ok(record) => record,
            Err(problem) => return broken(problem),
        };
        if head.seq == known.seq && *head != known {
            *head = before;
            return broken(Problem::Foreign);
        }
        visit(record);
        line += 1;
        at += read as u64;
    }
}

fn digest(value: &Value) -> Option<Digest> {
    Digest::from_hex(value.as_str()?).ok()
}

fn hash_of(unhashed: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new().update(DOMAIN).update(unhashed).finalize().as_bytes()
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(Call { request_id, method, route, peer, address }) => {
                write!(f, "{method} {route} from {address} ({peer}), request {request_id}")
            }
            Self::Cut { bytes } => write!(f, "{bytes} bytes of an unfinished write were cut off"),
        }
    }
}

#[cfg(test)]
mod tests;
