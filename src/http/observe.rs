//! The outermost layer: it names, admits, times, counts and logs every request, and writes out
//! whatever error comes back.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use hyper::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{HeaderMap, Method, StatusCode};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tracing::{Instrument, Span};

use crate::http::app::App;
use crate::http::auth::Class;
use crate::http::compress;
use crate::http::error::ApiError;
use crate::http::guarded::Guarded;
use crate::http::openai::told::Shape;
use crate::http::origin::Caller;
use crate::http::request_id::{RequestId, X_REQUEST_ID};
use crate::http::router::ROUTES;
use crate::http::server::Peer;
use crate::metrics::{HttpLabels, Metrics, Raised};
use crate::trace;

/// The status of a request whose caller left before there was one; seen only in logs and metrics.
const CALLER_LEFT: u16 = 499;

/// Nothing that is answered is a page, but for those that say otherwise: no script runs in it, and
/// nobody frames it.
const NO_CONTENT: HeaderValue =
    HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// Serves one request from its head to the last byte of its answer.
pub(super) async fn observe(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers());
    request.extensions_mut().insert(id.clone());
    let (route, class) = route(&request);
    let labels = HttpLabels { method: method(request.method()), route };
    let span = trace::request(id.as_str(), labels.method, labels.route, request.headers());
    let mut record = Record::begin(&app.metrics, labels, id.clone(), span.clone());
    let shape = Shape::of(&request);
    let takes_gzip = compress::is_wanted(class, request.headers());

    let answering = async {
        // Kept until the last byte of the answer.
        record.place = app.place(class)?;
        Ok(admit(&app, class, request, next).await)
    };
    // The panic's own text is in the log by way of the panic hook.
    let mut response = AssertUnwindSafe(answering)
        .catch_unwind()
        .instrument(span)
        .await
        .unwrap_or_else(|_| Err(ApiError::internal("a handler panicked")))
        .unwrap_or_else(IntoResponse::into_response);

    write_error(&mut response, &id, shape);
    response = compress::compress(response, takes_gzip).await;
    let status = response.status();
    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, id.to_header());
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(NO_CONTENT);
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let is_unread = matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE);
    // What is left of such a body is not waited for. And a node that goes down keeps nobody.
    if is_unread || (app.readiness.is_draining() && status != StatusCode::SWITCHING_PROTOCOLS) {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    record.status = status.as_u16();
    response.map(|body| Body::new(Guarded::new(body, record)))
}

/// Lets a request in that names this node, comes from no foreign page, has a head of reasonable
/// size and comes from a client that does not call too often.
async fn admit(app: &App, class: Class, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let caller = app.origins.check_host(request.uri(), headers).and_then(|host| {
        let caller = app.origins.check_origin(&host, headers)?;
        check_size(headers, app.limits.header_bytes_max)?;
        Ok(caller)
    });
    let caller = match caller {
        Ok(caller) => caller,
        Err(refused) => return refused.into_response(),
    };
    let peer = request.extensions().get::<Peer>().copied();
    let mut response = match app.limiter().admit(class, peer, headers) {
        Err(too_often) => too_often.into_response(),
        Ok(()) => match preflight(&caller, &request) {
            Some(allowed) => allowed,
            None => next.run(request).await,
        },
    };
    caller.mark(response.headers_mut());
    response
}

fn preflight(caller: &Caller, request: &Request) -> Option<Response> {
    let asks = request.method() == Method::OPTIONS
        && request.headers().contains_key("access-control-request-method");
    let (status, headers) = caller.preflight().filter(|_| asks)?;
    Some((status, headers, axum::Json(serde_json::json!({}))).into_response())
}

fn check_size(headers: &HeaderMap, bytes_max: usize) -> Result<(), ApiError> {
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes <= bytes_max {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "HEADERS_TOO_LARGE",
        format!("the header fields have more than {bytes_max} bytes"),
    ))
}

/// Writes out an error that a handler returned or the framework answered by itself.
fn write_error(response: &mut Response, id: &RequestId, shape: Shape) {
    let status = response.status();
    let error = match response.extensions_mut().remove::<ApiError>() {
        Some(error) => error,
        None if status.is_client_error() || status.is_server_error() => {
            ApiError::from_status(status)
        }
        None => return,
    };
    if let Some(inner) = error.inner() {
        tracing::error!(request_id = %id, code = error.code(), error = inner, "request failed");
    }
    let (status, json) = shape.tell(&error, id.as_str());
    *response.status_mut() = status;
    *response.body_mut() = Body::from(json.to_string());
    let headers = response.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
}

/// The method as a label: one of a closed set.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// The route as a label, the pattern and never the path, and its class. What does not exist is as
/// good as open to all.
fn route(request: &Request) -> (&'static str, Class) {
    let matched = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let known = ROUTES.iter().find(|(path, _)| Some(*path) == matched);
    known.copied().unwrap_or(("none", Class::Open))
}

