//! Keys and tokens whose form says what they are.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::domain::harm::entropy::Shape;
use crate::domain::harm::{Kind, Tally};

/// A key that is here is no secret any more.
const PRIVATE_KEY: u8 = 100;

/// A passphrase still stands before it.
const ENCRYPTED_KEY: u8 = 50;

/// Opens an account to whoever has it.
const OPENS: u8 = 90;

/// Names an account, or is often public by design (keys in web pages): half of the way.
const NAMES: u8 = 50;

/// Looks the part, but its checksum is wrong or it opens a sandbox: not a veto.
const OPENS_NOTHING: u8 = 20;

/// Longest part of a token that is looked at.
const PART_MAX: usize = 1024;

/// A body of base64 of at least this is a key; the smallest, of Ed25519, has 64.
const PEM_BODY_MIN: usize = 40;

/// How far after its header the body is looked for.
const PEM_REACH: usize = 512;

/// Looks for a secret at `at`; returns where it ends.
pub(super) fn probe(text: &[u8], at: usize, tally: &mut Tally) -> Option<usize> {
    let rest = &text[at..];
    if rest.starts_with(b"-BEG") {
        return private_key(text, at, tally);
    }
    // This prefix is known by its middle.
    let (at, rest) = match at.checked_sub(5).map(|start| (start, &text[start..])) {
        Some((start, from)) if from.starts_with(b"github_pat_") => (start, from),
        _ => (at, rest),
    };
    // A dash joins words, and many tokens have some.
    if !begins_word(text, at) || at > 0 && text[at - 1] == b'-' {
        return None;
    }
    let (kind, percent, len) = form(rest)?;
    let end = at + len;
    // A longer word only begins like one.
    if text.get(end).is_some_and(|byte| is_word(*byte)) {
        return None;
    }
    tally.add(kind, at, percent);
    Some(end)
}

/// Whether `text` is a token by its form.
pub(super) fn is_form(text: &[u8]) -> bool {
    form(text).is_some_and(|(.., len)| len == text.len())
}

/// The kind, weight and length of the token that `text` begins with.
fn form(text: &[u8]) -> Option<(Kind, u8, usize)> {
    let found = |kind, percent, len| Some((kind, percent, len));
    match text {
        [b'A', b'K' | b'S', b'I', b'A', rest @ ..] => {
            let len = run(rest, |b| matches!(b, b'A'..=b'Z' | b'2'..=b'7'));
            (len == 16 && !is_sample(&rest[..len])).then_some((Kind::ApiKey, NAMES, 20))
        }
        [b'A', b'I', b'z', b'a', rest @ ..] => {
            let len = run(rest, is_url_safe);
            (len == 35 && is_random(&rest[..len])).then_some((Kind::ApiKey, NAMES, 39))
        }
        [b'g', b'h', b'p' | b'o' | b'u' | b's' | b'r', b'_', rest @ ..] => {
            let len = run(rest, |b| b.is_ascii_alphanumeric());
            let token = &rest[..len];
            if len < 36 || !is_random(token) {
                return None;
            }
            // Longer ones exist and have no published checksum.
            let opens = len > 36 || has_checksum(token);
            found(Kind::Token, if opens { OPENS } else { OPENS_NOTHING }, 4 + len)
        }
        [b'n', b'p', b'm', b'_', rest @ ..] => {
            let len = run(rest, |b| b.is_ascii_alphanumeric());
            if len != 36 || !is_random(&rest[..len]) {
                return None;
            }
            let opens = has_checksum(&rest[..len]);
            found(Kind::Token, if opens { OPENS } else { OPENS_NOTHING }, 40)
        }
        [b'x', b'o', b'x', b'a' | b'b' | b'e' | b'o' | b'p' | b'r' | b's', b'-', rest @ ..] => {
            let len = run(rest, |b| b.is_ascii_alphanumeric() || b == b'-');
            let last = rest[..len].rsplit(|byte| *byte == b'-').next()?;
            let digits = run(rest, |b| b.is_ascii_digit());
            let is_token = digits >= 10 && last.len() >= 20 && is_random(last);
            is_token.then_some((Kind::Token, OPENS, 5 + len))
        }
        [b'e', b'y', b'J', ..] => json_web_token(text),
        _ => PREFIXED.iter().find_map(|form| form.read(text)),
    }
}

