//! The node: which actors there are, in what order they start, and who knows whom.
//!
//! What must outlive a restart (the lock on the data directory, the store, the listener, the loaded
//! model) is made here, once, and handed to the actors; everything else an incarnation makes anew.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::actors::backend::remote::RemoteBackend;
use crate::actors::inference_router::{self, Backend, InferenceRouter};
use crate::actors::{
    audit, backend, consensus, envelope, gate_chain, gossip, identity, models, pattern_memory,
    preferences,
};
use crate::adapters::audit::{AuditLog, FileLimits};
use crate::adapters::constitution_file::read;
use crate::adapters::keystore::Keystore;
use crate::adapters::lock::DirLock;
use crate::adapters::store::{Store, free_bytes};
use crate::adapters::{log_writer, process};
use crate::address_file;
use crate::clock;
use crate::config::Config;
use crate::domain::constitution::Constitution;
use crate::domain::embedding::Embed;
use crate::domain::federation::Bounds;
use crate::domain::inference::Tier;
use crate::domain::passphrase::Passphrase;
use crate::domain::replay::ReplayLimits;
use crate::domain::restart::Strategy;
use crate::messages::addr::Deadline;
use crate::messages::event::{Events, Topic};
use crate::messages::gate_chain::{GateChainMsg, ReloadError};
use crate::messages::identity::IdentityMsg;
use crate::messages::roster::Roster;
use crate::metrics::{Metrics, StoreFigures};
use crate::supervisor::{ChildSpec, Exit, Root};

use door::{Door, Opened};
use embedder::{Counted, embedder};
use plan::Plan;
pub use start_error::StartError;

mod door;
mod embedder;
mod keys;
mod patterns;
mod plan;
mod start_error;

/// Time for the actors to say who and what they are for the lines at the start.
const INTRODUCTION_WAIT: Duration = Duration::from_secs(5);

/// A running node. Dropping it ends it without order; see [`Node::shutdown`].
#[derive(Debug)]
pub struct Node {
    /// Before the lock in `inside` is given back, what it says of itself is taken away.
    door: Opened,
    inside: Embedded,
    /// How long it still accepts when it is told to stop.
    drain: Duration,
}

/// A running node that only its own process reaches, by its addresses: it has no listener, no token
/// and no file that says where it is. Dropping it ends it without order; see [`Embedded::shutdown`].
#[derive(Debug)]
pub struct Embedded {
    root: Root,
    roster: Roster,
    grace: Duration,
    store: Arc<Store>,
    /// Held until the store is closed.
    _lock: DirLock,
}

/// Starts a node: takes its data directory, binds its address, starts its actors. The passphrase of
/// an encrypted keystore is in the file that the configuration names.
///
/// # Errors
/// See [`StartError`]; nothing is left running.
pub async fn start(config: Config) -> Result<Node, StartError> {
    start_with(config, None).await
}

/// As [`start`], with a passphrase that was asked for.
///
/// # Errors
/// As [`start`].
pub async fn start_with(
    config: Config,
    passphrase: Option<Passphrase>,
) -> Result<Node, StartError> {
    let started = Instant::now();
    let drain = Duration::from_secs(config.http.drain_seconds);
    let tls = door::tls(&config)?;
    let ground = Ground::take(&config, passphrase).await?;
    let door = Door::make(&config, tls).await?;
    let open = |plan: &Plan<'_>, roster: &Roster, metrics: &Metrics, embedder| {
        let (child, opened) = door.child(plan, &config, roster, metrics, started, embedder);
        (Some(child), opened)
    };
    let (inside, door) = assemble(&config, ground, drain, open).await?;
    door.tell();
    door.introduce(&config, &inside.node_id().await);
    Ok(Node { door, inside, drain })
}

/// Starts a node inside another program, which nothing else reaches: as [`start`], but it binds no
/// address and has no HTTP actor.
///
/// # Errors
/// As [`start`].
pub async fn start_embedded(config: Config) -> Result<Embedded, StartError> {
    let ground = Ground::take(&config, None).await?;
    let (inside, ()) = assemble(&config, ground, Duration::ZERO, |_, _, _, _| (None, ())).await?;
    let (node, data_dir) = (inside.node_id().await, config.node.data_dir.display());
    info!(node, %data_dir, "the embedded node is up");
    Ok(inside)
}

/// What a node stands on: its part of the disk and what it read there.
#[derive(Debug)]
struct Ground {
    lock: DirLock,
    keystore: Arc<Keystore>,
    constitution: Constitution,
    servers: Vec<RemoteBackend>,
    /// Gives texts their vectors.
    embedder: Arc<dyn Embed>,
}

