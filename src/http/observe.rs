//! The outermost layer: it names, admits, times, counts and logs every request, and writes out
//! whatever error comes back.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use hyper::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, StatusCode};
use tokio::time::Instant;
use tracing::Instrument;

use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::guarded::Guarded;
use crate::http::origin::Caller;
use crate::http::request_id::{RequestId, X_REQUEST_ID};
use crate::http::router::ROUTES;
use crate::metrics::{HttpLabels, Metrics, Raised};

/// The status of a request whose caller left before there was one; seen only in logs and metrics.
const CALLER_LEFT: u16 = 499;

const NO_SNIFF: HeaderName = HeaderName::from_static("x-content-type-options");

/// Serves one request from its head to the last byte of its answer.
pub(super) async fn observe(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers());
    request.extensions_mut().insert(id.clone());
    let labels = HttpLabels { method: method(request.method()), route: route(&request) };
    let span = tracing::info_span!("request", request_id = %id, route = labels.route);
    let mut record = Record::begin(&app.metrics, labels, id.clone());

    let answering = AssertUnwindSafe(admit(&app, request, next)).catch_unwind();
    // The panic's own text is in the log by way of the panic hook.
    let mut response = answering
        .instrument(span)
        .await
        .unwrap_or_else(|_| ApiError::internal("a handler panicked").into_response());

    write_error(&mut response, &id);
    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, id.to_header());
    headers.insert(NO_SNIFF, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    record.status = response.status().as_u16();
    response.map(|body| Body::new(Guarded::new(body, record)))
}

/// Lets a request in that names this node, comes from no foreign page, and has a head of
/// reasonable size.
async fn admit(app: &App, request: Request, next: Next) -> Response {
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
    let mut response = match preflight(&caller, &request) {
        Some(allowed) => allowed,
        None => next.run(request).await,
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
fn write_error(response: &mut Response, id: &RequestId) {
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
    *response.body_mut() = Body::from(error.to_json(id.as_str()).to_string());
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
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// The route as a label: the pattern, never the path.
fn route(request: &Request) -> &'static str {
    let matched = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);

    ROUTES.iter().map(|(path, _)| *path).find(|path| Some(*path) == matched).unwrap_or("none")
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
    _in_flight: Raised,
}

impl Record {
    fn begin(metrics: &Metrics, labels: HttpLabels, id: RequestId) -> Self {
        Self {
            metrics: metrics.clone(),
            labels,
            id,
            started: Instant::now(),
            status: CALLER_LEFT,
            _in_flight: metrics.request_began(),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let elapsed = self.started.elapsed();
        self.metrics.request_ended(&self.labels, self.status, elapsed);
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
