//! The name of a request in its answer, in the log and in the trace.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::request::Parts;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::domain::name::is_plain;
use crate::http::error::ApiError;

/// Where it travels.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Long enough for every usual scheme of ids, short enough for a log line.
pub(super) const LENGTH_MAX: usize = 64;

/// 1 to 64 characters of `A-Z a-z 0-9 . _ -`.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// The caller's id if it is a valid one, otherwise a random one.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        headers.get(X_REQUEST_ID).and_then(Self::from_header).unwrap_or_else(Self::random)
    }

    fn from_header(value: &HeaderValue) -> Option<Self> {
        let text = value.to_str().ok()?;
        is_plain(text, b"._-", LENGTH_MAX).then(|| Self(text.into()))
    }

    fn random() -> Self {
        thread_local! {
            // Should the system have no randomness, an id that is not unique beats no answer.
            static IDS: RefCell<StdRng> =
                RefCell::new(StdRng::from_seed(random_bytes().unwrap_or_default()));
        }
        let mut bytes = [0; 16];
        IDS.with_borrow_mut(|ids| ids.fill_bytes(&mut bytes));
        Self(base16ct::lower::encode_string(&bytes).into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn to_header(&self) -> HeaderValue {
        // Its characters are all allowed in a header.
        HeaderValue::from_str(&self.0).unwrap_or_else(|_| HeaderValue::from_static("invalid"))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| ApiError::internal("a request came without its id"))
    }
}

/// Bytes from the system's generator.
///
/// # Errors
/// When it has none.
pub(super) fn random_bytes<const N: usize>() -> Result<[u8; N], ApiError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| ApiError::internal(format!("no random bytes: {error}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &[u8]) -> RequestId {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, HeaderValue::from_bytes(value).unwrap());
        RequestId::of(&headers)
    }

    #[test]
    fn a_valid_id_is_kept() {
        for id in ["a", "A-b_c.9", &"x".repeat(64)] {
            assert_eq!(of(id.as_bytes()).as_str(), id);
        }
    }

    #[test]
    fn any_other_is_replaced_by_a_random_one() {
        let long = "x".repeat(65);
        for id in ["", "a b", "a\tb", "\u{e9}", "a\"b", "{}", long.as_str()] {
            let made = of(id.as_bytes());
            assert_eq!(made.as_str().len(), 32, "{id:?}");
            assert_ne!(made, of(id.as_bytes()));
        }
        assert_eq!(RequestId::of(&HeaderMap::new()).as_str().len(), 32);
    }
}
