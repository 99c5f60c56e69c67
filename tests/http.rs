//! The HTTP interface before any actor is asked: who is let in, and what is refused how.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, Response, header};
use bizra_omega::http::app::{App, Parameters};
use bizra_omega::http::auth::{Auth, Class, Mode};
use bizra_omega::http::limits::Limits;
use bizra_omega::http::origin::Origins;
use bizra_omega::http::router::{ROUTES, router};
use bizra_omega::http::server::{Peer, Readiness, Server};
use bizra_omega::http::token;
use bizra_omega::messages::addr::{Addr, Message};
use bizra_omega::messages::event::Events;
use bizra_omega::messages::roster::Roster;
use bizra_omega::metrics::Metrics;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;

const LOCAL: &str = "127.0.0.1:4000";
const DISTANT: &str = "192.0.2.1:4000";

/// The interface of a node whose actors are all down for good.
struct Door {
    router: Router,
    token: String,
    metrics: Metrics,
    _data_dir: tempfile::TempDir,
}

fn nobody<M: Message>(name: &str, metrics: &Metrics) -> Addr<M> {
    Addr::new(name, 16, metrics.addr(name))
}

fn door(mode: Mode) -> Door {
    let limits = Limits { request_timeout: Duration::from_millis(200), ..Limits::default() };
    let limits = Limits { generate_timeout: Duration::from_millis(200), ..limits };
    door_with(mode, limits)
}

fn door_with(mode: Mode, limits: Limits) -> Door {
    let data_dir = tempfile::tempdir().unwrap();
    let token = token::open(data_dir.path()).unwrap();
    let metrics = Metrics::new();
    let origins = ["https://console.example".to_owned()];
    let app = App::new(Parameters {
        roster: Roster {
            supervisor: nobody("supervisor", &metrics),
            identity: nobody("identity", &metrics),
            gate_chain: nobody("gate-chain", &metrics),
            envelope: nobody("envelope", &metrics),
            inference: nobody("inference-router", &metrics),
            events: Events::default(),
        },
        metrics: metrics.clone(),
        auth: Auth::new(mode, token.clone()),
        origins: Origins::new(&["node.example".to_owned()], &origins).unwrap(),
        limits,
        readiness: Readiness::default(),
        started: tokio::time::Instant::now(),
        data_dir: data_dir.path().to_owned(),
        has_drills: false,
    });
    let token = token.expose().to_owned();
    Door { router: router(app), token, metrics, _data_dir: data_dir }
}

impl Door {
    async fn send(&self, mut request: Request<Body>, peer: &str) -> Answer {
        let peer: SocketAddr = peer.parse().unwrap();
        request.extensions_mut().insert(Peer(peer));
        Answer::of(self.router.clone().oneshot(request).await.unwrap()).await
    }

    /// Sends a JSON body from this machine, with the token.
    async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.send(self.request(Method::POST, path).body(body.into()).unwrap(), LOCAL).await
    }

    fn request(&self, method: Method, path: &str) -> axum::http::request::Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost:3001")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
    }
}

struct Answer {
    status: u16,
    headers: axum::http::HeaderMap,
    json: Value,
}

impl Answer {
    async fn of(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Self { status: parts.status.as_u16(), headers: parts.headers, json }
    }

    fn code(&self) -> &str {
        self.json["code"].as_str().unwrap_or_default()
    }