/// A fixed prefix, then so many characters of one kind.
struct Prefixed {
    prefix: &'static [u8],
    kind: Kind,
    percent: u8,
    len_min: usize,
    len_max: usize,
    is_part: fn(u8) -> bool,
}

impl Prefixed {
    fn read(&self, text: &[u8]) -> Option<(Kind, u8, usize)> {
        let rest = text.strip_prefix(self.prefix)?;
        let is_part = |byte: &&u8| (self.is_part)(**byte);
        let len = rest.iter().take(self.len_max + 1).take_while(is_part).count();
        let is_token = (self.len_min..=self.len_max).contains(&len) && is_random(&rest[..len]);
        is_token.then_some((self.kind, self.percent, self.prefix.len() + len))
    }
}

const fn token(prefix: &'static [u8], len_min: usize, len_max: usize) -> Prefixed {
    Prefixed {
        prefix,
        kind: Kind::Token,
        percent: OPENS,
        len_min,
        len_max,
        is_part: |b| b.is_ascii_alphanumeric() || b == b'_',
    }
}

const fn key(prefix: &'static [u8], len_min: usize, len_max: usize) -> Prefixed {
    Prefixed { prefix, kind: Kind::ApiKey, percent: OPENS, len_min, len_max, is_part: is_url_safe }
}

/// Longer prefixes stand before those they begin with.
static PREFIXED: &[Prefixed] = &[
    token(b"github_pat_", 82, 82),
    Prefixed { is_part: is_url_safe, ..token(b"glpat-", 20, 64) },
    // A macaroon of PyPI begins with its version and the name of the site.
    Prefixed { is_part: is_url_safe, ..token(b"pypi-AgEIcHlwaS5vcmc", 50, 400) },
    Prefixed { is_part: is_url_safe, ..token(b"dckr_pat_", 20, 64) },
    token(b"hf_", 34, 40),
    token(b"dop_v1_", 64, 64),
    token(b"shpat_", 32, 32),
    key(b"sk_live_", 24, 247),
    key(b"rk_live_", 24, 247),
    Prefixed { percent: OPENS_NOTHING, ..key(b"sk_test_", 24, 247) },
    key(b"sk-proj-", 40, 256),
    key(b"sk-svcacct-", 40, 256),
    key(b"sk-admin-", 40, 256),
    key(b"sk-ant-", 40, 256),
    key(b"sk-or-v1-", 64, 64),
    Prefixed { is_part: |b| b.is_ascii_alphanumeric(), ..key(b"sk-", 32, 64) },
    key(b"GOCSPX-", 28, 28),
    Prefixed { is_part: |b| is_url_safe(b) || b == b'.', ..key(b"SG.", 66, 66) },
    // 32 bytes in Bech32, which has neither 1, B, I nor O.
    Prefixed {
        kind: Kind::PrivateKey,
        percent: PRIVATE_KEY,
        is_part: |b| {
            b.is_ascii_digit() && b != b'1'
                || b.is_ascii_uppercase() && !matches!(b, b'B' | b'I' | b'O')
        },
        ..token(b"AGE-SECRET-KEY-1", 58, 58)
    },
];

/// The last six of 36 characters are the CRC-32 of the others in base 62, by the rule that GitHub
/// published in 2021 and npm follows.
fn has_checksum(token: &[u8]) -> bool {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let Some((body, sum)) = token.split_at_checked(30) else { return false };
    let mut rest = crc32(body);
    let mut expected = [b'0'; 6];
    for digit in expected.iter_mut().rev() {
        *digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    sum == expected
}

/// CRC-32 of IEEE 802.3, bit by bit: thirty bytes are not worth a table.
fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg());
        }
    }
    !sum
}

/// Three parts of base64url of which the first says how the last was made (RFC 7519).
fn json_web_token(text: &[u8]) -> Option<(Kind, u8, usize)> {
    let header = &text[..run(text, is_url_safe)];
    let rest = text[header.len()..].strip_prefix(b".")?;
    let claims = &rest[..run(rest, is_url_safe)];
    let rest = rest[claims.len()..].strip_prefix(b".")?;
    let signature = run(rest, is_url_safe);
    if signature < 20 {
        return None;
    }
    let object = |part: &[u8]| {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).ok()?;
        serde_json::from_slice::<Value>(&bytes).ok().filter(Value::is_object)
    };
    object(header)?.get("alg")?.as_str()?;
    // Claims may be encrypted or longer than what is read here.
    let is_published = object(claims).is_some_and(|claims| {
        let is = |name: &str, value: &str| claims.get(name).and_then(Value::as_str) == Some(value);
        // The examples of RFC 7519 and of the page that decodes tokens.
        is("iss", "joe") || is("sub", "1234567890") || is("name", "John Doe")
    });
    let percent = if is_published { OPENS_NOTHING } else { OPENS };
    Some((Kind::Token, percent, header.len() + claims.len() + signature + 2))
}

