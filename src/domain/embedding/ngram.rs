//! The embedder that needs no model: hashed character n-grams.
//!
//! # What it can do, and what not
//!
//! Texts come out alike as far as they are **spelled** alike. It sees through typing errors,
//! inflection (`restart`, `restarted`, `restarting`), compounds, the order of words, and the case of
//! letters, in every script. It knows no language and no meaning: it finds no synonyms, no
//! translation, and no difference between "the dog bit him" and "he bit the dog". Words that stand in
//! every text make texts a little alike, the less the longer the others are. For meaning, configure a
//! model (`[embedding]`).
//!
//! # How, in version 1
//!
//! 1. Each character is replaced by its lower case (`char::to_lowercase`; U+0130 becomes two).
//! 2. The text falls into words, which are the longest runs of letters and digits
//!    (`char::is_alphanumeric`) and combining marks (U+0300 to U+036F), and into the longest runs of
//!    other characters; white space and control characters only separate.
//! 3. Of each run, with `<` before it and `>` behind it, all n-grams of 3, 4 and 5 characters are
//!    taken, and the whole if it is longer. So a run of one character has one feature, and a long word
//!    many more than a short one, which is as well, because short words say less.
//! 4. A feature is hashed: 64-bit FNV-1a of its UTF-8, then the finalizer of MurmurHash3.
//! 5. A feature that is there `c` times has the weight `1 + ln(c)`: said ten times is not ten times as
//!    much.
//! 6. Of the hash, bits 0 to 15, 16 to 31, 32 to 47 and 48 to 63 each choose one of the 96 dimensions
//!    of their own quarter, `(low 15 bits * 96) >> 15`, and the highest of the 16 the sign with which
//!    the weight is added there. Signs make those that meet cancel out on average \[1\]; with four
//!    places instead of one, two features never meet in all of them, so that short texts are not
//!    alike, nor nothing, by chance \[2\].
//! 7. The vector is divided by its length.
//!
//! Sums are made in the order of the hashes, in IEEE doubles and with the logarithm of `libm`, so that
//! every platform gives the same bits. Step 1 and 2 follow the Unicode tables of the compiler's
//! library: letters that a later Unicode adds may fall differently then.
//!
//! 1. K. Weinberger and others, Feature Hashing for Large Scale Multitask Learning, ICML 2009.
//! 2. D. Kane and J. Nelson, Sparser Johnson-Lindenstrauss Transforms, J. ACM 61 (2014): the block
//!    construction.

use crate::domain::embedding::{Embed, EmbedError, EmbedderId, bounded, unit};

/// Its name.
pub const NAME: &str = "bizra-ngram";

/// Raised whenever some text gets another vector.
pub const VERSION: u32 = 1;

/// Numbers in each vector: as many as the small embedding models have.
pub const DIMENSION: usize = 384;

/// Places of each feature.
const PLACES: usize = 4;

/// Dimensions in the part that belongs to one place.
const PART: usize = DIMENSION / PLACES;

/// Characters of the shortest and of the longest n-gram.
const SHORTEST: usize = 3;
const LONGEST: usize = 5;

/// The default embedder. It has no state and is cheap to make.
#[derive(Clone, Debug)]
pub struct NgramEmbedder {
    id: EmbedderId,
}

impl Default for NgramEmbedder {
    fn default() -> Self {
        Self { id: EmbedderId { name: NAME.to_owned(), version: VERSION, dimension: DIMENSION } }
    }
}

impl Embed for NgramEmbedder {
    fn id(&self) -> &EmbedderId {
        &self.id
    }

    fn embed(&self, text: &str) -> Result<Vec<f32>, EmbedError> {
        let mut features = features(bounded(text)?);
        features.sort_unstable();
        let mut sums = [0.0; DIMENSION];
        for same in features.chunk_by(|a, b| a == b) {
            // Texts are so short that a double holds the number exactly.
            add(&mut sums, same[0], 1.0 + libm::log(same.len() as f64));
        }
        unit(&sums)
    }
}

