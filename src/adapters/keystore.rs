//! The keystore: one file per identity and a pointer to the active one.
//!
//! ```text
//! <data_dir>/identities/         mode 0700
//!     <node id>.json             mode 0600, one identity
//!     <node id>.rotation         mode 0600, the record by which another took its place
//!     active                     mode 0600, the node id of the identity that signs
//!     keystore.key               mode 0600, the data key, if the keystore is encrypted
//! ```
//!
//! An identity file is a JSON object: `version` (1), `protection`, `label` (text or null),
//! `public_key` (64 hex digits) and `secret`. With protection `none` the secret is 64 hex digits,
//! and its file mode protects it. With `xchacha20poly1305` there is also a `nonce` (48 hex digits);
//! the secret is 96 hex digits, encrypted with the data key, and what authenticates it covers the
//! other members ([`protect`]). Files appear whole or not at all, and no identity is ever
//! overwritten by another. Records are as [`rotation`](crate::domain::rotation) says.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use zeroize::Zeroizing;

use crate::domain::id::NodeId;
use crate::domain::identity::{IdentityInfo, NodeKey, is_label};
use crate::private_file::{self, refuse_open, remove_temporary, sync_dir};

mod cipher;
mod error;
mod files;
pub mod protect;
mod rotate;
pub mod sealed;
mod transfer;

pub use error::KeystoreError;
pub use sealed::SealedError;

use cipher::Key;

/// Identities in one keystore; a person has a few.
pub const IDENTITIES_MAX: usize = 64;

/// Bytes of a file in it, or of an export: an identity in any spelling, and no more memory than that.
pub const FILE_BYTES_MAX: usize = 4096;

const ACTIVE: &str = "active";
const SUFFIX: &str = ".json";

/// One identity with its key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// What may be told about it.
    pub info: IdentityInfo,
    /// What may not.
    pub key: Arc<NodeKey>,
}

/// A keystore on disk, and what was last read of it. One value is shared by all who use it.
#[derive(Debug)]
pub struct Keystore {
    dir: PathBuf,
    known: ArcSwap<Vec<Identity>>,
    /// Held while the disk is read or written and until the outcome is in `known`. Has the data key
    /// once an encrypted keystore was unlocked.
    one_at_a_time: Mutex<Option<Key>>,
}

impl Keystore {
    /// The keystore in `<data_dir>/identities`. Touches nothing yet.
    pub fn new(data_dir: &Path) -> Self {
        Self {
            dir: data_dir.join("identities"),
            known: ArcSwap::default(),
            one_at_a_time: Mutex::default(),
        }
    }

    /// What was last read or written, the active identity first; empty before the first
    /// [`Keystore::load`]. Does not touch the disk.
    pub fn identities(&self) -> Arc<Vec<Identity>> {
        self.known.load_full()
    }

    /// Reads every identity, the active one first, the others by id. An empty keystore gets its
    /// first identity.
    ///
    /// # Errors
    /// [`KeystoreError`]: a keystore is read in full or not at all.
    pub fn load(&self) -> Result<Arc<Vec<Identity>>, KeystoreError> {
        let held = self.hold();
        let key = held.as_ref();
        let mut identities = self.read_whole(key)?;
        if identities.is_empty() {
            let first = self.write_new(None, key)?;
            self.write_active(first.info.node_id)?;
            identities.push(first);
        }
        self.mark_active(identities)
    }

    /// As [`Keystore::load`], but a keystore that is empty or not there stays so.
    ///
    /// # Errors
    /// As [`Keystore::load`].
    pub fn read(&self) -> Result<Arc<Vec<Identity>>, KeystoreError> {
        let held = self.hold();
        if !self.dir.exists() {
            return Ok(Arc::default());
        }
        let identities = self.read_whole(held.as_ref())?;
        if identities.is_empty() { Ok(Arc::default()) } else { self.mark_active(identities) }
    }

    /// Makes an identity and keeps it, and lets it sign from now on if `activate`. Answers what may
    /// be told about it.
    ///
    /// # Errors
    /// [`KeystoreError`]; the identities there are stay as they are.
    pub fn generate(
        &self,
        label: Option<String>,
        activate: bool,
    ) -> Result<IdentityInfo, KeystoreError> {
        if label.as_deref().is_some_and(|label| !is_label(label)) {
            return Err(KeystoreError::Label);
        }
        let held = self.hold();
        let key = held.as_ref();
        let mut identities = self.read_whole(key)?;
        if identities.len() >= IDENTITIES_MAX {
            return Err(KeystoreError::Full { max: IDENTITIES_MAX });
        }
        let made = self.write_new(label, key)?;
        let mut info = made.info.clone();
        info.is_active = activate || identities.is_empty();
        if info.is_active {
            self.write_active(info.node_id)?;
        }
        identities.push(made);
        self.mark_active(identities)?;
        Ok(info)
    }

    /// Lets an identity sign from now on. One that was replaced by another never signs again.
    ///
    /// # Errors
    /// [`KeystoreError`]; the former one then signs still.
    pub fn activate(&self, id: NodeId) -> Result<IdentityInfo, KeystoreError> {
        let held = self.hold();
        let identities = self.mark_active(self.read_whole(held.as_ref())?)?;
        let found = identities.iter().find(|identity| identity.info.node_id == id);
        let identity = found.ok_or(KeystoreError::Unknown(id))?;
        if let Some(rotation) = &identity.info.rotation {
            let new = rotation.new_key().node_id();
            return Err(KeystoreError::Retired { old: id, new });
        }
        self.write_active(id)?;
        self.arrange(Vec::clone(&identities), id);
        Ok(IdentityInfo { is_active: true, ..identity.info.clone() })
    }

