//! Strict I-JSON (RFC 7493) in, canonical JSON (RFC 8785) out.
//!
//! Signed bytes must mean one thing. The reader refuses whatever other readers are known to change
//! silently: repeated keys, integers that no double holds exactly, numbers too large or too small
//! for one, lone surrogates. Whatever it accepts has a canonical form that it accepts too.

mod read;
mod scan;
mod write;

use serde_json::{Number, Value};

use self::read::{Nothing, Reader, Tree};

/// Nested arrays and objects in a value. Deep enough for any document people write, and small
/// enough for recursion on any stack.
pub const DEPTH_MAX: usize = 64;

/// 2^53 - 1: up to here every integer is a double of its own.
pub const INTEGER_MAX: i64 = (1 << 53) - 1;

/// Room for the canonical form of a small document.
const CANONICAL_BYTES: usize = 256;

/// From here on canonical JSON writes whole numbers with an exponent, so they are no integers.
const EXPONENT_FROM: f64 = 1e21;

/// Why bytes are not the JSON that may be signed, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}{}", Place(*at))]
pub struct JsonError {
    /// What is wrong.
    pub problem: JsonProblem,
    /// The byte it begins at; `None` for a value that was not read from bytes.
    pub at: Option<usize>,
}

/// What is wrong with JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonProblem {
    /// Not UTF-8.
    #[error("invalid UTF-8")]
    Utf8,
    /// Not JSON (RFC 8259).
    #[error("expected {0}")]
    Syntax(&'static str),
    /// Something follows the value.
    #[error("more text after the value")]
    Trailing,
    /// An object names a member twice.
    #[error("repeated key")]
    RepeatedKey,
    /// An integer that doubles do not hold exactly, or a number that is canonically written as one.
    #[error("integer outside +-(2^53 - 1); write it as a string")]
    UnsafeInteger,
    /// The magnitude is beyond what a double holds, or so small that it would become zero.
    #[error("number out of the range of a double")]
    NumberRange,
    /// Half of a surrogate pair.
    #[error("lone surrogate")]
    LoneSurrogate,
    /// Too many arrays and objects in each other.
    #[error("nested deeper than {0}")]
    Depth(usize),
}

struct Place(Option<usize>);

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |at| write!(f, " at byte {at}"))
    }
}

/// Reads one value, nested at most [`DEPTH_MAX`] deep.
///
/// # Errors
/// [`JsonError`] with the place, for anything that is not strict I-JSON.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    parse_nested(bytes, DEPTH_MAX)
}

/// As [`parse`], nested at most `depth_max` deep: for documents that carry others inside.
/// Recursion uses a few hundred bytes of stack a level.
///
/// # Errors
/// As [`parse`].
pub fn parse_nested(bytes: &[u8], depth_max: usize) -> Result<Value, JsonError> {
    Reader::new(text(bytes)?, depth_max).document::<Tree>()
}

/// Checks bytes as [`parse`] reads them, without building what they say: it accepts the same bytes
/// and refuses others with the same error. Allocates only for objects with many keys or with
/// escapes in them.
///
/// # Errors
/// As [`parse`].
pub fn validate(bytes: &[u8]) -> Result<(), JsonError> {
    Reader::new(text(bytes)?, DEPTH_MAX).document::<Nothing>()
}

fn text(bytes: &[u8]) -> Result<&str, JsonError> {
    std::str::from_utf8(bytes)
        .map_err(|error| JsonError { problem: JsonProblem::Utf8, at: Some(error.valid_up_to()) })
}

/// Writes a value in its canonical form.
///
/// # Errors
/// [`JsonError`] for what [`parse`] would not have read: numbers out of range, too much nesting.
pub fn canonical(value: &Value) -> Result<Vec<u8>, JsonError> {
    let mut out = Vec::with_capacity(CANONICAL_BYTES);
    canonical_within(value, 0, &mut out)?;
    Ok(out)
}

/// As [`canonical`], into text that has begun and in which the value lies `depth` levels deep.
///
/// # Errors
/// As [`canonical`]; part of the value may have been written by then.
pub(super) fn canonical_within(
    value: &Value,
    depth: usize,
    out: &mut Vec<u8>,
) -> Result<(), JsonError> {
    write::value(value, DEPTH_MAX.saturating_sub(depth), out)
        .map_err(|problem| JsonError { problem, at: None })
}

fn check_number(number: &Number) -> Result<(), JsonProblem> {
    if let Some(integer) = number.as_i64() {
        return if integer.unsigned_abs() <= INTEGER_MAX.unsigned_abs() {
            Ok(())
        } else {
            Err(JsonProblem::UnsafeInteger)
        };
    }
    match number.as_f64() {
        Some(_) if number.is_u64() => Err(JsonProblem::UnsafeInteger),
        Some(float) => check_float(float),
        None => Err(JsonProblem::NumberRange),
    }
}

#[expect(clippy::cast_precision_loss, reason = "2^53 - 1 is a double, which is its point")]
fn check_float(float: f64) -> Result<(), JsonProblem> {
    let size = float.abs();
    if !float.is_finite() {
        Err(JsonProblem::NumberRange)
    } else if size > INTEGER_MAX as f64 && size < EXPONENT_FROM {
        // Every double of this size is whole, and its canonical text has no exponent.
        Err(JsonProblem::UnsafeInteger)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
