//! `bizra envelope verify` and `bizra envelope inspect`: work with no node running.

use std::io::{self, Read, Write};

use serde_json::{Value, json};

use crate::cli::printable;
use crate::domain::digest::domain_separated_digest;
use crate::domain::envelope::{
    ENVELOPE_BYTES_MAX, Options, Report, verify as verify_bytes, verify::read,
};
use crate::domain::json::canonical;
use crate::domain::reject::RejectCode;

/// Exit code: the envelope is valid, or could be shown.
pub const VALID: u8 = 0;
/// Exit code: the envelope is not valid.
pub const INVALID: u8 = 1;
/// Exit code: wrong usage, or the input could not be read.
pub const UNREADABLE: u8 = 2;

/// Fields in the order in which people read them; the payload comes last.
const SHOWN: [&str; 12] = [
    "id",
    "version",
    "sender",
    "public_key",
    "timestamp",
    "ttl",
    "audience",
    "constitution",
    "content_hash",
    "provenance",
    "gates",
    "signature",
];

/// Verifies the envelope in `input`, or the one in the member `envelope` of an answer, as of
/// `now_ms` (milliseconds since the Unix epoch), and writes the checks and the verdict to `out`:
/// lines for people, or the JSON object of the HTTP interface. With `accept_v1` the old version is
/// read as well. Answers the exit code.
///
/// # Errors
/// When `out` cannot be written.
pub fn verify(
    input: &mut dyn Read,
    out: &mut dyn Write,
    now_ms: i64,
    accept_v1: bool,
    is_json: bool,
) -> io::Result<u8> {
    let bytes = match read_bounded(input) {
        Ok(bytes) => bytes,
        Err(error) => return unreadable(out, is_json, &error),
    };
    let options = Options { accept_v1, ..Options::default() };
    let report = verify_bytes(&bytes, now_ms, &options);
    if is_json {
        write!(out, "{}", printable::json(&report.to_json(), true))?;
    } else {
        write_report(out, &report)?;
    }
    Ok(if report.is_valid() { VALID } else { INVALID })
}

/// Shows what the envelope in `input` says, without verifying anything. Answers the exit code.
///
/// # Errors
/// When `out` cannot be written.
pub fn inspect(input: &mut dyn Read, out: &mut dyn Write, is_json: bool) -> io::Result<u8> {
    let bytes = match read_bounded(input) {
        Ok(bytes) => bytes,
        Err(error) => return unreadable(out, is_json, &error),
    };
    let envelope = match read(&bytes) {
        Ok(envelope) => envelope,
        Err((code, error)) => {
            if is_json {
                let refusal = json!({ "code": code.as_str(), "error": error });
                write!(out, "{}", printable::json(&refusal, true))?;
            } else {
                write_refusal(out, "invalid", Some(code), &error)?;
            }
            return Ok(INVALID);
        }
    };
    if is_json {
        let shown = json!({ "verified": false, "envelope": envelope });
        write!(out, "{}", printable::json(&shown, true))?;
    } else {
        write_envelope(out, &envelope)?;
    }
    Ok(VALID)
}

