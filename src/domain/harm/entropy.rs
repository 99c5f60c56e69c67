//! How random a short text looks, in integers, so that every platform says the same.

/// Longest text that is measured; a secret beyond it is random in its beginning too.
pub(super) const LEN_MAX: usize = 256;

/// One bit of entropy.
const BIT: u32 = 1 << 16;

/// `n * log2(n)` in units of [`BIT`].
static N_LOG2_N: [u32; LEN_MAX + 1] = n_log2_n();

const fn n_log2_n() -> [u32; LEN_MAX + 1] {
    let mut table = [0; LEN_MAX + 1];
    let mut n = 2;
    while n <= LEN_MAX {
        table[n] = (log2(n as u64) * n as u64) as u32;
        n += 1;
    }
    table
}

/// Sixteen binary places of log2, by repeated squaring.
const fn log2(n: u64) -> u64 {
    let whole = n.ilog2() as u64;
    // A number in [1, 2) with 31 binary places.
    let mut rest = (n << 31) >> whole;
    let mut places = 0;
    let mut place = 0;
    while place < 16 {
        rest = (rest * rest) >> 31;
        places <<= 1;
        if rest >= 1 << 32 {
            places |= 1;
            rest >>= 1;
        }
        place += 1;
    }
    (whole << 16) | places
}

/// What a text is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) len: usize,
    pub(super) lower: usize,
    pub(super) upper: usize,
    pub(super) digits: usize,
    pub(super) others: usize,
    /// Neighbours of which one is a digit and the other a letter.
    pub(super) jumps: usize,
    /// Different bytes.
    pub(super) distinct: usize,
    /// Only hexadecimal digits of one case.
    pub(super) is_hex: bool,
    /// Hundredths of a bit of entropy per byte.
    pub(super) centibits: u32,
}

impl Shape {
    /// Measures the first [`LEN_MAX`] bytes.
    pub(super) fn of(text: &[u8]) -> Self {
        let text = &text[..text.len().min(LEN_MAX)];
        let mut counts = [0u16; 256];
        let mut shape = Self { len: text.len(), ..Self::default() };
        let (mut is_lower_hex, mut is_upper_hex) = (true, true);
        let mut before = None;
        for byte in text {
            counts[usize::from(*byte)] += 1;
            match byte {
                b'a'..=b'z' => shape.lower += 1,
                b'A'..=b'Z' => shape.upper += 1,
                b'0'..=b'9' => shape.digits += 1,
                _ => shape.others += 1,
            }
            is_lower_hex &= matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            is_upper_hex &= matches!(byte, b'0'..=b'9' | b'A'..=b'F');
            let kind = byte.is_ascii_alphanumeric().then(|| byte.is_ascii_digit());
            if let (Some(kind), Some(before)) = (kind, before) {
                shape.jumps += usize::from(kind != before);
            }
            before = kind;
        }
        shape.is_hex = is_lower_hex || is_upper_hex;
        shape.distinct = counts.iter().filter(|count| **count > 0).count();
        if let Ok(len @ 1..) = u32::try_from(text.len()) {
            let spread: u32 = counts.iter().map(|count| N_LOG2_N[usize::from(*count)]).sum();
            let bits = N_LOG2_N[text.len()].saturating_sub(spread);
            // 256 bytes have at most 8 bits each: a hundred times that fits.
            let hundredths = u64::from(bits) * 100 / u64::from(len) / u64::from(BIT);
            shape.centibits = u32::try_from(hundredths).unwrap_or(u32::MAX);
        }
        shape
    }

    /// How many of the four kinds of characters there are.
    pub(super) fn kinds(self) -> usize {
        [self.lower, self.upper, self.digits, self.others].iter().filter(|n| **n > 0).count()
    }

    /// Whether it looks drawn and not written: of 16 random letters and digits nearly all differ
    /// (3.5 bits each; random hex has a little less), some are digits, and these stand among the
    /// letters and not in one place, as they do in names with a number.
    pub(super) fn is_drawn(self) -> bool {
        let bits_min = if self.is_hex { 280 } else { 340 };
        self.len >= 16 && self.digits >= 2 && self.jumps >= 3 && self.centibits >= bits_min
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_is_that_of_shannon() {
        for (text, centibits) in [
            ("", 0),
            ("a", 0),
            ("aaaaaaaa", 0),
            ("abababab", 100),
            ("abcd", 200),
            ("0123456789abcdef", 400),
            // -(1/3 log2 1/3 + 2/3 log2 2/3) = 0.918
            ("aab", 91),
        ] {
            assert_eq!(Shape::of(text.as_bytes()).centibits, centibits, "{text}");
        }
    }

    #[test]
    fn the_integer_logarithm_is_within_its_last_place() {
        for (n, units) in N_LOG2_N.iter().enumerate().skip(2) {
            let expected = (n as f64).log2() * n as f64;
            let found = f64::from(*units) / f64::from(BIT);
            assert!((expected - found).abs() <= n as f64 / f64::from(BIT), "{n}");
        }
    }

    #[test]
    fn drawn_and_written_texts_differ() {
        for drawn in
            ["q7Zk2LmX9vB4tR8w", "9f86d081884c7d659a2feaa0c55ad015", "kP3-x9_Qm2/7Tz+LwB5r"]
        {
            assert!(Shape::of(drawn.as_bytes()).is_drawn(), "{drawn}");
        }
        for written in [
            "my_secret_token_value",
            "user-session-token-2024",
            "correct horse battery staple",
            "0000000000000000000000000000000",
            "abababababababab1212",
            "ThisIsATokenNameNumber12",
            "q7Zk2LmX9vB4tR8",
        ] {
            assert!(!Shape::of(written.as_bytes()).is_drawn(), "{written}");
        }
    }
}
