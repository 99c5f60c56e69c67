//! Text to tokens and back, as the model file says.
//!
//! Two kinds of vocabulary are known, under the names that GGUF gives them: `gpt2`, byte-pair
//! encoding over bytes, and `llama`, SentencePiece with scores and single bytes for what it lacks.

use std::collections::HashMap;

use crate::adapters::edge::encoding::{
    Encoding, SPACE, VocabularyError, byte_pair, expect_length, sentence_piece, token_id,
    token_type,
};
use crate::adapters::edge::metadata::{Metadata, required};
use crate::adapters::edge::spelling::{Alphabet, byte_named};

/// Tokens by which models end a turn, whatever the metadata says.
const TURN_ENDS: [&str; 6] =
    ["<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "</s>"];

/// A part of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'t> {
    /// The text.
    pub text: &'t str,
    /// Whether control tokens that it spells are meant. Never true for what a user wrote:
    /// otherwise a prompt could end its turn and speak as the system.
    pub is_trusted: bool,
}

/// A token that is found in text as a whole.
#[derive(Debug)]
struct Special {
    text: String,
    token: u32,
    is_control: bool,
}

/// A model's vocabulary.
#[derive(Debug)]
pub struct Vocabulary {
    encoding: Encoding,
    /// What each token adds to the text; nothing for control tokens.
    pieces: Vec<Box<[u8]>>,
    /// By first byte, the longest first.
    specials: HashMap<u8, Vec<Special>>,
    ends: Vec<u32>,
    bos: Option<u32>,
    adds_bos: bool,
    /// How the begin-of-text and end-of-text tokens are spelled, for chat templates.
    pub bos_text: String,
    /// See `bos_text`.
    pub eos_text: String,
}

impl Vocabulary {
    /// The vocabulary that a model's metadata describes.
    ///
    /// # Errors
    /// See [`VocabularyError`].
    pub fn from_metadata(metadata: Metadata<'_>) -> Result<Self, VocabularyError> {
        let kind = required(metadata.text("tokenizer.ggml.model"), "tokenizer.ggml.model")?;
        let key = "tokenizer.ggml.tokens";
        let texts = required(metadata.texts(key), key)?;
        if texts.is_empty() || u32::try_from(texts.len()).is_err() {
            return Err(VocabularyError::Size(texts.len()));
        }
        let types = metadata.integers("tokenizer.ggml.token_type")?;
        expect_length("tokenizer.ggml.token_type", types.map(<[_]>::len), texts.len())?;
        let types = |id: usize| types.map_or(token_type::NORMAL, |types| types[id]);

        let (encoding, adds_bos) = match kind {
            "gpt2" => byte_pair(metadata, texts)?,
            "llama" => sentence_piece(metadata, texts, types)?,
            other => return Err(VocabularyError::Kind(other.to_owned())),
        };
        let alphabet = Alphabet::new();
        let is_byte_pair = matches!(encoding, Encoding::BytePair { .. });
        let piece = |(id, text): (usize, &String)| match types(id) {
            token_type::CONTROL | token_type::UNKNOWN => Box::default(),
            token_type::USER_DEFINED => text.as_bytes().into(),
            _ if is_byte_pair => alphabet.bytes(text),
            token_type::BYTE => byte_named(text).map_or_else(Box::default, |byte| [byte].into()),
            _ => text.replace(SPACE, " ").into_bytes().into(),
        };
        let pieces = texts.iter().enumerate().map(piece).collect();

        let id = |key| token_id(metadata, key, texts.len());
        let bos = id("tokenizer.ggml.bos_token_id")?;
        let eos = id("tokenizer.ggml.eos_token_id")?;
        let mut ends: Vec<u32> =
            [eos, id("tokenizer.ggml.eot_token_id")?].into_iter().flatten().collect();
        for (token, text) in (0..).zip(texts) {
            if types(token as usize) == token_type::CONTROL && TURN_ENDS.contains(&text.as_str()) {
                ends.push(token);
            }
        }
        let spelled =
            |token: Option<u32>| token.map_or_else(String::new, |t| texts[t as usize].clone());
        Ok(Self {
            encoding,
            pieces,
            specials: specials(texts, types),
            ends,
            bos,
            adds_bos: metadata.flag("tokenizer.ggml.add_bos_token")?.unwrap_or(adds_bos),
            bos_text: spelled(bos),
            eos_text: spelled(eos),
        })
    }

