//! Configuration: one plain struct per section, read once at the start.
//!
//! A value comes from the file, is overridden by the environment, and that by the command line;
//! then everything is validated, and nobody reads the environment later. `config/node.toml`
//! documents every key.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

mod embedding;
mod environment;
mod http;
mod load;
mod models;
mod patterns;
mod preferences;
mod routing;
mod servers;
mod telemetry;
mod validate;
mod ws;

pub use embedding::Embedding;
pub use http::{Http, Rate};
pub use load::{ConfigError, Flags, Source, Sources};
pub use models::{Models, Secret};
pub use patterns::Patterns;
pub use preferences::Preferences;
pub use routing::{Breaker, Hedge, Queue, Retry};
pub use servers::{API_KEY_BYTES_MAX, ApiKey, ModelServer, ServerTier};
pub use telemetry::{Ratio, Telemetry};
pub use ws::Ws;

/// Everything that can be configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The node itself.
    pub node: Node,
    /// The HTTP server.
    pub http: Http,
    /// WebSockets.
    pub ws: Ws,
    /// Who may call what.
    pub auth: Auth,
    /// Logging.
    pub log: Log,
    /// Traces.
    pub telemetry: Telemetry,
    /// How actors are kept alive.
    pub supervisor: Supervisor,
    /// Failure drills.
    pub chaos: Chaos,
    /// The gates that content passes.
    pub gates: Gates,
    /// Proofs.
    pub pci: Pci,
    /// The store on disk.
    pub store: Store,
    /// Text generation.
    pub inference: Inference,
    /// How texts get their vectors.
    pub embedding: Embedding,
    /// What the node has learned.
    pub patterns: Patterns,
    /// How people like to be answered.
    pub preferences: Preferences,
    /// The peer network.
    pub gossip: Gossip,
}

/// `[node]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// Where keys, the token and stores live. Its default is `~/.bizra`; a loaded configuration
    /// holds it expanded.
    pub data_dir: PathBuf,
    /// The file with the passphrase of an encrypted keystore; `None` (written as an empty string) if
    /// there is none.
    #[serde(with = "empty_is_none")]
    pub passphrase_file: Option<PathBuf>,
}

impl Default for Node {
    fn default() -> Self {
        Self { data_dir: PathBuf::from("~/.bizra"), passphrase_file: None }
    }
}

/// `[auth]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Where the bearer token is asked for.
    pub mode: AuthMode,
}

/// Where the bearer token is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthMode {
    /// Everywhere but on the health endpoint.
    Token,
    /// From loopback only for what uses keys or changes the node; from elsewhere everywhere.
    #[default]
    Local,
    /// From loopback nowhere: every local user can sign as this node.
    TrustLoopback,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Text or JSON.
    pub format: LogFormat,
    /// What is logged, in the syntax of `RUST_LOG`.
    pub filter: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Auto, filter: "info".to_owned() }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One line of text per event.
    Text,
    /// One JSON object per event.
    Json,
}

/// `[supervisor]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Supervisor {
    /// Restarts of one actor within [`Supervisor::within_seconds`] before it counts as failed.
    pub max_restarts: u32,
    /// The window for `max_restarts`.
    pub within_seconds: u64,
    /// Restarts of a whole group within [`Supervisor::group_within_seconds`].
    pub group_max_restarts: u32,
    /// The window for `group_max_restarts`.
    pub group_within_seconds: u64,
    /// First pause before the restart of an actor that failed right after its start.
    pub backoff_min_ms: u64,
    /// Longest such pause.
    pub backoff_max_ms: u64,
    /// Time without failure after which the pause starts small again.
    pub stable_seconds: u64,
    /// Time between attempts to start an actor whose budget is spent.
    pub retry_seconds: u64,
    /// Time between heartbeats.
    pub heartbeat_ms: u64,
    /// Time for an actor to answer a heartbeat before it counts as frozen.
    pub heartbeat_deadline_ms: u64,
    /// Time for an actor to start.
    pub start_seconds: u64,
    /// Time for an actor to stop by itself before it is killed.
    pub stop_seconds: u64,
    /// Time for the whole node to stop.
    pub shutdown_seconds: u64,
    /// Overrides by actor; see [`Supervisor::actor`].
    pub actors: BTreeMap<String, ActorOverride>,
}

