//! The file of one identity.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::Zeroizing;

use super::cipher::{Key, NONCE_BYTES, SEALED_BYTES, random};
use super::{FILE_BYTES_MAX, Identity, KeystoreError};
use crate::domain::id::NodeId;
use crate::domain::identity::{IdentityInfo, NodeKey, is_label};
use crate::domain::{bytes, json};
use crate::private_file;

const VERSION: u32 = 1;
/// The secret lies open; the mode of its file protects it.
const NONE: &str = "none";
/// The secret is encrypted with the data key of the keystore.
const ENCRYPTED: &str = "xchacha20poly1305";

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct KeyFile<'a> {
    version: u32,
    protection: &'a str,
    label: Option<String>,
    public_key: &'a str,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
    /// Borrowed from a buffer that is overwritten.
    secret: &'a str,
}

/// An identity as its file has it.
pub(super) struct Read {
    pub(super) identity: Identity,
    pub(super) is_encrypted: bool,
}

/// Writes an identity to `dir/name`, encrypted if there is a key.
pub(super) fn write(
    dir: &Path,
    name: &str,
    node_key: &NodeKey,
    label: Option<&str>,
    key: Option<&Key>,
) -> Result<(), KeystoreError> {
    let path = dir.join(name);
    let failed = |problem| KeystoreError::Damaged { path: path.clone(), problem };
    let public = node_key.public_key().to_hex();
    let label = label.map(str::to_owned);
    let (nonce, secret) = match key {
        None => (None, Zeroizing::new(bytes::to_hex(node_key.expose_secret()))),
        Some(key) => {
            let nonce = random::<NONCE_BYTES>()?;
            let header = header(label.as_deref(), &public).map_err(failed)?;
            let sealed = key.seal(&nonce, &header, node_key.expose_secret());
            let sealed = sealed.ok_or_else(|| failed("it cannot be encrypted"))?;
            (Some(bytes::to_hex(&nonce)), Zeroizing::new(bytes::to_hex(&sealed)))
        }
    };
    let file = KeyFile {
        version: VERSION,
        protection: if key.is_some() { ENCRYPTED } else { NONE },
        label,
        public_key: &public,
        nonce: nonce.as_deref(),
        secret: &secret,
    };
    // As large as it can become: a buffer that grows leaves copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX));
    serde_json::to_writer(&mut *text, &file)
        .map_err(|error| KeystoreError::Io { path: path.clone(), source: error.into() })?;
    text.push(b'\n');
    Ok(private_file::write(dir, name, &text)?)
}

/// Reads the identity `id`. What is encrypted needs the key.
pub(super) fn read(path: &Path, id: NodeId, key: Option<&Key>) -> Result<Read, KeystoreError> {
    let damaged = |problem| KeystoreError::Damaged { path: path.to_owned(), problem };
    let text = private_file::read(path, FILE_BYTES_MAX)?;
    let file: KeyFile<'_> =
        serde_json::from_slice(&text).map_err(|_| damaged("not an identity file, or cut short"))?;
    if file.version != VERSION {
        return Err(damaged("unknown version"));
    }
    if file.label.as_deref().is_some_and(|label| !is_label(label)) {
        return Err(damaged("the label is not one"));
    }
    let is_encrypted = file.protection == ENCRYPTED;
    let secret = match (file.protection, key) {
        (NONE, _) => {
            let secret = bytes::from_hex::<32>(file.secret).map(Zeroizing::new);
            secret.map_err(|_| damaged("the secret is not 64 hex digits"))?
        }
        (ENCRYPTED, Some(key)) => {
            let nonce = file.nonce.and_then(|nonce| bytes::from_hex(nonce).ok());
            let nonce = nonce.ok_or_else(|| damaged("the nonce is not 48 hex digits"))?;
            let sealed = bytes::from_hex::<SEALED_BYTES>(file.secret);
            let sealed = sealed.map_err(|_| damaged("the secret is not 96 hex digits"))?;
            let header = header(file.label.as_deref(), file.public_key).map_err(damaged)?;
            let secret = key.open(&nonce, &header, &sealed);
            secret.ok_or_else(|| damaged("it was changed, or is of another keystore"))?
        }
        (ENCRYPTED, None) => {
            return Err(damaged("it is encrypted, and the file with the data key is gone"));
        }
        _ => return Err(KeystoreError::Protection { path: path.to_owned() }),
    };
    let node_key = NodeKey::from_secret(&secret);
    let public_key = *node_key.public_key();
    if public_key.to_hex() != file.public_key {
        return Err(damaged("the secret is not the one of the public key"));
    }
    if public_key.node_id() != id {
        return Err(damaged("its name is that of another identity"));
    }
    let info = IdentityInfo {
        node_id: id,
        public_key,
        label: file.label,
        is_active: false,
        rotation: None,
    };
    Ok(Read { identity: Identity { info, key: Arc::new(node_key) }, is_encrypted })
}

/// What is authenticated with an encrypted secret, in its canonical form.
fn header(label: Option<&str>, public_key: &str) -> Result<Vec<u8>, &'static str> {
    let header = json!({
        "version": VERSION,
        "protection": ENCRYPTED,
        "label": label,
        "public_key": public_key,
    });
    json::canonical(&header).map_err(|_| "the label is not one")
}
