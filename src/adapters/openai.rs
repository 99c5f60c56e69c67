//! A server of the OpenAI interface (vLLM, llama.cpp, LM Studio, LiteLLM): which models it has, and
//! answers of one of them.
//!
//! No client library is used: what is taken from a server is a handful of fields, and what makes up
//! the work (a stream that breaks, stalls or lies) is what such libraries leave to their callers.

pub mod chat;
pub mod chunk;
pub mod models;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Response, Url};

use crate::adapters::openai::chat::{Chat, How, body, path, whole};
use crate::adapters::upstream::{
    self, ANSWER_BYTES_MAX, Access, Description, Part, ServerError, Waits, read_at_most, reason_of,
    refusal,
};
use crate::domain::inference::InferenceRequest;

/// A whole answer takes as long as it takes; the deadline of the request comes before this.
const WHOLE_WAIT: Duration = Duration::from_secs(86_400);

/// A client of one server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Ends with a slash.
    url: Url,
    client: Client,
    waits: Waits,
    can: Arc<Can>,
}

/// What the server was found not to take. It is asked again after a restart of the node.
#[derive(Debug)]
struct Can {
    stream: AtomicBool,
    count: AtomicBool,
}

/// An answer.
#[derive(Debug)]
pub enum Answer {
    /// It comes piece by piece.
    Streamed(Box<Chat>),
    /// It came as a whole: its parts in reverse order.
    Whole(Vec<Part>),
}

impl Answer {
    /// The next part. Nothing follows [`Part::End`].
    ///
    /// # Errors
    /// As [`Chat::next`].
    pub async fn next(&mut self) -> Result<Part, ServerError> {
        match self {
            Self::Streamed(chat) => chat.next().await,
            Self::Whole(parts) => {
                let part = parts.pop();
                part.ok_or_else(|| ServerError::Unreadable("nothing after the end".to_owned()))
            }
        }
    }
}

impl Server {
    /// A client of the server at `url`, `http` or `https`; without a path, `/v1` is added.
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// When `url` is none, or the HTTP client cannot be made.
    pub fn new(url: &str, waits: Waits, access: &Access) -> Result<Self, ServerError> {
        let no_address = |error: &dyn std::fmt::Display| {
            ServerError::Unreachable(format!("{url:?} is no address: {error}"))
        };
        let mut url: Url = url.parse().map_err(|error| no_address(&error))?;
        let path = match url.path().trim_end_matches('/') {
            "" => "/v1/".to_owned(),
            path => format!("{path}/"),
        };
        url.set_path(&path);
        let client = upstream::client(waits, access)?;
        let can = Can { stream: AtomicBool::new(true), count: AtomicBool::new(true) };
        Ok(Self { url, client, waits, can: Arc::new(can) })
    }

    /// Its address.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Lists its models.
    ///
    /// # Errors
    /// When it does not answer in [`Waits::probe`], or not as such a server does.
    pub async fn models(&self) -> Result<Vec<Description>, ServerError> {
        let wait = self.waits.probe;
        let look = async {
            let answer = self.client.get(format!("{}models", self.url)).send().await;
            let answer = answer.map_err(|error| ServerError::Unreachable(reason_of(&error)))?;
            if !answer.status().is_success() {
                return Err(refusal(answer, "", wait).await);
            }
            models::read(&read_at_most(answer, ANSWER_BYTES_MAX).await?)
        };
        let timed = tokio::time::timeout(wait, look).await;
        timed.unwrap_or(Err(ServerError::Silent(wait)))
    }

    /// Begins to answer `request` with `model`.
    ///
    /// # Errors
    /// When the server is not there, refuses, or is silent for [`Waits::first_token`].
    pub async fn answer(
        &self,
        model: &str,
        request: &InferenceRequest,
    ) -> Result<Answer, ServerError> {
        // Twice at most: each refusal takes away one of the two things that may be asked for.
        loop {
            let how = self.how();
            let answer = self.send(model, request, how).await?;
            if answer.status().is_success() {
                return self.begin(answer, how).await;
            }
            let error = refusal(answer, model, self.waits.probe).await;
            if !self.can_do_without(how, &error) {
                return Err(error);
            }
        }
    }

    fn how(&self) -> How {
        How {
            streams: self.can.stream.load(Ordering::Relaxed),
            asks_for_usage: self.can.count.load(Ordering::Relaxed),
        }
    }

    async fn send(
        &self,
        model: &str,
        request: &InferenceRequest,
        how: How,
    ) -> Result<Response, ServerError> {
        let wait = if how.streams { self.waits.first_token } else { WHOLE_WAIT };
        let send = self.client.post(format!("{}{}", self.url, path(request.form)));
        let send = send.json(&body(model, request, how)).send();
        match tokio::time::timeout(wait, send).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(ServerError::Unreachable(reason_of(&error))),
            Err(_) => Err(ServerError::Silent(wait)),
        }
    }

    /// Whether the server refused something that it need not be asked for.
    fn can_do_without(&self, how: How, error: &ServerError) -> bool {
        let ServerError::Rejected { status: 400 | 422, reason } = error else {
            return false;
        };
        if !how.streams {
            return false;
        }
        if how.asks_for_usage && reason.contains("stream_options") {
            self.can.count.store(false, Ordering::Relaxed);
            return true;
        }
        let mut words = reason.split(|c: char| !c.is_alphanumeric());
        if words.any(|word| ["stream", "streaming", "streamed"].contains(&word)) {
            self.can.stream.store(false, Ordering::Relaxed);
            return true;
        }
        false
    }

    async fn begin(&self, answer: Response, how: How) -> Result<Answer, ServerError> {
        let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let is_whole = kind.is_some_and(|kind| kind.starts_with("application/json"));
        if how.streams && !is_whole {
            let chat = Chat::streamed(answer, self.waits);
            return Ok(Answer::Streamed(Box::new(chat)));
        }
        let [text, end] = whole(answer).await?;
        let has_text = text != Part::Text(String::new());
        Ok(Answer::Whole([Some(end), has_text.then_some(text)].into_iter().flatten().collect()))
    }
}
