//! The keystore: one file per identity and a pointer to the active one.
//!
//! ```text
//! <data_dir>/identities/         mode 0700
//!     <node id>.json             mode 0600, one identity
//!     active                     mode 0600, the node id of the identity that signs
//! ```
//!
//! An identity file is a JSON object: `version` (1), `protection` (`none`: the secret is not
//! encrypted, its file mode protects it), `label` (text or null), `public_key` and `secret` (64 hex
//! digits each). Files appear whole or not at all, and no identity is ever overwritten.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::domain::bytes;
use crate::domain::id::NodeId;
use crate::domain::identity::{IdentityInfo, NodeKey, is_label};

mod private_file;

use private_file::{FILE_BYTES_MAX, read_private, refuse_open, remove_temporary, sync_dir, write};

/// Identities in one keystore; a person has a few.
pub const IDENTITIES_MAX: usize = 64;

const VERSION: u32 = 1;
const ACTIVE: &str = "active";
const SUFFIX: &str = ".json";

/// Why the keystore could not be used. The text names the file and, where there is one, the remedy.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// A file or directory could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// Others than the owner have access to it.
    #[error(
        "{0} is open to others (mode {mode:04o}); run: chmod {remedy:o} {0}",
        path.display(),
        remedy = if *is_dir { 0o700 } else { 0o600 }
    )]
    Open {
        /// Which one.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Whether it is the directory.
        is_dir: bool,
    },
    /// It belongs to another user.
    #[error("{} belongs to user {uid}, not to the user of this process", path.display())]
    Owner {
        /// Which one.
        path: PathBuf,
        /// Its owner.
        uid: u32,
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

/// One identity with its key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// What may be told about it.
    pub info: IdentityInfo,
    /// What may not.
    pub key: Arc<NodeKey>,
}

/// A keystore on disk. It is read and written by one call at a time.
#[derive(Debug)]
pub struct Keystore {
    dir: PathBuf,
    one_at_a_time: Mutex<()>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct KeyFile<'a> {
    version: u32,
    protection: &'a str,
    label: Option<String>,
    public_key: &'a str,
    /// Borrowed from a buffer that is overwritten.
    secret: &'a str,
}

impl Keystore {
    /// The keystore in `<data_dir>/identities`. Touches nothing yet.
    pub fn new(data_dir: &Path) -> Self {
        Self { dir: data_dir.join("identities"), one_at_a_time: Mutex::new(()) }
    }

    /// Reads every identity, the active one first, the others by id. An empty keystore gets its
    /// first identity.
    ///
    /// # Errors
    /// [`KeystoreError`]: a keystore is read in full or not at all.
    pub fn load(&self) -> Result<Vec<Identity>, KeystoreError> {
        let _guard = self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        self.prepare()?;
        let mut identities = self.read_all()?;
        if identities.is_empty() {
            let first = self.write_new(None)?;
            self.write_active(first.info.node_id)?;
            identities.push(first);
        }
        self.mark_active(identities)
    }

    /// Makes an identity and keeps it, and lets it sign from now on if `activate`. Answers the new
    /// one, and all as [`Keystore::load`] would.
    ///
    /// # Errors
    /// [`KeystoreError`]; the identities there are stay as they are.
    pub fn generate(
        &self,
        label: Option<String>,
        activate: bool,
    ) -> Result<(IdentityInfo, Vec<Identity>), KeystoreError> {
        if label.as_deref().is_some_and(|label| !is_label(label)) {
            return Err(KeystoreError::Label);
        }
        let _guard = self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        self.prepare()?;
        let mut identities = self.read_all()?;
        if identities.len() >= IDENTITIES_MAX {
            return Err(KeystoreError::Full { max: IDENTITIES_MAX });
        }
        let made = self.write_new(label)?;
        let mut info = made.info.clone();
        info.is_active = activate || identities.is_empty();
        if info.is_active {
            self.write_active(info.node_id)?;
        }
        identities.push(made);
        Ok((info, self.mark_active(identities)?))
    }

