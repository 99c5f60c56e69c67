//! Hexadecimal as this node reads and writes it: lower case only, constant time, no panics.

/// Why text is not the hex that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HexError {
    /// It has another length.
    #[error("{found} bytes of text where {expected} hex digits are expected")]
    Length {
        /// Digits asked for.
        expected: usize,
        /// Bytes of text found.
        found: usize,
    },
    /// Something in it is not one of `0-9a-f`. Where is not said, as that would take a comparison
    /// per digit that depends on them.
    #[error("not lower-case hex")]
    Digit,
}

/// Reads exactly `N` bytes from `2 * N` lower-case digits. One value has one spelling: upper case,
/// signs, spaces and prefixes are refused.
///
/// # Errors
/// [`HexError`], for text of any length and script.
pub fn from_hex<const N: usize>(text: &str) -> Result<[u8; N], HexError> {
    if text.len() != 2 * N {
        return Err(HexError::Length { expected: 2 * N, found: text.len() });
    }
    let mut bytes = [0; N];
    match base16ct::lower::decode(text, &mut bytes) {
        Ok(_) => Ok(bytes),
        Err(_) => Err(HexError::Digit),
    }
}

/// Writes two lower-case digits a byte.
pub fn to_hex(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_value_has_one_spelling() {
        assert_eq!(from_hex::<2>("0aff"), Ok([0x0a, 0xff]));
        for other in ["0AFF", "+aff", "0a f", "0xff", "0af\n", "0afg", "\u{e9}af", "\u{20ac}a"] {
            assert_eq!(from_hex::<2>(other), Err(HexError::Digit), "{other:?}");
        }
    }

    #[test]
    fn another_length_is_refused() {
        for other in ["", "0", "0af", "0aff0", "0x0aff", "0aff\n"] {
            let found = other.len();
            assert_eq!(from_hex::<2>(other), Err(HexError::Length { expected: 4, found }));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered_and_what_is_read_is_written_alike(text in "\\PC{0,8}") {
            if let Ok(bytes) = from_hex::<4>(&text) {
                prop_assert_eq!(to_hex(&bytes), text);
            }
        }

        #[test]
        fn what_is_written_is_read_back(bytes: [u8; 16]) {
            prop_assert_eq!(from_hex::<16>(&to_hex(&bytes)), Ok(bytes));
        }
    }
}
