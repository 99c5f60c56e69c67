//! The socket itself: frames in, frames out, and a queue that a slow reader cannot make grow.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{Sink, SinkExt, Stream, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use prometheus_client::metrics::counter::Counter;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::http::limits::SocketLimits;
use crate::http::ws::codec::Codec;
use crate::metrics::Metrics;

/// Bytes of frames that wait for a reader; one more frame may pass it.
const QUEUED_BYTES_MAX: usize = 1 << 20;

/// What is kept of a socket for reading: small, since most are idle. A larger frame takes what it
/// needs while it comes.
const READ_BYTES: usize = 2 * 1024;

/// From here on frames that were put together are written.
const WRITE_BYTES: usize = 4 * 1024;

/// How long the other end may take to say its farewell: less than a server that goes down waits for
/// those that it has told.
const FAREWELL_WAIT: Duration = Duration::from_millis(500);

/// Why a socket ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The client closed it.
    Client,
    /// The connection broke.
    Lost,
    /// The client does not speak the protocol.
    Protocol,
    /// Text that is not UTF-8, which the protocol has a code of its own for.
    NotText,
    /// A message larger than one may be.
    TooLarge,
    /// The client does not read.
    SlowReader,
    /// The client does not even answer pings.
    Silent,
    /// The node goes down.
    Shutdown,
}

impl Ended {
    /// As metrics name it; see [`crate::metrics::ClosedLabel`].
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Lost => "lost",
            Self::Protocol | Self::NotText => "protocol",
            Self::TooLarge => "too_large",
            Self::SlowReader => "slow_reader",
            Self::Silent => "silent",
            Self::Shutdown => "shutdown",
        }
    }

    /// Whether what the client sends cannot be read any more.
    fn is_fault(self) -> bool {
        matches!(self, Self::Protocol | Self::NotText | Self::TooLarge)
    }

    /// What the client is told (RFC 6455, section 7.4.1), if it is still there.
    fn frame(self) -> Option<CloseFrame> {
        let (code, reason) = match self {
            Self::Client | Self::Lost => return None,
            Self::Protocol => (CloseCode::Protocol, "this is not the WebSocket protocol"),
            Self::NotText => (CloseCode::Invalid, "a text frame that is not UTF-8"),
            Self::TooLarge => (CloseCode::Size, "the message is too large"),
            Self::SlowReader => (CloseCode::Policy, "frames were not read in time"),
            Self::Silent => (CloseCode::Policy, "pings were not answered in time"),
            Self::Shutdown => (CloseCode::Away, "the node is going down"),
        };
        Some(CloseFrame { code, reason: reason.into() })
    }
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        match error {
            Error::ConnectionClosed | Error::AlreadyClosed => Self::Client,
            Error::Capacity(_) => Self::TooLarge,
            Error::Utf8(_) => Self::NotText,
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Self::Lost,
            Error::Protocol(_) => Self::Protocol,
            // The connection's own limit for a client that takes nothing.
            Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => Self::SlowReader,
            _ => Self::Lost,
        }
    }
}

/// An open socket.
pub(super) struct Wire {
    socket: WebSocketStream<TokioIo<Upgraded>>,
    codec: Codec,
    queue: VecDeque<Message>,
    queued_bytes: usize,
    frames_max: usize,
    /// Since when the client has taken nothing of what is there for it.
    stuck_since: Option<Instant>,
    came: Counter,
    went: Counter,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("queued", &self.queue.len()).finish_non_exhaustive()
    }
}

