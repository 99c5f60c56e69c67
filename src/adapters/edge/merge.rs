//! Joins neighbouring symbols, the best pair first, until no pair may be joined.
//!
//! Byte-pair encoding (Sennrich et al., 2016) and the score-driven joining of SentencePiece
//! (Kudo and Richardson, 2018) differ only in which pairs may be joined and which is best.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A stretch of the text and the token that it is so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Where it begins, in bytes.
    pub start: usize,
    /// How many bytes it has.
    pub len: usize,
    /// Its token, if it is one.
    pub token: Option<u32>,
}

/// A joint that may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joint {
    /// The lowest is made first; of equals the leftmost.
    pub rank: u64,
    /// The token that results.
    pub token: u32,
}

const NONE: usize = usize::MAX;

/// A joint in the queue. It is stale if either side has grown since, which its length shows.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    rank: u64,
    left: usize,
    right: usize,
    len: usize,
    token: u32,
}

/// Joins `symbols`, which follow each other without gaps, as `joint` allows.
///
/// Takes O(n log n) steps for n symbols, whatever the text.
pub fn merge(
    mut symbols: Vec<Symbol>,
    joint: impl Fn(&Symbol, &Symbol) -> Option<Joint>,
) -> Vec<Symbol> {
    let count = symbols.len();
    let mut previous: Vec<usize> = (0..count).map(|i| i.wrapping_sub(1)).collect();
    let mut next: Vec<usize> = (1..=count).map(|i| if i < count { i } else { NONE }).collect();
    let mut queue = BinaryHeap::new();
    let push = |queue: &mut BinaryHeap<_>, symbols: &[Symbol], left: usize, right: usize| {
        if left == NONE || right == NONE {
            return;
        }
        let (a, b) = (&symbols[left], &symbols[right]);
        if let Some(Joint { rank, token }) = joint(a, b) {
            queue.push(Reverse(Candidate { rank, left, right, len: a.len + b.len, token }));
        }
    };
    for right in 1..count {
        push(&mut queue, &symbols, right - 1, right);
    }
    while let Some(Reverse(Candidate { left, right, len, token, .. })) = queue.pop() {
        let is_fresh = next[left] == right
            && symbols[left].len > 0
            && symbols[right].len > 0
            && symbols[left].len + symbols[right].len == len;
        if !is_fresh {
            continue;
        }
        symbols[left].len = len;
        symbols[left].token = Some(token);
        symbols[right].len = 0;
        next[left] = next[right];
        if next[left] != NONE {
            previous[next[left]] = left;
        }
        push(&mut queue, &symbols, previous[left], left);
        push(&mut queue, &symbols, left, next[left]);
    }
    symbols.retain(|symbol| symbol.len > 0);
    symbols
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Joins one-letter symbols of `text` by a list of pairs, the first the best.
    fn joined(text: &str, pairs: &[(&str, &str)]) -> Vec<String> {
        let symbols = (0..text.len()).map(|start| Symbol { start, len: 1, token: None }).collect();
        let joint = |a: &Symbol, b: &Symbol| {
            let (a, b) = (&text[a.start..a.start + a.len], &text[b.start..b.start + b.len]);
            let rank = pairs.iter().position(|pair| *pair == (a, b))?;
            Some(Joint { rank: rank as u64, token: rank as u32 })
        };
        let symbols = merge(symbols, joint);
        symbols.iter().map(|s| text[s.start..s.start + s.len].to_owned()).collect()
    }

    #[test]
    fn the_best_pair_is_joined_first() {
        assert_eq!(joined("abc", &[("b", "c"), ("a", "b")]), ["a", "bc"]);
        assert_eq!(joined("abc", &[("a", "b"), ("b", "c")]), ["ab", "c"]);
        assert_eq!(joined("abc", &[("b", "c"), ("a", "bc")]), ["abc"]);
    }

    #[test]
    fn of_equal_pairs_the_leftmost_is_joined_first() {
        assert_eq!(joined("aaaaa", &[("a", "a")]), ["aa", "aa", "a"]);
        assert_eq!(joined("aaaaa", &[("a", "a"), ("aa", "aa")]), ["aaaa", "a"]);
    }

    #[test]
    fn nothing_and_one_symbol_stay() {
        assert!(joined("", &[("a", "a")]).is_empty());
        assert_eq!(joined("a", &[("a", "a")]), ["a"]);
    }

    #[test]
    fn a_long_run_takes_no_quadratic_time() {
        let text = "a".repeat(200_000);
        let pairs = [("a", "a"), ("aa", "aa"), ("aaaa", "aaaa")];
        assert_eq!(joined(&text, &pairs).len(), 25_000);
    }
}
