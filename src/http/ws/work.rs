//! Calls and generations in flight.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http_body_util::{BodyExt, Limited};
use hyper::header::{CONTENT_TYPE, RETRY_AFTER};
use hyper::{Method, StatusCode};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::task::{self, AbortHandle, JoinError, JoinSet};

use crate::http::error::ApiError;
use crate::http::router::GENERATE;
use crate::http::ws::client::Client;
use crate::http::ws::frame::{Id, answer, error, failure};
use crate::http::ws::method::Operation;

/// Frames on their way from works to the socket; then the works wait, and models with them.
const SAID_MAX: usize = 16;

/// Bytes of one answer. Larger than any the node makes within its limits.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// What is asked of the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    Generate,
}

/// Something a work says.
#[derive(Debug)]
struct Said {
    serial: u64,
    frame: Value,
    is_last: bool,
}

#[derive(Debug)]
struct Running {
    serial: u64,
    id: Option<Id>,
    kind: Kind,
    task: AbortHandle,
}

/// The works of one socket. Dropping it ends them all.
#[derive(Debug)]
pub(super) struct Works {
    client: Arc<Client>,
    running: Vec<Running>,
    tasks: JoinSet<()>,
    sender: mpsc::Sender<Said>,
    said: mpsc::Receiver<Said>,
    begun: u64,
}

impl Works {
    pub(super) fn new(client: Client) -> Self {
        let (sender, said) = mpsc::channel(SAID_MAX);
        let (running, tasks) = (Vec::new(), JoinSet::new());
        Self { client: Arc::new(client), running, tasks, sender, said, begun: 0 }
    }

    /// How many there are.
    pub(super) fn count(&self, kind: Kind) -> usize {
        self.running.iter().filter(|work| work.kind == kind).count()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Whether one has this id.
    pub(super) fn has(&self, id: &Id) -> bool {
        self.running.iter().any(|work| work.id.as_ref() == Some(id))
    }

    /// Begins to ask the router.
    pub(super) fn call(&mut self, id: Option<Id>, operation: Operation) {
        let client = Arc::clone(&self.client);
        self.begin(Kind::Call, id, move |speaker| async move {
            let response = client.ask(operation).await;
            let frame = finish_call(speaker.id.as_ref(), response).await;
            speaker.end(frame).await;
        });
    }

    /// Begins to generate.
    pub(super) fn generate(&mut self, id: Option<Id>, mut request: Map<String, Value>) {
        request.insert("stream".into(), true.into());
        let operation = Operation {
            method: Method::POST,
            path: hyper::http::uri::PathAndQuery::from_static(GENERATE),
            body: Some(Value::Object(request)),
        };
        let client = Arc::clone(&self.client);
        self.begin(Kind::Generate, id, move |speaker| async move {
            let response = client.ask(operation).await;
            let last = stream(&speaker, response).await;
            speaker.end(last).await;
        });
    }

    fn begin<F>(&mut self, kind: Kind, id: Option<Id>, work: impl FnOnce(Speaker) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.begun += 1;
        let serial = self.begun;
        let speaker = Speaker { serial, id: id.clone(), sender: self.sender.clone() };
        let task = self.tasks.spawn(work(speaker));
        self.running.push(Running { serial, id, kind, task });
    }

    /// Ends the work of this id; tells whether there was one. Nothing more is heard of it.
    pub(super) fn cancel(&mut self, id: &Id) -> bool {
        let Some(at) = self.running.iter().position(|work| work.id.as_ref() == Some(id)) else {
            return false;
        };
        self.running.swap_remove(at).task.abort();
        true
    }

    /// Ends all works; gives the frames that say so.
    pub(super) fn give_up(&mut self, reason: &ApiError) -> Vec<Value> {
        self.tasks.abort_all();
        self.running.drain(..).map(|work| error(work.id.as_ref(), reason)).collect()
    }

    /// The next frame that a work says. Can be dropped at any time without losing one.
    pub(super) async fn next(&mut self) -> Value {
        loop {
            // However much is said, what has ended is let go.
            while let Some(ended) = self.tasks.try_join_next_with_id() {
                if let Some(frame) = self.failed(ended) {
                    return frame;
                }
            }
            tokio::select! {
                // First what was said: a work that has ended has said so before.
                biased;
                Some(said) = self.said.recv() => {
                    let Some(at) = self.at(said.serial) else { continue };
                    if said.is_last {
                        self.running.swap_remove(at);
                    }
                    return said.frame;
                }
                Some(ended) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => {
                    if let Some(frame) = self.failed(ended) {
                        return frame;
                    }
                }
                else => std::future::pending().await,
            }
        }
    }

    /// What to say of a task that ended, if its work has not said the last itself: it panicked.
    fn failed(&mut self, ended: Result<(task::Id, ()), JoinError>) -> Option<Value> {
        let failed = ended.err()?;
        let at = self.running.iter().position(|work| work.task.id() == failed.id())?;
        let work = self.running.swap_remove(at);
        tracing::error!(error = %failed, "the work of a socket failed");
        Some(error(work.id.as_ref(), &ApiError::internal(failed.to_string())))
    }

    fn at(&self, serial: u64) -> Option<usize> {
        self.running.iter().position(|work| work.serial == serial)
    }
}

/// The way from a work to its socket.
#[derive(Debug)]
struct Speaker {
    serial: u64,
    id: Option<Id>,
    sender: mpsc::Sender<Said>,
}

impl Speaker {
    async fn say(&self, frame: Value) {
        self.send(frame, false).await;
    }

