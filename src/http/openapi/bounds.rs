//! Bounds in the document that are constants or settings, taken from where they are enforced.

use serde_json::{Value, json};

use crate::domain::envelope::log::PAGE_MAX;
use crate::domain::envelope::{PARENTS_MAX, TTL_S_MAX};
use crate::domain::federation::{
    self, CONTENT_BYTES_MAX, DIMENSIONS_MAX, PATTERN_ID_CHARS_MAX, elevation_min,
};
use crate::domain::gate::SOURCES_MAX;
use crate::domain::inference::request::{MODEL_CHARS_MAX, SEED_MAX};
use crate::domain::json::INTEGER_MAX;
use crate::domain::pattern;
use crate::domain::preference::PAGE_MAX as SUBJECTS_MAX;
use crate::http::limits::Limits;
use crate::http::page::PAGE_DEFAULT;
use crate::http::patterns::RECALL_DEFAULT;
use crate::http::router::{PATTERNS, PREFERENCES, PROPOSALS};

/// Writes them. Where each belongs is a JSON pointer (RFC 6901) to what must be there: one that leads
/// nowhere fails a test.
pub(super) fn set(document: &mut Value, limits: &Limits) {
    for (schema, field, keyword, value) in all(limits) {
        if let Some(Value::Object(field)) = document.pointer_mut(&pointer(schema, field)) {
            field.insert(keyword.to_owned(), value);
        }
    }
}

fn pointer(schema: &str, field: &str) -> String {
    match schema.strip_prefix('/') {
        // A parameter, by its place.
        Some(path) => format!("/paths/~1{}/{field}/schema", path.replace('/', "~1")),
        None => format!("/components/schemas/{schema}/properties/{field}"),
    }
}

