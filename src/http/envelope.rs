//! Envelopes: made, checked, and looked up in the log of those made here.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use crate::clock;
use crate::domain::bytes::from_hex;
use crate::domain::envelope::log::PAGE_MAX;
use crate::domain::envelope::{Draft, EnvelopeId, Head, Page, Parent, TTL_S_MAX};
use crate::domain::id::NodeId;
use crate::domain::json::JsonProblem;
use crate::domain::reject::RejectCode;
use crate::http::app::{App, Until};
use crate::http::audit;
use crate::http::auth::Class;
use crate::http::body::{self, Body, RawBody};
use crate::http::error::{ApiError, invalid_hex};
use crate::http::openapi::forms::{
    AnyJson, Anything, DigestHex, EnvelopeIdText, NodeIdHex, TimeText,
};
use crate::http::openapi::shapes::{Found, LogPage, Report, Sealed};
use crate::http::page::{next_after, page_limit};
use crate::http::request_id::{RequestId, random_bytes};
use crate::http::router;
use crate::http::server::Peer;
use crate::messages::envelope::EnvelopeMsg;
use crate::messages::gate_chain::GateChainMsg;

/// What to seal.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = EnvelopeCreateRequest, examples(json!({ "payload": { "answer": 42 }, "ttl": 600 })))]
pub(super) struct CreateRequest {
    /// Any I-JSON value, at most 1 MiB in its canonical form.
    #[schema(value_type = AnyJson)]
    payload: Value,
    /// Seconds, 1 to 3600, and 3600 unless told otherwise.
    ttl: Option<i64>,
    /// What it was made from.
    provenance: Option<Vec<ParentRequest>>,
    /// The only node that may consume it; any may unless told otherwise.
    #[schema(value_type = Option<NodeIdHex>)]
    audience: Option<String>,
}

/// A parent of an envelope.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(examples(json!({
    "id": "pci_79b5562e8fe654f94078b112e8a98ba7",
    "content_hash": "79b5562e8fe654f94078b112e8a98ba7901f853ae695bed7e0e3910bad049664",
})))]
pub(super) struct ParentRequest {
    /// Its id.
    #[schema(value_type = EnvelopeIdText)]
    id: String,
    /// Digest of its payload, as its header has it.
    #[schema(value_type = DigestHex)]
    content_hash: String,
}

/// Seals a payload.
///
/// Answers with every field of the envelope, and with the whole once more under `envelope`, which
/// is how some clients read it.
#[utoipa::path(
    post,
    path = router::ENVELOPE_CREATE,
    request_body = CreateRequest,
    responses(
        (status = 200, body = Sealed),
        (status = 507, description = "There is too little room on the disk (`DISK_FULL`)."),
    ),
)]
pub(super) async fn create(
    State(app): State<App>,
    Until(deadline): Until,
    Body(request): Body<CreateRequest>,
) -> Result<Json<Value>, ApiError> {
    let header = Header::of(&request)?;
    let ask = |reply| GateChainMsg::Constitution { reply };
    let constitution = app.roster.gate_chain.call(deadline, ask).await?.digest();
    let draft = Draft {
        id: EnvelopeId(random_bytes()?),
        timestamp_ms: now_ms()?,
        ttl_s: header.ttl_s,
        audience: header.audience,
        provenance: header.provenance,
        constitution,
        gates: None,
        payload: request.payload,
    };
    let ask = |reply| EnvelopeMsg::Create { draft: Box::new(draft.clone()), reply };
    let sealed = app.roster.envelope.call(deadline, ask).await??;
    let mut answer = Value::clone(&sealed.json);
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("envelope".into(), Value::clone(&sealed.json));
    }
    Ok(Json(answer))
}

/// What a request says of the header, checked.
#[derive(Debug, PartialEq)]
struct Header {
    ttl_s: u32,
    audience: Option<NodeId>,
    provenance: Vec<Parent>,
}

impl Header {
    fn of(request: &CreateRequest) -> Result<Self, ApiError> {
        let ttl_s = match request.ttl.map(u32::try_from) {
            None => TTL_S_MAX,
            Some(Ok(ttl)) if (1..=TTL_S_MAX).contains(&ttl) => ttl,
            Some(_) => {
                let error = format!("ttl is 1 to {TTL_S_MAX} seconds");
                return Err(ApiError::invalid("INVALID_TTL", error).details("$.ttl"));
            }
        };
        let audience = request.audience.as_deref().map(NodeId::from_hex).transpose();
        let audience = audience.map_err(|error| invalid_hex("$.audience", &error))?;
        let parents = request.provenance.iter().flatten().enumerate();
        let provenance = parents.map(|(at, it)| parent(at, it)).collect::<Result<_, _>>()?;
        Ok(Self { ttl_s, audience, provenance })
    }
}

