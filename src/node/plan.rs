//! The numbers behind the tree: rules, bounds and watches, from the configuration.

use std::time::Duration;

use crate::actor::Actor;
use crate::actors::backend::remote::RemoteBackend;
use crate::actors::{
    audit, backend, consensus, envelope, gate_chain, gossip, http, identity, inference_router,
    models, pattern_memory, preferences,
};
use crate::config::{self, Config, Ws};
use crate::domain::inference::request;
use crate::domain::restart::{Allowance, Backoff, ChildRules, GroupRules, Restart, Strategy};
use crate::http::limits::{Limits, SocketLimits};
use crate::http::rate::Rates;
use crate::messages::addr::Addr;
use crate::messages::event::Events;
use crate::metrics::Metrics;
use crate::supervisor::{ChildSpec, Settings, Watch, group};

/// Name of the group of router and backends.
pub(super) const INFERENCE: &str = "inference";

/// Every actor of a node but those of model servers, whose names come from the configuration.
const NAMES: &[&str] = &[
    identity::NAME,
    gate_chain::NAME,
    envelope::NAME,
    INFERENCE,
    backend::edge::NAME,
    inference_router::NAME,
    gossip::NAME,
    consensus::NAME,
    pattern_memory::NAME,
    models::NAME,
    preferences::NAME,
    audit::NAME,
    http::NAME,
];

/// Every actor that a configuration may name, in the order in which they start.
pub(super) fn names(servers: &[RemoteBackend]) -> Vec<String> {
    let (before, after) = NAMES.split_at(
        NAMES.iter().position(|name| *name == inference_router::NAME).unwrap_or(NAMES.len()),
    );
    let servers = servers.iter().map(RemoteBackend::name);
    before.iter().copied().chain(servers).chain(after.iter().copied()).map(str::to_owned).collect()
}

/// How many messages may wait behind an address: the time callers should wait at most, divided by
/// the time one message takes (Little's law).
fn waiting_max(name: &str) -> usize {
    match name {
        // 5 ms of signatures of 20 microseconds.
        identity::NAME => 256,
        // 1 ms of checks of half a microsecond.
        gate_chain::NAME => 2048,
        // 50 ms of commits that take some 200 microseconds each when grouped.
        envelope::NAME => 256,
        // The same, of profiles.
        preferences::NAME => 256,
        // 50 ms of grouped commits; recalls take up to 3 ms each, and as many come as HTTP serves.
        pattern_memory::NAME => 256,
        // The same, of writes to another file.
        audit::NAME => 256,
        // As many requests as HTTP serves at once: those that wait, wait in turns for a backend.
        inference_router::NAME => 256,
        // Answers take seconds; those that wait here hold a prompt of at most 64 KiB each.
        _ => 64,
    }
}

/// Messages beside the work of a backend that does much at once: who asks for its models must not
/// find every place taken by prompts.
const ASIDE: usize = 32;

/// Without these the node is nothing: it ends when one of them cannot be kept alive.
fn is_critical(name: &str) -> bool {
    [identity::NAME, gate_chain::NAME, envelope::NAME, audit::NAME, http::NAME].contains(&name)
}

/// How long requests in flight may take when the node goes down: what the rest of the node, and the
/// time before the listener stops, do not need of the whole time.
fn http_grace(config: &config::Supervisor, drain: Duration) -> Duration {
    let rest = 2 * config.stop_seconds + 1 + drain.as_secs();
    Duration::from_secs(config.shutdown_seconds.saturating_sub(rest).max(1))
}

/// What one WebSocket, and all of them, may do.
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

/// Makes children by the rules of the configuration.
#[derive(Debug)]
pub(super) struct Plan<'c> {
    config: &'c config::Supervisor,
    drain: Duration,
    metrics: &'c Metrics,
    events: &'c Events,
}

impl<'c> Plan<'c> {
    pub(super) fn new(
        config: &'c config::Supervisor,
        drain: Duration,
        metrics: &'c Metrics,
        events: &'c Events,
    ) -> Self {
        Self { config, drain, metrics, events }
    }

