//! Every error as the caller reads it.

use super::*;
use crate::domain::id::NodeId;
use crate::messages::addr::ActorName;
use crate::messages::supervisor::ActorState;

fn told(error: impl Into<ApiError>) -> (u16, &'static str, Value) {
    let error = error.into();
    (error.status().as_u16(), error.code(), error.to_json("id")["error"].clone())
}

#[test]
fn every_error_has_its_status_and_code() {
    let actor = ActorName::from("identity");
    let text = || "text".to_owned();
    let node = NodeId::of_key(&[0; 32]);
    let too_long = |tokens| InferenceError::TooLong { tokens, max_tokens: 4, context: 9 };
    let cases: Vec<(ApiError, u16, &str)> = vec![
        (CallError::Busy { actor: actor.clone(), waiting_max: 1 }.into(), 503, "ACTOR_BUSY"),
        (CallError::Down { actor: actor.clone() }.into(), 503, "ACTOR_DOWN"),
        (CallError::Late { actor: actor.clone() }.into(), 504, "TIMEOUT"),
        (IdentityError::Unknown(text()).into(), 404, "IDENTITY_UNKNOWN"),
        (IdentityError::Full { max: 1 }.into(), 409, "KEYSTORE_FULL"),
        (IdentityError::Retired { old: node, new: node }.into(), 409, "IDENTITY_RETIRED"),
        (IdentityError::Exists(node).into(), 409, "IDENTITY_EXISTS"),
        (IdentityError::Passphrase.into(), 403, "WRONG_PASSPHRASE"),
        (IdentityError::Export(text()).into(), 400, "INVALID_EXPORT"),
        (IdentityError::Label.into(), 400, "INVALID_LABEL"),
        (IdentityError::Batch { max: 1 }.into(), 400, "BATCH_TOO_LARGE"),
        (IdentityError::Store(text()).into(), 500, "KEYSTORE_FAILED"),
        (ModelsError::Unknown(text()).into(), 404, "UNKNOWN_MODEL"),
        (ModelsError::Conflict(text()).into(), 409, "MODEL_CONFLICT"),
        (ModelsError::NoRoom(text()).into(), 507, "DISK_FULL"),
        (ModelsError::Full { waiting_max: 1 }.into(), 503, "PULLS_FULL"),
        (ModelsError::Cancelled.into(), 504, "TIMEOUT"),
        (ModelsError::Failed(text()).into(), 500, "MODELS_FAILED"),
        (SealError::Invalid(text()).into(), 400, "INVALID_ENVELOPE"),
        (SealError::Unavailable(text()).into(), 503, "ENVELOPE_UNAVAILABLE"),
        (SealError::Full(text()).into(), 507, "DISK_FULL"),
        (
            ConsensusError::Refused { code: RejectCode::RejectGateRate, reason: text() }.into(),
            403,
            "REFUSED_BY_GATES",
        ),
        (ConsensusError::DiskFull(text()).into(), 507, "DISK_FULL"),
        (ConsensusError::Crowded { max: 1 }.into(), 503, "PROPOSALS_WAITING"),
        (ConsensusError::Unavailable(text()).into(), 503, "CONSENSUS_UNAVAILABLE"),
        (InferenceError::Unavailable(text()).into(), 503, "INFERENCE_UNAVAILABLE"),
        (InferenceError::PoolUnavailable(text()).into(), 503, "POOL_UNAVAILABLE"),
        (InferenceError::Busy { wait: Duration::ZERO }.into(), 503, "INFERENCE_BUSY"),
        (too_long(9).into(), 400, "PROMPT_TOO_LONG"),
        (too_long(8).into(), 400, "OUT_OF_RANGE"),
        (
            InferenceError::UnknownModel { model: text(), tier: None, available: vec![] }.into(),
            404,
            "UNKNOWN_MODEL",
        ),
        (
            InferenceError::Refused {
                code: RejectCode::RejectGateIhsan,
                reason: text(),
                receipt: Box::default(),
            }
            .into(),
            403,
            "REFUSED_BY_GATES",
        ),
        (InferenceError::Timeout.into(), 504, "TIMEOUT"),
        (InferenceError::Cancelled.into(), 503, "CANCELLED"),
        (InferenceError::Failed(text()).into(), 500, "INFERENCE_FAILED"),
        (DrillError::Unknown(text()).into(), 404, "ACTOR_UNKNOWN"),
        (DrillError::Unnoticed.into(), 400, "UNKNOWN_FAULT"),
        (
            DrillError::NotRunning { name: actor, state: ActorState::Failed }.into(),
            409,
            "ACTOR_NOT_RUNNING",
        ),
    ];
    for (error, status, code) in cases {
        assert_eq!((error.status().as_u16(), error.code()), (status, code));
        let response = error.into_response();
        let may_retry = matches!(status, 429 | 503);
        assert_eq!(response.headers().contains_key(RETRY_AFTER), may_retry, "{code}");
    }
}

#[test]
fn what_does_not_fit_the_context_is_named_by_its_key() {
    for (tokens, key) in [(9, "$.prompt"), (8, "$.max_tokens")] {
        let error = InferenceError::TooLong { tokens, max_tokens: 4, context: 9 };
        assert_eq!(ApiError::from(error).to_json("id")["details"], json!(key));
    }
}

#[test]
fn what_went_wrong_inside_is_logged_and_not_told() {
    let secret = "/srv/keys/node.key: permission denied".to_owned();
    for error in [
        ApiError::from(IdentityError::Store(secret.clone())),
        ApiError::from(SealError::Unavailable(secret.clone())),
        ApiError::from(ConsensusError::Unavailable(secret.clone())),
        ApiError::from(InferenceError::Failed(secret.clone())),
        ApiError::internal(secret.clone()),
    ] {
        assert_eq!(error.inner(), Some(secret.as_str()));
        assert!(!error.to_json("id").to_string().contains("node.key"));
    }
}

#[test]
fn an_error_has_its_four_keys_whatever_else_it_has() {
    let mut extra = Map::new();
    extra.insert("status".into(), json!("unhealthy"));
    extra.insert("code".into(), json!("overwritten"));
    let json = ApiError::timeout().extra(extra).to_json("id");
    assert_eq!(
        json,
        json!({
            "status": "unhealthy",
            "error": "there was no answer in time",
            "code": "TIMEOUT",
            "details": null,
            "request_id": "id",
        })
    );
    assert_eq!(
        told(InferenceError::Busy { wait: Duration::ZERO }).2,
        json!("every backend is busy")
    );
}
