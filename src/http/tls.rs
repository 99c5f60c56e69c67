//! TLS for the listener: one certificate chain and its key, from PEM files, read again when the
//! node is told to.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use crate::address_file::fingerprint;

/// A chain of a few certificates has some ten kilobytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

const CERTIFICATE: &str = "certificate";
const KEY: &str = "private key";

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
        /// Whether it is that of the key.
        is_key: bool,
    },
    /// Others may read the key.
    #[error("{0} may be read by others; run: chmod 600 {0}", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// The file does not hold what it should.
    #[error("{} holds no {what} in PEM form{reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// `certificate` or `private key`.
        what: &'static str,
        /// What is wrong with it, if that is known.
        reason: String,
    },
    /// The two do not go together, or cannot be used.
    #[error("the certificate of {} cannot be used: {reason}", path.display())]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl TlsError {
    /// Whether the key is what is wrong, and not the certificate.
    pub fn is_of_the_key(&self) -> bool {
        match self {
            Self::Exposed { .. } | Self::Malformed { what: KEY, .. } => true,
            Self::File { is_key, .. } => *is_key,
            Self::Malformed { .. } | Self::Unusable { .. } => false,
        }
    }
}

/// A certificate and its key; cheap to clone, and clones share what is loaded.
#[derive(Clone, Debug)]
pub struct Tls(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    certificate: PathBuf,
    key: PathBuf,
    loaded: ArcSwap<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    fingerprint: String,
}

impl Tls {
    /// Loads both files.
    ///
    /// # Errors
    /// [`TlsError`] with the file that is wrong.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let loaded = ArcSwap::from_pointee(read(certificate, key)?);
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        Ok(Self(Arc::new(Inner { certificate, key, loaded })))
    }

    /// Reads the files again, for the connections from now on.
    ///
    /// # Errors
    /// As [`Tls::load`]; what was loaded before stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.0.loaded.store(Arc::new(read(&self.0.certificate, &self.0.key)?));
        Ok(())
    }

    /// The fingerprint of the certificate that is shown now.
    pub fn fingerprint(&self) -> String {
        self.0.loaded.load().fingerprint.clone()
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0.loaded.load().config))
    }
}

/// TLS 1.2 and 1.3, HTTP/1.1 alone; no client certificates, no early data.
fn read(certificate: &Path, key: &Path) -> Result<Loaded, TlsError> {
    let chain = read_chain(certificate)?;
    let fingerprint = chain.first().map(|first| fingerprint(first)).unwrap_or_default();
    let key = read_key(key)?;
    let unusable = |error: rustls::Error| TlsError::Unusable {
        path: certificate.to_owned(),
        reason: error.to_string(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Loaded { config: Arc::new(config), fingerprint })
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let malformed =
        |reason| TlsError::Malformed { path: path.to_owned(), what: CERTIFICATE, reason };
    let (bytes, _) = read_file(path).map_err(|source| failed(path, source, false))?;
    let chain: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain = chain.map_err(|error| malformed(format!(": {error}")))?;
    if chain.is_empty() { Err(malformed(String::new())) } else { Ok(chain) }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let (bytes, mode) = read_file(path).map_err(|source| failed(path, source, true))?;
    // A group may be let in by whoever manages certificates, all the world may not.
    if mode & 0o007 != 0 {
        return Err(TlsError::Exposed { path: path.to_owned() });
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        let reason = match error {
            pem::Error::NoItemsFound => String::new(),
            error => format!(": {error}"),
        };
        TlsError::Malformed { path: path.to_owned(), what: KEY, reason }
    })
}

fn failed(path: &Path, source: io::Error, is_key: bool) -> TlsError {
    TlsError::File { path: path.to_owned(), source, is_key }
}

/// The file and its permission bits. Links are followed: certificates are often installed so.
fn read_file(path: &Path) -> io::Result<(Zeroizing<Vec<u8>>, u32)> {
    // A pipe would keep the node waiting.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let file = File::open(path)?;
    let mode = file.metadata()?.mode();
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok((bytes, mode))
}
