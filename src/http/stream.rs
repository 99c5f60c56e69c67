//! An answer as it comes, as server-sent events (HTML standard, section 9.2).
//!
//! `token` events carry pieces of the text; then comes `done` with what the whole answer would
//! have been, its proof included, or `error` with what an error answer would have been.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::Instrument;

use crate::domain::inference::InferenceRequest;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::inference::Generated;
use crate::http::request_id::RequestId;
use crate::messages::addr::Deadline;
use crate::messages::inference_router::{Answer, InferenceMsg};

/// Pieces that wait for a slow reader; then the model waits with them.
const PIECES_MAX: usize = 64;

/// A comment now and then keeps proxies from taking a long thought for a dead connection.
const COMMENT_EVERY: Duration = Duration::from_secs(10);

/// The work behind a stream. Dropping it stops the work, which is what happens when the caller
/// leaves.
#[derive(Debug)]
struct Work(JoinHandle<Result<Box<Answer>, ApiError>>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What has become of the stream.
#[derive(Debug)]
enum Stage {
    /// Text is coming, the first piece perhaps here already.
    Text { first: Option<String>, pieces: mpsc::Receiver<String>, work: Work, id: RequestId },
    /// The last event is out.
    Over,
}

/// Starts the work, and answers with a stream once there is something to send. What fails before
/// is an error with a status, as without a stream.
pub(super) async fn generate(
    app: App,
    deadline: Deadline,
    id: RequestId,
    request: Box<InferenceRequest>,
) -> Result<Response, ApiError> {
    let (sender, mut pieces) = mpsc::channel(PIECES_MAX);
    let mut work = start(app, deadline, id.clone(), request, sender);
    let stage = match pieces.recv().await {
        Some(first) => Stage::Text { first: Some(first), pieces, work, id },
        // All was said without a piece of text: an error, or an empty answer.
        None => {
            let answer = finish(&mut work).await?;
            return Ok(respond(once(last(Ok(answer), &id))));
        }
    };
    Ok(respond(futures_util::stream::unfold(stage, async |stage| {
        let (event, stage) = step(stage).await?;
        Some((Ok::<_, Infallible>(event), stage))
    })))
}

fn start(
    app: App,
    deadline: Deadline,
    id: RequestId,
    request: Box<InferenceRequest>,
    sender: mpsc::Sender<String>,
) -> Work {
    let work = async move {
        let ask = |reply| InferenceMsg::Generate {
            request_id: id.as_str().to_owned(),
            request: request.clone(),
            tokens: Some(sender.clone()),
            deadline,
            reply,
        };
        Ok(app.roster.inference.call(deadline, ask).await??)
    };
    Work(tokio::spawn(work.instrument(tracing::Span::current())))
}

/// The next event, and where the stream stands after it.
async fn step(stage: Stage) -> Option<(Event, Stage)> {
    let Stage::Text { first, mut pieces, mut work, id } = stage else { return None };
    let piece = match first {
        Some(first) => Some(first),
        None => pieces.recv().await,
    };
    Some(match piece {
        Some(text) => {
            let event = event("token", &json!({ "text": text }));
            (event, Stage::Text { first: None, pieces, work, id })
        }
        None => (last(finish(&mut work).await, &id), Stage::Over),
    })
}

async fn finish(work: &mut Work) -> Result<Box<Answer>, ApiError> {
    let ended = (&mut work.0).await;
    ended.map_err(|error| ApiError::internal(format!("the work behind a stream: {error}")))?
}

fn last(outcome: Result<Box<Answer>, ApiError>, id: &RequestId) -> Event {
    match outcome {
        Ok(answer) => event("done", &Generated::from(*answer)),
        Err(error) => {
            if let Some(inner) = error.inner() {
                tracing::error!(request_id = %id, code = error.code(), error = inner, "stream failed");
            }
            event("error", &error.to_json(id.as_str()))
        }
    }
}

fn event(name: &str, data: &impl Serialize) -> Event {
    // JSON has no line ends outside strings and escapes those inside, so one data line holds it.
    let data = serde_json::to_value(data).unwrap_or(Value::Null).to_string();
    Event::default().event(name).data(data)
}

fn once(event: Event) -> impl futures_util::Stream<Item = Result<Event, Infallible>> {
    futures_util::stream::once(std::future::ready(Ok(event)))
}

fn respond<S>(events: S) -> Response
where
    S: futures_util::Stream<Item = Result<Event, Infallible>> + Send + 'static,
{
    let keep_alive = KeepAlive::new().interval(COMMENT_EVERY);
    Sse::new(events).keep_alive(keep_alive).into_response()
}
