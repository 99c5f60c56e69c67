//! Patterns: what the node has learned, found by meaning.

mod answers;
mod error;
mod requests;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::clock;
use crate::domain::bytes::from_hex;
use crate::domain::identity::{KeyUse, PublicKey, Signature};
use crate::domain::pattern::feedback::{Opinion, statement};
use crate::domain::pattern::ledger::Learned;
use crate::domain::pattern::view::{Filter, Query as Wanted};
use crate::domain::pattern::{
    BATCH_MAX, CONTENT_BYTES_MAX, Lesson, PAGE_MAX, Page, PatternError, PatternId, Source, Tags,
};
use crate::http::app::{App, Until};
use crate::http::body::Body;
use crate::http::error::{ApiError, invalid_hex};
use crate::http::federation::proposed;
use crate::http::identity::signed;
use crate::http::openapi::forms::PatternIdText;
use crate::http::page::{next_after, page_limit};
use crate::http::router;
use crate::messages::addr::Deadline;
use crate::messages::pattern_memory::{Changed, PatternMemoryMsg};

pub(super) use answers::*;
use error::refused;
pub(super) use requests::*;

/// Patterns recalled, unless more are asked for.
pub(super) const RECALL_DEFAULT: usize = 10;

/// Learns a pattern.
///
/// It is on disk when this answers. The same again is the same pattern and changes nothing; what is as
/// good as the same (cosine 0.98, the same tags) is further evidence for the pattern that is there.
#[utoipa::path(
    post,
    path = router::PATTERNS,
    request_body = LessonRequest,
    responses(
        (status = 200, body = LearnedAnswer),
        (status = 409, description = "There is no room, and nothing may be let go to make some."),
        (status = 507, description = "There is too little room on the disk (`DISK_FULL`)."),
    ),
)]
pub(super) async fn learn(
    State(app): State<App>,
    Until(deadline): Until,
    Body(request): Body<LessonRequest>,
) -> Result<Json<LearnedAnswer>, ApiError> {
    let lessons = vec![request.read()?];
    let learned = teach(&app, deadline, lessons).await?.pop();
    let learned = learned.ok_or_else(|| ApiError::internal("one lesson had no answer"))??;
    Ok(Json(LearnedAnswer::of(&learned, clock::now_ms())))
}

/// Learns several patterns.
///
/// In order, with one write to the disk. A lesson that breaks a rule has all of them refused; one that
/// there is no room for is refused by itself.
#[utoipa::path(
    post,
    path = router::PATTERNS_BATCH,
    request_body = BatchRequest,
    responses(
        (status = 200, body = BatchAnswer),
        (status = 507, description = "There is too little room on the disk (`DISK_FULL`)."),
    ),
)]
pub(super) async fn batch(
    State(app): State<App>,
    Until(deadline): Until,
    Body(request): Body<BatchRequest>,
) -> Result<Json<BatchAnswer>, ApiError> {
    if !(1..=BATCH_MAX).contains(&request.patterns.len()) {
        let error = format!("a batch has 1 to {BATCH_MAX} patterns");
        return Err(ApiError::invalid("BATCH_TOO_LARGE", error).details("$.patterns"));
    }
    let read = |(at, lesson): (usize, LessonRequest)| {
        lesson.read().map_err(|error| refused(&error, &format!("$.patterns[{at}]")))
    };
    let lessons = request.patterns.into_iter().enumerate().map(read).collect::<Result<_, _>>()?;
    let learned = teach(&app, deadline, lessons).await?;
    let now_ms = clock::now_ms();
    let results = learned.into_iter().map(|learned| match learned {
        Ok(learned) => LearnedAnswer::of(&learned, now_ms),
        Err(error) => LearnedAnswer::refused(refused(&error, "$").code(), &error),
    });
    Ok(Json(BatchAnswer { results: results.collect() }))
}

type Lessons = Vec<Result<Learned, PatternError>>;

