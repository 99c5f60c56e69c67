//! What happens in the node, for whoever wants to know. Calls go down the tree, events go up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Serialize, Serializer};
use tokio::sync::broadcast;

use crate::clock;
use crate::messages::addr::ActorName;

/// Events a slow subscriber may be behind before it loses the oldest. An event is small, so this
/// is some hundred kilobytes, and at one event a millisecond a second of lag.
const BEHIND_MAX: usize = 1024;

/// What an event is about. Events of one topic keep their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Actors that start, fail and come back.
    Actors,
    /// Generations of text.
    Inference,
    /// Envelopes made, verified and refused.
    Envelopes,
    /// Peers that come and go.
    Federation,
    /// Proposals and decisions.
    Consensus,
    /// Patterns that are learned.
    Patterns,
}

impl Topic {
    /// Every topic with the name that subscribers use. A topic needs a line here, an arm in
    /// [`Event::topic`], and [`Events::announce`] where its publisher is made.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Actors, "actors"),
        (Self::Inference, "inference"),
        (Self::Envelopes, "envelopes"),
        (Self::Federation, "federation"),
        (Self::Consensus, "consensus"),
        (Self::Patterns, "patterns"),
    ];

    /// The topic of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(topic, _)| *topic)
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// Something that happened. Its JSON is what subscribers read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Event {
    /// An actor changed its state.
    Actor {
        /// Which one.
        #[serde(serialize_with = "as_text")]
        name: ActorName,
        /// What happened: `started`, `stopped`, `failed` or `restarted`.
        what: &'static str,
        /// The incarnation it happened to.
        incarnation: u64,
        /// Why, if it failed.
        reason: Option<String>,
    },
    /// A generation began or ended.
    Inference(InferenceEvent),
    /// An envelope was made or judged.
    Envelope(EnvelopeEvent),
}

impl Event {
    /// What it is about.
    pub fn topic(&self) -> Topic {
        match self {
            Self::Actor { .. } => Topic::Actors,
            Self::Inference(_) => Topic::Inference,
            Self::Envelope(_) => Topic::Envelopes,
        }
    }
}

/// What became of a generation. Neither prompt nor text is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum InferenceEvent {
    /// The router took it up.
    Began {
        /// Names the request, as in its answer.
        request_id: String,
    },
    /// It was answered.
    Finished {
        /// Names the request.
        request_id: String,
        /// The tier that answered.
        tier: &'static str,
        /// The model that answered.
        model: String,
        /// From the arrival at the router to the sealed answer, in milliseconds.
        ms: u64,
        /// Tokens generated.
        tokens: usize,
    },
    /// The gates refused the prompt or the answer.
    Refused {
        /// Names the request.
        request_id: String,
        /// The first gate's code.
        code: &'static str,
    },
    /// There was no answer.
    Failed {
        /// Names the request.
        request_id: String,
        /// Why: `unavailable`, `busy`, `too_long`, `unknown_model`, `timeout`, `cancelled` (the
        /// caller left) or `failed`.
        code: &'static str,
    },
}

/// What became of an envelope. Its payload is not told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum EnvelopeEvent {
    /// It was sealed here and is on disk.
    Made {
        /// Its id, as text.
        id: String,
    },
    /// It was checked and is valid.
    Verified {
        /// Its id, as text.
        id: String,
        /// Whether its nonce was recorded too.
        consumed: bool,
    },
    /// It was checked and is not valid.
    Refused {
        /// The reject code's name.
        code: &'static str,
    },
}

/// An event as the subscribers of its topic receive it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Counts the events of the topic, from 1 at the node's start.
    pub seq: u64,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What happened.
    pub event: Event,
}

/// Where events are published and subscribed to; outlives every actor. Publishing never waits for
/// a subscriber.
#[derive(Clone, Debug)]
pub struct Events {
    all: broadcast::Sender<Event>,
    topics: Arc<[Channel]>,
}

/// The events of one topic.
#[derive(Debug)]
struct Channel {
    told: broadcast::Sender<Told>,
    /// The number of the last one. Held while one is sent, so that numbers come in order.
    last: Mutex<u64>,
    has_publisher: AtomicBool,
}

impl Default for Events {
    fn default() -> Self {
        let channel = |_| Channel {
            told: broadcast::channel(BEHIND_MAX).0,
            last: Mutex::new(0),
            has_publisher: AtomicBool::new(false),
        };
        Self {
            all: broadcast::channel(BEHIND_MAX).0,
            topics: Topic::ALL.iter().map(channel).collect(),
        }
    }
}

