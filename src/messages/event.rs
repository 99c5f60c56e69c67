//! What happens in the node, for whoever wants to know. Calls go down the tree, events go up.

use tokio::sync::broadcast;

use crate::messages::addr::ActorName;

/// Events a slow subscriber may be behind before it loses the oldest. An event is small, so this
/// is some hundred kilobytes, and at one event a millisecond a second of lag.
const BEHIND_MAX: usize = 1024;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An actor changed its state.
    Actor {
        /// Which one.
        name: ActorName,
        /// What happened: `started`, `stopped`, `failed` or `restarted`.
        what: &'static str,
        /// The incarnation it happened to.
        incarnation: u64,
        /// Why, if it failed.
        reason: Option<String>,
    },
}

/// Where events are published and subscribed to; outlives every actor. Publishing never waits.
#[derive(Clone, Debug)]
pub struct Events(broadcast::Sender<Event>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::channel(BEHIND_MAX).0)
    }
}

impl Events {
    /// Tells every subscriber, if there are any.
    pub fn publish(&self, event: Event) {
        let _ = self.0.send(event);
    }

    /// Events from now on; a reader that is too slow is told how many it missed.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }
}
