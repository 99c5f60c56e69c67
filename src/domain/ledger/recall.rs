//! Finding episodes: what is recent, mattered, and is about the same.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::{Draft, EMBEDDING_MAX, EPISODES_MAX, Episode, Ledger, LedgerError};
use crate::domain::score::Score;

/// What recency, importance and relevance weigh; together 1.
const RECENCY: f64 = 0.3;
const IMPORTANCE: f64 = 0.3;
const RELEVANCE: f64 = 0.4;

/// By how much a second makes an episode less recent: half of it in 693 s.
const DECAY_PER_S: f64 = 0.001;

/// Characters of a word that says something.
const WORD_CHARS_MIN: usize = 3;

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// Words of it.
    pub text: &'a str,
    /// As a vector; compared with episodes that have one of the same length.
    pub embedding: Option<&'a [f32]>,
    /// Seconds since the Unix epoch.
    pub now_s: u64,
    /// The most results, 1..=10,000.
    pub limit: usize,
}

impl Ledger {
    /// The episodes that fit best, the best first; of equals the later.
    ///
    /// # Errors
    /// [`LedgerError::Limit`] or [`LedgerError::Embedding`].
    pub fn retrieve(&self, query: &Query<'_>) -> Result<Vec<(&Episode, &Draft)>, LedgerError> {
        if !(1..=EPISODES_MAX).contains(&query.limit) {
            return Err(LedgerError::Limit);
        }
        query.embedding.map_or(Ok(()), check)?;
        let words = words(query.text);
        // The worst of the best is on top.
        let mut best: BinaryHeap<Reverse<(Score, u64, usize)>> = BinaryHeap::new();
        for (at, (episode, draft)) in self.episodes().enumerate() {
            best.push(Reverse((rate(draft, query, &words), episode.sequence, at)));
            if best.len() > query.limit {
                best.pop();
            }
        }
        let mut found: Vec<_> = best.into_iter().map(|Reverse(entry)| entry).collect();
        found.sort_by_key(|entry| Reverse(*entry));
        let all: Vec<_> = self.episodes().collect();
        Ok(found.into_iter().map(|(_, _, at)| all[at]).collect())
    }
}

fn rate(draft: &Draft, query: &Query<'_>, sought: &BTreeSet<String>) -> Score {
    #[expect(clippy::cast_precision_loss, reason = "an age, of which fractions do not matter")]
    let age_s = query.now_s.saturating_sub(draft.timestamp_s) as f64;
    let relevance = match (query.embedding, &draft.embedding) {
        (Some(one), Some(other)) if one.len() == other.len() => cosine(one, other),
        _ => jaccard(sought, &words(&draft.context)),
    };
    let rating = RECENCY * libm::exp(-DECAY_PER_S * age_s)
        + IMPORTANCE * draft.importance().value()
        + RELEVANCE * relevance;
    Score::try_from(rating.clamp(0.0, 1.0)).unwrap_or(Score::ZERO)
}

/// An embedding that can be compared.
pub(super) fn check(embedding: &[f32]) -> Result<(), LedgerError> {
    let is_some = embedding.iter().any(|number| *number != 0.0);
    let is_finite = embedding.iter().all(|number| number.is_finite());
    let is_valid = is_some && is_finite && embedding.len() <= EMBEDDING_MAX;
    if is_valid { Ok(()) } else { Err(LedgerError::Embedding) }
}

/// How alike two directions are; what points apart is not alike at all.
fn cosine(one: &[f32], other: &[f32]) -> f64 {
    let (mut dot, mut ones, mut others) = (0.0, 0.0, 0.0);
    for (a, b) in one.iter().zip(other) {
        let (a, b) = (f64::from(*a), f64::from(*b));
        dot += a * b;
        ones += a * a;
        others += b * b;
    }
    (dot / (ones.sqrt() * others.sqrt())).clamp(0.0, 1.0)
}

/// The share of the words of either that both have.
fn jaccard(one: &BTreeSet<String>, other: &BTreeSet<String>) -> f64 {
    let both = one.intersection(other).count();
    let either = one.len() + other.len() - both;
    #[expect(clippy::cast_precision_loss, reason = "words of an episode, of which there are few")]
    let share = both as f64 / either.max(1) as f64;
    share
}

fn words(text: &str) -> BTreeSet<String> {
    text.split_whitespace()
        .filter(|word| word.chars().count() >= WORD_CHARS_MIN)
        .map(str::to_lowercase)
        .collect()
}
