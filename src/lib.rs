//! A sovereign AI node: it answers prompts and proves what it did.
//!
//! Every subsystem is a supervised actor. The rules are in [`domain`], which knows no actors; what
//! may be said to whom is in [`messages`]; [`actors`] are thin shells between the two.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used))]

/// The rules: no clock, no randomness, no I/O, no actors.
pub mod domain {
    pub mod bytes;
    pub mod constitution;
    pub mod digest;
    pub mod envelope;
    pub mod gate;
    pub mod id;
    pub mod identity;
    pub mod inference;
    pub mod json;
    pub mod reject;
    pub mod replay;
    pub mod restart;
    pub mod score;
    pub mod text_stream;
}

/// What may be said, and to whom.
pub mod messages {
    pub mod addr;
    pub mod backend;
    pub mod envelope;
    pub mod event;
    pub mod gate_chain;
    pub mod http;
    pub mod identity;
    pub mod inference_router;
    pub mod roster;
    pub mod supervisor;
}

/// Mailbox in, domain call, reply out.
pub mod actors {
    pub mod backend;
    pub mod envelope;
    pub mod gate_chain;
    pub mod http;
    pub mod identity;
    pub mod inference_router;
}

/// The outside world behind small functions.
pub mod adapters {
    /// Language models in this process.
    pub mod edge {
        pub mod chat_template;
        pub mod demo;
        pub mod encoding;
        pub mod generate;
        pub mod gguf;
        mod gguf_reader;
        pub mod merge;
        pub mod metadata;
        pub mod model;
        pub mod network;
        pub mod pretokenizer;
        pub mod sampler;
        pub mod spelling;
        pub mod threads;
        pub mod vocabulary;
        pub mod weights;
    }
    pub mod keystore;
    pub mod lock;
    pub mod ollama;
    pub mod store;
}

/// Requests and responses.
pub mod http {
    mod actors;
    pub mod app;
    pub mod auth;
    mod body;
    mod constitution;
    mod envelope;
    pub mod error;
    mod gates;
    mod guarded;
    mod health;
    mod identity;
    mod inference;
    pub mod limits;
    mod metrics;
    mod observe;
    pub mod origin;
    mod patient;
    pub mod request_id;
    pub mod router;
    pub mod server;
    mod status;
    mod stream;
    pub mod token;
    mod ws;
}

/// Commands of the `bizra` program.
pub mod cli {
    pub mod args;
    pub mod bizra;
    pub mod chaos;
    pub mod client;
    pub mod commands;
    pub mod envelope;
    pub mod logging;
    pub mod report;
    pub mod show;
}

pub mod actor;
pub mod clock;
pub mod config;
pub mod metrics;
pub mod node;
pub mod supervisor;
pub mod token_file;