impl Ground {
    async fn take(config: &Config, passphrase: Option<Passphrase>) -> Result<Self, StartError> {
        let servers = RemoteBackend::all_from_config(&config.inference)?;
        let known = plan::names(&servers);
        if let Some(name) = config.supervisor.unknown_actor(&known) {
            return Err(StartError::UnknownActor { name: name.to_owned(), known });
        }
        let lock = DirLock::acquire(&config.node.data_dir)?;
        address_file::remove(&config.node.data_dir);
        let keystore = keys::open(&config.node, passphrase).await?;
        let file = config.gates.constitution.as_deref();
        let constitution = file.map_or_else(|| Ok(Constitution::default()), read)?;
        let embedder = embedder(&config.embedding).await?;
        Ok(Self { lock, keystore, constitution, servers, embedder })
    }
}

/// Starts the actors of a node. `open` makes the last of them, if there is one, and what the node
/// keeps of it; it is given the embedder that all share.
async fn assemble<T>(
    config: &Config,
    ground: Ground,
    drain: Duration,
    open: impl FnOnce(&Plan<'_>, &Roster, &Metrics, Arc<dyn Embed>) -> (Option<ChildSpec>, T),
) -> Result<(Embedded, T), StartError> {
    let Ground { lock, keystore, constitution, servers, embedder } = ground;
    let (data_dir, file) = (config.node.data_dir.clone(), config.gates.constitution.clone());
    let store = Arc::new(Store::open(&data_dir, config.store.free_bytes_min)?);

    let metrics = watched(config, &store);
    let embedder: Arc<dyn Embed> = Arc::new(Counted { embedder, metrics: metrics.clone() });
    let events = Events::new(metrics.events_missed());
    events.announce([Topic::Actors, Topic::Inference, Topic::Envelopes]);
    events.announce([Topic::Federation, Topic::Consensus, Topic::Models, Topic::Patterns]);
    let plan = Plan::new(&config.supervisor, drain, &metrics, &events);
    let supervisor = Root::address(&metrics);

    let (identity_child, identity) =
        plan.actor(identity::NAME, move || identity::Identity { keystore: Arc::clone(&keystore) });

    let judge = gate_chain::GateChain::new(constitution, file, Arc::clone(&store), &metrics)?;
    let (gate_chain_child, gate_chain) = plan.actor(gate_chain::NAME, move || judge.clone());

    let (issuer, judge, log) = (identity.clone(), gate_chain.clone(), Arc::clone(&store));
    let (accept_v1, envelope_events) = (config.pci.accept_v1, events.clone());
    let envelope_meter = metrics.envelopes();
    let (envelope_child, envelope) = plan.actor(envelope::NAME, move || envelope::Envelope {
        identity: issuer.clone(),
        gates: judge.clone(),
        store: Arc::clone(&log),
        limits: ReplayLimits::default(),
        accept_v1,
        now_ms: clock::now_ms,
        events: envelope_events.clone(),
        meter: envelope_meter.clone(),
    });

    let parallel = config.inference.edge.parallel;
    let edge_backend =
        backend::edge::EdgeBackend::from_config(&config.inference.edge, data_dir.clone());
    let (edge_child, edge) =
        plan.worker(backend::edge::NAME, parallel, move || edge_backend.clone());

    let mut backends =
        vec![Backend { kind: backend::edge::NAME, tier: Tier::Edge, parallel, addr: edge }];
    let mut inference_children = vec![edge_child];
    for server in servers {
        let (kind, tier, parallel) = (server.kind(), server.tier(), server.parallel());
        let name = server.name().to_owned();
        let (child, addr) = plan.worker(&name, parallel, move || server.clone());
        backends.push(Backend { kind, tier, parallel, addr });
        inference_children.push(child);
    }

    // Made once: what it knows of its backends outlives each incarnation.
    let rules = inference_router::Rules::from_config(&config.inference);
    let (judge, notary, told) = (gate_chain.clone(), envelope.clone(), Some(events.clone()));
    let chooser = InferenceRouter::new(judge, notary, backends, rules, &metrics, told);
    let (router_child, inference) = plan.actor(inference_router::NAME, move || chooser.clone());
    inference_children.push(router_child);
    let inference_child = plan.group(plan::INFERENCE, Strategy::OneForOne, inference_children);

    let port = config.gossip.port;
    let solo = gossip::Gossip { port, events: events.clone(), meter: metrics.federation() };
    let (gossip_child, gossip) = plan.actor(gossip::NAME, move || solo.clone());

    let decider = consensus::Consensus {
        identity: identity.clone(),
        gates: gate_chain.clone(),
        store: Arc::clone(&store),
        seat: Arc::default(),
        bounds: Bounds::default(),
        now_ms: clock::now_ms,
        events: events.clone(),
        meter: metrics.federation(),
    };
    let (consensus_child, consensus) = plan.actor(consensus::NAME, move || decider.clone());
    let memory = pattern_memory::PatternMemory {
        keeper: patterns::keeper(config, &store, &embedder, &events, &metrics),
        identity: identity.clone(),
        consensus: consensus.clone(),
        now_ms: clock::now_ms,
    };
    let (memory_child, pattern_memory) = plan.actor(pattern_memory::NAME, move || memory.clone());
    let keeper = models::Models::from_config(config, events.clone(), metrics.pulls())?;
    let (models_child, models) = plan.actor(models::NAME, move || keeper.clone());
    let learner = preferences::Preferences::from_config(&config.preferences, &store, &metrics);
    let (preferences_child, preferences) = plan.actor(preferences::NAME, move || learner.clone());

    let record = Arc::new(AuditLog::new(&data_dir, FileLimits::default(), clock::now_ms));
    // Once here, since a record that is damaged is not mended by starting its actor again.
    record.start()?;
    let meter = metrics.audit();
    let (audit_child, audit) = plan.actor(audit::NAME, move || audit::Audit {
        log: Arc::clone(&record),
        meter: meter.clone(),
    });

    let roster = Roster {
        supervisor: supervisor.clone(),
        identity,
        gate_chain,
        envelope,
        audit,
        inference,
        gossip,
        consensus,
        models,
        preferences,
        pattern_memory,
        events: events.clone(),
    };
    let mut children = vec![
        identity_child,
        gate_chain_child,
        envelope_child,
        inference_child,
        gossip_child,
        consensus_child,
        memory_child,
        models_child,
        preferences_child,
        audit_child,
    ];
    let (http_child, opened) = open(&plan, &roster, &metrics, embedder);
    children.extend(http_child);
    let settings = plan.settings(Strategy::OneForOne);
    let root = Root::start(supervisor, settings, children).await.map_err(StartError::Actors)?;
    let grace = Duration::from_secs(config.supervisor.shutdown_seconds).saturating_sub(drain);
    Ok((Embedded { root, roster, grace, store, _lock: lock }, opened))
}

impl Node {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.door.address
    }

    /// Every address that may be used from outside the tree.
    pub fn roster(&self) -> &Roster {
        self.inside.roster()
    }

    /// Waits until it ends by itself, which it does when a critical actor cannot be kept alive.
    pub async fn ended(&self) -> Exit {
        self.inside.ended().await
    }

    /// Says that it is not ready, and after a while stops every actor in order, those that take
    /// work first and the keys last, then closes the store. What has not ended within the
    /// configured time is killed.
    pub async fn shutdown(&self) -> Exit {
        self.door.leave();
        tokio::select! {
            () = tokio::time::sleep(self.drain) => {}
            // Nothing is left to wait for.
            _ = self.inside.ended() => {}
        }
        self.inside.shutdown().await
    }

    /// Reads again what may change while the node runs: the certificate with its key, for the
    /// connections from now on, and the constitution, if they come from files. What cannot be used
    /// is logged, and what was read before stays in use.
    pub async fn reload(&self) {
        self.door.reload();
        let wait = Deadline::after(INTRODUCTION_WAIT);
        let ask = |reply| GateChainMsg::Reload { reply };
        match self.roster().gate_chain.call(wait, ask).await {
            Ok(Ok(_) | Err(ReloadError::BuiltIn)) => {}
            Ok(Err(error)) => warn!(%error, "the constitution stays as it is"),
            Err(error) => warn!(%error, "the constitution was not read again"),
        }
    }
}

