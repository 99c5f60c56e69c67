//! E-mail addresses of people.

use crate::domain::harm::assigned;
use crate::domain::harm::glance::PIECE_BYTES;
use crate::domain::harm::{Kind, Tally};

/// Most characters before the sign (RFC 5321, 4.5.3.1.1).
const LOCAL_MAX: usize = 64;

/// Most characters behind it (RFC 5321, 4.5.3.1.2).
const DOMAIN_MAX: usize = 255;

/// How far before the sign a URL may begin.
const URL_MAX: usize = 256;

/// Names of offices and programs, which are nobody's own.
const OFFICES: &[&[u8]] = &[
    b"git",
    b"hg",
    b"svn",
    b"noreply",
    b"no-reply",
    b"donotreply",
    b"do-not-reply",
    b"info",
    b"support",
    b"security",
    b"contact",
    b"admin",
    b"root",
    b"postmaster",
    b"webmaster",
    b"abuse",
    b"help",
    b"hello",
    b"team",
    b"sales",
    b"press",
    b"legal",
    b"conduct",
    b"bot",
    b"user",
];

/// Domains that belong to nobody (RFC 2606, RFC 6761), and those of generated addresses.
const NOBODYS: &[&[u8]] = &[
    b"example.com",
    b"example.org",
    b"example.net",
    b"example.edu",
    b"users.noreply.github.com",
    b"email.com",
    b"domain.com",
    b"foo.com",
    b"bar.com",
    b"baz.com",
    b"test.com",
];

/// Ends of what is no address: reserved names, and names of files with a scale or a version.
const ENDS: &[&[u8]] = &[
    b"example",
    b"test",
    b"invalid",
    b"localhost",
    b"local",
    b"internal",
    b"png",
    b"jpg",
    b"jpeg",
    b"gif",
    b"svg",
    b"webp",
    b"js",
    b"css",
    b"html",
    b"json",
    b"rs",
    b"py",
    b"ts",
    b"tgz",
    b"gz",
    b"zip",
    b"md",
    b"lock",
    b"service",
    b"so",
    b"dll",
];

/// Looks at every `@`. `None` if `is_over` said so.
pub(super) fn find(
    text: &[u8],
    tally: &mut Tally,
    is_over: &mut dyn FnMut() -> bool,
) -> Option<()> {
    let mut piece_at = 0;
    let mut url_from = 0;
    for piece in text.chunks(PIECE_BYTES) {
        for at in piece.iter().enumerate().filter(|(_, b)| **b == b'@').map(|(i, _)| piece_at + i) {
            let limit = at.saturating_sub(URL_MAX).max(url_from);
            let before = text[limit..at].iter().rev();
            let start = at - before.take_while(|b| b.is_ascii_graphic() && !is_fence(**b)).count();
            url_from = at + 1;
            if !assigned::probe_url(text, start, at, tally) {
                address(text, at, tally);
            }
        }
        piece_at += piece.len();
        if piece_at < text.len() && is_over() {
            return None;
        }
    }
    Some(())
}

/// What no URL holds unencoded.
fn is_fence(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'<' | b'>' | b'(' | b')' | b'`' | b',')
}

fn address(text: &[u8], at: usize, tally: &mut Tally) {
    let is_local = |b: &&u8| b.is_ascii_alphanumeric() || b"._%+-".contains(b);
    let local_len = text[..at].iter().rev().take(LOCAL_MAX + 1).take_while(is_local).count();
    let mut local = &text[at - local_len..at];
    while let [b'.' | b'-' | b'+' | b'%' | b'_', rest @ ..] = local {
        local = rest;
    }
    let start = at - local.len();
    let is_domain = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
    let domain = &text[at + 1..];
    let len = domain.iter().take(DOMAIN_MAX + 1).take_while(is_domain).count();
    let mut domain = &domain[..len];
    while let [rest @ .., b'.' | b'-'] = domain {
        domain = rest;
    }
    let (false, Some(end)) = (
        local.is_empty() || local.len() > LOCAL_MAX || domain.len() > DOMAIN_MAX,
        domain.rsplit(|byte| *byte == b'.').next(),
    ) else {
        return;
    };
    let is = |words: &[&[u8]], word: &[u8]| words.iter().any(|w| w.eq_ignore_ascii_case(word));
    let is_top = (2..=24).contains(&end.len()) && end.iter().all(u8::is_ascii_alphabetic);
    let is_name = is_top && end.len() < domain.len() && !is(ENDS, end);
    if !is_name || domain.split(|byte| *byte == b'.').any(<[u8]>::is_empty) {
        return;
    }
    let is_nobodys = is(OFFICES, local)
        || NOBODYS.iter().any(|name| {
            let tail = domain.len().checked_sub(name.len());
            tail.is_some_and(|at| {
                domain[at..].eq_ignore_ascii_case(name) && (at == 0 || domain[at - 1] == b'.')
            })
        });
    if !is_nobodys {
        let normal = [local, b"@", domain].into_iter().flatten().map(u8::to_ascii_lowercase);
        tally.add_contact(Kind::Email, start, normal);
    }
}
