//! Identities that leave a keystore and come into one: only encrypted.

use serde_json::{Map, Value};

use super::sealed::{self, Kind, SealedError};
use super::{IDENTITIES_MAX, Keystore, KeystoreError, SUFFIX, files};
use crate::domain::id::NodeId;
use crate::domain::identity::{IdentityInfo, NodeKey, is_label};
use crate::domain::passphrase::Passphrase;

impl Keystore {
    /// The identity `id` as a file that only `passphrase` opens; the keystore is not changed.
    /// [`Keystore::import`] reads it. Rotation records are public and no part of it.
    ///
    /// # Errors
    /// [`KeystoreError`], also when there is no such identity.
    pub fn export(&self, id: NodeId, passphrase: &Passphrase) -> Result<Vec<u8>, KeystoreError> {
        // Held to the end: one derivation of a key at a time, as each takes 64 MiB.
        let held = self.hold();
        let identities = self.mark_active(self.read_whole(held.as_ref())?)?;
        let found = identities.iter().find(|identity| identity.info.node_id == id);
        let identity = found.ok_or(KeystoreError::Unknown(id))?;
        let about = [
            ("label", identity.info.label.clone().map_or(Value::Null, Value::String)),
            ("public_key", Value::String(identity.info.public_key.to_hex())),
        ];
        let about: Map<_, _> =
            about.map(|(member, value)| (member.to_owned(), value)).into_iter().collect();
        sealed::seal(Kind::Export, about, identity.key.expose_secret(), passphrase)
    }

    /// Takes in what [`Keystore::export`] made, under its own label unless another is given. It
    /// does not sign until it is activated, except that the first identity of a keystore does.
    ///
    /// # Errors
    /// [`KeystoreError`], also when it is there already; the keystore is then as it was.
    pub fn import(
        &self,
        export: &[u8],
        passphrase: &Passphrase,
        label: Option<String>,
    ) -> Result<IdentityInfo, KeystoreError> {
        if label.as_deref().is_some_and(|label| !is_label(label)) {
            return Err(KeystoreError::Label);
        }
        let held = self.hold();
        let key = held.as_ref();
        let mut identities = self.read_whole(key)?;
        let damaged = || KeystoreError::Import(SealedError::Damaged);
        let opened =
            sealed::open(Kind::Export, export, passphrase).map_err(KeystoreError::Import)?;
        let node_key = NodeKey::from_secret(&opened.secret);
        let public_key = *node_key.public_key();
        if opened.public_key != Some(public_key.to_hex()) {
            return Err(damaged());
        }
        let label = label.or(opened.label);
        if label.as_deref().is_some_and(|label| !is_label(label)) {
            return Err(damaged());
        }
        let id = public_key.node_id();
        if identities.iter().any(|identity| identity.info.node_id == id) {
            return Err(KeystoreError::Exists(id));
        }
        if identities.len() >= IDENTITIES_MAX {
            return Err(KeystoreError::Full { max: IDENTITIES_MAX });
        }
        let name = format!("{id}{SUFFIX}");
        files::write(&self.dir, &name, &node_key, label.as_deref(), self.protection(key)?)?;
        identities = self.read_whole(key)?;
        let all = self.mark_active(identities)?;
        let found = all.iter().find(|identity| identity.info.node_id == id);
        found.map(|identity| identity.info.clone()).ok_or(KeystoreError::Unknown(id))
    }
}