impl Embedded {
    /// Every address that may be used from outside the tree.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Waits until it ends by itself, which it does when a critical actor cannot be kept alive.
    pub async fn ended(&self) -> Exit {
        self.root.ended().await
    }

    /// Stops every actor in order, then closes the store. What has not ended within the configured
    /// time is killed.
    pub async fn shutdown(&self) -> Exit {
        let exit = self.root.shutdown(self.grace).await;
        let store = Arc::clone(&self.store);
        if tokio::task::spawn_blocking(move || store.close()).await.is_err() {
            warn!("the store did not close");
        }
        exit
    }

    /// Who it is, for the lines at the start.
    async fn node_id(&self) -> String {
        let wait = Deadline::after(INTRODUCTION_WAIT);
        let active = self.roster.identity.call(wait, |reply| IdentityMsg::Active { reply }).await;
        active.map(|identity| identity.node_id.to_string()).unwrap_or_default()
    }
}

/// The metrics, and where those come from that are read at each scrape.
fn watched(config: &Config, store: &Arc<Store>) -> Metrics {
    let metrics = Metrics::new();
    metrics.watch_process(process::figures);
    metrics.watch_log(log_writer::lines_dropped);
    let (dir, free_bytes_min) = (config.node.data_dir.clone(), config.store.free_bytes_min);
    // A scrape must not keep the store open.
    let store = Arc::downgrade(store);
    metrics.watch_store(move || {
        let store = store.upgrade()?;
        Some(StoreFigures {
            free_bytes: free_bytes(&dir),
            free_bytes_min,
            is_writable: store.broken().is_none(),
            waiting: store.waiting(),
        })
    });
    metrics
}
