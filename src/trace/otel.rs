//! The names that OpenTelemetry has for what spans say: semantic conventions `http` and `gen_ai`.

use hyper::HeaderMap;
use opentelemetry::trace::{
    SpanContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Array, Context, StringValue, Value};
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::TARGET;
use crate::domain::inference::conversation::Form;
use crate::domain::inference::{Generated, InferenceRequest};
use crate::domain::traceparent::TraceParent;

const TRACEPARENT: &str = "traceparent";

pub(super) fn request(
    id: &str,
    method: &'static str,
    route: &'static str,
    headers: &HeaderMap,
) -> Span {
    let span = tracing::info_span!(
        target: TARGET, "request", request_id = id, route, "otel.kind" = Empty
    );
    if let Some(parent) = parent(headers) {
        // Fails where no trace is made.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
    record_kind(&span, "server");
    // The path itself is the caller's text, and may hold anything.
    span.set_attribute("http.request.method", if method == "other" { "_OTHER" } else { method });
    let verb = if method == "other" { "HTTP" } else { method };
    if route == "none" {
        name(&span, || verb.to_owned());
    } else {
        span.set_attribute("http.route", route);
        name(&span, || format!("{verb} {route}"));
    }
    span
}

/// The span that the caller names, if it names one and nothing else.
fn parent(headers: &HeaderMap) -> Option<SpanContext> {
    let mut named = headers.get_all(TRACEPARENT).iter();
    let (Some(value), None) = (named.next(), named.next()) else { return None };
    let parent = TraceParent::parse(value.to_str().ok()?)?;
    let flags = if parent.is_sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    Some(SpanContext::new(
        TraceId::from_bytes(parent.trace_id),
        SpanId::from_bytes(parent.span_id),
        flags,
        true,
        // The members of other vendors are theirs.
        TraceState::default(),
    ))
}

pub(super) fn answered(span: &Span, status: u16) {
    span.set_attribute("http.response.status_code", i64::from(status));
    if status >= 500 {
        span.set_attribute("error.type", status.to_string());
        span.set_status(Status::error(""));
    }
    // A span ends when it was last entered, and an answer that is streamed takes longer than its
    // head.
    span.in_scope(|| {});
}

pub(super) fn message(span: &Span, actor: &str, kind: &'static str) {
    name(span, || format!("{actor} {kind}"));
}

pub(super) fn attempt(backend: &str, request: &InferenceRequest) -> Span {
    let span = tracing::debug_span!(target: TARGET, "attempt", backend, "otel.kind" = Empty);
    record_kind(&span, "client");
    let operation = match request.form {
        Form::Chat => "chat",
        Form::Completion => "text_completion",
    };
    span.set_attribute("gen_ai.operation.name", operation);
    span.set_attribute("gen_ai.provider.name", backend.to_owned());
    if let Some(model) = &request.model {
        span.set_attribute("gen_ai.request.model", model.clone());
    }
    span.set_attribute("gen_ai.request.max_tokens", integer(request.max_tokens));
    span.set_attribute("gen_ai.request.temperature", request.sampling.temperature);
    if let Some(top_p) = request.sampling.top_p {
        span.set_attribute("gen_ai.request.top_p", top_p);
    }
    name(&span, || format!("{operation} {backend}"));
    span
}

pub(super) fn attempted(span: &Span, outcome: &'static str, generated: Option<&Generated>) {
    span.set_attribute("bizra.attempt.outcome", outcome);
    let Some(generated) = generated else {
        span.set_attribute("error.type", outcome);
        span.set_status(Status::error(""));
        return;
    };
    span.set_attribute("gen_ai.response.model", generated.model.clone());
    let reason = StringValue::from(generated.finish_reason.as_str());
    let reasons = Value::Array(Array::String(vec![reason]));
    span.set_attribute("gen_ai.response.finish_reasons", reasons);
    span.set_attribute("gen_ai.usage.input_tokens", integer(generated.prompt_tokens));
    span.set_attribute("gen_ai.usage.output_tokens", integer(generated.completion_tokens));
    let first = generated.time_to_first_token.as_secs_f64();
    span.set_attribute("gen_ai.response.time_to_first_chunk", first);
}

/// Names the span. It is started by that, so its parent must be known.
fn name(span: &Span, name: impl FnOnce() -> String) {
    let context = span.context();
    let started = context.span();
    if started.is_recording() {
        started.update_name(name());
    }
}

/// Seen in the log as well, so only where a trace is made.
fn record_kind(span: &Span, kind: &'static str) {
    if crate::adapters::otlp::is_on() {
        span.record("otel.kind", kind);
    }
}

fn integer(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
