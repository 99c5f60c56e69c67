//! The hub that models are pulled from: one request for a file, wherever it leads.
//!
//! Redirects are followed here and not by the HTTP client, because each is a decision: over TLS only,
//! never from the outside to this machine, and the token goes to nobody but the hub itself.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG,
    HeaderMap, HeaderName, HeaderValue, IF_RANGE, LOCATION, RANGE, RETRY_AFTER,
};
use reqwest::{Client, Response, Url, redirect};
use rustls::{ClientConfig, RootCertStore};

use crate::adapters::models::ModelStoreError;
use crate::clock;
use crate::domain::model_store::transfer::{
    Asked, Head, PAUSE_FIRST, REDIRECTS_MAX, Step, judge, may_follow,
};

/// How long a hub may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// Until a connection stands, TLS included.
    pub connect: Duration,
    /// Until the head of an answer.
    pub head: Duration,
    /// Between two pieces of a file.
    pub idle: Duration,
    /// In each of these [`Waits::pace_bytes`] must come.
    pub pace: Duration,
    /// Bytes in each [`Waits::pace`].
    pub pace_bytes: u64,
    /// For one pull, its pauses included.
    pub total: Duration,
    /// The first pause after a failure; it doubles.
    pub pause: Duration,
}

impl Default for Waits {
    /// 10 s and 30 s are what a hub under load needs; less than 1 KiB/s for a minute is nobody's
    /// line; 12 h are 5 GB at 100 KB/s.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            head: Duration::from_secs(30),
            idle: Duration::from_secs(30),
            pace: Duration::from_secs(60),
            pace_bytes: 60 << 10,
            total: Duration::from_secs(12 * 3600),
            pause: PAUSE_FIRST,
        }
    }
}

/// A hub; cheap to clone.
#[derive(Clone, Debug)]
pub struct Hub {
    endpoint: Url,
    /// Marked as sensitive, so that nothing prints it.
    token: Option<HeaderValue>,
    is_offline: bool,
    waits: Waits,
    client: Arc<OnceLock<Result<Trusting, String>>>,
}

/// A client, and whether it can trust anybody.
#[derive(Debug)]
struct Trusting {
    client: Client,
    has_authorities: bool,
}

/// Why there is no body to read.
#[derive(Debug)]
pub(super) enum Missed {
    /// Another try may come to more.
    Retry { reason: String, after: Option<Duration> },
    /// What is here is worth nothing.
    Restart,
    /// Another try would change nothing.
    Fatal(ModelStoreError),
}

/// A body to read.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) response: Response,
    /// Whether it goes on where the bytes here end; otherwise it is the whole file.
    pub(super) is_appended: bool,
    /// What the server calls this version.
    pub(super) etag: Option<String>,
}

impl Hub {
    /// The hub at `endpoint`: an https address, or http on this machine. `token` may be empty.
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// When the address is none of these, or the token cannot be sent.
    pub fn new(
        endpoint: &str,
        token: &str,
        is_offline: bool,
        waits: Waits,
    ) -> Result<Self, ModelStoreError> {
        let url: Option<Url> = endpoint.trim_end_matches('/').parse().ok();
        let url = url.filter(|url| {
            let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url));
            is_safe && url.has_host() && url.username().is_empty() && url.password().is_none()
        });
        let endpoint = url.ok_or_else(|| {
            ModelStoreError::Address(format!(
                "inference.models.endpoint {endpoint:?} is not an https address (http is for this \
                 machine only)"
            ))
        })?;
        let token = Some(token.trim()).filter(|token| !token.is_empty()).map(|token| {
            let header = HeaderValue::from_str(&format!("Bearer {token}"));
            header.map(|mut header| {
                header.set_sensitive(true);
                header
            })
        });
        let token = token.transpose().map_err(|_| {
            ModelStoreError::Address("HF_TOKEN has characters that no token has".into())
        })?;
        Ok(Self { endpoint, token, is_offline, waits, client: Arc::default() })
    }

    pub(super) fn is_offline(&self) -> bool {
        self.is_offline
    }

    pub(super) fn waits(&self) -> &Waits {
        &self.waits
    }

    /// The client for `url`. The authorities are read once, when they are first needed.
    fn client(&self, url: &Url) -> Result<&Client, ModelStoreError> {
        match self.client.get_or_init(|| client(&self.waits)) {
            Ok(made) if made.has_authorities || url.scheme() == "http" => Ok(&made.client),
            Ok(_) => Err(ModelStoreError::Address(
                "this system trusts no certificate authorities, so no hub can be trusted; install \
                 its package of them (ca-certificates)"
                    .into(),
            )),
            Err(reason) => Err(ModelStoreError::Address(reason.clone())),
        }
    }

    /// Asks for the file at `path`, from byte `from` on if that is more than none, and only if it is
    /// the version `etag` still.
    pub(super) async fn open(
        &self,
        path: &str,
        from: u64,
        total: u64,
        etag: Option<&str>,
    ) -> Result<Opened, Missed> {
        let base = self.endpoint.as_str().trim_end_matches('/');
        let mut url: Url = format!("{base}{path}").parse().map_err(|error| {
            Missed::Fatal(ModelStoreError::Address(format!("{base}{path}: {error}")))
        })?;
        for _ in 0..=REDIRECTS_MAX {
            let is_hub = url.origin() == self.endpoint.origin();
            let token = self.token.as_ref().filter(|_| is_hub);
            let response = self.ask(&url, from, etag, token).await?;
            let asked = Asked { from, total, with_token: token.is_some() };
            let is_appended = match judge(&asked, &head(&response)) {
                Step::Follow => {
                    url = self.next(&url, response.headers())?;
                    continue;
                }
                Step::Append => true,
                Step::Overwrite => false,
                Step::Restart => return Err(Missed::Restart),
                Step::Retry { reason, after } => return Err(Missed::Retry { reason, after }),
                Step::GiveUp(refusal) => return Err(Missed::Fatal(refusal.into())),
            };
            let etag = text(response.headers(), &ETAG);
            return Ok(Opened { response, is_appended, etag });
        }
        let reason = format!("the hub sent the request on more than {REDIRECTS_MAX} times");
        Err(Missed::Fatal(ModelStoreError::Address(reason)))
    }

    async fn ask(
        &self,
        url: &Url,
        from: u64,
        etag: Option<&str>,
        token: Option<&HeaderValue>,
    ) -> Result<Response, Missed> {
        let client = self.client(url).map_err(Missed::Fatal)?;
        // What is hashed is the file, not a packed form of it.
        let mut request = client.get(url.clone()).header(ACCEPT_ENCODING, "identity");
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
            if let Some(etag) = etag {
                request = request.header(IF_RANGE, etag);
            }
        }
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        match tokio::time::timeout(self.waits.head, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(retry(reason_of(&error))),
            Err(_) => {
                let reason = format!("no answer within {} s", self.waits.head.as_secs_f64());
                Err(retry(reason))
            }
        }
    }

    /// Where a redirect leads, if it may be followed.
    fn next(&self, from: &Url, headers: &HeaderMap) -> Result<Url, Missed> {
        let refused = |reason: String| Missed::Fatal(ModelStoreError::Address(reason));
        let location = text(headers, &LOCATION)
            .ok_or_else(|| refused("the hub sent the request on to nowhere".into()))?;
        let target = from.join(&location);
        let target = target.map_err(|error| {
            refused(format!("the hub sent the request on to no address: {error}"))
        })?;
        let is_tls = target.scheme() == "https";
        let is_here = is_loopback(&target);
        let is_web = is_tls || target.scheme() == "http";
        if is_web && may_follow(is_loopback(&self.endpoint), is_tls, is_here) {
            return Ok(target);
        }
        let host = target.host_str().unwrap_or_default();
        let place = format!("{}://{host}", target.scheme());
        let place: String = place.chars().take(128).collect();
        Err(refused(format!("the hub sent the request on to {place}, which is not followed")))
    }
}

