//! The in-process model engines, through the functions that the rest of the node calls: the same tests
//! for each.

#[path = "edge/candle.rs"]
mod candle;
#[cfg(feature = "llama-cpp")]
#[path = "edge/llama_cpp.rs"]
mod llama_cpp;
#[path = "support/tiny_gguf.rs"]
mod tiny_gguf;
