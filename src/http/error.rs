//! The one error of the HTTP interface, and what every other error becomes in it.

use std::borrow::Cow;
use std::time::Duration;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::{Map, Value, json};

use crate::domain::envelope::SealError;
use crate::domain::identity::IdentityError;
use crate::domain::inference::request::RequestError;
use crate::domain::inference::{InferenceError, is_context_full};
use crate::domain::model_store::listing::ModelsError;
use crate::domain::reject::RejectCode;
use crate::messages::addr::CallError;
use crate::messages::consensus::ConsensusError;
use crate::messages::gate_chain::ReloadError;
use crate::messages::supervisor::DrillError;

/// Seconds after which a caller may try again what an actor could not take up: restarts take
/// milliseconds, and a full queue empties in about a second.
const RETRY_AFTER_S: u32 = 1;

/// What the caller is told instead of an answer. The last layer of the router writes it out, with
/// the request's id, as `{"error", "code", "details", "request_id"}`.
#[derive(Clone, Debug)]
pub struct ApiError(Box<Told>);

#[derive(Clone, Debug)]
struct Told {
    status: StatusCode,
    code: &'static str,
    error: Cow<'static, str>,
    details: Option<String>,
    retry_after_s: Option<u32>,
    /// Goes to the log and never to the caller.
    inner: Option<String>,
    /// Keys that an endpoint promises also with its errors.
    extra: Map<String, Value>,
}

impl ApiError {
    /// The time after which there is likely to be room again that others take up now.
    pub const SOON: Duration = Duration::from_secs(RETRY_AFTER_S as u64);

    /// An error of this status, code word and sentence.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        error: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self(Box::new(Told {
            status,
            code,
            error: error.into(),
            details: None,
            retry_after_s: None,
            inner: None,
            extra: Map::new(),
        }))
    }

    /// 400: a value that cannot be used, with a code word of its own.
    pub fn invalid(code: &'static str, error: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, error)
    }

    /// 403, with a code word of its own.
    pub fn forbidden(code: &'static str, error: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, error)
    }

    /// 500: a fault of ours. `inner` is logged, not told.
    pub fn internal(inner: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "the node made an error")
            .because(inner)
    }

    /// 503, with a code word of its own and the time after which to try again.
    pub fn unavailable(code: &'static str, error: impl Into<Cow<'static, str>>) -> Self {
        let mut error = Self::new(StatusCode::SERVICE_UNAVAILABLE, code, error);
        error.0.retry_after_s = Some(RETRY_AFTER_S);
        error
    }

    /// 429, with a code word of its own and the time after which to try again.
    pub fn too_many(
        code: &'static str,
        error: impl Into<Cow<'static, str>>,
        wait: Duration,
    ) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, code, error).after(wait)
    }

    /// The same with the time after which to try again.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        // Rounded up: whoever comes early is refused again.
        let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
        self.0.retry_after_s = Some(u32::try_from(seconds).unwrap_or(u32::MAX).max(1));
        self
    }

    /// 504.
    pub fn timeout() -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "TIMEOUT", "there was no answer in time")
    }

    /// 413.
    pub fn body_too_large(bytes_max: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "BODY_TOO_LARGE",
            format!("the body has more than {bytes_max} bytes"),
        )
    }

    /// The same with more to read: a JSON path, a code, a hint.
    #[must_use]
    pub fn details(mut self, details: impl Into<String>) -> Self {
        self.0.details = Some(details.into());
        self
    }

    /// The same with keys that the endpoint promises also with its errors.
    #[must_use]
    pub fn extra(mut self, extra: Map<String, Value>) -> Self {
        self.0.extra = extra;
        self
    }

    /// What a status that the framework answered by itself means.
    pub fn from_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => {
                Self::new(status, "NOT_FOUND", "there is no such path; see the API documentation")
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                Self::new(status, "METHOD_NOT_ALLOWED", "this path does not take this method")
            }
            status if status.is_client_error() => {
                Self::new(status, "BAD_REQUEST", "the request cannot be served")
            }
            status => {
                let mut error = Self::internal(format!("answered {status} without a reason"));
                error.0.status = status;
                error
            }
        }
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Its code word.
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// More to read, which often is the JSON path of what is wrong.
    pub(super) fn place(&self) -> Option<&str> {
        self.0.details.as_deref()
    }

    /// Its sentence, and the keys that it has beside.
    pub(super) fn said(&self) -> (&str, &Map<String, Value>) {
        (&self.0.error, &self.0.extra)
    }

    /// What must be logged because the caller is not told.
    pub fn inner(&self) -> Option<&str> {
        self.0.inner.as_deref()
    }

    /// As the caller reads it.
    pub fn to_json(&self, request_id: &str) -> Value {
        let mut json = self.0.extra.clone();
        json.insert("error".into(), json!(self.0.error));
        json.insert("code".into(), json!(self.0.code));
        json.insert("details".into(), json!(self.0.details));
        json.insert("request_id".into(), json!(request_id));
        Value::Object(json)
    }

    /// The same with what the log must say and the caller must not read.
    pub(super) fn because(mut self, inner: impl Into<String>) -> Self {
        self.0.inner = Some(inner.into());
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.0.status.into_response();
        if let Some(seconds) = self.0.retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        if self.0.status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer realm=\"bizra\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, bearer);
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// What should be hexadecimal, at this place of the request, and is not.
pub(super) fn invalid_hex(path: &str, error: &impl ToString) -> ApiError {
    ApiError::invalid("INVALID_HEX", error.to_string()).details(path)
}

impl From<CallError> for ApiError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Busy { .. } => Self::unavailable("ACTOR_BUSY", error.to_string()),
            CallError::Down { .. } => Self::unavailable("ACTOR_DOWN", error.to_string()),
            CallError::Late { .. } => Self::timeout().details(error.to_string()),
        }
    }
}

