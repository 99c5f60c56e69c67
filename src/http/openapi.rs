//! The OpenAPI document: what handlers and their types say of themselves, and what holds for all.
//!
//! A handler says what it answers with (`#[utoipa::path]`), its types what they hold (`ToSchema`).
//! What follows from a route's class and from having a body is added here (`complete`), and the
//! bounds that are constants or settings are taken from where they are enforced (`bounds`).

mod bounds;
mod choices;
mod complete;
mod events;
pub(super) mod example;
pub(super) mod forms;
pub(super) mod models;
pub(super) mod proposals;
pub(super) mod shapes;

use serde_json::Value;
use utoipa::OpenApi;

use crate::http::limits::Limits;
use crate::http::models as store;
use crate::http::router::ROUTES;
use crate::http::{
    actors, backends, constitution, docs, envelope, federation, gates, health, identity, inference,
    metrics, openai, patterns, preferences, status, token, ws,
};

/// Every operation. One that is missing here fails `tests/openapi.rs`.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "bizra-omega",
        description = include_str!("openapi/about.md"),
        license(name = "MIT", identifier = "MIT"),
    ),
    servers((url = "/", description = "This node.")),
    components(schemas(
        shapes::ApiError,
        shapes::OpenAiError,
        forms::AnyJson,
        events::Token,
        events::ChatCompletionChunk,
        events::TextCompletionChunk,
    )),
    paths(
        health::health,
        health::live,
        health::ready,
        status::status,
        metrics::metrics,
        actors::list,
        actors::stop,
        docs::document,
        docs::page,
        constitution::show,
        constitution::check,
        constitution::reload,
        identity::list,
        identity::verify,
        identity::generate,
        identity::activate,
        identity::rotate,
        identity::sign,
        envelope::create,
        envelope::verify,
        envelope::find,
        envelope::log,
        federation::status,
        federation::peers,
        federation::propose,
        federation::list,
        federation::find,
        gates::check,
        inference::generate,
        inference::models,
        backends::list,
        inference::tier,
        openai::chat,
        openai::completions,
        openai::embeddings::create,
        openai::models::list,
        openai::models::find,
        store::list,
        store::pull,
        store::find,
        store::cancel,
        store::verify,
        store::remove,
        preferences::observe,
        preferences::find,
        preferences::list,
        preferences::forget,
        preferences::apply,
        patterns::learn,
        patterns::list,
        patterns::batch,
        patterns::recall,
        patterns::stats,
        patterns::find,
        patterns::forget,
        patterns::feedback,
        patterns::sign,
        patterns::pin,
        patterns::unpin,
        patterns::elevate,
        token::rotate,
        ws::socket,
    )
)]
struct Described;

/// The groups of operations, by the first part of their path below `/api/v1`. What has none of them
/// belongs to the first.
const TAGS: &[(&str, &str)] = &[
    ("node", "Whether the node lives, how its parts stand, and what it offers."),
    ("actors", "The supervision tree, and drills in it."),
    ("constitution", "What is enforced."),
    ("federation", "Other nodes."),
    ("identity", "Keys and signatures."),
    ("inference", "Prompts and their answers."),
    ("models", "Models that the node holds."),
    ("preferences", "How people like to be answered."),
    ("patterns", "What the node has learned, found by meaning."),
    ("pci", "Envelopes, which prove, and gates, which judge."),
    ("v1", "The interface of OpenAI clients."),
];

/// The document of a node with these limits.
pub fn document(limits: &Limits) -> Value {
    let described = Described::openapi();
    // It is built of plain values, for which this does not fail.
    let mut document = serde_json::to_value(described).unwrap_or_default();
    bounds::set(&mut document, limits);
    choices::set(&mut document);
    complete::complete(&mut document, &ROUTES, TAGS);
    events::set(&mut document);
    document
}
