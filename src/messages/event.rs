//! What happens in the node, for whoever wants to know. Calls go down the tree, events go up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use serde::{Serialize, Serializer};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::clock;
use crate::domain::gossip::Mode;
use crate::domain::model_store::ModelName;
use crate::domain::model_store::listing::Verified;
use crate::domain::model_store::pulls::PullInfo;
use crate::domain::score::Score;
use crate::messages::addr::ActorName;

/// Events of a topic that a slow subscriber may be behind before it loses the oldest. An event is
/// small, so this is some hundred kilobytes, and at one event a millisecond a second of lag.
pub const BEHIND_MAX: usize = 1024;

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
    /// Models that come, go and are found damaged.
    Models,
}

impl Topic {
    /// Every topic with the name that subscribers use. A topic needs a line here, an arm in
    /// [`Event::topic`], and [`Events::announce`] where its publisher is made.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Actors, "actors"),
        (Self::Inference, "inference"),
        (Self::Envelopes, "envelopes"),
        (Self::Federation, "federation"),
        (Self::Consensus, "consensus"),
        (Self::Patterns, "patterns"),
        (Self::Models, "models"),
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
    Actor(ActorEvent),
    /// A generation began or ended.
    Inference(InferenceEvent),
    /// An envelope was made or judged.
    Envelope(EnvelopeEvent),
    /// The node's place among others changed.
    Federation(FederationEvent),
    /// A proposal was made or decided.
    Consensus(ConsensusEvent),
    /// A model came, went or was looked at.
    Model(ModelEvent),
    /// A pattern was learned, changed or let go.
    Pattern(PatternEvent),
}

impl Event {
    /// What it is about.
    pub fn topic(&self) -> Topic {
        match self {
            Self::Actor(_) => Topic::Actors,
            Self::Inference(_) => Topic::Inference,
            Self::Envelope(_) => Topic::Envelopes,
            Self::Federation(_) => Topic::Federation,
            Self::Consensus(_) => Topic::Consensus,
            Self::Model(_) => Topic::Models,
            Self::Pattern(_) => Topic::Patterns,
        }
    }
}

/// How an actor changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
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

/// What became of an actor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ActorEvent {
    /// Which one.
    #[serde(rename = "name", serialize_with = "as_text")]
    pub actor: ActorName,
    /// What happened to it.
    #[serde(rename = "what")]
    pub change: Change,
    /// The incarnation it happened to.
    pub incarnation: u64,
    /// Why, if it failed.
    pub reason: Option<String>,
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
    /// A backend failed too often and is left alone for a while.
    BreakerOpened {
        /// Its name.
        backend: String,
        /// For how long.
        seconds: u64,
    },
    /// A backend that was left alone works again.
    BreakerClosed {
        /// Its name.
        backend: String,
    },
    /// There was no answer.
    Failed {
        /// Names the request.
        request_id: String,
        /// Why: `unavailable`, `pool_unavailable`, `busy`, `too_long`, `unknown_model`, `timeout`,
        /// `cancelled` (the caller left) or `failed`.
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

/// What became of the node's place among others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum FederationEvent {
    /// The actor that looks after it came up.
    Began {
        /// How the node takes part.
        mode: Mode,
        /// Whether a socket to others is open.
        connected: bool,
        /// How many others are known.
        peers: usize,
    },
}

/// What became of a proposal. Neither its content nor its embedding is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum ConsensusEvent {
    /// It passed the gates, is on disk, and is put to the vote.
    Proposal {
        /// Its id, as text.
        proposal_id: String,
        /// The pattern's name.
        pattern_id: String,
    },
    /// It was decided, refused, or not decided in its time.
    Decided {
        /// Its id, as text.
        proposal_id: String,
        /// `committed`, `rejected` or `expired`.
        status: &'static str,
        /// Its number among the decisions, if it was committed.
        height: Option<u64>,
    },
}

/// What became of a model on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum ModelEvent {
    /// How a pull stands: at each change, and once a second while bytes come.
    Pull(PullInfo),
    /// It was hashed again.
    Verified(Verified),
    /// It was removed.
    Removed {
        /// What it was called.
        name: ModelName,
    },
}

