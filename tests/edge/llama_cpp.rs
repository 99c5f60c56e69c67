//! llama.cpp.

use bizra_omega::config::Engine;

const ENGINE: Engine = Engine::LlamaCpp;

#[expect(clippy::duplicate_mod, reason = "the same tests for each engine")]
#[path = "suite.rs"]
mod suite;
