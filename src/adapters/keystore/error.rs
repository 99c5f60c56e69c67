//! Why a keystore could not be used.

use std::io;
use std::path::PathBuf;

use super::sealed::SealedError;
use crate::domain::id::NodeId;
use crate::domain::rotation::RotationError;
use crate::private_file::PrivateFileError;

/// Why the keystore could not be used. The text names the file and, where there is one, the remedy.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// A file could not be read or written, or others have access to it.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// A directory or the name of a file could not be read or changed.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// It is not what was written: truncated, garbled, or of a newer version.
    #[error("{}: {problem}; restore it from a backup or move it away", path.display())]
    Damaged {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// It says that its secret is protected in a way that this version cannot undo.
    #[error("{}: unknown protection, written by a newer version", path.display())]
    Protection {
        /// Which one.
        path: PathBuf,
    },
    /// It is encrypted and has not been unlocked.
    #[error(
        "the keystore {} is encrypted and there is no passphrase; name a file that holds it in \
         BIZRA_PASSPHRASE_FILE, or start from a terminal to be asked for it",
        dir.display()
    )]
    Locked {
        /// The keystore.
        dir: PathBuf,
    },
    /// The file that holds the data key does not open.
    #[error("{}: {problem}", path.display())]
    KeyFile {
        /// Which one.
        path: PathBuf,
        /// Why.
        problem: SealedError,
    },
    /// It is encrypted already.
    #[error("the keystore {} is encrypted already", dir.display())]
    Encrypted {
        /// The keystore.
        dir: PathBuf,
    },
    /// It is not encrypted.
    #[error("the keystore {} is not encrypted", dir.display())]
    Plain {
        /// The keystore.
        dir: PathBuf,
    },
    /// There is no identity in it.
    #[error("the keystore {} holds no identity", dir.display())]
    Empty {
        /// The keystore.
        dir: PathBuf,
    },
    /// A rotation record on disk does not hold.
    #[error("{}: {problem}", path.display())]
    Record {
        /// Which one.
        path: PathBuf,
        /// Why.
        problem: RotationError,
    },
    /// No rotation record can be made.
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// What was to be imported is no export, or another passphrase opens it.
    #[error(transparent)]
    Import(SealedError),
    /// No such identity.
    #[error("no identity {0} in the keystore")]
    Unknown(NodeId),
    /// Another one took its place.
    #[error("identity {old} was replaced by {new} and signs no more")]
    Retired {
        /// The identity.
        old: NodeId,
        /// The one in its place.
        new: NodeId,
    },
    /// It is there already.
    #[error("identity {0} is in the keystore already")]
    Exists(NodeId),
    /// There are as many identities as there may be.
    #[error("the keystore holds {max} identities, which is the most")]
    Full {
        /// The limit.
        max: usize,
    },
    /// No name for an identity.
    #[error("a label has 1 to 64 characters and no control characters")]
    Label,
    /// The system gave no random bytes.
    #[error("no random bytes from the system: {0}")]
    Random(getrandom::Error),
}

impl KeystoreError {
    /// Whether nothing is wrong but what was given with it: no passphrase, or another one.
    pub fn is_passphrase(&self) -> bool {
        matches!(
            self,
            Self::Locked { .. }
                | Self::KeyFile { problem: SealedError::Passphrase, .. }
                | Self::Import(SealedError::Passphrase)
        )
    }
}
