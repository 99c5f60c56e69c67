//! Why a node does not start, and which key of the configuration is to blame.

use std::net::{IpAddr, SocketAddr};

use crate::actor::Failure;
use crate::adapters::audit::AuditError;
use crate::adapters::constitution_file::ConstitutionFileError;
use crate::adapters::embedding::ModelError;
use crate::adapters::keystore::KeystoreError;
use crate::adapters::lock::LockError;
use crate::adapters::model_server::configured::SetupError;
use crate::adapters::models::ModelStoreError;
use crate::adapters::store::StoreError;
use crate::http::origin::OriginError;
use crate::http::tls::TlsError;
use crate::passphrase_file::PassphraseFileError;
use crate::token_file::TokenError;

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory is in use or cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The audit record cannot be used.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The API token cannot be read or made.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The keystore cannot be read.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The passphrase of the keystore cannot be read.
    #[error("the passphrase: {0}")]
    Passphrase(#[from] PassphraseFileError),
    /// The constitution's file cannot be read or is not valid.
    #[error("gates.constitution: {0}")]
    Constitution(#[from] ConstitutionFileError),
    /// The catalogue of models cannot be read or is not valid.
    #[error("inference.models.catalogue: {0}")]
    Catalogue(#[from] ModelStoreError),
    /// There is no embedding model in the folder that is configured.
    #[error("embedding.model: {0}")]
    Embedding(#[from] ModelError),
    /// A host or origin in the configuration is none.
    #[error("{key}: {0}", key = origin_key(.0))]
    Origin(#[from] OriginError),
    /// The configuration names an actor that does not exist.
    #[error("supervisor.actors.{name}: there is no such actor; there is: {}", known.join(", "))]
    UnknownActor {
        /// The name.
        name: String,
        /// Every actor.
        known: Vec<String>,
    },
    /// The address is in use or not ours.
    #[error("cannot listen on {address}: {source}; choose another with --host and --port")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("{key}: {0}", key = tls_key(.0))]
    Tls(#[from] TlsError),
    /// A certificate without its key, or a key without its certificate.
    #[error("{has}: is given without {lacks}; TLS needs both")]
    HalfTls {
        /// The key of the configuration that is given.
        has: &'static str,
        /// The one that is not.
        lacks: &'static str,
    },
    /// Other machines would send their tokens in the clear.
    #[error(
        "http.host: {0} can be reached by other machines, and without TLS whoever is on the way can \
         read the API token; add --tls-cert FILE and --tls-key FILE, or add --insecure (http.insecure \
         = true) where something else keeps others out, such as a proxy with TLS before the node or \
         the network of its container"
    )]
    Plain(IpAddr),
    /// A model server cannot be used as it is configured.
    #[error(transparent)]
    Server(#[from] SetupError),
    /// An actor does not come up.
    #[error("{0}")]
    Actors(Failure),
}

impl StartError {
    /// The key of the configuration that is wrong, if the configuration is what is wrong.
    pub fn key(&self) -> Option<String> {
        match self {
            Self::Constitution(_) => Some("gates.constitution".into()),
            Self::Catalogue(_) => Some("inference.models.catalogue".into()),
            Self::Embedding(_) => Some("embedding.model".into()),
            Self::Origin(error) => Some(origin_key(error).into()),
            Self::UnknownActor { name, .. } => Some(format!("supervisor.actors.{name}")),
            Self::Tls(error) => Some(tls_key(error).into()),
            Self::HalfTls { has, .. } => Some((*has).into()),
            Self::Plain(_) => Some("http.host".into()),
            Self::Server(error) => Some(error.key.clone()),
            Self::Passphrase(_) => Some("node.passphrase_file".into()),
            Self::Keystore(_)
            | Self::Lock(_)
            | Self::Store(_)
            | Self::Audit(_)
            | Self::Token(_)
            | Self::Bind { .. }
            | Self::Actors(_) => None,
        }
    }

    /// Whether nothing is wrong but what the node was given: its configuration or its passphrase.
    pub fn is_usage(&self) -> bool {
        self.key().is_some() || matches!(self, Self::Keystore(error) if error.is_passphrase())
    }
}

fn tls_key(error: &TlsError) -> &'static str {
    if error.is_of_the_key() { "http.tls_key" } else { "http.tls_cert" }
}

fn origin_key(error: &OriginError) -> &'static str {
    match error {
        OriginError::Host(_) => "http.hosts",
        OriginError::Origin(_) => "http.origins",
    }
}
