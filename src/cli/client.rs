//! A client of the node's HTTP interface, for the commands.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, StatusCode, Url};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::adapters::keystore::KeystoreError;
use crate::adapters::lock::LockError;
use crate::config::{Config, ConfigError, Flags, Sources};
use crate::passphrase_file::PassphraseFileError;
use crate::private_file::PrivateFileError;
use crate::token_file::{self, TokenError};

/// Time to connect: the node is near.
const CONNECT_WAIT: Duration = Duration::from_secs(2);
/// Time for an answer, a little more than the node's own default of 30 s.
const ANSWER_WAIT: Duration = Duration::from_secs(35);

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Nobody answers there.
    #[error(
        "no node answers at {url} ({reason}); start one with bizra-api, or name another with --url"
    )]
    Unreachable {
        /// Where it was looked for.
        url: String,
        /// What the connection said.
        reason: String,
    },
    /// The node refused.
    #[error("{}", refusal(*status, body))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The whole answer.
        body: Value,
    },
    /// Whoever answers does not speak as a node does.
    #[error("{url} does not answer as a node does: {reason}")]
    Strange {
        /// What was asked.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// There is no token.
    #[error("{0}; the node makes the API token when it first starts, see --data-dir")]
    NoToken(TokenError),
    /// The token cannot be read, or is not to be trusted.
    #[error("the API token: {0}")]
    Token(Arc<TokenError>),
    /// The configuration cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The command cannot be carried out as it was given.
    #[error("{0}")]
    Usage(String),
    /// Somebody has the data directory.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Somebody has the data directory, and no node answers where it was looked for.
    #[error("{lock}; a node that runs there is named with --url, as none answers at {url}")]
    Elsewhere {
        /// Who has it.
        lock: LockError,
        /// Where a node was looked for.
        url: String,
    },
    /// The keystore could not be used.
    #[error(transparent)]
    Keystore(Box<KeystoreError>),
    /// A file that only its owner may read could not be read or written.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// There is no passphrase in the file that was named.
    #[error("the passphrase: {0}")]
    Passphrase(#[from] PassphraseFileError),
    /// The answer could not be written.
    #[error(transparent)]
    Output(#[from] std::io::Error),
}

impl CliError {
    /// The exit code: 1 it went wrong, 2 wrong usage, 3 no node answers.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unreachable { .. } => 3,
            Self::Usage(_) | Self::Config(_) | Self::Passphrase(_) => 2,
            Self::Keystore(error) if error.is_passphrase() => 2,
            Self::Lock(_) | Self::Elsewhere { .. } | Self::Keystore(_) | Self::File(_) => 1,
            Self::Refused { .. } | Self::Strange { .. } | Self::Output(_) => 1,
            Self::NoToken(_) | Self::Token(_) => 1,
        }
    }
}

/// What the node's error body says, in one line.
fn refusal(status: u16, body: &Value) -> String {
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    let mut line = text("error").unwrap_or("the node gave no reason").to_owned();
    if let Some(details) = text("details") {
        line = format!("{line}: {details}");
    }
    format!("{line} ({}, HTTP {status})", text("code").unwrap_or("no code"))
}

