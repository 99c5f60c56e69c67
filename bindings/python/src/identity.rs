//! Keys that sign, and signatures.

use std::path::{Path, PathBuf};

use bizra_omega::domain::bytes;
use bizra_omega::domain::identity::{KeyUse, NodeKey, PublicKey, Signature, Signed, VerifyError};
use bizra_omega::private_file::{self, PrivateFileError};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::error::{Error, Family, Result, apart};
use crate::id::{NodeId, hash_of};
use crate::input::Data;

/// Bytes of a key file, as the keystore of a node has them.
const FILE_BYTES_MAX: usize = 4096;

/// An Ed25519 key pair of its own, which is held in this process and nowhere else.
///
/// NodeIdentity() draws a new one from the system. Two identities are equal when their public keys
/// are. Identities are not pickled: a pickle would carry the secret key.
#[pyclass(module = "bizra", frozen)]
pub(crate) struct NodeIdentity {
    key: NodeKey,
    /// Of the same key, for its owner.
    secret: Zeroizing<[u8; 32]>,
}

impl NodeIdentity {
    fn from_bytes(secret: Zeroizing<[u8; 32]>) -> Self {
        Self { key: NodeKey::from_secret(&secret), secret }
    }

    /// Its public key.
    pub(crate) fn public(&self) -> &PublicKey {
        self.key.public_key()
    }

    /// Signs for `key_use`; without the GIL, please.
    pub(crate) fn signed(&self, key_use: KeyUse, message: &[u8]) -> Signed {
        self.key.sign(key_use, message)
    }

    /// As the keystore of a node writes an identity that is not encrypted.
    fn file(&self) -> Zeroizing<Vec<u8>> {
        let secret = Zeroizing::new(bytes::to_hex(&*self.secret));
        let public = self.public().to_hex();
        // As large as it can become: a buffer that grows leaves copies behind.
        let mut text = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX));
        text.extend_from_slice(br#"{"version":1,"protection":"none","label":null,"public_key":""#);
        text.extend_from_slice(public.as_bytes());
        text.extend_from_slice(br#"","secret":""#);
        text.extend_from_slice(secret.as_bytes());
        text.extend_from_slice(b"\"}\n");
        text
    }
}

#[pymethods]
impl NodeIdentity {
    #[new]
    fn new(py: Python<'_>) -> Result<Self> {
        apart(py, || {
            let mut secret = Zeroizing::new([0; 32]);
            getrandom::fill(&mut *secret)
                .map_err(|error| Error::unavailable(format!("no random bytes: {error}")))?;
            Ok(Self::from_bytes(secret))
        })
    }

    /// The identity of 32 secret bytes. Raises InvalidInput for another number.
    #[staticmethod]
    fn from_secret(py: Python<'_>, secret: Data) -> Result<Self> {
        let found = secret.len();
        let secret = <[u8; 32]>::try_from(&*secret).map(Zeroizing::new).map_err(|_| {
            Error::invalid(format!("Secret must be 32 bytes, and this has {found}"))
        })?;
        apart(py, || Ok(Self::from_bytes(secret)))
    }

    /// Reads an identity from a file, as save() and the keystore of a node write it.
    ///
    /// Refuses a file that others can read, a link, and one of another user (PermissionError), and
    /// an encrypted one (InvalidInput): its node can use it.
    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        Ok(apart(py, || {
            let text = private_file::read(&path, FILE_BYTES_MAX);
            let text = text.map_err(|error| file_error(&error))?;
            read_file(&path, &text)
        })?)
    }

    /// Writes the secret key to a new file of mode 0600; nothing is ever overwritten.
    #[pyo3(signature = (path))]
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        Ok(apart(py, || {
            let saved = private_file::write_new(&path, &self.file());
            saved.map_err(|error| file_error(&error))
        })?)
    }

    /// The id that its node goes by.
    #[getter]
    fn node_id(&self) -> NodeId {
        NodeId(self.public().node_id())
    }

    /// The public key, 64 lower-case hex digits.
    #[getter]
    fn public_key(&self) -> String {
        self.public().to_hex()
    }

    /// Signs a message: 128 lower-case hex digits.
    ///
    /// Signed are the 64 hex digits of its domain_separated_digest, so no signature of a message
    /// means anything as that of an envelope. The same message gives the same signature.
    fn sign(&self, py: Python<'_>, message: Data) -> Result<String> {
        apart(py, || Ok(self.signed(KeyUse::Message, &message).signature.to_hex()))
    }

    /// Whether the key signed the message. Strict: False for anything that is not exactly 128 and 64
    /// lower-case hex digits, for weak keys, and for signatures with more than one encoding.
    #[staticmethod]
    fn verify(py: Python<'_>, message: Data, signature: &str, public_key: &str) -> Result<bool> {
        apart(py, || Ok(verified(&message, signature, public_key).is_ok()))
    }

    /// The 32 secret bytes. Python keeps no watch over them: whoever asks for them guards them.
    fn secret_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &*self.secret)
    }

    fn __repr__(&self) -> String {
        format!("NodeIdentity(node_id='{}')", self.public().node_id().short())
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.public() == other.public()
    }

    fn __hash__(&self) -> u64 {
        hash_of(self.public())
    }

    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __deepcopy__(slf: Py<Self>, _memo: &Bound<'_, PyAny>) -> Py<Self> {
        slf
    }

    fn __reduce__(&self) -> PyResult<()> {
        let reason = "a NodeIdentity is not pickled, which would copy its secret key; see save()";
        Err(PyTypeError::new_err(reason))
    }
}

fn verified(message: &[u8], signature: &str, public_key: &str) -> Result<(), VerifyError> {
    let signature = Signature::from_hex(signature)?;
    PublicKey::admit_hex(public_key)?.verify(KeyUse::Message, message, &signature)
}

/// What is read of an identity file; borrowed from a buffer that is overwritten.
#[derive(Deserialize)]
struct KeyFile<'a> {
    version: u32,
    protection: &'a str,
    public_key: &'a str,
    secret: &'a str,
}

fn read_file(path: &Path, text: &[u8]) -> Result<NodeIdentity> {
    let wrong = |reason: &str| Error::invalid(format!("{}: {reason}", path.display()));
    let file: KeyFile<'_> =
        serde_json::from_slice(text).map_err(|_| wrong("it is no identity file, or cut short"))?;
    if file.version != 1 {
        return Err(wrong("it is an identity file of an unknown version"));
    }
    if file.protection != "none" {
        return Err(wrong("it is encrypted; only a node that is given the passphrase can use it"));
    }
    let secret = bytes::from_hex::<32>(file.secret).map(Zeroizing::new);
    let secret = secret.map_err(|_| wrong("its secret is not 64 hex digits"))?;
    let identity = NodeIdentity::from_bytes(secret);
    if file.public_key != identity.public().to_hex() {
        return Err(wrong("its secret is not the one of its public key"));
    }
    Ok(identity)
}

fn file_error(error: &PrivateFileError) -> Error {
    let family = match error {
        PrivateFileError::Io { .. } => Family::StorageError,
        PrivateFileError::Link { .. }
        | PrivateFileError::Open { .. }
        | PrivateFileError::Owner { .. } => Family::Forbidden,
        PrivateFileError::NotSmall { .. } => Family::InvalidInput,
        PrivateFileError::Random(_) => Family::Unavailable,
    };
    Error::new(family, error.to_string())
}
