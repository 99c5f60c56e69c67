//! The models of this node as OpenAI's clients list them.

use std::collections::HashSet;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use hyper::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::embedding::EmbedderId;
use crate::domain::inference::ModelInfo;
use crate::domain::inference::route::is_same_model;
use crate::http::app::{App, Until};
use crate::http::error::ApiError;
use crate::http::openai::embeddings::Embedder;
use crate::http::{inference, router};
use crate::messages::addr::Deadline;
use crate::messages::inference_router::InferenceMsg;

/// The name for "choose yourself": it leads the list, so that clients which let people pick a model
/// offer it.
pub(super) const AUTO: &str = "auto";

/// Characters of an unknown name that an error repeats.
const NAME_ECHO_CHARS_MAX: usize = 64;

/// What the node can be asked for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiModels)]
pub(in crate::http) struct Models {
    /// Always `list`.
    #[schema(example = "list")]
    object: &'static str,
    /// `auto`, then every model that was seen, then the embedder.
    data: Vec<Model>,
}

/// A model, or the choice of one.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiModel, examples(json!({
    "id": "auto", "object": "model", "created": 0, "owned_by": "bizra", "bizra": null,
    "embedder": null,
})))]
pub(in crate::http) struct Model {
    /// Its name.
    id: String,
    /// Always `model`.
    object: &'static str,
    /// When it was last seen, in seconds since the Unix epoch; nobody knows when it was made. 0 of
    /// `auto`.
    created: u64,
    /// The backend that runs it.
    owned_by: String,
    /// What else is known of it; `null` of `auto` and of the embedder.
    #[schema(required)]
    bizra: Option<inference::Model>,
    /// That it gives vectors and no text: it is for `/v1/embeddings` alone. `null` of all others.
    #[schema(required)]
    embedder: Option<Embedder>,
}

impl Model {
    fn auto() -> Self {
        Self::own(AUTO)
    }

    /// One that is part of the node.
    fn own(id: &str) -> Self {
        let (bizra, embedder) = (None, None);
        Self {
            id: id.into(),
            object: "model",
            created: 0,
            owned_by: "bizra".into(),
            bizra,
            embedder,
        }
    }

    fn embedder(id: &EmbedderId) -> Self {
        Self { embedder: Some(id.into()), ..Self::own(&id.name) }
    }
}

impl From<ModelInfo> for Model {
    fn from(model: ModelInfo) -> Self {
        Self {
            id: model.name.clone(),
            object: "model",
            created: model.last_seen_ms / 1000,
            owned_by: model.backend.clone(),
            bizra: Some(model.into()),
            embedder: None,
        }
    }
}

/// Lists the models for OpenAI's clients.
#[utoipa::path(get, path = router::OPENAI_MODELS, responses((status = 200, body = Models)))]
pub(in crate::http) async fn list(
    State(app): State<App>,
    Until(deadline): Until,
) -> Result<Json<Models>, ApiError> {
    Ok(Json(Models { object: "list", data: seen(&app, deadline).await? }))
}

/// Tells of one model for OpenAI's clients.
#[utoipa::path(
    get,
    path = router::OPENAI_MODEL,
    params(("id" = String, Path, description = "Its name, with `/` as `%2F`.", min_length = 1,
        example = "auto")),
    responses(
        (status = 200, body = Model),
        (status = 404, description = "There is no such model."),
    ),
)]
pub(in crate::http) async fn find(
    State(app): State<App>,
    Until(deadline): Until,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Model>, ApiError> {
    let Path(id) = id?;
    let found = seen(&app, deadline).await?.into_iter().find(|model| is_same_model(&model.id, &id));
    found.map(Json).ok_or_else(|| {
        let name: String = id.chars().take(NAME_ECHO_CHARS_MAX).collect();
        let error = format!("no model {name:?}; GET /v1/models lists what there is");
        ApiError::new(StatusCode::NOT_FOUND, "UNKNOWN_MODEL", error).details("$.model")
    })
}

/// `auto`, then every model that was seen, then the embedder. Of two with one name the lower tier's is listed: it is
/// the one that `auto` and the name alone would try first.
async fn seen(app: &App, deadline: Deadline) -> Result<Vec<Model>, ApiError> {
    let models =
        app.roster.inference.call(deadline, |reply| InferenceMsg::Models { reply }).await?;
    let mut names = HashSet::from([AUTO.to_owned()]);
    let models = models.into_iter().filter(|model| names.insert(model.name.clone()));
    let models = [Model::auto()].into_iter().chain(models.map(Model::from));
    Ok(models.chain([Model::embedder(app.embedder.id())]).collect())
}
