//! WebSockets: a client of them, and a node of scripted actors for it.

mod frames;
mod limits;
mod living;
mod upgrade;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{AUTHORIZATION, HOST};
use bizra_omega::actors::identity::{self, Identity};
use bizra_omega::adapters::keystore::Keystore;
use bizra_omega::domain::restart::Strategy;
use bizra_omega::http::auth::Mode;
use bizra_omega::http::limits::{Limits, SocketLimits};
use bizra_omega::http::server::{Accepting, Server};
use bizra_omega::messages::event::{EnvelopeEvent, Event, Events, Topic};
use bizra_omega::supervisor::{ChildSpec, Root};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::client::{Request, Response, generate_key};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::door::{Door, door_over, roster};
use crate::stream::Scripted;
use crate::support::{SECOND, permanent, root, settings};

/// Long enough for a loaded machine; nothing that works takes it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node of which only identity and inference live, the latter by the script of its prompts.
struct Host {
    door: Door,
    address: SocketAddr,
    events: Events,
    /// Told when a hanging generation is given up.
    stopped: Arc<Notify>,
    server: Server,
    accepting: Accepting,
    _root: Root,
    _keys: tempfile::TempDir,
}

async fn host() -> Host {
    host_with(SocketLimits::default()).await
}

async fn host_with(sockets: SocketLimits) -> Host {
    let stop_grace = Duration::from_millis(500);
    host_of(Limits { sockets, stop_grace, ..Limits::default() }).await
}

