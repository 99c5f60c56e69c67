//! What becomes of the node's actors, for whoever wants to know. Calls go down the tree, events go
//! up.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::messages::addr::ActorName;

/// Events a slow subscriber may be behind before it loses the oldest. An event is small, so this
/// is some hundred kilobytes, and at one event a millisecond a second of lag.
pub const BEHIND_MAX: usize = 1024;

/// How an actor changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its first incarnation came up.
    Started,
    /// It ended because it was told to.
    Stopped,
    /// It ended otherwise, or did not come up.
    Failed,
    /// A later incarnation came up.
    Restarted,
}

impl Change {
    /// Its name on the wire and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Restarted => "restarted",
        }
    }
}

/// An actor changed its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// 1 for the first event of the node, then without a gap.
    pub seq: u64,
    /// When, as milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Which actor.
    pub actor: ActorName,
    /// What happened to it.
    pub change: Change,
    /// The incarnation it happened to.
    pub incarnation: u64,
    /// Why, if it failed.
    pub reason: Option<Arc<str>>,
}

/// Where events are published and subscribed to; outlives every actor. Publishing never waits for
/// a reader.
#[derive(Clone, Debug)]
pub struct Events(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The number of the last event. Held while it is sent, so that events come in their order.
    last: Mutex<u64>,
    sender: broadcast::Sender<Event>,
    missed: Counter,
}

impl Events {
    /// Events of a node whose slow subscribers are counted in `missed`.
    pub fn new(missed: Counter) -> Self {
        let (sender, _) = broadcast::channel(BEHIND_MAX);
        Self(Arc::new(Inner { last: Mutex::new(0), sender, missed }))
    }

    /// Tells every subscriber, if there are any.
    pub fn publish(
        &self,
        at_ms: u64,
        actor: ActorName,
        change: Change,
        incarnation: u64,
        reason: Option<Arc<str>>,
    ) {
        let mut last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last += 1;
        let event = Event { seq: *last, at_ms, actor, change, incarnation, reason };
        // Fails only when nobody listens.
        let _ = self.0.sender.send(event);
    }

    /// Events from now on.
    pub fn subscribe(&self) -> Subscription {
        Subscription { receiver: self.0.sender.subscribe(), missed: self.0.missed.clone() }
    }
}

/// What a subscriber hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The next event.
    Event(Event),
    /// So many events were lost because the subscriber was too slow; the next is the oldest kept.
    Missed(u64),
}

/// One subscriber. It holds no more than [`BEHIND_MAX`] events, and nobody up.
#[derive(Debug)]
pub struct Subscription {
    receiver: broadcast::Receiver<Event>,
    missed: Counter,
}

impl Subscription {
    /// Waits for what is next; `None` when the node has gone. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Heard> {
        match self.receiver.recv().await {
            Ok(event) => Some(Heard::Event(event)),
            Err(RecvError::Lagged(missed)) => {
                self.missed.inc_by(missed);
                Some(Heard::Missed(missed))
            }
            Err(RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(events: &Events, incarnation: u64) {
        events.publish(7, "one".into(), Change::Restarted, incarnation, None);
    }

    #[tokio::test]
    async fn a_slow_reader_holds_nobody_up_and_hears_what_it_missed() {
        let missed = Counter::default();
        let events = Events::new(missed.clone());
        let mut slow = events.subscribe();
        let behind = BEHIND_MAX as u64;
        // Never waits, whoever reads: there is no await in it.
        (0..behind + 10).for_each(|incarnation| publish(&events, incarnation));
        assert_eq!(slow.next().await, Some(Heard::Missed(10)));
        assert_eq!(missed.get(), 10);
        for seq in 11..=behind + 10 {
            let Some(Heard::Event(event)) = slow.next().await else { panic!("{seq}") };
            assert_eq!((event.seq, event.incarnation), (seq, seq - 1));
        }
        drop(events);
        assert_eq!(slow.next().await, None);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn events_come_in_the_order_of_their_numbers_from_whatever_thread() {
        let events = Events::new(Counter::default());
        let mut reader = events.subscribe();
        let publishers = (0..4).map(|_| {
            let events = events.clone();
            tokio::spawn(async move { (0..200).for_each(|number| publish(&events, number)) })
        });
        for publisher in publishers.collect::<Vec<_>>() {
            publisher.await.unwrap();
        }
        for seq in 1..=800 {
            let Some(Heard::Event(event)) = reader.next().await else { panic!("{seq}") };
            assert_eq!(event.seq, seq);
        }
    }
}
