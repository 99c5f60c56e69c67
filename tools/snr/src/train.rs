//! Makes the tables of the scorer from folders of English text.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use bizra_omega::domain::snr::classes::{
    CAPITAL, CLASSES, CLUSTER, END, FUNCTION, NUMBER, Splitter, before_first, has_capital_mark,
    mark, unknown,
};
use bizra_omega::domain::snr::tables::{
    COMMON, DIGEST, FOREIGN, FOREIGN_MAX, LENGTH, MAGIC, PAIRS, SLOTS, TRIGRAMS, VOCABULARY, place,
    trigram,
};
use bizra_omega::domain::snr::words::{Kind, Mark, Token, hash_of, scan};

use crate::clusters;
use crate::corpus::{Formats, paragraphs};

/// Words that are kept: the vocabulary stays six sevenths full, so that searches end soon.
const WORDS_MAX: usize = SLOTS / 7 * 6;

/// The most frequent words, which say nothing about a source.
const COMMON_MAX: usize = 500;

/// A word among so many of the most frequent is English, whatever other languages it is in too.
const ENGLISH_MIN: usize = 1000;

/// Most bytes that one folder contributes, so that no manual outweighs the others.
const FOLDER_MAX: usize = 6 << 20;

/// Closed-class words of English.
const ENGLISH: &str = include_str!("../english.txt");
/// Closed-class words of other languages.
const OTHERS: &str = include_str!("../foreign.txt");

/// What has been counted.
#[derive(Default)]
struct Counts {
    /// Every natural word: its hash, its text, how often.
    words: HashMap<u64, (String, u32)>,
    /// Sentences as sequences of types: fixed classes, or words by hash.
    sentences: Vec<Vec<Type>>,
}

/// An element of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Type {
    Class(u8),
    /// A word, and its class if it turns out not to be in the vocabulary.
    Word(u64, u8),
}

/// The tables, and a line for each folder that says what it gave.
pub(crate) fn tables(folders: &[&Path]) -> io::Result<(Vec<u8>, Vec<String>)> {
    let mut counts = Counts::default();
    let mut report = Vec::new();
    for folder in folders {
        let (mut bytes, mut number) = (0, 0);
        let all = paragraphs(folder, Formats::All)?;
        // Evenly over the folder, should it be larger than its share.
        let total: usize = all.iter().map(String::len).sum();
        let mut due = 0;
        for paragraph in &all {
            due += paragraph.len().min(paragraph.len() * FOLDER_MAX / total.max(1));
            if bytes < due {
                counts.add(paragraph);
                bytes += paragraph.len();
                number += 1;
            }
        }
        report.push(format!("{}: {number} paragraphs, {bytes} bytes", folder.display()));
    }
    Ok((counts.tables(), report))
}

/// Takes the sentence, with the mark of its end if it does not end in a stop.
fn ended(sentence: &mut Vec<Type>, has_ended: bool) -> Vec<Type> {
    if !has_ended {
        sentence.push(Type::Class(END));
    }
    std::mem::take(sentence)
}

fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace)
}

impl Counts {
    fn add(&mut self, paragraph: &str) {
        let mut splitter = Splitter::default();
        let mut sentence: Vec<Type> = Vec::new();
        let mut has_ended = false;
        // Time is never up here, so the text is always read to its end.
        let _ = scan(paragraph, &mut || false, &mut |token| {
            if splitter.ends_before(&token) {
                self.sentences.push(ended(&mut sentence, has_ended));
            }
            match token {
                Token::Word(word) => {
                    if sentence.is_empty() {
                        sentence.push(Type::Class(before_first(&word)));
                    } else if has_capital_mark(&word, false) {
                        sentence.push(Type::Class(CAPITAL));
                    }
                    if word.kind == Kind::Natural {
                        let text = || String::from_utf8_lossy(word.letters).into_owned();
                        self.words.entry(word.hash).or_insert_with(|| (text(), 0)).1 += 1;
                        sentence.push(Type::Word(word.hash, unknown(&word)));
                    } else {
                        sentence.push(Type::Class(unknown(&word)));
                    }
                    has_ended = false;
                }
                Token::Mark(sign) if !sentence.is_empty() => {
                    has_ended = sign == Mark::Stop;
                    sentence.push(Type::Class(mark(sign)));
                }
                Token::Mark(_) | Token::Break => {}
            }
        });
        if !sentence.is_empty() {
            self.sentences.push(ended(&mut sentence, has_ended));
        }
    }

