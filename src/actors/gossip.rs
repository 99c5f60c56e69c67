//! Knows of other nodes. Of its modes there is one: solo, in which the node is alone, opens no
//! socket, and says so. What others ask it is the same in every mode.
//!
//! It keeps nothing, so a restart loses nothing.

use crate::actor::{Actor, Failure, Turn};
use crate::domain::gossip::View;
use crate::messages::event::{Event, Events, FederationEvent};
use crate::messages::gossip::GossipMsg;
use crate::metrics::FederationMeter;

/// The actor's name.
pub const NAME: &str = "gossip";

/// The gossip actor of a node that is alone.
#[derive(Clone, Debug)]
pub struct Gossip {
    /// The port for others, as configured; not opened here.
    pub port: u16,
    /// Where it tells of what it sees.
    pub events: Events,
    /// Counts what it sees.
    pub meter: FederationMeter,
}

impl Actor for Gossip {
    type Msg = GossipMsg;
    type State = View;
    const STARTS_AT_ONCE: bool = true;

    async fn start(&self) -> Result<View, Failure> {
        let view = View::solo(self.port);
        self.meter.set_peers(view.peers.len());
        self.events.publish(Event::Federation(FederationEvent::Began {
            mode: view.mode,
            connected: view.is_connected,
            peers: view.peers.len(),
        }));
        Ok(view)
    }

    async fn handle(&self, message: GossipMsg, _: Turn, view: &mut View) -> Result<(), Failure> {
        match message {
            GossipMsg::View { reply } => reply.send(view.clone()),
        }
        Ok(())
    }
}
