//! The file that holds a passphrase, as the node and its owner's commands read it.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::domain::passphrase::{BYTES_MAX, Passphrase, PassphraseError};
use crate::private_file::{self, PrivateFileError};

/// Why there is no passphrase.
#[derive(Debug, thiserror::Error)]
pub enum PassphraseFileError {
    /// The file cannot be read, or others can read it too.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// It holds something that is no passphrase.
    #[error("{}: {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: PassphraseError,
    },
    /// It does not hold text.
    #[error("{}: a passphrase is UTF-8", path.display())]
    Text {
        /// The file.
        path: PathBuf,
    },
}

/// Reads the passphrase in this file: all of it but one line end at its end.
///
/// # Errors
/// [`PassphraseFileError`].
pub fn read(path: &Path) -> Result<Passphrase, PassphraseFileError> {
    let bytes = private_file::read(path, BYTES_MAX + 2)?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| PassphraseFileError::Text { path: path.to_owned() })?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    Passphrase::new(Zeroizing::new(text.to_owned()))
        .map_err(|problem| PassphraseFileError::Content { path: path.to_owned(), problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_not_part_of_the_passphrase() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        for (content, passphrase) in [
            ("correct horse", "correct horse"),
            ("correct horse\n", "correct horse"),
            ("correct horse\r\n", "correct horse"),
            (" correct horse \n\n", " correct horse \n"),
        ] {
            private_file::write(dir.path(), "p", content.as_bytes()).unwrap();
            assert_eq!(read(&path).unwrap().as_bytes(), passphrase.as_bytes());
        }
    }

    #[test]
    fn what_is_no_passphrase_is_refused_with_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        for (content, problem) in [
            (&b""[..], ": a passphrase has at least 8 characters"),
            (b"short\n", ": a passphrase has at least 8 characters"),
            (b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8", ": a passphrase is UTF-8"),
            (&[b'x'; 1025], ": a passphrase has at most 1024 bytes"),
            (&[b'x'; 2000], " is not a regular file of at most 1026 bytes"),
        ] {
            private_file::write(dir.path(), "p", content).unwrap();
            let text = read(&path).unwrap_err().to_string();
            assert_eq!(text, format!("{}{problem}", path.display()));
        }
    }
}
