//! What a node knows of others: its mode, and its peers.

use serde::Serialize;

/// How a node takes part in a federation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Alone: it opens no socket to others and decides by itself.
    Solo,
}

impl Mode {
    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Solo => "solo",
        }
    }
}

/// Another node, as it was seen. What is not known of it is `None`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Peer {
    /// Its node id, in hex.
    pub node_id: String,
    /// Its name in the network.
    pub peer_id: Option<String>,
    /// Where it was reached.
    pub address: String,
    /// `alive`, `suspect`, `dead` or `left`.
    pub state: &'static str,
    /// When it was last heard of, in milliseconds since the Unix epoch.
    pub last_seen: u64,
    /// The time to it and back, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// What it runs.
    pub agent_version: Option<String>,
    /// How well it behaves; below zero it is avoided.
    pub score: Option<f64>,
}

/// What there is to know of the network.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// How this node takes part.
    pub mode: Mode,
    /// Whether a socket to others is bound and listens.
    pub is_connected: bool,
    /// The port for others, as configured. Whether it is open, `is_connected` says.
    pub port: u16,
    /// Where it listens to others.
    pub listen_addrs: Vec<String>,
    /// Rounds of gossip since the node started.
    pub round: u64,
    /// Who was heard of.
    pub peers: Vec<Peer>,
}

impl View {
    /// That of a node that is alone: nothing is open, nobody is known, and nothing is exchanged.
    pub fn solo(port: u16) -> Self {
        let (listen_addrs, peers) = (Vec::new(), Vec::new());
        Self { mode: Mode::Solo, is_connected: false, port, listen_addrs, round: 0, peers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_alone_claims_nothing() {
        let view = View::solo(7946);
        assert_eq!((view.mode.as_str(), view.is_connected, view.round), ("solo", false, 0));
        assert!(view.listen_addrs.is_empty() && view.peers.is_empty());
        assert_eq!(serde_json::to_value(view.mode).unwrap(), view.mode.as_str());
    }
}