impl From<IdentityError> for ApiError {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Unknown(_) => {
                Self::new(StatusCode::NOT_FOUND, "IDENTITY_UNKNOWN", error.to_string())
            }
            IdentityError::Full { .. } => {
                Self::new(StatusCode::CONFLICT, "KEYSTORE_FULL", error.to_string())
            }
            IdentityError::Retired { .. } => {
                Self::new(StatusCode::CONFLICT, "IDENTITY_RETIRED", error.to_string())
            }
            IdentityError::Exists(_) => {
                Self::new(StatusCode::CONFLICT, "IDENTITY_EXISTS", error.to_string())
            }
            IdentityError::Passphrase => {
                Self::new(StatusCode::FORBIDDEN, "WRONG_PASSPHRASE", error.to_string())
            }
            IdentityError::Export(_) => Self::invalid("INVALID_EXPORT", error.to_string()),
            IdentityError::Label => Self::invalid("INVALID_LABEL", error.to_string()),
            IdentityError::Batch { .. } => Self::invalid("BATCH_TOO_LARGE", error.to_string()),
            IdentityError::Store(inner) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "KEYSTORE_FAILED",
                "the keystore could not be used",
            )
            .because(inner),
        }
    }
}

impl From<ReloadError> for ApiError {
    fn from(error: ReloadError) -> Self {
        let code = match error {
            ReloadError::BuiltIn => "CONSTITUTION_BUILT_IN",
            ReloadError::File(_) => "CONSTITUTION_UNREADABLE",
            ReloadError::Document(_) => "CONSTITUTION_INVALID",
        };
        Self::new(StatusCode::CONFLICT, code, error.to_string())
    }
}

impl From<SealError> for ApiError {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Invalid(reason) => Self::invalid("INVALID_ENVELOPE", reason),
            SealError::Unavailable(inner) => {
                Self::unavailable("ENVELOPE_UNAVAILABLE", "envelopes cannot be made at present")
                    .because(inner)
            }
            SealError::Full(reason) => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "DISK_FULL", reason)
                    .details(RejectCode::RejectQuota.as_str())
            }
        }
    }
}

