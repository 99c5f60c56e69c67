//! Model servers as the configuration names them.

use std::time::Duration;

use crate::adapters::model_server::{Kind, ModelServer};
use crate::adapters::upstream::{Access, Waits};
use crate::config;
use crate::private_file;

/// A server that the configuration names.
#[derive(Clone, Debug)]
pub struct Configured {
    /// What it speaks.
    pub kind: Kind,
    /// Its name, also that of its actor.
    pub name: String,
    /// The section of the configuration that says where it is.
    pub section: String,
    /// What that section says.
    pub config: config::ModelServer,
}

/// A server cannot be used as it is configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct SetupError {
    /// The key that is wrong.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Configured {
    /// Every server that the configuration asks for; the first is `[inference.ollama]` itself.
    pub fn all(config: &config::Inference) -> Vec<Self> {
        let list = |kind: Kind, section: &str, servers: &[config::ModelServer]| {
            let named = |(index, server): (usize, &config::ModelServer)| Self {
                kind,
                name: format!("{}-{}", kind.as_str(), server.name),
                section: format!("{section}[{index}]"),
                config: server.clone(),
            };
            servers.iter().enumerate().map(named).collect::<Vec<_>>()
        };
        let mut all = vec![Self {
            kind: Kind::Ollama,
            name: Kind::Ollama.as_str().to_owned(),
            section: "inference.ollama".to_owned(),
            config: config.ollama.first(),
        }];
        all.extend(list(Kind::Ollama, "inference.ollama.servers", &config.ollama.servers));
        all.extend(list(Kind::OpenAi, "inference.openai", &config.openai));
        all
    }

    /// A client of it, which connects to nothing yet. Reads the files that the section names.
    ///
    /// # Errors
    /// When the file with a key or with certificates cannot be used, or the address is none.
    pub fn client(&self) -> Result<ModelServer, SetupError> {
        let config = &self.config;
        let bad = |key: &str, reason: String| SetupError {
            key: format!("{}.{key}", self.section),
            reason,
        };
        let waits = Waits {
            connect: Duration::from_millis(config.connect_ms),
            probe: Duration::from_millis(config.probe_timeout_ms),
            first_token: Duration::from_millis(config.first_token_ms),
            between_tokens: Duration::from_millis(config.between_tokens_ms),
        };
        let api_key = match &config.api_key_file {
            Some(path) => {
                let read = private_file::read(path, config::API_KEY_BYTES_MAX + 2);
                let bytes = read.map_err(|error| bad("api_key_file", error.to_string()))?;
                let text = std::str::from_utf8(&bytes).ok().map(str::trim_end);
                let key = text.and_then(config::ApiKey::new);
                Some(key.ok_or_else(|| bad("api_key_file", "holds no key".to_owned()))?)
            }
            None => config.api_key.clone(),
        };
        let access = Access {
            api_key: api_key.map(|key| key.reveal().into()),
            ca_file: config.ca_file.clone(),
            proxy: config.proxy.clone(),
        };
        let key = if access.ca_file.is_some() { "ca_file" } else { "url" };
        let server = ModelServer::new(self.kind, &config.url, waits, &access);
        server.map_err(|error| bad(key, error.to_string()))
    }
}
