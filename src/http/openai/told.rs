//! Errors as OpenAI's clients read them: `{"error":{"message","type","param","code"}}`.

use axum::extract::Request;
use hyper::StatusCode;
use serde_json::{Value, json};

use crate::http::error::ApiError;

/// How an error is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Shape {
    /// As everywhere else.
    Own,
    /// As below `/v1`.
    OpenAi,
}

impl Shape {
    /// The shape for whoever sent this: what the request carries, or what its path says.
    pub(in crate::http) fn of(request: &Request) -> Self {
        let path = request.uri().path();
        match request.extensions().get::<Self>() {
            Some(shape) => *shape,
            None if path == "/v1" || path.starts_with("/v1/") => Self::OpenAi,
            None => Self::Own,
        }
    }

    /// The error's status and body in this shape.
    pub(in crate::http) fn tell(self, error: &ApiError, request_id: &str) -> (StatusCode, Value) {
        match self {
            Self::Own => (error.status(), error.to_json(request_id)),
            Self::OpenAi => (status(error), to_json(error)),
        }
    }
}

/// OpenAI knows no 422: what is well-formed and not as it should be is 400 there.
fn status(error: &ApiError) -> StatusCode {
    match error.status() {
        StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
        status => status,
    }
}

/// The body. `bizra` is there only when gates refused: it has their receipt, which says what was
/// found and not in what.
pub(super) fn to_json(error: &ApiError) -> Value {
    let (message, extras) = error.said();
    let mut told = json!({
        "message": message,
        "type": kind(error.status()),
        "param": error.place().and_then(|place| place.strip_prefix("$.")),
        "code": code(error.code()),
    });
    if let Some(receipt) = extras.get("receipt") {
        told["bizra"] = json!({ "code": error.place(), "receipt": receipt });
    }
    json!({ "error": told })
}

/// The family of an error.
fn kind(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        status if status.is_client_error() => "invalid_request_error",
        _ => "server_error",
    }
}

/// OpenAI's word where it has one, otherwise ours.
fn code(own: &'static str) -> &'static str {
    match own {
        "NOT_FOUND" => "unknown_url",
        "UNAUTHORIZED" => "invalid_api_key",
        "UNKNOWN_MODEL" => "model_not_found",
        "PROMPT_TOO_LONG" => "context_length_exceeded",
        "RATE_LIMITED" => "rate_limit_exceeded",
        "UNSUPPORTED_PARAMETER" => "unsupported_parameter",
        "UNSUPPORTED_VALUE" => "unsupported_value",
        "REFUSED_BY_GATES" => "CONSTITUTION_VIOLATION",
        own => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::inference::InferenceError;
    use crate::domain::reject::RejectCode;

    fn told(error: &ApiError) -> (u16, Value) {
        let (status, json) = Shape::OpenAi.tell(error, "id");
        (status.as_u16(), json["error"].clone())
    }

    #[test]
    fn an_error_has_its_family_its_place_and_its_code() {
        let new = |status, code| ApiError::new(StatusCode::from_u16(status).unwrap(), code, "so");
        for (error, status, kind, param, code) in [
            (
                new(422, "INVALID_FIELD").details("$.a[0].b"),
                400,
                "invalid",
                "a[0].b",
                "INVALID_FIELD",
            ),
            (new(401, "UNAUTHORIZED"), 401, "authentication", "", "invalid_api_key"),
            (
                new(404, "UNKNOWN_MODEL").details("$.model"),
                404,
                "invalid",
                "model",
                "model_not_found",
            ),
            (new(404, "NOT_FOUND"), 404, "invalid", "", "unknown_url"),
            (new(413, "BODY_TOO_LARGE").details("text"), 413, "invalid", "", "BODY_TOO_LARGE"),
            (new(429, "RATE_LIMITED"), 429, "rate_limit", "", "rate_limit_exceeded"),
            (new(503, "ACTOR_DOWN"), 503, "server", "", "ACTOR_DOWN"),
        ] {
            let (found, json) = told(&error);
            let kind = match kind {
                "invalid" => "invalid_request_error".to_owned(),
                kind => format!("{kind}_error"),
            };
            let param = Some(param).filter(|param| !param.is_empty());
            let expected = json!({ "message": "so", "type": kind, "param": param, "code": code });
            assert_eq!((found, json), (status, expected));
        }
    }

    #[test]
    fn a_refusal_of_the_gates_brings_their_receipt() {
        let error = ApiError::from(InferenceError::Refused {
            code: RejectCode::RejectGateIhsan,
            reason: "the harm is above 0.3".into(),
            receipt: Box::new(json!({ "passed": false })),
        });
        let (status, json) = told(&error);
        let expected = json!({
            "message": "the harm is above 0.3",
            "type": "permission_error",
            "param": null,
            "code": "CONSTITUTION_VIOLATION",
            "bizra": { "code": RejectCode::RejectGateIhsan.as_str(), "receipt": { "passed": false } },
        });
        assert_eq!((status, json), (403, expected));
    }

    #[test]
    fn the_path_says_which_shape_unless_the_request_does() {
        let request = |path: &str| Request::builder().uri(path).body(axum::body::Body::empty());
        for (path, shape) in [
            ("/v1", Shape::OpenAi),
            ("/v1/", Shape::OpenAi),
            ("/v1/none?a=b", Shape::OpenAi),
            ("/v10/models", Shape::Own),
            ("/api/v1/models", Shape::Own),
            ("/", Shape::Own),
        ] {
            assert_eq!(Shape::of(&request(path).unwrap()), shape, "{path}");
        }
        let mut over_socket = request("/v1/models").unwrap();
        over_socket.extensions_mut().insert(Shape::Own);
        assert_eq!(Shape::of(&over_socket), Shape::Own);
    }
}
