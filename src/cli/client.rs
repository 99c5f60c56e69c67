//! A client of the node's HTTP interface, for the commands.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;

pub use crate::cli::error::CliError;
pub use crate::cli::target::Target;
use crate::cli::target::Withheld;
use crate::cli::trust::{self, Trust};
use crate::domain::sse::{Event, Events as Reader};

/// Time to connect: the node is near.
const CONNECT_WAIT: Duration = Duration::from_secs(2);
/// Time for an answer, a little more than the node's own default of 30 s.
const ANSWER_WAIT: Duration = Duration::from_secs(35);
/// Bytes of an answer: a page of the log with a thousand heads is some megabytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Bytes of one event: an answer with its envelope, with room.
const EVENT_BYTES_MAX: usize = 16 << 20;
/// Time between two events of a stream: the node says something every ten seconds.
const EVENT_WAIT: Duration = Duration::from_secs(60);

/// A client of one node; cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    url: Url,
    token: Option<String>,
    /// Why the token that there is was not taken. Told where the node asks for one.
    withheld: Option<Withheld>,
    http: reqwest::Client,
}

/// An answer that comes piece by piece.
#[derive(Debug)]
pub(super) struct Events {
    response: Response,
    reader: Reader,
    client: Client,
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
    /// A client for a node.
    ///
    /// # Errors
    /// When no certificate of it could be trusted.
    pub(super) fn new(
        url: Url,
        trust: &Trust,
        token: Option<String>,
        withheld: Option<Withheld>,
    ) -> Result<Self, CliError> {
        // No proxy: the node is on this machine or near it, and the token must not go elsewhere.
        let mut http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_WAIT);
        if url.scheme() == "https" {
            http = http.https_only(true).use_preconfigured_tls(trust.config()?);
        }
        let http = http.build().map_err(|error| CliError::Usage(error.to_string()))?;
        Ok(Self { url, token, withheld, http })
    }

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

    /// Removes a resource.
    ///
    /// # Errors
    /// When nobody answers, or not with success.
    pub async fn delete(&self, path: &[&str]) -> Result<Value, CliError> {
        success(self.send(Method::DELETE, path, None, ANSWER_WAIT).await?)
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
        let request = self.request(method, url, body).timeout(wait);
        let response = self.begin(request).await?;
        self.end(response).await
    }

    fn request(&self, method: Method, url: Url, body: Option<&Value>) -> RequestBuilder {
        let mut request = self.http.request(method, url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        request
    }

    /// Sends a request and takes the head of its answer.
    async fn begin(&self, request: RequestBuilder) -> Result<Response, CliError> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        match &self.withheld {
            Some(withheld) if response.status() == StatusCode::UNAUTHORIZED => Err(match withheld
                .clone()
            {
                Withheld::Unusable(error) => CliError::Token(error),
                Withheld::Stranger(data_dir) => CliError::Stranger { url: self.shown(), data_dir },
            }),
            _ => Ok(response),
        }
    }

    /// Takes the rest of an answer.
    async fn end(&self, mut response: Response) -> Result<Answer, CliError> {
        let status = response.status().as_u16();
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > ANSWER_BYTES_MAX {
                return Err(self.strange(format!("more than {ANSWER_BYTES_MAX} bytes")));
            }
        }
        match serde_json::from_slice(&bytes) {
            Ok(body) => Ok(Answer { status, body }),
            Err(error) => Err(self.strange(format!("HTTP {status}, and {error}"))),
        }
    }

    /// Posts `body`, and takes the answer as it comes once it begins within `wait`. Dropping it ends
    /// the work on the node.
    ///
    /// # Errors
    /// When nobody answers, or not with success.
    pub(super) async fn stream(
        &self,
        path: &[&str],
        body: &Value,
        wait: Duration,
    ) -> Result<Events, CliError> {
        let request = self.request(Method::POST, self.url(path, &[]), Some(body));
        let Ok(response) = tokio::time::timeout(wait, self.begin(request)).await else {
            let reason = "no answer in time".to_owned();
            return Err(CliError::Unreachable { url: self.shown(), reason });
        };
        let response = response?;
        if response.status() != StatusCode::OK {
            let refusal = tokio::time::timeout(EVENT_WAIT, self.end(response)).await;
            let silent = || self.strange("it fell silent in the middle of an answer".to_owned());
            let Answer { status, body } = refusal.map_err(|_| silent())??;
            return Err(CliError::Refused { status, body });
        }
        Ok(Events { response, reader: Reader::new(EVENT_BYTES_MAX), client: self.clone() })
    }

    /// The node's address as it was given.
    fn shown(&self) -> String {
        self.url.as_str().trim_end_matches('/').to_owned()
    }

    fn strange(&self, reason: String) -> CliError {
        CliError::Strange { url: self.shown(), reason }
    }

    fn unreachable(&self, error: &reqwest::Error) -> CliError {
        if let Some(reason) = trust::refusal(error) {
            return CliError::Untrusted { url: self.shown(), reason };
        }
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
        if self.url.scheme() == "http" && reason.contains("invalid HTTP version") {
            reason.push_str(", as a node with a certificate does that is named https://");
        }
        CliError::Unreachable { url: self.shown(), reason }
    }
}

impl Events {
    /// The next event, or none if the stream has ended.
    ///
    /// # Errors
    /// When the node falls silent or what it sends is no event.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, CliError> {
        loop {
            let event = self.reader.read();
            if let Some(event) = event.map_err(|error| self.client.strange(error.to_string()))? {
                return Ok(Some(event));
            }
            let chunk = tokio::time::timeout(EVENT_WAIT, self.response.chunk()).await;
            let Ok(chunk) = chunk else {
                return Err(self
                    .client
                    .strange("it fell silent in the middle of an answer".into()));
            };
            let Some(bytes) = chunk.map_err(|error| self.client.unreachable(&error))? else {
                return Ok(None);
            };
            self.reader.push(&bytes).map_err(|error| self.client.strange(error.to_string()))?;
        }
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
    use std::path::Path;

    use super::*;

    fn target(url: &str) -> Target {
        Target { url: Some(url.to_owned()), token: Some("t".to_owned()), ..Target::default() }
    }

    fn write_token(dir: &Path, text: &str, mode: u32) {
        let path = dir.join(crate::token_file::FILE_NAME);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
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
            let client = Target { url: Some(url), data_dir, ..Target::default() }.client().unwrap();
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
