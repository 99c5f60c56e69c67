//! Encrypted keystores: to unlock one, to make one, to make one plain again.
//!
//! The identities are encrypted with a random data key, and the data key with the passphrase, in
//! `keystore.key`. That file is what counts: a keystore is encrypted when it is there. It is written
//! before the first identity is encrypted, and removed after the last one was written open; whoever
//! reads an encrypted keystore next encrypts what a crash left open. So a switch that was cut off
//! leaves a keystore that is encrypted, and that its passphrase opens.
//!
//! A new passphrase encrypts the same data key anew. Whoever has an old copy of `keystore.key` and
//! knows its passphrase can read the identities as before: against that only new keys help.

use std::fs;
use std::path::PathBuf;

use serde_json::Map;

use super::cipher::Key;
use super::sealed::{self, Kind};
use super::{FILE_BYTES_MAX, Identity, Keystore, KeystoreError, SUFFIX, files};
use crate::domain::passphrase::Passphrase;
use crate::private_file;

/// The file with the data key.
const KEY_FILE: &str = "keystore.key";

impl Keystore {
    /// Whether a passphrase is needed to read it.
    ///
    /// # Errors
    /// When the directory cannot be looked at.
    pub fn is_encrypted(&self) -> Result<bool, KeystoreError> {
        let path = self.key_path();
        match fs::symlink_metadata(&path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(KeystoreError::Io { path, source }),
        }
    }

    /// Opens an encrypted keystore for as long as this value lives; one that is not encrypted is
    /// left alone. Takes a tenth of a second and 64 MiB.
    ///
    /// # Errors
    /// [`KeystoreError::KeyFile`], which tells a wrong passphrase from a damaged file.
    pub fn unlock(&self, passphrase: &Passphrase) -> Result<(), KeystoreError> {
        let mut held = self.hold();
        if !self.is_encrypted()? {
            return Ok(());
        }
        let path = self.key_path();
        let text = private_file::read(&path, FILE_BYTES_MAX)?;
        let opened = sealed::open(Kind::DataKey, &text, passphrase)
            .map_err(|problem| KeystoreError::KeyFile { path, problem })?;
        *held = Some(Key::from_bytes(opened.secret));
        Ok(())
    }

    /// Encrypts every identity.
    ///
    /// # Errors
    /// [`KeystoreError`], also when it is encrypted already.
    pub fn encrypt(&self, passphrase: &Passphrase) -> Result<(), KeystoreError> {
        let mut held = self.hold();
        if self.is_encrypted()? {
            return Err(KeystoreError::Encrypted { dir: self.dir.clone() });
        }
        let identities = self.read_whole(None)?;
        let key = Key::random()?;
        self.write_key(&key, passphrase)?;
        let key = held.insert(key);
        self.write_all(&identities, Some(key))
    }

    /// Writes every identity open, protected by nothing but the mode of its file.
    ///
    /// # Errors
    /// [`KeystoreError`], also when it is not encrypted or not unlocked.
    pub fn decrypt(&self) -> Result<(), KeystoreError> {
        let mut held = self.hold();
        if !self.is_encrypted()? {
            return Err(KeystoreError::Plain { dir: self.dir.clone() });
        }
        let identities = self.read_whole(held.as_ref())?;
        self.write_all(&identities, None)?;
        let path = self.key_path();
        fs::remove_file(&path).map_err(|source| KeystoreError::Io { path, source })?;
        private_file::sync_dir(&self.dir)?;
        *held = None;
        Ok(())
    }

    /// Lets another passphrase open it, and the former one no more.
    ///
    /// # Errors
    /// [`KeystoreError`], also when it is not encrypted or not unlocked; the former passphrase then
    /// opens it still.
    pub fn change_passphrase(&self, passphrase: &Passphrase) -> Result<(), KeystoreError> {
        let held = self.hold();
        match self.protection(held.as_ref())? {
            Some(key) => self.write_key(key, passphrase),
            None => Err(KeystoreError::Plain { dir: self.dir.clone() }),
        }
    }

    /// The key to read and write identities with; `None` if they lie open.
    pub(super) fn protection<'k>(
        &self,
        key: Option<&'k Key>,
    ) -> Result<Option<&'k Key>, KeystoreError> {
        match (self.is_encrypted()?, key) {
            (false, _) => Ok(None),
            (true, Some(key)) => Ok(Some(key)),
            (true, None) => Err(KeystoreError::Locked { dir: self.dir.clone() }),
        }
    }

    fn key_path(&self) -> PathBuf {
        self.dir.join(KEY_FILE)
    }

    fn write_key(&self, key: &Key, passphrase: &Passphrase) -> Result<(), KeystoreError> {
        let text = sealed::seal(Kind::DataKey, Map::new(), key.as_bytes(), passphrase)?;
        Ok(private_file::write(&self.dir, KEY_FILE, &text)?)
    }

    fn write_all(&self, identities: &[Identity], key: Option<&Key>) -> Result<(), KeystoreError> {
        identities.iter().try_for_each(|identity| {
            let name = format!("{}{SUFFIX}", identity.info.node_id);
            files::write(&self.dir, &name, &identity.key, identity.info.label.as_deref(), key)
        })
    }
}
