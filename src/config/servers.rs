//! Model servers in the configuration: `[[inference.openai]]` and `[[inference.ollama.servers]]`.

use std::fmt;
use std::path::PathBuf;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::empty_is_none;

/// Most servers in one list: each is an actor of its own.
const SERVERS_MAX: usize = 32;

/// One model server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelServer {
    /// What it is called here: its actor is `openai-NAME` or `ollama-NAME`.
    pub name: String,
    /// Where it is: `http://host:port` or `https://host`, with a path if it has one.
    pub url: String,
    /// The key it asks for; `None` (written as an empty string) if it asks for none.
    #[serde(with = "api_key")]
    pub api_key: Option<ApiKey>,
    /// The file with the key, which nobody else may read; `None` (written as an empty string) if
    /// there is none.
    #[serde(with = "empty_is_none")]
    pub api_key_file: Option<PathBuf>,
    /// PEM file of those who may vouch for its certificate; `None` (written as an empty string) is
    /// whom the system trusts.
    #[serde(with = "empty_is_none")]
    pub ca_file: Option<PathBuf>,
    /// The proxy on the way to it; `None` (written as an empty string) is none.
    #[serde(with = "empty_is_none")]
    pub proxy: Option<String>,
    /// Where its models count as running.
    pub tier: ServerTier,
    /// The model for requests that name none; `None` (written as an empty string) is the first one
    /// it offers.
    #[serde(with = "empty_is_none")]
    pub model: Option<String>,
    /// Requests that it is given at the same time; further ones wait.
    pub parallel: usize,
    /// Time between looks whether it is there and what it offers.
    pub probe_seconds: u64,
    /// Time for it to answer such a look.
    pub probe_timeout_ms: u64,
    /// Time for a connection to stand.
    pub connect_ms: u64,
    /// Time for the first piece of an answer.
    pub first_token_ms: u64,
    /// Time between two pieces of an answer.
    pub between_tokens_ms: u64,
}

impl Default for ModelServer {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: String::new(),
            api_key: None,
            api_key_file: None,
            ca_file: None,
            proxy: None,
            tier: ServerTier::Local,
            model: None,
            parallel: 16,
            probe_seconds: 30,
            probe_timeout_ms: 2000,
            connect_ms: 2000,
            first_token_ms: 30_000,
            between_tokens_ms: 15_000,
        }
    }
}

/// Where a server's models count as running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerTier {
    /// On this machine or site.
    #[default]
    Local,
    /// Elsewhere.
    Pool,
}

/// A key, which is shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(Zeroizing<String>);

impl ApiKey {
    /// The key in `text`, if it can stand in the header of a request.
    pub fn new(text: &str) -> Option<Self> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        let fits = (1..=API_KEY_BYTES_MAX).contains(&text.len());
        (is_plain && fits).then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The key itself, for the header of a request and for nothing else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// Longest key, in bytes: signed tokens have up to two thousand.
pub const API_KEY_BYTES_MAX: usize = 4096;

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

/// A key as TOML writes it. No error repeats what was written, and none is ever written out.
mod api_key {
    use serde::de::Error;

    use super::{API_KEY_BYTES_MAX, ApiKey, Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        _: &Option<ApiKey>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("")
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<ApiKey>, D::Error> {
        let text = String::deserialize(deserializer).map_err(|_| D::Error::custom("is no text"))?;
        if text.is_empty() {
            return Ok(None);
        }
        ApiKey::new(&text).map(Some).ok_or_else(|| {
            let what = "visible ASCII characters without spaces";
            D::Error::custom(format!("is not 1 to {API_KEY_BYTES_MAX} {what}"))
        })
    }
}

/// A list of servers. What is none is refused without repeating it: it may hold a key.
pub(super) fn list<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<ModelServer>, D::Error> {
    struct List;

    impl<'de> Visitor<'de> for List {
        type Value = Vec<ModelServer>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of servers, such as [{name = \"a\", url = \"http://host:8000\"}]")
        }

        fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<Self::Value, E> {
            Err(E::custom(
                "invalid type: string, expected a list of servers, such as \
                           [{name = \"a\", url = \"http://host:8000\"}]",
            ))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut servers = Vec::new();
            while let Some(server) = items.next_element()? {
                if servers.len() == SERVERS_MAX {
                    let reason = format!("has more than {SERVERS_MAX} servers");
                    return Err(serde::de::Error::custom(reason));
                }
                servers.push(server);
            }
            Ok(servers)
        }
    }

    deserializer.deserialize_any(List)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_shown() {
        let server = ModelServer { api_key: ApiKey::new("sk-secret"), ..ModelServer::default() };
        assert!(!format!("{server:?}").contains("secret"));
        assert!(!toml::to_string(&server).unwrap().contains("secret"));
        assert_eq!(server.api_key.unwrap().reveal(), "sk-secret");
    }

    #[test]
    fn a_key_can_stand_in_a_header() {
        for text in ["", "a b", "a\n", "\u{e9}", &"x".repeat(API_KEY_BYTES_MAX + 1)] {
            assert_eq!(ApiKey::new(text), None);
        }
        assert!(ApiKey::new(&"x".repeat(API_KEY_BYTES_MAX)).is_some());
    }

    #[test]
    fn an_error_repeats_no_key() {
        for text in ["api_key = \"sk-1234 5\"", "api_key = 12345", "api_key = [\"sk-12345\"]"] {
            let error = toml::from_str::<ModelServer>(text).unwrap_err();
            assert!(!error.message().contains("1234"), "{error}");
        }
    }
}