/// The hashes of all features, in the order of the text.
fn features(text: &str) -> Vec<u64> {
    let mut features = Vec::new();
    let mut run: Vec<char> = vec!['<'];
    let mut kind = Kind::Space;
    for char in text.chars().flat_map(char::to_lowercase) {
        let next = Kind::of(char);
        if next != kind {
            add_features(&mut run, &mut features);
            kind = next;
        }
        if kind != Kind::Space {
            run.push(char);
        }
    }
    add_features(&mut run, &mut features);
    features
}

/// Adds the features of a run that has its `<` in front, and leaves the beginning of the next.
fn add_features(run: &mut Vec<char>, features: &mut Vec<u64>) {
    if run.len() > 1 {
        run.push('>');
        for length in SHORTEST..=LONGEST {
            features.extend(run.windows(length).map(hash));
        }
        if run.len() > LONGEST {
            features.push(hash(run));
        }
    }
    run.truncate(1);
}

/// What a run is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    Sign,
    Space,
}

impl Kind {
    fn of(char: char) -> Self {
        if char.is_alphanumeric() || matches!(char, '\u{300}'..='\u{36f}') {
            Self::Word
        } else if char.is_whitespace() || char.is_control() {
            Self::Space
        } else {
            Self::Sign
        }
    }
}