/// One byte more than may be verified is read at most, so that verifying says what is wrong.
pub(super) fn read_bounded(input: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(ENVELOPE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unreadable(out: &mut dyn Write, is_json: bool, error: &io::Error) -> io::Result<u8> {
    if is_json {
        let unreadable = json!({ "error": format!("cannot be read: {error}"), "code": "FILE" });
        write!(out, "{}", printable::json(&unreadable, true))?;
    } else {
        writeln!(out, "cannot be read: {error}")?;
    }
    Ok(UNREADABLE)
}

fn write_report(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    for check in &report.checks {
        let verdict = if check.passed { "ok" } else { "FAILED" };
        write!(out, "{:<13} {verdict}", check.check)?;
        // The reason of a failure is in the last line.
        match check.detail.as_deref().filter(|_| check.passed) {
            Some(detail) => writeln!(out, "  {}", printable::line(detail))?,
            None => writeln!(out)?,
        }
    }
    match &report.error {
        None => writeln!(out, "valid"),
        Some(error) => write_refusal(out, "invalid", report.code, error),
    }
}

fn write_refusal(
    out: &mut dyn Write,
    verdict: &str,
    code: Option<RejectCode>,
    error: &str,
) -> io::Result<()> {
    match code {
        Some(code) => {
            writeln!(out, "{verdict}: {} ({code}): {}", code.as_str(), printable::line(error))
        }
        None => writeln!(out, "{verdict}: {}", printable::line(error)),
    }
}

fn write_envelope(out: &mut dyn Write, envelope: &Value) -> io::Result<()> {
    for name in SHOWN {
        match envelope.get(name) {
            // Text without its quotes, anything else as JSON.
            Some(Value::String(text)) => writeln!(out, "{name:<13} {}", printable::line(text))?,
            Some(value) => writeln!(out, "{name:<13} {}", printable::line(&value.to_string()))?,
            None => writeln!(out, "{name:<13} missing")?,
        }
    }
    match envelope.get("payload").map(|payload| (payload, canonical(payload))) {
        None => writeln!(out, "{:<13} withheld", "payload")?,
        Some((payload, Ok(bytes))) => {
            let digest = domain_separated_digest(&bytes);
            writeln!(out, "{:<13} {} bytes, digest {digest}", "payload", bytes.len())?;
            writeln!(out, "{}", printable::line(&payload.to_string()))?;
        }
        Some((_, Err(error))) => writeln!(out, "{:<13} not canonical: {error}", "payload")?,
    }
    writeln!(out, "nothing was verified; use: bizra envelope verify")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::envelope::tests::{NOW_MS, draft, seal};

    fn run(bytes: &[u8], now_ms: i64, is_json: bool) -> (u8, String) {
        let mut out = Vec::new();
        let code = verify(&mut &bytes[..], &mut out, now_ms, false, is_json).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    fn show(bytes: &[u8], is_json: bool) -> (u8, String) {
        let mut out = Vec::new();
        let code = inspect(&mut &bytes[..], &mut out, is_json).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_valid_envelope_ends_with_zero_and_a_changed_one_with_its_code() {
        let sealed = seal(draft(json!({ "text": "hi" })));
        let (code, text) = run(&sealed.to_bytes(), NOW_MS, false);
        assert_eq!(code, VALID);
        assert!(text.contains("signature     ok") && text.ends_with("valid\n"), "{text}");
        let answer = json!({ "text": "hi", "envelope": *sealed.json }).to_string();
        assert_eq!(run(answer.as_bytes(), NOW_MS, false).0, VALID);
        let changed = answer.replace("hi", "ho");
        let (code, text) = run(changed.as_bytes(), NOW_MS, false);
        assert_eq!(code, INVALID);
        assert!(text.contains("RejectHashMismatch (PCI-15"), "{text}");
        let (code, text) = run(&sealed.to_bytes(), NOW_MS + 3_600_000, true);
        let report: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((code, &report["code"]), (INVALID, &json!("RejectExpired")));
    }

    #[test]
    fn what_is_no_envelope_is_invalid_and_what_cannot_be_read_is_unreadable() {
        for bytes in [&b""[..], b"{}", b"[]", b"\xff", &[b'['; 100_000], &[b' '; 3 << 20]] {
            assert_eq!(run(bytes, NOW_MS, false).0, INVALID);
        }
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("gone"))
            }
        }
        let mut out = Vec::new();
        assert_eq!(verify(&mut Broken, &mut out, NOW_MS, false, false).unwrap(), UNREADABLE);
        assert_eq!(inspect(&mut Broken, &mut out, true).unwrap(), UNREADABLE);
    }

    #[test]
    fn inspecting_shows_the_fields_and_claims_nothing() {
        let sealed = seal(draft(json!({ "text": "\u{1b}[2J\u{202e}" })));
        let (code, text) = show(&sealed.to_bytes(), false);
        assert_eq!(code, VALID);
        assert!(text.contains(&sealed.id.to_string()) && text.contains("nothing was verified"));
        assert!(text.lines().all(|line| printable::line(line) == line), "{text}");
        let (_, text) = show(&sealed.to_bytes(), true);
        let shown: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&shown["verified"], &shown["envelope"]), (&json!(false), &*sealed.json));
        assert_eq!(show(b"{\"id\":1,\"id\":2}", false).0, INVALID);
        assert_eq!(show(b"{\"ttl\":{}}", false).0, VALID);
    }
}
