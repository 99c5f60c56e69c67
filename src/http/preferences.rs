//! Preferences: how people like to be answered, learned from what is observed and told to models.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::domain::preference::{
    self, Choice, ChoiceError, Entry, Kind, PAGE_MAX, Selection, Slot, Subject, SubjectPage, join,
};
use crate::domain::reject::RejectCode;
use crate::http::app::{App, Until};
use crate::http::body::Body;
use crate::http::error::ApiError;
use crate::http::openapi::forms::{
    PreferenceEffectName, PreferenceTypeName, ScoreNumber, SubjectText, TimeText,
};
use crate::http::page::{next_after, page_limit};
use crate::http::router;
use crate::messages::addr::Deadline;
use crate::messages::preferences::{PreferencesError, PreferencesMsg};

/// A choice that somebody made.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = PreferenceObservation,
    examples(json!({ "subject": "ann", "type": "style", "value": "formal" })))]
pub(super) struct ObserveRequest {
    /// Whose choice.
    #[schema(value_type = SubjectText)]
    subject: String,
    /// What it is about.
    r#type: String,
    /// The name of a custom preference: at most three words of a-z and 0-9 with _ between. Other types
    /// have none; `response` is taken for none.
    key: Option<String>,
    /// What was chosen: of a type with a vocabulary one of its values; of a custom
    /// preference at most three plain words. What reads like an instruction to a model, like a
    /// secret or like somebody's data is refused.
    value: String,
}

/// A preference, and how sure the node is of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Preference, examples(json!({
    "type": "style",
    "key": null,
    "value": "formal",
    "confidence": 0.704755,
    "observations": 6,
    "active": true,
    "observed_at": "2026-01-31T12:00:00.000Z",
})))]
pub(super) struct Known {
    /// What it is about.
    #[schema(value_type = PreferenceTypeName)]
    r#type: &'static str,
    /// The name of a custom preference; null of other types.
    #[schema(required)]
    key: Option<String>,
    /// What is preferred.
    value: String,
    /// How sure the node is: 0.5 at first, more each time that it is observed, less each time that
    /// another value is.
    #[schema(value_type = ScoreNumber)]
    confidence: f64,
    /// How often it was observed.
    observations: u64,
    /// Whether models are told. That begins at a confidence of 0.7; of several values it is the first
    /// that was sure enough, until another one is and leads by 0.1.
    active: bool,
    /// When it was observed last.
    #[schema(value_type = TimeText)]
    observed_at: String,
}

impl From<Entry> for Known {
    fn from(entry: Entry) -> Self {
        let slot = entry.choice.slot();
        Self {
            r#type: slot.kind().as_str(),
            key: slot.key().map(str::to_owned),
            value: entry.choice.value().to_owned(),
            confidence: entry.confidence,
            observations: entry.observations,
            active: entry.is_active,
            observed_at: entry.observed_at(),
        }
    }
}

/// What was learned.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PreferenceObserved)]
pub(super) struct Observed {
    /// Whose choice.
    #[schema(value_type = SubjectText)]
    subject: String,
    /// What the observation changed.
    #[schema(value_type = PreferenceEffectName)]
    effect: &'static str,
    /// The value as it stands now.
    #[serde(flatten)]
    preference: Known,
}

