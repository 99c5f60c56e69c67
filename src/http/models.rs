//! Models on disk: what is here, what can be brought, and bringing it.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};

use crate::domain::model_store::ModelName;
use crate::domain::model_store::listing::{Condition, Listing, Verified};
use crate::domain::model_store::pulls::PullInfo;
use crate::http::app::{App, Until};
use crate::http::body::{Body, OptionalBody};
use crate::http::error::ApiError;
use crate::messages::models::ModelsMsg;

/// `GET /models`
pub(super) async fn list(
    State(app): State<App>,
    Until(deadline): Until,
) -> Result<Json<Listing>, ApiError> {
    Ok(Json(app.roster.models.call(deadline, |reply| ModelsMsg::List { reply }).await??))
}

/// `POST /models/pull`
#[derive(Debug, Deserialize)]
pub(super) struct PullRequest {
    name: String,
}

/// Begins the pull; `GET /models/pulls/{id}` and the topic `models` tell how it goes on.
pub(super) async fn pull(
    State(app): State<App>,
    Until(deadline): Until,
    Body(request): Body<PullRequest>,
) -> Result<Json<PullInfo>, ApiError> {
    let name = read_name(&request.name)?;
    let ask = |reply| ModelsMsg::Pull { name: name.clone(), reply };
    Ok(Json(app.roster.models.call(deadline, ask).await??))
}

/// `GET /models/pulls/{id}`
pub(super) async fn find(
    State(app): State<App>,
    Until(deadline): Until,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<PullInfo>, ApiError> {
    let Path(id) = id?;
    let ask = |reply| ModelsMsg::Find { id: id.clone(), reply };
    Ok(Json(app.roster.models.call(deadline, ask).await??))
}

/// `POST /models/pulls/{id}/cancel`
pub(super) async fn cancel(
    State(app): State<App>,
    Until(deadline): Until,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<PullInfo>, ApiError> {
    let Path(id) = id?;
    let ask = |reply| ModelsMsg::Cancel { id: id.clone(), reply };
    Ok(Json(app.roster.models.call(deadline, ask).await??))
}

/// `POST /models/verify`
#[derive(Debug, Default, Deserialize)]
pub(super) struct VerifyRequest {
    /// Only this one.
    #[serde(default)]
    name: Option<String>,
}

/// How each was found.
#[derive(Debug, Serialize)]
pub(super) struct Found {
    /// Whether none is damaged or missing.
    ok: bool,
    models: Vec<Verified>,
}

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

/// `POST /models/remove`
#[derive(Debug, Deserialize)]
pub(super) struct RemoveRequest {
    name: String,
    /// Also while a process uses it.
    #[serde(default)]
    force: bool,
}

/// It is gone.
#[derive(Debug, Serialize)]
pub(super) struct Gone {
    name: ModelName,
    removed: bool,
    bytes_freed: u64,
}

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
