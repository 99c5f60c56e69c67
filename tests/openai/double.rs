//! A double of an OpenAI server, and a backend for it.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bizra_omega::adapters::model_server::Kind;
use bizra_omega::adapters::upstream::{Access, Waits};
use bizra_omega::messages::addr::Addr;
use bizra_omega::messages::backend::BackendMsg;
use bizra_omega::supervisor::Root;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::remote::remote;

pub(crate) const NAME: &str = "openai-double";

/// Bytes of a streamed body, or the end of its connection.
pub(crate) type Chunk = Result<Bytes, std::io::Error>;

/// What the double does next.
pub(crate) enum Script {
    /// Answers with this status, these headers and this body.
    Answer(u16, &'static [(&'static str, &'static str)], String),
    /// Streams these chunks, then ends.
    Stream(Vec<Chunk>),
    /// Streams what comes through the channel for as long as it is open.
    Live(mpsc::Receiver<Chunk>),
    /// Never answers.
    Hang,
}

/// What the double has, and what it was asked.
#[derive(Clone, Default)]
pub(crate) struct Double {
    pub(crate) models: Arc<Mutex<Value>>,
    pub(crate) scripts: Arc<Mutex<Vec<Script>>>,
    pub(crate) asked: Arc<Mutex<Vec<(Value, HeaderMap)>>>,
}

pub(crate) fn event(object: &Value) -> Chunk {
    Ok(format!("data: {object}\n\n").into())
}

pub(crate) fn piece(text: &str) -> Chunk {
    event(&json!({ "choices": [{ "index": 0, "delta": { "content": text } }] }))
}

pub(crate) fn finish(reason: &str) -> Chunk {
    event(&json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] }))
}

pub(crate) fn usage() -> Chunk {
    event(&json!({ "choices": [], "usage": { "prompt_tokens": 11, "completion_tokens": 5 } }))
}

pub(crate) fn line(text: &'static str) -> Chunk {
    Ok(Bytes::from_static(text.as_bytes()))
}

pub(crate) fn done() -> Chunk {
    line("data: [DONE]\n\n")
}

pub(crate) fn reset() -> Chunk {
    Err(std::io::ErrorKind::ConnectionReset.into())
}

pub(crate) async fn models_of(State(double): State<Double>, headers: HeaderMap) -> Response {
    if headers.get("authorization").is_none_or(|key| key != "Bearer sk-right") {
        let said = json!({ "error": { "message": "Incorrect API key provided" } });
        return (StatusCode::UNAUTHORIZED, axum::Json(said)).into_response();
    }
    axum::Json(double.models.lock().unwrap().clone()).into_response()
}

pub(crate) async fn chat(
    State(double): State<Double>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    double.asked.lock().unwrap().push((serde_json::from_slice(&body).unwrap(), headers));
    let script = double.scripts.lock().unwrap().pop().expect("a script for every request");
    let events = [("content-type", "text/event-stream; charset=utf-8")];
    match script {
        Script::Answer(status, headers, body) => {
            let mut answer = (StatusCode::from_u16(status).unwrap(), body).into_response();
            for (name, value) in headers {
                answer.headers_mut().insert(*name, value.parse().unwrap());
            }
            answer
        }
        Script::Stream(chunks) => {
            (events, Body::from_stream(tokio_stream::iter(chunks))).into_response()
        }
        Script::Live(chunks) => {
            (events, Body::from_stream(ReceiverStream::new(chunks))).into_response()
        }
        Script::Hang => std::future::pending().await,
    }
}

impl Double {
    pub(crate) fn new(models: &[&str]) -> Self {
        let double = Self::default();
        double.offer(models);
        double
    }

    pub(crate) fn offer(&self, models: &[&str]) {
        let model = |name: &&str| json!({ "id": name, "object": "model", "max_model_len": 4096 });
        let models: Vec<_> = models.iter().map(model).collect();
        *self.models.lock().unwrap() = json!({ "object": "list", "data": models });
    }

    pub(crate) fn script(&self, script: Script) {
        self.scripts.lock().unwrap().insert(0, script);
    }

    pub(crate) fn app(&self) -> Router {
        Router::new()
            .route("/v1/models", get(models_of))
            .route("/v1/chat/completions", post(chat))
            .with_state(self.clone())
    }

    pub(crate) async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = self.app();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        url
    }

    pub(crate) fn asked(&self, index: usize) -> Value {
        self.asked.lock().unwrap()[index].0.clone()
    }
}

pub(crate) fn access() -> Access {
    Access { api_key: Some("sk-right".into()), ..Access::default() }
}

pub(crate) async fn backend(url: &str, waits: Waits, access: &Access) -> (Root, Addr<BackendMsg>) {
    remote((Kind::OpenAi, NAME), url, None, waits, access).await
}

pub(crate) async fn start(double: &Double) -> (Root, Addr<BackendMsg>) {
    backend(&double.serve().await, Waits::default(), &access()).await
}

/// Starts an answer that never ends and returns what the server notices it by.
pub(crate) async fn endless(double: &Double) -> mpsc::Sender<Chunk> {
    let (sender, chunks) = mpsc::channel(4);
    sender.send(piece("half")).await.unwrap();
    double.script(Script::Live(chunks));
    sender
}
