//! Metrics of connections and requests.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::metrics::{Metrics, Raised};

/// Labels: a kind of HTTP request. Both values come from the router's own lists.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HttpLabels {
    /// The method, or `other`.
    pub method: &'static str,
    /// The pattern that matched, or `none`.
    pub route: &'static str,
}

/// Labels: a kind of HTTP request and how it was answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AnswerLabels {
    /// As in [`HttpLabels`].
    pub method: &'static str,
    /// As in [`HttpLabels`].
    pub route: &'static str,
    /// The status, or 499 if the caller left before there was one.
    pub status: u32,
}

#[derive(Debug)]
pub(super) struct Families {
    requests: Family<AnswerLabels, Counter>,
    request_seconds: Family<HttpLabels, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    connections: Gauge,
    connections_refused: Counter,
    /// The sum of `requests`, which cannot be read from it.
    requests_served: AtomicU64,
}

/// 1 millisecond to 2 minutes: a verification is at the low end, a long answer at the high end.
fn request_buckets() -> Histogram {
    Histogram::new([
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
        120.0,
    ])
}

impl Families {
    pub(super) fn register(http: &mut Registry) -> Self {
        let requests = Family::default();
        http.register("requests", "Requests by route and status", requests.clone());
        let request_seconds: Family<HttpLabels, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(request_buckets);
        http.register_with_unit(
            "request",
            "From a request's head to the last byte of its answer",
            Unit::Seconds,
            request_seconds.clone(),
        );
        let in_flight = Gauge::default();
        http.register("requests_in_flight", "Requests being served", in_flight.clone());
        let connections = Gauge::default();
        http.register("connections", "Open connections", connections.clone());
        let connections_refused = Counter::default();
        http.register(
            "connections_refused",
            "Connections closed because their client has too many",
            connections_refused.clone(),
        );
        let requests_served = AtomicU64::new(0);
        Self {
            requests,
            request_seconds,
            in_flight,
            connections,
            connections_refused,
            requests_served,
        }
    }
}

impl Metrics {
    /// Counts a connection as open until the guard is dropped.
    pub fn connection_opened(&self) -> Raised {
        Raised::new(&self.0.http.connections)
    }

    /// Counts a connection that its client may not have.
    pub fn connection_refused(&self) {
        self.0.http.connections_refused.inc();
    }

    /// Counts a request as in flight until the guard is dropped.
    pub fn request_began(&self) -> Raised {
        Raised::new(&self.0.http.in_flight)
    }

    /// Counts a request that was answered, or left by its caller.
    pub fn request_ended(&self, labels: &HttpLabels, status: u16, elapsed: Duration) {
        let HttpLabels { method, route } = *labels;
        let (answer, http) = (AnswerLabels { method, route, status: status.into() }, &self.0.http);
        http.requests.get_or_create(&answer).inc();
        http.request_seconds.get_or_create(labels).observe(elapsed.as_secs_f64());
        http.requests_served.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that ended so far.
    pub fn requests_served(&self) -> u64 {
        self.0.http.requests_served.load(Ordering::Relaxed)
    }
}