async fn host_of(limits: Limits) -> Host {
    let settings = settings(Strategy::OneForOne);
    let metrics = settings.metrics.clone();
    let keys = tempfile::tempdir().unwrap();
    let keystore = Arc::new(Keystore::new(keys.path()));
    let scripted = Scripted::default();
    let stopped = scripted.stopped.clone();
    let make = move || Identity { keystore: keystore.clone() };
    let (identity_child, identity) =
        ChildSpec::actor(identity::NAME, permanent(), SECOND, 64, &metrics, make);
    let make = move || scripted.clone();
    let (router_child, inference) =
        ChildSpec::actor("inference-router", permanent(), SECOND, 64, &metrics, make);
    let root = root(&settings, vec![identity_child, router_child]).await;
    let mut roster = roster(&metrics);
    roster.identity = identity;
    roster.inference = inference;
    let events = roster.events.clone();
    events.announce([Topic::Actors, Topic::Inference, Topic::Envelopes]);
    events.announce([Topic::Federation, Topic::Consensus]);
    let door = door_over(roster, metrics.clone(), Mode::Local, limits.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (router, readiness) = (door.router.clone(), door.readiness.clone());
    let server = Server::new(vec![listener], router, limits, metrics, readiness);
    let accepting = server.accept();
    Host { door, address, events, stopped, server, accepting, _root: root, _keys: keys }
}

impl Host {
    /// A socket with no token.
    async fn socket(&self) -> Socket {
        Socket::open(self.address, &[]).await
    }

    /// A socket that has been welcomed, with no token.
    async fn welcomed(&self) -> Socket {
        let mut socket = self.socket().await;
        assert_eq!(socket.hear().await["type"], "welcome");
        socket
    }

    fn metric(&self, name: &str) -> u64 {
        metric(&self.door.metrics.encode().unwrap(), name)
    }

    async fn until_metric(&self, name: &str, value: u64) {
        let reached = async {
            while self.metric(name) != value {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let text = || self.door.metrics.encode().unwrap();
        timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("{name} {value}: {}", text()));
    }

    fn publish(&self, id: impl ToString) {
        self.events.publish(Event::Envelope(EnvelopeEvent::Made { id: id.to_string() }));
    }
}

/// The value of a metric with its labels; 0 if it has none.
fn metric(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().unwrap())
}

/// A client of a socket.
struct Socket {
    stream: WebSocketStream<TcpStream>,
    is_packed: bool,
}

impl Socket {
    async fn open(address: SocketAddr, fields: &[(&str, &str)]) -> Self {
        Self::try_open(address, fields).await.unwrap().0
    }

    async fn with_token(address: SocketAddr, token: &str) -> Self {
        Self::open(address, &[(AUTHORIZATION.as_str(), &format!("Bearer {token}"))]).await
    }

    async fn try_open(
        address: SocketAddr,
        fields: &[(&str, &str)],
    ) -> Result<(Self, Response), Error> {
        Self::over(TcpStream::connect(address).await.unwrap(), fields).await
    }

    /// Shakes hands; `fields` replace those that a client sends by itself.
    async fn over(stream: TcpStream, fields: &[(&str, &str)]) -> Result<(Self, Response), Error> {
        let mut request = Request::builder().uri("ws://localhost/api/v1/ws").body(()).unwrap();
        let key = generate_key();
        let usual = [
            ("host", "localhost"),
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", &key),
        ];
        for (name, value) in usual.iter().chain(fields) {
            let name: axum::http::HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        assert!(request.headers().contains_key(HOST));
        let (stream, response) = client_async(request, stream).await?;
        let protocol = response.headers().get("sec-websocket-protocol");
        let is_packed = protocol.is_some_and(|protocol| protocol == "bizra.msgpack");
        Ok((Self { stream, is_packed }, response))
    }

    async fn say(&mut self, frame: Value) {
        self.send(if self.is_packed {
            Message::binary(rmp_serde::to_vec(&frame).unwrap())
        } else {
            Message::text(frame.to_string())
        })
        .await;
    }

    async fn send(&mut self, message: Message) {
        self.stream.send(message).await.unwrap();
    }

    /// The next frame, those of the protocol apart.
    async fn hear(&mut self) -> Value {
        loop {
            match self.next().await {
                Some(Ok(Message::Text(text))) if !self.is_packed => {
                    return serde_json::from_str(&text).unwrap();
                }
                Some(Ok(Message::Binary(bytes))) if self.is_packed => {
                    return rmp_serde::from_slice(&bytes).unwrap();
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("no frame: {other:?}"),
            }
        }
    }

    async fn next(&mut self) -> Option<Result<Message, Error>> {
        timeout(PATIENCE, self.stream.next()).await.expect("the node says something")
    }

    /// The next frame that is not an event.
    async fn hear_answer(&mut self) -> Value {
        loop {
            let frame = self.hear().await;
            if frame["type"] != "event" {
                return frame;
            }
        }
    }

    /// The next event that `is_it`, whatever comes before.
    async fn hear_event(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            let frame = self.hear().await;
            if frame["type"] == "event" && is_it(&frame) {
                return frame;
            }
        }
    }

    async fn ask(&mut self, frame: Value) -> Value {
        self.say(frame).await;
        self.hear_answer().await
    }

    /// The answer's data, or the code of the error.
    async fn call(&mut self, method: &str, params: Value) -> Result<Value, String> {
        let frame = json!({ "type": "call", "id": "call", "method": method, "params": params });
        let mut answer = self.ask(frame).await;
        assert_eq!(answer["id"], "call", "{answer}");
        match answer["type"].as_str() {
            Some("result") => Ok(answer["data"].take()),
            _ => Err(answer["code"].as_str().unwrap().to_owned()),
        }
    }

    /// The code of the error that a frame is answered with.
    async fn refused(&mut self, frame: Value) -> String {
        let answer = self.ask(frame).await;
        assert_eq!(answer["type"], "error", "{answer}");
        assert!(answer["message"].as_str().is_some_and(|it| !it.is_empty()), "{answer}");
        answer["code"].as_str().unwrap().to_owned()
    }

    async fn subscribe(&mut self, topic: &str) {
        let answer = self.ask(json!({ "type": "subscribe", "topic": topic })).await;
        assert_eq!(answer, json!({ "type": "subscribed", "topic": topic }));
    }

    /// Whether it still answers.
    async fn assert_open(&mut self) {
        let answer = self.ask(json!({ "type": "ping", "id": "still there" })).await;
        assert_eq!((&answer["type"], &answer["id"]), (&json!("pong"), &json!("still there")));
    }

    /// Reads to the end; gives the close frame, if there is one.
    async fn closed(&mut self) -> Option<CloseFrame> {
        let mut close = None;
        while let Some(Ok(message)) = self.next().await {
            if let Message::Close(frame) = message {
                close = frame;
            }
        }
        close
    }

    async fn assert_closed(&mut self, code: u16) {
        let close = self.closed().await.expect("a close frame");
        assert_eq!(u16::from(close.code), code, "{close:?}");
        assert!(!close.reason.is_empty());
    }
}
