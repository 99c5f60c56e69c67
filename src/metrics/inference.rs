//! Metrics of generated text.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::metrics::Metrics;

/// Label: a backend. Names come from `node.rs` and configuration, never from callers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BackendLabel {
    /// Its name.
    pub backend: String,
}

/// Labels: a backend and how one try of it ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AttemptLabels {
    /// The backend's name.
    pub backend: String,
    /// `ok`, `unavailable`, `busy`, `open`, `timeout`, `cancelled` or `failed`.
    pub outcome: &'static str,
}

/// Label: what became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AnswerLabel {
    /// `ok`, `unavailable`, `pool_unavailable`, `busy`, `too_long`, `unknown_model`, `refused`,
    /// `timeout`, `cancelled` or `failed`.
    pub outcome: &'static str,
}

/// Labels: a backend and which tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TokenLabels {
    /// The backend's name.
    pub backend: String,
    /// `input` of the prompt, `output` of the answer.
    pub direction: &'static str,
}

#[derive(Clone, Debug)]
pub(super) struct Families {
    requests: Family<AnswerLabel, Counter>,
    attempts: Family<AttemptLabels, Counter>,
    first_token_seconds: Family<BackendLabel, Histogram, fn() -> Histogram>,
    tokens_per_second: Family<BackendLabel, Histogram, fn() -> Histogram>,
    tokens: Family<TokenLabels, Counter>,
}

/// 4 milliseconds to 2 minutes: a small model with a short prompt, and one that must be loaded.
fn first_token_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.004, 2.0, 16))
}

/// 1 to 4096 tokens per second: a large model on a processor, and a small one on an accelerator.
fn rate_buckets() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 13))
}

impl Families {
    pub(super) fn register(inference: &mut Registry) -> Self {
        let requests = Family::default();
        inference.register(
            "requests",
            "Requests for text by what became of them",
            requests.clone(),
        );
        let attempts = Family::default();
        inference.register("attempts", "Tries by backend and outcome", attempts.clone());
        let first_token_seconds: Family<BackendLabel, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(first_token_buckets);
        inference.register_with_unit(
            "time_to_first_token",
            "From a request's arrival at the backend to its first token",
            Unit::Seconds,
            first_token_seconds.clone(),
        );
        let tokens_per_second: Family<BackendLabel, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(rate_buckets);
        inference.register(
            "tokens_per_second",
            "Tokens of an answer by the time it took the backend",
            tokens_per_second.clone(),
        );
        let tokens = Family::default();
        inference.register("tokens", "Tokens read and generated", tokens.clone());
        Self { requests, attempts, first_token_seconds, tokens_per_second, tokens }
    }
}

impl Metrics {
    /// The counters of generated text.
    pub fn inference(&self) -> InferenceMeter {
        InferenceMeter(self.0.inference.clone())
    }
}

/// The counters of generated text.
#[derive(Clone, Debug)]
pub struct InferenceMeter(Families);

impl InferenceMeter {
    /// Counts a request that ended; for the outcomes see [`AnswerLabel`].
    pub(crate) fn ended(&self, outcome: &'static str) {
        self.0.requests.get_or_create(&AnswerLabel { outcome }).inc();
    }

    /// Counts a try of a backend; for the outcomes see [`AttemptLabels`].
    pub(crate) fn tried(&self, backend: &str, outcome: &'static str) {
        let labels = AttemptLabels { backend: backend.to_owned(), outcome };
        self.0.attempts.get_or_create(&labels).inc();
    }

    /// Measures what a backend generated.
    pub(crate) fn generated(&self, backend: &str, work: &Work) {
        let label = BackendLabel { backend: backend.to_owned() };
        let first = work.time_to_first_token.as_secs_f64();
        self.0.first_token_seconds.get_or_create(&label).observe(first);
        let seconds = work.duration.as_secs_f64();
        if seconds > 0.0 && work.output_tokens > 0 {
            #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^53")]
            let rate = work.output_tokens as f64 / seconds;
            self.0.tokens_per_second.get_or_create(&label).observe(rate);
        }
        for (direction, count) in [("input", work.input_tokens), ("output", work.output_tokens)] {
            let labels = TokenLabels { backend: backend.to_owned(), direction };
            self.0.tokens.get_or_create(&labels).inc_by(count);
        }
    }
}

/// What it took a backend to generate an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
    pub(crate) time_to_first_token: Duration,
    pub(crate) duration: Duration,
}
