//! What every model server on the network is to a node: how it is reached, how long it may take,
//! what it says it has, and why it gave no answer.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Proxy, Response, StatusCode, redirect};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

use crate::domain::inference::FinishReason;

/// Models that are looked at; a server with more lists its newest first.
pub(super) const MODELS_MAX: usize = 256;

/// Characters of a model's name, as many as a request may ask for.
pub(super) const NAME_CHARS_MAX: usize = 256;

/// Bytes of a list or a description. A description holds a licence and a vocabulary's facts.
pub(super) const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of text in one answer, as much as an envelope's payload may hold after escaping.
pub(super) const TEXT_BYTES_MAX: usize = 512 * 1024;

/// Bytes of an error that are read, and characters of it that are repeated.
pub(super) const ERROR_BYTES_MAX: usize = 4096;
const ERROR_CHARS_MAX: usize = 300;

/// The longest wait that a server may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Connections that are kept for the next request, and how long.
const IDLE_CONNECTIONS_MAX: usize = 64;
const IDLE_TIME: Duration = Duration::from_secs(60);

/// How long a server may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// Until a connection stands.
    pub connect: Duration,
    /// Until it has listed its models.
    pub probe: Duration,
    /// Until the first piece of an answer; the server may have to load the model first.
    pub first_token: Duration,
    /// Between two pieces of an answer.
    pub between_tokens: Duration,
}

impl Default for Waits {
    /// 2 s for what a healthy server does in milliseconds; 30 s to load a model from disk; 15 s
    /// without a token is a server that hangs.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            probe: Duration::from_secs(2),
            first_token: Duration::from_secs(30),
            between_tokens: Duration::from_secs(15),
        }
    }
}

/// What it takes to reach a server, beside its address.
#[derive(Clone, Default)]
pub struct Access {
    /// The key for its `Authorization` header.
    pub api_key: Option<Arc<str>>,
    /// PEM file of those who may vouch for its certificate, instead of whom the system trusts.
    pub ca_file: Option<PathBuf>,
    /// A proxy on the way. The environment's is never used: the address was chosen by the operator,
    /// and nothing else may send prompts elsewhere.
    pub proxy: Option<String>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access")
            .field("has_key", &self.api_key.is_some())
            .field("ca_file", &self.ca_file)
            .field("proxy", &self.proxy)
            .finish()
    }
}

/// Why the server gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// No connection, or it broke before the answer began.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// It turns work away for now: status 429, 502, 503 or 504.
    #[error("turns work away with status {status}")]
    TurnedAway {
        /// The status.
        status: u16,
        /// How long it asks to be left alone, if it says so in seconds.
        retry_after: Option<Duration>,
    },
    /// It does not have the model.
    #[error("has no model {0}")]
    UnknownModel(String),
    /// It was silent for too long before its answer began.
    #[error("was silent for {} s", .0.as_secs())]
    Silent(Duration),
    /// It fell silent for too long in the middle of its answer.
    #[error("fell silent for {} s", .0.as_secs())]
    Stalled(Duration),
    /// It says that the request is at fault.
    #[error("answered: {reason}")]
    Rejected {
        /// The status, of 4xx.
        status: u16,
        /// What it said.
        reason: String,
    },
    /// It refused or failed, and said why.
    #[error("answered: {0}")]
    Refused(String),
    /// Its answer broke off in the middle: the connection ended, and maybe the server with it.
    #[error("broke off in the middle of its answer: {0}")]
    BrokenOff(String),
    /// Its answer cannot be read.
    #[error("sent what cannot be read: {0}")]
    Unreadable(String),
}

/// A model as its server describes it. What it does not report is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// Its name, with its tag if it has one.
    pub name: String,
    /// When its files last changed, as the server writes it: a description is good until then.
    pub modified_at: String,
    /// What identifies its files.
    pub digest: Option<String>,
    /// Number of weights.
    pub parameters: Option<u64>,
    /// Name of the weights' number format.
    pub quantization: Option<String>,
    /// Tokens of context.
    pub context_length: Option<usize>,
    /// Whether it answers prompts. Where this is not reported it is taken to.
    pub can_chat: bool,
    /// Whether it is in the server's memory.
    pub is_loaded: bool,
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text, not empty.
    Text(String),
    /// The end, with the server's own numbers.
    End {
        /// Tokens of the prompt, if reported.
        prompt_tokens: Option<usize>,
        /// Tokens generated, if reported.
        completion_tokens: Option<usize>,
        /// Why it ended.
        finish_reason: FinishReason,
    },
}