    fn hold(&self) -> MutexGuard<'_, Option<Key>> {
        self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn empty(&self) -> KeystoreError {
        KeystoreError::Empty { dir: self.dir.clone() }
    }

    /// Reads everything but the pointer to the active identity, and finishes what a crash left
    /// undone.
    fn read_whole(&self, key: Option<&Key>) -> Result<Vec<Identity>, KeystoreError> {
        self.prepare()?;
        let key = self.protection(key)?;
        let records = rotate::read(&self.dir)?;
        rotate::settle(&self.dir, &records)?;
        let mut identities = self.read_all(key)?;
        for Identity { info, .. } in &mut identities {
            let record = records.get(&info.node_id);
            info.rotation = record.filter(|it| *it.old() == info.public_key).cloned();
        }
        Ok(identities)
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
        Ok(remove_temporary(&self.dir)?)
    }

    fn read_all(&self, key: Option<&Key>) -> Result<Vec<Identity>, KeystoreError> {
        let ids = rotate::named(&self.dir, SUFFIX)?;
        if ids.len() > IDENTITIES_MAX {
            return Err(KeystoreError::Full { max: IDENTITIES_MAX });
        }
        let mut identities = Vec::with_capacity(ids.len());
        for id in ids {
            let name = format!("{id}{SUFFIX}");
            let files::Read { identity, is_encrypted } =
                files::read(&self.dir.join(&name), id, key)?;
            if key.is_some() && !is_encrypted {
                // Left open by a crash while the keystore was switched.
                let label = identity.info.label.as_deref();
                files::write(&self.dir, &name, &identity.key, label, key)?;
            }
            identities.push(identity);
        }
        Ok(identities)
    }

    /// Finds the active identity and lets everybody know them all.
    fn mark_active(&self, identities: Vec<Identity>) -> Result<Arc<Vec<Identity>>, KeystoreError> {
        if identities.is_empty() {
            return Err(self.empty());
        }
        let path = self.dir.join(ACTIVE);
        let pointer = match private_file::read(&path, FILE_BYTES_MAX) {
            Ok(bytes) => {
                let id = std::str::from_utf8(&bytes).ok();
                id.and_then(|id| NodeId::from_hex(id.trim_end_matches('\n')).ok())
            }
            // A crash between the first identity and its pointer: there is no other it could be.
            Err(error) if error.is_absent() && identities.len() == 1 => None,
            Err(error) => return Err(error.into()),
        };
        let is_new = pointer.is_none() && identities.len() == 1 && !path.exists();
        let named = if is_new { identities.first().map(|it| it.info.node_id) } else { pointer };
        let active = named.and_then(|id| in_place_of(id, &identities));
        let Some(active) = active else {
            let problem = "it does not name an identity of this keystore";
            return Err(KeystoreError::Damaged { path, problem });
        };
        if pointer != Some(active) {
            self.write_active(active)?;
        }
        Ok(self.arrange(identities, active))
    }

    /// Puts the active identity first, the others by id, and lets everybody know them.
    fn arrange(&self, mut identities: Vec<Identity>, active: NodeId) -> Arc<Vec<Identity>> {
        for identity in &mut identities {
            identity.info.is_active = identity.info.node_id == active;
        }
        identities.sort_by_key(|identity| (!identity.info.is_active, identity.info.node_id));
        let identities = Arc::new(identities);
        self.known.store(Arc::clone(&identities));
        identities
    }

    fn write_active(&self, id: NodeId) -> Result<(), KeystoreError> {
        Ok(private_file::write(&self.dir, ACTIVE, format!("{id}\n").as_bytes())?)
    }

    fn write_new(
        &self,
        label: Option<String>,
        key: Option<&Key>,
    ) -> Result<Identity, KeystoreError> {
        let node_key = new_key()?;
        let public_key = *node_key.public_key();
        let node_id = public_key.node_id();
        let name = format!("{node_id}{SUFFIX}");
        if self.dir.join(&name).exists() {
            // Two random keys that share half their bytes: the system's randomness is broken.
            return Err(KeystoreError::Exists(node_id));
        }
        files::write(&self.dir, &name, &node_key, label.as_deref(), self.protection(key)?)?;
        let info = IdentityInfo { node_id, public_key, label, is_active: false, rotation: None };
        Ok(Identity { info, key: Arc::new(node_key) })
    }
}

/// The identity that signs where `id` was the one that does: itself, or the last in its place.
fn in_place_of(id: NodeId, identities: &[Identity]) -> Option<NodeId> {
    let mut id = id;
    // A key is in the place of another once, so there are no more steps than identities.
    for _ in 0..=identities.len() {
        let identity = identities.iter().find(|identity| identity.info.node_id == id)?;
        match &identity.info.rotation {
            Some(rotation) => id = rotation.new_key().node_id(),
            None => return Some(id),
        }
    }
    None
}

/// A key of fresh randomness.
fn new_key() -> Result<NodeKey, KeystoreError> {
    let mut secret = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *secret).map_err(KeystoreError::Random)?;
    Ok(NodeKey::from_secret(&secret))
}

#[cfg(test)]
mod tests;
