//! Metrics of WebSockets.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::metrics::{Metrics, Raised};

/// Labels: which way a WebSocket frame went.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DirectionLabel {
    /// `in` from a client, `out` to one.
    pub direction: &'static str,
}

/// Labels: why a WebSocket was closed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ClosedLabel {
    /// `client`, `lost`, `protocol`, `too_large`, `slow_reader`, `silent` or `shutdown`.
    pub reason: &'static str,
}

#[derive(Debug)]
pub(super) struct Families {
    clients: Gauge,
    frames: Family<DirectionLabel, Counter>,
    closed: Family<ClosedLabel, Counter>,
}

impl Families {
    pub(super) fn register(ws: &mut Registry) -> Self {
        let clients = Gauge::default();
        ws.register("clients", "Open WebSockets", clients.clone());
        let frames = Family::default();
        ws.register("frames", "WebSocket messages by direction, pings apart", frames.clone());
        let closed = Family::default();
        ws.register("closed", "WebSockets closed, by reason", closed.clone());
        Self { clients, frames, closed }
    }
}

impl Metrics {
    /// Counts a WebSocket as open until the guard is dropped.
    pub fn socket_opened(&self) -> Raised {
        Raised::new(&self.0.sockets.clients)
    }

    /// The counter of WebSocket messages that went `in` or `out`.
    pub fn socket_frames(&self, direction: &'static str) -> Counter {
        self.0.sockets.frames.get_or_create_owned(&DirectionLabel { direction })
    }

    /// Counts a closed WebSocket; for the reasons see [`ClosedLabel`].
    pub fn socket_closed(&self, reason: &'static str) {
        self.0.sockets.closed.get_or_create(&ClosedLabel { reason }).inc();
    }
}
