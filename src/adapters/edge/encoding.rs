//! The two ways from plain text to tokens.

use std::collections::HashMap;

use crate::adapters::edge::merge::{Joint, Symbol, merge};
use crate::adapters::edge::metadata::{Metadata, MetadataError, required};
use crate::adapters::edge::pretokenizer::{NAMES, Pretokenizer};
use crate::adapters::edge::spelling::{Alphabet, byte_named};

/// What stands for a space in a SentencePiece vocabulary.
pub(super) const SPACE: char = '\u{2581}';

/// What is wrong with a vocabulary.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VocabularyError {
    /// An entry is missing or of the wrong type.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A kind that is not known.
    #[error("vocabularies of kind {0} are not supported; gpt2 and llama are")]
    Kind(String),
    /// A rule for cutting text that is not known.
    #[error("the pre-tokenizer {0} is not supported; supported are {names}", names = NAMES.join(", "))]
    Pretokenizer(String),
    /// There are no tokens, or more than ids.
    #[error("it has {0} tokens")]
    Size(usize),
    /// An array is not as long as there are tokens.
    #[error("metadata {key} has {found} elements for {tokens} tokens")]
    Length {
        /// The array.
        key: &'static str,
        /// Its length.
        found: usize,
        /// The number of tokens.
        tokens: usize,
    },
    /// An id that is no token's.
    #[error("metadata {key} is {id}, but there are {tokens} tokens")]
    Id {
        /// The entry.
        key: &'static str,
        /// The id.
        id: usize,
        /// The number of tokens.
        tokens: usize,
    },
    /// A merge whose parts or result are no tokens.
    #[error("merge {index}, {merge:?}, does not join two tokens to a third")]
    Merge {
        /// Its place in the list.
        index: usize,
        /// The merge.
        merge: String,
    },
    /// A byte that no token stands for.
    #[error("no token stands for byte {0:#04x}")]
    Byte(u8),
}

/// The values of `tokenizer.ggml.token_type`.
pub(super) mod token_type {
    pub(in super::super) const NORMAL: i64 = 1;
    pub(in super::super) const UNKNOWN: i64 = 2;
    pub(in super::super) const CONTROL: i64 = 3;
    pub(in super::super) const USER_DEFINED: i64 = 4;
    pub(in super::super) const BYTE: i64 = 6;
}

/// How plain text becomes tokens.
#[derive(Debug)]
pub(super) enum Encoding {
    BytePair {
        pretokenizer: Pretokenizer,
        bytes: Box<[u32; 256]>,
        /// Rank and result by the pair joined.
        merges: HashMap<(u32, u32), (u32, u32)>,
        /// Tokens by their bytes; empty unless whole words are taken.
        words: HashMap<Box<[u8]>, u32>,
    },
    SentencePiece {
        /// Tokens by their text.
        tokens: HashMap<Box<str>, u32>,
        scores: Vec<f32>,
        bytes: Box<[Option<u32>; 256]>,
        unknown: Option<u32>,
        adds_space: bool,
    },
}

impl Encoding {
    /// Adds the tokens of `text` to `tokens`.
    pub(super) fn encode(&self, text: &str, is_after_special: bool, tokens: &mut Vec<u32>) {
        if text.is_empty() {
            return;
        }
        match self {
            Encoding::BytePair { pretokenizer, bytes, merges, words } => {
                for word in pretokenizer.words(text) {
                    if let Some(token) = words.get(word.as_bytes()) {
                        tokens.push(*token);
                    } else {
                        tokens.extend(joined_bytes(word, bytes, merges));
                    }
                }
            }
            Encoding::SentencePiece { tokens: ids, scores, bytes, unknown, adds_space } => {
                let prefix = if *adds_space && is_after_special { " " } else { "" };
                let text = [prefix, text].concat().replace(' ', SPACE.encode_utf8(&mut [0; 4]));
                for symbol in joined_chars(&text, ids, scores) {
                    let raw = &text.as_bytes()[symbol.start..symbol.start + symbol.len];
                    match symbol.token {
                        Some(token) => tokens.push(token),
                        None => tokens
                            .extend(raw.iter().filter_map(|&b| bytes[usize::from(b)].or(*unknown))),
                    }
                }
            }
        }
    }
}

/// An array must be as long as there are tokens.
pub(super) fn expect_length(
    key: &'static str,
    found: Option<usize>,
    tokens: usize,
) -> Result<(), VocabularyError> {
    match found {
        Some(found) if found != tokens => Err(VocabularyError::Length { key, found, tokens }),
        _ => Ok(()),
    }
}

/// A token that the metadata names.
pub(super) fn token_id(
    metadata: Metadata<'_>,
    key: &'static str,
    tokens: usize,
) -> Result<Option<u32>, VocabularyError> {
    match metadata.count(key)? {
        Some(id) if id >= tokens => Err(VocabularyError::Id { key, id, tokens }),
        id => Ok(id.map(|id| id as u32)),
    }
}

