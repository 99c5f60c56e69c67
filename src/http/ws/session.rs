//! One socket from its welcome to its end.

use std::time::Duration;

use futures_util::future::select_all;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::clock;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::server::Kept;
use crate::http::ws::frame::{Ask, Frame, Id, answer, error};
use crate::http::ws::method::Operation;
use crate::http::ws::wire::{Ended, Wire};
use crate::http::ws::work::{Kind, Works};
use crate::messages::addr::Deadline;
use crate::messages::event::{Heard, Subscription, Topic};
use crate::messages::identity::IdentityMsg;

/// How long a welcome waits for the name of the node; without it, it says `null`.
const NAME_WAIT: Duration = Duration::from_secs(1);

/// A topic that is followed.
type Followed = (Topic, Subscription);

/// An open socket and what its client has asked for.
#[derive(Debug)]
pub(super) struct Session {
    app: App,
    wire: Wire,
    works: Works,
    followed: Vec<Followed>,
    kept: Kept,
    /// Whether the node goes down: what is in flight may end, and nothing more begins.
    is_draining: bool,
    /// When the client was last heard of.
    heard: Instant,
    /// When it was last asked whether it is there.
    pinged: Instant,
}

impl Session {
    pub(super) fn new(app: App, wire: Wire, works: Works, kept: Kept) -> Self {
        let (heard, pinged) = (Instant::now(), Instant::now());
        let (followed, is_draining) = (Vec::new(), false);
        Self { app, wire, works, followed, kept, is_draining, heard, pinged }
    }

    /// Serves the socket until it ends, and says why it did.
    pub(super) async fn run(mut self) -> Ended {
        self.welcome().await;
        let ended = self.serve().await;
        let Self { app, wire, works, mut kept, .. } = self;
        // Whatever is still in flight has no reader any more.
        drop(works);
        let send_wait = match ended {
            Ended::Shutdown => app.limits.sockets.send_timeout,
            _ => Duration::ZERO,
        };
        tokio::select! {
            () = wire.close(ended, send_wait) => {}
            // Cut off, unless it was never asked to end.
            _ = kept.steps.changed(), if ended == Ended::Shutdown => {}
        }
        ended
    }

