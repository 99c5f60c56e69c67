//! Spans: one for each request, one for each message that an actor takes up, and one for each try of
//! a backend. They say who did what for how long and never hold text of a prompt or an answer.
//!
//! Each is the child of the one in which it was asked for. The log shows that of the request. With
//! the feature `otlp` and an endpoint all of them make a trace, with the names of OpenTelemetry; see
//! `adapters::otlp`.

use hyper::HeaderMap;
use tracing::Span;

use crate::domain::inference::{Generated, InferenceRequest};

#[cfg(feature = "otlp")]
mod otel;

/// The target of every span, by which they are told from those of libraries.
pub const TARGET: &str = "bizra_omega::span";

/// The span of a request, known by its id, its method and the route that matched. It continues the
/// trace that the caller names.
pub fn request(id: &str, method: &'static str, route: &'static str, headers: &HeaderMap) -> Span {
    #[cfg(not(feature = "otlp"))]
    let (span, _) =
        (tracing::info_span!(target: TARGET, "request", request_id = id, route), (method, headers));
    #[cfg(feature = "otlp")]
    let span = otel::request(id, method, route, headers);
    span
}

/// Says how a request was answered.
pub fn answered(span: &Span, status: u16) {
    #[cfg(not(feature = "otlp"))]
    let _ = (span, status);
    #[cfg(feature = "otlp")]
    otel::answered(span, status);
}

/// The span of a message that an actor takes up; that of its caller where nobody listens to more.
pub(crate) fn message(caller: Span, actor: &str, kind: &'static str) -> Span {
    let span = tracing::debug_span!(target: TARGET, parent: &caller, "message", actor, kind);
    if span.is_disabled() {
        return caller;
    }
    #[cfg(feature = "otlp")]
    otel::message(&span, actor, kind);
    span
}

/// The span of one try of a backend.
pub fn attempt(backend: &str, request: &InferenceRequest) -> Span {
    #[cfg(not(feature = "otlp"))]
    let (span, _) = (tracing::debug_span!(target: TARGET, "attempt", backend), request);
    #[cfg(feature = "otlp")]
    let span = otel::attempt(backend, request);
    span
}

/// Says how a try of a backend ended, in a word, and what it generated.
pub fn attempted(span: &Span, outcome: &'static str, generated: Option<&Generated>) {
    #[cfg(not(feature = "otlp"))]
    let _ = (span, outcome, generated);
    #[cfg(feature = "otlp")]
    otel::attempted(span, outcome, generated);
}
