//! Rotation: a new key in the place of the active one, all of it or nothing.
//!
//! The new identity is written as `<node id>.pending`, then the record as `<old node id>.rotation`.
//! The record is what counts: when it is there the rotation is done, and whoever reads the keystore
//! next gives the new identity its name and makes it the active one; without a record a pending
//! identity never was.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::{
    FILE_BYTES_MAX, IDENTITIES_MAX, Identity, Keystore, KeystoreError, SUFFIX, files, new_key,
};
use crate::domain::id::NodeId;
use crate::domain::identity::{IdentityInfo, Rotated, is_label};
use crate::domain::rotation::Rotation;
use crate::private_file;

/// Ends the name of an identity that is not one yet.
const PENDING: &str = ".pending";
/// Ends the name of a record, which begins with the id of the old identity.
const RECORD: &str = ".rotation";

/// The records of a keystore, by the old identity.
pub(super) type Records = HashMap<NodeId, Arc<Rotation>>;

impl Keystore {
    /// Puts a new key in the place of the active one at `at_ms`, in milliseconds since the Unix
    /// epoch. Its label is that of the old one unless another is given. The old one signs no more.
    ///
    /// # Errors
    /// [`KeystoreError`]. Whatever goes wrong, the rotation is done whole or not at all, and what
    /// signs from now on is what the disk says.
    pub fn rotate(&self, label: Option<String>, at_ms: i64) -> Result<Rotated, KeystoreError> {
        if label.as_deref().is_some_and(|label| !is_label(label)) {
            return Err(KeystoreError::Label);
        }
        let held = self.hold();
        let key = held.as_ref();
        let identities = self.mark_active(self.read_whole(key)?)?;
        let old = identities.first().ok_or_else(|| self.empty())?;
        if identities.len() >= IDENTITIES_MAX {
            return Err(KeystoreError::Full { max: IDENTITIES_MAX });
        }
        let new = new_key()?;
        let rotation = Arc::new(Rotation::make(&old.key, &new, at_ms)?);
        let label = label.or_else(|| old.info.label.clone());
        let public_key = *new.public_key();
        let node_id = public_key.node_id();
        let pending = format!("{node_id}{PENDING}");
        files::write(&self.dir, &pending, &new, label.as_deref(), self.protection(key)?)?;
        let record = format!("{}{RECORD}", old.info.node_id);
        let recorded = private_file::write(&self.dir, &record, &rotation.to_bytes()?);
        // Also when it was not recorded: then this takes back what is pending.
        let identities = match self.read_whole(key).and_then(|all| self.mark_active(all)) {
            Ok(identities) => identities,
            // It is done, and only its last steps are left to the next who reads.
            Err(error) if recorded.is_ok() => {
                let info =
                    IdentityInfo { node_id, public_key, label, is_active: true, rotation: None };
                let mut all = Vec::clone(&identities);
                all[0].info.rotation = Some(rotation);
                all.push(Identity { info, key: Arc::new(new) });
                self.arrange(all, node_id);
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        recorded?;
        let new = identities.first().ok_or_else(|| self.empty())?;
        Ok(Rotated { new: new.info.clone(), rotation })
    }
}

/// Reads every record and checks it.
pub(super) fn read(dir: &Path) -> Result<Records, KeystoreError> {
    let mut records = Records::new();
    for id in named(dir, RECORD)? {
        if records.len() == IDENTITIES_MAX {
            return Err(KeystoreError::Full { max: IDENTITIES_MAX });
        }
        let path = dir.join(format!("{id}{RECORD}"));
        let text = private_file::read(&path, FILE_BYTES_MAX)?;
        let record = Rotation::parse(&text)
            .map_err(|problem| KeystoreError::Record { path: path.clone(), problem })?;
        if record.old().node_id() != id {
            let problem = "its name is that of another identity";
            return Err(KeystoreError::Damaged { path, problem });
        }
        records.insert(id, Arc::new(record));
    }
    Ok(records)
}

/// Finishes what a crash left undone of a rotation, or takes it back.
pub(super) fn settle(dir: &Path, records: &Records) -> Result<(), KeystoreError> {
    for id in named(dir, PENDING)? {
        let path = dir.join(format!("{id}{PENDING}"));
        let is_done = records.values().any(|record| record.new_key().node_id() == id);
        let settled = if is_done {
            fs::rename(&path, dir.join(format!("{id}{SUFFIX}")))
        } else {
            fs::remove_file(&path)
        };
        settled.map_err(|source| KeystoreError::Io { path, source })?;
        private_file::sync_dir(dir)?;
    }
    Ok(())
}

/// The ids whose file name ends so.
pub(super) fn named(dir: &Path, suffix: &str) -> Result<Vec<NodeId>, KeystoreError> {
    let fail = |source| KeystoreError::Io { path: dir.to_owned(), source };
    let mut ids = Vec::new();
    for entry in fs::read_dir(dir).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(suffix));
        ids.extend(stem.and_then(|stem| NodeId::from_hex(stem).ok()));
    }
    Ok(ids)
}