/// A client that goes where it is told: no redirects, and no proxy but the one given.
pub(super) fn client(waits: Waits, access: &Access) -> Result<Client, ServerError> {
    let fail = |reason: String| ServerError::Unreachable(reason);
    let mut headers = HeaderMap::new();
    if let Some(key) = &access.api_key {
        let value = HeaderValue::from_str(&format!("Bearer {key}"));
        let mut value = value.map_err(|_| fail("its key cannot stand in a header".into()))?;
        // Keeps it out of what is printed of a request.
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let builder = Client::builder()
        .use_preconfigured_tls(tls(access)?)
        .default_headers(headers)
        .connect_timeout(waits.connect)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .pool_idle_timeout(IDLE_TIME)
        .redirect(redirect::Policy::none());
    let builder = match &access.proxy {
        Some(proxy) => builder.proxy(Proxy::all(proxy).map_err(|error| fail(reason_of(&error)))?),
        None => builder.no_proxy(),
    };
    builder.build().map_err(|error| fail(reason_of(&error)))
}

/// Whom to believe: those in the file, or those the system trusts. The system's store is read only
/// where there is one; without it, every certificate is refused when a connection is made.
fn tls(access: &Access) -> Result<rustls::ClientConfig, ServerError> {
    let mut roots = rustls::RootCertStore::empty();
    match &access.ca_file {
        Some(path) => {
            let fail = |reason: &dyn std::fmt::Display| {
                ServerError::Unreachable(format!("{}: {reason}", path.display()))
            };
            let bytes = std::fs::read(path).map_err(|error| fail(&error))?;
            for certificate in CertificateDer::pem_slice_iter(&bytes) {
                let certificate = certificate.map_err(|error| fail(&error))?;
                roots.add(certificate).map_err(|error| fail(&error))?;
            }
            if roots.is_empty() {
                return Err(fail(&"holds no certificate"));
            }
        }
        None => {
            let system = rustls_native_certs::load_native_certs();
            // Stores hold certificates of long ago that nobody can read any more.
            let _ = roots.add_parsable_certificates(system.certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ServerError::Unreachable(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// What an answer with an error status means. `model` is the one that was asked for.
pub(super) async fn refusal(answer: Response, model: &str, wait: Duration) -> ServerError {
    let status = answer.status();
    let retry_after = answer
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
    let text = tokio::time::timeout(wait, read_at_most(answer, ERROR_BYTES_MAX));
    let text = text.await.ok().and_then(Result::ok).unwrap_or_default();
    let said = serde_json::from_slice(&text).ok().as_ref().and_then(reported);
    let reason = match &said {
        Some(said) => clip(said),
        None => format!("status {}", status.as_u16()),
    };
    match status {
        // A wrong address is answered the same, but not in these words.
        StatusCode::NOT_FOUND if said.is_some_and(|said| said.contains("model")) => {
            ServerError::UnknownModel(model.to_owned())
        }
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => {
            ServerError::TurnedAway { status: status.as_u16(), retry_after }
        }
        status if status.is_client_error() => {
            ServerError::Rejected { status: status.as_u16(), reason }
        }
        _ => ServerError::Refused(reason),
    }
}

/// The error that an object reports, in any of the shapes that servers have for it.
pub(super) fn reported(object: &Value) -> Option<String> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Object(object) => {
            let message = object.get("message").or_else(|| object.get("detail"));
            Some(match message {
                Some(Value::String(message)) => message.clone(),
                _ => value.to_string(),
            })
        }
        Value::Null => None,
        other => Some(other.to_string()),
    };
    if object["object"] == "error" {
        return text(object);
    }
    object.get("error").and_then(text).or_else(|| object.get("detail").and_then(text))
}

/// Reads a body, and refuses one that is longer than it may be.
pub(super) async fn read_at_most(
    mut answer: Response,
    bytes_max: usize,
) -> Result<Vec<u8>, ServerError> {
    let mut bytes = Vec::new();
    loop {
        let chunk = answer.chunk().await;
        let chunk = chunk.map_err(|error| ServerError::Unreachable(reason_of(&error)))?;
        let Some(chunk) = chunk else { return Ok(bytes) };
        bytes.extend_from_slice(&chunk);
        if bytes.len() > bytes_max {
            return Err(ServerError::Unreadable(format!("more than {bytes_max} bytes")));
        }
    }
}

/// The innermost cause: reqwest's own text only says that a request failed, and to whom.
pub(super) fn reason_of(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    clip(&cause.to_string())
}

/// A text of the server, short and on one line.
pub(super) fn clip(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(ERROR_CHARS_MAX).collect()
}

/// Whether a server's name for a model can be asked for and printed.
pub(super) fn is_name(name: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&name.chars().count()) && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_error_is_found_in_every_shape() {
        for (object, said) in [
            (json!({ "error": "out of memory" }), Some("out of memory")),
            (json!({ "error": { "message": "too long", "code": 400 } }), Some("too long")),
            (json!({ "error": { "code": 400 } }), Some("{\"code\":400}")),
            (json!({ "object": "error", "message": "no such model" }), Some("no such model")),
            (json!({ "detail": "Not Found" }), Some("Not Found")),
            (json!({ "error": null, "choices": [] }), None),
            (json!({ "choices": [] }), None),
            (json!([]), None),
            (json!("error"), None),
        ] {
            assert_eq!(reported(&object).as_deref(), said, "{object}");
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        let access = Access { api_key: Some("sk-secret".into()), ..Access::default() };
        assert!(!format!("{access:?}").contains("secret"));
        let client = client(Waits::default(), &access).unwrap();
        assert!(!format!("{client:?}").contains("secret"));
    }

    #[test]
    fn a_name_is_short_and_on_one_line() {
        for (name, is) in [("a", true), ("\u{e9}/b:c d", true), ("", false), ("a\nb", false)] {
            assert_eq!(is_name(name), is, "{name}");
        }
        assert!(!is_name(&"x".repeat(NAME_CHARS_MAX + 1)));
    }
}
