//! Models on disk, against a hub that misbehaves on command.

mod hub;
#[path = "../live/mod.rs"]
mod live;
mod node;
mod process;
mod pulls;
mod refusals;
mod store;
#[path = "../support/mod.rs"]
mod support;