/// How a node is found.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// `--url`
    pub url: Option<String>,
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--token`
    pub token: Option<String>,
}

impl Target {
    /// The configuration that the node itself would read.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn config(&self) -> Result<Config, CliError> {
        Ok(self.config_with_sources()?.0)
    }

    /// The same, and who set what.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn config_with_sources(&self) -> Result<(Config, Sources), CliError> {
        let flags = Flags { data_dir: self.data_dir.clone(), ..Flags::default() };
        Ok(Config::load_with_sources(None, super::args::environment(), &flags)?)
    }

    /// The token: as given, or as the node wrote it down.
    ///
    /// # Errors
    /// When none was given and none can be read that only its owner knows.
    pub fn token(&self) -> Result<String, CliError> {
        match &self.token {
            Some(token) => Ok(token.clone()),
            None => Ok(read_token(&self.config()?.node.data_dir)?.to_string()),
        }
    }

    /// Where the node's interface is.
    fn url(&self) -> Result<Url, CliError> {
        let text = match &self.url {
            Some(url) => url.clone(),
            None => {
                let http = self.config()?.http;
                format!("http://{}", SocketAddr::new(reachable(http.host), http.port))
            }
        };
        match text.parse::<Url>() {
            Ok(url) if url.scheme() == "http" && url.has_host() => Ok(url),
            _ => {
                Err(CliError::Usage(format!("--url {text:?} is not of the form http://host:port")))
            }
        }
    }

    /// A client for it. A token is sent if there is one: most endpoints need none from loopback.
    ///
    /// # Errors
    /// When the URL is not one or the configuration cannot be read.
    pub fn client(&self) -> Result<Client, CliError> {
        let url = self.url()?;
        let (token, unusable) = match self.token() {
            Ok(token) => (Some(token), None),
            Err(CliError::Token(error)) => (None, Some(error)),
            Err(CliError::NoToken(_) | CliError::Config(_)) => (None, None),
            Err(error) => return Err(error),
        };
        // No proxy: the node is on this machine or near it, and the token must not go elsewhere.
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_WAIT)
            .build()
            .map_err(|error| CliError::Usage(error.to_string()))?;
        Ok(Client { url, token, unusable, http })
    }
}

/// The address to connect to where a node listens on `host`.
fn reachable(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(v4) if v4.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(v6) if v6.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        host => host,
    }
}

fn read_token(data_dir: &Path) -> Result<Zeroizing<String>, CliError> {
    token_file::read(data_dir).map_err(|error| match error.is_absent() {
        true => CliError::NoToken(error),
        false => CliError::Token(Arc::new(error)),
    })
}

/// A client of one node; cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    url: Url,
    token: Option<String>,
    /// Why the token that there is was not taken. Told where the node asks for one.
    unusable: Option<Arc<TokenError>>,
    http: reqwest::Client,
}

/// What the node answered.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The JSON body.
    pub body: Value,
}

impl Client {
    /// Gets `/api/v1` and the segments of `path`.
    ///
    /// # Errors
    /// When nobody answers, or not with success.
    pub async fn get(&self, path: &[&str]) -> Result<Value, CliError> {
        self.get_with(path, &[]).await
    }

    /// Reads a resource, with a query.
    ///
    /// # Errors
    /// When nobody answers, or not with success.
    pub async fn get_with(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<Value, CliError> {
        let url = self.url(path, query);
        success(self.send_to(Method::GET, url, None, ANSWER_WAIT).await?)
    }

    /// Posts `body`.
    ///
    /// # Errors
    /// When nobody answers, or not with success.
    pub async fn post(&self, path: &[&str], body: &Value) -> Result<Value, CliError> {
        self.post_within(path, body, ANSWER_WAIT).await
    }

    /// Posts `body` and waits `wait` for the answer.
    ///
    /// # Errors
    /// When nobody answers, or not with success.
    pub async fn post_within(
        &self,
        path: &[&str],
        body: &Value,
        wait: Duration,
    ) -> Result<Value, CliError> {
        success(self.send(Method::POST, path, Some(body), wait).await?)
    }

    /// Sends one request and takes any answer that a node can give.
    ///
    /// # Errors
    /// When nobody answers, or not in JSON, or the token that the node asks for is unusable.
    pub async fn send(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
        wait: Duration,
    ) -> Result<Answer, CliError> {
        self.send_to(method, self.url(path, &[]), body, wait).await
    }

    fn url(&self, path: &[&str], query: &[(&str, String)]) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    async fn send_to(
        &self,
        method: Method,
        url: Url,
        body: Option<&Value>,
        wait: Duration,
    ) -> Result<Answer, CliError> {
        let mut request = self.http.request(method, url.clone()).timeout(wait);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if let (StatusCode::UNAUTHORIZED, Some(error)) = (status, &self.unusable) {
            return Err(CliError::Token(Arc::clone(error)));
        }
        let bytes = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        match serde_json::from_slice(&bytes) {
            Ok(body) => Ok(Answer { status: status.as_u16(), body }),
            Err(error) => {
                let reason = format!("HTTP {}, and {error}", status.as_u16());
                Err(CliError::Strange { url: url.into(), reason })
            }
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> CliError {
        let mut reason = "the connection ended".to_owned();
        if error.is_timeout() {
            reason = "no answer in time".to_owned();
        }
        // The last cause is the system's, and says it best.
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            reason = inner.to_string();
            cause = inner.source();
        }
        CliError::Unreachable { url: self.url.as_str().trim_end_matches('/').to_owned(), reason }
    }
}

fn success(answer: Answer) -> Result<Value, CliError> {
    if answer.status == StatusCode::OK.as_u16() {
        return Ok(answer.body);
    }
    Err(CliError::Refused { status: answer.status, body: answer.body })
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::io::{Read, Write};
    use std::os::unix::fs::PermissionsExt;

    use serde_json::json;

    use super::*;

    fn target(url: &str) -> Target {
        Target { url: Some(url.to_owned()), data_dir: None, token: Some("t".to_owned()) }
    }

    #[test]
    fn a_url_that_is_none_is_refused_with_2() {
        for url in ["", "localhost:3001", "https://localhost", "/path", "http://"] {
            let error = target(url).client().unwrap_err();
            assert_eq!(error.exit_code(), 2, "{url}");
            assert!(error.to_string().contains(url), "{error}");
        }
        assert!(target("http://localhost:3001/prefix/").client().is_ok());
    }

    #[test]
    fn a_refusal_is_told_with_its_code() {
        let body = json!({"error": "no", "code": "CHAOS_DISABLED", "details": "set it"});
        assert_eq!(refusal(403, &body), "no: set it (CHAOS_DISABLED, HTTP 403)");
        assert_eq!(refusal(500, &json!([])), "the node gave no reason (no code, HTTP 500)");
    }

    #[test]
    fn an_unspecified_address_is_reached_on_loopback() {
        for (host, address) in [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.0.0.1", "10.0.0.1")] {
            let host: IpAddr = host.parse().unwrap();
            assert_eq!(reachable(host).to_string(), address);
        }
    }

    fn write_token(dir: &Path, text: &str, mode: u32) {
        let path = dir.join(token_file::FILE_NAME);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_token_is_read_without_its_line_end() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(read_token(dir.path()), Err(CliError::NoToken(_))));
        write_token(dir.path(), "\n", 0o600);
        assert!(matches!(read_token(dir.path()), Err(CliError::Token(_))));
        let token = "A".repeat(43);
        write_token(dir.path(), &format!("{token}\n"), 0o600);
        assert_eq!(*read_token(dir.path()).unwrap(), token);
    }

    #[tokio::test]
    async fn a_token_that_others_know_is_not_sent_and_named_when_it_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        write_token(dir.path(), &"A".repeat(43), 0o644);
        for (status, is_served) in [("200 OK", true), ("401 Unauthorized", false)] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let node = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    request.push(byte[0]);
                }
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}");
                stream.write_all(answer.as_bytes()).unwrap();
                String::from_utf8(request).unwrap().to_ascii_lowercase()
            });
            let data_dir = Some(dir.path().to_owned());
            let client = Target { url: Some(url), data_dir, token: None }.client().unwrap();
            let answer = client.get(&["health"]).await;
            assert!(!node.join().unwrap().contains("authorization"));
            assert_eq!(answer.is_ok(), is_served, "{status}");
            if let Err(error) = answer {
                assert_eq!(error.exit_code(), 1);
                assert!(error.to_string().contains("chmod 600"), "{error}");
            }
        }
    }

    #[tokio::test]
    async fn where_nobody_listens_the_way_out_is_told_with_3() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let error = target(&url).client().unwrap().get(&["health"]).await.unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().contains(&format!("no node answers at {url} (")), "{error}");
    }
}
