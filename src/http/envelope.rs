//! Envelopes: made, and checked.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::bytes::from_hex;
use crate::domain::digest::Digest;
use crate::domain::envelope::{self, Draft, EnvelopeId, Parent};
use crate::domain::id::NodeId;
use crate::domain::json::{JsonError, JsonProblem};
use crate::http::app::{App, Until};
use crate::http::body::{self, Body, RawBody};
use crate::http::error::ApiError;
use crate::http::request_id::random_bytes;
use crate::messages::envelope::EnvelopeMsg;
use crate::messages::gate_chain::GateChainMsg;

/// Seconds that an envelope is valid: the default, and the most the format allows.
const TTL_S_MAX: u32 = 3600;

/// `POST /pci/envelope/create`
#[derive(Debug, Deserialize)]
pub(super) struct CreateRequest {
    /// Any I-JSON value.
    payload: Value,
    /// Seconds, 1 to 3600, and 3600 unless told otherwise.
    ttl: Option<i64>,
    /// What it was made from.
    provenance: Option<Vec<ParentRequest>>,
    /// The only node that may consume it.
    audience: Option<String>,
}

/// A parent of an envelope.
#[derive(Debug, Deserialize)]
pub(super) struct ParentRequest {
    id: String,
    content_hash: String,
}

/// Answers with every field of the envelope, and with the whole once more under `envelope`, which
/// is how some clients read it.
pub(super) async fn create(
    State(app): State<App>,
    Until(deadline): Until,
    Body(request): Body<CreateRequest>,
) -> Result<Json<Value>, ApiError> {
    let ask = |reply| GateChainMsg::Constitution { reply };
    let constitution = app.roster.gate_chain.call(deadline, ask).await?.digest();
    let draft = draft(request, constitution, EnvelopeId(random_bytes()?), now_ms()?)?;
    let ask = |reply| EnvelopeMsg::Create { draft: Box::new(draft.clone()), reply };
    let sealed = app.roster.envelope.call(deadline, ask).await??;
    let mut answer = Value::clone(&sealed.json);
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("envelope".into(), Value::clone(&sealed.json));
    }
    Ok(Json(answer))
}

fn draft(
    request: CreateRequest,
    constitution: Digest,
    id: EnvelopeId,
    timestamp_ms: i64,
) -> Result<Draft, ApiError> {
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
    let provenance = request.provenance.unwrap_or_default();
    let provenance = provenance.iter().enumerate().map(|(at, it)| parent(at, it));
    Ok(Draft {
        id,
        timestamp_ms,
        ttl_s,
        audience,
        provenance: provenance.collect::<Result<_, _>>()?,
        constitution,
        gates: None,
        payload: request.payload,
    })
}

fn parent(at: usize, request: &ParentRequest) -> Result<Parent, ApiError> {
    let path = |field: &str| format!("$.provenance[{at}].{field}");
    let Some(digits) = request.id.strip_prefix("pci_") else {
        let error = "an envelope id is pci_ and 32 lower-case hex digits";
        return Err(ApiError::invalid("INVALID_HEX", error).details(path("id")));
    };
    Ok(Parent {
        id: EnvelopeId(from_hex(digits).map_err(|error| invalid_hex(&path("id"), &error))?),
        content_hash: from_hex(&request.content_hash)
            .map_err(|error| invalid_hex(&path("content_hash"), &error))?,
    })
}

fn invalid_hex(path: &str, error: &impl ToString) -> ApiError {
    ApiError::invalid("INVALID_HEX", error.to_string()).details(path)
}

/// The wall clock, to the millisecond.
fn now_ms() -> Result<i64, ApiError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok();
    now.and_then(|now| i64::try_from(now.as_millis()).ok())
        .ok_or_else(|| ApiError::internal("the clock stands before 1970"))
}

/// What else may be asked of `POST /pci/envelope/verify`.
#[derive(Debug, Deserialize)]
pub(super) struct VerifyQuery {
    /// Whether to record the nonce as well, so that the envelope is accepted once.
    consume: Option<bool>,
}

/// The outcome of verification.
#[derive(Debug, Serialize)]
pub(super) struct Verified {
    valid: bool,
    /// The name of the reject code.
    code: Option<&'static str>,
    error: Option<String>,
    checks: Vec<Check>,
}

/// One step of it.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    check: &'static str,
    passed: bool,
    detail: Option<String>,
}

impl From<envelope::Report> for Verified {
    fn from(report: envelope::Report) -> Self {
        let check =
            |it: envelope::Check| Check { check: it.check, passed: it.passed, detail: it.detail };
        Self {
            valid: report.code.is_none(),
            code: report.code.map(|code| code.as_str()),
            error: report.error,
            checks: report.checks.into_iter().map(check).collect(),
        }
    }
}

