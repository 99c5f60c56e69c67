//! How much of the node one client may hold, and for how long.

use std::time::Duration;

use crate::domain::embedding::ngram;
use crate::domain::inference::request;
use crate::http::rate::Rates;

/// Limits of the HTTP server. Every one is enforced; what happens at each is said with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Open connections. Beyond it new ones wait in the kernel's queue until one closes, which the
    /// timeouts below make sure of. Default 512: half of the usual limit on open files.
    pub connections_max: usize,
    /// Open connections of one client: an address, or a /64 network of IPv6. Beyond it one more is
    /// closed at once, with 503 where that can be said. Connections from this machine are not
    /// counted. Default 64: a browser has 6.
    pub connections_per_client_max: usize,
    /// Requests served at once, beside those that only ask whether the node lives. Beyond it 503.
    /// Default 256: what may wait for the router and backends, and as many quick ones.
    pub requests_max: usize,
    /// How often a client may call; beyond it 429.
    pub rates: Rates,
    /// From the connection, or from the first byte of a later request, to the end of its head;
    /// then the connection is closed. Also the longest silence within a body; then 408. Default
    /// 5 s.
    pub header_timeout: Duration,
    /// Silence between two requests of a connection; then it is closed. Default 20 s: common
    /// clients close theirs after 15 s, and the one who closes should be the client, which knows
    /// whether it is about to send.
    pub idle_timeout: Duration,
    /// A client that takes none of its answer for so long is cut off. Default 20 s.
    pub write_timeout: Duration,
    /// Bytes of a request's header fields; beyond it 431. Default 16 KiB.
    pub header_bytes_max: usize,
    /// Bytes of a request's body; beyond it 413, at once if the length is declared. Default 1 MiB.
    /// An envelope to verify may have twice as many, since its payload alone may have so many.
    pub body_bytes_max: usize,
    /// From a request's head to its answer; then 504. Also the longest a body may take to arrive,
    /// on every route; then 408. Default 30 s.
    pub request_timeout: Duration,
    /// The same for `inference/generate`, to the end of a stream. Default 120 s: 512 tokens at the
    /// pace of a middling model on a slow CPU.
    pub generate_timeout: Duration,
    /// How long requests in flight may take to end when the server stops; then they are answered
    /// with 503. Default 14 s: a node is down within 25.
    pub stop_grace: Duration,
    /// What a request to generate may ask for; beyond it 400.
    pub prompts: request::Limits,
    /// What a WebSocket may hold.
    pub sockets: SocketLimits,
    /// Numbers in the vectors that the node gives, and the only number that may be asked for; otherwise
    /// 400. Default 384: those of the embedder built in.
    pub dimensions: usize,
}

/// Limits of WebSockets.
#[derive(Clone, Debug, PartialEq)]
pub struct SocketLimits {
    /// Open sockets; beyond it 503. Default 256: half of the connections.
    pub sockets_max: usize,
    /// Open sockets of one address (IPv6: of one /64 network, which one client usually has);
    /// beyond it 429. Default 64.
    pub per_client_max: usize,
    /// Bytes of a message from a client; beyond it the socket is closed with code 1009. Default
    /// 64 KiB: a prompt of ordinary length.
    pub message_bytes_max: usize,
    /// Topics that one socket may follow; beyond it `TOO_MANY_SUBSCRIPTIONS`. Default 8.
    pub subscriptions_max: usize,
    /// Calls in flight; beyond it `TOO_MANY_CALLS`. Default 16.
    pub calls_max: usize,
    /// Generations in flight; beyond it `TOO_MANY_GENERATIONS`. Default 4.
    pub generations_max: usize,
    /// Frames that wait for the client to read. Then neither its frames nor answers nor events are
    /// taken, until one has left. Default 256.
    pub queue_frames_max: usize,
    /// A client that takes not one frame for so long is closed. Default 20 s. The connection's own
    /// [`Limits::write_timeout`] holds too.
    pub send_timeout: Duration,
    /// Time between pings. Default 20 s.
    pub ping_every: Duration,
    /// A client of which no frame comes for so long, not even the answer to a ping, is closed.
    /// Default 45 s: two pings and their answers.
    pub silent_timeout: Duration,
}

impl Default for SocketLimits {
    fn default() -> Self {
        Self {
            sockets_max: 256,
            per_client_max: 64,
            message_bytes_max: 64 * 1024,
            subscriptions_max: 8,
            calls_max: 16,
            generations_max: 4,
            queue_frames_max: 256,
            send_timeout: Duration::from_secs(20),
            ping_every: Duration::from_secs(20),
            silent_timeout: Duration::from_secs(45),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 512,
            connections_per_client_max: 64,
            requests_max: 256,
            rates: Rates::default(),
            header_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(20),
            write_timeout: Duration::from_secs(20),
            header_bytes_max: 16 * 1024,
            body_bytes_max: 1024 * 1024,
            request_timeout: Duration::from_secs(30),
            generate_timeout: Duration::from_secs(120),
            stop_grace: Duration::from_secs(14),
            prompts: request::Limits::default(),
            sockets: SocketLimits::default(),
            dimensions: ngram::DIMENSION,
        }
    }
}