/// What became of a pattern. What it says is not told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum PatternEvent {
    /// It is new.
    Learned {
        /// Its id, as text.
        id: String,
        /// Who taught it.
        source: String,
    },
    /// It was said again, in the same words or others: further evidence for it.
    Merged {
        /// Its id, as text.
        id: String,
        /// How often it was said by now.
        evidence: u64,
    },
    /// Somebody spoke for it or against it.
    Feedback {
        /// Its id, as text.
        id: String,
        /// Whether for it.
        positive: bool,
        /// How sure the node is of it now.
        confidence: Score,
    },
    /// It was forgotten, because somebody said so.
    Forgotten {
        /// Its id, as text.
        id: String,
    },
    /// It was let go to make room.
    Evicted {
        /// Its id, as text.
        id: String,
    },
    /// A decision elevated it.
    Elevated {
        /// Its id, as text.
        id: String,
        /// What was decided.
        proposal_id: String,
        /// The number of the decision.
        height: u64,
        /// `solo` if this node decided it alone.
        mode: &'static str,
    },
}

/// An event as the subscribers of its topic receive it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Counts the events of the topic, from 1 at the node's start and without a gap.
    pub seq: u64,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What happened.
    pub event: Event,
}

/// Where events are published and subscribed to; outlives every actor. Publishing never waits for
/// a subscriber.
#[derive(Clone, Debug)]
pub struct Events(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    topics: Box<[Channel]>,
    missed: Counter,
}

/// The events of one topic.
#[derive(Debug)]
struct Channel {
    told: broadcast::Sender<Told>,
    /// The number of the last one. Held while one is sent, so that numbers come in order.
    last: Mutex<u64>,
    has_publisher: AtomicBool,
}

impl Events {
    /// Events of a node whose slow subscribers are counted in `missed`.
    pub fn new(missed: Counter) -> Self {
        let channel = |_| Channel {
            told: broadcast::channel(BEHIND_MAX).0,
            last: Mutex::new(0),
            has_publisher: AtomicBool::new(false),
        };
        Self(Arc::new(Inner { topics: Topic::ALL.iter().map(channel).collect(), missed }))
    }

    /// Tells every subscriber, if there are any, of what happens now.
    pub fn publish(&self, event: Event) {
        self.publish_of(clock::shown_ms(), event);
    }

    /// Tells every subscriber, if there are any, of what happened at `at_ms` (since the Unix epoch).
    pub fn publish_of(&self, at_ms: u64, event: Event) {
        let channel = self.channel(event.topic());
        // A number is whole whoever panicked while it was held.
        let mut last = channel.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last += 1;
        if channel.told.receiver_count() > 0 {
            // Fails only when nobody listens any more.
            let _ = channel.told.send(Told { seq: *last, at_ms, event });
        }
    }

    /// Says that something in this node publishes events of these topics.
    pub fn announce(&self, topics: impl IntoIterator<Item = Topic>) {
        for topic in topics {
            self.channel(topic).has_publisher.store(true, Ordering::Release);
        }
    }

    /// Events of one topic from now on, whether or not anything publishes any yet.
    pub fn subscribe(&self, topic: Topic) -> Subscription {
        let receiver = self.channel(topic).told.subscribe();
        Subscription { receiver, missed: self.0.missed.clone() }
    }

    /// Events of one topic from now on, unless nothing publishes any.
    pub fn follow(&self, topic: Topic) -> Option<Subscription> {
        self.has_publisher(topic).then(|| self.subscribe(topic))
    }

    /// Topics that something publishes.
    pub fn announced(&self) -> impl Iterator<Item = Topic> {
        Topic::ALL.iter().map(|(topic, _)| *topic).filter(|topic| self.has_publisher(*topic))
    }

    fn has_publisher(&self, topic: Topic) -> bool {
        self.channel(topic).has_publisher.load(Ordering::Acquire)
    }

    fn channel(&self, topic: Topic) -> &Channel {
        &self.0.topics[topic as usize]
    }
}

/// What a subscriber hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The next event.
    Told(Told),
    /// So many events were lost because the subscriber was too slow; the next is the oldest kept.
    Missed(u64),
}

/// One subscriber to a topic. It holds no more than [`BEHIND_MAX`] events, and nobody up.
#[derive(Debug)]
pub struct Subscription {
    receiver: broadcast::Receiver<Told>,
    missed: Counter,
}

impl Subscription {
    /// Waits for what is next; `None` when the node has gone. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Heard> {
        match self.receiver.recv().await {
            Ok(told) => Some(Heard::Told(told)),
            Err(RecvError::Lagged(missed)) => {
                self.missed.inc_by(missed);
                Some(Heard::Missed(missed))
            }
            Err(RecvError::Closed) => None,
        }
    }
}

fn as_text<S: Serializer>(name: &ActorName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name.as_str())
}

#[cfg(test)]
mod tests;
