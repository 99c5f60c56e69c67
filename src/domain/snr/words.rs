//! Cuts a text into words, marks and breaks, in one pass and without allocating.

use super::letters::{Sign, sign};
use super::noise::Spans;

/// Characters of one run between spaces that are looked at; what is longer is no word.
const RUN_MAX: usize = 192;

/// A word longer than this is no word of any language that is written with spaces.
const WORD_MAX: usize = 32;

/// A run of letters and digits at least this long that is no word may be an encoded blob.
pub const BLOB_MIN: usize = 32;

/// Bytes read between two questions whether time is up.
const PIECE: usize = 4096;

/// What a word is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Letters of the Latin alphabet.
    Natural,
    /// Digits, with signs that belong to numbers.
    Number,
    /// A name of a program: letters with digits or signs inside, a path, an address.
    Code,
    /// Letters of another script.
    Foreign,
    /// A part of what looks like encoded data.
    Blob,
}

/// One word.
#[derive(Clone, Copy, Debug)]
pub struct Word<'a> {
    /// The letters, folded to `a` to `z`; empty unless the kind is [`Kind::Natural`].
    pub letters: &'a [u8],
    /// Hash of the folded word. Case, accents, apostrophes and invisible characters do not count.
    pub hash: u64,
    /// What it is made of.
    pub kind: Kind,
    /// Whether it begins with a capital.
    pub is_capital: bool,
    /// Whether it is two or more letters, all of them capitals.
    pub is_upper: bool,
}

/// Punctuation, as far as the order of words depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// `.`, `!`, `?`.
    Stop,
    /// `,`.
    Comma,
    /// `:`.
    Colon,
    /// `;`.
    Semicolon,
    /// An opening bracket.
    Open,
    /// A closing bracket.
    Close,
    /// A dash that stands for itself.
    Dash,
}

/// One piece of a text.
#[derive(Clone, Copy, Debug)]
pub enum Token<'a> {
    /// A word.
    Word(Word<'a>),
    /// Punctuation.
    Mark(Mark),
    /// An empty line.
    Break,
}

/// What was counted beside the words.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Latin letters.
    pub latin: usize,
    /// Latin letters with a mark.
    pub marked: usize,
    /// Letters of other scripts, in words of their own.
    pub foreign: usize,
    /// Invisible and control characters, and marks heaped on one letter.
    pub invisible: usize,
    /// Words that mix Latin letters with such that look alike, and disguised letters.
    pub alike: usize,
    /// Spans of characters that are spread unlike those of prose.
    pub odd_spans: usize,
}

/// Time is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over;

/// In place of letters that have no Latin base.
const ALIKE: u8 = 0x80;
const OTHER: u8 = 0x81;
/// A dash longer than a hyphen, and any other sign.
const SIGN: u8 = 0x82;

/// Reads `text` and hands every token to `take`, asking `is_over` after every few KiB.
pub fn scan(
    text: &str,
    is_over: &mut dyn FnMut() -> bool,
    take: &mut dyn FnMut(Token<'_>),
) -> Result<Counts, Over> {
    let mut reader = Reader {
        counts: Counts::default(),
        run: [0; RUN_MAX],
        capital: [false; RUN_MAX],
        length: 0,
        heaped: 0,
        lines: 0,
        disguised: 0,
        spans: Spans::new(),
        last: None,
        take,
    };
    let mut rest = text;
    while !rest.is_empty() {
        let cut = rest.floor_char_boundary(PIECE.min(rest.len()));
        let (piece, after) = rest.split_at(cut);
        piece.chars().for_each(|c| reader.read(c));
        rest = after;
        if is_over() {
            return Err(Over);
        }
    }
    reader.end_run();
    reader.counts.odd_spans = reader.spans.odd();
    Ok(reader.counts)
}

struct Reader<'a> {
    counts: Counts,
    /// The folded characters of the run between two spaces.
    run: [u8; RUN_MAX],
    /// Which of them are capitals.
    capital: [bool; RUN_MAX],
    /// Characters of the run, also those beyond the buffer.
    length: usize,
    /// Marks since the last character that was none.
    heaped: usize,
    /// Ends of lines since the last visible character.
    lines: usize,
    /// Disguised letters in this run.
    disguised: usize,
    spans: Spans,
    /// The mark that was taken last, if no word came after it.
    last: Option<Mark>,
    take: &'a mut dyn FnMut(Token<'_>),
}

