//! The door of the node: who is let in, what is refused how, what slow clients can do, and what
//! is served while actors die.

mod admission;
mod answers;
mod bodies;
mod connections;
mod docs;
mod door;
mod federation;
mod limits;
#[path = "../live/mod.rs"]
mod live;
mod matrix;
mod openai;
mod patterns;
mod preferences;
mod refusals;
mod resources;
mod restart;
mod stream;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod ws;
