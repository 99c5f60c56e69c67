//! The node: which actors there are, in what order they start, and who knows whom.
//!
//! What must outlive a restart (the lock on the data directory, the store, the listener, the loaded
//! model) is made here, once, and handed to the actors; everything else an incarnation makes anew.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::actor::Failure;
use crate::actors::{backend, envelope, gate_chain, http, identity, inference_router};
use crate::adapters::keystore::Keystore;
use crate::adapters::lock::{DirLock, LockError};
use crate::adapters::ollama;
use crate::adapters::store::{Store, StoreError};
use crate::clock;
use crate::config::{AuthMode, Config, Ws};
use crate::domain::constitution::{Constitution, ConstitutionError, DEFAULT_TOML};
use crate::domain::inference::{Tier, request};
use crate::domain::replay::ReplayLimits;
use crate::domain::restart::Strategy;
use crate::http::app::{App, Parameters};
use crate::http::auth::{Auth, Mode};
use crate::http::limits::{Limits, SocketLimits};
use crate::http::origin::{OriginError, Origins};
use crate::http::router::router;
use crate::http::server::{Readiness, Server};
use crate::http::token;
use crate::messages::addr::Deadline;
use crate::messages::event::{Events, Topic};
use crate::messages::identity::IdentityMsg;
use crate::messages::roster::Roster;
use crate::metrics::Metrics;
use crate::supervisor::{Exit, Root};
use crate::token_file::TokenError;

use plan::Plan;

mod plan;