/// Takes in that somebody chose a value.
///
/// A value becomes active when it was observed six times in a row, and one contrary observation turns
/// nothing around. Asked twice, it counts twice.
#[utoipa::path(
    post,
    path = router::PREFERENCES_OBSERVE,
    request_body = ObserveRequest,
    responses(
        (status = 200, body = Observed),
        (status = 403, description = "The value reads like an instruction, a secret or data of a \
                                      person (`PREFERENCE_REFUSED`), or the host or origin is not \
                                      allowed."),
        (status = 409, description = "There are as many subjects, or custom preferences of this one, \
                                      as may be (`PREFERENCES_FULL`)."),
        (status = 507, description = "There is too little room on the disk (`DISK_FULL`)."),
    ),
)]
pub(super) async fn observe(
    State(app): State<App>,
    Until(deadline): Until,
    Body(request): Body<ObserveRequest>,
) -> Result<Json<Observed>, ApiError> {
    let ObserveRequest { subject, r#type, key, value } = request;
    let subject = read_subject("$.subject", &subject)?;
    let slot = Slot::parse(Kind::parse(&r#type)?, key.as_deref())?;
    let choice = Choice::parse(slot, &value)?;
    let ask =
        |reply| PreferencesMsg::Observe { subject: subject.clone(), choice: choice.clone(), reply };
    let observed = app.roster.preferences.call(deadline, ask).await??;
    Ok(Json(Observed {
        subject: subject.to_string(),
        effect: observed.effect.as_str(),
        preference: observed.entry.into(),
    }))
}

/// What is known of a subject.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PreferencesOfSubject)]
pub(super) struct Found {
    /// Of whom.
    #[schema(value_type = SubjectText)]
    subject: String,
    /// Every value that was observed: by type, and there the active one first, then the surest. None of
    /// who never was observed.
    preferences: Vec<Known>,
}

/// Lists the preferences of a subject.
#[utoipa::path(
    get,
    path = router::PREFERENCES_OF,
    params(("subject" = SubjectText, Path, description = "Of whom.")),
    responses((status = 200, body = Found)),
)]
pub(super) async fn find(
    State(app): State<App>,
    Until(deadline): Until,
    subject: Result<Path<String>, PathRejection>,
) -> Result<Json<Found>, ApiError> {
    let Path(subject) = subject?;
    let subject = read_subject("subject", &subject)?;
    let ask = |reply| PreferencesMsg::Find { subject: subject.clone(), reply };
    let profile = app.roster.preferences.call(deadline, ask).await??;
    let preferences = profile.entries().into_iter().map(Known::from).collect();
    Ok(Json(Found { subject: subject.to_string(), preferences }))
}

/// What may be asked of the list of subjects.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SubjectsQuery {
    /// Entries, and 50 unless told otherwise.
    #[param(nullable = false, minimum = 1)]
    limit: Option<usize>,
    /// The last subject of the page before.
    #[param(value_type = SubjectText, required = false)]
    after: Option<String>,
}

/// A subject in the list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PreferenceSubject)]
pub(super) struct Listed {
    /// Its name.
    #[schema(value_type = SubjectText)]
    subject: String,
    /// Values that were observed.
    values: usize,
    /// Those of which models are told.
    active: usize,
}

/// A page of the subjects.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PreferenceSubjects,
    examples(json!({ "subjects": [{ "subject": "ann", "values": 3, "active": 1 }], "next": null })))]
pub(super) struct Subjects {
    /// As many as were asked for, or fewer at the end.
    subjects: Vec<Listed>,
    /// What to give as `after` for the next page; null at the end.
    #[schema(value_type = Option<SubjectText>, required)]
    next: Option<String>,
}

/// Lists the subjects that have preferences, by name.
#[utoipa::path(
    get,
    path = router::PREFERENCES,
    params(SubjectsQuery),
    responses((status = 200, body = Subjects)),
)]
pub(super) async fn list(
    State(app): State<App>,
    Until(deadline): Until,
    query: Result<Query<SubjectsQuery>, QueryRejection>,
) -> Result<Json<Subjects>, ApiError> {
    let Query(SubjectsQuery { limit, after }) = query?;
    let limit = page_limit(limit, PAGE_MAX)?;
    let after = after.map(|after| read_subject("after", &after)).transpose()?;
    let page = SubjectPage { limit, after };
    let ask = |reply| PreferencesMsg::List { page: page.clone(), reply };
    let found = app.roster.preferences.call(deadline, ask).await??;
    let listed = found.into_iter().map(|(subject, profile)| Listed {
        subject: subject.to_string(),
        values: profile.len(),
        active: profile.active().len(),
    });
    let subjects: Vec<Listed> = listed.collect();
    let next = next_after(&subjects, limit, |last| last.subject.clone());
    Ok(Json(Subjects { subjects, next }))
}

/// What to forget.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = PreferenceForgetRequest, examples(json!({ "subject": "ann", "type": "style" })))]
pub(super) struct ForgetRequest {
    /// Of whom.
    #[schema(value_type = SubjectText)]
    subject: String,
    /// Only this type; everything unless it is given.
    #[schema(value_type = Option<PreferenceTypeName>)]
    r#type: Option<String>,
    /// Only the custom preference of this name; of type custom only.
    key: Option<String>,
}

/// It is forgotten.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PreferenceForgotten, examples(json!({ "subject": "ann", "forgotten": 3 })))]
pub(super) struct Forgotten {
    /// Of whom.
    #[schema(value_type = SubjectText)]
    subject: String,
    /// How many values; 0 if there were none.
    forgotten: usize,
}

