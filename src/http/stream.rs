//! An answer as it comes, as server-sent events (HTML standard, section 9.2).
//!
//! How text, end and error are spelled is for a [`Spelling`] to say. Ours: `token` events carry
//! pieces of the text; then comes `done` with what the whole answer would have been, its proof
//! included, or `error` with what an error answer would have been.

use std::collections::VecDeque;
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
use crate::domain::rate::Client;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::inference::Generated;
use crate::http::preferences::Applied;
use crate::http::request_id::RequestId;
use crate::messages::addr::Deadline;
use crate::messages::inference_router::{Answer, InferenceMsg};

/// Pieces that wait for a slow reader; then the model waits with them.
const PIECES_MAX: usize = 64;

/// A comment now and then keeps proxies from taking a long thought for a dead connection.
const COMMENT_EVERY: Duration = Duration::from_secs(10);

/// The events that a stream is made of.
pub(super) trait Spelling: Send + 'static {
    /// A piece of text, which is never empty.
    fn piece(&mut self, text: String) -> Vec<Event>;

    /// The end of an answer.
    fn done(&mut self, answer: Answer) -> Vec<Event>;

    /// The end of an answer that broke off.
    fn broken(&mut self, error: ApiError) -> Vec<Event>;
}

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
struct Running<S> {
    /// Events that are to go out first.
    ready: VecDeque<Event>,
    pieces: mpsc::Receiver<String>,
    work: Work,
    spelling: S,
    id: RequestId,
    /// Whether the last event is among those ready, or out.
    is_over: bool,
}

/// Starts the work, and answers with a stream once there is something to send. What fails before
/// is an error with a status, as without a stream.
pub(super) async fn generate(
    app: App,
    deadline: Deadline,
    client: Client,
    id: RequestId,
    request: Box<InferenceRequest>,
    mut spelling: impl Spelling,
) -> Result<Response, ApiError> {
    let (sender, mut pieces) = mpsc::channel(PIECES_MAX);
    let mut work = start(app, deadline, client, id.clone(), request, sender);
    let (ready, is_over) = match pieces.recv().await {
        Some(first) => (spelling.piece(first), false),
        // All was said without a piece of text: an error, or an empty answer.
        None => (spelling.done(*finish(&mut work).await?), true),
    };
    let running = Running { ready: ready.into(), pieces, work, spelling, id, is_over };
    let events = futures_util::stream::unfold(running, async |mut running| {
        let event = running.next().await?;
        Some((Ok::<_, Infallible>(event), running))
    });
    let keep_alive = KeepAlive::new().interval(COMMENT_EVERY);
    Ok(Sse::new(events).keep_alive(keep_alive).into_response())
}

fn start(
    app: App,
    deadline: Deadline,
    client: Client,
    id: RequestId,
    request: Box<InferenceRequest>,
    sender: mpsc::Sender<String>,
) -> Work {
    let work = async move {
        let ask = |reply| InferenceMsg::Generate {
            request_id: id.as_str().to_owned(),
            client,
            request: request.clone(),
            tokens: Some(sender.clone()),
            deadline,
            reply,
        };
        Ok(app.roster.inference.call(deadline, ask).await??)
    };
    Work(tokio::spawn(work.instrument(tracing::Span::current())))
}

impl<S: Spelling> Running<S> {
    /// The next event; `None` after the last.
    async fn next(&mut self) -> Option<Event> {
        while self.ready.is_empty() && !self.is_over {
            let events = match self.pieces.recv().await {
                Some(text) => self.spelling.piece(text),
                None => {
                    self.is_over = true;
                    self.last().await
                }
            };
            self.ready.extend(events);
        }
        self.ready.pop_front()
    }

    async fn last(&mut self) -> Vec<Event> {
        match finish(&mut self.work).await {
            Ok(answer) => self.spelling.done(*answer),
            Err(error) => {
                if let Some(inner) = error.inner() {
                    let (id, code) = (&self.id, error.code());
                    tracing::error!(request_id = %id, code, error = inner, "stream failed");
                }
                self.spelling.broken(error)
            }
        }
    }
}

async fn finish(work: &mut Work) -> Result<Box<Answer>, ApiError> {
    let ended = (&mut work.0).await;
    ended.map_err(|error| ApiError::internal(format!("the work behind a stream: {error}")))?
}

/// One line of JSON, as the data of an event. JSON has no line ends outside strings and escapes
/// those inside.
pub(super) fn line(data: &impl Serialize) -> String {
    serde_json::to_value(data).unwrap_or(Value::Null).to_string()
}

/// Named events.
#[derive(Debug)]
pub(super) struct Named {
    /// The request.
    pub(super) id: RequestId,
    /// What the model was told of preferences.
    pub(super) preferences: Option<Applied>,
}

impl Spelling for Named {
    fn piece(&mut self, text: String) -> Vec<Event> {
        vec![named("token", &json!({ "text": text }))]
    }

    fn done(&mut self, answer: Answer) -> Vec<Event> {
        let preferences = self.preferences.take();
        vec![named("done", &Generated { preferences, ..answer.into() })]
    }

    fn broken(&mut self, error: ApiError) -> Vec<Event> {
        vec![named("error", &error.to_json(self.id.as_str()))]
    }
}

fn named(name: &str, data: &impl Serialize) -> Event {
    Event::default().event(name).data(line(data))
}
