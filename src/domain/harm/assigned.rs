//! Values that the text itself calls secret: `password = "..."`, `api_key: ...`, `Bearer ...`.

use crate::domain::harm::entropy::{LEN_MAX, Shape};
use crate::domain::harm::secrets::{self, is_sample, is_word, run};
use crate::domain::harm::{Kind, Tally};

/// A drawn value under such a name; a test vector looks the same, so it is not certain.
const DRAWN: u8 = 70;

/// What a person would choose, quoted: three kinds of characters and no word of examples. More
/// often real than not.
const CHOSEN: u8 = 40;

/// How names end that stand for a secret; lower case, without separators.
const NAMES: &[&[u8]] = &[
    b"password",
    b"passwd",
    b"passphrase",
    b"pwd",
    b"secret",
    b"secretkey",
    b"token",
    b"apikey",
    b"accesskey",
    b"privatekey",
    b"accountkey",
    b"credential",
    b"credentials",
    b"authkey",
    b"signingkey",
    b"encryptionkey",
    b"masterkey",
];

/// Longest name that is read from its anchor on.
const NAME_MAX: usize = 48;

/// Looks for a name around `at` and a secret assigned to it; returns where that ends. `names_to` is
/// where the last name ended, which is not read again.
pub(super) fn probe(
    text: &[u8],
    at: usize,
    names_to: &mut usize,
    tally: &mut Tally,
) -> Option<usize> {
    if let Some(start) = at.checked_sub(2).filter(|start| is_bearer(&text[*start..])) {
        return bearer(text, start, tally);
    }
    if at < *names_to {
        return None;
    }
    let is_part = |byte: &&u8| is_word(**byte) || **byte == b'-';
    let name_end = at + text[at..].iter().take(NAME_MAX).take_while(is_part).count();
    // The anchor may be the key of api_key: what is before it counts too.
    let name_start = at - text[..at].iter().rev().take(NAME_MAX).take_while(is_part).count();
    *names_to = name_end;
    if !is_secret_name(&text[name_start..name_end]) {
        return None;
    }
    let (value, end, is_quoted) = assigned(text, name_end)?;
    let percent = weigh(value, is_quoted)?;
    tally.add(Kind::Assigned, name_start, percent);
    Some(end)
}

fn is_secret_name(name: &[u8]) -> bool {
    let mut plain = [0; 2 * NAME_MAX];
    let letters = name.iter().filter(|byte| byte.is_ascii_alphanumeric());
    let mut len = 0;
    for (place, byte) in plain.iter_mut().zip(letters) {
        *place = byte.to_ascii_lowercase();
        len += 1;
    }
    NAMES.iter().any(|end| plain[..len].ends_with(end))
}

/// The value that is assigned after `at`, where it ends, and whether it is quoted.
fn assigned(text: &[u8], at: usize) -> Option<(&[u8], usize, bool)> {
    let mut rest = text.get(at..)?;
    let skip = |rest: &mut &[u8], signs: &[u8], max: usize| {
        let len = rest.iter().take(max).take_while(|byte| signs.contains(byte)).count();
        *rest = &rest[len..];
        len
    };
    // The name itself may be quoted, and spaces may stand around the sign.
    skip(&mut rest, b"\"'`", 1);
    skip(&mut rest, b" \t", 8);
    if !(1..=2).contains(&skip(&mut rest, b"=:>", 2)) {
        return None;
    }
    skip(&mut rest, b" \t", 8);
    let quote = rest.first().copied().filter(|byte| b"\"'`".contains(byte));
    let rest = if quote.is_some() { &rest[1..] } else { rest };
    let is_part = |byte: u8| match quote {
        Some(quote) => byte != quote && byte.is_ascii_graphic(),
        None => is_word(byte) || b"+/=-.~".contains(&byte),
    };
    let value = &rest[..rest.iter().take(LEN_MAX).take_while(|byte| is_part(**byte)).count()];
    let after = rest.get(value.len()).copied();
    let is_whole = match quote {
        Some(quote) => after == Some(quote) || value.len() == LEN_MAX,
        // A call, a path, a generic or an index goes on behind the word.
        None => after.is_none_or(|byte| !b"([<{:!?@$%&*".contains(&byte)),
    };
    let end = text.len() - rest.len() + value.len();
    is_whole.then_some((value, end, quote.is_some()))
}

