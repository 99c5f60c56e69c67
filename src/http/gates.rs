//! The gates, asked about given content.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::gate::{ContentType, Evidence, Facts, GateInput, Receipt, SOURCES_MAX, Verdict};
use crate::domain::profile::Profile;
use crate::domain::score::Score;
use crate::http::app::{App, Until};
use crate::http::body::Body;
use crate::http::constitution::score;
use crate::http::error::ApiError;
use crate::http::identity::text_or_bytes;
use crate::http::openapi::forms::{
    AnyJson, Base64Text, DigestHex, EnforcementName, GateName, ProfileName, RejectCodeName,
    ScoreNumber, SourceName,
};
use crate::http::router;
use crate::messages::gate_chain::GateChainMsg;

/// Content to judge: `content` or `content_b64`, one of the two.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = GatesCheckRequest, examples(json!({
    "content": "The node measures what it judges.",
    "snr_score": 0.9,
    "ihsan_score": 0.97,
})))]
pub(super) struct CheckRequest {
    /// As text.
    content: Option<String>,
    /// As bytes.
    #[schema(value_type = Option<Base64Text>)]
    content_b64: Option<String>,
    /// `text/plain` or `application/json`. Without it content is text, unless one of the ids
    /// below says that it comes from an envelope, whose payload is JSON.
    #[schema(pattern = "^(text/plain|application/json)(;.*)?$")]
    content_type: Option<String>,
    /// The signal-to-noise score that its author claims; it can lower what is measured.
    #[schema(value_type = Option<ScoreNumber>)]
    snr_score: Option<f64>,
    /// The Ihsan score that its author claims; it can lower what is measured.
    #[schema(value_type = Option<ScoreNumber>)]
    ihsan_score: Option<f64>,
    /// Who sent it; says that it comes from an envelope.
    sender_id: Option<String>,
    /// The envelope it comes from.
    envelope_id: Option<String>,
    /// Which gates judge; `check` unless told otherwise.
    #[schema(value_type = Option<ProfileName>)]
    profile: Option<String>,
    /// Texts that the content is to be supported by.
    sources: Option<Vec<String>>,
}

/// What the gates said.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GatesChecked)]
pub(super) struct Checked {
    /// Whether no strict gate refused.
    passed: bool,
    /// The same; older clients read this one.
    all_passed: bool,
    /// Why it did not pass; null if it did.
    #[schema(required)]
    reason: Option<String>,
    /// Of the first strict gate that failed.
    #[schema(value_type = Option<RejectCodeName>, required)]
    code: Option<&'static str>,
    /// What advisory gates found wrong.
    warnings: Vec<String>,
    /// Which gates judged.
    #[schema(value_type = ProfileName)]
    profile: &'static str,
    /// What each gate said, in order.
    results: Vec<GateResult>,
    /// The constitution they judged by.
    #[schema(value_type = DigestHex)]
    constitution_digest: String,
}

/// What one gate said.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GateResult {
    /// Its name.
    #[schema(value_type = GateName)]
    gate: &'static str,
    /// Whether the content passed it.
    passed: bool,
    /// Why not.
    #[schema(value_type = Option<RejectCodeName>, required)]
    code: Option<&'static str>,
    /// What was compared.
    #[schema(value_type = Option<ScoreNumber>, required)]
    score: Option<Score>,
    /// With what.
    #[schema(value_type = Option<ScoreNumber>, required)]
    threshold: Option<Score>,
    /// Who vouches for the score.
    #[schema(value_type = SourceName)]
    source: &'static str,
    /// What not passing means.
    #[schema(value_type = EnforcementName)]
    enforcement: &'static str,
    /// What measured the score.
    #[schema(required, example = "snr-text")]
    scorer: Option<&'static str>,
    /// Its version.
    #[schema(required, example = "1.0.0")]
    version: Option<&'static str>,
    /// What the verdict rests on; never holds content.
    #[schema(value_type = Option<AnyJson>, required)]
    evidence: Option<Value>,
    /// Microseconds it took.
    duration_us: u64,
}

impl From<Receipt> for Checked {
    fn from(receipt: Receipt) -> Self {
        let result = |(index, verdict): (usize, &Verdict)| GateResult {
            gate: verdict.gate.as_str(),
            passed: verdict.passed,
            code: verdict.code.map(|code| code.as_str()),
            score: verdict.score,
            threshold: verdict.threshold,
            source: verdict.source.as_str(),
            enforcement: verdict.enforcement.as_str(),
            scorer: verdict.scorer().map(|(scorer, _)| scorer),
            version: verdict.scorer().map(|(_, version)| version),
            evidence: verdict.evidence.as_ref().map(Evidence::to_json),
            duration_us: receipt
                .duration(index)
                .map_or(0, |took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX)),
        };
        Self {
            passed: receipt.passed(),
            all_passed: receipt.passed(),
            reason: receipt.reason(),
            code: receipt.code().map(|code| code.as_str()),
            warnings: receipt.warnings(),
            profile: receipt.profile().as_str(),
            results: receipt.verdicts().iter().enumerate().map(result).collect(),
            constitution_digest: receipt.constitution_digest().to_string(),
        }
    }
}

