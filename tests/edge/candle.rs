//! The node's own pass, on candle's kernels.

use bizra_omega::config::Engine;

const ENGINE: Engine = Engine::Candle;

#[path = "suite.rs"]
mod suite;