async fn teach(app: &App, deadline: Deadline, lessons: Vec<Lesson>) -> Result<Lessons, ApiError> {
    let ask = |reply| PatternMemoryMsg::Learn { lessons: lessons.clone(), reply };
    Ok(app.roster.pattern_memory.call(deadline, ask).await??)
}

/// Recalls patterns by meaning.
///
/// The nearest to a text or an embedding, exactly, as of what was last on disk. What is recalled counts
/// as used.
#[utoipa::path(
    post,
    path = router::PATTERNS_RECALL,
    request_body = RecallRequest,
    responses((status = 200, body = RecallAnswer)),
)]
pub(super) async fn recall(
    State(app): State<App>,
    Until(deadline): Until,
    Body(mut request): Body<RecallRequest>,
) -> Result<Json<RecallAnswer>, ApiError> {
    if let Some(found) = request.query.as_ref().map(String::len)
        && !(1..=CONTENT_BYTES_MAX).contains(&found)
    {
        let error = format!("query has {found} bytes, and 1 to {CONTENT_BYTES_MAX} are allowed");
        return Err(ApiError::invalid("OUT_OF_RANGE", error).details("$.query"));
    }
    let near = request.near()?;
    let filter = Filter {
        tags: Tags::new(request.tags)?,
        source: request.source.as_deref().map(Source::new).transpose()?,
        is_elevated: request.elevated,
    };
    let limit = request.limit.unwrap_or(RECALL_DEFAULT);
    let query = Box::new(Wanted::new(near, limit, request.min_similarity, filter)?);
    let ask = |reply| PatternMemoryMsg::Recall { query: query.clone(), reply };
    let recalled = app.roster.pattern_memory.call(deadline, ask).await??;
    let now_ms = clock::now_ms();
    let patterns = recalled.into_iter().map(|it| RecalledPattern::of(it, now_ms)).collect();
    Ok(Json(RecallAnswer { patterns }))
}

/// Tells what is held.
#[utoipa::path(get, path = router::PATTERNS_STATS, responses((status = 200, body = StatsAnswer)))]
pub(super) async fn stats(
    State(app): State<App>,
    Until(deadline): Until,
) -> Result<Json<StatsAnswer>, ApiError> {
    let ask = |reply| PatternMemoryMsg::Stats { reply };
    Ok(Json(app.roster.pattern_memory.call(deadline, ask).await??.into()))
}

/// What may be asked of the list of patterns.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Entries, and 50 unless told otherwise.
    #[param(nullable = false, minimum = 1)]
    limit: Option<usize>,
    /// The last id of the page before.
    #[param(value_type = PatternIdText, required = false)]
    after: Option<String>,
}