fn retry(reason: String) -> Missed {
    Missed::Retry { reason, after: None }
}

/// Whether an address is on this machine by its text; names are not looked up.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

fn client(waits: &Waits) -> Result<Trusting, String> {
    // The system's own authorities: its owner decides whom it trusts, and keeps them up to date.
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    // What cannot be read is left out.
    let (taken, _) = roots.add_parsable_certificates(found.certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Client::builder()
        .use_preconfigured_tls(config)
        .user_agent(concat!("bizra-omega/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(waits.connect)
        .redirect(redirect::Policy::none())
        // The environment must not send the token elsewhere.
        .no_proxy()
        .build()
        .map(|client| Trusting { client, has_authorities: taken > 0 })
        .map_err(|error| reason_of(&error))
}

fn head(response: &Response) -> Head {
    let headers = response.headers();
    Head {
        status: response.status().as_u16(),
        length: text(headers, &CONTENT_LENGTH).and_then(|length| length.parse().ok()),
        range: text(headers, &CONTENT_RANGE),
        encoding: text(headers, &CONTENT_ENCODING),
        retry_after: text(headers, &RETRY_AFTER).and_then(|after| retry_after(&after)),
        has_location: headers.contains_key(LOCATION),
    }
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// Seconds, or the time until a date.
fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let date = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
    let wait_ms = date.timestamp().as_millisecond().saturating_sub(clock::now_ms());
    Some(Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0)))
}

/// The innermost cause, short and on one line: reqwest's own text repeats the address, which may
/// hold a signature of the hub's.
pub(super) fn reason_of(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_https_or_here() {
        for (endpoint, is_taken) in [
            ("https://huggingface.co", true),
            ("https://mirror.example/hf/", true),
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080", true),
            ("http://localhost", true),
            ("http://mirror.example", false),
            ("http://127.0.0.1.evil.example", false),
            ("http://localhost.evil.example", false),
            ("https://user:secret@huggingface.co", false),
            ("ftp://127.0.0.1", false),
            ("file:///etc/passwd", false),
            ("huggingface.co", false),
            ("", false),
        ] {
            let hub = Hub::new(endpoint, "", false, Waits::default());
            assert_eq!(hub.is_ok(), is_taken, "{endpoint}");
        }
    }

    #[test]
    fn a_token_is_never_printed() {
        let hub = Hub::new("https://x", "hf_secret", false, Waits::default()).unwrap();
        assert!(!format!("{hub:?}").contains("secret"));
        assert!(Hub::new("https://x", "a\nb", false, Waits::default()).is_err());
        let error = Hub::new("https://x", "hf_s\u{0}", false, Waits::default()).unwrap_err();
        assert!(!error.to_string().contains("hf_s"));
    }

    #[test]
    fn a_wait_is_told_in_seconds_or_as_a_date() {
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        let later = retry_after("Thu, 21 Oct 2100 07:28:00 GMT").unwrap();
        assert!(later > Duration::from_secs(1 << 30), "{later:?}");
        for text in ["", "soon", "-1", "1.5", "\u{e9}"] {
            assert_eq!(retry_after(text), None, "{text}");
        }
    }
}
