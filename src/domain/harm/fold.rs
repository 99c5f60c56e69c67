//! Reads text as a person sees it: invisible characters are left out, look-alikes are what they
//! look like. What only a machine sees is a finding of its own.

use std::borrow::Cow;

use crate::domain::harm::glance::PIECE_BYTES;
use crate::domain::harm::{Kind, Tally};

/// Invisible characters in a row that can hold a byte, one bit each. Emoji, Persian and the scripts
/// of India use one or two.
const BITS_MIN: usize = 8;

/// Bidirectional controls open at a time on one line; real text has one or two (UAX 9 allows 125).
const OPEN_MAX: usize = 125;

/// What becomes of a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fold {
    Keep,
    Skip,
    As(u8),
}

/// Writes `text` as it is seen, or borrows it when nothing changes. `None` if `is_over` said so.
pub(super) fn fold<'a>(text: &'a str, is_over: &mut dyn FnMut() -> bool) -> Option<Cow<'a, str>> {
    let Some(first) = text.char_indices().find(|(_, c)| fold_char(*c) != Fold::Keep) else {
        return Some(Cow::Borrowed(text));
    };
    let mut folded = String::with_capacity(text.len());
    folded.push_str(&text[..first.0]);
    let mut next_question = PIECE_BYTES;
    for (at, c) in text[first.0..].char_indices() {
        match fold_char(c) {
            Fold::Keep => folded.push(c),
            Fold::Skip => {}
            Fold::As(byte) => folded.push(char::from(byte)),
        }
        if at >= next_question {
            next_question = at + PIECE_BYTES;
            if is_over() {
                return None;
            }
        }
    }
    Some(Cow::Owned(folded))
}

/// Finds where the bytes at `places` of the folded text came from. Both are in ascending order.
pub(super) fn unfold(text: &str, places: &mut [&mut usize]) {
    let mut places = places.iter_mut().peekable();
    let mut folded_at = 0;
    for (at, c) in text.char_indices() {
        let len = match fold_char(c) {
            Fold::Keep => c.len_utf8(),
            Fold::Skip => 0,
            Fold::As(_) => 1,
        };
        while let Some(place) = places.next_if(|place| ***place < folded_at + len) {
            **place = at;
        }
        if places.peek().is_none() {
            return;
        }
        folded_at += len;
    }
}

fn fold_char(c: char) -> Fold {
    match c {
        '\0'..='\u{9f}' => Fold::Keep,
        '\u{ad}'
        | '\u{300}'..='\u{36f}'
        | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}' => Fold::Skip,
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => Fold::As(b' '),
        '\u{2010}'..='\u{2015}' => Fold::As(b'-'),
        '\u{2018}' | '\u{2019}' => Fold::As(b'\''),
        '\u{201c}' | '\u{201d}' => Fold::As(b'"'),
        '\u{c0}'..='\u{ff}' => fold_latin(c),
        '\u{391}'..='\u{3ff}' | '\u{405}'..='\u{458}' => fold_look_alike(c),
        // Full-width forms stand 0xfee0 above their ASCII.
        '\u{ff01}'..='\u{ff5e}' => ascii(u32::from(c) - 0xfee0),
        // Thirteen alphabets of 52 letters, then, further on, five rows of ten digits.
        '\u{1d400}'..='\u{1d6a3}' => match (u32::from(c) - 0x1d400) % 52 {
            letter @ 0..26 => ascii(u32::from(b'A') + letter),
            letter => ascii(u32::from(b'a') + letter - 26),
        },
        '\u{1d7ce}'..='\u{1d7ff}' => ascii(u32::from(b'0') + (u32::from(c) - 0x1d7ce) % 10),
        _ => Fold::Keep,
    }
}

fn ascii(code: u32) -> Fold {
    u8::try_from(code).map_or(Fold::Keep, Fold::As)
}

/// Letters of Latin-1 without their marks.
fn fold_latin(c: char) -> Fold {
    Fold::As(match c {
        '\u{c0}'..='\u{c5}' => b'A',
        '\u{c7}' => b'C',
        '\u{c8}'..='\u{cb}' => b'E',
        '\u{cc}'..='\u{cf}' => b'I',
        '\u{d1}' => b'N',
        '\u{d2}'..='\u{d6}' => b'O',
        '\u{d9}'..='\u{dc}' => b'U',
        '\u{e0}'..='\u{e5}' => b'a',
        '\u{e7}' => b'c',
        '\u{e8}'..='\u{eb}' => b'e',
        '\u{ec}'..='\u{ef}' => b'i',
        '\u{f1}' => b'n',
        '\u{f2}'..='\u{f6}' => b'o',
        '\u{f9}'..='\u{fc}' => b'u',
        _ => return Fold::Keep,
    })
}