impl From<ConsensusError> for ApiError {
    fn from(error: ConsensusError) -> Self {
        match error {
            ConsensusError::Refused { code, reason } => {
                Self::forbidden("REFUSED_BY_GATES", reason).details(code.as_str())
            }
            ConsensusError::DiskFull(reason) => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "DISK_FULL", reason)
                    .details(RejectCode::RejectQuota.as_str())
            }
            ConsensusError::Crowded { .. } => {
                Self::unavailable("PROPOSALS_WAITING", error.to_string())
            }
            ConsensusError::Unavailable(inner) => Self::unavailable(
                "CONSENSUS_UNAVAILABLE",
                "proposals cannot be dealt with at present",
            )
            .because(inner),
        }
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        Self::invalid(error.code(), error.to_string()).details(format!("$.{}", error.field()))
    }
}

impl From<InferenceError> for ApiError {
    fn from(error: InferenceError) -> Self {
        match error {
            // The text says what the operator must do, so it is told although it is a 5xx.
            InferenceError::Unavailable(reason) => {
                Self::unavailable("INFERENCE_UNAVAILABLE", reason)
            }
            InferenceError::PoolUnavailable(reason) => {
                Self::unavailable("POOL_UNAVAILABLE", reason)
            }
            InferenceError::Busy { wait } => {
                Self::unavailable("INFERENCE_BUSY", error.to_string()).after(wait)
            }
            InferenceError::TooLong { tokens, context, .. } => {
                let (code, key) = match is_context_full(tokens, context) {
                    true => ("PROMPT_TOO_LONG", "$.prompt"),
                    false => ("OUT_OF_RANGE", "$.max_tokens"),
                };
                Self::invalid(code, error.to_string()).details(key)
            }
            InferenceError::UnknownModel { .. } => {
                Self::new(StatusCode::NOT_FOUND, "UNKNOWN_MODEL", error.to_string())
            }
            InferenceError::Refused { code, reason, receipt } => {
                let extra = Map::from_iter([("receipt".to_owned(), *receipt)]);
                Self::forbidden("REFUSED_BY_GATES", reason).details(code.as_str()).extra(extra)
            }
            InferenceError::Timeout => Self::timeout(),
            InferenceError::Cancelled => Self::unavailable("CANCELLED", "the work was cancelled"),
            InferenceError::Failed(inner) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "INFERENCE_FAILED",
                "the model failed while generating",
            )
            .because(inner),
        }
    }
}

impl From<ModelsError> for ApiError {
    fn from(error: ModelsError) -> Self {
        let text = error.to_string();
        match error {
            ModelsError::Unknown(_) => Self::new(StatusCode::NOT_FOUND, "UNKNOWN_MODEL", text),
            ModelsError::Conflict(_) => Self::new(StatusCode::CONFLICT, "MODEL_CONFLICT", text),
            ModelsError::NoRoom(_) => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "DISK_FULL", text)
            }
            ModelsError::Full { .. } => Self::unavailable("PULLS_FULL", text),
            ModelsError::Cancelled => {
                Self::timeout().details("larger stores are verified by: bizra models verify")
            }
            // The text says what the operator must do.
            ModelsError::Failed(_) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "MODELS_FAILED", text)
            }
        }
    }
}

impl From<DrillError> for ApiError {
    fn from(error: DrillError) -> Self {
        match error {
            DrillError::Unknown(_) => {
                Self::new(StatusCode::NOT_FOUND, "ACTOR_UNKNOWN", error.to_string())
            }
            DrillError::NotRunning { .. } => {
                Self::new(StatusCode::CONFLICT, "ACTOR_NOT_RUNNING", error.to_string())
            }
            DrillError::Unnoticed => Self::invalid("UNKNOWN_FAULT", error.to_string()),
        }
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::invalid("INVALID_QUERY", rejection.body_text())
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        Self::invalid("INVALID_PATH", rejection.body_text())
    }
}

#[cfg(test)]
mod tests;
