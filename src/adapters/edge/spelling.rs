//! How vocabularies spell bytes that are no printable text.

/// The first letter that is not in [`Alphabet`].
const LETTERS_END: usize = 0x144;

/// The 256 letters by which GPT-2's vocabulary spells the bytes: printable Latin-1 as itself, the
/// other 68 from U+0100 on.
#[derive(Debug)]
pub struct Alphabet {
    letters: [char; 256],
    bytes: [Option<u8>; LETTERS_END],
}

impl Default for Alphabet {
    fn default() -> Self {
        Self::new()
    }
}

impl Alphabet {
    /// The alphabet, which is always the same.
    #[must_use]
    pub fn new() -> Self {
        let mut others = '\u{100}'..;
        let letters = std::array::from_fn(|byte| match byte as u8 {
            printable @ (b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff) => char::from(printable),
            // The range holds far more than the 68 that are needed.
            _ => others.next().unwrap_or(char::REPLACEMENT_CHARACTER),
        });
        let mut bytes = [None; LETTERS_END];
        for (byte, letter) in (0..=u8::MAX).zip(letters) {
            bytes[letter as usize] = Some(byte);
        }
        Self { letters, bytes }
    }

    /// The letter of each byte.
    #[must_use]
    pub fn letters(&self) -> &[char; 256] {
        &self.letters
    }

    /// The bytes that `text` spells; letters that are not in the alphabet stand for themselves.
    #[must_use]
    pub fn bytes(&self, text: &str) -> Box<[u8]> {
        let mut bytes = Vec::with_capacity(text.len());
        for letter in text.chars() {
            match self.bytes.get(letter as usize) {
                Some(Some(byte)) => bytes.push(*byte),
                _ => bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        bytes.into()
    }
}

/// The byte of a SentencePiece token such as `<0x0A>`.
#[must_use]
pub fn byte_named(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    // `from_str_radix` would take a sign.
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if is_hex { u8::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_space_and_a_newline_are_spelled_as_gpt_2_does() {
        let alphabet = Alphabet::new();
        assert_eq!(alphabet.letters()[usize::from(b' ')], '\u{120}');
        assert_eq!(alphabet.letters()[usize::from(b'\n')], '\u{10a}');
        assert_eq!(alphabet.letters()[0xad], '\u{143}');
        assert_eq!(&*alphabet.bytes("\u{120}a\u{c3}\u{a9}"), " a\u{e9}".as_bytes());
    }

    #[test]
    fn every_byte_has_a_letter_of_its_own() {
        let alphabet = Alphabet::new();
        for byte in 0..=u8::MAX {
            let letter = alphabet.letters()[usize::from(byte)];
            assert_eq!(&*alphabet.bytes(&letter.to_string()), [byte]);
        }
    }

    #[test]
    fn letters_outside_the_alphabet_stand_for_themselves() {
        assert_eq!(&*Alphabet::new().bytes("\u{20ac}"), "\u{20ac}".as_bytes());
    }

    #[test]
    fn a_named_byte_is_two_digits_in_angle_brackets() {
        assert_eq!(byte_named("<0x0A>"), Some(10));
        for other in ["<0xG0>", "<0x+A>", "<0x100>", "0x0A", "<0x>", "<0x0A"] {
            assert_eq!(byte_named(other), None, "{other}");
        }
    }
}