/// Greek and Cyrillic letters that print like a Latin one in most fonts (Unicode's confusables).
fn fold_look_alike(c: char) -> Fold {
    Fold::As(match c {
        '\u{391}' | '\u{410}' => b'A',
        '\u{392}' | '\u{412}' => b'B',
        '\u{421}' => b'C',
        '\u{395}' | '\u{415}' => b'E',
        '\u{397}' | '\u{41d}' => b'H',
        '\u{399}' | '\u{406}' => b'I',
        '\u{408}' => b'J',
        '\u{39a}' | '\u{41a}' => b'K',
        '\u{39c}' | '\u{41c}' => b'M',
        '\u{39d}' => b'N',
        '\u{39f}' | '\u{41e}' => b'O',
        '\u{3a1}' | '\u{420}' => b'P',
        '\u{405}' => b'S',
        '\u{3a4}' | '\u{422}' => b'T',
        '\u{3a7}' | '\u{425}' => b'X',
        '\u{3a5}' => b'Y',
        '\u{396}' => b'Z',
        '\u{430}' | '\u{3b1}' => b'a',
        '\u{441}' => b'c',
        '\u{435}' => b'e',
        '\u{456}' | '\u{3b9}' => b'i',
        '\u{458}' => b'j',
        '\u{3bd}' => b'v',
        '\u{43e}' | '\u{3bf}' => b'o',
        '\u{440}' | '\u{3c1}' => b'p',
        '\u{455}' => b's',
        '\u{445}' => b'x',
        '\u{443}' => b'y',
        _ => return Fold::Keep,
    })
}

/// Which alphabet of invisible characters one belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ink {
    Visible,
    /// ASCII in disguise: U+E0000 to U+E007F.
    Tag,
    /// Variation selectors: one after a character is a wish for its form.
    Selector,
    /// Joiners, spaces of no width and the like.
    ZeroWidth,
}

fn ink(c: char) -> Ink {
    match c {
        '\u{e0000}'..='\u{e007f}' => Ink::Tag,
        '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' => Ink::Selector,
        '\u{180e}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}' | '\u{feff}' => {
            Ink::ZeroWidth
        }
        _ => Ink::Visible,
    }
}

/// Adds what is written for machines only. `None` if `is_over` said so.
pub(super) fn find_hidden(
    text: &str,
    tally: &mut Tally,
    is_over: &mut dyn FnMut() -> bool,
) -> Option<()> {
    let mut run = Run::default();
    let mut open = Open::default();
    let mut next_question = PIECE_BYTES;
    for (at, c) in text.char_indices() {
        run.step(at, c, tally);
        open.step(at, c, tally);
        if at >= next_question {
            next_question = at + PIECE_BYTES;
            if is_over() {
                return None;
            }
        }
    }
    run.step(text.len(), '\n', tally);
    open.step(text.len(), '\n', tally);
    Some(())
}

/// Invisible characters of one alphabet in a row.
#[derive(Debug)]
struct Run {
    ink: Ink,
    start: usize,
    len: usize,
    last: char,
    /// The last visible character.
    before: char,
}

impl Default for Run {
    fn default() -> Self {
        Self { ink: Ink::Visible, start: 0, len: 0, last: '\n', before: '\n' }
    }
}

impl Run {
    fn step(&mut self, at: usize, c: char, tally: &mut Tally) {
        let now = ink(c);
        if now == self.ink && now != Ink::Visible {
            self.len += 1;
            self.last = c;
            return;
        }
        let is_hidden = match self.ink {
            Ink::Visible => false,
            // The flags of England, Scotland and Wales are a black flag and up to six tags.
            Ink::Tag => !(self.before == '\u{1f3f4}' && self.last == '\u{e007f}' && self.len <= 7),
            Ink::Selector => self.len >= 2,
            Ink::ZeroWidth => self.len >= BITS_MIN,
        };
        if is_hidden {
            tally.add(Kind::Invisible, self.start, INVISIBLE);
        }
        if self.ink == Ink::Visible || now == Ink::Visible {
            self.before = if now == Ink::Visible { c } else { self.before };
        }
        *self = Self { ink: now, start: at, len: 1, last: c, before: self.before };
    }
}

/// Text that only a machine reads has no honest use in these alphabets.
const INVISIBLE: u8 = 80;

/// Overrides reorder letters that have one order; unclosed controls reorder what follows. Both are
/// how source text is made to lie (CVE-2021-42574), and an accident is possible.
const BIDI: u8 = 50;

/// Bidirectional embeddings and isolates that were opened on this line and not closed.
#[derive(Debug, Default)]
struct Open {
    embeddings: usize,
    isolates: usize,
    first: Option<usize>,
}

impl Open {
    fn step(&mut self, at: usize, c: char, tally: &mut Tally) {
        match c {
            '\u{202d}' | '\u{202e}' => {
                tally.add(Kind::Bidi, at, BIDI);
                self.embeddings = (self.embeddings + 1).min(OPEN_MAX);
            }
            '\u{202a}' | '\u{202b}' => {
                self.embeddings = (self.embeddings + 1).min(OPEN_MAX);
                self.first.get_or_insert(at);
            }
            '\u{2066}'..='\u{2068}' => {
                self.isolates = (self.isolates + 1).min(OPEN_MAX);
                self.first.get_or_insert(at);
            }
            '\u{202c}' => self.embeddings = self.embeddings.saturating_sub(1),
            '\u{2069}' => self.isolates = self.isolates.saturating_sub(1),
            '\n' => {
                if let Some(first) = self.first.filter(|_| self.embeddings + self.isolates > 0) {
                    tally.add(Kind::Bidi, first, BIDI);
                }
                *self = Self::default();
            }
            _ => {}
        }
    }
}
