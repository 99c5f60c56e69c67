//! The HTTP interface as a service, over whatever actors a test gives it.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, Response, header};
use bizra_omega::http::app::{App, Parameters};
use bizra_omega::http::auth::{Auth, Mode};
use bizra_omega::http::limits::Limits;
use bizra_omega::http::origin::Origins;
use bizra_omega::http::router::router;
use bizra_omega::http::server::{Peer, Readiness};
use bizra_omega::http::token;
use bizra_omega::messages::addr::{Addr, Message};
use bizra_omega::messages::event::Events;
use bizra_omega::messages::roster::Roster;
use bizra_omega::metrics::Metrics;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

pub(crate) const LOCAL: &str = "127.0.0.1:4000";
pub(crate) const DISTANT: &str = "192.0.2.1:4000";

/// The interface of a node whose actors are all down for good.
pub(crate) struct Door {
    pub(crate) router: Router,
    pub(crate) token: String,
    pub(crate) metrics: Metrics,
    pub(crate) readiness: Readiness,
    _data_dir: tempfile::TempDir,
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

/// Addresses that nobody serves.
pub(crate) fn roster(metrics: &Metrics) -> Roster {
    Roster {
        supervisor: nobody("supervisor", metrics),
        identity: nobody("identity", metrics),
        gate_chain: nobody("gate-chain", metrics),
        envelope: nobody("envelope", metrics),
        inference: nobody("inference-router", metrics),
        events: Events::default(),
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
    });
    let token = token.expose().to_owned();
    Door { router: router(app), token, metrics, readiness, _data_dir: data_dir }
}

impl Door {
    pub(crate) async fn send(&self, mut request: Request<Body>, peer: &str) -> Answer {
        let peer: SocketAddr = peer.parse().unwrap();
        request.extensions_mut().insert(Peer(peer));
        Answer::of(self.router.clone().oneshot(request).await.unwrap()).await
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
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
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
