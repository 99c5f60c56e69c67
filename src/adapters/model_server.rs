//! A model server of any kind.

use crate::adapters::upstream::{Access, Description, Part, ServerError, Waits};
use crate::adapters::{ollama, openai};
use crate::domain::inference::InferenceRequest;

pub mod configured;

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ollama's own interface.
    Ollama,
    /// The OpenAI interface.
    OpenAi,
}

impl Kind {
    /// Begins the name of its actors.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ollama => "ollama",
            Self::OpenAi => "openai",
        }
    }

    /// What people call it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Ollama => "Ollama",
            Self::OpenAi => "the OpenAI server",
        }
    }
}

/// A client of one server.
#[derive(Clone, Debug)]
pub enum ModelServer {
    /// It speaks Ollama's own interface.
    Ollama(ollama::Server),
    /// It speaks the OpenAI interface.
    OpenAi(openai::Server),
}

/// An answer on its way. Dropping it closes the connection, which makes the server stop.
#[derive(Debug)]
pub enum Answer {
    /// Of an Ollama server.
    Ollama(Box<ollama::chat::Chat>),
    /// Of an OpenAI server.
    OpenAi(openai::Answer),
}

impl Answer {
    /// The next part. Nothing follows [`Part::End`].
    ///
    /// # Errors
    /// When the connection breaks, the server reports an error or is silent for too long, or the
    /// answer ends without saying that it is whole.
    pub async fn next(&mut self) -> Result<Part, ServerError> {
        match self {
            Self::Ollama(chat) => chat.next().await,
            Self::OpenAi(answer) => answer.next().await,
        }
    }
}

impl ModelServer {
    /// A client of the server of this kind at `url`. Connects to nothing yet.
    ///
    /// # Errors
    /// When `url` is none, or the HTTP client cannot be made.
    pub fn new(kind: Kind, url: &str, waits: Waits, access: &Access) -> Result<Self, ServerError> {
        Ok(match kind {
            Kind::Ollama => Self::Ollama(ollama::Server::new(url, waits, access)?),
            Kind::OpenAi => Self::OpenAi(openai::Server::new(url, waits, access)?),
        })
    }

    /// What it speaks.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Ollama(_) => Kind::Ollama,
            Self::OpenAi(_) => Kind::OpenAi,
        }
    }

    /// Its address.
    pub fn url(&self) -> &str {
        match self {
            Self::Ollama(server) => server.url().as_str(),
            Self::OpenAi(server) => server.url().as_str(),
        }
    }

    /// Lists its models; what is known of one that did not change since is not asked for again.
    ///
    /// # Errors
    /// When it does not answer in [`Waits::probe`], or not as such a server does.
    pub async fn models(&self, known: &[Description]) -> Result<Vec<Description>, ServerError> {
        match self {
            Self::Ollama(server) => server.models(known).await,
            Self::OpenAi(server) => server.models().await,
        }
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
        Ok(match self {
            Self::Ollama(server) => Answer::Ollama(Box::new(server.chat(model, request).await?)),
            Self::OpenAi(server) => Answer::OpenAi(server.answer(model, request).await?),
        })
    }
}