/// Time for the actors to say who and what they are for the lines at the start.
const INTRODUCTION_WAIT: Duration = Duration::from_secs(5);

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory is in use or cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The API token cannot be read or made.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The constitution is not valid.
    #[error("gates.constitution: {0}")]
    Constitution(#[from] ConstitutionError),
    /// The constitution's file cannot be read.
    #[error("gates.constitution: {}: {source}", path.display())]
    ConstitutionFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A host or origin in the configuration is none.
    #[error("{key}: {0}", key = origin_key(.0))]
    Origin(#[from] OriginError),
    /// The configuration names an actor that does not exist.
    #[error("supervisor.actors.{name}: there is no such actor; there is: {}", known.join(", "))]
    UnknownActor {
        /// The name.
        name: String,
        /// Every actor.
        known: Vec<&'static str>,
    },
    /// The address is in use or not ours.
    #[error("cannot listen on {address}: {source}; choose another with --host and --port")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The model server's address is none.
    #[error("inference.ollama.url: {0}")]
    Ollama(#[from] ollama::ServerError),
    /// An actor does not come up.
    #[error("{0}")]
    Actors(Failure),
}

impl StartError {
    /// The key of the configuration that is wrong, if the configuration is what is wrong.
    pub fn key(&self) -> Option<String> {
        match self {
            Self::Constitution(_) | Self::ConstitutionFile { .. } => {
                Some("gates.constitution".into())
            }
            Self::Origin(error) => Some(origin_key(error).into()),
            Self::UnknownActor { name, .. } => Some(format!("supervisor.actors.{name}")),
            Self::Ollama(_) => Some("inference.ollama.url".into()),
            Self::Lock(_)
            | Self::Store(_)
            | Self::Token(_)
            | Self::Bind { .. }
            | Self::Actors(_) => None,
        }
    }
}

fn origin_key(error: &OriginError) -> &'static str {
    match error {
        OriginError::Host(_) => "http.hosts",
        OriginError::Origin(_) => "http.origins",
    }
}

/// A running node. Dropping it ends it without order; see [`Node::shutdown`].
#[derive(Debug)]
pub struct Node {
    root: Root,
    roster: Roster,
    address: SocketAddr,
    grace: Duration,
    store: Arc<Store>,
    readiness: Readiness,
    /// Held until the store is closed.
    _lock: DirLock,
}

/// Starts a node: takes its data directory, binds its address, starts its actors.
///
/// # Errors
/// See [`StartError`]; nothing is left running.
pub async fn start(config: Config) -> Result<Node, StartError> {
    let started = Instant::now();
    let known = plan::NAMES;
    if let Some(name) = config.supervisor.unknown_actor(known) {
        return Err(StartError::UnknownActor { name: name.to_owned(), known: known.to_vec() });
    }
    let data_dir = config.node.data_dir.clone();
    let lock = DirLock::acquire(&data_dir)?;
    let token = token::open(&data_dir)?;
    let constitution = Arc::new(constitution(&config)?);
    let origins = Origins::new(&config.http.hosts, &config.http.origins)?;
    let address = SocketAddr::new(config.http.host, config.http.port);
    let bound = TcpListener::bind(address).await;
    let listener = bound.map_err(|source| StartError::Bind { address, source })?;
    let address = listener.local_addr().unwrap_or(address);
    let store = Arc::new(Store::open(&data_dir)?);

    let metrics = Metrics::new();
    let events = Events::default();
    events.announce([Topic::Actors, Topic::Inference, Topic::Envelopes]);
    let plan = Plan::new(&config.supervisor, &metrics, &events);
    let supervisor = Root::address(&metrics);

    let keystore = Arc::new(Keystore::new(&data_dir));
    let (identity_child, identity) =
        plan.actor(identity::NAME, move || identity::Identity { keystore: Arc::clone(&keystore) });

    let (gate_chain_child, gate_chain) = plan.actor(gate_chain::NAME, move || {
        gate_chain::GateChain { constitution: Arc::clone(&constitution) }
    });

    let (issuer, log, envelope_events) = (identity.clone(), Arc::clone(&store), events.clone());
    let (envelope_child, envelope) = plan.actor(envelope::NAME, move || envelope::Envelope {
        identity: issuer.clone(),
        store: Arc::clone(&log),
        limits: ReplayLimits::default(),
        now_ms: clock::now_ms,
        events: envelope_events.clone(),
    });

    let edge_backend = backend::edge::EdgeBackend::from_config(&config.inference.edge);
    let (edge_child, edge) = plan.actor(backend::edge::NAME, move || edge_backend.clone());

    let ollama_backend = backend::ollama::OllamaBackend::from_config(&config.inference.ollama)?;
    let (ollama_child, ollama) = plan.actor(backend::ollama::NAME, move || ollama_backend.clone());

    let (judge, notary, told) = (gate_chain.clone(), envelope.clone(), events.clone());
    let backends = vec![(Tier::Edge, edge), (Tier::Local, ollama)];
    let (router_child, inference) = plan.actor(inference_router::NAME, move || {
        let (judge, notary) = (judge.clone(), notary.clone());
        inference_router::InferenceRouter::new(judge, notary, backends.clone())
            .telling(told.clone())
    });
    let inference_children = vec![edge_child, ollama_child, router_child];
    let inference_child = plan.group(plan::INFERENCE, Strategy::OneForOne, inference_children);

    let roster = Roster {
        supervisor: supervisor.clone(),
        identity,
        gate_chain,
        envelope,
        inference,
        events: events.clone(),
    };
    let readiness = Readiness::default();
    let limits = limits(&config);
    let app = App::new(Parameters {
        roster: roster.clone(),
        metrics: metrics.clone(),
        auth: Auth::new(mode(config.auth.mode), token),
        origins,
        limits: limits.clone(),
        readiness: readiness.clone(),
        started,
        data_dir: data_dir.clone(),
        has_drills: config.chaos.enabled,
    });
    let server =
        Server::new(vec![listener], router(app), limits, metrics.clone(), readiness.clone());
    let (http_child, _) = plan.actor(http::NAME, move || http::Http { server: server.clone() });

    let children =
        vec![identity_child, gate_chain_child, envelope_child, inference_child, http_child];
    let settings = plan.settings(Strategy::OneForOne);
    let root = Root::start(supervisor, settings, children).await.map_err(StartError::Actors)?;
    let grace = Duration::from_secs(config.supervisor.shutdown_seconds);
    let node = Node { root, roster, address, grace, store, readiness, _lock: lock };
    node.introduce(&config).await;
    Ok(node)
}

impl Node {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every address that may be used from outside the tree.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Waits until it ends by itself, which it does when a critical actor cannot be kept alive.
    pub async fn ended(&self) -> Exit {
        self.root.ended().await
    }

    /// Stops every actor in order, those that take work first and the keys last, then closes the
    /// store. What has not ended within the configured time is killed.
    pub async fn shutdown(&self) -> Exit {
        self.readiness.drain();
        let exit = self.root.shutdown(self.grace).await;
        let store = Arc::clone(&self.store);
        if tokio::task::spawn_blocking(move || store.close()).await.is_err() {
            warn!("the store did not close");
        }
        exit
    }

    /// Says who and where it is, in a few lines.
    async fn introduce(&self, config: &Config) {
        let wait = Deadline::after(INTRODUCTION_WAIT);
        let active = self.roster.identity.call(wait, |reply| IdentityMsg::Active { reply }).await;
        let node = active.map(|identity| identity.node_id.to_string()).unwrap_or_default();
        let data_dir = config.node.data_dir.display();
        info!(address = %self.address, node, %data_dir, "the node is up");
        info!("print the API token with: bizra token --data-dir {data_dir}");
        if config.auth.mode == AuthMode::TrustLoopback {
            warn!("auth.mode is trust-loopback: every user of this machine can sign as this node");
        }
    }
}

fn constitution(config: &Config) -> Result<Constitution, StartError> {
    let Some(path) = &config.gates.constitution else {
        return Ok(Constitution::parse("built in", DEFAULT_TOML)?);
    };
    let text = std::fs::read_to_string(path)
        .map_err(|source| StartError::ConstitutionFile { path: path.clone(), source })?;
    Ok(Constitution::parse(&path.display().to_string(), &text)?)
}

fn mode(mode: AuthMode) -> Mode {
    match mode {
        AuthMode::Token => Mode::Token,
        AuthMode::Local => Mode::Local,
        AuthMode::TrustLoopback => Mode::TrustLoopback,
    }
}

fn limits(config: &Config) -> Limits {
    let http = &config.http;
    Limits {
        connections_max: http.connections_max,
        header_timeout: Duration::from_secs(http.header_seconds),
        idle_timeout: Duration::from_secs(http.idle_seconds),
        body_bytes_max: http.body_bytes_max,
        request_timeout: Duration::from_secs(http.request_seconds),
        generate_timeout: Duration::from_secs(http.generate_seconds),
        stop_grace: plan::http_grace(&config.supervisor),
        prompts: request::Limits {
            prompt_chars_max: config.inference.prompt_chars_max,
            max_tokens_max: config.inference.max_tokens_max,
            max_tokens_default: config.inference.max_tokens_default,
            ..request::Limits::default()
        },
        sockets: socket_limits(&config.ws),
        ..Limits::default()
    }
}

fn socket_limits(ws: &Ws) -> SocketLimits {
    SocketLimits {
        sockets_max: ws.sockets_max,
        per_client_max: ws.sockets_per_client_max,
        message_bytes_max: ws.message_bytes_max,
        subscriptions_max: ws.subscriptions_max,
        calls_max: ws.calls_max,
        generations_max: ws.generations_max,
        queue_frames_max: ws.queue_frames_max,
        send_timeout: Duration::from_secs(ws.send_seconds),
        ping_every: Duration::from_secs(ws.ping_seconds),
        silent_timeout: Duration::from_secs(ws.silent_seconds),
    }
}
