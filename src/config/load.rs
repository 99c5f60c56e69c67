//! From a file, the environment and the command line to one [`Config`].

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Serialize;
use toml::{Table, Value};

use super::environment::from_env;
use super::{Config, LogFormat, validate};

/// The configuration's name within the data directory.
const FILE_NAME: &str = "node.toml";

/// What the command line says about the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--host`
    pub host: Option<IpAddr>,
    /// `--port`
    pub port: Option<u16>,
    /// `--tls-cert`
    pub tls_cert: Option<PathBuf>,
    /// `--tls-key`
    pub tls_key: Option<PathBuf>,
    /// `--insecure`
    pub insecure: bool,
    /// `--gossip-port`
    pub gossip_port: Option<u16>,
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--model`
    pub model: Option<PathBuf>,
    /// `--log-format`
    pub log_format: Option<LogFormat>,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, and the line if it is known.
    File(PathBuf, Option<usize>),
    /// An environment variable.
    Variable(String),
    /// A command line flag.
    Flag(&'static str),
    /// The program that starts the node.
    Program,
    /// Nowhere: it is the default.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, Some(line)) => write!(f, "{}:{line}", path.display()),
            Self::File(path, None) => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Program => write!(f, "configuration given"),
            Self::Default => write!(f, "default"),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{from}: {reason}")]
    Syntax {
        /// The file and the line.
        from: Source,
        /// What is wrong there.
        reason: String,
    },
    /// A key does not exist or its value may not be.
    #[error("{from}: {key}: {reason}")]
    Value {
        /// Who set it.
        from: Source,
        /// The key, with its sections.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A path begins with `~` and nobody says where home is.
    #[error("{key} begins with ~ and HOME is not set; give it as an absolute path")]
    Homeless {
        /// The key.
        key: &'static str,
    },
}

impl Config {
    /// Puts the configuration together: defaults, then the file at `path`, then `env`, then
    /// `flags`. Without a `path` the file is `node.toml` in the data directory, if it is there.
    /// Reads nothing but that file.
    ///
    /// # Errors
    /// When the file cannot be read, a key is unknown or a value is not one the key may have.
    pub fn load(
        path: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
        flags: &Flags,
    ) -> Result<Self, ConfigError> {
        Self::load_with_sources(path, env, flags).map(|(config, _)| config)
    }

    /// The same as [`Config::load`], and who set what, for a value that is found wrong only when
    /// it is used.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_with_sources(
        path: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
        flags: &Flags,
    ) -> Result<(Self, Sources), ConfigError> {
        let env: Vec<(String, String)> = env.collect();
        let home = env.iter().find(|(name, home)| name == "HOME" && !home.is_empty());
        let home = home.map(|(_, home)| Path::new(home));
        let mut overlays = from_env(&env)?;
        overlays.extend(from_flags(flags)?);

        let mut layers = Layers::default();
        let file = match path {
            Some(path) => Some(path.to_owned()),
            None => default_file(&overlays, home)?,
        };
        if let Some(path) = file {
            layers.read(path)?;
        }
        for overlay in overlays {
            layers.put(overlay)?;
        }
        let config = layers.finish(home)?;
        Ok((config, Sources(layers)))
    }

    /// Puts the configuration of an embedded node together: defaults, then `values`, which have the
    /// sections and keys of the file, then `flags`. No file and no environment is looked at; `home`
    /// is what `~` stands for.
    ///
    /// # Errors
    /// When the values are no sections and keys, a key is unknown or a value is not one the key may
    /// have.
    pub fn from_values(
        values: &impl Serialize,
        home: Option<&Path>,
        flags: &Flags,
    ) -> Result<Self, ConfigError> {
        let mut layers = Layers::default();
        layers.take(values)?;
        for overlay in from_flags(flags)? {
            layers.put(overlay)?;
        }
        layers.finish(home)
    }
}

/// Who set which value.
#[derive(Debug)]
pub struct Sources(Layers);

impl Sources {
    /// Who set `key`, sections and key separated by points, or a key within it.
    pub fn of(&self, key: &str) -> Source {
        self.0.source(key)
    }
}

/// One value from outside the file.
#[derive(Debug)]
pub(super) struct Overlay {
    /// Sections and key, separated by points.
    pub(super) key: String,
    pub(super) value: Value,
    pub(super) source: Source,
}

/// The values so far, and who set them.
#[derive(Debug, Default)]
struct Layers {
    table: Table,
    /// Where the table came from.
    base: Option<Source>,
    overlays: Vec<(String, Source)>,
}

impl Layers {
    fn read(&mut self, path: PathBuf) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(&path)
            .map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
        let line = |error: &toml::de::Error| {
            error.span().map(|span| 1 + text[..span.start].bytes().filter(|b| *b == b'\n').count())
        };
        let table: Table = toml::from_str(&text).map_err(|error| ConfigError::Syntax {
            from: Source::File(path.clone(), line(&error)),
            reason: error.message().to_owned(),
        })?;
        // Read twice: from the text the error knows its line, from the table it knows its key.
        if let Err(error) = toml::from_str::<Config>(&text) {
            let from = Source::File(path, line(&error));
            return Err(value_error(from, &table, &error));
        }
        self.table = table;
        self.base = Some(Source::File(path, None));
        Ok(())
    }

    fn take(&mut self, values: &impl Serialize) -> Result<(), ConfigError> {
        let table = Table::try_from(values).map_err(|error| ConfigError::Syntax {
            from: Source::Program,
            reason: error.to_string(),
        })?;
        if let Err(error) = table.clone().try_into::<Config>() {
            return Err(value_error(Source::Program, &table, &error));
        }
        self.table = table;
        self.base = Some(Source::Program);
        Ok(())
    }

    fn put(&mut self, overlay: Overlay) -> Result<(), ConfigError> {
        let Overlay { key, value, source } = overlay;
        let mut alone = Table::new();
        insert(&mut alone, &key, value.clone());
        if let Err(error) = alone.clone().try_into::<Config>() {
            return Err(value_error(source, &alone, &error));
        }
        insert(&mut self.table, &key, value);
        self.overlays.push((key, source));
        Ok(())
    }

    fn finish(&self, home: Option<&Path>) -> Result<Config, ConfigError> {
        let mut config: Config = self
            .table
            .clone()
            .try_into()
            .map_err(|error| value_error(self.source(""), &self.table, &error))?;
        validate::validate(&config).map_err(|bad| {
            let from = self.source(&bad.key);
            ConfigError::Value { from, key: bad.key, reason: bad.reason }
        })?;
        config.node.data_dir = expand("node.data_dir", &config.node.data_dir, home)?;
        if let Some(file) = &mut config.node.passphrase_file {
            *file = expand("node.passphrase_file", file, home)?;
        }
        if let Some(certificate) = &mut config.http.tls_cert {
            *certificate = expand("http.tls_cert", certificate, home)?;
        }
        if let Some(key) = &mut config.http.tls_key {
            *key = expand("http.tls_key", key, home)?;
        }
        if let Some(model) = &mut config.inference.edge.model {
            *model = expand("inference.edge.model", model, home)?;
        }
        for model in &mut config.inference.edge.models {
            *model = expand("inference.edge.models", model, home)?;
        }
        let inference = &mut config.inference;
        for server in inference.ollama.servers.iter_mut().chain(&mut inference.openai) {
            for file in [&mut server.api_key_file, &mut server.ca_file].into_iter().flatten() {
                *file = expand("inference.openai", file, home)?;
            }
        }
        if let Some(catalogue) = &mut config.inference.models.catalogue {
            *catalogue = expand("inference.models.catalogue", catalogue, home)?;
        }
        if let Some(constitution) = &mut config.gates.constitution {
            *constitution = expand("gates.constitution", constitution, home)?;
        }
        if let Some(model) = &mut config.embedding.model {
            *model = expand("embedding.model", model, home)?;
        }
        Ok(config)
    }

    /// Who set `key`, or a key within it, last.
    fn source(&self, key: &str) -> Source {
        // A list is set as a whole, whichever of its items is meant.
        let key = key.split('[').next().unwrap_or(key);
        let is_within = |set: &str| {
            set.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if let Some((_, source)) = self.overlays.iter().rev().find(|(set, _)| is_within(set)) {
            return source.clone();
        }
        match &self.base {
            Some(base) if lookup(&self.table, key).is_some() => base.clone(),
            _ => Source::Default,
        }
    }
}

/// Gives serde's complaint the key that it is about.
fn value_error(from: Source, table: &Table, error: &toml::de::Error) -> ConfigError {
    // The error that comes of the table carries the key, but only in its text.
    let keyed = table.clone().try_into::<Config>().err().map(|error| error.to_string());
    let section = keyed.as_deref().and_then(|text| text.rsplit_once("in `"));
    let mut key = section.map_or("", |(_, rest)| rest.trim_end().trim_end_matches('`')).to_owned();
    let reason = error.message();
    if let Some(rest) = reason.strip_prefix("unknown field `") {
        let field = rest.split('`').next().unwrap_or_default();
        if !key.is_empty() {
            key.push('.');
        }
        key.push_str(field);
    }
    ConfigError::Value { from, key, reason: reason.to_owned() }
}