    fn tables(&self) -> Vec<u8> {
        let mut table = vec![0; LENGTH];
        table[..MAGIC.len()].copy_from_slice(MAGIC);
        self.put_trigrams(&mut table);
        let ranked = self.ranked();
        let classes = self.classes(&ranked);
        self.put_pairs(&mut table, &classes);
        put_vocabulary(&mut table, &ranked, &classes);
        put_foreign(&mut table, &ranked);
        let digest = blake3::hash(&table[..DIGEST]);
        table[DIGEST..].copy_from_slice(digest.as_bytes());
        table
    }

    /// Words by falling frequency, then by spelling; function words are always among them.
    fn ranked(&self) -> Vec<(u64, &str, u32)> {
        let mut ranked: Vec<_> =
            self.words.iter().map(|(hash, (text, count))| (*hash, text.as_str(), *count)).collect();
        ranked.sort_by(|a, b| b.2.cmp(&a.2).then(a.1.cmp(b.1)));
        ranked.retain(|word| word.2 >= 3);
        ranked.truncate(WORDS_MAX);
        ranked
    }

    /// The class of every word of the vocabulary.
    fn classes(&self, ranked: &[(u64, &str, u32)]) -> HashMap<u64, u8> {
        let mut classes: HashMap<u64, u8> = listed(ENGLISH)
            .zip(FUNCTION..CLUSTER)
            .map(|(word, class)| (hash_of(word), class))
            .collect();
        assert_eq!(classes.len(), listed(ENGLISH).count(), "a function word is there twice");
        let free: Vec<u64> =
            ranked.iter().map(|word| word.0).filter(|hash| !classes.contains_key(hash)).collect();
        // Types: the fixed classes by number, then the free words.
        let index: HashMap<u64, u32> =
            free.iter().zip(CLASSES as u32..).map(|(hash, at)| (*hash, at)).collect();
        let of = |element: &Type| match element {
            Type::Class(class) => u32::from(*class),
            Type::Word(hash, unknown) => match (index.get(hash), classes.get(hash)) {
                (Some(at), _) => *at,
                (None, Some(class)) => u32::from(*class),
                (None, None) => u32::from(*unknown),
            },
        };
        let mut pairs: HashMap<(u32, u32), u32> = HashMap::new();
        for sentence in &self.sentences {
            for pair in sentence.windows(2) {
                *pairs.entry((of(&pair[0]), of(&pair[1]))).or_default() += 1;
            }
        }
        let found = clusters::exchange(free.len(), &pairs);
        classes.extend(free.into_iter().zip(found));
        classes
    }

    fn put_trigrams(&self, table: &mut [u8]) {
        let mut three = vec![0.0_f64; 27 * 27 * 27];
        let mut words: Vec<_> = self.words.values().collect();
        words.sort();
        for (text, count) in words {
            let (mut first, mut second) = (0, 0);
            for third in text.bytes().map(|byte| byte - b'a' + 1).chain([0]) {
                // Damped, or the commonest words would decide what a letter costs.
                three[trigram(first, second, third)] += f64::from(*count).sqrt();
                (first, second) = (second, third);
            }
        }
        let signs = 27_usize;
        let total: f64 = three.iter().sum();
        let mut one = vec![0.0; signs];
        let mut two = vec![0.0; signs * signs];
        for (at, count) in three.iter().enumerate() {
            one[at % signs] += count;
            two[at % (signs * signs)] += count;
        }
        let context: Vec<f64> = two.chunks(signs).map(|row| row.iter().sum::<f64>()).collect();
        for (at, cost) in table[TRIGRAMS..PAIRS].iter_mut().enumerate() {
            let (row, third) = (at / signs * signs, at % signs);
            let seen: f64 = three[row..row + signs].iter().sum();
            let second = at / signs % signs;
            let low = 0.9 * two[second * signs + third] / context[second].max(1.0)
                + 0.1 * (one[third] + 1.0) / (total + signs as f64);
            let weight = 20.0;
            let chance = (three[at] + weight * low) / (seen + weight);
            *cost = (-chance.log2() * 16.0).round().clamp(0.0, 255.0) as u8;
        }
    }

