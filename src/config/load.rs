//! From a file, the environment and the command line to one [`Config`].

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{Config, LogFormat, validate};

/// What every variable of ours begins with.
const PREFIX: &str = "BIZRA_";
/// What stands between section and key, and marks a variable as configuration.
const SEPARATOR: &str = "__";
/// Variables under another name, least specific first; `BIZRA_SECTION__KEY` goes before them.
const ALIASES: [(&str, &str); 10] = [
    ("BIZRA_DATA_DIR", "node.data_dir"),
    ("BIZRA_PASSPHRASE_FILE", "node.passphrase_file"),
    ("OLLAMA_HOST", "inference.ollama.url"),
    ("HF_ENDPOINT", "inference.models.endpoint"),
    ("HF_TOKEN", "inference.models.token"),
    ("HF_HUB_OFFLINE", "inference.models.offline"),
    ("RUST_LOG", "log.filter"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "telemetry.endpoint"),
    ("OTEL_TRACES_SAMPLER_ARG", "telemetry.sampling_ratio"),
    ("OTEL_SERVICE_NAME", "telemetry.service_name"),
];
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
struct Overlay {
    /// Sections and key, separated by points.
    key: String,
    value: Value,
    source: Source,
}

/// The values so far, and who set them.
#[derive(Debug, Default)]
struct Layers {
    table: Table,
    file: Option<PathBuf>,
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
        self.file = Some(path);
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
        match &self.file {
            Some(path) if lookup(&self.table, key).is_some() => Source::File(path.clone(), None),
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

fn from_env(env: &[(String, String)]) -> Result<Vec<Overlay>, ConfigError> {
    let defaults = Table::try_from(Config::default()).unwrap_or_default();
    let mut overlays = Vec::new();
    let mut push = |name: &str, key: String, text: &str| {
        let source = Source::Variable(name.to_owned());
        // What the caller made of bytes that are not UTF-8. No key has use for this character.
        if text.contains(char::REPLACEMENT_CHARACTER) {
            return Err(not_utf8(source, key));
        }
        let value = read_value(&defaults, &key, text);
        overlays.push(Overlay { key, value, source });
        Ok(())
    };
    let variables: Vec<(&str, String, &str)> = env
        .iter()
        .filter_map(|(name, text)| {
            let key = name.strip_prefix(PREFIX).filter(|key| key.contains(SEPARATOR))?;
            Some((name.as_str(), key.to_ascii_lowercase().replace(SEPARATOR, "."), text.as_str()))
        })
        .collect();
    for (alias, key) in ALIASES {
        let Some((_, text)) = env.iter().find(|(name, text)| name == alias && !text.is_empty())
        else {
            continue;
        };
        // Another program's variable is not read, and so cannot be wrong, where ours says it all.
        if variables.iter().any(|(_, ours, _)| ours == key) {
            continue;
        }
        match alias {
            "OLLAMA_HOST" => push(alias, key.to_owned(), &ollama_url(text))?,
            "HF_HUB_OFFLINE" => push(alias, key.to_owned(), hub_flag(text))?,
            _ => push(alias, key.to_owned(), text)?,
        }
    }
    for (name, key, text) in variables {
        push(name, key, text)?;
    }
    Ok(overlays)
}

fn not_utf8(from: Source, key: String) -> ConfigError {
    ConfigError::Value { from, key, reason: "is not UTF-8".to_owned() }
}

/// The value that `text` means for `key`: text as it is where the key holds text, otherwise TOML.
fn read_value(defaults: &Table, key: &str, text: &str) -> Value {
    let as_text = || Value::String(text.to_owned());
    if matches!(lookup(defaults, key), Some(Value::String(_))) {
        return as_text();
    }
    text.parse::<Value>().unwrap_or_else(|_| as_text())
}

/// `OLLAMA_HOST` as Ollama itself reads it: a host, a port or both, with or without a scheme. An
/// address to listen on everywhere is one to connect to on loopback.
fn ollama_url(text: &str) -> String {
    let text = text.trim().trim_matches(['"', '\'']).trim_end_matches('/');
    let (scheme, rest, port) = match text.split_once("://") {
        Some(("http", rest)) => ("http", rest, "80"),
        Some((scheme, rest)) => (scheme, rest, "443"),
        None => ("http", text, "11434"),
    };
    // A colon inside brackets belongs to an IPv6 address.
    let colon = rest.rfind(':').filter(|colon| rest.rfind(']').is_none_or(|end| end < *colon));
    let is_bare_v6 = rest.parse::<std::net::Ipv6Addr>().is_ok();
    let (host, port) = match colon {
        Some(colon) if !is_bare_v6 => (&rest[..colon], &rest[colon + 1..]),
        _ => (rest, port),
    };
    match host {
        "" | "0.0.0.0" => format!("{scheme}://127.0.0.1:{port}"),
        "::" | "[::]" => format!("{scheme}://[::1]:{port}"),
        host if is_bare_v6 => format!("{scheme}://[{host}]:{port}"),
        host => format!("{scheme}://{host}:{port}"),
    }
}

/// A flag as the hub's own programs read it: 1, true, yes and on in any case are set, the rest is not.
fn hub_flag(text: &str) -> &'static str {
    let is_set = ["1", "true", "yes", "on"].iter().any(|word| text.eq_ignore_ascii_case(word));
    if is_set { "true" } else { "false" }
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

fn lookup<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_of_ollama_means_what_it_means_to_ollama() {
        for (text, url) in [
            ("127.0.0.1", "http://127.0.0.1:11434"),
            ("example.org:1234", "http://example.org:1234"),
            (":1234", "http://127.0.0.1:1234"),
            ("0.0.0.0", "http://127.0.0.1:11434"),
            ("0.0.0.0:80", "http://127.0.0.1:80"),
            ("::1", "http://[::1]:11434"),
            ("[::1]:5", "http://[::1]:5"),
            ("[::]", "http://[::1]:11434"),
            ("http://box", "http://box:80"),
            ("http://box:99/", "http://box:99"),
            ("https://box", "https://box:443"),
            (" \"box\" ", "http://box:11434"),
        ] {
            assert_eq!(ollama_url(text), url, "{text}");
        }
    }
}
