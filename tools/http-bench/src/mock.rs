//! A model server that takes its time: what a gateway stands before. It computes nothing, so that what
//! is measured is the way there.

use std::convert::Infallible;
use std::io::{self, Write as _};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream::{self, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep_until};

/// Pieces of an answer.
const PIECES: usize = 8;

/// The one model it has.
pub(crate) const MODEL: &str = "mock";

/// How long it takes.
#[derive(Clone, Copy, Debug)]
struct Pace {
    first: Duration,
    between: Duration,
}

/// Serves on any free port, which it writes to standard output, until it is killed. The first piece of
/// an answer comes after `first`, each other one `between` later.
pub(crate) fn serve(first: Duration, between: Duration) -> io::Result<()> {
    let app = Router::new()
        .route("/v1/models", get(models))
        .route("/v1/chat/completions", post(chat))
        .with_state(Pace { first, between });
    tokio::runtime::Runtime::new()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut out = io::stdout();
        writeln!(out, "{}", listener.local_addr()?)?;
        out.flush()?;
        axum::serve(listener, app).await
    })
}

async fn models() -> Json<Value> {
    Json(json!({ "object": "list", "data": [{ "id": MODEL, "object": "model", "created": 0 }] }))
}

async fn chat(State(pace): State<Pace>, Json(asked): Json<Value>) -> Response {
    let began = Instant::now();
    if asked["stream"] == json!(true) {
        return streamed(pace, began);
    }
    sleep_until(began + pace.first + pace.between * (PIECES as u32 - 1)).await;
    let text = "some words ".repeat(PIECES);
    Json(json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": MODEL,
        "choices": [{ "index": 0, "finish_reason": "stop",
                      "message": { "role": "assistant", "content": text } }],
        "usage": usage(),
    }))
    .into_response()
}

fn usage() -> Value {
    json!({ "prompt_tokens": 4, "completion_tokens": PIECES * 2, "total_tokens": 4 + PIECES * 2 })
}

/// The last piece and the end come together, as late as a whole answer.
fn streamed(pace: Pace, began: Instant) -> Response {
    let pieces = stream::iter(0..=PIECES).then(move |index| async move {
        let piece = index.min(PIECES - 1) as u32;
        sleep_until(began + pace.first + pace.between * piece).await;
        let (delta, finish) = match index {
            PIECES => (json!({}), json!("stop")),
            _ => (json!({ "role": "assistant", "content": "some words " }), Value::Null),
        };
        let chunk = json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": MODEL,
            "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }],
            "usage": if index == PIECES { usage() } else { Value::Null },
        });
        let last = if index == PIECES { "data: [DONE]\n\n" } else { "" };
        Ok::<_, Infallible>(Bytes::from(format!("data: {chunk}\n\n{last}")))
    });
    ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(pieces)).into_response()
}