/// The encoding of kind `gpt2`, and whether the begin of text is marked by default.
pub(super) fn byte_pair(
    metadata: Metadata<'_>,
    texts: &[String],
) -> Result<(Encoding, bool), VocabularyError> {
    let name = metadata.text("tokenizer.ggml.pre")?.unwrap_or("gpt-2");
    let pretokenizer =
        Pretokenizer::named(name).ok_or_else(|| VocabularyError::Pretokenizer(name.to_owned()))?;
    let ids: HashMap<&str, u32> = texts.iter().map(String::as_str).zip(0..).collect();
    let mut bytes = Box::new([0; 256]);
    let alphabet = Alphabet::new();
    for (byte, letter) in (0..=u8::MAX).zip(alphabet.letters()) {
        let token = ids.get(&*letter.encode_utf8(&mut [0; 4]));
        bytes[usize::from(byte)] = *token.ok_or(VocabularyError::Byte(byte))?;
    }
    let key = "tokenizer.ggml.merges";
    let mut merges = HashMap::new();
    for (index, merge) in required(metadata.texts(key), key)?.iter().enumerate() {
        let pair = merge.split_once(' ').and_then(|(left, right)| {
            let result = ids.get([left, right].concat().as_str())?;
            Some(((*ids.get(left)?, *ids.get(right)?), *result))
        });
        let (pair, result) =
            pair.ok_or_else(|| VocabularyError::Merge { index, merge: merge.clone() })?;
        merges.entry(pair).or_insert((index as u32, result));
    }
    let words = match pretokenizer.takes_whole_words {
        true => ids.iter().map(|(text, token)| (alphabet.bytes(text), *token)).collect(),
        false => HashMap::new(),
    };
    let adds_bos = pretokenizer.adds_bos;
    Ok((Encoding::BytePair { pretokenizer, bytes, merges, words }, adds_bos))
}

/// The encoding of kind `llama`, and whether the begin of text is marked by default.
pub(super) fn sentence_piece(
    metadata: Metadata<'_>,
    texts: &[String],
    types: impl Fn(usize) -> i64,
) -> Result<(Encoding, bool), VocabularyError> {
    let key = "tokenizer.ggml.scores";
    let scores = required(metadata.floats(key), key)?;
    expect_length(key, Some(scores.len()), texts.len())?;
    let mut bytes = Box::new([None; 256]);
    let mut tokens = HashMap::new();
    for ((token, text), id) in (0..).zip(texts).zip(0_usize..) {
        match types(id) {
            token_type::CONTROL | token_type::UNKNOWN => {}
            token_type::BYTE => {
                if let Some(byte) = byte_named(text) {
                    bytes[usize::from(byte)] = Some(token);
                }
            }
            _ => {
                tokens.entry(text.as_str().into()).or_insert(token);
            }
        }
    }
    let unknown = token_id(metadata, "tokenizer.ggml.unknown_token_id", texts.len())?;
    if let (Some(byte), None) = (bytes.iter().position(Option::is_none), unknown) {
        return Err(VocabularyError::Byte(byte as u8));
    }
    let adds_space = metadata.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let scores = scores.to_vec();
    Ok((Encoding::SentencePiece { tokens, scores, bytes, unknown, adds_space }, true))
}

/// Byte-pair encoding of one word.
fn joined_bytes(
    word: &str,
    bytes: &[u32; 256],
    merges: &HashMap<(u32, u32), (u32, u32)>,
) -> impl Iterator<Item = u32> {
    let symbol = |(start, byte)| Symbol { start, len: 1, token: Some(bytes[usize::from(byte)]) };
    let joint = |a: &Symbol, b: &Symbol| {
        let (rank, token) = *merges.get(&(a.token?, b.token?))?;
        Some(Joint { rank: rank.into(), token })
    };
    let symbols = merge(word.bytes().enumerate().map(symbol).collect(), joint);
    symbols.into_iter().filter_map(|symbol| symbol.token)
}

/// SentencePiece's joining of characters, the highest score first.
fn joined_chars(text: &str, tokens: &HashMap<Box<str>, u32>, scores: &[f32]) -> Vec<Symbol> {
    let symbol = |(start, letter): (usize, char)| {
        let len = letter.len_utf8();
        Symbol { start, len, token: tokens.get(&text[start..start + len]).copied() }
    };
    let joint = |a: &Symbol, b: &Symbol| {
        let token = *tokens.get(&text[a.start..b.start + b.len])?;
        Some(Joint { rank: falling(scores[token as usize]), token })
    };
    merge(text.char_indices().map(symbol).collect(), joint)
}

/// A number that is the lower the higher `score` is.
fn falling(score: f32) -> u64 {
    let bits = score.to_bits();
    // The usual trick: flip negative numbers whole and positive ones' sign, and bits order as the
    // numbers do.
    let rising = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    u64::from(!rising)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_orders_as_its_number_does() {
        let scores = [f32::INFINITY, 3.5, 1e-9, 0.0, -0.5, -1e9, f32::NEG_INFINITY];
        assert!(scores.windows(2).all(|pair| falling(pair[0]) < falling(pair[1])));
    }
}