    async fn end(&self, frame: Value) {
        self.send(frame, true).await;
    }

    async fn send(&self, frame: Value, is_last: bool) {
        // The socket that does not listen any more is ending this work.
        let _ = self.sender.send(Said { serial: self.serial, frame, is_last }).await;
    }
}

async fn finish_call(id: Option<&Id>, response: Response) -> Value {
    let (parts, body) = response.into_parts();
    let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_owned();
    if content_type.starts_with("text/event-stream") {
        let told = "a call has one answer; use a generate frame";
        return error(id, &ApiError::invalid("STREAM_OVER_CALL", told));
    }
    let bytes = match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(_) => {
            let told = format!("the answer has more than {ANSWER_BYTES_MAX} bytes, or broke off");
            return error(id, &ApiError::internal(told));
        }
    };
    let data = if content_type.starts_with("application/json") {
        serde_json::from_slice(&bytes).unwrap_or_default()
    } else {
        Value::String(String::from_utf8_lossy(&bytes).into_owned())
    };
    if parts.status == StatusCode::OK {
        return answer("result", id, json!({ "data": data }));
    }
    let mut frame = failure(id, Some(parts.status.as_u16()), data);
    let wait = parts.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    if let (Some(frame), Some(seconds)) =
        (frame.as_object_mut(), wait.and_then(|it| it.parse::<u64>().ok()))
    {
        frame.insert("retry_after".into(), seconds.into());
    }
    frame
}

/// Says the pieces of a streamed answer as they come; gives the last frame.
async fn stream(speaker: &Speaker, response: Response) -> Value {
    let id = speaker.id.as_ref();
    let content_type = response.headers().get(CONTENT_TYPE);
    if !content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream")) {
        return finish_call(id, response).await;
    }
    let mut events = Events { body: response.into_body(), text: Vec::new() };
    while let Some((name, data)) = events.next().await {
        match name.as_str() {
            "token" => speaker.say(answer("token", id, data)).await,
            "done" => return answer("done", id, data),
            _ => return failure(id, None, data),
        }
    }
    error(id, &ApiError::internal("a stream ended without its last event"))
}

/// The node's own server-sent events, read back: `event: name`, `data: JSON`, an empty line.
struct Events {
    body: Body,
    text: Vec<u8>,
}

impl Events {
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            while let Some(end) = self.text.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.text.drain(..end + 2).collect();
                // A block without both lines is a comment.
                if let Some(event) = event(&block) {
                    return Some(event);
                }
            }
            if self.text.len() > ANSWER_BYTES_MAX {
                return None;
            }
            let frame = self.body.frame().await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.text.extend_from_slice(&data);
            }
        }
    }
}

fn event(block: &[u8]) -> Option<(String, Value)> {
    let block = std::str::from_utf8(block).ok()?;
    let line = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
    let data = serde_json::from_str(line("data: ")?).ok()?;
    Some((line("event: ")?.to_owned(), data))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[tokio::test]
    async fn events_are_read_however_they_are_cut() {
        let text = ": a comment\n\nevent: token\ndata: {\"text\":\"a\\n\\nb\"}\n\n:\n\nevent: done\n\
                    data: {}\n\n";
        for size in [1, 2, 3, 7, 1000] {
            let chunks: Vec<_> = text
                .as_bytes()
                .chunks(size)
                .map(|chunk| Ok::<_, Infallible>(chunk.to_vec()))
                .collect();
            let body = Body::from_stream(futures_util::stream::iter(chunks));
            let mut events = Events { body, text: Vec::new() };
            let mut read = Vec::new();
            while let Some(event) = events.next().await {
                read.push(event);
            }
            let expected =
                [("token".to_owned(), json!({"text": "a\n\nb"})), ("done".to_owned(), json!({}))];
            assert_eq!(read, expected, "{size}");
        }
    }

    fn status() -> Operation {
        Operation::find("status", None).unwrap()
    }

    fn works(operations: axum::Router) -> Works {
        let peer = crate::http::server::Peer("127.0.0.1:1".parse().unwrap());
        Works::new(Client::new(operations, peer, &hyper::HeaderMap::new()))
    }

    #[tokio::test]
    async fn a_work_that_panics_is_told_and_its_id_is_free() {
        let panics = axum::routing::get(async || -> &'static str { panic!("nutmeg") });
        let mut works = works(axum::Router::new().route("/api/v1/status", panics));
        works.call(Some(json!(1)), status());
        let told = works.next().await;
        assert_eq!((&told["id"], &told["code"]), (&json!(1), &json!("INTERNAL")));
        assert!(!told.to_string().contains("nutmeg"), "{told}");
        assert!(works.is_empty() && works.tasks.is_empty());
    }

    #[tokio::test]
    async fn works_that_have_ended_are_let_go_while_others_speak() {
        let text = axum::routing::get(async || "text");
        let mut works = works(axum::Router::new().route("/api/v1/status", text));
        for id in 0..200 {
            works.call(Some(json!(id)), status());
            if id >= 8 {
                assert_eq!(works.next().await["data"], "text");
            }
            assert!(works.tasks.len() <= 16, "{}", works.tasks.len());
        }
    }
}
