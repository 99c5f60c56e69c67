//! `[ws]`: what one WebSocket client may hold, and for how long.

use serde::{Deserialize, Serialize};

/// `[ws]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ws {
    /// Most sockets open at once. Each is also one of `http.connections_max`.
    pub sockets_max: usize,
    /// Most sockets open at once from one address.
    pub sockets_per_client_max: usize,
    /// Largest message from a client, in bytes, in one frame or in several.
    pub message_bytes_max: usize,
    /// Topics that one socket may follow.
    pub subscriptions_max: usize,
    /// Calls of one socket in flight.
    pub calls_max: usize,
    /// Generations of one socket in flight.
    pub generations_max: usize,
    /// Frames that wait for a client to read.
    pub queue_frames_max: usize,
    /// Time for a client to take a frame.
    pub send_seconds: u64,
    /// Time between pings.
    pub ping_seconds: u64,
    /// Time without any frame from a client, answers to pings included.
    pub silent_seconds: u64,
}

impl Default for Ws {
    fn default() -> Self {
        Self {
            sockets_max: 256,
            sockets_per_client_max: 64,
            message_bytes_max: 64 << 10,
            subscriptions_max: 8,
            calls_max: 16,
            generations_max: 4,
            queue_frames_max: 256,
            send_seconds: 20,
            ping_seconds: 20,
            silent_seconds: 45,
        }
    }
}