impl Default for Supervisor {
    fn default() -> Self {
        Self {
            max_restarts: 5,
            within_seconds: 10,
            group_max_restarts: 20,
            group_within_seconds: 60,
            backoff_min_ms: 10,
            backoff_max_ms: 10_000,
            stable_seconds: 30,
            retry_seconds: 30,
            heartbeat_ms: 1000,
            heartbeat_deadline_ms: 2000,
            start_seconds: 30,
            stop_seconds: 5,
            shutdown_seconds: 25,
            actors: BTreeMap::new(),
        }
    }
}

impl Supervisor {
    /// The overrides for the actor of this name; all `None` if there are none.
    ///
    /// A hyphen and an underscore are the same here, because an environment variable cannot hold a
    /// hyphen.
    pub fn actor(&self, name: &str) -> ActorOverride {
        let found = self.actors.iter().find(|(key, _)| is_same_actor(key, name));
        found.map(|(_, limits)| *limits).unwrap_or_default()
    }

    /// The first name under `supervisor.actors` that is none of `names`.
    pub fn unknown_actor<S: AsRef<str>>(&self, names: &[S]) -> Option<&str> {
        let is_known = |key: &str| names.iter().any(|name| is_same_actor(key, name.as_ref()));
        self.actors.keys().map(String::as_str).find(|key| !is_known(key))
    }
}

/// Whether two spellings name one actor.
fn is_same_actor(a: &str, b: &str) -> bool {
    let plain = |byte: u8| if byte == b'-' { b'_' } else { byte };
    a.bytes().map(plain).eq(b.bytes().map(plain))
}

/// `[supervisor.actors.<name>]`: what differs for one actor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ActorOverride {
    /// Instead of [`Supervisor::max_restarts`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_restarts: Option<u32>,
    /// Instead of [`Supervisor::within_seconds`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within_seconds: Option<u64>,
    /// Messages that may wait, instead of the number the node gives this actor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_max: Option<usize>,
}

/// `[chaos]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Chaos {
    /// Whether actors may be told to fail in ways other than stopping.
    pub enabled: bool,
}

/// `[gates]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gates {
    /// The constitution's file; `None` (written as an empty string) is the one built in.
    #[serde(with = "empty_is_none")]
    pub constitution: Option<PathBuf>,
}

/// `[pci]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pci {
    /// Whether envelopes of version "1.0", which promise less, are verified and consumed as well.
    pub accept_v1: bool,
}

/// `[store]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// Bytes that stay free on the disk: with less, no envelope is made.
    pub free_bytes_min: u64,
}

impl Default for Store {
    /// What a full replay window, a transaction and the copy that the store keeps of each changed
    /// page take, many times over.
    fn default() -> Self {
        Self { free_bytes_min: 256 << 20 }
    }
}

/// `[inference]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Inference {
    /// Longest prompt, in characters, its system text and earlier messages included.
    pub prompt_chars_max: usize,
    /// Tokens generated for a request that does not say how many.
    pub max_tokens_default: usize,
    /// Most tokens that a request may ask for.
    pub max_tokens_max: usize,
    /// Requests that wait for a backend.
    pub queue: Queue,
    /// When a backend is left alone.
    pub breaker: Breaker,
    /// When a backend is asked again.
    pub retry: Retry,
    /// When two backends are asked for one answer.
    pub hedge: Hedge,
    /// The model in this process.
    pub edge: Edge,
    /// The Ollama servers.
    pub ollama: Ollama,
    /// Servers of the OpenAI interface.
    #[serde(deserialize_with = "servers::list")]
    pub openai: Vec<ModelServer>,
    /// Models that are brought to this machine.
    pub models: Models,
}

impl Default for Inference {
    fn default() -> Self {
        Self {
            prompt_chars_max: 65_536,
            max_tokens_default: 512,
            max_tokens_max: 4096,
            queue: Queue::default(),
            breaker: Breaker::default(),
            retry: Retry::default(),
            hedge: Hedge::default(),
            edge: Edge::default(),
            ollama: Ollama::default(),
            openai: Vec::new(),
            models: Models::default(),
        }
    }
}

