//! Models on disk, against a hub that misbehaves on command.

mod hub;
mod pulls;
mod refusals;
mod store;
