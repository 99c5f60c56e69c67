//! The way in from outside the process, which an embedded node does without: the listener, the
//! token, the certificate, and the file that says where the node is.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::actors::http;
use crate::address_file::Told;
use crate::config::{AuthMode, Config};
use crate::domain::embedding::Embed;
use crate::http::app::{App, Parameters};
use crate::http::auth::{Auth, Mode, Token};
use crate::http::limits::Limits;
use crate::http::origin::Origins;
use crate::http::router::router;
use crate::http::server::{Readiness, Server};
use crate::http::tls::Tls;
use crate::http::token;
use crate::messages::roster::Roster;
use crate::metrics::Metrics;
use crate::node::StartError;
use crate::node::plan::{self, Plan};
use crate::supervisor::ChildSpec;

/// A door that is made but not open yet.
#[derive(Debug)]
pub(super) struct Door {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Tls>,
    token: Token,
    origins: Origins,
}

impl Door {
    /// Reads the token and binds the address. Only for who holds the lock on the data directory.
    pub(super) async fn make(config: &Config, tls: Option<Tls>) -> Result<Self, StartError> {
        let token = token::open(&config.node.data_dir)?;
        let origins = Origins::new(&config.http.hosts, &config.http.origins)?;
        let address = SocketAddr::new(config.http.host, config.http.port);
        let bound = TcpListener::bind(address).await;
        let listener = bound.map_err(|source| StartError::Bind { address, source })?;
        let address = listener.local_addr().unwrap_or(address);
        Ok(Self { listener, address, tls, token, origins })
    }

    /// The actor that accepts connections, and the door as the node keeps it.
    pub(super) fn child(
        self,
        plan: &Plan<'_>,
        config: &Config,
        roster: &Roster,
        metrics: &Metrics,
        started: Instant,
        embedder: Arc<dyn Embed>,
    ) -> (ChildSpec, Opened) {
        let Self { listener, address, tls, token, origins } = self;
        let data_dir = config.node.data_dir.clone();
        let told = Told::of(&data_dir, address);
        let readiness = Readiness::default();
        let dimensions = embedder.id().dimension;
        let limits = Limits { dimensions, ..plan::limits(config) };
        let app = App::new(Parameters {
            roster: roster.clone(),
            metrics: metrics.clone(),
            auth: Auth::new(mode(config.auth.mode), token),
            origins,
            limits: limits.clone(),
            readiness: readiness.clone(),
            started,
            data_dir,
            has_drills: config.chaos.enabled,
            embedder,
        });
        let server =
            Server::new(vec![listener], router(app), limits, metrics.clone(), readiness.clone());
        if let Some(tls) = &tls {
            server.use_tls(tls.clone());
        }
        let (child, _) = plan.actor(http::NAME, move || http::Http { server: server.clone() });
        (child, Opened { told, address, readiness, tls })
    }
}

/// The door of a running node.
#[derive(Debug)]
pub(super) struct Opened {
    /// Taken away before the lock is given back.
    told: Told,
    pub(super) address: SocketAddr,
    readiness: Readiness,
    tls: Option<Tls>,
}

impl Opened {
    /// Writes down where the node is, for programs.
    pub(super) fn tell(&self) {
        self.told.tell(self.tls.as_ref().map(Tls::fingerprint));
    }

    /// Says in a few lines who and where the node is, for people.
    pub(super) fn introduce(&self, config: &Config, node: &str) {
        let (data_dir, tls) = (config.node.data_dir.display(), self.tls.is_some());
        info!(address = %self.address, tls, node, %data_dir, "the node is up");
        info!("print the API token with: bizra token --data-dir {data_dir}");
        if config.auth.mode == AuthMode::TrustLoopback {
            warn!("auth.mode is trust-loopback: every user of this machine can sign as this node");
        }
    }

    /// Says that the node wants no more work, for whoever spreads it.
    pub(super) fn leave(&self) {
        self.readiness.leave();
    }

    /// Reads the certificate again, for the connections from now on.
    pub(super) fn reload(&self) {
        match self.tls.as_ref().map(Tls::reload) {
            Some(Ok(())) => {
                self.tell();
                info!("the certificate was read again");
            }
            Some(Err(error)) => error!(%error, "the certificate from before stays in use"),
            None => {}
        }
    }
}

/// TLS, or the right to do without.
pub(super) fn tls(config: &Config) -> Result<Option<Tls>, StartError> {
    let http = &config.http;
    match (&http.tls_cert, &http.tls_key) {
        (Some(certificate), Some(key)) => Ok(Some(Tls::load(certificate, key)?)),
        (Some(_), None) => Err(StartError::HalfTls { has: "http.tls_cert", lacks: "http.tls_key" }),
        (None, Some(_)) => Err(StartError::HalfTls { has: "http.tls_key", lacks: "http.tls_cert" }),
        _ if http.insecure || http.host.to_canonical().is_loopback() => Ok(None),
        _ => Err(StartError::Plain(http.host)),
    }
}

fn mode(mode: AuthMode) -> Mode {
    match mode {
        AuthMode::Token => Mode::Token,
        AuthMode::Local => Mode::Local,
        AuthMode::TrustLoopback => Mode::TrustLoopback,
    }
}
