//! Request bodies: bounded in size and time, strict I-JSON, with the path to whatever is wrong.

mod strict;

use axum::body::Body as AxumBody;
use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use hyper::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use crate::domain::json::{self, JsonError};
use crate::http::app::App;
use crate::http::body::strict::Strict;
use crate::http::error::ApiError;
use crate::http::limits::Limits;

/// A JSON body as `T`. Keys that `T` does not know are left out, since older clients send more.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

/// As [`Body`], but a request without a body means `T::default()`.
#[derive(Debug)]
pub(super) struct OptionalBody<T>(pub(super) T);

/// A JSON body that is kept as it came, at most twice the usual limit: an envelope.
#[derive(Debug)]
pub(super) struct RawBody(pub(super) Bytes);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        require_json(request.headers())?;
        let (parts, body) = request.into_parts();
        let limits = &app.limits;
        let bytes = read(&parts.headers, body, limits.body_bytes_max, limits).await?;
        Ok(Self(from_json(&bytes)?))
    }
}

impl<T: DeserializeOwned + Default> FromRequest<App> for OptionalBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        if request.body().is_end_stream() {
            return Ok(Self(T::default()));
        }
        let Body(body) = Body::from_request(request, app).await?;
        Ok(Self(body))
    }
}

impl FromRequest<App> for RawBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        require_json(request.headers())?;
        let (parts, body) = request.into_parts();
        let bytes_max = app.limits.body_bytes_max.saturating_mul(2);
        Ok(Self(read(&parts.headers, body, bytes_max, &app.limits).await?))
    }
}

/// The request with its JSON body all here, so that the time of its handler begins now. One whose
/// body is not JSON is left as it is, for its handler to refuse unread.
///
/// # Errors
/// As those of [`Body`] that do not depend on what the body says.
pub(super) async fn arrived(mut request: Request, limits: &Limits) -> Result<Request, ApiError> {
    if require_json(request.headers()).is_err() {
        return Ok(request);
    }
    let body = std::mem::take(request.body_mut());
    let bytes = read(request.headers(), body, limits.body_bytes_max, limits).await?;
    *request.body_mut() = AxumBody::from(bytes);
    Ok(request)
}

/// A browser sends this content type to another origin only after it has asked, so asking for it
/// also keeps forms of foreign pages out.
fn require_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let unsupported = |error| {
        Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", error))
    };
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(is_json) {
        return unsupported("the content type must be application/json");
    }
    match headers.get(CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => unsupported("the body must not be compressed"),
        _ => Ok(()),
    }
}

/// `application/json` or a type built on it (RFC 6839), in UTF-8.
fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let is_json = essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"));
    is_json
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
                value.trim_matches('"').eq_ignore_ascii_case("utf-8")
            }
            _ => true,
        })
}

/// Reads the body. One that declares too much is refused before any of it is read, and one that
/// comes too slowly is given up: a silence may be as long as a head may take, the whole body as
/// long as a request.
async fn read(
    headers: &HeaderMap,
    body: AxumBody,
    bytes_max: usize,
    limits: &Limits,
) -> Result<Bytes, ApiError> {
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    // A length that is not a number has been refused by the server.
    if declared.and_then(|text| text.parse::<u64>().ok()).is_some_and(|it| it > bytes_max as u64) {
        return Err(ApiError::body_too_large(bytes_max));
    }
    let mut body = Limited::new(body, bytes_max);
    let whole = async {
        let mut bytes = BytesMut::new();
        loop {
            let frame = timeout(limits.header_timeout, body.frame());
            match frame.await.map_err(|_| too_slow())? {
                // Trailers say nothing to us.
                Some(Ok(frame)) => bytes.extend(frame.into_data().ok()),
                Some(Err(error)) if error.is::<LengthLimitError>() => {
                    return Err(ApiError::body_too_large(bytes_max));
                }
                Some(Err(_)) => {
                    let error = "the body ended before its end";
                    return Err(ApiError::invalid("BODY_INCOMPLETE", error));
                }
                None => return Ok(bytes.freeze()),
            }
        }
    };
    timeout(limits.request_timeout, whole).await.map_err(|_| too_slow())?
}

/// 408 (RFC 9110, section 15.5.9).
fn too_slow() -> ApiError {
    let error = "the body did not come in time";
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", error)
}

/// Reads strict JSON into `T`.
///
/// # Errors
/// 400 if it is not I-JSON, 422 with the path if a field is missing or of another type.
pub(super) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    read_as(parse(bytes).map_err(malformed)?)
}

