//! The reader. What it makes of what it reads is its caller's choice, so that checking a text and
//! building a tree of it accept the same texts and refuse the others with the same error.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::{Map, Number, Value};

use super::scan::plain_len;
use super::{INTEGER_MAX, JsonError, JsonProblem, check_float};

/// Keys of an object that are compared one by one before they are put into a set.
const FEW: usize = 8;

/// What is made of the text.
pub(super) trait Build<'a> {
    /// Of a value.
    type Value;
    /// Of the items of an array, as far as they were read.
    type Items: Default;
    /// Of the members of an object, as far as they were read.
    type Members: Default;
    /// Whether text is looked at. Otherwise text with escapes is read and left out.
    const WITH_TEXT: bool;

    fn literal(value: Value) -> Self::Value;
    fn number(number: Number) -> Self::Value;
    fn text(text: Cow<'a, str>) -> Self::Value;
    fn array(items: Self::Items) -> Self::Value;
    fn object(members: Self::Members) -> Self::Value;
    fn push(items: &mut Self::Items, item: Self::Value);
    /// Whether the key is new.
    fn insert(members: &mut Self::Members, key: Cow<'a, str>, value: Self::Value) -> bool;
}

/// Builds the value.
pub(super) struct Tree;

impl<'a> Build<'a> for Tree {
    type Value = Value;
    type Items = Vec<Value>;
    type Members = Map<String, Value>;
    const WITH_TEXT: bool = true;

    fn literal(value: Value) -> Value {
        value
    }

    fn number(number: Number) -> Value {
        Value::Number(number)
    }

    fn text(text: Cow<'a, str>) -> Value {
        Value::String(text.into_owned())
    }

    fn array(items: Vec<Value>) -> Value {
        Value::Array(items)
    }

    fn object(members: Map<String, Value>) -> Value {
        Value::Object(members)
    }

    fn push(items: &mut Vec<Value>, item: Value) {
        items.push(item);
    }

    fn insert(members: &mut Map<String, Value>, key: Cow<'a, str>, value: Value) -> bool {
        members.insert(key.into_owned(), value).is_none()
    }
}

/// Builds nothing.
pub(super) struct Nothing;

/// The keys of an object.
#[derive(Default)]
pub(super) struct Keys<'a> {
    few: [&'a str; FEW],
    few_len: usize,
    more: Option<BTreeSet<Cow<'a, str>>>,
}

impl<'a> Build<'a> for Nothing {
    type Value = ();
    type Items = ();
    type Members = Keys<'a>;
    const WITH_TEXT: bool = false;

    fn literal(_: Value) {}

    fn number(_: Number) {}

    fn text(_: Cow<'a, str>) {}

    fn array((): ()) {}

    fn object(_: Keys<'a>) {}

    fn push((): &mut (), (): ()) {}

    #[inline]
    fn insert(keys: &mut Keys<'a>, key: Cow<'a, str>, (): ()) -> bool {
        if keys.few[..keys.few_len].contains(&&*key) {
            return false;
        }
        match (key, keys.few.get_mut(keys.few_len)) {
            (Cow::Borrowed(key), Some(place)) if keys.more.is_none() => {
                *place = key;
                keys.few_len += 1;
                true
            }
            (key, _) => keys.more.get_or_insert_default().insert(key),
        }
    }
}

pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    depth_max: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, depth_max: usize) -> Self {
        Self { text, at: 0, depth: 0, depth_max }
    }

    /// Reads the whole text as one value.
    pub(super) fn document<B: Build<'a>>(&mut self) -> Result<B::Value, JsonError> {
        self.skip_space();
        let value = self.value::<B>()?;
        self.skip_space();
        match self.peek() {
            None => Ok(value),
            Some(_) => Err(self.error(JsonProblem::Trailing)),
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn error(&self, problem: JsonProblem) -> JsonError {
        JsonError { problem, at: Some(self.at) }
    }

    #[inline]
    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    #[inline]
    fn take(&mut self, byte: u8, name: &'static str) -> Result<(), JsonError> {
        if self.peek() != Some(byte) {
            return Err(self.error(JsonProblem::Syntax(name)));
        }
        self.at += 1;
        Ok(())
    }

    fn value<B: Build<'a>>(&mut self) -> Result<B::Value, JsonError> {
        match self.peek() {
            Some(b'"') => self.string(B::WITH_TEXT).map(B::text),
            Some(b'{') => self.nested(Self::object::<B>),
            Some(b'[') => self.nested(Self::array::<B>),
            Some(b'-' | b'0'..=b'9') => self.number().map(B::number),
            Some(b't') => self.word("true").map(|()| B::literal(Value::Bool(true))),
            Some(b'f') => self.word("false").map(|()| B::literal(Value::Bool(false))),
            Some(b'n') => self.word("null").map(|()| B::literal(Value::Null)),
            _ => Err(self.error(JsonProblem::Syntax("a value"))),
        }
    }

    fn word(&mut self, word: &'static str) -> Result<(), JsonError> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.error(JsonProblem::Syntax(word)));
        }
        self.at += word.len();
        Ok(())
    }

    fn nested<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, JsonError>,
    ) -> Result<T, JsonError> {
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

    fn array<B: Build<'a>>(&mut self) -> Result<B::Value, JsonError> {
        let mut items = B::Items::default();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(B::array(items));
        }
        loop {
            B::push(&mut items, self.value::<B>()?);
            self.skip_space();
            if self.peek() == Some(b',') {
                self.at += 1;
                self.skip_space();
                continue;
            }
            self.take(b']', "',' or ']'")?;
            return Ok(B::array(items));
        }
    }

    fn object<B: Build<'a>>(&mut self) -> Result<B::Value, JsonError> {
        let mut members = B::Members::default();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(B::object(members));
        }
        loop {
            let key_at = self.at;
            let key = self.string(true)?;
            self.skip_space();
            self.take(b':', "':'")?;
            self.skip_space();
            let value = self.value::<B>()?;
            if !B::insert(&mut members, key, value) {
                return Err(JsonError { problem: JsonProblem::RepeatedKey, at: Some(key_at) });
            }
            self.skip_space();
            if self.peek() == Some(b',') {
                self.at += 1;
                self.skip_space();
                continue;
            }
            self.take(b'}', "',' or '}'")?;
            return Ok(B::object(members));
        }
    }

    /// Reads a string. Without escapes it lies in the text as it is; with escapes it is put
    /// together if it is `wanted`.
    #[inline]
    fn string(&mut self, wanted: bool) -> Result<Cow<'a, str>, JsonError> {
        self.take(b'"', "'\"'")?;
        let plain = self.plain();
        if self.peek() == Some(b'"') {
            self.at += 1;
            return Ok(Cow::Borrowed(plain));
        }
        let mut read = String::new();
        self.string_from(plain, |part| {
            if wanted {
                read.push_str(part);
            }
        })?;
        Ok(Cow::Owned(read))
    }

    /// What stands for itself from here on.
    #[inline]
    fn plain(&mut self) -> &'a str {
        let (text, start) = (self.text, self.at);
        self.at += plain_len(&text.as_bytes()[start..]);
        // Both ends lie beside an ASCII byte, so they are character boundaries.
        &text[start..self.at]
    }

    /// Reads the rest of a string after its first `plain` part, and hands on each part.
    fn string_from(
        &mut self,
        mut plain: &'a str,
        mut part: impl FnMut(&str),
    ) -> Result<(), JsonError> {
        loop {
            part(plain);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => part(self.escape()?.encode_utf8(&mut [0; 4])),
                Some(_) => return Err(self.error(JsonProblem::Syntax("no control character"))),
                None => return Err(self.error(JsonProblem::Syntax("'\"'"))),
            }
            plain = self.plain();
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

    #[inline]
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

    #[inline]
    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.error(JsonProblem::Syntax("a digit"))) } else { Ok(()) }
    }
}
