//! Passphrases: what may be one, and that none is left behind in memory or in a log.

use std::fmt;

use zeroize::Zeroizing;

/// Characters of a passphrase at least (NIST SP 800-63B, section 5.1.1.1): it guards files that an
/// attacker may try at leisure.
pub const CHARS_MIN: usize = 8;

/// Bytes of a passphrase at most: a page of text.
pub const BYTES_MAX: usize = 1024;

/// A passphrase. Overwritten when dropped, never printed.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Takes a text as passphrase, every byte of it.
    ///
    /// # Errors
    /// [`PassphraseError`] if it is too short or too long to be one.
    pub fn new(text: Zeroizing<String>) -> Result<Self, PassphraseError> {
        if text.len() > BYTES_MAX {
            return Err(PassphraseError::Long);
        }
        if text.chars().count() < CHARS_MIN {
            return Err(PassphraseError::Short);
        }
        Ok(Self(text))
    }

    /// Its bytes in UTF-8, from which keys are derived.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(hidden)")
    }
}

/// Why a text is no passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PassphraseError {
    /// It could be guessed.
    #[error("a passphrase has at least {CHARS_MIN} characters")]
    Short,
    /// It is longer than anybody types.
    #[error("a passphrase has at most {BYTES_MAX} bytes")]
    Long,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase(text: &str) -> Result<Passphrase, PassphraseError> {
        Passphrase::new(Zeroizing::new(text.to_owned()))
    }

    #[test]
    fn characters_are_counted_and_bytes_are_bounded() {
        assert!(passphrase("12345678").is_ok() && passphrase(&"\u{6f22}".repeat(8)).is_ok());
        assert!(passphrase(&"x".repeat(1024)).is_ok());
        assert_eq!(passphrase("1234567").unwrap_err(), PassphraseError::Short);
        assert_eq!(passphrase(&"\u{6f22}".repeat(7)).unwrap_err(), PassphraseError::Short);
        assert_eq!(passphrase(&"x".repeat(1025)).unwrap_err(), PassphraseError::Long);
    }

    #[test]
    fn a_passphrase_is_not_printed() {
        let text = format!("{:?}", passphrase("correct horse"));
        assert_eq!(text, "Ok(Passphrase(hidden))");
    }
}