    fn put_pairs(&self, table: &mut [u8], classes: &HashMap<u64, u8>) {
        let of = |element: &Type| match element {
            Type::Class(class) => *class,
            Type::Word(hash, unknown) => *classes.get(hash).unwrap_or(unknown),
        };
        let mut pairs = vec![0.0_f64; CLASSES * CLASSES];
        for sentence in &self.sentences {
            for pair in sentence.windows(2) {
                pairs[usize::from(of(&pair[0])) * CLASSES + usize::from(of(&pair[1]))] += 1.0;
            }
        }
        let mut before = vec![0.0; CLASSES];
        let mut after = vec![0.0; CLASSES];
        for (at, count) in pairs.iter().enumerate() {
            before[at / CLASSES] += count;
            after[at % CLASSES] += count;
        }
        let total: f64 = before.iter().sum();
        for (at, weight) in table[PAIRS..VOCABULARY].iter_mut().enumerate() {
            let expected = before[at / CLASSES] * after[at % CLASSES] / total;
            let prior = 2.0;
            let ratio = (pairs[at] + prior) / (expected + prior);
            // Between two words that are in no list there is no order to speak of.
            let is_known = is_known(at / CLASSES) || is_known(at % CLASSES);
            let most = if is_known { 127.0 } else { 0.0 };
            *weight = (ratio.log2() * 16.0).round().clamp(-127.0, most) as i8 as u8;
        }
    }
}

/// Whether a class is that of a mark or of words in the vocabulary.
fn is_known(class: usize) -> bool {
    !(usize::from(NUMBER)..usize::from(FUNCTION)).contains(&class) || class == usize::from(CAPITAL)
}

fn put_vocabulary(table: &mut [u8], ranked: &[(u64, &str, u32)], classes: &HashMap<u64, u8>) {
    let mut all: Vec<(u64, bool)> =
        ranked.iter().enumerate().map(|(rank, word)| (word.0, rank < COMMON_MAX)).collect();
    let known: Vec<u64> = all.iter().map(|word| word.0).collect();
    all.extend(
        listed(ENGLISH).map(hash_of).filter(|hash| !known.contains(hash)).map(|h| (h, true)),
    );
    for (hash, is_common) in all {
        let (start, tag) = place(hash);
        let slot = u32::from(classes[&hash]) << 24 | tag | if is_common { COMMON } else { 0 };
        for at in 0..SLOTS {
            let at = VOCABULARY + 4 * ((start + at) % SLOTS);
            if table[at..at + 4] == [0; 4] {
                table[at..at + 4].copy_from_slice(&slot.to_le_bytes());
                break;
            }
        }
    }
}

fn put_foreign(table: &mut [u8], ranked: &[(u64, &str, u32)]) {
    let english: Vec<u64> = ranked.iter().take(ENGLISH_MIN).map(|word| word.0).collect();
    let mut found: Vec<u32> = OTHERS
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(|line| line.split_whitespace().skip(1))
        .map(hash_of)
        .filter(|hash| {
            !english.contains(hash) && !listed(ENGLISH).any(|word| hash_of(word) == *hash)
        })
        .map(|hash| (hash >> 32) as u32)
        .collect();
    found.sort_unstable();
    found.dedup();
    found.resize(FOREIGN_MAX, u32::MAX);
    for (at, hash) in found.iter().enumerate() {
        table[FOREIGN + 4 * at..FOREIGN + 4 * at + 4].copy_from_slice(&hash.to_le_bytes());
    }
}
