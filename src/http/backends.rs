//! How the backends do.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::app::{App, Until};
use crate::http::error::ApiError;
use crate::http::openapi::forms::TierName;
use crate::http::router;
use crate::messages::inference_router::{BackendInfo, InferenceMsg};

/// How the backends do.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Backends {
    /// In the order in which they are configured.
    backends: Vec<Backend>,
}

/// A backend as the router knows it. What was not measured yet is `null`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "name": "edge",
    "kind": "edge",
    "tier": "Edge",
    "breaker": "closed",
    "parallel": 1,
    "in_flight": 1,
    "queued": 3,
    "ttft_ms_p50": 12.5,
    "ttft_ms_p95": 40.25,
    "last_error": null,
    "last_error_seconds_ago": null,
})))]
struct Backend {
    /// Its name.
    name: String,
    /// What it is: `edge`, `ollama` or `openai`.
    kind: &'static str,
    /// The tier it serves.
    #[schema(value_type = TierName)]
    tier: &'static str,
    /// The worst of its breakers: `closed` (it is asked), `half_open` (one call finds out whether it
    /// works again) or `open` (it is left alone).
    breaker: &'static str,
    /// Requests it works on at most.
    parallel: usize,
    /// Requests it works on.
    in_flight: usize,
    /// Requests that wait for it.
    queued: usize,
    /// Milliseconds to the first token that half of its recent answers did not exceed.
    #[schema(required, minimum = 0)]
    ttft_ms_p50: Option<f64>,
    /// The same of 95 in a hundred.
    #[schema(required, minimum = 0)]
    ttft_ms_p95: Option<f64>,
    /// How it failed last, in one word.
    #[schema(required)]
    last_error: Option<&'static str>,
    /// How long ago that was.
    #[schema(required)]
    last_error_seconds_ago: Option<u64>,
}

impl From<BackendInfo> for Backend {
    fn from(info: BackendInfo) -> Self {
        let ms = |time: std::time::Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
        Self {
            name: info.name,
            kind: info.kind,
            tier: info.tier.as_str(),
            breaker: info.breaker,
            parallel: info.parallel,
            in_flight: info.running,
            queued: info.queued,
            ttft_ms_p50: info.first_token_p50.map(ms),
            ttft_ms_p95: info.first_token_p95.map(ms),
            last_error: info.last_error.map(|error| error.class),
            last_error_seconds_ago: info.last_error.map(|error| error.age.as_secs()),
        }
    }
}

/// Tells how the backends do.
///
/// Their breakers, what they have to do, how fast they are and how they failed last.
#[utoipa::path(get, path = router::BACKENDS, responses((status = 200, body = Backends)))]
pub(super) async fn list(
    State(app): State<App>,
    Until(deadline): Until,
) -> Result<Json<Backends>, ApiError> {
    let ask = |reply| InferenceMsg::Backends { reply };
    let backends = app.roster.inference.call(deadline, ask).await?;
    Ok(Json(Backends { backends: backends.into_iter().map(Backend::from).collect() }))
}
