//! A sovereign AI node: it answers prompts and proves what it did.
//!
//! Every subsystem is a supervised actor. The rules are in [`domain`], which knows no actors; what
//! may be said to whom is in [`messages`]; [`actors`] are thin shells between the two.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used))]

/// The rules: no clock, no randomness, no I/O, no actors.
pub mod domain {
    pub mod audit;
    pub mod bytes;
    pub mod consensus;
    pub mod constitution;
    pub mod digest;
    pub mod embedding;
    pub mod envelope;
    pub mod fate;
    pub mod fault;
    pub mod federation;
    pub mod gate;
    pub mod gossip;
    pub mod hardware;
    pub mod harm;
    pub mod id;
    pub mod identity;
    pub mod ihsan;
    pub mod inference;
    pub mod json;
    pub mod ledger;
    pub mod model_store;
    pub mod name;
    pub mod passphrase;
    pub mod pattern;
    pub mod preference;
    pub mod profile;
    pub mod rate;
    pub mod reject;
    pub mod replay;
    pub mod restart;
    pub mod rotation;
    pub mod score;
    pub mod snr;
    pub mod sse;
    pub mod text_stream;
    pub mod traceparent;
    pub mod trust;
}

/// What may be said, and to whom.
pub mod messages {
    pub mod addr;
    pub mod audit;
    pub mod backend;
    pub mod consensus;
    pub mod envelope;
    pub mod event;
    pub mod gate_chain;
    pub mod gossip;
    pub mod http;
    pub mod identity;
    pub mod inference_router;
    pub mod models;
    pub mod pattern_memory;
    pub mod preferences;
    pub mod roster;
    pub mod supervisor;
}

/// Mailbox in, domain call, reply out.
pub mod actors {
    pub mod audit;
    pub mod backend;
    pub mod consensus;
    pub mod envelope;
    pub mod gate_chain;
    pub mod gossip;
    pub mod http;
    pub mod identity;
    pub mod inference_router;
    pub mod models;
    pub mod pattern_memory;
    pub mod preferences;
}

/// The outside world behind small functions.
pub mod adapters {
    pub mod audit;
    pub mod constitution_file;
    /// Language models in this process.
    pub mod edge {
        pub mod catalogue;
        pub mod chat_template;
        pub mod demo;
        pub mod encoding;
        pub mod engine;
        pub mod generate;
        pub mod gguf;
        mod gguf_reader;
        mod layout;
        #[cfg(feature = "llama-cpp")]
        mod llama_cpp;
        pub mod merge;
        pub mod metadata;
        pub mod model;
        pub mod network;
        pub mod pretokenizer;
        mod projection;
        pub mod sampler;
        pub mod session;
        pub mod spelling;
        pub mod threads;
        pub mod vocabulary;
        pub mod weights;
    }
    pub mod embedding;
    pub mod keystore;
    pub mod lock;
    pub mod log_writer;
    pub mod model_server;
    pub mod models;
    pub mod ollama;
    pub mod openai;
    #[cfg(feature = "otlp")]
    pub mod otlp;
    pub mod process;
    pub mod store;
    pub mod upstream;
    #[cfg(feature = "usearch")]
    pub mod usearch;
}

/// Requests and responses.
pub mod http {
    mod actors;
    pub mod app;
    mod audit;
    pub mod auth;
    mod backends;
    mod bare;
    mod body;
    mod compress;
    mod constitution;
    mod docs;
    mod envelope;
    pub mod error;
    mod federation;
    mod gates;
    mod guarded;
    mod health;
    mod identity;
    mod inference;
    pub mod limits;
    mod metrics;
    mod models;
    mod observe;
    mod openai;
    pub mod openapi;
    pub mod origin;
    mod page;
    mod patient;
    mod patterns;
    mod peers;
    mod preferences;
    pub mod rate;
    pub mod request_id;
    pub mod router;
    pub mod server;
    mod status;
    mod stream;
    pub mod tls;
    pub mod token;
    mod ws;
}

/// Commands of the `bizra` program.
pub mod cli {
    pub mod args;
    mod audit;
    pub mod bizra;
    pub mod chaos;
    pub mod client;
    pub mod commands;
    pub mod constitution;
    mod doctor;
    pub mod envelope;
    pub mod error;
    mod federation;
    mod generate;
    pub mod identity;
    mod manual;
    mod models;
    pub mod passphrase;
    mod patterns;
    mod preferences;
    mod printable;
    mod replay;
    pub mod report;
    pub mod show;
    pub mod target;
    mod token;
    mod trust;
}

pub mod actor;
pub mod address_file;
pub mod clock;
pub mod config;
pub mod logging;
pub mod machine;
pub mod metrics;
pub mod node;
pub mod open_files;
pub mod passphrase_file;
pub mod private_file;
pub mod supervisor;
pub mod token_file;
pub mod trace;
