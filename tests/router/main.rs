//! The inference router over scripted backends, and the edge backend behind its address.

mod double;
mod edge;
mod failover;
mod house;
mod order;
mod queue;
#[path = "../support/mod.rs"]
mod support;