/// One request in flight. Counted and logged when it is dropped: with the last byte of its answer,
/// or when the caller leaves.
#[derive(Debug)]
struct Record {
    metrics: Metrics,
    labels: HttpLabels,
    id: RequestId,
    started: Instant,
    status: u16,
    place: Option<OwnedSemaphorePermit>,
    /// Ends with the record: an answer may take longer than its head.
    span: Span,
    _in_flight: Raised,
}

impl Record {
    fn begin(metrics: &Metrics, labels: HttpLabels, id: RequestId, span: Span) -> Self {
        Self {
            metrics: metrics.clone(),
            labels,
            id,
            started: Instant::now(),
            status: CALLER_LEFT,
            place: None,
            span,
            _in_flight: metrics.request_began(),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let elapsed = self.started.elapsed();
        self.metrics.request_ended(&self.labels, self.status, elapsed);
        trace::answered(&self.span, self.status);
        tracing::info!(
            method = self.labels.method,
            route = self.labels.route,
            status = self.status,
            elapsed_ms = milliseconds(elapsed),
            request_id = %self.id,
            "request"
        );
    }
}

/// To the microsecond.
fn milliseconds(elapsed: Duration) -> f64 {
    (elapsed.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::Router;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use http_body_util::BodyExt;
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;
    use crate::domain::embedding::ngram::NgramEmbedder;
    use crate::http::app::Parameters;
    use crate::http::auth::{Auth, Mode, Token};
    use crate::http::limits::Limits;
    use crate::http::origin::Origins;
    use crate::http::server::Readiness;
    use crate::messages::addr::{Addr, Message};
    use crate::messages::event::Events;
    use crate::messages::roster::Roster;

    fn app() -> App {
        fn nobody<M: Message>(metrics: &Metrics) -> Addr<M> {
            Addr::new("nobody", 1, metrics.addr("nobody"))
        }
        let metrics = Metrics::new();
        App::new(Parameters {
            roster: Roster {
                supervisor: nobody(&metrics),
                identity: nobody(&metrics),
                gate_chain: nobody(&metrics),
                envelope: nobody(&metrics),
                audit: nobody(&metrics),
                inference: nobody(&metrics),
                gossip: nobody(&metrics),
                consensus: nobody(&metrics),
                models: nobody(&metrics),
                preferences: nobody(&metrics),
                pattern_memory: nobody(&metrics),
                events: Events::new(metrics.events_missed()),
            },
            metrics,
            auth: Auth::new(Mode::Local, Token::new(String::from("x").into())),
            origins: Origins::default(),
            limits: Limits::default(),
            readiness: Readiness::default(),
            started: Instant::now(),
            data_dir: "/".into(),
            has_drills: false,
            embedder: Arc::new(NgramEmbedder::default()),
        })
    }

    async fn answer(app: &App, routes: Router<App>) -> (u16, HeaderMap, Value) {
        let layer = from_fn_with_state(app.clone(), observe);
        let service = routes.layer(layer).with_state(app.clone());
        let request = Request::get("/").header("host", "localhost").body(Body::empty()).unwrap();
        let (parts, body) = service.oneshot(request).await.unwrap().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (parts.status.as_u16(), parts.headers, serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn a_panic_in_a_handler_is_an_error_without_its_text() {
        let app = app();
        let panics = get(async || -> &'static str { panic!("the secret is nutmeg") });
        let (status, _, json) = answer(&app, Router::new().route("/", panics)).await;
        assert_eq!((status, &json["code"]), (500, &Value::from("INTERNAL")));
        assert!(!json.to_string().contains("nutmeg"), "{json}");
        let text = app.metrics.encode().unwrap();
        assert!(text.contains("http_requests_in_flight 0"), "{text}");
        assert!(text.contains("status=\"500\"} 1"), "{text}");
    }

    #[tokio::test]
    async fn an_error_of_the_framework_has_the_shape_of_ours() {
        let app = app();
        for status in [400, 404, 405, 418, 500, 502] {
            let status = StatusCode::from_u16(status).unwrap();
            let plain = get(async move || (status, "inner text"));
            let (told, headers, json) = answer(&app, Router::new().route("/", plain)).await;
            assert_eq!(told, status.as_u16());
            assert_eq!(headers[CONTENT_TYPE], "application/json");
            assert!(json["code"].is_string() && json["request_id"].is_string());
            assert!(!json.to_string().contains("inner text"), "{json}");
        }
    }

    #[tokio::test]
    async fn a_caller_that_leaves_is_counted_as_one_that_left() {
        let app = app();
        let layer = from_fn_with_state(app.clone(), observe);
        let waits = get(async || std::future::pending::<()>().await);
        let service = Router::new().route("/", waits).layer(layer).with_state(app.clone());
        let request = Request::get("/").header("host", "localhost").body(Body::empty()).unwrap();
        let left = tokio::time::timeout(Duration::from_millis(20), service.oneshot(request)).await;
        assert!(left.is_err());
        let text = app.metrics.encode().unwrap();
        assert!(text.contains("status=\"499\"} 1"), "{text}");
    }
}
