//! `bizra constitution check`: works with no node running.

use std::io::{self, Read, Write};

use serde_json::json;

use crate::cli::printable;
use crate::domain::constitution::{Constitution, DOCUMENT_BYTES_MAX};

/// Reads a document from `input`, which is called `origin`, and writes to `out` its version and
/// digest or what is wrong with it. Answers the exit code: 0 valid, 1 not.
///
/// # Errors
/// When `out` cannot be written.
pub fn check(
    input: &mut dyn Read,
    origin: &str,
    out: &mut dyn Write,
    is_json: bool,
) -> io::Result<u8> {
    let mut text = String::new();
    // One byte more, so that the parser sees that it is too long.
    let read = input.take(DOCUMENT_BYTES_MAX as u64 + 1).read_to_string(&mut text);
    let parsed = read
        .map_err(|error| format!("{origin}: {error}"))
        .and_then(|_| Constitution::parse(origin, &text).map_err(|error| error.to_string()));
    match parsed {
        Ok(constitution) => {
            let (version, digest) = (constitution.version(), constitution.digest());
            if is_json {
                let digest = digest.to_hex();
                let valid = json!({"valid": true, "version": version, "digest": digest});
                write!(out, "{}", printable::json(&valid, true))?;
            } else {
                writeln!(out, "valid: version {version}, digest {digest}")?;
            }
            Ok(0)
        }
        Err(error) => {
            if is_json {
                let invalid = json!({ "valid": false, "error": error });
                write!(out, "{}", printable::json(&invalid, true))?;
            } else {
                writeln!(out, "invalid: {}", printable::text(&error))?;
            }
            Ok(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::constitution::DEFAULT_TOML;

    fn told(text: &[u8], is_json: bool) -> (u8, String) {
        let mut out = Vec::new();
        let code = check(&mut &text[..], "site.toml", &mut out, is_json).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_valid_document_is_named_by_version_and_digest() {
        let digest = Constitution::default().digest().to_hex();
        let (code, text) = told(DEFAULT_TOML.as_bytes(), false);
        assert_eq!((code, text), (0, format!("valid: version 1.0.0, digest {digest}\n")));
        let (code, text) = told(DEFAULT_TOML.as_bytes(), true);
        assert_eq!(code, 0);
        assert!(text.contains("\"valid\": true") && text.contains(&digest), "{text}");
    }

    #[test]
    fn an_invalid_one_is_refused_with_the_reason() {
        for text in [&b""[..], b"\xff", &[b'#'; DOCUMENT_BYTES_MAX + 10]] {
            for is_json in [false, true] {
                let (code, said) = told(text, is_json);
                assert_eq!(code, 1);
                assert!(said.contains("site.toml"), "{said}");
            }
        }
    }
}
