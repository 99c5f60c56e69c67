//! Strict I-JSON (RFC 7493) in, canonical JSON (RFC 8785) out.
//!
//! Signed bytes must mean one thing. The reader refuses whatever other readers are known to change
//! silently: repeated keys, integers that no double holds exactly, numbers too large or too small
//! for one, lone surrogates. Whatever it accepts has a canonical form that it accepts too.

use serde_json::{Map, Number, Value};

/// Nested arrays and objects in a value. Deep enough for any document people write, and small
/// enough for recursion on any stack.
pub const DEPTH_MAX: usize = 64;

/// 2^53 - 1: up to here every integer is a double of its own.
pub const INTEGER_MAX: i64 = (1 << 53) - 1;

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
    let text = std::str::from_utf8(bytes)
        .map_err(|error| JsonError { problem: JsonProblem::Utf8, at: Some(error.valid_up_to()) })?;
    let mut reader = Reader { text, at: 0, depth: 0, depth_max };
    reader.skip_space();
    let value = reader.value()?;
    reader.skip_space();
    match reader.peek() {
        None => Ok(value),
        Some(_) => Err(reader.error(JsonProblem::Trailing)),
    }
}

/// Writes a value in its canonical form.
///
/// # Errors
/// [`JsonError`] for what [`parse`] would not have read: numbers out of range, too much nesting.
pub fn canonical(value: &Value) -> Result<Vec<u8>, JsonError> {
    check(value, DEPTH_MAX).map_err(|problem| JsonError { problem, at: None })?;
    serde_json_canonicalizer::to_vec(value)
        .map_err(|_| JsonError { problem: JsonProblem::Syntax("a JSON value"), at: None })
}

fn check(value: &Value, depth_left: usize) -> Result<(), JsonProblem> {
    let inner = || depth_left.checked_sub(1).ok_or(JsonProblem::Depth(DEPTH_MAX));
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
        Value::Number(number) => check_number(number),
        Value::Array(items) => {
            let depth_left = inner()?;
            items.iter().try_for_each(|item| check(item, depth_left))
        }
        Value::Object(members) => {
            let depth_left = inner()?;
            members.values().try_for_each(|member| check(member, depth_left))
        }
    }
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

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    depth_max: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn error(&self, problem: JsonProblem) -> JsonError {
        JsonError { problem, at: Some(self.at) }
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8, name: &'static str) -> Result<(), JsonError> {
        if self.peek() != Some(byte) {
            return Err(self.error(JsonProblem::Syntax(name)));
        }
        self.at += 1;
        Ok(())
    }

    fn value(&mut self) -> Result<Value, JsonError> {
        match self.peek() {
            Some(b'"') => self.string().map(Value::String),
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => Err(self.error(JsonProblem::Syntax("a value"))),
        }
    }

    fn word(&mut self, word: &'static str, value: Value) -> Result<Value, JsonError> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.error(JsonProblem::Syntax(word)));
        }
        self.at += word.len();
        Ok(value)
    }

    fn nested(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<Value, JsonError>,
    ) -> Result<Value, JsonError> {
        if self.depth == self.depth_max {
            return Err(self.error(JsonProblem::Depth(self.depth_max)));
        }
        self.depth += 1;
        self.at += 1;
        self.skip_space();
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn array(&mut self) -> Result<Value, JsonError> {
        let mut items = Vec::new();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value()?);
            self.skip_space();
            if self.peek() == Some(b',') {
                self.at += 1;
                self.skip_space();
                continue;
            }
            self.take(b']', "',' or ']'")?;
            return Ok(Value::Array(items));
        }
    }

    fn object(&mut self) -> Result<Value, JsonError> {
        let mut members = Map::new();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(members));
        }
        loop {
            let key_at = self.at;
            let key = self.string()?;
            self.skip_space();
            self.take(b':', "':'")?;
            self.skip_space();
            let value = self.value()?;
            if members.insert(key, value).is_some() {
                return Err(JsonError { problem: JsonProblem::RepeatedKey, at: Some(key_at) });
            }
            self.skip_space();
            if self.peek() == Some(b',') {
                self.at += 1;
                self.skip_space();
                continue;
            }
            self.take(b'}', "',' or '}'")?;
            return Ok(Value::Object(members));
        }
    }

    fn string(&mut self) -> Result<String, JsonError> {
        self.take(b'"', "'\"'")?;
        let mut string = String::new();
        loop {
            let plain = self.at;
            while !matches!(self.peek(), None | Some(b'"' | b'\\' | 0..=0x1f)) {
                self.at += 1;
            }
            // Both ends lie beside an ASCII byte, so they are character boundaries.
            string.push_str(&self.text[plain..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(string);
                }
                Some(b'\\') => string.push(self.escape()?),
                Some(_) => return Err(self.error(JsonProblem::Syntax("no control character"))),
                None => return Err(self.error(JsonProblem::Syntax("'\"'"))),
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let start = self.at;
        self.at += 1;
        let plain = match self.peek() {
            Some(b'u') => {
                self.at += 1;
                return self.code_point(start);
            }
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            _ => return Err(self.error(JsonProblem::Syntax("an escape"))),
        };
        self.at += 1;
        Ok(plain)
    }

    fn code_point(&mut self, start: usize) -> Result<char, JsonError> {
        let lone = JsonError { problem: JsonProblem::LoneSurrogate, at: Some(start) };
        let first = self.unit()?;
        let is_high = (0xd800..0xdc00).contains(&first);
        if is_high && self.text.as_bytes()[self.at..].starts_with(b"\\u") {
            self.at += 2;
            let second = self.unit()?;
            if !(0xdc00..0xe000).contains(&second) {
                return Err(lone);
            }
            return char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))
                .ok_or(lone);
        }
        char::from_u32(first).ok_or(lone)
    }

    fn unit(&mut self) -> Result<u32, JsonError> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.error(JsonProblem::Syntax("four hex digits")));
            };
            unit = unit << 4 | digit;
            self.at += 1;
        }
        Ok(unit)
    }

    fn number(&mut self) -> Result<Number, JsonError> {
        let start = self.at;
        let fail = |problem| JsonError { problem, at: Some(start) };
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        let mut is_integer = true;
        if self.peek() == Some(b'.') {
            is_integer = false;
            self.at += 1;
            self.digits()?;
        }
        let mantissa_end = self.at;
        if matches!(self.peek(), Some(b'e' | b'E')) {
            is_integer = false;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = &self.text[start..self.at];
        if is_integer {
            return match text.parse::<i64>() {
                Ok(integer) if integer.unsigned_abs() <= INTEGER_MAX.unsigned_abs() => {
                    Ok(Number::from(integer))
                }
                _ => Err(fail(JsonProblem::UnsafeInteger)),
            };
        }
        // Exact: the nearest double, ties to even, whatever the length of the text.
        let float: f64 = text.parse().map_err(|_| fail(JsonProblem::Syntax("a number")))?;
        let has_size =
            self.text.as_bytes()[start..mantissa_end].iter().any(|b| matches!(b, b'1'..=b'9'));
        if float == 0.0 && has_size {
            return Err(fail(JsonProblem::NumberRange));
        }
        check_float(float).map_err(fail)?;
        Number::from_f64(float).ok_or_else(|| fail(JsonProblem::NumberRange))
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.error(JsonProblem::Syntax("a digit"))) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