fn hash(gram: &[char]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for char in gram {
        for byte in char.encode_utf8(&mut [0; 4]).bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

fn add(sums: &mut [f64; DIMENSION], hash: u64, weight: f64) {
    let bytes = hash.to_le_bytes();
    for (part, bits) in sums.chunks_exact_mut(PART).zip(bytes.chunks_exact(2)) {
        let bits = u16::from_le_bytes([bits[0], bits[1]]);
        let place = (usize::from(bits & 0x7fff) * PART) >> 15;
        part[place] += if bits & 0x8000 == 0 { weight } else { -weight };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn embed(text: &str) -> Vec<f32> {
        NgramEmbedder::default().embed(text).unwrap()
    }

    fn cosine(a: &str, b: &str) -> f32 {
        embed(a).iter().zip(embed(b)).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn what_is_spelled_alike_is_alike_and_the_rest_is_not() {
        for (text, close, far, least) in [
            ("restart the actor", "restarted actors", "a recipe for bread", 0.4),
            ("supervision tree", "the supervison tre", "quarterly revenue", 0.4),
            ("ask before you act", "ASK Before You Act!", "never mind the cost", 0.9),
            ("Fehlerbehandlung im Aktor", "Fehlerbehandlungen", "guten Morgen", 0.5),
            (
                "\u{43f}\u{440}\u{438}\u{432}\u{435}\u{442} \u{43c}\u{438}\u{440}",
                "\u{41f}\u{420}\u{418}\u{412}\u{415}\u{422}",
                "\u{434}\u{43e}\u{43c}",
                0.5,
            ),
            (
                "\u{6771}\u{4eac}\u{90fd}\u{5e81}",
                "\u{6771}\u{4eac}\u{90fd}",
                "\u{5927}\u{962a}",
                0.3,
            ),
            ("if (a != b) { return; }", "if (c != d) { return; }", "SELECT name FROM t", 0.5),
        ] {
            let (close, far) = (cosine(text, close), cosine(text, far));
            assert!(close > least && far < 0.25, "{text}: {close}, {far}");
        }
    }

    #[test]
    fn meaning_is_not_seen() {
        // If this fails, the embedder has become better than its documentation.
        assert!(cosine("buy a car", "purchase an automobile") < 0.25);
        assert!(cosine("the dog bit him", "him bit the dog") > 0.99);
    }

    #[test]
    fn case_and_white_space_make_no_difference() {
        let plain = embed("stra\u{df}e \u{e9}t\u{e9} \u{3b1}\u{3b2}");
        assert_eq!(plain, embed("  STRA\u{1e9e}E\n\u{c9}T\u{c9}\t\u{391}\u{392}\u{0}"));
    }

    #[test]
    fn saying_it_often_adds_little() {
        let once = cosine("alpha beta", "alpha");
        let often = cosine(&format!("{}beta", "alpha ".repeat(50)), "alpha");
        assert!(once < often && often < 0.99, "{once}, {often}");
    }

    #[test]
    fn unrelated_texts_are_hardly_alike() {
        // 400 different words of two letters: of 79,800 pairs none meets by chance.
        let letters: Vec<char> = ('a'..='t').collect();
        let words: Vec<Vec<f32>> = letters
            .iter()
            .flat_map(|a| letters.iter().map(move |b| embed(&format!("{a}{b}"))))
            .collect();
        let mut worst = 0.0_f32;
        for (index, a) in words.iter().enumerate() {
            for b in &words[..index] {
                worst = worst.max(a.iter().zip(b).map(|(a, b)| a * b).sum());
            }
        }
        assert!(worst < 0.5, "{worst}");
    }

    #[test]
    fn blank_and_too_long_is_refused() {
        let embedder = NgramEmbedder::default();
        for blank in ["", "  ", "\u{0}\u{1}\n"] {
            assert_eq!(embedder.embed(blank), Err(EmbedError::Empty), "{blank:?}");
        }
        let long = embedder.embed(&"x".repeat(40_000));
        assert_eq!(long, Err(EmbedError::TooLong { bytes: 40_000 }));
        assert_eq!(embedder.id().to_string(), "bizra-ngram/1/384");
    }

    proptest! {
        #[test]
        fn every_text_has_one_direction(text in "\\PC{0,200}") {
            let embedder = NgramEmbedder::default();
            let first = embedder.embed(&text);
            prop_assert_eq!(&first, &embedder.embed(&text));
            match first {
                Err(error) => prop_assert_eq!(error, EmbedError::Empty),
                Ok(vector) => {
                    prop_assert_eq!(vector.len(), DIMENSION);
                    let length: f64 = vector.iter().map(|it| f64::from(*it).powi(2)).sum();
                    prop_assert!((length - 1.0).abs() < 1e-5, "{}", length);
                }
            }
        }

        #[test]
        fn any_bytes_that_are_text_do(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let text = String::from_utf8_lossy(&bytes);
            let _ = NgramEmbedder::default().embed(&text);
        }

        #[test]
        fn the_order_of_words_makes_no_difference(
            mut words in proptest::collection::vec("[a-z]{1,8}", 1..12),
        ) {
            let said = embed(&words.join(" "));
            words.reverse();
            prop_assert_eq!(said, embed(&words.join(" ")));
        }
    }

    /// Made by another implementation of what is written above, in Python.
    #[test]
    fn the_values_are_those_of_version_1() {
        for (text, count, first, value, bits) in [
            ("a", 4, 20, -0.5, 0x00f5_0b62_cc40_a9b5),
            ("hello bizra", 82, 2, 0.094_491_12, 0x94c7_4cac_054e_fdb9),
            ("Ask before you act, and ask again.", 151, 0, 0.063_073_67, 0x9cc2_7276_d5fd_c221),
            (
                "Stra\u{df}e \u{6771}\u{4eac} != \u{391}\u{392}",
                85,
                7,
                0.103_142_13,
                0x333a_05f6_c95e_f996,
            ),
            (
                "na\u{308}ive \u{130} na\u{308}ive \u{130} na\u{308}ive \u{130} ",
                63,
                8,
                0.117_851_13,
                0x80a4_8528_57b0_e224,
            ),
        ] {
            let vector = embed(text);
            let (mut places, mut seen) = (Vec::new(), 0xcbf2_9ce4_8422_2325_u64);
            for (place, number) in vector.iter().enumerate() {
                places.extend((*number != 0.0).then_some(place));
                for byte in number.to_le_bytes() {
                    seen = (seen ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
                }
            }
            assert_eq!((places.len(), places[0], vector[first]), (count, first, value), "{text}");
            assert_eq!(seen, bits, "{text}: {seen:x}");
        }
    }
}