type Bound = (&'static str, &'static str, &'static str, Value);

fn all(limits: &Limits) -> Vec<Bound> {
    let prompts = &limits.prompts;
    let (generate, openai) = ("InferenceGenerateRequest", "OpenAiParameters");
    vec![
        (generate, "prompt", "maxLength", json!(prompts.prompt_chars_max)),
        (generate, "system", "maxLength", json!(prompts.prompt_chars_max)),
        (generate, "max_tokens", "minimum", json!(1)),
        (generate, "max_tokens", "maximum", json!(prompts.max_tokens_max)),
        (
            generate,
            "max_tokens",
            "default",
            json!(prompts.max_tokens_default.min(prompts.max_tokens_max)),
        ),
        (generate, "temperature", "default", json!(prompts.temperature_default)),
        (generate, "seed", "maximum", json!(SEED_MAX)),
        (generate, "model", "maxLength", json!(MODEL_CHARS_MAX)),
        (generate, "stream", "default", json!(false)),
        ("OpenAiText", "prompt", "maxLength", json!(prompts.prompt_chars_max)),
        (openai, "max_tokens", "minimum", json!(1)),
        (openai, "max_tokens", "maximum", json!(prompts.max_tokens_max)),
        (openai, "max_completion_tokens", "minimum", json!(1)),
        (openai, "max_completion_tokens", "maximum", json!(prompts.max_tokens_max)),
        (openai, "seed", "maximum", json!(SEED_MAX)),
        ("TierRequest", "prompt", "maxLength", json!(prompts.prompt_chars_max)),
        ("TierRequest", "max_tokens", "minimum", json!(1)),
        ("TierRequest", "max_tokens", "maximum", json!(prompts.max_tokens_max)),
        ("TierRequest", "latency_sensitive", "default", json!(false)),
        ("EnvelopeCreateRequest", "ttl", "minimum", json!(1)),
        ("EnvelopeCreateRequest", "ttl", "maximum", json!(TTL_S_MAX)),
        ("EnvelopeCreateRequest", "ttl", "default", json!(TTL_S_MAX)),
        ("EnvelopeCreateRequest", "provenance", "maxItems", json!(PARENTS_MAX)),
        ("Envelope", "ttl", "maximum", json!(TTL_S_MAX)),
        ("Envelope", "provenance", "maxItems", json!(PARENTS_MAX)),
        ("ProposeRequest", "pattern_id", "maxLength", json!(PATTERN_ID_CHARS_MAX)),
        ("ProposeRequest", "pattern_embedding", "maxItems", json!(DIMENSIONS_MAX)),
        ("ProposeRequest", "confidence", "minimum", json!(elevation_min())),
        ("ProposeRequest", "content", "maxLength", json!(CONTENT_BYTES_MAX)),
        ("PatternLesson", "content", "maxLength", json!(pattern::CONTENT_BYTES_MAX)),
        ("PatternLesson", "tags", "maxItems", json!(pattern::TAGS_MAX)),
        ("PatternLesson", "embedding", "maxItems", json!(pattern::DIMENSIONS_MAX)),
        ("PatternBatch", "patterns", "maxItems", json!(pattern::BATCH_MAX)),
        ("PatternRecallRequest", "query", "maxLength", json!(pattern::CONTENT_BYTES_MAX)),
        ("PatternRecallRequest", "embedding", "maxItems", json!(pattern::DIMENSIONS_MAX)),
        ("PatternRecallRequest", "limit", "maximum", json!(pattern::RECALL_MAX)),
        ("PatternRecallRequest", "limit", "default", json!(RECALL_DEFAULT)),
        (
            "PatternRecallRequest",
            "min_similarity",
            "default",
            json!(f64::from(pattern::SIMILARITY_DEFAULT)),
        ),
        ("PatternRecallRequest", "tags", "maxItems", json!(pattern::TAGS_MAX)),
        ("Embedder", "name", "maxLength", json!(pattern::EMBEDDER_CHARS_MAX)),
        ("Embedder", "dimension", "maximum", json!(pattern::DIMENSIONS_MAX)),
        ("FeedbackSignature", "number", "maximum", json!(INTEGER_MAX)),
        ("FeedbackSignRequest", "number", "maximum", json!(INTEGER_MAX)),
        (PATTERNS, "get/parameters/0", "maximum", json!(pattern::PAGE_MAX)),
        (PATTERNS, "get/parameters/0", "default", json!(PAGE_DEFAULT)),
        (PROPOSALS, "get/parameters/0", "maximum", json!(federation::PAGE_MAX)),
        (PROPOSALS, "get/parameters/0", "default", json!(PAGE_DEFAULT)),
        (PREFERENCES, "get/parameters/0", "maximum", json!(SUBJECTS_MAX)),
        (PREFERENCES, "get/parameters/0", "default", json!(PAGE_DEFAULT)),
        ("OpenAiEmbeddingsRequest", "dimensions", "minimum", json!(limits.dimensions)),
        ("OpenAiEmbeddingsRequest", "dimensions", "maximum", json!(limits.dimensions)),
        ("GatesCheckRequest", "sources", "maxItems", json!(SOURCES_MAX)),
        ("IdentityGenerateRequest", "activate", "default", json!(true)),
        ("/api/v1/pci/envelopes", "get/parameters/0", "maximum", json!(PAGE_MAX)),
        ("/api/v1/pci/envelopes", "get/parameters/0", "default", json!(PAGE_DEFAULT)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::openapi::document;

    #[test]
    fn every_bound_has_its_place_and_follows_the_settings() {
        let mut limits = Limits::default();
        limits.prompts.prompt_chars_max = 77;
        limits.prompts.max_tokens_max = 11;
        let document = document(&limits);
        for (schema, field, keyword, value) in all(&limits) {
            let found = document.pointer(&pointer(schema, field));
            let found = found.and_then(|field| field.get(keyword));
            assert_eq!(found, Some(&value), "{schema} {field} {keyword}");
        }
        let prompt = "/components/schemas/InferenceGenerateRequest/properties/prompt/maxLength";
        assert_eq!(document.pointer(prompt), Some(&json!(77)));
    }
}