/// A PEM header of a private key with a body; without one it is prose about keys.
fn private_key(text: &[u8], at: usize, tally: &mut Tally) -> Option<usize> {
    let start = at.checked_sub(4)?;
    let rest = text[start..].strip_prefix(b"-----BEGIN ")?;
    let name = &rest[..run(rest, |b| b.is_ascii_uppercase() || b == b' ').min(40)];
    let body = rest[name.len()..].strip_prefix(b"-----")?;
    if !(name.ends_with(b"PRIVATE KEY") || name.ends_with(b"PRIVATE KEY BLOCK")) {
        return None;
    }
    let body = &body[..body.len().min(PEM_REACH)];
    let mut encoded = Vec::with_capacity(PEM_BODY_MIN);
    let mut is_encrypted = name.starts_with(b"ENCRYPTED");
    for line in body.split(|byte| matches!(byte, b'\n' | b'\r' | b'\\' | b'"' | b'\'')) {
        // In source text the end of a line is written as a backslash and a letter.
        let line = line.trim_ascii();
        let line = line.strip_prefix(b"n").filter(|_| line.len() % 4 == 1).unwrap_or(line);
        is_encrypted |= line.starts_with(b"Proc-Type: 4,ENCRYPTED");
        if line.starts_with(b"-----END") {
            break;
        }
        if line.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=')) {
            encoded.extend_from_slice(line);
        }
        if encoded.len() >= PEM_BODY_MIN {
            break;
        }
    }
    let is_key = encoded.len() >= PEM_BODY_MIN && Shape::of(&encoded).distinct >= 10;
    is_key.then(|| {
        is_encrypted |= names_cipher(&encoded);
        tally.add(Kind::PrivateKey, start, if is_encrypted { ENCRYPTED_KEY } else { PRIVATE_KEY });
        at + 4
    })
}

/// A key of OpenSSH names its cipher after fifteen bytes and a length; "none" is no encryption.
fn names_cipher(encoded: &[u8]) -> bool {
    let bytes = BASE64_STANDARD.decode(&encoded[..encoded.len() / 4 * 4]).unwrap_or_default();
    bytes.starts_with(b"openssh-key-v1\0")
        && bytes.get(19..23).is_some_and(|cipher| cipher != b"none")
}

/// Random enough not to be a word that people put in place of one.
fn is_random(token: &[u8]) -> bool {
    let shape = Shape::of(token);
    shape.kinds() >= 2 && shape.centibits >= 280 && !is_sample(token)
}

/// Whether documentation wrote it: says so, or holds a run of one character.
pub(super) fn is_sample(token: &[u8]) -> bool {
    const WORDS: [&[u8]; 18] = [
        b"example",
        b"sample",
        b"placeholder",
        b"changeme",
        b"change_me",
        b"change-me",
        b"dummy",
        b"redacted",
        b"your",
        b"insert",
        b"replace",
        b"foobar",
        b"123456789",
        b"abcdefgh",
        b"lorem",
        b"fake",
        // The tokens of RFC 6749.
        b"2YotnFZFEjr1zCsicMWpAA",
        b"tGzv3JOkF0XG5Qx2TlKWIA",
    ];
    let says_so =
        |word: &[u8]| token.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word));
    let is_filled = token.windows(5).any(|five| five.iter().all(|byte| *byte == five[0]));
    is_filled || WORDS.into_iter().any(says_so)
}

/// How many bytes at the start are of a kind, at most [`PART_MAX`].
pub(super) fn run(text: &[u8], is: impl Fn(u8) -> bool) -> usize {
    text.iter().take(PART_MAX).take_while(|byte| is(**byte)).count()
}

/// Whether the byte before `at` belongs to no word.
pub(super) fn begins_word(text: &[u8], at: usize) -> bool {
    at.checked_sub(1).is_none_or(|before| !is_word(text[before]))
}

/// ASCII letters, digits and the underscore. Other scripts do not write tokens, and may stand next
/// to one without a space.
pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_url_safe(byte: u8) -> bool {
    is_word(byte) || byte == b'-'
}
