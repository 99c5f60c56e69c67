//! The statistics of English, read in place from a file that a tool of this repository makes.
//!
//! Every byte pattern of the right length is safe to read; that the file is the one it should be,
//! its digest tells.

use std::sync::LazyLock;

use super::classes::{CLASSES, CLUSTER, FUNCTION, unknown};
use super::words::{Kind, Word};

/// Letters and the edge of a word.
const SIGNS: usize = 27;
/// Slots of the vocabulary; a power of two.
pub const SLOTS: usize = 1 << 14;
/// Most function words of other languages.
pub const FOREIGN_MAX: usize = 1024;

/// First bytes of the file.
pub const MAGIC: &[u8; 8] = b"bizsnr1\n";
/// Where the costs of trigrams begin: one byte each, in sixteenths of a bit.
pub const TRIGRAMS: usize = MAGIC.len();
/// Where the weights of pairs of classes begin: one signed byte each, in sixteenths of a bit.
pub const PAIRS: usize = TRIGRAMS + SIGNS * SIGNS * SIGNS;
/// Where the vocabulary begins: four bytes a slot, the lowest first.
pub const VOCABULARY: usize = PAIRS + CLASSES * CLASSES;
/// Where the function words of other languages begin: sorted, four bytes each, the lowest first.
pub const FOREIGN: usize = VOCABULARY + 4 * SLOTS;
/// Where the digest of all before it begins.
pub const DIGEST: usize = FOREIGN + 4 * FOREIGN_MAX;
/// Length of the file.
pub const LENGTH: usize = DIGEST + 32;

/// In a slot: the word is so common that its presence says nothing about a source.
pub const COMMON: u32 = 1 << 23;
const TAG: u32 = COMMON - 1;

static BYTES: &[u8; LENGTH] = include_bytes!("tables.bin");

static VERSION: LazyLock<String> = LazyLock::new(|| {
    let digest = blake3::hash(&BYTES[..DIGEST]).to_hex();
    format!("1-{}", &digest[..8])
});

/// Version of the scorer: that of the rules, and the beginning of the tables' digest.
pub(super) fn version() -> &'static str {
    &VERSION
}

/// Whether `bytes` are whole tables.
pub fn is_whole(bytes: &[u8]) -> bool {
    bytes.len() == LENGTH
        && bytes.starts_with(MAGIC)
        && blake3::hash(&bytes[..DIGEST]).as_bytes()[..] == bytes[DIGEST..]
}

/// The tables in use.
pub fn bytes() -> &'static [u8] {
    BYTES
}

/// Slot in which the search for a word begins, and its tag.
pub const fn place(hash: u64) -> (usize, u32) {
    ((hash >> 40) as usize % SLOTS, hash as u32 & TAG)
}

/// Index of a trigram of letters, 0 being the edge of a word and 1 to 26 the letters.
pub const fn trigram(first: u8, second: u8, third: u8) -> usize {
    (first as usize * SIGNS + second as usize) * SIGNS + third as usize
}

/// The class of a word, and whether it is common.
pub(super) fn class(word: &Word<'_>) -> (u8, bool) {
    if word.kind == Kind::Natural {
        let (start, tag) = place(word.hash);
        // A table may be full in principle; in practice a search ends after a few slots.
        for at in 0..SLOTS {
            let slot = quad(VOCABULARY + 4 * ((start + at) % SLOTS));
            if slot == 0 {
                break;
            }
            if slot & TAG == tag {
                return ((slot >> 24) as u8, slot & COMMON != 0);
            }
        }
    }
    (unknown(word), false)
}

/// Whether the class is that of a function word.
pub(super) const fn is_function(class: u8) -> bool {
    class >= FUNCTION && class < CLUSTER
}

/// How much more often the second class follows the first than chance has it: sixteenths of a bit.
pub(super) fn pair(first: u8, second: u8) -> i8 {
    BYTES[PAIRS + first as usize * CLASSES + second as usize] as i8
}

/// Cost of a word's letters in sixteenths of a bit, and their number, the end counted as one.
pub(super) fn cost(letters: &[u8]) -> (u32, u32) {
    let (mut first, mut second, mut sum) = (0, 0, 0);
    for &letter in letters {
        let third = letter.wrapping_sub(b'a' - 1) % SIGNS as u8;
        sum += u32::from(BYTES[TRIGRAMS + trigram(first, second, third)]);
        (first, second) = (second, third);
    }
    sum += u32::from(BYTES[TRIGRAMS + trigram(first, second, 0)]);
    (sum, letters.len() as u32 + 1)
}

/// Whether the word is a function word of a language other than English.
pub(super) fn is_of_another_language(hash: u64) -> bool {
    let hash = (hash >> 32) as u32;
    let (mut low, mut high) = (0, FOREIGN_MAX);
    while low < high {
        let middle = (low + high) / 2;
        match quad(FOREIGN + 4 * middle) {
            found if found == hash => return true,
            found if found < hash => low = middle + 1,
            _ => high = middle,
        }
    }
    false
}

fn quad(at: usize) -> u32 {
    u32::from_le_bytes([BYTES[at], BYTES[at + 1], BYTES[at + 2], BYTES[at + 3]])
}
