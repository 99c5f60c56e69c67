//! One look at every byte, which turns clean text away and tells what else is to be looked for.
//!
//! Every detector needs something that most text has not: four letters in a row ("gram"), a sign,
//! or several digits. One table of 256 words answers for all of them: the low bits say of which
//! class a byte is, and four fields of twelve bits say in which gram it may stand where. The loop
//! has no branch and no allocation.

/// Bytes between two questions whether time is over: some ten microseconds of work.
pub(super) const PIECE_BYTES: usize = 16 * 1024;

/// Digits in the shortest number that is looked for, a phone number.
const DIGITS_MIN: usize = 8;

/// Buckets a gram may be in. Grams of one bucket are seen together, and so are mixtures of them,
/// so that a hit is only ever a reason to look.
const BUCKETS: u32 = 12;
const FIRST_FIELD: u32 = 16;

/// Classes of bytes.
const DIGIT: u64 = 1;
const AT: u64 = 1 << 1;
/// The first byte of a character that could be invisible or look like another.
const FOREIGN: u64 = 1 << 2;

/// Buckets of what begins at a fixed place (secrets, names of secrets, marks of roles), and of words.
/// Within each, grams were put together so that their mixtures are rare in prose.
const ANCHORS: u64 = 0b111_1111;
const WORDS: u64 = 0b1_1111 << 7;

/// Four bytes that a mark cannot be without, the bucket, and whether letters count in both cases.
/// A question mark stands for any byte.
const GRAMS: &[(&[u8; 4], u32, bool)] = &[
    // Prefixes of secrets, whose case is part of them.
    (b"AKIA", 0, false),
    (b"ASIA", 0, false),
    (b"AIza", 0, false),
    (b"AGE-", 3, false),
    (b"-BEG", 2, false),
    (b"ghp_", 0, false),
    (b"gho_", 2, false),
    (b"ghu_", 2, false),
    (b"ghs_", 0, false),
    (b"ghr_", 2, false),
    (b"b_pa", 2, false),
    (b"glpa", 0, false),
    (b"xox?", 5, false),
    (b"sk-?", 3, false),
    (b"hf_?", 3, false),
    (b"SG.?", 3, false),
    (b"eyJ?", 5, false),
    (b"sk_l", 3, false),
    (b"sk_t", 3, false),
    (b"rk_l", 3, false),
    (b"npm_", 2, false),
    (b"pypi", 4, false),
    (b"dop_", 2, false),
    (b"shpa", 0, false),
    (b"GOCS", 0, false),
    (b"dckr", 0, false),
    // Parts of names of what is secret.
    (b"pass", 0, true),
    (b"secr", 0, true),
    (b"toke", 6, true),
    (b"cred", 6, true),
    (b"arer", 6, true),
    (b"_key", 2, true),
    (b"-key", 2, true),
    (b"skey", 5, true),
    (b"ekey", 5, true),
    (b"tkey", 5, true),
    (b"ikey", 2, true),
    (b"hkey", 5, true),
    (b"gkey", 5, true),
    (b"nkey", 5, true),
    (b"rkey", 5, true),
    (b"pwd?", 3, true),
    // Marks of roles.
    (b"<sys", 0, true),
    (b"<|sy", 0, true),
    (b"<<sy", 0, true),
    (b"<|st", 1, true),
    (b"# in", 1, true),
    (b"<|im", 1, true),
    (b"<sta", 1, true),
    (b"<|as", 1, true),
    (b"<|de", 1, true),
    (b"# sy", 1, true),
    (b"<|eo", 1, true),
    (b"<|en", 1, true),
    (b"<|us", 1, true),
    (b"</sy", 1, true),
    (b"[sys", 4, true),
    (b"[ins", 4, true),
    (b"[/in", 4, true),
    // Parts of the words that the phrases in `words` cannot be without.
    (b" dan", 7, true),
    (b"foll", 7, true),
    (b"\"dan", 7, true),
    (b"tell", 7, true),
    (b"\ndan", 7, true),
    (b"peat", 9, true),
    (b"nyth", 8, true),
    (b"nstr", 8, true),
    (b"rrid", 8, true),
    (b"oubl", 8, true),
    (b"olvi", 8, true),
    (b"orge", 9, true),
    (b"obey", 9, true),
    (b"ssac", 9, true),
    (b"nege", 9, true),
    (b"esqu", 9, true),
    (b"isre", 10, true),
    (b"verg", 10, true),
    (b"unre", 10, true),
    (b"ompt", 10, true),
    (b"unce", 11, true),
    (b"gnor", 11, true),
    (b"unfi", 11, true),
    (b"dime", 11, true),
    (b"ypas", 11, true),
    (b"jail", 11, true),
];