impl Wire {
    pub(super) async fn open(
        upgraded: Upgraded,
        codec: Codec,
        limits: &SocketLimits,
        metrics: &Metrics,
    ) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(WRITE_BYTES)
            .max_message_size(Some(limits.message_bytes_max))
            .max_frame_size(Some(limits.message_bytes_max));
        let stream = TokioIo::new(upgraded);
        Self {
            socket: WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await,
            codec,
            queue: VecDeque::new(),
            queued_bytes: 0,
            frames_max: limits.queue_frames_max,
            stuck_since: None,
            came: metrics.socket_frames("in"),
            went: metrics.socket_frames("out"),
        }
    }

    /// Whether more may be said. The caller waits with what can wait while there is no room.
    pub(super) fn has_room(&self) -> bool {
        self.queue.len() < self.frames_max && self.queued_bytes < QUEUED_BYTES_MAX
    }

    /// Since when the client has taken nothing, if there is something for it.
    pub(super) fn stuck_since(&self) -> Option<Instant> {
        self.stuck_since
    }

    /// Puts a frame in the queue.
    pub(super) fn say(&mut self, frame: &Value) {
        self.went.inc();
        self.push(self.codec.write(frame));
    }

    /// Puts a ping in the queue.
    pub(super) fn ping(&mut self) {
        self.push(Message::Ping(bytes::Bytes::new()));
    }

    fn push(&mut self, message: Message) {
        self.queued_bytes += message.len();
        self.queue.push_back(message);
    }

    /// Reads a frame, also one of the protocol's own, and meanwhile writes what is in the queue.
    /// While the queue is full nothing is read. `None` says that there is room again, or that the
    /// client began or ceased to be stuck. Can be dropped at any time without losing a frame.
    pub(super) async fn next(&mut self) -> Result<Option<Message>, Ended> {
        let before = (self.has_room(), self.stuck_since);
        poll_fn(|cx| {
            if let Poll::Ready(Err(error)) = self.poll_send(cx) {
                return Poll::Ready(Err(error));
            }
            if before != (self.has_room(), self.stuck_since) {
                return Poll::Ready(Ok(None));
            }
            if !self.has_room() {
                return Poll::Pending;
            }
            let message = match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(message) => message?,
                None => return Poll::Ready(Err(Ended::Client)),
            };
            if matches!(message, Message::Text(_) | Message::Binary(_)) {
                self.came.inc();
            }
            Poll::Ready(Ok(Some(message)))
        })
        .await
    }

    /// What a frame says.
    pub(super) fn codec(&self) -> Codec {
        self.codec
    }

    /// Ready when the queue is empty and written.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        loop {
            let polled = if self.queue.is_empty() {
                Pin::new(&mut self.socket).poll_flush(cx)
            } else {
                Pin::new(&mut self.socket).poll_ready(cx)
            };
            if polled.is_pending() {
                self.stuck_since.get_or_insert_with(Instant::now);
                return Poll::Pending;
            }
            self.stuck_since = None;
            ready!(polled)?;
            let Some(message) = self.queue.pop_front() else { return Poll::Ready(Ok(())) };
            self.queued_bytes -= message.len();
            Pin::new(&mut self.socket).start_send(message)?;
        }
    }

    /// Says what is in the queue and why the socket ends, and waits a moment for the client to say
    /// the same. The client is expected to have gone, so nothing that fails is of interest.
    pub(super) async fn close(mut self, ended: Ended, send_wait: Duration) {
        if matches!(ended, Ended::Client) {
            let farewell = async { while let Some(Ok(_)) = self.socket.next().await {} };
            let _ = timeout(FAREWELL_WAIT, farewell).await;
        }
        let Some(frame) = ended.frame() else { return };
        if ended == Ended::SlowReader {
            self.queue.clear();
        }
        let said = async {
            poll_fn(|cx| self.poll_send(cx)).await.ok()?;
            self.socket.send(Message::Close(Some(frame))).await.ok()
        };
        if timeout(send_wait.max(FAREWELL_WAIT), said).await.ok().flatten().is_none() {
            return;
        }
        let farewell = async {
            while let Some(Ok(_)) = self.socket.next().await {}
            if !ended.is_fault() {
                return;
            }
            // Nothing more is read as frames. What is still on its way is taken and thrown away,
            // because a connection with unread bytes is reset, and the client could not read why.
            let mut stream = self.socket.into_inner();
            let _ = stream.shutdown().await;
            let mut rest = [0; 1024];
            while stream.read(&mut rest).await.is_ok_and(|count| count > 0) {}
        };
        let _ = timeout(FAREWELL_WAIT, farewell).await;
    }
}