/// Forgets preferences of a subject, or all of them.
#[utoipa::path(
    post,
    path = router::PREFERENCES_FORGET,
    request_body = ForgetRequest,
    responses((status = 200, body = Forgotten)),
)]
pub(super) async fn forget(
    State(app): State<App>,
    Until(deadline): Until,
    Body(request): Body<ForgetRequest>,
) -> Result<Json<Forgotten>, ApiError> {
    let ForgetRequest { subject, r#type, key } = request;
    let subject = read_subject("$.subject", &subject)?;
    let kind = r#type.as_deref().map(Kind::parse).transpose()?;
    let selection = match (kind, key) {
        (None, None) => Selection::All,
        (None, Some(_)) => {
            let error = "key is for a custom preference; give its type as well";
            return Err(ApiError::invalid("INVALID_PREFERENCE", error).details("$.type"));
        }
        (Some(kind), None) => Selection::Kind(kind),
        (Some(kind), Some(key)) => Selection::Slot(Slot::parse(kind, Some(&key))?),
    };
    let ask = |reply| PreferencesMsg::Forget {
        subject: subject.clone(),
        selection: selection.clone(),
        reply,
    };
    let forgotten = app.roster.preferences.call(deadline, ask).await??;
    Ok(Json(Forgotten { subject: subject.to_string(), forgotten }))
}

/// Whose preferences to put behind which system text.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = PreferenceApplyRequest,
    examples(json!({ "subject": "ann", "system": "You are a careful assistant." })))]
pub(super) struct ApplyRequest {
    /// Whose.
    #[schema(value_type = SubjectText)]
    subject: String,
    /// Instructions of the caller, which come first.
    system: Option<String>,
}

/// The preferences that were told to a model, or would be.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PreferencesApplied)]
pub(super) struct Applied {
    /// Whose.
    #[schema(value_type = SubjectText)]
    subject: String,
    /// The text that stands behind the system text of the caller; null if nothing is active.
    #[schema(required)]
    text: Option<String>,
    /// What the text says, in its order.
    applied: Vec<Known>,
    /// Active preferences that there was no room for.
    left_out: usize,
}

/// A system text with preferences behind it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PreferencesRendered)]
pub(super) struct Shown {
    /// What a model would get as its system text; null if that is nothing.
    #[schema(required)]
    system: Option<String>,
    /// The preferences in it.
    #[serde(flatten)]
    applied: Applied,
}

/// Shows what a model would be told of a subject's preferences.
///
/// The same text that `inference/generate` uses with `preferences_of`; nothing is generated.
#[utoipa::path(
    post,
    path = router::PREFERENCES_APPLY,
    request_body = ApplyRequest,
    responses((status = 200, body = Shown)),
)]
pub(super) async fn apply(
    State(app): State<App>,
    Until(deadline): Until,
    Body(request): Body<ApplyRequest>,
) -> Result<Json<Shown>, ApiError> {
    let (system, applied) =
        behind(&app, deadline, "$.subject", &request.subject, request.system).await?;
    Ok(Json(Shown { system, applied }))
}

/// The system text with the preferences of a subject behind it, and what they are. `place` is where the
/// subject was named. They come on top of the limit on what a caller may say.
///
/// # Errors
/// 400 if it has no name of a subject, and what the actor says.
pub(super) async fn behind(
    app: &App,
    deadline: Deadline,
    place: &str,
    subject: &str,
    system: Option<String>,
) -> Result<(Option<String>, Applied), ApiError> {
    let subject = read_subject(place, subject)?;
    let ask = |reply| PreferencesMsg::Render { subject: subject.clone(), reply };
    let preference::Rendered { text, told, left_out } =
        app.roster.preferences.call(deadline, ask).await??;
    let system = join(system, text.as_deref());
    let applied = told.into_iter().map(Known::from).collect();
    Ok((system, Applied { subject: subject.to_string(), text, applied, left_out }))
}

fn read_subject(place: &str, name: &str) -> Result<Subject, ApiError> {
    Subject::parse(name)
        .map_err(|error| ApiError::invalid("INVALID_SUBJECT", error.to_string()).details(place))
}

impl From<ChoiceError> for ApiError {
    fn from(error: ChoiceError) -> Self {
        let place = format!("$.{}", error.field());
        match error {
            ChoiceError::Harmful { .. } => Self::forbidden("PREFERENCE_REFUSED", error.to_string()),
            _ => Self::invalid("INVALID_PREFERENCE", error.to_string()),
        }
        .details(place)
    }
}

impl From<PreferencesError> for ApiError {
    fn from(error: PreferencesError) -> Self {
        let text = error.to_string();
        match error {
            PreferencesError::Full(_) => Self::new(StatusCode::CONFLICT, "PREFERENCES_FULL", text),
            PreferencesError::DiskFull(_) => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "DISK_FULL", text)
                    .details(RejectCode::RejectQuota.as_str())
            }
            PreferencesError::Unavailable(inner) => Self::unavailable(
                "PREFERENCES_UNAVAILABLE",
                "preferences cannot be dealt with at present",
            )
            .because(inner),
        }
    }
}