pub(super) fn not_utf8(from: Source, key: String) -> ConfigError {
    ConfigError::Value { from, key, reason: "is not UTF-8".to_owned() }
}

fn from_flags(flags: &Flags) -> Result<Vec<Overlay>, ConfigError> {
    let mut overlays = Vec::new();
    let mut push = |flag, key: &str, value: Option<Value>| {
        let overlay = |value| Overlay { key: key.to_owned(), value, source: Source::Flag(flag) };
        overlays.extend(value.map(overlay));
    };
    let path = |flag, key: &str, path: &Option<PathBuf>| match path.as_ref().map(|p| p.to_str()) {
        None => Ok(None),
        Some(Some(text)) => Ok(Some(Value::String(text.to_owned()))),
        Some(None) => Err(not_utf8(Source::Flag(flag), key.to_owned())),
    };
    let port = |port: u16| Value::Integer(port.into());
    let format = |format| Value::try_from(format).ok();
    let data_dir = path("--data-dir", "node.data_dir", &flags.data_dir)?;
    let model = path("--model", "inference.edge.model", &flags.model)?;
    let tls_cert = path("--tls-cert", "http.tls_cert", &flags.tls_cert)?;
    let tls_key = path("--tls-key", "http.tls_key", &flags.tls_key)?;
    push("--tls-cert", "http.tls_cert", tls_cert);
    push("--tls-key", "http.tls_key", tls_key);
    push("--insecure", "http.insecure", flags.insecure.then_some(Value::Boolean(true)));
    push("--host", "http.host", flags.host.map(|host| Value::String(host.to_string())));
    push("--port", "http.port", flags.port.map(port));
    push("--gossip-port", "gossip.port", flags.gossip_port.map(port));
    push("--data-dir", "node.data_dir", data_dir);
    push("--model", "inference.edge.model", model);
    push("--log-format", "log.format", flags.log_format.and_then(format));
    Ok(overlays)
}