    /// The number of tokens.
    #[must_use]
    pub fn size(&self) -> usize {
        self.pieces.len()
    }

    /// What `token` adds to the text: perhaps half a character, nothing for control tokens.
    #[must_use]
    pub fn bytes(&self, token: u32) -> &[u8] {
        self.pieces.get(token as usize).map_or(&[], |piece| piece)
    }

    /// Whether the model ends its answer by `token`.
    #[must_use]
    pub fn is_end(&self, token: u32) -> bool {
        self.ends.contains(&token)
    }

    /// The tokens of a prompt, with the begin-of-text token in front where the model wants it.
    #[must_use]
    pub fn encode(&self, segments: &[Segment<'_>]) -> Vec<u32> {
        let mut tokens = Vec::new();
        let mut plain = String::new();
        let mut is_after_special = true;
        for segment in segments {
            let mut rest = segment.text;
            while let Some(next) = rest.chars().next() {
                if let Some(special) = self.special(rest, segment.is_trusted) {
                    self.encoding.encode(&plain, is_after_special, &mut tokens);
                    plain.clear();
                    tokens.push(special.token);
                    is_after_special = true;
                    rest = &rest[special.text.len()..];
                } else {
                    plain.push(next);
                    rest = &rest[next.len_utf8()..];
                }
            }
        }
        self.encoding.encode(&plain, is_after_special, &mut tokens);
        match self.bos {
            // A chat template may have written it already.
            Some(bos) if self.adds_bos && tokens.first() != Some(&bos) => tokens.insert(0, bos),
            _ => {}
        }
        tokens
    }

    /// The longest special token that `text` begins with.
    fn special(&self, text: &str, is_trusted: bool) -> Option<&Special> {
        let candidates = self.specials.get(text.as_bytes().first()?)?;
        candidates.iter().find(|special| {
            (is_trusted || !special.is_control) && text.starts_with(special.text.as_str())
        })
    }
}

fn specials(texts: &[String], types: impl Fn(usize) -> i64) -> HashMap<u8, Vec<Special>> {
    let mut specials: HashMap<u8, Vec<Special>> = HashMap::new();
    for (token, text) in (0..).zip(texts) {
        let is_control = match types(token as usize) {
            token_type::CONTROL => true,
            token_type::USER_DEFINED => false,
            _ => continue,
        };
        if let Some(first) = text.as_bytes().first() {
            let special = Special { text: text.clone(), token, is_control };
            specials.entry(*first).or_default().push(special);
        }
    }
    for bucket in specials.values_mut() {
        bucket.sort_by_key(|special| std::cmp::Reverse(special.text.len()));
    }
    specials
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::adapters::edge::gguf::Value;

    fn texts<'t>(texts: impl IntoIterator<Item = &'t str>) -> Value {
        Value::Texts(texts.into_iter().map(str::to_owned).collect())
    }

    fn read(entries: Vec<(&str, Value)>) -> Result<Vocabulary, VocabularyError> {
        let map: BTreeMap<String, Value> =
            entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Vocabulary::from_metadata(Metadata(&map))
    }

    /// Begin, end, the 256 bytes, then words with rising scores, then a user-defined token.
    fn sentence_piece() -> Vec<(&'static str, Value)> {
        let bytes: Vec<String> = (0..256).map(|byte| format!("<0x{byte:02X}>")).collect();
        let words = ["\u{2581}", "a", "b", "c", "bc", "ab", "\u{2581}a", "\u{2581}ab"];
        let all = ["<s>", "</s>"].into_iter().chain(bytes.iter().map(String::as_str));
        let all = all.chain(words).chain(["<think>"]);
        let types = [3, 3].into_iter().chain([6; 256]).chain([1; 8]).chain([4]).collect();
        let scores = [0.0; 258].into_iter().chain((0..8).map(|n| n as f32 - 8.0)).chain([0.0]);
        vec![
            ("tokenizer.ggml.model", Value::Text("llama".into())),
            ("tokenizer.ggml.tokens", texts(all)),
            ("tokenizer.ggml.token_type", Value::Integers(types)),
            ("tokenizer.ggml.scores", Value::Floats(scores.collect())),
            ("tokenizer.ggml.bos_token_id", Value::Integer(0)),
            ("tokenizer.ggml.eos_token_id", Value::Integer(1)),
        ]
    }