fn weigh(value: &[u8], is_quoted: bool) -> Option<u8> {
    // Nothing shorter is taken for a secret, and nothing without a digit.
    if value.len() < 8 || !value.iter().any(u8::is_ascii_digit) {
        return None;
    }
    let shape = Shape::of(value);
    let is_chosen =
        is_quoted && shape.kinds() >= 3 && shape.lower + shape.upper >= 3 && shape.centibits >= 250;
    // A constant of a program, or a path of names. What dots join otherwise has a form of its own.
    let is_constant = shape.lower == 0 && value.contains(&b'_');
    if !is_quoted && (is_constant || value.contains(&b'.')) {
        return None;
    }
    if !(shape.is_drawn() || is_chosen) || is_sample(value) || is_reference(value) {
        return None;
    }
    // A token with a form of its own is weighed by that.
    if secrets::is_form(value) {
        return None;
    }
    if shape.is_drawn() {
        return Some(DRAWN);
    }
    let is_word = has_word(value, &[b"password", b"passwd", b"secret", b"token", b"test"]);
    (!is_word).then_some(CHOSEN)
}

/// Names a place where the secret is, or is not one: a variable, a path, a URL, a format.
fn is_reference(value: &[u8]) -> bool {
    let holds = |part: &[u8]| value.windows(part.len()).any(|window| window == part);
    value.starts_with(b"$")
        || value.starts_with(b"/")
        || value.starts_with(b"./")
        || [&b"${"[..], b"{{", b"://", b"::", b"()", b"<", b"{", b"%s", b"..."]
            .into_iter()
            .any(holds)
}

fn has_word(value: &[u8], words: &[&[u8]]) -> bool {
    let holds = |word: &&[u8]| value.windows(word.len()).any(|w| w.eq_ignore_ascii_case(word));
    words.iter().any(holds)
}

fn is_bearer(text: &[u8]) -> bool {
    text.get(..7).is_some_and(|word| word.eq_ignore_ascii_case(b"bearer "))
}

fn bearer(text: &[u8], at: usize, tally: &mut Tally) -> Option<usize> {
    let rest = &text[at + 7..];
    let len = run(rest, |b| is_word(b) || b"+/=-.~".contains(&b));
    // One that has a form of its own was found by it.
    let is_known = rest.starts_with(b"eyJ") || is_sample(&rest[..len]);
    let is_token = !is_known && len >= 20 && Shape::of(&rest[..len]).is_drawn();
    is_token.then(|| {
        tally.add(Kind::Assigned, at, DRAWN);
        at + 7 + len
    })
}

/// A password in a URL stands between the name and the host.
const URL_PASSWORD: u8 = 60;

/// Looks at `scheme://name:password@host`, given the place of the `@` and where the word with it
/// begins. Returns whether the `@` belongs to a URL.
pub(super) fn probe_url(text: &[u8], start: usize, at: usize, tally: &mut Tally) -> bool {
    let word = &text[start..at];
    let Some(scheme) = word.windows(3).position(|three| three == b"://") else { return false };
    let user = &word[scheme + 3..];
    let Some(colon) = user.iter().position(|byte| *byte == b':') else { return true };
    let password = &user[colon + 1..];
    let host = &text[at + 1..];
    let is_local = [&b"localhost"[..], b"127.", b"[::1]", b"example."]
        .into_iter()
        .any(|name| host.starts_with(name));
    let shape = Shape::of(password);
    // The digits of an escape are not those of the password.
    let escapes = password.iter().filter(|byte| **byte == b'%').count();
    let is_strong = shape.len >= 8 && shape.digits > 2 * escapes && shape.lower + shape.upper > 2;
    let is_word = has_word(password, &[b"password", b"passwd", b"secret", b"token", b"test"]);
    if is_strong && !is_word && !is_local && !is_sample(password) && !is_reference(password) {
        tally.add(Kind::UrlPassword, start + scheme + 3, URL_PASSWORD);
    }
    true
}
