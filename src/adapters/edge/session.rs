//! The seam between a model and what computes with it: an engine holds weights, and gives the logits
//! after a run of tokens. All else (vocabulary, templates, sampling, limits) is the same for each.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek};
use std::sync::Arc;

use crate::adapters::edge::gguf::Header;
#[cfg(feature = "llama-cpp")]
use crate::adapters::edge::llama_cpp;
use crate::adapters::edge::model::LoadProblem;
use crate::adapters::edge::network::{self, Network, Shape};
use crate::adapters::edge::weights::read_network;
use crate::config::Engine;

/// Why a pass gave no logits.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// It was told to stop.
    #[error("stopped")]
    Stopped,
    /// More tokens than the session has room for.
    #[error("{tokens} tokens do not fit a session of {capacity}")]
    Full {
        /// Tokens in the session and to be added.
        tokens: usize,
        /// Its room.
        capacity: usize,
    },
    /// There was no token to pass.
    #[error("no tokens")]
    Empty,
    /// candle failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// llama.cpp failed.
    #[cfg(feature = "llama-cpp")]
    #[error("llama.cpp: {0}")]
    LlamaCpp(String),
}

/// The bytes of a GGUF file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content<'a> {
    /// In a file, from where it stands.
    File(&'a File),
    /// In memory.
    Memory(&'a [u8]),
}

/// What a GGUF file is read from.
pub(super) trait Source: Read + Seek {}

impl<R: Read + Seek> Source for R {}

impl<'a> Content<'a> {
    pub(super) fn reader(self) -> Box<dyn Source + 'a> {
        match self {
            Self::File(file) => Box::new(BufReader::new(file)),
            Self::Memory(bytes) => Box::new(Cursor::new(bytes)),
        }
    }
}

/// Weights, as an engine holds them. They never change and are shared by all sessions.
#[derive(Clone, Debug)]
pub(super) enum Weights {
    Candle(Arc<Network>),
    #[cfg(feature = "llama-cpp")]
    LlamaCpp(Arc<llama_cpp::Model>),
}

impl Weights {
    /// Reads the weights of `content`, which `header` describes and whose network has this shape.
    pub(super) fn read(
        engine: Engine,
        content: Content<'_>,
        header: &Header,
        shape: Shape,
    ) -> Result<Self, LoadProblem> {
        match engine {
            Engine::Candle => {
                Ok(Self::Candle(read_network(header, content.reader(), shape)?.into()))
            }
            #[cfg(feature = "llama-cpp")]
            Engine::LlamaCpp => Ok(Self::LlamaCpp(llama_cpp::Model::read(content)?.into())),
            #[cfg(not(feature = "llama-cpp"))]
            Engine::LlamaCpp => Err(LoadProblem::NotBuilt),
        }
    }

    /// What holds them.
    pub(super) fn engine(&self) -> Engine {
        match self {
            Self::Candle(_) => Engine::Candle,
            #[cfg(feature = "llama-cpp")]
            Self::LlamaCpp(_) => Engine::LlamaCpp,
        }
    }

    /// See [`EdgeModel::session`](crate::adapters::edge::model::EdgeModel::session).
    pub(super) fn session(&self, capacity: usize) -> Result<Session<'_>, PassError> {
        let run = match self {
            Self::Candle(network) => Run::Candle(network::Run::new(network, capacity)?),
            #[cfg(feature = "llama-cpp")]
            Self::LlamaCpp(model) => Run::LlamaCpp(model.run(capacity)?),
        };
        Ok(Session { run, capacity })
    }
}

/// What one request remembers: the keys and values of the tokens passed so far.
///
/// Its memory is taken at once: `capacity` times blocks times twice the width of the key-value
/// heads times four bytes, or two with llama.cpp.
#[derive(Debug)]
pub struct Session<'m> {
    run: Run<'m>,
    capacity: usize,
}

#[derive(Debug)]
enum Run<'m> {
    Candle(network::Run<'m>),
    #[cfg(feature = "llama-cpp")]
    LlamaCpp(llama_cpp::Run<'m>),
}

impl Session<'_> {
    /// The number of tokens passed so far.
    #[must_use]
    pub fn length(&self) -> usize {
        match &self.run {
            Run::Candle(run) => run.length,
            #[cfg(feature = "llama-cpp")]
            Run::LlamaCpp(run) => run.length,
        }
    }

    /// Passes `tokens`, at most `chunk` at a time, and returns the logits after the last.
    /// Asks `should_stop` before every layer, or before every chunk if the engine shows no more of
    /// itself; after an error the session is of no more use.
    ///
    /// # Errors
    /// See [`PassError`].
    pub fn pass(
        &mut self,
        tokens: &[u32],
        chunk: usize,
        should_stop: &dyn Fn() -> bool,
    ) -> Result<Vec<f32>, PassError> {
        let whole = self.length() + tokens.len();
        if whole > self.capacity {
            return Err(PassError::Full { tokens: whole, capacity: self.capacity });
        }
        if tokens.is_empty() {
            return Err(PassError::Empty);
        }
        match &mut self.run {
            Run::Candle(run) => run.pass(tokens, chunk, should_stop),
            #[cfg(feature = "llama-cpp")]
            Run::LlamaCpp(run) => run.pass(tokens, chunk, should_stop),
        }
    }
}