    /// Whether it is an error in the one shape there is.
    #[track_caller]
    fn assert_error(&self, status: u16, code: &str) {
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

fn method_of(path: &str) -> Method {
    let is_read =
        ["health", "livez", "readyz", "status", "metrics", "/actors", "/constitution", "models"];
    if is_read.iter().any(|end| path.ends_with(end)) { Method::GET } else { Method::POST }
}

#[tokio::test(start_paused = true)]
async fn every_route_lets_in_whom_its_class_does() {
    for mode in [Mode::Token, Mode::Local, Mode::TrustLoopback] {
        let door = door(mode);
        for (path, class) in ROUTES {
            for peer in [LOCAL, DISTANT] {
                for has_token in [false, true] {
                    // An empty body is refused after the caller is let in, without any actor.
                    let mut request = door
                        .request(method_of(path), &path.replace("{name}", "x"))
                        .header(header::CONTENT_LENGTH, "0")
                        .body(Body::empty())
                        .unwrap();
                    if !has_token {
                        request.headers_mut().remove(header::AUTHORIZATION);
                    }
                    let answer = door.send(request, peer).await;
                    let is_let_in = has_token
                        || match (class, mode, peer == LOCAL) {
                            (Class::Open, _, _) => true,
                            (_, Mode::TrustLoopback, is_local) => is_local,
                            (Class::Read | Class::Act, Mode::Local, is_local) => is_local,
                            (_, Mode::Local | Mode::Token, _) => false,
                        };
                    let place = format!("{path} {mode:?} {peer} {has_token}: {}", answer.json);
                    assert_eq!(answer.status != 401, is_let_in, "{place}");
                    if !is_let_in {
                        answer.assert_error(401, "UNAUTHORIZED");
                        assert_eq!(
                            answer.headers[header::WWW_AUTHENTICATE],
                            "Bearer realm=\"bizra\""
                        );
                    }
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_foreign_name_or_page_is_refused_on_every_route_whoever_calls() {
    let door = door(Mode::TrustLoopback);
    let hosts = [
        ("localhost:3001", true),
        ("[::1]", true),
        ("node.example", true),
        ("evil.example", false),
    ];
    let origins = [
        (None, true),
        (Some("same"), true),
        (Some("https://console.example"), true),
        (Some("https://evil.example"), false),
        (Some("null"), false),
    ];
    let mut paths: Vec<&str> = ROUTES.iter().map(|(path, _)| *path).collect();
    paths.extend(["/", "/none", "/api/v1/federation/status"]);
    for (host, is_known) in hosts {
        for (origin, is_allowed) in origins {
            for path in &paths {
                for method in [Method::GET, Method::POST, Method::OPTIONS] {
                    let mut request = door.request(method, &path.replace("{name}", "x"));
                    let headers = request.headers_mut().unwrap();
                    headers.insert(header::HOST, host.parse().unwrap());
                    if let Some(origin) = origin {
                        let own = format!("http://{host}");
                        let origin = if origin == "same" { own.as_str() } else { origin };
                        headers.insert(header::ORIGIN, origin.parse().unwrap());
                    }
                    // Neither body nor actors: only who is let in matters.
                    headers.remove(header::CONTENT_TYPE);
                    let answer = door.send(request.body(Body::empty()).unwrap(), LOCAL).await;
                    let is_refused = answer.status == 403;
                    assert_eq!(is_refused, !(is_known && is_allowed), "{host} {origin:?} {path}");
                    if !is_known {
                        answer.assert_error(403, "HOST_FORBIDDEN");
                    } else if !is_allowed {
                        answer.assert_error(403, "ORIGIN_FORBIDDEN");
                    }
                    let may_read = answer.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN);
                    assert_eq!(may_read, is_known && origin == Some("https://console.example"));
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_host_is_malformed() {
    let door = door(Mode::Local);
    let mut request = door.request(Method::GET, "/livez").body(Body::empty()).unwrap();
    request.headers_mut().remove(header::HOST);
    door.send(request, LOCAL).await.assert_error(400, "INVALID_HOST");
}

#[tokio::test(start_paused = true)]
async fn a_configured_page_may_ask_first() {
    let door = door(Mode::Local);
    let request = door
        .request(Method::OPTIONS, "/api/v1/inference/generate")
        .header(header::ORIGIN, "https://console.example")
        .header("access-control-request-method", "POST")
        .body(Body::empty())
        .unwrap();
    let answer = door.send(request, DISTANT).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://console.example");
    assert_eq!(answer.headers[header::ACCESS_CONTROL_ALLOW_METHODS], "GET, POST");
    assert!(!answer.headers.contains_key("access-control-allow-credentials"));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_said_in_json() {
    let door = door(Mode::Local);
    for path in [
        "/",
        "/api/v1",
        "/api/v1/",
        "/api/v1/health/",
        "/api/v1/nothing",
        "/api/v1/federation/status",
        "/api/v1/ws",
        "/openapi.json",
        "/v1/chat/completions",
        "/%00",
        "/%F0%9F%98%80",
        "/api/v1/../../etc/passwd",
    ] {
        let request = door.request(Method::GET, path).body(Body::empty()).unwrap();
        door.send(request, LOCAL).await.assert_error(404, "NOT_FOUND");
    }
}

#[tokio::test(start_paused = true)]
async fn another_method_is_refused_with_those_allowed() {
    let door = door(Mode::Local);
    for (path, _) in ROUTES {
        let allowed = if method_of(path) == Method::GET { "GET,HEAD" } else { "POST" };
        for method in [Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
            let path = path.replace("{name}", "x");
            let request = door.request(method, &path).body(Body::empty()).unwrap();
            let answer = door.send(request, DISTANT).await;
            answer.assert_error(405, "METHOD_NOT_ALLOWED");
            assert_eq!(answer.headers[header::ALLOW], allowed, "{path}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_are_refused_by_what_is_wrong_with_them() {
    let door = door(Mode::Local);
    let deep = format!("{{\"payload\":{}{}}}", "[".repeat(200), "]".repeat(200));
    let deep_gate = deep.replace("payload", "content");
    let large = format!("{{\"message\":\"{}\"}}", "\u{6f22}".repeat(400_000));
    let sign = "/api/v1/identity/sign";
    let verify = "/api/v1/identity/verify";
    let create = "/api/v1/pci/envelope/create";
    let envelope = "/api/v1/pci/envelope/verify";
    let gates = "/api/v1/pci/gates/check";
    let constitution = "/api/v1/constitution/check";
    let generate = "/api/v1/inference/generate";
    let tier = "/api/v1/inference/tier";
    let stop = "/api/v1/actors/identity/stop";
    for (path, body, status, code, details) in [
        (sign, "", 400, "INVALID_JSON", None),
        (sign, "{", 400, "INVALID_JSON", None),
        (sign, "{\"message\":\"a\",\"message\":\"b\"}", 400, "INVALID_JSON", None),
        (sign, "{\"message\":\"\\ud800\"}", 400, "INVALID_JSON", None),
        (sign, "{}", 422, "INVALID_FIELD", Some("$")),
        (sign, "[]", 422, "INVALID_FIELD", Some("$")),
        (sign, "{\"message\":1}", 422, "INVALID_FIELD", Some("$.message")),
        (sign, "{\"message_b64\":\"\u{e9}\"}", 400, "INVALID_BASE64", Some("$.message_b64")),
        (sign, large.as_str(), 413, "BODY_TOO_LARGE", None),
        (verify, "{\"message\":\"a\",\"signature\":\"00\"}", 422, "INVALID_FIELD", Some("$")),
        (create, "{}", 422, "INVALID_FIELD", Some("$")),
        (create, deep.as_str(), 400, "INVALID_JSON", None),
        (create, "{\"payload\":9007199254740993}", 400, "INVALID_JSON", None),
        (create, "{\"payload\":1e999}", 400, "INVALID_JSON", None),
        (create, "{\"payload\":1,\"ttl\":1.5}", 422, "INVALID_FIELD", Some("$.ttl")),
        (create, "{\"payload\":1,\"ttl\":0}", 400, "INVALID_TTL", Some("$.ttl")),
        (
            create,
            "{\"payload\":1,\"provenance\":[\"a\"]}",
            422,
            "INVALID_FIELD",
            Some("$.provenance[0]"),
        ),
        (
            create,
            "{\"payload\":1,\"audience\":\"\u{6f22}\"}",
            400,
            "INVALID_HEX",
            Some("$.audience"),
        ),
        (envelope, "", 400, "INVALID_JSON", None),
        (envelope, "nonsense", 400, "INVALID_JSON", None),
        (gates, "{}", 422, "INVALID_FIELD", Some("$")),
        (gates, deep_gate.as_str(), 400, "INVALID_JSON", None),
        (gates, "{\"content\":\"a\",\"snr_score\":1.1}", 400, "INVALID_SCORE", Some("$.snr_score")),
        (
            gates,
            "{\"content\":\"a\",\"ihsan_score\":-1}",
            400,
            "INVALID_SCORE",
            Some("$.ihsan_score"),
        ),
        (gates, "{\"content\":\"a\",\"ihsan_score\":NaN}", 400, "INVALID_JSON", None),
        (gates, "{\"content\":\"a\",\"profile\":\"x\"}", 400, "UNKNOWN_PROFILE", Some("$.profile")),
        (constitution, "{\"ihsan_score\":7}", 400, "INVALID_SCORE", Some("$.ihsan_score")),
        (constitution, "{\"has_signature\":\"no\"}", 422, "INVALID_FIELD", Some("$.has_signature")),
        (generate, "{\"prompt\":\"\"}", 400, "EMPTY_PROMPT", Some("$.prompt")),
        (generate, "{\"prompt\":\"a\",\"tier\":\"sky\"}", 400, "UNKNOWN_TIER", Some("$.tier")),
        (
            generate,
            "{\"prompt\":\"a\",\"max_tokens\":0}",
            400,
            "OUT_OF_RANGE",
            Some("$.max_tokens"),
        ),
        (
            generate,
            "{\"prompt\":\"a\",\"temperature\":3}",
            400,
            "OUT_OF_RANGE",
            Some("$.temperature"),
        ),
        (tier, "{\"prompt\":[]}", 422, "INVALID_FIELD", Some("$.prompt")),
        (stop, "{\"kind\":\"panic\"}", 403, "CHAOS_DISABLED", None),
        (stop, "{\"kind\":\"\u{7206}\"}", 400, "UNKNOWN_FAULT", Some("$.kind")),
    ] {
        let body = body.to_owned();
        let start: String = body.chars().take(60).collect();
        let answer = door.post(path, body.clone()).await;
        answer.assert_error(status, code);
        assert_eq!(answer.json["details"], json!(details), "{path} {start}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_json_is_taken_as_json() {
    let door = door(Mode::Local);
    for content_type in [None, Some("text/plain"), Some("application/x-www-form-urlencoded")] {
        let mut request = door.request(Method::POST, "/api/v1/identity/sign");
        let headers = request.headers_mut().unwrap();
        headers.remove(header::CONTENT_TYPE);
        if let Some(content_type) = content_type {
            headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        }
        let request = request.body(Body::from("{\"message\":\"a\"}")).unwrap();
        door.send(request, LOCAL).await.assert_error(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    let compressed = door
        .request(Method::POST, "/api/v1/identity/sign")
        .header(header::CONTENT_ENCODING, "gzip")
        .body(Body::from("{\"message\":\"a\"}"))
        .unwrap();
    door.send(compressed, LOCAL).await.assert_error(415, "UNSUPPORTED_MEDIA_TYPE");
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_does_not_come_back_is_a_timeout() {
    let door = door(Mode::Local);
    let answer = door.post("/api/v1/identity/sign", "{\"message\":\"a\"}").await;
    answer.assert_error(504, "TIMEOUT");
    let answer = door.post("/api/v1/inference/generate", "{\"prompt\":\"a\"}").await;
    answer.assert_error(504, "TIMEOUT");
    let answer =
        door.post("/api/v1/inference/generate", "{\"prompt\":\"a\",\"stream\":true}").await;
    answer.assert_error(504, "TIMEOUT");
}

#[tokio::test(start_paused = true)]
async fn health_is_told_when_nothing_works() {
    let door = door(Mode::Local);
    let get = |path: &str| door.request(Method::GET, path).body(Body::empty()).unwrap();
    let health = door.send(get("/api/v1/health"), DISTANT).await;
    health.assert_error(503, "UNHEALTHY");
    assert_eq!(health.json["status"], "unhealthy");
    assert!(health.json["uptime_seconds"].is_number() && health.json["actors"].is_object());
    door.send(get("/readyz"), DISTANT).await.assert_error(503, "NOT_READY");
    assert_eq!(door.send(get("/livez"), DISTANT).await.status, 200);
    assert_eq!(door.send(get("/api/v1/status"), LOCAL).await.json["identity_initialized"], false);
}

#[tokio::test(start_paused = true)]
async fn the_callers_request_id_comes_back_if_it_is_one() {
    let door = door(Mode::Local);
    for (given, is_kept) in [("trace-1.A_b", true), ("a b", false), ("{}", false)] {
        let request = door.request(Method::GET, "/livez").header("x-request-id", given);
        let answer = door.send(request.body(Body::empty()).unwrap(), LOCAL).await;
        assert_eq!(answer.headers["x-request-id"] == given, is_kept, "{given}");
    }
}

#[tokio::test(start_paused = true)]
async fn large_heads_are_refused_in_json() {
    let door = door(Mode::Local);
    let request = door.request(Method::GET, "/livez").header("x-large", "a".repeat(20_000));
    let answer = door.send(request.body(Body::empty()).unwrap(), LOCAL).await;
    answer.assert_error(431, "HEADERS_TOO_LARGE");
}

#[tokio::test(start_paused = true)]
async fn requests_are_counted_by_pattern_and_status() {
    let door = door(Mode::Local);
    let get = |path: &str| door.request(Method::GET, path).body(Body::empty()).unwrap();
    door.send(get("/livez"), LOCAL).await;
    door.send(get("/livez?x=1"), LOCAL).await;
    door.send(get("/nothing/a"), LOCAL).await;
    door.post("/api/v1/actors/anything/stop", "{\"kind\":\"kill\"}").await;
    let text = door.metrics.encode().unwrap();
    for line in [
        "http_requests_total{method=\"GET\",route=\"/livez\",status=\"200\"} 2",
        "http_requests_total{method=\"GET\",route=\"none\",status=\"404\"} 1",
        "http_requests_total{method=\"POST\",route=\"/api/v1/actors/{name}/stop\",status=\"403\"} 1",
        "http_request_seconds_count{method=\"GET\",route=\"/livez\"} 2",
        "http_requests_in_flight 0",
    ] {
        assert!(text.lines().any(|known| known == line), "{line} in {text}");
    }
    assert_eq!(door.metrics.requests_served(), 4);
}

#[tokio::test(start_paused = true)]
async fn metrics_come_in_the_format_that_was_asked_for() {
    let door = door_with(Mode::Local, Limits::default());
    for (accept, content_type) in [
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        (
            "application/openmetrics-text",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
    ] {
        let request = door.request(Method::GET, "/api/v1/metrics").header(header::ACCEPT, accept);
        let answer = door.send(request.body(Body::empty()).unwrap(), LOCAL).await;
        assert_eq!(
            (answer.status, &answer.headers[header::CONTENT_TYPE]),
            (200, &content_type.parse().unwrap())
        );
    }
}

async fn over_a_socket(limits: Limits, bytes: &[u8], then: &[u8]) -> String {
    let door = door_with(Mode::Local, limits.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let readiness = Readiness::default();
    let metrics = door.metrics.clone();
    let server = Server::new(vec![listener], door.router.clone(), limits, metrics, readiness);
    let _accepting = server.accept();
    let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
    writer.write_all(bytes).await.unwrap();
    let dribble = async {
        for byte in then.iter().cycle().take(if then.is_empty() { 0 } else { usize::MAX }) {
            if writer.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut said = vec![0; 4096];
    let answer = async { reader.read(&mut said).await.unwrap() };
    let length = tokio::select! {
        () = dribble => unreachable!("it is pending for ever"),
        length = tokio::time::timeout(Duration::from_secs(10), answer) => length.expect("an answer"),
    };
    String::from_utf8_lossy(&said[..length]).into_owned()
}

#[tokio::test]
async fn a_declared_length_beyond_the_limit_is_refused_before_the_body_comes() {
    let head = b"POST /api/v1/identity/verify HTTP/1.1\r\nHost: localhost\r\n\
        content-type: application/json\r\ncontent-length: 3000000\r\n\r\n";
    let said = over_a_socket(Limits::default(), head, b"").await;
    assert!(said.starts_with("HTTP/1.1 413") && said.contains("BODY_TOO_LARGE"), "{said}");
}

#[tokio::test]
async fn a_body_of_unknown_length_is_cut_off_at_the_limit() {
    let limits = Limits { body_bytes_max: 1000, ..Limits::default() };
    let head = b"POST /api/v1/identity/verify HTTP/1.1\r\nHost: localhost\r\n\
        content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("7d0\r\n{}\r\n", "a".repeat(2000));
    let said = over_a_socket(limits, &[head, chunk.as_bytes()].concat(), b"").await;
    assert!(said.starts_with("HTTP/1.1 413"), "{said}");
}

#[tokio::test]
async fn a_body_that_dribbles_in_is_cut_off_by_the_deadline() {
    let limits = Limits { request_timeout: Duration::from_millis(200), ..Limits::default() };
    let head = b"POST /api/v1/identity/verify HTTP/1.1\r\nHost: localhost\r\n\
        content-type: application/json\r\ncontent-length: 100000\r\n\r\n";
    let said = over_a_socket(limits, head, b"a").await;
    assert!(said.starts_with("HTTP/1.1 504") && said.contains("TIMEOUT"), "{said}");
}