/// Reads strict JSON. It may be nested two deeper than what is signed, because that lies in an
/// envelope, and the envelope perhaps in a request.
///
/// # Errors
/// When it is not I-JSON.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    json::parse_nested(bytes, json::DEPTH_MAX + 2)
}

/// 400 for what is not I-JSON.
pub(super) fn malformed(error: JsonError) -> ApiError {
    ApiError::invalid("INVALID_JSON", error.to_string())
}

/// Reads JSON that was parsed into `T`.
///
/// # Errors
/// 422 with the path if a field is missing or of another type.
pub(super) fn read_as<T: DeserializeOwned>(value: Value) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(Strict(value)).map_err(|error| {
        let mut path = match error.path().to_string() {
            path if path == "." => "$".to_owned(),
            path if path.starts_with('[') => format!("${path}"),
            path => format!("$.{path}"),
        };
        let reason = error.into_inner().to_string();
        // The path of what is not there ends with what should have it.
        if let Some(field) = missing_field(&reason) {
            path = format!("{path}.{field}");
        }
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "INVALID_FIELD", reason).details(path)
    })
}

/// The field that is missing, of which serde tells only in words.
fn missing_field(reason: &str) -> Option<&str> {
    reason.strip_prefix("missing field `")?.strip_suffix('`')
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    struct Form {
        name: String,
        #[serde(default)]
        parts: Vec<Part>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Part {
        size: u32,
    }

    fn refused(text: &[u8]) -> (u16, &'static str, Value) {
        let error = from_json::<Form>(text).unwrap_err();
        (error.status().as_u16(), error.code(), error.to_json("")["details"].clone())
    }

    #[test]
    fn what_is_not_i_json_is_malformed() {
        let deep = format!("{}{}", "[".repeat(67), "]".repeat(67));
        let very_deep = "[".repeat(100_000);
        let cases: &[&[u8]] = &[
            b"",
            b"{",
            b"{\"name\":}",
            b"{\"name\":\"a\"} x",
            b"{\"name\":\"a\",\"name\":\"b\"}",
            b"{\"name\":\"a\",\"x\":9007199254740993}",
            b"{\"name\":\"a\",\"x\":1e999}",
            b"{\"name\":NaN}",
            b"{\"name\":\"\\ud800\"}",
            b"{\"name\":\"\xff\"}",
            b"\xef\xbb\xbf{\"name\":\"a\"}",
            deep.as_bytes(),
            very_deep.as_bytes(),
        ];
        for text in cases {
            let (status, code, _) = refused(text);
            assert_eq!((status, code), (400, "INVALID_JSON"), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_missing_or_mistyped_field_is_named_with_its_path() {
        for (text, path) in [
            ("{}", "$.name"),
            ("[]", "$"),
            ("[\"a\"]", "$"),
            ("{\"name\":\"a\",\"parts\":[[1]]}", "$.parts[0]"),
            ("null", "$"),
            ("{\"name\":1}", "$.name"),
            ("{\"name\":null}", "$.name"),
            ("{\"name\":\"a\",\"parts\":{}}", "$.parts"),
            ("{\"name\":\"a\",\"parts\":[{\"size\":1},{\"size\":\"1\"}]}", "$.parts[1].size"),
            ("{\"name\":\"a\",\"parts\":[{}]}", "$.parts[0].size"),
            ("{\"name\":\"a\",\"parts\":[{\"size\":-1}]}", "$.parts[0].size"),
        ] {
            assert_eq!(refused(text.as_bytes()), (422, "INVALID_FIELD", path.into()), "{text}");
        }
    }

    #[test]
    fn text_beyond_ascii_and_unknown_keys_are_welcome() {
        let text = "{\"name\":\"\u{6f22}\u{1f600}\",\"more\":[1.5,null]}";
        let form: Form = from_json(text.as_bytes()).unwrap();
        assert_eq!(form.name, "\u{6f22}\u{1f600}");
    }

    #[test]
    fn json_is_known_by_its_content_type() {
        for content_type in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            "application/merge-patch+json",
            "application/json; version=1",
        ] {
            assert!(is_json(content_type), "{content_type}");
        }
        for content_type in [
            "",
            "text/plain",
            "text/json",
            "application/x-www-form-urlencoded",
            "application/jsonp",
            "application/json; charset=latin1",
            "application/json, text/plain",
            "json",
        ] {
            assert!(!is_json(content_type), "{content_type}");
        }
    }
}
