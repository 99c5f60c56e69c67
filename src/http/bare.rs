//! What is said on a connection outside its requests: refusals of heads that cannot be read, and a
//! patient end.
//!
//! hyper answers such a head by itself, with a status and nothing else, and lets nobody shape that.
//! So its answer is recognised here, where bytes go out, and the one that clients are promised goes
//! out in its place. It cannot be mistaken: it comes when no request is in flight, whole and alone,
//! and every answer of ours has an `x-request-id`.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::StatusCode;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::header::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::http::error::ApiError;
use crate::http::patient::Pace;
use crate::http::request_id::RequestId;
use crate::metrics::{HttpLabels, Metrics};

/// The longest that hyper's own answer can be; it has some 90 bytes.
const BARE_BYTES_MAX: usize = 256;

/// Time and bytes for which what a client still sends is read and thrown away, after an answer that
/// came before the end of its body. Closing at once would reset the connection, and the client would
/// lose the answer with it. 8 MiB in 2 s: more than most send before they look.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 8 << 20;

/// A whole answer for a client that has no request: head and JSON body; the connection closes.
pub(super) fn refusal(error: &ApiError, id: &RequestId) -> Bytes {
    let status = error.status();
    let json = error.to_json(id.as_str()).to_string();
    let retry = match status {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => "retry-after: 1\r\n",
        _ => "",
    };
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         x-request-id: {id}\r\nx-content-type-options: nosniff\r\ncache-control: no-store\r\n\
         {retry}connection: close\r\n\r\n{json}",
        json.len()
    )
    .into()
}

/// The status, if these bytes are an answer that hyper gives by itself.
fn bare_status(bytes: &[u8]) -> Option<StatusCode> {
    let is_head = bytes.len() <= BARE_BYTES_MAX
        && bytes.starts_with(b"HTTP/1.")
        && bytes.get(8..10) == Some(b" 4")
        && bytes.ends_with(b"\r\n\r\n");
    let text = std::str::from_utf8(bytes).ok().filter(|_| is_head)?;
    let is_bare = text.contains("content-length: 0\r\n") && !text.contains("x-request-id");
    StatusCode::from_bytes(bytes.get(9..12)?).ok().filter(|_| is_bare)
}

/// What hyper means by a status.
fn meaning(status: StatusCode) -> ApiError {
    match status {
        StatusCode::URI_TOO_LONG => {
            ApiError::new(status, "URI_TOO_LONG", "the request target is too long")
        }
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => ApiError::new(
            status,
            "HEADERS_TOO_LARGE",
            "the header fields are too large or too many",
        ),
        StatusCode::BAD_REQUEST => {
            ApiError::new(status, "BAD_REQUEST", "this is not an HTTP/1.1 request")
        }
        status => ApiError::from_status(status),
    }
}

/// A stream that gives refusals their shape, and does not close while its peer still sends.
#[derive(Debug)]
pub(super) struct Spoken<S> {
    stream: S,
    pace: Arc<Pace>,
    metrics: Metrics,
    /// What goes out in place of `taken` bytes that hyper gave.
    instead: Option<(Bytes, usize)>,
    linger: Linger,
}

#[derive(Debug, Default)]
struct Linger {
    is_shut: bool,
    until: Option<Pin<Box<Sleep>>>,
    bytes: usize,
}

impl<S> Spoken<S> {
    pub(super) fn new(stream: S, pace: Arc<Pace>, metrics: Metrics) -> Self {
        Self { stream, pace, metrics, instead: None, linger: Linger::default() }
    }

    fn refuse(&mut self, status: StatusCode, taken: usize) {
        let id = RequestId::of(&HeaderMap::new());
        let labels = HttpLabels { method: "other", route: "none" };
        self.metrics.request_ended(&labels, status.as_u16(), Duration::ZERO);
        tracing::info!(
            method = labels.method,
            route = labels.route,
            status = status.as_u16(),
            elapsed_ms = 0.0,
            request_id = %id,
            "request"
        );
        self.instead = Some((refusal(&meaning(status), &id), taken));
        self.pace.leave_unread();
    }
}

impl<S: AsyncWrite + Unpin> Spoken<S> {
    /// Writes what goes out instead; then tells hyper that its own bytes are written.
    fn poll_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while let Some((bytes, taken)) = &mut self.instead {
            if bytes.is_empty() {
                let taken = *taken;
                self.instead = None;
                return Poll::Ready(Ok(taken));
            }
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            bytes.advance(written);
        }
        Poll::Ready(Ok(0))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Spoken<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Spoken<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.instead.is_none()
            && self.pace.is_idle()
            && let Some(status) = bare_status(buf)
        {
            self.refuse(status, buf.len());
        }
        if self.instead.is_some() {
            return self.poll_instead(cx);
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut filled = bufs.iter().filter(|buf| !buf.is_empty());
        if let (Some(only), None) = (filled.next(), filled.next()) {
            return self.poll_write(cx, only);
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.linger.is_shut {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            this.linger.is_shut = true;
        }
        if !this.pace.is_unread() {
            return Poll::Ready(Ok(()));
        }
        let until = Instant::now() + LINGER;
        let until =
            this.linger.until.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if until.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let mut space = [0; 8192];
        while this.linger.bytes < LINGER_BYTES_MAX {
            let mut buf = ReadBuf::new(&mut space);
            match ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => this.linger.bytes += buf.filled().len(),
                // The peer has closed as well, or is gone.
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The body of a request, which tells when it is given up before its end.
#[derive(Debug)]
pub(super) struct Watched {
    body: Incoming,
    pace: Arc<Pace>,
    is_over: bool,
}

impl Watched {
    pub(super) fn new(body: Incoming, pace: Arc<Pace>) -> Self {
        Self { body, pace, is_over: false }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.is_over && !self.body.is_end_stream() {
            self.pace.leave_unread();
        }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.is_over |= frame.is_none();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_that_hyper_gives_by_itself_is_bare() {
        let bare = "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\
                    content-length: 0\r\ndate: Thu, 26 Nov 2026 22:00:00 GMT\r\n\r\n";
        assert_eq!(bare_status(bare.as_bytes()).unwrap().as_u16(), 431);
        for other in [
            "",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 5\r\n\r\nhello",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nx-request-id: a\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n{}",
            "a HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 4\u{e9}0 Bad Request\r\ncontent-length: 0\r\n\r\n",
        ] {
            assert_eq!(bare_status(other.as_bytes()), None, "{other:?}");
        }
    }

    #[test]
    fn a_refusal_is_a_whole_answer() {
        let id = RequestId::of(&HeaderMap::new());
        for (status, code) in
            [(400, "BAD_REQUEST"), (414, "URI_TOO_LONG"), (431, "HEADERS_TOO_LARGE")]
        {
            let status = StatusCode::from_u16(status).unwrap();
            let said = String::from_utf8(refusal(&meaning(status), &id).to_vec()).unwrap();
            let (head, body) = said.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {}", status.as_u16())), "{head}");
            assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
            assert!(head.contains(&format!("x-request-id: {id}")), "{head}");
            let json: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!((&json["code"], &json["request_id"]), (&code.into(), &id.as_str().into()));
        }
    }
}
