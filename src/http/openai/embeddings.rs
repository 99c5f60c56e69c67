//! Embeddings as OpenAI's clients ask for them, of the node's embedder.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout_at;
use utoipa::ToSchema;

use crate::domain::embedding::{Embed, EmbedError, EmbedderId};
use crate::http::app::{App, Until};
use crate::http::body::Body;
use crate::http::error::ApiError;
use crate::http::openai::models::AUTO;
use crate::http::openai::parameters::unsupported;
use crate::http::openapi::forms::EmbeddingInput;
use crate::http::router;

/// Texts in one request: some seconds of work for a model on a small machine.
pub(in crate::http) const INPUTS_MAX: usize = 256;

/// Bytes that a token of English text has, more or less.
const TOKEN_BYTES: usize = 4;

/// Texts to embed.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = OpenAiEmbeddingsRequest,
    examples(json!({ "model": "auto", "input": ["ask before you act", "never mind the cost"] })))]
pub(in crate::http) struct EmbeddingsRequest {
    /// One text, or several. Tokens are not read.
    #[schema(value_type = EmbeddingInput)]
    input: Value,
    /// The node's embedder, as `/v1/models` names it, with or without what follows an `@`; `auto`, or
    /// none, is the same one.
    #[schema(min_length = 1)]
    model: Option<String>,
    /// `float` for numbers, or `base64` for the bytes of 32-bit floats, the lowest first; numbers unless
    /// told otherwise.
    #[schema(pattern = "^(float|base64)$")]
    encoding_format: Option<String>,
    /// Numbers in each vector: as many as the embedder gives.
    dimensions: Option<i64>,
}

/// The vectors of the texts, in their order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiEmbeddings, examples(json!({
    "object": "list",
    "data": [{ "object": "embedding", "index": 0, "embedding": [0.6, -0.8] }],
    "model": "bizra-ngram",
    "usage": { "prompt_tokens": 5, "total_tokens": 5 },
    "bizra": { "embedder": "bizra-ngram", "version": 1, "dimensions": 2, "tokens_estimated": true },
})))]
pub(in crate::http) struct Embeddings {
    /// Always `list`.
    object: &'static str,
    /// One of each text.
    data: Vec<Embedding>,
    /// The embedder.
    model: String,
    /// A guess by the length of the texts.
    usage: Usage,
    /// What is to be kept with the vectors, so that they are compared only with those of the same
    /// embedder.
    bizra: Embedder,
}

/// The vector of a text, of length 1.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiEmbedding)]
pub(in crate::http) struct Embedding {
    /// Always `embedding`.
    object: &'static str,
    /// Which text.
    index: usize,
    /// The vector.
    embedding: Vector,
}

/// A vector as numbers, or as the base64 of its bytes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiVector, examples(json!([0.6, -0.8])))]
#[serde(untagged)]
pub(in crate::http) enum Vector {
    Numbers(Vec<f32>),
    Base64(String),
}

/// A guess of tokens.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiEmbeddingUsage)]
pub(in crate::http) struct Usage {
    /// Of all texts.
    prompt_tokens: usize,
    /// The same.
    total_tokens: usize,
}

/// Which embedder made vectors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = OpenAiEmbedder, examples(json!({
    "embedder": "bizra-ngram", "version": 1, "dimensions": 384, "tokens_estimated": true,
})))]
pub(in crate::http) struct Embedder {
    /// Its name.
    embedder: String,
    /// Raised whenever some text gets another vector.
    version: u32,
    /// Numbers in each vector.
    dimensions: usize,
    /// Whether the numbers of tokens are a guess.
    tokens_estimated: bool,
}

impl From<&EmbedderId> for Embedder {
    fn from(id: &EmbedderId) -> Self {
        Self {
            embedder: id.name.clone(),
            version: id.version,
            dimensions: id.dimension,
            tokens_estimated: true,
        }
    }
}