pub(super) async fn verify(
    State(app): State<App>,
    Until(deadline): Until,
    query: Result<Query<VerifyQuery>, QueryRejection>,
    RawBody(body): RawBody,
) -> Result<Json<Verified>, ApiError> {
    let Query(VerifyQuery { consume }) = query?;
    let bytes = unwrapped(body)?;
    let report = if consume.unwrap_or(false) {
        let ask = |reply| EnvelopeMsg::Consume { bytes: bytes.clone(), reply };
        app.roster.envelope.call(deadline, ask).await?
    } else {
        let ask = |reply| EnvelopeMsg::Verify { bytes: bytes.clone(), reply };
        app.roster.envelope.call(deadline, ask).await?
    };
    Ok(Json(report.into()))
}

/// The envelope's bytes out of `{"envelope": {...}}`, or the body itself if it is the envelope.
///
/// What the strict reader accepts it does not change, so writing it again loses nothing. What it
/// refuses although it is JSON goes to the verification as it came, whose verdict says so.
fn unwrapped(body: Bytes) -> Result<Bytes, ApiError> {
    match body::parse(&body) {
        Ok(Value::Object(mut fields)) => match fields.remove("envelope") {
            Some(envelope) => Ok(envelope.to_string().into()),
            None => Ok(body),
        },
        Ok(_) => Ok(body),
        Err(JsonError { problem, .. }) if is_json(problem) => Ok(body),
        Err(error) => Err(body::malformed(error)),
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

    fn drafted(text: &str) -> Result<Draft, (u16, &'static str, Value)> {
        let request: CreateRequest = body::from_json(text.as_bytes()).unwrap();
        draft(request, EnvelopeId([7; 16]), 1).map_err(|error| {
            (error.status().as_u16(), error.code(), error.to_json("")["details"].clone())
        })
    }

    #[test]
    fn a_draft_has_the_defaults_of_the_contract() {
        let draft = drafted("{\"payload\":null}").unwrap();
        assert_eq!((draft.ttl_s, draft.audience, draft.provenance), (3600, None, vec![]));
        let given = format!(
            "{{\"payload\":1,\"ttl\":1,\"audience\":\"{}\",\
             \"provenance\":[{{\"id\":\"pci_{}\",\"content_hash\":\"{HASH}\"}}]}}",
            &HASH[..32],
            &HASH[..32],
        );
        let draft = drafted(&given).unwrap();
        assert_eq!((draft.ttl_s, draft.provenance.len()), (1, 1));
        assert_eq!(draft.audience.unwrap().to_hex(), HASH[..32]);
    }

    #[test]
    fn a_value_out_of_range_is_named() {
        for ttl in ["0", "-1", "3601", "4294967297", "9007199254740991"] {
            let told = drafted(&format!("{{\"payload\":1,\"ttl\":{ttl}}}"));
            assert_eq!(told, Err((400, "INVALID_TTL", "$.ttl".into())));
        }
        for audience in ["", "node_79b5562e", "\u{e9}\u{e9}", &HASH.to_uppercase()[..32]] {
            let told = drafted(&format!("{{\"payload\":1,\"audience\":\"{audience}\"}}"));
            assert_eq!(told, Err((400, "INVALID_HEX", "$.audience".into())));
        }
        for id in ["", "pci_", "pci_12", "79b5562e8fe654f94078b112e8a98ba7", "pci_\u{6f22}"] {
            let told = drafted(&format!(
                "{{\"payload\":1,\"provenance\":[{{\"id\":\"{id}\",\"content_hash\":\"{HASH}\"}}]}}"
            ));
            assert_eq!(told, Err((400, "INVALID_HEX", "$.provenance[0].id".into())), "{id}");
        }
    }

    #[test]
    fn an_envelope_may_come_wrapped_or_bare() {
        let told = |text: &str| unwrapped(Bytes::copy_from_slice(text.as_bytes()));
        let wrapped = told("{\"envelope\":{\"b\":0.1,\"a\":[]},\"text\":1}").unwrap();
        let envelope: Value = serde_json::from_slice(&wrapped).unwrap();
        assert_eq!(envelope, serde_json::json!({ "a": [], "b": 0.1 }));
        for bare in
            ["{\"id\":1}", " {\"id\" : 1} ", "[]", "1", "{\"a\":1,\"a\":1}", "{\"a\":1e999}"]
        {
            assert_eq!(told(bare).unwrap(), bare, "as it came");
        }
        for text in ["", "{", "{}{}", "x", "{\"envelope\":}"] {
            assert_eq!(told(text).unwrap_err().code(), "INVALID_JSON", "{text}");
        }
    }
}
