//! Pattern memory: the actor under a supervisor, killed at random.

mod actor;
mod elevation;
mod house;
#[path = "../support/random.rs"]
mod random;
#[path = "../support/mod.rs"]
mod support;