    /// A supervised actor and its address.
    pub(super) fn actor<A: Actor>(
        &self,
        name: &str,
        make: impl Fn() -> A + Send + Sync + 'static,
    ) -> (ChildSpec, Addr<A::Msg>) {
        self.worker(name, 0, make)
    }

    /// A supervised actor that does so many pieces of work at once, and is asked other things beside.
    pub(super) fn worker<A: Actor>(
        &self,
        name: &str,
        parallel: usize,
        make: impl Fn() -> A + Send + Sync + 'static,
    ) -> (ChildSpec, Addr<A::Msg>) {
        let least = waiting_max(name).max(parallel.saturating_add(ASIDE));
        let places = self.config.actor(name).waiting_max.unwrap_or(least);
        let grace = self.stop_grace(name);
        ChildSpec::actor(name, self.rules(name), grace, places, self.metrics, make)
    }

    /// A supervisor of its own over some of the children.
    pub(super) fn group(
        &self,
        name: &str,
        strategy: Strategy,
        children: Vec<ChildSpec>,
    ) -> ChildSpec {
        // Its children stop one after another.
        let grace = self.stop_grace(name) * u32::try_from(children.len() + 1).unwrap_or(u32::MAX);
        group(name, self.rules(name), grace, self.settings(strategy), children)
    }

    /// The rules of one supervisor.
    pub(super) fn settings(&self, strategy: Strategy) -> Settings {
        let config = self.config;
        Settings {
            rules: GroupRules {
                strategy,
                allowance: Allowance {
                    restarts_max: config.group_max_restarts,
                    window: Duration::from_secs(config.group_within_seconds),
                },
                backoff: Backoff {
                    first: Duration::from_millis(config.backoff_min_ms),
                    longest: Duration::from_millis(config.backoff_max_ms),
                    stable: Duration::from_secs(config.stable_seconds),
                },
                retry: Duration::from_secs(config.retry_seconds),
            },
            watch: Watch {
                heartbeat: Duration::from_millis(config.heartbeat_ms),
                frozen: Duration::from_millis(config.heartbeat_deadline_ms),
                start: Duration::from_secs(config.start_seconds),
            },
            metrics: self.metrics.clone(),
            events: self.events.clone(),
        }
    }

    fn rules(&self, name: &str) -> ChildRules {
        let special = self.config.actor(name);
        let within = special.within_seconds.unwrap_or(self.config.within_seconds);
        ChildRules {
            restart: Restart::Permanent,
            is_critical: is_critical(name),
            allowance: Allowance {
                restarts_max: special.max_restarts.unwrap_or(self.config.max_restarts),
                window: Duration::from_secs(within),
            },
        }
    }

    fn stop_grace(&self, name: &str) -> Duration {
        let usual = Duration::from_secs(self.config.stop_seconds);
        // Longer than the server takes to tell those whose requests it gives up.
        if name == http::NAME {
            http_grace(self.config, self.drain) + Duration::from_secs(2)
        } else {
            usual
        }
    }
}

/// What the door allows.
pub(super) fn limits(config: &Config) -> Limits {
    let http = &config.http;
    Limits {
        connections_max: http.connections_max,
        connections_per_client_max: http.connections_per_client_max,
        requests_max: http.requests_max,
        rates: Rates {
            open: http.rate.open_per_second,
            read: http.rate.read_per_second,
            act: http.rate.act_per_second,
            privileged: http.rate.privileged_per_second,
            burst_seconds: http.rate.burst_seconds,
            bad_tokens_per_minute: http.rate.bad_tokens_per_minute,
            is_loopback_limited: http.rate.loopback,
        },
        header_timeout: Duration::from_secs(http.header_seconds),
        idle_timeout: Duration::from_secs(http.idle_seconds),
        body_bytes_max: http.body_bytes_max,
        request_timeout: Duration::from_secs(http.request_seconds),
        generate_timeout: Duration::from_secs(http.generate_seconds),
        stop_grace: http_grace(&config.supervisor, Duration::from_secs(http.drain_seconds)),
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
