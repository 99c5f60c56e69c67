//! What needs no node: reading and checking envelopes.

use jiff::Timestamp;
use serde_json::Value;

use crate::cli::client::CliError;
use crate::domain::envelope::verify::{self as rules, Options};

/// Checks an envelope, or the one in an answer, as of `at` or now. The report is the same as that
/// of the HTTP interface.
///
/// # Errors
/// When `at` is no time.
pub fn verify(bytes: &[u8], at: Option<&str>) -> Result<Value, CliError> {
    let at = match at {
        None => Timestamp::now(),
        Some(text) => text
            .parse()
            .map_err(|error| CliError::Usage(format!("--at {text:?} is no time: {error}")))?,
    };
    Ok(rules::verify(bytes, at.as_millisecond(), &Options::default()).to_json())
}

/// What an envelope says, its payload included. Nothing of it is checked.
///
/// # Errors
/// When the bytes are not the JSON of an envelope.
pub fn inspect(bytes: &[u8]) -> Result<Value, CliError> {
    rules::read(bytes).map_err(|(code, error)| {
        CliError::Unreadable(format!("not an envelope: {error} ({})", code.as_str()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_envelope_is_refused_with_its_code() {
        for bytes in [&b""[..], b"{", b"[]", b"{\"a\":1,\"a\":2}", b"\xff"] {
            let report = verify(bytes, None).unwrap();
            assert_eq!(report["valid"], false);
            assert_eq!(report["code"], "RejectSchema");
            assert_eq!(inspect(bytes).unwrap_err().exit_code(), 1);
        }
    }

    #[test]
    fn a_time_that_is_none_is_wrong_usage() {
        for at in ["", "yesterday", "2026-13-01T00:00:00Z"] {
            assert_eq!(verify(b"{}", Some(at)).unwrap_err().exit_code(), 2);
        }
        assert!(verify(b"{}", Some("2026-01-31T12:00:00Z")).is_ok());
    }
}