/// Lists the patterns.
///
/// Newest first. `next` is what to give as `after` for more, or null.
#[utoipa::path(
    get,
    path = router::PATTERNS,
    params(ListQuery),
    responses((status = 200, body = PageAnswer)),
)]
pub(super) async fn list(
    State(app): State<App>,
    Until(deadline): Until,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<PageAnswer>, ApiError> {
    let Query(ListQuery { limit, after }) = query?;
    let limit = page_limit(limit, PAGE_MAX)?;
    let after = after.map(|after| pattern_id("after", &after)).transpose()?;
    let page = Page { limit, after };
    let ask = |reply| PatternMemoryMsg::List { page, reply };
    let listed = app.roster.pattern_memory.call(deadline, ask).await??;
    let next = next_after(&listed, limit, |last| last.pattern.id.to_string());
    let now_ms = clock::now_ms();
    let patterns = listed
        .into_iter()
        .map(|it| PatternAnswer::of(&it.pattern, Some(it.content), now_ms))
        .collect();
    Ok(Json(PageAnswer { patterns, next }))
}

/// Shows a pattern.
#[utoipa::path(
    get,
    path = router::PATTERN,
    params(("id" = PatternIdText, Path, description = "Id of the pattern.")),
    responses(
        (status = 200, body = PatternAnswer),
        (status = 404, description = "The node holds no such pattern."),
    ),
)]
pub(super) async fn find(
    State(app): State<App>,
    Until(deadline): Until,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<PatternAnswer>, ApiError> {
    let id = of_path(id)?;
    let ask = |reply| PatternMemoryMsg::Find { id, reply };
    let found = app.roster.pattern_memory.call(deadline, ask).await??;
    let found = found.ok_or(PatternError::Unknown(id))?;
    Ok(Json(PatternAnswer::of(&found.pattern, Some(found.content), clock::now_ms())))
}

/// Forgets a pattern.
///
/// With all that belongs to it; nothing of it is found any more.
#[utoipa::path(
    delete,
    path = router::PATTERN,
    params(("id" = PatternIdText, Path, description = "Id of the pattern.")),
    responses(
        (status = 200, body = Forgotten),
        (status = 404, description = "The node holds no such pattern."),
    ),
)]
pub(super) async fn forget(
    State(app): State<App>,
    Until(deadline): Until,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Forgotten>, ApiError> {
    let id = of_path(id)?;
    let ask = |reply| PatternMemoryMsg::Forget { id, reply };
    app.roster.pattern_memory.call(deadline, ask).await??;
    Ok(Json(Forgotten { id: id.to_string(), forgotten: true }))
}

/// Speaks for a pattern, or against it.
///
/// For it is 0.05 more confidence, against it 0.03 less. Signed feedback counts once however often it
/// is sent; nine for it, signed by three keys, and a confidence of 0.95 make a candidate for elevation.
#[utoipa::path(
    post,
    path = router::PATTERN_FEEDBACK,
    params(("id" = PatternIdText, Path, description = "Id of the pattern.")),
    request_body = FeedbackRequest,
    responses(
        (status = 200, body = FeedbackAnswer),
        (status = 403, description = "It is not signed by its key (`FEEDBACK_SIGNATURE`), or the host \
                                      or origin is not allowed."),
        (status = 404, description = "The node holds no such pattern."),
        (status = 409, description = "The key has given a later feedback, or too many keys have given \
                                      any."),
    ),
)]
pub(super) async fn feedback(
    State(app): State<App>,
    Until(deadline): Until,
    id: Result<Path<String>, PathRejection>,
    Body(request): Body<FeedbackRequest>,
) -> Result<Json<FeedbackAnswer>, ApiError> {
    let id = of_path(id)?;
    let opinion = match request.signed {
        None => Opinion::unsigned(request.positive),
        Some(SignedPart { public_key, number, signature }) => {
            let signature = Signature::from_hex(&signature)
                .map_err(|error| invalid_hex("$.signed.signature", &error))?;
            let bytes = from_hex::<32>(&public_key)
                .map_err(|error| invalid_hex("$.signed.public_key", &error))?;
            let key = PublicKey::admit(&bytes).map_err(|_| PatternError::Signature)?;
            Opinion::signed(id, request.positive, number, key, &signature)?
        }
    };
    let ask = |reply| PatternMemoryMsg::Feedback { id, opinion, reply };
    let Changed { pattern, is_counted } = app.roster.pattern_memory.call(deadline, ask).await??;
    let pattern = PatternAnswer::of(&pattern, None, clock::now_ms());
    Ok(Json(FeedbackAnswer { counted: is_counted, pattern }))
}

/// Signs a feedback.
///
/// With the active key. The answer is what to post as feedback, to this node or to any other that holds
/// the pattern: its id is the digest of what it says.
#[utoipa::path(
    post,
    path = router::PATTERN_FEEDBACK_SIGN,
    params(("id" = PatternIdText, Path, description = "Id of the pattern.")),
    request_body = SignRequest,
    responses((status = 200, body = FeedbackRequest)),
)]
pub(super) async fn sign(
    State(app): State<App>,
    Until(deadline): Until,
    id: Result<Path<String>, PathRejection>,
    Body(request): Body<SignRequest>,
) -> Result<Json<FeedbackRequest>, ApiError> {
    let id = of_path(id)?;
    let number = request.number.unwrap_or(clock::shown_ms());
    let message = statement(id, request.positive, number).map_err(|error| {
        ApiError::invalid("OUT_OF_RANGE", error.to_string()).details("$.number")
    })?;
    let signed = signed(&app, deadline, KeyUse::Feedback, message.into()).await?;
    let (public_key, signature) = (signed.public_key.to_hex(), signed.signature.to_hex());
    let signed = Some(SignedPart { public_key, number, signature });
    Ok(Json(FeedbackRequest { positive: request.positive, signed }))
}

