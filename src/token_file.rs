//! The file that holds the bearer token, as the node and its owner's commands read it.
//!
//! Both read it by one rule: a token that others could have read or put there is none.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use rustix::fs::OFlags;
use rustix::io::Errno;
use zeroize::{Zeroize, Zeroizing};

/// The file's name in the data directory.
pub const FILE_NAME: &str = "api-token";

/// 32 random bytes: no guessing, however fast the node answers.
pub const SECRET_BYTES: usize = 32;

/// The 43 characters of the token and a line end; more is not a token.
const FILE_BYTES_MAX: u64 = 64;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file could not be read or made.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The path is a link, which could point to a file that others may write.
    #[error("{} is a link, which is not followed", path.display())]
    Link {
        /// The path.
        path: PathBuf,
    },
    /// Others may read the file, so the token is no secret.
    #[error("{0} may be read or changed by others; run: chmod 600 {0}", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// The file belongs to another user, who knows the token.
    #[error("{} belongs to another user", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
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
        matches!(self, Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Reads the token of this data directory, as it is sent.
///
/// # Errors
/// When there is none, it cannot be read, is open to others, or is no token.
pub fn read(data_dir: &Path) -> Result<Zeroizing<String>, TokenError> {
    let path = data_dir.join(FILE_NAME);
    let failed = |source| TokenError::File { path: path.clone(), source };
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(&path);
    let file = file.map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::LOOP) => TokenError::Link { path: path.clone() },
        _ => failed(error),
    })?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(TokenError::Malformed { path });
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(TokenError::Foreign { path });
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(TokenError::Exposed { path });
    }
    let mut text = Zeroizing::new(String::new());
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => TokenError::Malformed { path: path.clone() },
        _ => failed(error),
    })?;
    parse(text.trim_ascii_end()).ok_or(TokenError::Malformed { path })
}

fn parse(text: &str) -> Option<Zeroizing<String>> {
    let secret = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.decode(text).ok()?);
    (secret.len() == SECRET_BYTES).then(|| Zeroizing::new(text.to_owned()))
}

/// Makes a token and writes it beside the old one, if there is one, then puts it in its place (mode
/// 0600): a crash leaves one of the two. Returns it as it is sent.
///
/// # Errors
/// When the file cannot be written or the system has no randomness; the old token is then still
/// there.
pub fn make(data_dir: &Path) -> Result<Zeroizing<String>, TokenError> {
    let mut secret = [0; SECRET_BYTES];
    getrandom::fill(&mut secret).map_err(TokenError::Random)?;
    let text = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(secret));
    secret.zeroize();
    let path = data_dir.join(FILE_NAME);
    let failed = |source| TokenError::File { path: path.clone(), source };
    let new_path = data_dir.join(format!("{FILE_NAME}.new"));
    match fs::remove_file(&new_path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new_path)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.write_all(b"\n").map_err(failed)?;
    file.sync_all().map_err(failed)?;
    fs::rename(&new_path, &path).map_err(failed)?;
    File::open(data_dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
    Ok(text)
}
