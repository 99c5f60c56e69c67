//! Which sentences the sources support, by their words, numbers and neighbourhoods.

use super::tables;
use super::words::{Kind, Over, Token, mix, scan};

/// Words of the sources that are remembered; a power of two. What is beyond supports nothing.
const WORDS_MAX: usize = 1 << 16;
/// Distance, in words of content, at which two words of a source still support each other.
const REACH: usize = 3;
/// Words of content in a row, without a function word, that are a list and no sentence.
const LIST: usize = 7;

/// A word of a sentence, as far as support depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Term {
    pub(super) hash: u64,
    pub(super) role: Role,
}

/// What a word does in a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Holds the sentence together.
    Function,
    /// Turns the meaning around: its neighbourhood must be that of the source.
    Negation,
    /// So common that any source has it.
    Common,
    /// Says something.
    Content,
}

/// The words and neighbourhoods of all sources.
#[derive(Debug)]
pub(super) struct Index {
    words: Set,
    pairs: Set,
}

impl Index {
    pub(super) fn of(sources: &[&str], is_over: &mut dyn FnMut() -> bool) -> Result<Self, Over> {
        let bytes = sources.iter().map(|source| source.len()).sum::<usize>();
        let words = (bytes / 4).clamp(16, WORDS_MAX);
        let mut index = Self { words: Set::new(words), pairs: Set::new(words * REACH) };
        for source in sources {
            let mut last = [0_u64; REACH];
            scan(source, is_over, &mut |token| {
                let Token::Word(word) = token else { return };
                let term = term(&word);
                if matches!(term.role, Role::Function | Role::Common) {
                    return;
                }
                index.words.insert(term.hash);
                for before in last.into_iter().filter(|before| *before != 0) {
                    index.pairs.insert(joined(before, term.hash));
                }
                last.rotate_right(1);
                last[0] = term.hash;
            })?;
        }
        Ok(index)
    }

    /// Whether the sources support the sentence; `None` if it says nothing that could be.
    ///
    /// Supported is a sentence all of whose words of content and numbers are in the sources, at
    /// least half of them beside the neighbour that they have there too. One word too many spoils
    /// it, so that adding words cannot help; a list of words is no sentence.
    pub(super) fn supports(&self, sentence: &[Term], is_ordered: bool) -> Option<bool> {
        let (mut content, mut pairs, mut kept, mut row) = (0, 0, 0, 0);
        let mut before: Option<Term> = None;
        let mut is_known = true;
        for term in sentence {
            row = if term.role == Role::Function { 0 } else { row + 1 };
            is_known &= row < LIST;
            if matches!(term.role, Role::Function | Role::Common) {
                continue;
            }
            content += 1;
            is_known &= self.words.has(term.hash);
            if let Some(before) = before {
                let is_kept = self.pairs.has(joined(before.hash, term.hash));
                (pairs, kept) = (pairs + 1, kept + usize::from(is_kept));
                is_known &= is_kept || before.role != Role::Negation;
            }
            before = Some(*term);
        }
        let has_function = sentence.iter().any(|term| term.role == Role::Function);
        (content > 1).then_some(is_known && is_ordered && has_function && kept * 2 >= pairs)
    }
}

/// What a word does.
pub(super) fn term(word: &super::words::Word<'_>) -> Term {
    if word.kind != Kind::Natural {
        return Term { hash: word.hash, role: Role::Content };
    }
    let (class, is_common) = tables::class(word);
    let role = match word.letters {
        b"not" | b"no" | b"never" | b"cannot" | b"without" | b"nor" | b"neither" | b"none" => {
            Role::Negation
        }
        letters if letters.ends_with(b"nt") && is_contracted(letters) => Role::Negation,
        _ if tables::is_function(class) => Role::Function,
        _ if is_common => Role::Common,
        _ => Role::Content,
    };
    Term { hash: stem(word.letters), role }
}

/// Auxiliaries joined with "not", without their apostrophe.
fn is_contracted(letters: &[u8]) -> bool {
    const STEMS: [&[u8]; 18] = [
        b"is", b"are", b"was", b"were", b"do", b"does", b"did", b"has", b"have", b"had", b"ca",
        b"could", b"wo", b"would", b"should", b"must", b"might", b"need",
    ];
    letters.strip_suffix(b"nt").is_some_and(|stem| STEMS.contains(&stem))
}

/// Hash of a word without its commonest endings, so that "locks" supports "lock".
fn stem(letters: &[u8]) -> u64 {
    let mut end = letters.len();
    for ending in [&b"ing"[..], b"ed", b"es", b"s", b"e"] {
        if letters.ends_with(ending) && letters.len() >= ending.len() + 3 {
            end -= ending.len();
            break;
        }
    }
    mix(letters[..end]
        .iter()
        .fold(7, |hash: u64, letter| hash.wrapping_mul(0x0000_0100_0000_01B3) ^ u64::from(*letter)))
}

fn joined(first: u64, second: u64) -> u64 {
    mix(first.rotate_left(23) ^ second)
}

/// A set of hashes with a limit; what comes when it is full is left out.
#[derive(Debug)]
pub(super) struct Set {
    slots: Vec<u64>,
    free: usize,
}

impl Set {
    /// For so many hashes.
    pub(super) fn new(most: usize) -> Self {
        Self { slots: vec![0; (most * 2).next_power_of_two()], free: most }
    }

    /// Adds a hash and says whether it was new. When the set is full, nothing is added.
    pub(super) fn insert(&mut self, hash: u64) -> bool {
        let (slot, is_held) = self.find(hash);
        if !is_held && self.free > 0 {
            self.slots[slot] = hash.max(1);
            self.free -= 1;
        }
        !is_held
    }

    fn has(&self, hash: u64) -> bool {
        self.find(hash).1
    }

    /// The slot of the hash or the free one for it. Half of the slots stay free, so it ends.
    fn find(&self, hash: u64) -> (usize, bool) {
        let hash = hash.max(1);
        let mask = self.slots.len() - 1;
        let mut slot = (hash >> 20) as usize & mask;
        while self.slots[slot] != 0 {
            if self.slots[slot] == hash {
                return (slot, true);
            }
            slot = (slot + 1) & mask;
        }
        (slot, false)
    }
}
