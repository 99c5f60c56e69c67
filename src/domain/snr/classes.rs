//! Classes of words and marks: what the order of words is judged by.

use super::words::{Kind, Mark, Token, Word};

/// Before the first word of a sentence.
const START: u8 = 0;
/// After the last word of a sentence that ends without a stop.
pub const END: u8 = 1;
const STOP: u8 = 2;
const COMMA: u8 = 3;
const COLON: u8 = 4;
const SEMICOLON: u8 = 5;
const OPEN: u8 = 6;
const CLOSE: u8 = 7;
const DASH: u8 = 8;
/// The first class of what is in no list.
pub const NUMBER: u8 = 9;
const CODE: u8 = 10;
const FOREIGN: u8 = 11;
/// Before a word with a capital inside a sentence.
pub const CAPITAL: u8 = 12;
const ACRONYM: u8 = 13;
const SHORT: u8 = 14;
const UNKNOWN: u8 = 15;
/// The first class of words that are in no list, by their ending.
const ENDINGS: [(&[u8], u8); 15] = [
    (b"ing", 16),
    (b"ed", 17),
    (b"ly", 18),
    (b"tion", 19),
    (b"sion", 19),
    (b"ment", 20),
    (b"ness", 21),
    (b"ity", 21),
    (b"able", 22),
    (b"al", 23),
    (b"ic", 23),
    (b"ive", 24),
    (b"ous", 24),
    (b"er", 25),
    (b"s", 26),
];
/// The first class of a single function word.
pub const FUNCTION: u8 = 32;
/// The first class of clustered words.
pub const CLUSTER: u8 = 192;
/// Number of classes.
pub const CLASSES: usize = 256;

/// The class of a word that the vocabulary does not hold.
pub fn unknown(word: &Word<'_>) -> u8 {
    match word.kind {
        Kind::Number => NUMBER,
        Kind::Code | Kind::Blob => CODE,
        Kind::Foreign => FOREIGN,
        Kind::Natural if word.is_upper => ACRONYM,
        Kind::Natural if word.letters.len() < 4 => SHORT,
        Kind::Natural => ENDINGS
            .iter()
            .find(|(ending, _)| word.letters.ends_with(ending))
            .map_or(UNKNOWN, |(_, class)| *class),
    }
}

/// The class of a mark.
pub const fn mark(mark: Mark) -> u8 {
    match mark {
        Mark::Stop => STOP,
        Mark::Comma => COMMA,
        Mark::Colon => COLON,
        Mark::Semicolon => SEMICOLON,
        Mark::Open => OPEN,
        Mark::Close => CLOSE,
        Mark::Dash => DASH,
    }
}

/// Whether a class is that of a mark which stands at the end of a word.
pub const fn sticks(class: u8) -> bool {
    matches!(class, STOP | COMMA | COLON | SEMICOLON | CLOSE)
}

/// Words of a sentence; a longer one is cut.
const WORDS_MAX: usize = 100;

/// Finds where sentences end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Splitter {
    words: usize,
    has_stopped: bool,
}

impl Splitter {
    /// Whether a sentence ends before `token`. The token is then counted with the next.
    ///
    /// One ends at an empty line, after a stop, and when it is too long.
    pub fn ends_before(&mut self, token: &Token<'_>) -> bool {
        let ends = match token {
            Token::Break => self.words > 0,
            Token::Word(_) => self.has_stopped || self.words >= WORDS_MAX,
            Token::Mark(Mark::Open) => self.has_stopped,
            Token::Mark(_) => false,
        };
        if ends {
            *self = Self::default();
        }
        match token {
            Token::Word(_) => (self.words, self.has_stopped) = (self.words + 1, false),
            Token::Mark(Mark::Stop) => self.has_stopped = true,
            Token::Mark(Mark::Close) | Token::Break => {}
            Token::Mark(_) => self.has_stopped = false,
        }
        ends
    }
}

/// What stands before the first word of a sentence: a sentence that begins small is taken to go on
/// after a stop, wherever it stands, so that its weight does not depend on its place.
pub fn before_first(word: &Word<'_>) -> u8 {
    match word.kind == Kind::Natural && !word.is_capital {
        true => STOP,
        false => START,
    }
}

/// Whether [`CAPITAL`] stands before the word in the sequence of classes.
pub fn has_capital_mark(word: &Word<'_>, is_first: bool) -> bool {
    word.is_capital && !word.is_upper && word.kind == Kind::Natural && !is_first
}