    async fn welcome(&mut self) {
        let wait = Deadline::after(NAME_WAIT);
        let ask = |reply| IdentityMsg::Active { reply };
        let active = self.app.roster.identity.call(wait, ask).await.ok();
        let topics: Vec<_> = self.app.roster.events.announced().map(Topic::as_str).collect();
        let welcome = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "node_id": active.map(|active| active.node_id.to_hex()),
            "topics": topics,
        });
        self.wire.say(&answer("welcome", None, welcome));
    }

    async fn serve(&mut self) -> Ended {
        loop {
            if self.is_draining && self.works.is_empty() {
                return Ended::Shutdown;
            }
            let has_room = self.wire.has_room();
            let readiness = self.app.readiness.clone();
            let wake = self.wake();
            tokio::select! {
                step = self.kept.steps.changed() => {
                    if self.is_draining || step.is_err() {
                        return Ended::Shutdown;
                    }
                    self.is_draining = true;
                }
                () = readiness.given_up(), if self.is_draining => {
                    for frame in self.works.give_up(&going_down()) {
                        self.wire.say(&frame);
                    }
                }
                message = self.wire.next() => match message {
                    Ok(Some(Message::Close(_))) => return Ended::Client,
                    Ok(Some(message)) => self.hear(&message),
                    // The other branches look at what has changed.
                    Ok(None) => {}
                    Err(ended) => return ended,
                },
                frame = self.works.next(), if has_room => self.wire.say(&frame),
                told = next_of(&mut self.followed), if has_room => self.tell(told),
                () = tokio::time::sleep_until(wake) => {
                    if let Some(ended) = self.tick() {
                        return ended;
                    }
                }
            }
        }
    }

    /// When to look at the client again.
    fn wake(&self) -> Instant {
        let limits = &self.app.limits.sockets;
        let ping = self.pinged + limits.ping_every;
        let silent = self.heard + limits.silent_timeout;
        let stuck = self.wire.stuck_since().map_or(silent, |since| since + limits.send_timeout);
        ping.min(silent).min(stuck)
    }

    /// Looks at the client: does it read, is it there at all?
    fn tick(&mut self) -> Option<Ended> {
        let limits = &self.app.limits.sockets;
        let now = Instant::now();
        if self.wire.stuck_since().is_some_and(|since| now >= since + limits.send_timeout) {
            return Some(Ended::SlowReader);
        }
        if now >= self.heard + limits.silent_timeout {
            return Some(Ended::Silent);
        }
        if now >= self.pinged + limits.ping_every {
            self.pinged = now;
            self.wire.ping();
        }
        None
    }

    fn hear(&mut self, message: &Message) {
        self.heard = Instant::now();
        // Pings are answered by the protocol itself.
        if !matches!(message, Message::Text(_) | Message::Binary(_)) {
            return;
        }
        let frame = self.wire.codec().read(message).map_err(|error| (None, error));
        let told = match frame.and_then(Frame::read) {
            Ok(Frame { id, ask }) => {
                let told = self.ask(id.clone(), ask);
                told.unwrap_or_else(|refused| Some(error(id.as_ref(), &refused)))
            }
            Err((id, refused)) => Some(error(id.as_ref(), &refused)),
        };
        if let Some(frame) = told {
            self.wire.say(&frame);
        }
    }

    /// Does what a frame asks for; gives the answer if it is there at once.
    fn ask(&mut self, id: Option<Id>, ask: Ask) -> Result<Option<Value>, ApiError> {
        let id_of_answer = id.as_ref();
        Ok(Some(match ask {
            Ask::Ping => answer("pong", id_of_answer, json!({ "timestamp": clock::shown_ms() })),
            Ask::Status => answer("status", id_of_answer, self.status()),
            Ask::Subscribe(topic) => {
                self.subscribe(&topic)?;
                answer("subscribed", id_of_answer, json!({ "topic": topic }))
            }
            Ask::Unsubscribe(topic) => {
                let topic = known(&topic)?;
                self.followed.retain(|(followed, _)| *followed != topic);
                answer("unsubscribed", id_of_answer, json!({ "topic": topic.as_str() }))
            }
            Ask::Call { method, params } => {
                self.admit(Kind::Call, id_of_answer)?;
                let operation = Operation::find(&method, params)?;
                self.works.call(id, operation);
                return Ok(None);
            }
            Ask::Generate(request) => {
                self.admit(Kind::Generate, id_of_answer)?;
                self.works.generate(id, request);
                return Ok(None);
            }
            Ask::Cancel(target) => {
                if !self.works.cancel(&target) {
                    let error = "nothing with this id is in flight";
                    return Err(ApiError::invalid("UNKNOWN_ID", error).details("$.id"));
                }
                answer("cancelled", Some(&target), json!({}))
            }
        }))
    }

    fn status(&self) -> Value {
        let uptime = self.app.started.elapsed();
        json!({
            "uptime_secs": uptime.as_secs(),
            "uptime_seconds": uptime.as_secs_f64(),
            "requests": self.app.metrics.requests_served(),
        })
    }

    fn subscribe(&mut self, name: &str) -> Result<(), ApiError> {
        let topic = known(name)?;
        if self.followed.iter().any(|(followed, _)| *followed == topic) {
            return Ok(());
        }
        let max = self.app.limits.sockets.subscriptions_max;
        if self.followed.len() >= max {
            let error = format!("this socket follows {max} topics, as many as one may");
            return Err(ApiError::invalid("TOO_MANY_SUBSCRIPTIONS", error));
        }
        let Some(events) = self.app.roster.events.follow(topic) else {
            let error = "nothing in this node publishes events of this topic";
            return Err(ApiError::invalid("TOPIC_UNAVAILABLE", error).details("$.topic"));
        };
        self.followed.push((topic, events));
        Ok(())
    }

    /// Whether one more work may begin under this id.
    fn admit(&self, kind: Kind, id: Option<&Id>) -> Result<(), ApiError> {
        if self.is_draining {
            return Err(going_down());
        }
        if id.is_some_and(|id| self.works.has(id)) {
            let error = "something with this id is in flight";
            return Err(ApiError::invalid("DUPLICATE_ID", error).details("$.id"));
        }
        let limits = &self.app.limits.sockets;
        let (max, code, what) = match kind {
            Kind::Call => (limits.calls_max, "TOO_MANY_CALLS", "calls"),
            Kind::Generate => (limits.generations_max, "TOO_MANY_GENERATIONS", "generations"),
        };
        if self.works.count(kind) >= max {
            let error = format!("{max} {what} of this socket are in flight, as many as may be");
            return Err(ApiError::too_many(code, error, ApiError::SOON));
        }
        Ok(())
    }

    fn tell(&mut self, (topic, heard): (Topic, Heard)) {
        let frame = match heard {
            Heard::Told(told) => {
                let data = serde_json::to_value(&told.event).unwrap_or_default();
                let (seq, at) = (told.seq, told.at_ms);
                let event = json!({ "topic": topic.as_str(), "seq": seq, "at": at, "data": data });
                answer("event", None, event)
            }
            Heard::Missed(missed) => {
                answer("lagged", None, json!({ "topic": topic.as_str(), "missed": missed }))
            }
        };
        self.wire.say(&frame);
    }
}

/// The next event of any topic that is followed, or how many were lost before it.
async fn next_of(followed: &mut [Followed]) -> (Topic, Heard) {
    if followed.is_empty() {
        return std::future::pending().await;
    }
    let each = followed.iter_mut().map(|(_, events)| Box::pin(events.next()));
    let (told, at, _) = select_all(each).await;
    let topic = followed[at].0;
    // Each topic has its turn, however much another has to tell.
    followed[at..].rotate_left(1);
    match told {
        Some(heard) => (topic, heard),
        // The node keeps its channels for as long as there are sockets.
        None => std::future::pending().await,
    }
}

fn known(name: &str) -> Result<Topic, ApiError> {
    Topic::from_name(name).ok_or_else(|| {
        let known: Vec<_> = Topic::ALL.iter().map(|(_, name)| *name).collect();
        let error = format!("there is no such topic; there is: {}", known.join(", "));
        ApiError::invalid("UNKNOWN_TOPIC", error).details("$.topic")
    })
}

fn going_down() -> ApiError {
    ApiError::unavailable("SHUTTING_DOWN", "the node is going down")
}
