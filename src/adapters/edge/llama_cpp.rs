//! The engine llama.cpp: weights as it holds them, and the pass of tokens through them.
//!
//! It is asked for logits and nothing else. Attention is computed in the plain order: flash attention
//! adds up what each thread found, so that another number of threads would give another text.

use std::fs::File;
use std::num::NonZeroU32;
use std::os::fd::AsRawFd;
use std::sync::{Mutex, OnceLock, PoisonError};

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::{LogOptions, send_logs_to_tracing};

use crate::adapters::edge::model::LoadProblem;
use crate::adapters::edge::session::{Content, PassError};
use crate::adapters::edge::threads::threads;

/// Multiplications of a pass at most, about a second on two cores. llama.cpp cannot be stopped within a
/// pass, so this bounds how long a caller that left is computed for.
const PASS_WORK_MAX: u64 = 128 << 30;

/// Tokens that are passed at once: fewer are slow whatever the model, more are no faster.
const CHUNK_TOKENS: (u64, u64) = (64, 256);

/// `llama_flash_attn_type` of a context whose attention is computed in the plain order.
const FLASH_ATTENTION_DISABLED: i32 = 0;

/// Weights, which never change: they are read into memory, not mapped from a file that others write.
#[derive(Debug)]
pub(super) struct Model {
    model: LlamaModel,
    /// Tokens that are passed at once at most.
    chunk_tokens: u32,
    /// Held while a context is made, which writes to the model.
    making: Mutex<()>,
}

/// llama.cpp itself, which is started once in a process.
fn backend() -> Result<&'static LlamaBackend, String> {
    static BACKEND: OnceLock<Result<LlamaBackend, String>> = OnceLock::new();
    let start = || {
        send_logs_to_tracing(LogOptions::default());
        LlamaBackend::init().map_err(|error| error.to_string())
    };
    BACKEND.get_or_init(start).as_ref().map_err(Clone::clone)
}

/// What the processor lacks of what llama.cpp's build takes for granted; it would end the process.
#[cfg(target_arch = "x86_64")]
fn lacking() -> Option<&'static str> {
    let needed = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("bmi2", is_x86_feature_detected!("bmi2")),
        ("f16c", is_x86_feature_detected!("f16c")),
        ("fma", is_x86_feature_detected!("fma")),
    ];
    needed.into_iter().find_map(|(name, is)| (!is).then_some(name))
}

/// Elsewhere it takes nothing beyond the target.
#[cfg(not(target_arch = "x86_64"))]
fn lacking() -> Option<&'static str> {
    None
}

impl Model {
    /// Reads the weights of a file whose header was found to be good.
    pub(super) fn read(content: Content<'_>) -> Result<Self, LoadProblem> {
        if let Some(name) = lacking() {
            return Err(LoadProblem::LlamaCpp(format!("this processor has no {name}")));
        }
        let in_memory;
        let file = match content {
            Content::File(file) => file,
            Content::Memory(bytes) => {
                in_memory = file_of(bytes)?;
                &in_memory
            }
        };
        // By the descriptor, not the path: what was hashed is what is read, whoever renames meanwhile.
        let path = format!("/dev/fd/{}", file.as_raw_fd());
        let backend = backend().map_err(LoadProblem::LlamaCpp)?;
        let params = LlamaModelParams::default().with_n_gpu_layers(0).with_use_mmap(false);
        let model = LlamaModel::load_from_file(backend, path, &params);
        let model = model.map_err(|error| {
            LoadProblem::LlamaCpp(format!("it does not load the file, the log says why ({error})"))
        })?;
        let tokens = PASS_WORK_MAX / model.n_params().max(1);
        let chunk_tokens = tokens.clamp(CHUNK_TOKENS.0, CHUNK_TOKENS.1) as u32;
        Ok(Self { model, chunk_tokens, making: Mutex::default() })
    }

    /// An empty run with room for `capacity` tokens.
    pub(super) fn run(&self, capacity: usize) -> Result<Run<'_>, PassError> {
        let room = u32::try_from(capacity.max(1)).ok().and_then(NonZeroU32::new);
        let room = room.ok_or_else(|| failed(format!("{capacity} tokens are too many")))?;
        let threads = i32::try_from(threads()).unwrap_or(i32::MAX);
        let params = LlamaContextParams::default()
            .with_n_ctx(Some(room))
            .with_n_batch(self.chunk_tokens)
            .with_n_ubatch(self.chunk_tokens)
            .with_n_threads(threads)
            .with_n_threads_batch(threads)
            .with_flash_attention_policy(FLASH_ATTENTION_DISABLED);
        let backend = backend().map_err(failed)?;
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let context = self.model.new_context(backend, params).map_err(failed)?;
        let chunk = self.chunk_tokens as usize;
        Ok(Run { context, batch: LlamaBatch::new(chunk, 1), chunk, length: 0 })
    }
}

/// A file that holds `bytes` and has no name.
#[cfg(target_os = "linux")]
fn file_of(bytes: &[u8]) -> Result<File, LoadProblem> {
    use std::io::Write;

    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let file = rustix::fs::memfd_create("model", flags).map_err(std::io::Error::from)?;
    let mut file = File::from(file);
    file.write_all(bytes)?;
    Ok(file)
}

/// Elsewhere no file is without a name.
#[cfg(not(target_os = "linux"))]
fn file_of(_bytes: &[u8]) -> Result<File, LoadProblem> {
    Err(LoadProblem::LlamaCpp("models inside the program are read only on Linux".to_owned()))
}

/// The keys and values of the tokens passed so far, and how to go on from there.
#[derive(Debug)]
pub(super) struct Run<'m> {
    context: LlamaContext<'m>,
    batch: LlamaBatch<'static>,
    /// Tokens that the batch holds.
    chunk: usize,
    /// Tokens passed so far.
    pub(super) length: usize,
}

impl Run<'_> {
    /// See [`Session::pass`](crate::adapters::edge::session::Session::pass); there is room.
    pub(super) fn pass(
        &mut self,
        tokens: &[u32],
        chunk: usize,
        should_stop: &dyn Fn() -> bool,
    ) -> Result<Vec<f32>, PassError> {
        let end = self.length + tokens.len();
        let mut last = 0;
        for part in tokens.chunks(chunk.clamp(1, self.chunk)) {
            if should_stop() {
                return Err(PassError::Stopped);
            }
            self.batch.clear();
            for token in part {
                let token = LlamaToken(i32::try_from(*token).map_err(failed)?);
                let position = i32::try_from(self.length).map_err(failed)?;
                self.length += 1;
                // Logits are asked for after the last of all.
                self.batch.add(token, position, &[0], self.length == end).map_err(failed)?;
            }
            self.context.decode(&mut self.batch).map_err(failed)?;
            last = self.batch.n_tokens() - 1;
        }
        Ok(self.context.get_logits_ith(last).to_vec())
    }
}

fn failed(reason: impl ToString) -> PassError {
    PassError::LlamaCpp(reason.to_string())
}