fn parent(at: usize, request: &ParentRequest) -> Result<Parent, ApiError> {
    let path = |field: &str| format!("$.provenance[{at}].{field}");
    Ok(Parent {
        id: envelope_id(&path("id"), &request.id)?,
        content_hash: from_hex(&request.content_hash)
            .map_err(|error| invalid_hex(&path("content_hash"), &error))?,
    })
}

/// The wall clock, unless it cannot be right.
fn now_ms() -> Result<i64, ApiError> {
    let now = Some(clock::now_ms()).filter(|now| *now >= 0);
    now.ok_or_else(|| ApiError::internal("the clock stands before 1970"))
}

/// What else may be asked of `POST /pci/envelope/verify`.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct VerifyQuery {
    /// Whether to record the nonce as well, so that the envelope is accepted once; this needs the
    /// token. No unless told otherwise.
    #[param(nullable = false)]
    consume: Option<bool>,
}

/// Checks an envelope.
///
/// The body is the envelope, or an object that has it under `envelope`, such as an answer of
/// `inference/generate`; at most twice as large as other bodies. What is not valid is answered with
/// 200 and `"valid": false`; only what is no JSON is refused with 400.
#[utoipa::path(
    post,
    path = router::ENVELOPE_VERIFY,
    params(VerifyQuery),
    request_body = Anything,
    responses((status = 200, body = Report)),
)]
pub(super) async fn verify(
    State(app): State<App>,
    Until(deadline): Until,
    query: Result<Query<VerifyQuery>, QueryRejection>,
    peer: Option<Extension<Peer>>,
    id: RequestId,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Json<Value>, ApiError> {
    let Query(VerifyQuery { consume }) = query?;
    let report = if consume.unwrap_or(false) {
        // Checking is reading, but recording takes room in the replay window for good.
        let peer = peer.map(|Extension(peer)| peer);
        app.authorize(Class::Privileged, peer, &headers)?;
        let route = "/api/v1/pci/envelope/verify?consume=true";
        let call = audit::call(id.as_str(), "POST", route, peer, &headers);
        audit::record(&app, call).await?;
        let ask = |reply| EnvelopeMsg::Consume { bytes: body.clone(), reply };
        app.roster.envelope.call(deadline, ask).await?
    } else {
        let ask = |reply| EnvelopeMsg::Verify { bytes: body.clone(), reply };
        app.roster.envelope.call(deadline, ask).await?
    };
    if report.code == Some(RejectCode::RejectSchema) {
        check_is_json(&body)?;
    }
    Ok(Json(report.to_json()))
}

/// Finds an envelope in the log.
///
/// Says whether this node made it, when, and under which constitution.
#[utoipa::path(
    get,
    path = router::ENVELOPE,
    params(("id" = EnvelopeIdText, Path, description = "Id of the envelope.")),
    responses(
        (status = 200, body = Found),
        (status = 404, description = "This node made no such envelope."),
    ),
)]
pub(super) async fn find(
    State(app): State<App>,
    Until(deadline): Until,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let Path(id) = id?;
    let id = envelope_id("id", &id)?;
    let found = app.roster.envelope.call(deadline, |reply| EnvelopeMsg::Find { id, reply }).await?;
    let sealed = found?.ok_or_else(|| {
        let error = format!("this node made no envelope {id}");
        ApiError::new(StatusCode::NOT_FOUND, "ENVELOPE_UNKNOWN", error)
    })?;
    let mut answer = Head::of(&sealed).map_err(ApiError::internal)?.to_json();
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("issued".into(), Value::Bool(true));
        fields.insert("envelope".into(), Value::clone(&sealed.json));
    }
    Ok(Json(answer))
}

/// What may be asked of `GET /pci/envelopes`.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct LogQuery {
    /// Entries, and 50 unless told otherwise.
    #[param(nullable = false, minimum = 1)]
    limit: Option<usize>,
    /// Only envelopes of this time and later.
    #[param(value_type = TimeText, required = false)]
    since: Option<String>,
    /// The last id of the page before.
    #[param(value_type = EnvelopeIdText, required = false)]
    after: Option<String>,
}

/// Lists the envelopes that were made here.
///
/// Newest first. `next` is what to give as `after` for more, or null.
#[utoipa::path(
    get,
    path = router::ENVELOPES,
    params(LogQuery),
    responses((status = 200, body = LogPage)),
)]
pub(super) async fn log(
    State(app): State<App>,
    Until(deadline): Until,
    query: Result<Query<LogQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(query) = query?;
    let page = query.page()?;
    let limit = page.limit;
    let heads = app.roster.envelope.call(deadline, |reply| EnvelopeMsg::Log { page, reply });
    let heads = heads.await??;
    let next = next_after(&heads, limit, |last| last.id.to_string());
    let entries: Vec<Value> = heads.iter().map(Head::to_json).collect();
    Ok(Json(json!({ "envelopes": entries, "next": next })))
}