/// Measures and judges content.
///
/// Whether the content passed is in the answer; one that did not is answered with 200 all the same.
#[utoipa::path(
    post,
    path = router::GATES_CHECK,
    request_body = CheckRequest,
    responses((status = 200, body = Checked)),
)]
pub(super) async fn check(
    State(app): State<App>,
    Until(deadline): Until,
    Body(request): Body<CheckRequest>,
) -> Result<Json<Checked>, ApiError> {
    let profile = profile(request.profile.as_deref())?;
    let is_of_envelope = request.sender_id.is_some() || request.envelope_id.is_some();
    let input = GateInput {
        content_type: content_type(request.content_type.as_deref(), is_of_envelope)?,
        content: text_or_bytes("content", request.content, request.content_b64)?,
        snr_claim: score("snr_score", request.snr_score)?,
        ihsan_claim: score("ihsan_score", request.ihsan_score)?,
        facts: sources(request.sources)?,
    };
    let ask = |reply| GateChainMsg::Check { profile, inputs: vec![input.clone()], reply };
    let mut receipts = app.roster.gate_chain.call(deadline, ask).await?;
    let receipt = receipts.pop().ok_or_else(|| ApiError::internal("one input had no receipt"))?;
    Ok(Json(receipt.into()))
}

fn profile(name: Option<&str>) -> Result<Profile, ApiError> {
    name.map_or(Some(Profile::Check), Profile::from_name).ok_or_else(|| {
        let known = Profile::ALL.map(Profile::as_str).join(", ");
        ApiError::invalid("UNKNOWN_PROFILE", format!("profile must be one of: {known}"))
            .details("$.profile")
    })
}

/// What is known of the content, if anything.
fn sources(given: Option<Vec<String>>) -> Result<Option<Box<Facts>>, ApiError> {
    let Some(sources) = given.filter(|sources| !sources.is_empty()) else { return Ok(None) };
    if sources.len() > SOURCES_MAX {
        let error = format!("there are at most {SOURCES_MAX} sources");
        return Err(ApiError::invalid("OUT_OF_RANGE", error).details("$.sources"));
    }
    Ok(Some(Box::new(Facts { sources, ..Facts::default() })))
}

fn content_type(given: Option<&str>, is_of_envelope: bool) -> Result<ContentType, ApiError> {
    let Some(given) = given else {
        return Ok(if is_of_envelope { ContentType::Json } else { ContentType::Text });
    };
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Ok(ContentType::Json)
    } else if essence.eq_ignore_ascii_case("text/plain") {
        Ok(ContentType::Text)
    } else {
        let error = "content_type must be text/plain or application/json";
        Err(ApiError::invalid("UNKNOWN_CONTENT_TYPE", error).details("$.content_type"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_text_unless_it_is_said_to_be_json() {
        use ContentType::{Json, Text};
        for (given, is_of_envelope, expected) in [
            (None, false, Text),
            (None, true, Json),
            (Some("text/plain"), true, Text),
            (Some("text/plain; charset=utf-8"), false, Text),
            (Some("application/json"), false, Json),
            (Some("Application/JSON;x=1"), true, Json),
        ] {
            assert_eq!(content_type(given, is_of_envelope).unwrap(), expected, "{given:?}");
        }
        for given in ["", "text/html", "json", "\u{e9}"] {
            assert_eq!(content_type(Some(given), false).unwrap_err().status().as_u16(), 400);
        }
    }

    #[test]
    fn sources_are_bounded() {
        assert!(sources(None).unwrap().is_none());
        assert!(sources(Some(vec![])).unwrap().is_none());
        let some = |count| sources(Some(vec!["x".to_owned(); count]));
        assert_eq!(some(SOURCES_MAX).unwrap().unwrap().sources.len(), SOURCES_MAX);
        assert_eq!(some(SOURCES_MAX + 1).unwrap_err().code(), "OUT_OF_RANGE");
    }

    #[test]
    fn a_profile_is_one_of_those_there_are() {
        assert_eq!(profile(None).unwrap(), Profile::Check);
        assert_eq!(profile(Some("inference-output")).unwrap(), Profile::InferenceOutput);
        assert_eq!(profile(Some("Check")).unwrap_err().code(), "UNKNOWN_PROFILE");
    }
}
