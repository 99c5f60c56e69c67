//! The HTTP interface as a service, over whatever actors a test gives it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, Response, header};
use bizra_omega::actor::{Actor, Failure, Turn};
use bizra_omega::domain::embedding::ngram::NgramEmbedder;
use bizra_omega::domain::restart::Strategy;
use bizra_omega::http::app::{App, Parameters};
use bizra_omega::http::auth::{Auth, Mode};
use bizra_omega::http::limits::Limits;
use bizra_omega::http::origin::Origins;
use bizra_omega::http::router::router;
use bizra_omega::http::server::{Peer, Readiness};
use bizra_omega::http::token;
use bizra_omega::messages::addr::{Addr, Message};
use bizra_omega::messages::audit::AuditMsg;
use bizra_omega::messages::event::Events;
use bizra_omega::messages::roster::Roster;
use bizra_omega::metrics::Metrics;
use bizra_omega::supervisor::ChildSpec;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::support::{SECOND, permanent, root, settings};

pub(crate) const LOCAL: &str = "127.0.0.1:4000";
pub(crate) const DISTANT: &str = "192.0.2.1:4000";

/// The interface of a node whose actors are all down for good.
pub(crate) struct Door {
    pub(crate) router: Router,
    pub(crate) token: String,
    pub(crate) metrics: Metrics,
    pub(crate) readiness: Readiness,
    data_dir: tempfile::TempDir,
}

pub(crate) fn nobody<M: Message>(name: &str, metrics: &Metrics) -> Addr<M> {
    Addr::new(name, 16, metrics.addr(name))
}

pub(crate) fn door(mode: Mode) -> Door {
    let limits = Limits { request_timeout: Duration::from_millis(200), ..Limits::default() };
    let limits = Limits { generate_timeout: Duration::from_millis(200), ..limits };
    door_with(mode, limits)
}

pub(crate) fn door_with(mode: Mode, limits: Limits) -> Door {
    let metrics = Metrics::new();
    door_over(roster(&metrics), metrics, mode, limits)
}

/// Takes every call for recorded, so that what comes after that can be seen.
struct Scribe;

impl Actor for Scribe {
    type Msg = AuditMsg;
    type State = ();

    async fn start(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn handle(&self, message: AuditMsg, _: Turn, (): &mut ()) -> Result<(), Failure> {
        let AuditMsg::Record { reply, .. } = message;
        reply.send(Ok(1));
        Ok(())
    }
}

fn scribe() -> Addr<AuditMsg> {
    let settings = settings(Strategy::OneForOne);
    let make = || Scribe;
    let (spec, addr) = ChildSpec::actor("audit", permanent(), SECOND, 16, &settings.metrics, make);
    tokio::spawn(async move {
        let _root = root(&settings, vec![spec]).await;
        std::future::pending::<()>().await;
    });
    addr
}

/// Addresses that nobody serves, but for that of the audit record.
pub(crate) fn roster(metrics: &Metrics) -> Roster {
    Roster {
        supervisor: nobody("supervisor", metrics),
        identity: nobody("identity", metrics),
        gate_chain: nobody("gate-chain", metrics),
        envelope: nobody("envelope", metrics),
        audit: scribe(),
        inference: nobody("inference-router", metrics),
        gossip: nobody("gossip", metrics),
        consensus: nobody("consensus", metrics),
        models: nobody("models", metrics),
        preferences: nobody("preferences", metrics),
        pattern_memory: nobody("pattern-memory", metrics),
        events: Events::new(metrics.events_missed()),
    }
}

pub(crate) fn door_over(roster: Roster, metrics: Metrics, mode: Mode, limits: Limits) -> Door {
    let data_dir = tempfile::tempdir().unwrap();
    let token = token::open(data_dir.path()).unwrap();
    let readiness = Readiness::default();
    let origins = ["https://console.example".to_owned()];
    let app = App::new(Parameters {
        roster,
        metrics: metrics.clone(),
        auth: Auth::new(mode, token.clone()),
        origins: Origins::new(&["node.example".to_owned()], &origins).unwrap(),
        limits,
        readiness: readiness.clone(),
        started: tokio::time::Instant::now(),
        data_dir: data_dir.path().to_owned(),
        has_drills: false,
        embedder: Arc::new(NgramEmbedder::default()),
    });
    let token = token.expose().to_owned();
    Door { router: router(app), token, metrics, readiness, data_dir }
}

impl Door {
    pub(crate) async fn send(&self, mut request: Request<Body>, peer: &str) -> Answer {
        let peer: SocketAddr = peer.parse().unwrap();
        request.extensions_mut().insert(Peer(peer));
        Answer::of(self.router.clone().oneshot(request).await.unwrap()).await
    }

    /// The token as it is now, which is another after it was rotated.
    pub(crate) fn current_token(&self) -> String {
        token::read(self.data_dir.path()).unwrap().expose().to_owned()
    }

    /// Sends a JSON body from this machine, with the token.
    pub(crate) async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.send(self.request(Method::POST, path).body(body.into()).unwrap(), LOCAL).await
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> axum::http::request::Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost:3001")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.current_token()))
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) json: Value,
}

impl Answer {
    pub(crate) async fn of(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Self { status: parts.status.as_u16(), headers: parts.headers, json }
    }

    pub(crate) fn code(&self) -> &str {
        self.json["code"].as_str().unwrap_or_default()
    }

    /// Whether it is an error in the shape of this path: below `/v1` that of OpenAI's clients, in
    /// which `openai_code` is what `code` is elsewhere.
    #[track_caller]
    pub(crate) fn assert_error_of(&self, path: &str, status: u16, code: &str, openai_code: &str) {
        if !path.starts_with("/v1/") {
            return self.assert_error(status, code);
        }
        let error = &self.json["error"];
        assert_eq!((self.status, &error["code"]), (status, &openai_code.into()), "{}", self.json);
        for key in ["message", "type"] {
            assert!(error[key].is_string(), "{}", self.json);
        }
        assert!(error.as_object().unwrap().contains_key("param"));
        assert!(self.headers.contains_key("x-request-id"));
    }

    /// Whether it is an error in the one shape there is.
    #[track_caller]
    pub(crate) fn assert_error(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code()), (status, code), "{}", self.json);
        assert!(self.json["error"].as_str().is_some_and(|error| !error.is_empty()));
        assert!(self.json["details"].is_null() || self.json["details"].is_string());
        assert_eq!(self.json["request_id"].as_str(), self.headers["x-request-id"].to_str().ok());
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/json");
        assert_eq!(self.headers["x-content-type-options"], "nosniff");
        assert_eq!(self.headers[header::CACHE_CONTROL], "no-store");
        let may_retry = matches!(status, 429 | 503);
        assert_eq!(self.headers.contains_key(header::RETRY_AFTER), may_retry);
    }
}