/// `node.toml` in the data directory, if there is one.
fn default_file(overlays: &[Overlay], home: Option<&Path>) -> Result<Option<PathBuf>, ConfigError> {
    let key = "node.data_dir";
    let set = overlays.iter().rev().find(|overlay| overlay.key == key);
    let data_dir = match set.and_then(|overlay| overlay.value.as_str()) {
        Some(text) => PathBuf::from(text),
        None => Config::default().node.data_dir,
    };
    let path = expand(key, &data_dir, home)?.join(FILE_NAME);
    // What cannot be looked at is read, so that the reason is told.
    Ok(path.try_exists().unwrap_or(true).then_some(path))
}

/// `~` and `~/...` with the home directory in its place.
fn expand(key: &'static str, path: &Path, home: Option<&Path>) -> Result<PathBuf, ConfigError> {
    let Ok(rest) = path.strip_prefix("~") else { return Ok(path.to_owned()) };
    let home = home.ok_or(ConfigError::Homeless { key })?;
    Ok(if rest.as_os_str().is_empty() { home.to_owned() } else { home.join(rest) })
}

pub(super) fn lookup<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    let mut parts = key.split('.');
    let first = table.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}

/// Sets `key`, making its sections. A value in the place of a section is replaced by one.
fn insert(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((section, rest)) => {
            let entry = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if !entry.is_table() {
                *entry = Value::Table(Table::new());
            }
            if let Some(section) = entry.as_table_mut() {
                insert(section, rest, value);
            }
        }
    }
}