impl LogQuery {
    fn page(&self) -> Result<Page, ApiError> {
        let limit = page_limit(self.limit, PAGE_MAX)?;
        let since = self.since.as_deref().map(str::parse::<jiff::Timestamp>).transpose();
        let since = since.map_err(|_| {
            let error = "since is a time such as 2026-01-31T12:00:00Z";
            ApiError::invalid("INVALID_TIME", error).details("since")
        })?;
        let after = self.after.as_deref().map(|id| envelope_id("after", id)).transpose()?;
        Ok(Page { limit, since_ms: since.map_or(i64::MIN, |at| at.as_millisecond()), after })
    }
}

fn envelope_id(name: &str, text: &str) -> Result<EnvelopeId, ApiError> {
    EnvelopeId::from_text(text)
        .ok_or_else(|| invalid_hex(name, &"an envelope id is pci_ and 32 lower-case hex digits"))
}

/// What no reader takes for JSON is a malformed request. What only the strict reader refuses is an
/// envelope that is not valid.
fn check_is_json(body: &[u8]) -> Result<(), ApiError> {
    match body::parse(body) {
        Err(error) if !is_json(error.problem) => Err(body::malformed(error)),
        _ => Ok(()),
    }
}

/// Whether other readers would take it for JSON.
fn is_json(problem: JsonProblem) -> bool {
    match problem {
        JsonProblem::Utf8 | JsonProblem::Syntax(_) | JsonProblem::Trailing => false,
        JsonProblem::RepeatedKey
        | JsonProblem::UnsafeInteger
        | JsonProblem::NumberRange
        | JsonProblem::LoneSurrogate
        | JsonProblem::Depth(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "79b5562e8fe654f94078b112e8a98ba7901f853ae695bed7e0e3910bad049664";

    fn told(text: &str) -> Result<Header, (u16, &'static str, Value)> {
        let request: CreateRequest = body::from_json(text.as_bytes()).unwrap();
        Header::of(&request).map_err(|error| {
            (error.status().as_u16(), error.code(), error.to_json("")["details"].clone())
        })
    }

    #[test]
    fn a_header_has_the_defaults_of_the_contract() {
        let bare = told("{\"payload\":null}").unwrap();
        assert_eq!(bare, Header { ttl_s: 3600, audience: None, provenance: vec![] });
        let given = format!(
            "{{\"payload\":1,\"ttl\":1,\"audience\":\"{}\",\
             \"provenance\":[{{\"id\":\"pci_{}\",\"content_hash\":\"{HASH}\"}}]}}",
            &HASH[..32],
            &HASH[..32],
        );
        let header = told(&given).unwrap();
        assert_eq!((header.ttl_s, header.provenance.len()), (1, 1));
        assert_eq!(header.audience.unwrap().to_hex(), HASH[..32]);
    }

    #[test]
    fn a_value_out_of_range_is_named() {
        for ttl in ["0", "-1", "3601", "4294967297", "9007199254740991"] {
            let told = told(&format!("{{\"payload\":1,\"ttl\":{ttl}}}"));
            assert_eq!(told, Err((400, "INVALID_TTL", "$.ttl".into())));
        }
        for audience in ["", "node_79b5562e", "\u{e9}\u{e9}", &HASH.to_uppercase()[..32]] {
            let told = told(&format!("{{\"payload\":1,\"audience\":\"{audience}\"}}"));
            assert_eq!(told, Err((400, "INVALID_HEX", "$.audience".into())));
        }
        for id in ["", "pci_", "pci_12", "79b5562e8fe654f94078b112e8a98ba7", "pci_\u{6f22}"] {
            let told = told(&format!(
                "{{\"payload\":1,\"provenance\":[{{\"id\":\"{id}\",\"content_hash\":\"{HASH}\"}}]}}"
            ));
            assert_eq!(told, Err((400, "INVALID_HEX", "$.provenance[0].id".into())), "{id}");
        }
    }

    #[test]
    fn what_other_readers_take_for_json_is_left_to_the_verdict() {
        for text in ["{}", "[]", "1", "{\"a\":1,\"a\":1}", "{\"a\":1e999}", "[\"\\ud800\"]"] {
            assert!(check_is_json(text.as_bytes()).is_ok(), "{text}");
        }
        for text in ["", "{", "{}{}", "x", "{\"envelope\":}"] {
            assert_eq!(
                check_is_json(text.as_bytes()).unwrap_err().code(),
                "INVALID_JSON",
                "{text}"
            );
        }
    }
}