static TABLE: [u64; 256] = table();

const fn table() -> [u64; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = class(byte as u8);
        byte += 1;
    }
    let mut gram = 0;
    while gram < GRAMS.len() {
        let (bytes, bucket, folds) = GRAMS[gram];
        let mut at = 0;
        while at < 4 {
            let bit = 1 << (FIRST_FIELD + BUCKETS * at as u32 + bucket);
            if bytes[at] == b'?' {
                let mut any = 0;
                while any < 256 {
                    table[any] |= bit;
                    any += 1;
                }
            } else {
                table[bytes[at] as usize] |= bit;
                if folds {
                    table[bytes[at].to_ascii_uppercase() as usize] |= bit;
                    table[bytes[at].to_ascii_lowercase() as usize] |= bit;
                }
            }
            at += 1;
        }
        gram += 1;
    }
    table
}

const fn class(byte: u8) -> u64 {
    match byte {
        b'0'..=b'9' => DIGIT,
        b'@' => AT,
        // Latin-1 letters and the soft hyphen; combining marks; Greek; Cyrillic; format characters
        // and full-width letters; mathematical letters, tags and selectors.
        0xc2 | 0xc3 | 0xcc..=0xd1 | 0xe1 | 0xe2 | 0xef | 0xf0 | 0xf3 => FOREIGN,
        _ => 0,
    }
}

/// What a glance found worth a closer look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Glance {
    seen: u64,
    hits: u64,
    digits: usize,
}

impl Glance {
    pub(super) fn is_clean(self) -> bool {
        self.hits == 0 && self.seen & (AT | FOREIGN) == 0 && self.digits < DIGITS_MIN
    }

    /// What a text would look like that has everything.
    #[cfg(test)]
    pub(super) fn all() -> Self {
        Self { seen: u64::MAX, hits: u64::MAX, digits: usize::MAX }
    }

    pub(super) fn has_foreign(self) -> bool {
        self.seen & FOREIGN != 0
    }

    /// Prefixes of secrets, marks of roles, or names with something assigned.
    pub(super) fn has_anchors(self) -> bool {
        self.hits & ANCHORS != 0
    }

    pub(super) fn has_words(self) -> bool {
        self.hits & WORDS != 0
    }

    pub(super) fn has_numbers(self) -> bool {
        self.digits >= DIGITS_MIN
    }

    pub(super) fn has_at(self) -> bool {
        self.seen & AT != 0
    }
}

/// The last bytes before a piece, so that a gram on the seam is seen.
#[derive(Clone, Copy, Debug, Default)]
struct Seam {
    entry: u64,
    pairs: [u64; 2],
}

/// Looks at every byte of `text`. `None` if `is_over` said so in between.
pub(super) fn glance(text: &[u8], is_over: &mut dyn FnMut() -> bool) -> Option<Glance> {
    let mut found = Glance::default();
    let mut seam = Seam::default();
    let mut pieces = text.chunks(PIECE_BYTES).peekable();
    while let Some(piece) = pieces.next() {
        for byte in piece {
            let entry = TABLE[usize::from(*byte)];
            let hit = seam.step(entry);
            found.seen |= entry;
            found.hits |= hit;
            found.digits += usize::from(entry & DIGIT != 0);
        }
        if pieces.peek().is_some() && is_over() {
            return None;
        }
    }
    found.hits >>= FIRST_FIELD + 3 * BUCKETS;
    Some(found)
}

impl Seam {
    /// The field of fourth bytes is left with the buckets of which a gram ends here.
    #[inline(always)]
    fn step(&mut self, entry: u64) -> u64 {
        let pair = (self.entry << BUCKETS) & entry;
        let hit = (self.pairs[0] << (2 * BUCKETS)) & pair;
        self.entry = entry;
        self.pairs = [self.pairs[1], pair];
        hit
    }
}

/// Calls `at_gram(start, text)` wherever a gram of a secret, a name or a role may begin. `None` if
/// `is_over` said so in between.
pub(super) fn anchors(
    text: &[u8],
    is_over: &mut dyn FnMut() -> bool,
    at_gram: &mut dyn FnMut(usize),
) -> Option<()> {
    let mut seam = Seam::default();
    let wanted = ANCHORS << (FIRST_FIELD + 3 * BUCKETS);
    for (index, byte) in text.iter().enumerate() {
        if seam.step(TABLE[usize::from(*byte)]) & wanted != 0 {
            // A gram has four bytes, so three came before this one.
            at_gram(index.saturating_sub(3));
        }
        if index % PIECE_BYTES == PIECE_BYTES - 1 && is_over() {
            return None;
        }
    }
    Some(())
}
