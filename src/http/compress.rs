//! gzip for large answers that anybody may read.
//!
//! One coding: every client that takes another takes gzip as well. At its quickest brotli makes the
//! OpenAPI document a quarter smaller still, for twice the time or more and a large dependency. Only
//! what is there as a whole, is text and may be read without using the node's keys: streams are not
//! held up, and nothing with a secret is compressed together with what the caller chose (BREACH).

use std::io::Write;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use hyper::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, VARY,
};
use hyper::{HeaderMap, StatusCode};

use crate::http::auth::Class;

/// From this size on it pays: below it an answer is a few packets, which the network sends as one,
/// and compressing costs more time than it saves on anything but a slow line.
const BYTES_MIN: u64 = 8 * 1024;

/// Larger answers are sent as they are: they would be held in memory twice.
const BYTES_MAX: u64 = 4 << 20;

/// Whether the caller takes gzip (RFC 9110, section 12.5.3).
pub(super) fn is_wanted(class: Class, headers: &HeaderMap) -> bool {
    let is_public = matches!(class, Class::Open | Class::Read);
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    is_public && takes_gzip(values.flat_map(|value| value.split(',')))
}

fn takes_gzip<'a>(codings: impl Iterator<Item = &'a str>) -> bool {
    let mut any = false;
    for coding in codings {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        let is_refused =
            quality.is_some_and(|quality| quality.parse::<f32>().is_ok_and(|q| q <= 0.0));
        if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
            return !is_refused;
        }
        any |= name == "*" && !is_refused;
    }
    any
}

/// The same answer, smaller if that pays.
pub(super) async fn compress(mut response: Response, is_wanted: bool) -> Response {
    let size = response.body().size_hint().exact().unwrap_or(0);
    let is_text = response.headers().get(CONTENT_TYPE).is_some_and(is_text);
    let is_fit = response.status() == StatusCode::OK
        && (BYTES_MIN..=BYTES_MAX).contains(&size)
        && is_text
        && !response.headers().contains_key(CONTENT_ENCODING);
    if !is_fit {
        return response;
    }
    // The answer depends on it also for those who do not take gzip.
    response.headers_mut().append(VARY, HeaderValue::from_static("accept-encoding"));
    if !is_wanted {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // The whole body is there, so this waits for nothing.
    let Ok(whole) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        return Response::from_parts(parts, Body::empty());
    };
    let text = whole.clone();
    // A millisecond or more: not on a thread that others wait for.
    match tokio::task::spawn_blocking(move || gzip(&text)).await {
        Ok(Some(smaller)) if smaller.len() < whole.len() => {
            parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            parts.headers.remove(CONTENT_LENGTH);
            Response::from_parts(parts, Body::from(smaller))
        }
        _ => Response::from_parts(parts, Body::from(whole)),
    }
}

fn is_text(content_type: &HeaderValue) -> bool {
    let essence = content_type.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    let is_stream = essence == "text/event-stream";
    !is_stream
        && (essence.starts_with("text/")
            || essence.ends_with("json")
            || essence.ends_with("javascript")
            || essence == "application/openmetrics-text")
}

fn gzip(text: &[u8]) -> Option<Bytes> {
    // Levels above cost several times as much for a few per cent.
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 4), Compression::fast());
    encoder.write_all(text).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read};

    use super::*;

    fn answer(content_type: &'static str, body: impl Into<Body>) -> Response {
        Response::builder().header(CONTENT_TYPE, content_type).body(body.into()).unwrap()
    }

    async fn coded(response: Response, is_wanted: bool) -> (bool, bool, Bytes) {
        let response = compress(response, is_wanted).await;
        let is_coded = response.headers().contains_key(CONTENT_ENCODING);
        let varies = response.headers().contains_key(VARY);
        (is_coded, varies, response.into_body().collect().await.unwrap().to_bytes())
    }

    #[tokio::test]
    async fn a_large_text_is_compressed_for_those_who_take_it() {
        let text = "http_requests_total 1\n".repeat(1000);
        let (is_coded, varies, bytes) = coded(answer("text/plain", text.clone()), true).await;
        assert!(is_coded && varies && bytes.len() < text.len() / 10);
        let mut read = String::new();
        flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut read).unwrap();
        assert_eq!(read, text);
        let (is_coded, varies, bytes) = coded(answer("text/plain", text.clone()), false).await;
        assert!(!is_coded && varies && bytes == text);
    }

    #[tokio::test]
    async fn what_is_small_or_a_stream_or_no_text_is_left_alone() {
        let large = "a".repeat(100_000);
        let pieces = futures_util::stream::iter([Ok::<_, io::Error>(large.clone())]);
        for response in [
            answer("application/json", "{}".to_owned()),
            answer("text/event-stream", large.clone()),
            answer("application/json", Body::from_stream(pieces)),
            answer("application/octet-stream", large),
        ] {
            let (is_coded, varies, _) = coded(response, true).await;
            assert!(!is_coded && !varies);
        }
    }

    #[test]
    fn gzip_is_for_those_who_say_so() {
        let wants = |class, text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(text));
            is_wanted(class, &headers)
        };
        for text in ["gzip", "br, gzip", "deflate, GZIP;q=0.5", "*", "identity;q=0, *;q=0.1"] {
            assert!(wants(Class::Read, text), "{text}");
            assert!(!wants(Class::Privileged, text) && !wants(Class::Act, text), "{text}");
        }
        for text in ["", "br", "gzip;q=0", "gzip;q=0.0, *", "*;q=0", "xgzip"] {
            assert!(!wants(Class::Read, text), "{text}");
        }
        assert!(!is_wanted(Class::Read, &HeaderMap::new()));
    }
}
