//! Pattern memory: the actor under a supervisor, and a node as a process, killed at random.

mod actor;
#[cfg(feature = "usearch")]
mod approximate;
mod elevation;
mod house;
#[path = "../live/mod.rs"]
mod live;
mod process;
#[path = "../support/random.rs"]
mod random;
#[path = "../support/mod.rs"]
mod support;
