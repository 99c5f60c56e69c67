//! What the handlers know of the node.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use hyper::http::request::Parts;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::domain::embedding::Embed;
use crate::domain::rate::Client;
use crate::http::auth::{Auth, Class};
use crate::http::docs::Documents;
use crate::http::error::ApiError;
use crate::http::health::Lookout;
use crate::http::limits::Limits;
use crate::http::origin::Origins;
use crate::http::rate::Limiter;
use crate::http::server::{Peer, Readiness};
use crate::messages::addr::Deadline;
use crate::messages::roster::Roster;
use crate::metrics::Metrics;

/// What every handler may use: addresses, limits, rules. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    parameters: Parameters,
    limiter: Limiter,
    /// The places of requests that are served at once.
    places: Arc<Semaphore>,
    /// The places of requests whose texts are embedded at once.
    embedding: Arc<Semaphore>,
    documents: Documents,
    lookout: Lookout,
}

/// The parts of an [`App`].
#[derive(Debug)]
pub struct Parameters {
    /// Every actor a handler may call.
    pub roster: Roster,
    /// The node's metrics.
    pub metrics: Metrics,
    /// Who may call what.
    pub auth: Auth,
    /// Which names and web pages are let in.
    pub origins: Origins,
    /// How much one client may hold.
    pub limits: Limits,
    /// Whether new work is wanted.
    pub readiness: Readiness,
    /// When the node started.
    pub started: Instant,
    /// Where its data is, for the free space in `/status`.
    pub data_dir: PathBuf,
    /// Whether drills other than a plain error may be asked for. Default: no.
    pub has_drills: bool,
    /// Gives texts their vectors.
    pub embedder: Arc<dyn Embed>,
}

impl App {
    /// From its parts.
    pub fn new(parameters: Parameters) -> Self {
        let limiter = Limiter::new(&parameters.limits.rates);
        let places = Arc::new(Semaphore::new(parameters.limits.requests_max));
        // Embedding is computing: more at once would only take turns.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let embedding = Arc::new(Semaphore::new(cores));
        let (documents, lookout) = (Documents::default(), Lookout::default());
        Self(Arc::new(Inner { parameters, limiter, places, embedding, documents, lookout }))
    }

    /// The contract, as it is served.
    pub(super) fn documents(&self) -> &Documents {
        &self.0.documents
    }

    /// What was last seen of the node's health.
    pub(super) fn lookout(&self) -> &Lookout {
        &self.0.lookout
    }

    /// Counts how often clients call.
    pub(super) fn limiter(&self) -> &Limiter {
        &self.0.limiter
    }

    /// A place for embedding, until it is dropped. Waits for one.
    pub(super) async fn embedding_place(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(&self.0.embedding).acquire_owned().await.ok()
    }

    /// A place for one more request, until it is dropped. Asking whether the node lives needs none,
    /// so that it is answered also under overload.
    ///
    /// # Errors
    /// 503 when there are as many requests as may be.
    pub(super) fn place(&self, class: Class) -> Result<Option<OwnedSemaphorePermit>, ApiError> {
        if class == Class::Open {
            return Ok(None);
        }
        let place = Arc::clone(&self.0.places).try_acquire_owned();
        let error = "the node serves as many requests as it can";
        place.map(Some).map_err(|_| ApiError::unavailable("OVERLOADED", error))
    }
}

impl Deref for App {
    type Target = Parameters;

    fn deref(&self) -> &Parameters {
        &self.0.parameters
    }
}

/// The instant at which the caller of this request is told that it was too long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Until(pub(super) Deadline);

impl FromRequestParts<App> for Until {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let known = parts.extensions.get::<Self>().copied();
        Ok(known.unwrap_or_else(|| Self(Deadline::after(app.limits.request_timeout))))
    }
}

/// Who sends this request, as one of the clients between whom work is shared. Callers of this
/// machine are one client, and so is whoever comes through a proxy on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender(pub(super) Client);

impl FromRequestParts<App> for Sender {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<Peer>().map(|peer| peer.0.ip());
        Ok(Self(peer.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)).into()))
    }
}
