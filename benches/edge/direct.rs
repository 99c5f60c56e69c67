//! llama.cpp as its binding gives it, with its own defaults: what the node could have at best.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Instant;

use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::token::LlamaToken;

use crate::{ROOM, Sample, memory_bytes, pass_through};

/// As [`crate::engine`].
pub(crate) fn measure(path: &Path) -> Result<Sample, String> {
    let mut backend = LlamaBackend::init().map_err(|error| error.to_string())?;
    backend.void_logs();
    let began = Instant::now();
    let model = LlamaModel::load_from_file(&backend, path, &LlamaModelParams::default());
    let model = model.map_err(|error| error.to_string())?;
    let load_s = began.elapsed().as_secs_f64();
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as i32;
    let mut rates = (0.0, 0.0);
    for _ in 0..2 {
        let params = LlamaContextParams::default()
            .with_n_ctx(NonZeroU32::new(ROOM as u32))
            .with_n_threads(threads)
            .with_n_threads_batch(threads);
        let mut context = model.new_context(&backend, params).map_err(|error| error.to_string())?;
        let mut batch = LlamaBatch::new(ROOM, 1);
        let mut position = 0;
        rates = pass_through(|tokens| {
            batch.clear();
            for (index, token) in tokens.iter().enumerate() {
                let is_last = index + 1 == tokens.len();
                let token = LlamaToken(*token as i32);
                batch.add(token, position, &[0], is_last).expect("there is room");
                position += 1;
            }
            context.decode(&mut batch).expect("a pass");
            context.get_logits_ith(batch.n_tokens() - 1).to_vec()
        });
    }
    Ok(Sample { load_s, prefill: rates.0, decode: rates.1, memory_bytes: memory_bytes() })
}