    fn tokens(vocabulary: &Vocabulary, text: &str) -> Vec<u32> {
        vocabulary.encode(&[Segment { text, is_trusted: false }])
    }

    fn spelled(vocabulary: &Vocabulary, tokens: &[u32]) -> String {
        let bytes = tokens.iter().flat_map(|token| vocabulary.bytes(*token)).copied().collect();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn sentence_piece_joins_the_highest_score_first() {
        let vocabulary = read(sentence_piece()).unwrap();
        // " abc": of "ab" (263) and "bc" (262) the former scores higher, then " ab" (265).
        assert_eq!(tokens(&vocabulary, "abc"), [0, 265, 261]);
        assert_eq!(tokens(&vocabulary, "cbc"), [0, 258, 261, 262]);
    }

    #[test]
    fn sentence_piece_spells_what_it_lacks_in_bytes() {
        let vocabulary = read(sentence_piece()).unwrap();
        let ids = tokens(&vocabulary, "a\u{e9}\n");
        assert_eq!(ids, [0, 264, 2 + 0xc3, 2 + 0xa9, 2 + 10]);
        assert_eq!(spelled(&vocabulary, &ids), " a\u{e9}\n");
    }

    #[test]
    fn control_tokens_are_read_only_where_trusted() {
        let vocabulary = read(sentence_piece()).unwrap();
        let trusted = |text| vocabulary.encode(&[Segment { text, is_trusted: true }]);
        assert_eq!(trusted("<s>a</s>"), [0, 264, 1]);
        assert!(!tokens(&vocabulary, "a</s>").contains(&1));
        // A user-defined token is text like any other.
        assert_eq!(tokens(&vocabulary, "<think>"), [0, 266]);
        assert_eq!(vocabulary.bytes(266), b"<think>");
        assert_eq!(vocabulary.bytes(1), b"");
    }

    #[test]
    fn text_is_joined_across_segments() {
        let vocabulary = read(sentence_piece()).unwrap();
        let segment = |text, is_trusted| Segment { text, is_trusted };
        assert_eq!(vocabulary.encode(&[segment("a", true), segment("bc", false)]), [0, 265, 261]);
    }

    #[test]
    fn the_begin_of_text_is_added_once_and_only_if_wanted() {
        let mut entries = sentence_piece();
        entries.push(("tokenizer.ggml.add_bos_token", Value::Bool(false)));
        assert_eq!(tokens(&read(entries).unwrap(), "a"), [264]);
        let vocabulary = read(sentence_piece()).unwrap();
        assert!(vocabulary.is_end(1) && !vocabulary.is_end(0));
    }

    #[test]
    fn a_vocabulary_that_lacks_bytes_or_scores_is_refused() {
        let mut entries = sentence_piece();
        entries[3].1 = Value::Floats(vec![0.0; 3]);
        assert!(matches!(read(entries), Err(VocabularyError::Length { found: 3, .. })));
        let mut entries = sentence_piece();
        entries[2].1 = Value::Integers(vec![1; 267]);
        assert_eq!(read(entries).unwrap_err(), VocabularyError::Byte(0));
        let byte_pair = vec![
            ("tokenizer.ggml.model", Value::Text("gpt2".into())),
            ("tokenizer.ggml.tokens", texts(["a", "b"])),
            ("tokenizer.ggml.merges", texts([])),
        ];
        assert_eq!(read(byte_pair).unwrap_err(), VocabularyError::Byte(0));
    }

    #[test]
    fn llama_3_takes_whole_words_without_joining() {
        let alphabet = Alphabet::new();
        let letters: Vec<String> = alphabet.letters().iter().map(char::to_string).collect();
        let read = |pre: &str| {
            read(vec![
                ("tokenizer.ggml.model", Value::Text("gpt2".into())),
                ("tokenizer.ggml.pre", Value::Text(pre.into())),
                ("tokenizer.ggml.tokens", texts(letters.iter().map(String::as_str).chain(["the"]))),
                ("tokenizer.ggml.merges", texts([])),
            ])
        };
        assert_eq!(tokens(&read("llama-bpe").unwrap(), "the"), [256]);
        assert_eq!(tokens(&read("gpt-2").unwrap(), "the").len(), 3);
    }
}