/// Gives texts their vectors, for OpenAI's clients.
///
/// By the embedder of the node: the one built in, which knows spelling and no meaning, or the model of
/// `[embedding]`. Texts with the same meaning lie close together only with the latter.
#[utoipa::path(
    post,
    path = router::OPENAI_EMBEDDINGS,
    request_body = EmbeddingsRequest,
    responses(
        (status = 200, body = Embeddings),
        (status = 404, description = "The embedder of this node has another name."),
    ),
)]
pub(in crate::http) async fn create(
    State(app): State<App>,
    Until(deadline): Until,
    Body(request): Body<EmbeddingsRequest>,
) -> Result<Json<Embeddings>, ApiError> {
    let embedder = Arc::clone(&app.embedder);
    let id = embedder.id();
    let is_base64 = request.check(id)?;
    let texts = texts(request.input)?;
    let began = Instant::now();
    let bytes: usize = texts.iter().map(String::len).sum();
    let place = timeout_at(deadline.instant(), app.embedding_place()).await;
    // Held until the work has ended, also when its caller has left before.
    let place = place.map_err(|_| ApiError::timeout())?;
    let leaving = Leaving::default();
    let has_left = Arc::clone(&leaving.0);
    let work = tokio::task::spawn_blocking({
        let embedder = Arc::clone(&embedder);
        move || {
            let _place = place;
            embed_all(&*embedder, &texts, &has_left)
        }
    });
    let done = timeout_at(deadline.instant(), work).await.map_err(|_| ApiError::timeout())?;
    let done = done.map_err(|error| ApiError::internal(format!("embedding: {error}")))?;
    let vectors = done?;
    app.metrics.embeddings_made(began.elapsed());
    let tokens = bytes.div_ceil(TOKEN_BYTES);
    let vector = |(index, numbers): (usize, Vec<f32>)| Embedding {
        object: "embedding",
        index,
        embedding: if is_base64 { base64(&numbers) } else { Vector::Numbers(numbers) },
    };
    Ok(Json(Embeddings {
        object: "list",
        data: vectors.into_iter().enumerate().map(vector).collect(),
        model: id.name.clone(),
        usage: Usage { prompt_tokens: tokens, total_tokens: tokens },
        bizra: id.into(),
    }))
}

/// Says so when it is dropped, which is when nobody waits any more.
#[derive(Debug, Default)]
struct Leaving(Arc<AtomicBool>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn embed_all(
    embedder: &dyn Embed,
    texts: &[String],
    has_left: &AtomicBool,
) -> Result<Vec<Vec<f32>>, ApiError> {
    let mut vectors = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        if has_left.load(Ordering::Relaxed) {
            return Err(ApiError::timeout());
        }
        let place = if texts.len() == 1 { "$.input".into() } else { format!("$.input[{index}]") };
        vectors.push(embedder.embed(text).map_err(|error| refused(error, place))?);
    }
    Ok(vectors)
}

fn refused(error: EmbedError, place: String) -> ApiError {
    let text = error.to_string();
    match error {
        EmbedError::Empty => ApiError::invalid("EMPTY_INPUT", text).details(place),
        EmbedError::TooLong { .. } => ApiError::invalid("INPUT_TOO_LONG", text).details(place),
        EmbedError::Failed(inner) => {
            let error = "the embedding model failed";
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "EMBEDDING_FAILED", error)
                .because(inner)
        }
    }
}

fn base64(numbers: &[f32]) -> Vector {
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    Vector::Base64(STANDARD.encode(bytes))
}

impl EmbeddingsRequest {
    /// Checks what goes with the texts; tells whether vectors are to be base64.
    fn check(&self, id: &EmbedderId) -> Result<bool, ApiError> {
        let label = id.name.split('@').next().unwrap_or_default();
        let is_ours = |name: &str| [AUTO, &id.name, label].contains(&name);
        if self.model.as_deref().is_some_and(|name| !is_ours(name)) {
            let error = format!("the embedder of this node is {:?}", id.name);
            return Err(
                ApiError::new(StatusCode::NOT_FOUND, "UNKNOWN_MODEL", error).details("$.model")
            );
        }
        let given = id.dimension;
        if self.dimensions.is_some_and(|asked| usize::try_from(asked) != Ok(given)) {
            let error = format!("this embedder gives {given} dimensions, and no other number");
            return Err(unsupported("UNSUPPORTED_VALUE", "dimensions", error));
        }
        match self.encoding_format.as_deref() {
            None | Some("float") => Ok(false),
            Some("base64") => Ok(true),
            Some(_) => {
                let error = "encoding_format is float or base64";
                Err(unsupported("UNSUPPORTED_VALUE", "encoding_format", error))
            }
        }
    }
}

/// One text or several.
fn texts(input: Value) -> Result<Vec<String>, ApiError> {
    let invalid = |error: String| Err(ApiError::invalid("INVALID_FIELD", error).details("$.input"));
    let texts = match input {
        Value::String(text) => vec![text],
        Value::Array(items) if items.iter().any(|item| item.is_number() || item.is_array()) => {
            return invalid(
                "tokens are not read, whose numbers mean another text to each model; \
                            give the text itself"
                    .to_owned(),
            );
        }
        Value::Array(items) => {
            let text = |item| if let Value::String(text) = item { Some(text) } else { None };
            match items.into_iter().map(text).collect::<Option<Vec<_>>>() {
                Some(texts) => texts,
                None => return invalid("input is a string or a list of strings".to_owned()),
            }
        }
        _ => return invalid("input is a string or a list of strings".to_owned()),
    };
    if (1..=INPUTS_MAX).contains(&texts.len()) {
        return Ok(texts);
    }
    invalid(format!("input has {} texts; it has 1 to {INPUTS_MAX}", texts.len()))
}
