//! The constitution's file.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::domain::constitution::{Constitution, ConstitutionError, DOCUMENT_BYTES_MAX};

/// Why a file gives no constitution.
#[derive(Debug, thiserror::Error)]
pub enum ConstitutionFileError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What it holds is not valid.
    #[error(transparent)]
    Document(#[from] ConstitutionError),
}

/// Reads and validates the file at `path`; reads no more of it than a constitution may have.
///
/// # Errors
/// [`ConstitutionFileError`], with the file's name.
pub fn read(path: &Path) -> Result<Constitution, ConstitutionFileError> {
    let fail = |source| ConstitutionFileError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    // One byte more, so that the parser sees that it is too long.
    let limit = DOCUMENT_BYTES_MAX as u64 + 1;
    File::open(path).map_err(fail)?.take(limit).read_to_string(&mut text).map_err(fail)?;
    Ok(Constitution::parse(&path.display().to_string(), &text)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::constitution::DEFAULT_TOML;

    #[test]
    fn a_file_is_read_whole_or_refused_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("site.toml");
        let said = || read(&path).unwrap_err().to_string();
        assert!(said().contains("site.toml"), "{}", said());
        std::fs::write(&path, DEFAULT_TOML).unwrap();
        assert_eq!(read(&path).unwrap(), Constitution::default());
        std::fs::write(&path, [DEFAULT_TOML.as_bytes(), b"\xff"].concat()).unwrap();
        assert!(said().contains("UTF-8"), "{}", said());
        std::fs::write(&path, vec![b'#'; 1 << 20]).unwrap();
        assert!(said().contains("at most"), "{}", said());
        assert!(read(dir.path()).is_err(), "a folder is no file");
    }
}
