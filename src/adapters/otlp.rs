//! Sends traces to an OpenTelemetry collector: OTLP, as protobuf over HTTP.
//!
//! A thread of its own takes finished spans from a bounded queue and sends them in batches. What the
//! queue does not hold is dropped, so that no actor ever waits for a collector.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData,
};
use tokio::runtime::Runtime;
use tracing::{Subscriber, info, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use crate::trace::TARGET;

/// Spans that wait to be sent, some 2 MiB: a second of two thousand.
const WAITING_MAX: usize = 2048;

/// Spans in one message: a quarter of those that may wait.
const BATCH_MAX: usize = 512;

/// Longest time that a span waits for others to go with it.
const BATCH_WAIT: Duration = Duration::from_secs(1);

/// Longest time for one message, other tries of it included. At the end of the node what is left is
/// sent within the time that it leaves for that.
const SEND_WAIT: Duration = Duration::from_secs(5);

/// Bytes of the collector's answer that are read; it is short if all is well.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Where the traces of this process go. One per process, as there is one subscriber.
static TRACES: OnceLock<SdkTracerProvider> = OnceLock::new();

/// Whether traces are made.
pub(crate) fn is_on() -> bool {
    TRACES.get().is_some()
}

/// Why there are no traces.
#[derive(Debug, thiserror::Error)]
#[error("traces cannot be sent to {endpoint}: {reason}")]
pub struct OtlpError {
    endpoint: String,
    reason: String,
}

/// A layer that makes spans of ours into traces and has them sent to `endpoint`
/// (`http://host:port`). Of the traces that begin here this share is kept, and of those that were
/// begun elsewhere the ones that are kept there.
///
/// # Errors
/// [`OtlpError`] if the endpoint is no address, or the system gives no thread.
pub fn layer<S>(
    endpoint: &str,
    share: f64,
    service_name: &str,
) -> Result<impl Layer<S> + use<S>, OtlpError>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let fail = |reason: String| OtlpError { endpoint: endpoint.to_owned(), reason };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Post::new().map_err(fail)?)
        .with_endpoint(format!("{endpoint}/v1/traces"))
        .with_timeout(SEND_WAIT)
        .build()
        .map_err(|error| fail(error.to_string()))?;
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(WAITING_MAX)
        .with_max_export_batch_size(BATCH_MAX)
        .with_scheduled_delay(BATCH_WAIT)
        .build();
    let watched = Watched { exporter, has_failed: AtomicBool::new(false) };
    let processor = BatchSpanProcessor::builder(watched).with_batch_config(batches).build();
    let attributes = [
        opentelemetry::KeyValue::new("service.name", service_name.to_owned()),
        opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
    ];
    let provider = SdkTracerProvider::builder()
        .with_span_processor(processor)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share))))
        .with_resource(Resource::builder_empty().with_attributes(attributes).build())
        .build();
    let provider = TRACES.get_or_init(|| provider);
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("bizra-omega"))
        .with_context_activation(false)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false);
    Ok(layer.with_filter(filter_fn(|metadata| metadata.is_span() && metadata.target() == TARGET)))
}

/// Sends what waits, for so long at most. Waits for the network. Afterwards nothing is sent.
pub fn close(wait: Duration) {
    if let Some(Err(error)) = TRACES.get().map(|traces| traces.shutdown_with_timeout(wait)) {
        warn!(%error, "the last spans were not sent");
    }
}

/// An exporter that says in the log when it fails and when it works again, and not each time.
#[derive(Debug)]
struct Watched {
    exporter: SpanExporter,
    has_failed: AtomicBool,
}

impl opentelemetry_sdk::trace::SpanExporter for Watched {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let outcome = self.exporter.export(batch).await;
        let had_failed = self.has_failed.swap(outcome.is_err(), Ordering::Relaxed);
        match &outcome {
            Err(error) if !had_failed => warn!(%error, spans, "spans are lost, not sent"),
            Ok(()) if had_failed => info!("spans are sent again"),
            _ => {}
        }
        outcome
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// The client of the thread that sends. It has a runtime of its own, since that thread has none and
/// the node's ends before the last spans are sent.
struct Post {
    client: reqwest::Client,
    runtime: Runtime,
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post").finish_non_exhaustive()
    }
}

impl Post {
    fn new() -> Result<Self, String> {
        let redirects = reqwest::redirect::Policy::none();
        let client = reqwest::Client::builder().no_proxy().redirect(redirects);
        let client = client.timeout(SEND_WAIT).build().map_err(|error| error.to_string())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Self { client, runtime: runtime.map_err(|error| error.to_string())? })
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut answer = self.client.execute(request.try_into()?).await?;
        let mut body = Vec::new();
        while body.len() < ANSWER_BYTES_MAX
            && let Some(part) = answer.chunk().await?
        {
            body.extend_from_slice(&part[..part.len().min(ANSWER_BYTES_MAX - body.len())]);
        }
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        Ok(response)
    }
}

impl HttpClient for Post {
    fn send_bytes<'a, 'async_trait>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'async_trait>>
    where
        'a: 'async_trait,
        Self: 'async_trait,
    {
        // Asked for by a thread that does nothing else.
        Box::pin(async move { self.runtime.block_on(self.send(request)) })
    }
}