/// Keeps a pattern from being let go.
#[utoipa::path(
    post,
    path = router::PATTERN_PIN,
    params(("id" = PatternIdText, Path, description = "Id of the pattern.")),
    responses(
        (status = 200, body = PatternAnswer),
        (status = 404, description = "The node holds no such pattern."),
    ),
)]
pub(super) async fn pin(
    State(app): State<App>,
    Until(deadline): Until,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<PatternAnswer>, ApiError> {
    set_pinned(&app, deadline, of_path(id)?, true).await
}

/// Lets a pattern be let go again.
#[utoipa::path(
    post,
    path = router::PATTERN_UNPIN,
    params(("id" = PatternIdText, Path, description = "Id of the pattern.")),
    responses(
        (status = 200, body = PatternAnswer),
        (status = 404, description = "The node holds no such pattern."),
    ),
)]
pub(super) async fn unpin(
    State(app): State<App>,
    Until(deadline): Until,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<PatternAnswer>, ApiError> {
    set_pinned(&app, deadline, of_path(id)?, false).await
}

async fn set_pinned(
    app: &App,
    deadline: Deadline,
    id: PatternId,
    is_pinned: bool,
) -> Result<Json<PatternAnswer>, ApiError> {
    let ask = |reply| PatternMemoryMsg::Pin { id, is_pinned, reply };
    let Changed { pattern, .. } = app.roster.pattern_memory.call(deadline, ask).await??;
    Ok(Json(PatternAnswer::of(&pattern, None, clock::now_ms())))
}

/// Has a candidate elevated.
///
/// It is proposed as `POST /api/v1/federation/propose` does: signed, judged by the gates and decided. A
/// node that is alone is the only validator, and the record says so. What the gates refuse is 403.
#[utoipa::path(
    post,
    path = router::PATTERN_ELEVATE,
    params(("id" = PatternIdText, Path, description = "Id of the pattern.")),
    responses(
        (status = 200, body = ElevateAnswer),
        (status = 403, description = "The gates refused it (`REFUSED_BY_GATES`), or the host or \
                                      origin is not allowed."),
        (status = 404, description = "The node holds no such pattern."),
        (status = 409, description = "It is no candidate (`NOT_A_CANDIDATE`)."),
        (status = 507, description = "There is too little room on the disk (`DISK_FULL`)."),
    ),
)]
pub(super) async fn elevate(
    State(app): State<App>,
    Until(deadline): Until,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<ElevateAnswer>, ApiError> {
    let id = of_path(id)?;
    let ask = |reply| PatternMemoryMsg::Elevate { id, reply };
    let elevated = app.roster.pattern_memory.call(deadline, ask).await??;
    let record = elevated.record.as_deref();
    Ok(Json(ElevateAnswer {
        id: id.to_string(),
        is_elevated: elevated.pattern.elevation.is_some(),
        elevation: elevated.pattern.elevation.map(ElevationAnswer::from),
        proposal: record.map(proposed).transpose()?,
    }))
}

fn of_path(id: Result<Path<String>, PathRejection>) -> Result<PatternId, ApiError> {
    pattern_id("id", &id?.0)
}

fn pattern_id(name: &str, text: &str) -> Result<PatternId, ApiError> {
    PatternId::from_text(text)
        .ok_or_else(|| invalid_hex(name, &"a pattern id is pat_ and 32 lower-case hex digits"))
}
