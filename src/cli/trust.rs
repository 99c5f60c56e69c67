//! Which certificates of a node are trusted.
//!
//! A node that was found by its data directory shows exactly the certificate that it wrote down
//! there, whatever names and dates that has: who could change the file could read the token as well.
//! A node that was named is held to the certificates in a file (`--ca`), or to the authorities that
//! this machine trusts. Nothing turns this off.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use crate::address_file::fingerprint;
use crate::cli::client::CliError;

/// A file of a few authorities has some ten kilobytes, one with those of a whole system some hundred.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What a node has to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// The certificate with this fingerprint.
    Exactly(String),
    /// One of those in the file, or one that stands on one of them.
    File(PathBuf),
    /// One that stands on an authority that this machine trusts.
    System,
}

impl Trust {
    /// TLS that holds a node to it.
    ///
    /// # Errors
    /// When there is nothing to hold it to.
    pub(super) fn config(&self) -> Result<ClientConfig, CliError> {
        let provider = Arc::new(ring::default_provider());
        let (exact, roots) = match self {
            Self::Exactly(fingerprint) => (vec![fingerprint.clone()], Vec::new()),
            Self::File(path) => {
                let certificates = read(path)?;
                (certificates.iter().map(|it| fingerprint(it)).collect(), certificates)
            }
            Self::System => (Vec::new(), rustls_native_certs::load_native_certs().certs),
        };
        let authorities = authorities(roots, &provider);
        if exact.is_empty() && authorities.is_none() {
            let text = "this machine trusts no authorities; name the node's certificate with --ca";
            return Err(CliError::Usage(text.to_owned()));
        }
        let known = Known { exact, authorities, provider: Arc::clone(&provider) };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| CliError::Usage(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(known))
            .with_no_client_auth();
        Ok(config)
    }
}

fn authorities(
    certificates: Vec<CertificateDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Option<Arc<WebPkiServerVerifier>> {
    let mut roots = RootCertStore::empty();
    // A certificate that can be no authority may still be the node's own.
    roots.add_parsable_certificates(certificates);
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build().ok()
}

/// The certificates in a PEM file.
///
/// # Errors
/// When it cannot be read or holds none.
pub(super) fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, CliError> {
    let wrong = |reason: String| CliError::Usage(format!("{}: {reason}", path.display()));
    let metadata = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(wrong(format!("is not a file of at most {FILE_BYTES_MAX} bytes")));
    }
    let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(wrong("holds no certificate in PEM form".to_owned())),
        Err(error) => Err(wrong(format!("holds no certificate in PEM form: {error}"))),
    }
}

/// Certificates that are known by themselves, and authorities for others.
#[derive(Debug)]
struct Known {
    exact: Vec<String>,
    authorities: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // That the node has its key, the signature of the handshake proves below.
        if self.exact.contains(&fingerprint(end_entity)) {
            return Ok(ServerCertVerified::assertion());
        }
        match &self.authorities {
            Some(authorities) => authorities.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What rustls says is wrong with a certificate, somewhere among the causes of an error.
pub(super) fn refusal(error: &reqwest::Error) -> Option<String> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        // The error inside an error of the system is not among its causes.
        let within = inner.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let tls = within
            .and_then(|within| within.downcast_ref::<rustls::Error>())
            .or_else(|| inner.downcast_ref::<rustls::Error>());
        if let Some(rustls::Error::InvalidCertificate(problem)) = tls {
            return Some(match problem {
                CertificateError::UnknownIssuer => {
                    "it stands on no certificate that is trusted here".to_owned()
                }
                other => other.to_string(),
            });
        }
        cause = within.map_or_else(
            || inner.source(),
            |within| Some(within as &(dyn std::error::Error + 'static)),
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        for text in [None, Some(""), Some("-----BEGIN CERTIFICATE-----\nAAAA\n")] {
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            let error = Trust::File(path.clone()).config().unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains("ca.pem"), "{error}");
        }
        let error = Trust::File(dir.path().to_owned()).config().unwrap_err();
        assert!(error.to_string().contains("is not a file"), "{error}");
    }
}
