//! The canonical form (RFC 8785), in one pass. Numbers with a fraction or an exponent are written by
//! `serde_json_canonicalizer`; that the rest equals what it writes is held by a property test.

use std::cmp::Ordering;
use std::io::Write;

use serde_json::{Map, Number, Value};

use super::scan::plain_len;
use super::{DEPTH_MAX, JsonProblem, check_number};

/// Writes a value that may hold `depth_left` more levels.
pub(super) fn value(
    value: &Value,
    depth_left: usize,
    out: &mut Vec<u8>,
) -> Result<(), JsonProblem> {
    let inner = || depth_left.checked_sub(1).ok_or(JsonProblem::Depth(DEPTH_MAX));
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => self::number(number, out)?,
        Value::String(text) => string(text, out),
        Value::Array(items) => array(items, inner()?, out)?,
        Value::Object(members) => object(members, inner()?, out)?,
    }
    Ok(())
}

fn array(items: &[Value], depth_left: usize, out: &mut Vec<u8>) -> Result<(), JsonProblem> {
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        value(item, depth_left, out)?;
    }
    out.push(b']');
    Ok(())
}

fn object(
    members: &Map<String, Value>,
    depth_left: usize,
    out: &mut Vec<u8>,
) -> Result<(), JsonProblem> {
    let mut sorted: Vec<(&String, &Value)> = members.iter().collect();
    sorted.sort_unstable_by(|(left, _), (right, _)| by_utf16(left, right));
    out.push(b'{');
    for (index, (key, member)) in sorted.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        string(key, out);
        out.push(b':');
        value(member, depth_left, out)?;
    }
    out.push(b'}');
    Ok(())
}

/// The order of two texts by their UTF-16 units. Bytes of UTF-8 are in that order but for the
/// characters from U+E000 to U+FFFF, which begin with 0xEE or 0xEF and come after all others.
fn by_utf16(left: &str, right: &str) -> Ordering {
    let rank = |byte: u8| if matches!(byte, 0xee | 0xef) { byte + 0x10 } else { byte };
    left.bytes().map(rank).cmp(right.bytes().map(rank))
}

fn number(number: &Number, out: &mut Vec<u8>) -> Result<(), JsonProblem> {
    check_number(number)?;
    let is_written = match number.as_i64() {
        Some(integer) => write!(out, "{integer}").is_ok(),
        None => serde_json_canonicalizer::to_writer(number, out).is_ok(),
    };
    // A vector takes all that is written, and a number that was checked is finite.
    if is_written { Ok(()) } else { Err(JsonProblem::NumberRange) }
}

pub(super) fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (plain, special) = rest.split_at(plain_len(rest));
        out.extend_from_slice(plain);
        let Some((byte, after)) = special.split_first() else { break };
        escape(*byte, out);
        rest = after;
    }
    out.push(b'"');
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    let letter = match byte {
        b'"' | b'\\' => byte,
        0x8 => b'b',
        0x9 => b't',
        0xa => b'n',
        0xc => b'f',
        0xd => b'r',
        _ => {
            let digits = b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            out.extend([byte >> 4, byte & 0xf].map(|digit| digits[usize::from(digit)]));
            return;
        }
    };
    out.extend_from_slice(&[b'\\', letter]);
}