/// `[inference.edge]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Edge {
    /// The GGUF file for requests that name no model; `None` (written as an empty string) is the
    /// first of `models`, or else the embedded demo model.
    #[serde(with = "empty_is_none")]
    pub model: Option<PathBuf>,
    /// Further GGUF files, beside those in the folder `models` of the data directory.
    pub models: Vec<PathBuf>,
    /// What computes with them.
    pub engine: Engine,
    /// Bytes that the weights of loaded models may take together; 0 is most of what is free.
    pub memory_bytes: u64,
    /// Requests generated at the same time; further ones wait.
    pub parallel: usize,
    /// Threads for one request; 0 is every core.
    pub threads: usize,
}

impl Default for Edge {
    fn default() -> Self {
        Self {
            model: None,
            models: Vec::new(),
            engine: Engine::default(),
            memory_bytes: 0,
            parallel: 1,
            threads: 0,
        }
    }
}

/// What computes with the models of the edge tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// The node's own pass, on candle's kernels.
    #[default]
    Candle,
    /// llama.cpp. Builds without the feature `llama-cpp` refuse it.
    LlamaCpp,
}

impl Engine {
    /// Whether this build has it.
    #[must_use]
    pub fn is_built(self) -> bool {
        self == Self::Candle || cfg!(feature = "llama-cpp")
    }
}

/// `[inference.ollama]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ollama {
    /// Where the server is: `http://host:port`, without a trailing slash.
    pub url: String,
    /// Time between looks whether it is there and what it offers.
    pub probe_seconds: u64,
    /// Time for it to answer such a look.
    pub probe_timeout_ms: u64,
    /// The model for requests that name none; `None` (written as an empty string) is the first one
    /// it offers.
    #[serde(with = "empty_is_none")]
    pub model: Option<String>,
    /// Requests that it is given at the same time; further ones wait.
    pub parallel: usize,
    /// Time for a connection to stand.
    pub connect_ms: u64,
    /// Time for the first piece of an answer.
    pub first_token_ms: u64,
    /// Time between two pieces of an answer.
    pub between_tokens_ms: u64,
    /// Further Ollama servers.
    #[serde(deserialize_with = "servers::list")]
    pub servers: Vec<ModelServer>,
}

impl Default for Ollama {
    fn default() -> Self {
        let any = ModelServer::default();
        Self {
            url: "http://127.0.0.1:11434".to_owned(),
            probe_seconds: any.probe_seconds,
            probe_timeout_ms: any.probe_timeout_ms,
            model: None,
            parallel: any.parallel,
            connect_ms: any.connect_ms,
            first_token_ms: any.first_token_ms,
            between_tokens_ms: any.between_tokens_ms,
            servers: Vec::new(),
        }
    }
}

impl Ollama {
    /// The server that is looked for unless told otherwise, as the others are written; its name is
    /// empty.
    pub fn first(&self) -> ModelServer {
        ModelServer {
            url: self.url.clone(),
            probe_seconds: self.probe_seconds,
            probe_timeout_ms: self.probe_timeout_ms,
            model: self.model.clone(),
            parallel: self.parallel,
            connect_ms: self.connect_ms,
            first_token_ms: self.first_token_ms,
            between_tokens_ms: self.between_tokens_ms,
            ..ModelServer::default()
        }
    }
}

/// `[gossip]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gossip {
    /// Port for peers. Read and reported, but no socket is opened on it yet.
    pub port: u16,
}

impl Default for Gossip {
    fn default() -> Self {
        Self { port: 7946 }
    }
}

/// Reads an address to listen on.
///
/// # Errors
/// When the text is neither an IP address nor `localhost`.
pub fn parse_host(text: &str) -> Result<IpAddr, String> {
    if text == "localhost" {
        return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    text.parse().map_err(|_| format!("{text:?} is neither an IP address nor localhost"))
}

fn host<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IpAddr, D::Error> {
    parse_host(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// An optional text that TOML, which has no null, writes as an empty string.
mod empty_is_none {
    use super::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Serialize, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => value.serialize(serializer),
            None => serializer.serialize_str(""),
        }
    }

    pub(super) fn deserialize<'de, T: From<String>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok((!text.is_empty()).then(|| text.into()))
    }
}