    /// Makes the directory if there is none, and removes what a crash left half written.
    fn prepare(&self) -> Result<(), KeystoreError> {
        let fail = |source| KeystoreError::Io { path: self.dir.clone(), source };
        if !self.dir.exists() {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.dir).map_err(fail)?;
            if let Some(parent) = self.dir.parent() {
                sync_dir(parent)?;
            }
        }
        refuse_open(&self.dir, &fs::metadata(&self.dir).map_err(fail)?)?;
        remove_temporary(&self.dir)
    }

    fn read_all(&self) -> Result<Vec<Identity>, KeystoreError> {
        let fail = |source| KeystoreError::Io { path: self.dir.clone(), source };
        let mut identities = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(fail)? {
            let name = entry.map_err(fail)?.file_name();
            let stem = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
            let Some(id) = stem.and_then(|stem| NodeId::from_hex(stem).ok()) else { continue };
            if identities.len() == IDENTITIES_MAX {
                return Err(KeystoreError::Full { max: IDENTITIES_MAX });
            }
            identities.push(read_identity(&self.dir.join(&name), id)?);
        }
        Ok(identities)
    }

    fn mark_active(&self, mut identities: Vec<Identity>) -> Result<Vec<Identity>, KeystoreError> {
        let path = self.dir.join(ACTIVE);
        let active = match read_private(&path) {
            Ok(bytes) => {
                let id = std::str::from_utf8(&bytes).ok();
                id.and_then(|id| NodeId::from_hex(id.trim_end_matches('\n')).ok())
            }
            // A crash between the first identity and its pointer: there is no other it could be.
            Err(KeystoreError::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound && identities.len() == 1 =>
            {
                let only = identities[0].info.node_id;
                self.write_active(only)?;
                Some(only)
            }
            Err(error) => return Err(error),
        };
        for identity in &mut identities {
            identity.info.is_active = Some(identity.info.node_id) == active;
        }
        if !identities.iter().any(|identity| identity.info.is_active) {
            let problem = "it does not name an identity of this keystore";
            return Err(KeystoreError::Damaged { path, problem });
        }
        identities.sort_by_key(|identity| (!identity.info.is_active, identity.info.node_id));
        Ok(identities)
    }

    fn write_active(&self, id: NodeId) -> Result<(), KeystoreError> {
        write(&self.dir, ACTIVE, format!("{id}\n").as_bytes())
    }

    fn write_new(&self, label: Option<String>) -> Result<Identity, KeystoreError> {
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *secret).map_err(KeystoreError::Random)?;
        let key = NodeKey::from_secret(&secret);
        let public_key = *key.public_key();
        let node_id = public_key.node_id();
        let name = format!("{node_id}{SUFFIX}");
        let path = self.dir.join(&name);
        if path.exists() {
            // Two random keys that share half their bytes: the system's randomness is broken.
            let source = io::Error::from(io::ErrorKind::AlreadyExists);
            return Err(KeystoreError::Io { path, source });
        }
        let (secret, public) = (Zeroizing::new(bytes::to_hex(&*secret)), public_key.to_hex());
        let file = KeyFile {
            version: VERSION,
            protection: "none",
            label,
            public_key: &public,
            secret: &secret,
        };
        // As large as it can become: a buffer that grows leaves copies behind.
        let mut text = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX));
        serde_json::to_writer(&mut *text, &file)
            .map_err(|error| KeystoreError::Io { path, source: error.into() })?;
        text.push(b'\n');
        write(&self.dir, &name, &text)?;
        let info = IdentityInfo { node_id, public_key, label: file.label, is_active: false };
        Ok(Identity { info, key: Arc::new(key) })
    }
}

fn read_identity(path: &Path, id: NodeId) -> Result<Identity, KeystoreError> {
    let damaged = |problem| KeystoreError::Damaged { path: path.to_owned(), problem };
    let text = read_private(path)?;
    let file: KeyFile<'_> =
        serde_json::from_slice(&text).map_err(|_| damaged("not an identity file, or cut short"))?;
    if file.version != VERSION {
        return Err(damaged("unknown version"));
    }
    if file.protection != "none" {
        return Err(KeystoreError::Protection { path: path.to_owned() });
    }
    if file.label.as_deref().is_some_and(|label| !is_label(label)) {
        return Err(damaged("the label is not one"));
    }
    let secret = bytes::from_hex::<32>(file.secret).map(Zeroizing::new);
    let secret = secret.map_err(|_| damaged("the secret is not 64 hex digits"))?;
    let key = NodeKey::from_secret(&secret);
    let public_key = *key.public_key();
    if public_key.to_hex() != file.public_key {
        return Err(damaged("the secret is not the one of the public key"));
    }
    if public_key.node_id() != id {
        return Err(damaged("its name is that of another identity"));
    }
    let info = IdentityInfo { node_id: id, public_key, label: file.label, is_active: false };
    Ok(Identity { info, key: Arc::new(key) })
}

#[cfg(test)]
mod tests;