impl Events {
    /// Tells every subscriber, if there are any.
    pub fn publish(&self, event: Event) {
        let channel = self.channel(event.topic());
        if self.all.receiver_count() > 0 {
            let _ = self.all.send(event.clone());
        }
        let mut last = channel.last();
        *last += 1;
        if channel.told.receiver_count() > 0 {
            let _ = channel.told.send(Told { seq: *last, at_ms: clock::shown_ms(), event });
        }
    }

    /// Events of every topic from now on; a reader that is too slow is told how many it missed.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.all.subscribe()
    }

    /// Says that something in this node publishes events of these topics.
    pub fn announce(&self, topics: impl IntoIterator<Item = Topic>) {
        for topic in topics {
            self.channel(topic).has_publisher.store(true, Ordering::Release);
        }
    }

    /// Events of one topic from now on, unless nothing publishes any. A reader that is too slow
    /// loses the oldest and is told how many.
    pub fn follow(&self, topic: Topic) -> Option<broadcast::Receiver<Told>> {
        self.has_publisher(topic).then(|| self.channel(topic).told.subscribe())
    }

    /// Topics that something publishes.
    pub fn announced(&self) -> impl Iterator<Item = Topic> {
        Topic::ALL.iter().map(|(topic, _)| *topic).filter(|topic| self.has_publisher(*topic))
    }

    fn has_publisher(&self, topic: Topic) -> bool {
        self.channel(topic).has_publisher.load(Ordering::Acquire)
    }

    fn channel(&self, topic: Topic) -> &Channel {
        &self.topics[topic as usize]
    }
}

impl Channel {
    fn last(&self) -> MutexGuard<'_, u64> {
        // A number is whole whoever panicked while it was held.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn as_text<S: Serializer>(name: &ActorName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name.as_str())
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::error::{RecvError, TryRecvError};

    use super::*;

    fn made(id: u64) -> Event {
        Event::Envelope(EnvelopeEvent::Made { id: id.to_string() })
    }

    #[test]
    fn every_topic_has_its_name_and_its_place() {
        for (at, (topic, name)) in Topic::ALL.into_iter().enumerate() {
            assert_eq!((topic as usize, topic.as_str()), (at, name));
            assert_eq!(Topic::from_name(name), Some(topic));
        }
        assert_eq!(Topic::from_name("Actors"), None);
    }

    #[test]
    fn a_topic_without_a_publisher_cannot_be_followed() {
        let events = Events::default();
        assert!(events.follow(Topic::Patterns).is_none());
        events.announce([Topic::Patterns]);
        assert!(events.follow(Topic::Patterns).is_some());
        assert_eq!(events.announced().collect::<Vec<_>>(), [Topic::Patterns]);
    }

    #[test]
    fn events_are_counted_by_topic_also_while_nobody_listens() {
        let events = Events::default();
        events.announce([Topic::Actors, Topic::Envelopes]);
        events.publish(made(1));
        let mut followed = events.follow(Topic::Envelopes).unwrap();
        let mut others = events.follow(Topic::Actors).unwrap();
        events.publish(made(2));
        let told = followed.try_recv().unwrap();
        assert_eq!((told.seq, told.event), (2, made(2)));
        assert_eq!(others.try_recv(), Err(TryRecvError::Empty));
    }

    #[tokio::test]
    async fn a_slow_follower_loses_the_oldest_of_its_topic_and_learns_how_many() {
        let events = Events::default();
        events.announce([Topic::Envelopes]);
        let mut followed = events.follow(Topic::Envelopes).unwrap();
        let count = u64::try_from(BEHIND_MAX).unwrap() + 5;
        for id in 0..count {
            events.publish(made(id));
        }
        assert_eq!(followed.recv().await, Err(RecvError::Lagged(5)));
        assert_eq!(followed.recv().await.unwrap().seq, 6);
    }

    #[test]
    fn what_subscribers_read_is_flat() {
        let event = InferenceEvent::Refused { request_id: "r".into(), code: "RejectGateIhsan" };
        let json = serde_json::to_value(Event::Inference(event)).unwrap();
        let expected = serde_json::json!({
            "what": "refused", "request_id": "r", "code": "RejectGateIhsan",
        });
        assert_eq!(json, expected);
    }
}
