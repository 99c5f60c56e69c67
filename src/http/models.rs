//! Models on disk: what is here, what can be brought, and bringing it.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::model_store::ModelName;
use crate::domain::model_store::listing::{Condition, Listing, Verified};
use crate::domain::model_store::pulls::PullInfo;
use crate::http::app::{App, Until};
use crate::http::body::{Body, OptionalBody};
use crate::http::error::ApiError;
use crate::http::openapi::forms::ModelNameText;
use crate::http::openapi::models::{ModelFound, ModelListing, ModelPull};
use crate::http::router;
use crate::messages::models::ModelsMsg;

/// Lists the models on disk.
///
/// Those that are installed and those of the catalogue, with the latest pulls.
#[utoipa::path(get, path = router::STORE, responses((status = 200, body = ModelListing)))]
pub(super) async fn list(
    State(app): State<App>,
    Until(deadline): Until,
) -> Result<Json<Listing>, ApiError> {
    Ok(Json(app.roster.models.call(deadline, |reply| ModelsMsg::List { reply }).await??))
}

/// The model to bring.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ModelPullRequest, examples(json!({ "name": "qwen2.5-0.5b-instruct" })))]
pub(super) struct PullRequest {
    /// Its name in the catalogue.
    #[schema(value_type = ModelNameText)]
    name: String,
}

/// Brings a model of the catalogue to this machine.
///
/// Answers when it has begun, or is going on already. The pull's own path and the topic `models` of
/// the WebSocket tell how it goes on. What an earlier pull left is gone on with.
#[utoipa::path(
    post,
    path = router::STORE_PULL,
    request_body = PullRequest,
    responses(
        (status = 200, body = ModelPull),
        (status = 404, description = "The catalogue has no such model."),
    ),
)]
pub(super) async fn pull(
    State(app): State<App>,
    Until(deadline): Until,
    Body(request): Body<PullRequest>,
) -> Result<Json<PullInfo>, ApiError> {
    let name = read_name(&request.name)?;
    let ask = |reply| ModelsMsg::Pull { name: name.clone(), reply };
    Ok(Json(app.roster.models.call(deadline, ask).await??))
}

/// Shows how a pull stands.
#[utoipa::path(
    get,
    path = router::STORE_PULL_FIND,
    params(("id" = String, Path, description = "Id of the pull.", min_length = 1,
        example = "pull_19b7e2c1f7b_1")),
    responses(
        (status = 200, body = ModelPull),
        (status = 404, description = "No such pull is known; the latest are."),
    ),
)]
pub(super) async fn find(
    State(app): State<App>,
    Until(deadline): Until,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<PullInfo>, ApiError> {
    let Path(id) = id?;
    let ask = |reply| ModelsMsg::Find { id: id.clone(), reply };
    Ok(Json(app.roster.models.call(deadline, ask).await??))
}

/// Ends a pull.
///
/// What came is kept, and a later pull goes on from there. One that has ended already is shown.
#[utoipa::path(
    post,
    path = router::STORE_PULL_CANCEL,
    params(("id" = String, Path, description = "Id of the pull.", min_length = 1,
        example = "pull_19b7e2c1f7b_1")),
    responses(
        (status = 200, body = ModelPull),
        (status = 404, description = "No such pull is known; the latest are."),
    ),
)]
pub(super) async fn cancel(
    State(app): State<App>,
    Until(deadline): Until,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<PullInfo>, ApiError> {
    let Path(id) = id?;
    let ask = |reply| ModelsMsg::Cancel { id: id.clone(), reply };
    Ok(Json(app.roster.models.call(deadline, ask).await??))
}

/// What to look at.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ModelVerifyRequest, examples(json!({ "name": "qwen2.5-0.5b-instruct" })))]
pub(super) struct VerifyRequest {
    /// Only this one; every installed model unless it is given.
    #[serde(default)]
    #[schema(value_type = Option<ModelNameText>)]
    name: Option<String>,
}

/// How each was found.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ModelsFound, examples(json!({
    "ok": true,
    "models": [{
        "name": "qwen2.5-0.5b-instruct",
        "sha256": "74a4da8c9fdbcd15bd1f6d01d621410d31c6fc00986f5eb687824e7b93d7a9db",
        "condition": "ok",
    }],
})))]
pub(super) struct Found {
    /// Whether none is damaged or missing.
    ok: bool,
    /// Those that were looked at.
    #[schema(value_type = Vec<ModelFound>)]
    models: Vec<Verified>,
}

/// Hashes installed models again.
///
/// Reads every byte of them within the time of a request; `bizra models verify` on the machine itself
/// has no such limit.
#[utoipa::path(
    post,
    path = router::STORE_VERIFY,
    request_body = Option<VerifyRequest>,
    responses(
        (status = 200, body = Found),
        (status = 404, description = "There is no such model."),
    ),
)]
pub(super) async fn verify(
    State(app): State<App>,
    Until(deadline): Until,
    OptionalBody(request): OptionalBody<VerifyRequest>,
) -> Result<Json<Found>, ApiError> {
    let name = request.name.as_deref().map(read_name).transpose()?;
    let ask = |reply| ModelsMsg::Verify { name: name.clone(), reply };
    let models = app.roster.models.call(deadline, ask).await??;
    let ok = models.iter().all(|found| found.condition == Condition::Ok);
    Ok(Json(Found { ok, models }))
}

/// The model to remove.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ModelRemoveRequest,
    examples(json!({ "name": "qwen2.5-0.5b-instruct", "force": false })))]
pub(super) struct RemoveRequest {
    /// Its name.
    #[schema(value_type = ModelNameText)]
    name: String,
    /// Whether to remove it also while a process uses it; no unless told otherwise.
    #[serde(default)]
    force: bool,
}

/// It is gone.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ModelRemoved, examples(json!({
    "name": "qwen2.5-0.5b-instruct",
    "removed": true,
    "bytes_freed": 491_400_032,
})))]
pub(super) struct Gone {
    /// What it was called.
    #[schema(value_type = ModelNameText)]
    name: ModelName,
    /// That it was removed.
    removed: bool,
    /// Bytes that the disk has more now; none while another name or a process keeps the file.
    bytes_freed: u64,
}

/// Removes a model from this machine, or what a pull of it left.
#[utoipa::path(
    post,
    path = router::STORE_REMOVE,
    request_body = RemoveRequest,
    responses(
        (status = 200, body = Gone),
        (status = 404, description = "Nothing of such a model is here."),
        (status = 409, description = "It is in use, or on its way."),
    ),
)]
pub(super) async fn remove(
    State(app): State<App>,
    Until(deadline): Until,
    Body(request): Body<RemoveRequest>,
) -> Result<Json<Gone>, ApiError> {
    let name = read_name(&request.name)?;
    let is_forced = request.force;
    let ask = |reply| ModelsMsg::Remove { name: name.clone(), is_forced, reply };
    let removed = app.roster.models.call(deadline, ask).await??;
    Ok(Json(Gone { name, removed: true, bytes_freed: removed.bytes_freed }))
}

fn read_name(text: &str) -> Result<ModelName, ApiError> {
    ModelName::parse(text)
        .map_err(|error| ApiError::invalid("INVALID_NAME", error.to_string()).details("$.name"))
}
