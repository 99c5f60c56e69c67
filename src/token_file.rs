//! The file that holds the bearer token, as the node and its owner's commands read it.
//!
//! Both read it by one rule: a token that others could have read or put there is none.

use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use zeroize::{Zeroize, Zeroizing};

use crate::private_file::{self, PrivateFileError};

/// The file's name in the data directory.
pub const FILE_NAME: &str = "api-token";

/// 32 random bytes: no guessing, however fast the node answers.
const SECRET_BYTES: usize = 32;

/// The 43 characters of the token and a line end; more is not a token.
const FILE_BYTES_MAX: usize = 64;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file could not be read or made, or others could have read it or put it there.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// The file holds something else.
    #[error("{} holds no token; delete it, and the next start makes a new one", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The system gave no random bytes.
    #[error("no random bytes: {0}")]
    Random(getrandom::Error),
}

impl TokenError {
    /// Whether there is no file, as before the first start.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::File(error) if error.is_absent())
    }
}

/// Reads the token of this data directory, as it is sent.
///
/// # Errors
/// When there is none, it cannot be read, is open to others, or is no token.
pub fn read(data_dir: &Path) -> Result<Zeroizing<String>, TokenError> {
    let path = data_dir.join(FILE_NAME);
    let bytes = match private_file::read(&path, FILE_BYTES_MAX) {
        Err(PrivateFileError::NotSmall { path, .. }) => return Err(TokenError::Malformed { path }),
        read => read?,
    };
    let text = std::str::from_utf8(&bytes).ok().map(str::trim_ascii_end);
    text.and_then(parse).ok_or(TokenError::Malformed { path })
}

/// Makes a token and puts it in the place of the old one, if there is one (mode 0600): a crash leaves
/// one of the two. Returns it as it is sent.
///
/// # Errors
/// When the file cannot be written or the system has no randomness; the old token is then still
/// there.
pub fn make(data_dir: &Path) -> Result<Zeroizing<String>, TokenError> {
    let mut secret = [0; SECRET_BYTES];
    getrandom::fill(&mut secret).map_err(TokenError::Random)?;
    let text = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(secret));
    secret.zeroize();
    let mut line = Zeroizing::new(Vec::with_capacity(text.len() + 1));
    line.extend_from_slice(text.as_bytes());
    line.push(b'\n');
    private_file::remove_temporary(data_dir)?;
    private_file::write(data_dir, FILE_NAME, &line)?;
    Ok(text)
}

fn parse(text: &str) -> Option<Zeroizing<String>> {
    let secret = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.decode(text).ok()?);
    (secret.len() == SECRET_BYTES).then(|| Zeroizing::new(text.to_owned()))
}