impl Reader<'_> {
    fn read(&mut self, c: char) {
        let (code, is_capital) = match sign(c) {
            Sign::Letter(base, is_capital) => {
                self.counts.latin += 1;
                (base, is_capital)
            }
            Sign::Digit(code) | Sign::Ascii(code) => (code, false),
            Sign::Space => return self.end_run(),
            Sign::Line => {
                self.end_run();
                self.lines += 1;
                if self.lines == 2 {
                    (self.take)(Token::Break);
                }
                return;
            }
            Sign::Marked(base, is_capital) => {
                self.counts.latin += 1;
                self.counts.marked += 1;
                (base, is_capital)
            }
            Sign::Disguised(base, is_capital) => {
                self.counts.latin += 1;
                self.disguised += 1;
                (base, is_capital)
            }
            Sign::Mark => {
                self.heaped += 1;
                // Two marks on one letter occur in print (Vietnamese); a mark alone or more do not.
                let is_noise = self.heaped > 2 || self.length == 0;
                self.counts.invisible += usize::from(is_noise);
                return;
            }
            Sign::Invisible => {
                self.counts.invisible += 1;
                return;
            }
            Sign::Joiner => {
                // Emoji are put together with them; elsewhere they hide.
                let before = self.length.checked_sub(1).and_then(|at| self.run.get(at));
                let is_noise = !before.is_some_and(|code| *code == SIGN || code.is_ascii_digit());
                self.counts.invisible += usize::from(is_noise);
                return;
            }
            Sign::Ideograph => {
                self.end_run();
                self.counts.foreign += 1;
                self.lines = 0;
                self.capital[0] = false;
                self.spans.push(c as u8);
                return self.word(0, Kind::Foreign, mix(u64::from(u32::from(c))), 0..0);
            }
            Sign::Alike => (ALIKE, false),
            Sign::Other => (OTHER, false),
            Sign::Rest => (SIGN, false),
        };
        self.heaped = 0;
        self.lines = 0;
        self.spans.push(if code.is_ascii() { code ^ (u8::from(is_capital) << 5) } else { c as u8 });
        if self.length < RUN_MAX {
            self.run[self.length] = code;
            self.capital[self.length] = is_capital;
        }
        self.length += 1;
    }

    /// Takes the run apart: signs before it, words, signs after it.
    fn end_run(&mut self) {
        self.heaped = 0;
        if self.length == 0 {
            return;
        }
        let whole = std::mem::take(&mut self.length);
        self.counts.alike += std::mem::take(&mut self.disguised);
        let mut end = whole.min(RUN_MAX);
        let mut start = 0;
        while start < end && !is_inner(self.run[start]) {
            self.mark(leading(self.run[start]));
            start += 1;
        }
        while end > start && !is_inner(self.run[end - 1]) {
            end -= 1;
        }
        let mut at = end;
        if start < end {
            // An abbreviation swallows its dot, so that no sentence ends at it. The words overwrite
            // the run, so this is asked first.
            at += usize::from(is_short_form(&self.run[start..end]));
            self.core(start, end, whole);
        }
        while at < whole.min(RUN_MAX) {
            self.mark(trailing(self.run[at]));
            at += 1;
        }
    }

    /// Takes a mark, unless it is the one before once more.
    fn mark(&mut self, mark: Option<Mark>) {
        if mark.is_some() && mark != self.last {
            self.last = mark;
            mark.into_iter().for_each(|mark| (self.take)(Token::Mark(mark)));
        }
    }

    /// The run without the signs around it.
    fn core(&mut self, start: usize, end: usize, whole: usize) {
        let shape = Shape::of(&self.run[start..end], &self.capital[start..end]);
        if shape.foreign > 0 {
            self.counts.foreign += shape.foreign;
            if shape.alike > 0 && shape.letters > 1 {
                self.counts.alike += 1;
            }
        }
        let hash = |run: &[u8]| run.iter().fold(SEED, |hash, &code| step(hash, code));
        if whole >= BLOB_MIN && shape.is_blob() {
            // As long as several words: it must not escape as a text too short to be judged.
            for part in 0..whole.div_ceil(8).min(RUN_MAX) {
                let hash = mix(hash(&self.run[start..end]) ^ part as u64);
                self.word(start, Kind::Blob, hash, 0..0);
            }
        } else if shape.foreign > shape.letters {
            self.word(start, Kind::Foreign, mix(hash(&self.run[start..end])), 0..0);
        } else if shape.letters == 0 {
            let kind = if shape.foreign > 0 { Kind::Code } else { Kind::Number };
            self.word(start, kind, mix(hash(&self.run[start..end])), 0..0);
        } else if shape.is_code() && !is_short_form(&self.run[start..end]) {
            self.word(start, Kind::Code, mix(hash(&self.run[start..end])), 0..0);
        } else {
            self.naturals(start, end);
        }
    }

    /// Words that hyphens and slashes join, or a short form such as `e.g.`.
    fn naturals(&mut self, start: usize, end: usize) {
        let is_short_form = is_short_form(&self.run[start..end]);
        // Letters move up to close the gaps of apostrophes.
        let (mut from, mut to, mut hash) = (start, start, SEED);
        for at in start..end {
            let code = self.run[at];
            if code.is_ascii_lowercase() {
                self.run[to] = code;
                self.capital[to] = self.capital[at];
                to += 1;
                hash = step(hash, code);
            } else if code != b'\'' && !is_short_form {
                if to > from {
                    self.word(from, Kind::Natural, mix(hash), from..to);
                }
                if code == SIGN {
                    self.mark(Some(Mark::Dash));
                }
                (from, to, hash) = (at + 1, at + 1, SEED);
            }
        }
        if to > from {
            self.word(from, Kind::Natural, mix(hash), from..to);
        }
    }

    fn word(&mut self, first: usize, kind: Kind, hash: u64, letters: std::ops::Range<usize>) {
        self.last = None;
        let is_upper = letters.len() > 1 && self.capital[letters.clone()].iter().all(|&is| is);
        (self.take)(Token::Word(Word {
            letters: &self.run[letters],
            hash,
            kind,
            is_capital: self.capital[first],
            is_upper,
        }));
    }
}

/// What a run is made of.
#[derive(Default)]
struct Shape {
    letters: usize,
    digits: usize,
    /// Capitals that follow a small letter, as inside `camelCase`.
    humps: usize,
    /// Changes between small letters, capitals and digits.
    changes: usize,
    hex: usize,
    /// Letters that have no Latin base, and those of them that look like Latin ones.
    foreign: usize,
    alike: usize,
    /// Signs that join words: hyphen, slash, apostrophe, dash.
    joints: usize,
    /// Any other sign.
    signs: usize,
    length: usize,
}

impl Shape {
    fn of(run: &[u8], capital: &[bool]) -> Self {
        let mut shape = Self { length: run.len(), ..Self::default() };
        let mut last = 0;
        for (&code, &is_capital) in run.iter().zip(capital) {
            let class = match code {
                b'a'..=b'z' if is_capital => 1,
                b'a'..=b'z' => 2,
                b'0'..=b'9' => 3,
                _ => 0,
            };
            match code {
                b'a'..=b'z' => shape.letters += 1,
                b'0'..=b'9' => shape.digits += 1,
                b'-' | b'/' | b'\'' | SIGN => shape.joints += 1,
                ALIKE => (shape.foreign, shape.alike) = (shape.foreign + 1, shape.alike + 1),
                OTHER => shape.foreign += 1,
                // Of base64; they join no words.
                b'+' | b'=' | b'_' => shape.signs += 1,
                _ => shape.signs += 1,
            }
            shape.hex += usize::from(code.is_ascii_hexdigit());
            shape.humps += usize::from(class == 1 && last == 2);
            shape.changes += usize::from(class != last && last != 0 && class != 0);
            last = class;
        }
        shape
    }

    fn is_code(&self) -> bool {
        self.digits > 0 || self.signs > 0 || self.humps > 0 || self.letters > WORD_MAX
    }

    /// Hexadecimal digits throughout, or letters and digits that change as in base64.
    fn is_blob(&self) -> bool {
        let is_hex = self.hex == self.length && self.digits > 0;
        let is_dense = self.signs + self.joints <= self.length / 8;
        // Names in camel case change too, but hold few digits.
        let is_mixed = self.changes * 4 > self.length && self.digits * 16 > self.length;
        is_hex
            || (is_mixed && is_dense)
            || (self.signs + self.joints == 0 && self.length >= 2 * WORD_MAX)
    }
}

/// Whether a character may begin or end what signs surround.
const fn is_inner(code: u8) -> bool {
    code.is_ascii_alphanumeric() || code == ALIKE || code == OTHER
}

/// `e.g`, `i.e`, `U.S`: single letters with dots between.
fn is_short_form(run: &[u8]) -> bool {
    let is_of_form = |(at, code): (usize, &u8)| match at % 2 {
        0 => code.is_ascii_lowercase(),
        _ => *code == b'.',
    };
    run.len() > 2 && run.len() < 10 && run.len() % 2 == 1 && run.iter().enumerate().all(is_of_form)
}

const fn leading(code: u8) -> Option<Mark> {
    match code {
        b'(' | b'[' | b'{' => Some(Mark::Open),
        b'-' | SIGN => Some(Mark::Dash),
        b',' => Some(Mark::Comma),
        b';' => Some(Mark::Semicolon),
        b':' => Some(Mark::Colon),
        b'.' | b'!' | b'?' => Some(Mark::Stop),
        b')' | b']' | b'}' => Some(Mark::Close),
        _ => None,
    }
}

const fn trailing(code: u8) -> Option<Mark> {
    match leading(code) {
        Some(Mark::Open) => None,
        mark => mark,
    }
}

const SEED: u64 = 0xCBF2_9CE4_8422_2325;

/// One step of FNV-1a.
const fn step(hash: u64, code: u8) -> u64 {
    (hash ^ code as u64).wrapping_mul(0x0000_0100_0000_01B3)
}

/// Spreads a hash over all its bits (the finaliser of SplitMix64).
pub const fn mix(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ (hash >> 31)
}

/// Hash of a word given as text, as [`Word::hash`] has it.
pub fn hash_of(word: &str) -> u64 {
    mix(word.bytes().filter(u8::is_ascii_lowercase).fold(SEED, step))
}
