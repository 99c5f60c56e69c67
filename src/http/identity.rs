//! Keys and signatures. Secrets neither leave nor enter over HTTP, not even encrypted: whoever has
//! the token for a minute should not take the key with him. `bizra identity` exports and imports.

use axum::Json;
use axum::extract::State;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::clock;
use crate::domain::id::NodeId;
use crate::domain::identity::{Claim, IdentityInfo, KeyUse, Signed};
use crate::http::app::{App, Until};
use crate::http::body::{Body, OptionalBody};
use crate::http::error::ApiError;
use crate::http::openapi::forms::{Base64Text, LabelText, NodeIdHex, PublicKeyHex, SignatureHex};
use crate::http::openapi::shapes::RotationRecord;
use crate::http::router;
use crate::messages::addr::Deadline;
use crate::messages::identity::IdentityMsg;

/// What the new key is to be.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = IdentityGenerateRequest, examples(json!({ "label": "laptop", "activate": false })))]
pub(super) struct GenerateRequest {
    /// Its owner's name for it; none unless given.
    #[schema(value_type = Option<LabelText>)]
    label: Option<String>,
    /// Whether the new key signs from now on; yes unless told otherwise.
    activate: Option<bool>,
}

/// An identity; the secret stays with the node.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Identity {
    /// Its id.
    #[schema(value_type = NodeIdHex)]
    node_id: String,
    /// Its public key.
    #[schema(value_type = PublicKeyHex)]
    public_key: String,
    /// Its owner's name for it.
    #[schema(value_type = Option<LabelText>, required)]
    label: Option<String>,
    /// Whether it is the one that signs.
    active: bool,
}

impl From<IdentityInfo> for Identity {
    fn from(info: IdentityInfo) -> Self {
        Self {
            node_id: info.node_id.to_hex(),
            public_key: info.public_key.to_hex(),
            label: info.label,
            active: info.is_active,
        }
    }
}

/// An identity, and the record by which another took its place or it took that of another.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = IdentityRecorded)]
pub(super) struct Recorded {
    #[serde(flatten)]
    identity: Identity,
    /// The record; null for a key that neither replaced another nor was replaced.
    #[schema(value_type = Option<RotationRecord>, required)]
    rotation: Option<Value>,
}

/// The identities of the node.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Keystore {
    /// The active one first.
    identities: Vec<Recorded>,
}

/// Lists the identities.
///
/// Names, public keys and records: what everybody may know who may look at the node.
#[utoipa::path(get, path = router::IDENTITY, responses((status = 200, body = Keystore)))]
pub(super) async fn list(
    State(app): State<App>,
    Until(deadline): Until,
) -> Result<Json<Keystore>, ApiError> {
    let all = app.roster.identity.call(deadline, |reply| IdentityMsg::List { reply }).await?;
    let recorded = |info: IdentityInfo| Recorded {
        rotation: info.rotation.as_ref().map(|record| record.to_json()),
        identity: info.into(),
    };
    Ok(Json(Keystore { identities: all.into_iter().map(recorded).collect() }))
}

/// Which key is to sign.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(examples(json!({ "node_id": "2152f8d19b791d24453242e15f2eab6c" })))]
pub(super) struct ActivateRequest {
    /// Its id.
    #[schema(value_type = NodeIdHex)]
    node_id: String,
}

/// Has another key sign.
#[utoipa::path(
    post,
    path = router::IDENTITY_ACTIVATE,
    request_body = ActivateRequest,
    responses(
        (status = 200, body = Identity),
        (status = 404, description = "There is no such key in the keystore."),
        (status = 409, description = "Another key took its place, so it signs no more."),
    ),
)]
pub(super) async fn activate(
    State(app): State<App>,
    Until(deadline): Until,
    Body(request): Body<ActivateRequest>,
) -> Result<Json<Identity>, ApiError> {
    let id = NodeId::from_hex(&request.node_id).map_err(|error| {
        ApiError::invalid("INVALID_NODE_ID", error.to_string()).details("$.node_id")
    })?;
    let ask = |reply| IdentityMsg::Activate { id, reply };
    Ok(Json(app.roster.identity.call(deadline, ask).await??.into()))
}

/// What the new key is to be.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(examples(json!({ "label": "laptop, since 2026" })))]
pub(super) struct RotateRequest {
    /// Its owner's name for it; that of the old key unless given.
    #[schema(value_type = Option<LabelText>)]
    label: Option<String>,
}

/// Puts a new key in the place of the active one.
///
/// Both sign the record that says so; the old one then signs no more.
#[utoipa::path(
    post,
    path = router::IDENTITY_ROTATE,
    request_body = Option<RotateRequest>,
    responses(
        (status = 200, body = Recorded),
        (status = 409, description = "The keystore is full."),
    ),
)]
pub(super) async fn rotate(
    State(app): State<App>,
    Until(deadline): Until,
    OptionalBody(request): OptionalBody<RotateRequest>,
) -> Result<Json<Recorded>, ApiError> {
    let at_ms = clock::now_ms();
    let ask = |reply| IdentityMsg::Rotate { label: request.label.clone(), at_ms, reply };
    let rotated = app.roster.identity.call(deadline, ask).await??;
    let rotation = Some(rotated.rotation.to_json());
    Ok(Json(Recorded { identity: rotated.new.into(), rotation }))
}

/// Makes a key.
///
/// Its secret stays with the node, and the former key stays in the keystore.
#[utoipa::path(
    post,
    path = router::IDENTITY_GENERATE,
    request_body = Option<GenerateRequest>,
    responses(
        (status = 200, body = Identity),
        (status = 409, description = "The keystore is full."),
    ),
)]
pub(super) async fn generate(
    State(app): State<App>,
    Until(deadline): Until,
    OptionalBody(request): OptionalBody<GenerateRequest>,
) -> Result<Json<Identity>, ApiError> {
    let GenerateRequest { label, activate } = request;
    let ask = |reply| IdentityMsg::Generate {
        label: label.clone(),
        activate: activate.unwrap_or(true),
        reply,
    };
    Ok(Json(app.roster.identity.call(deadline, ask).await??.into()))
}

/// What to sign: `message` or `message_b64`, one of the two.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(examples(json!({ "message": "hello" })))]
pub(super) struct SignRequest {
    /// As text.
    message: Option<String>,
    /// As bytes.
    #[schema(value_type = Option<Base64Text>)]
    message_b64: Option<String>,
}

/// A signature and who made it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Signature {
    /// Over the domain-separated digest of the message.
    #[schema(value_type = SignatureHex)]
    signature: String,
    /// The key it verifies under.
    #[schema(value_type = PublicKeyHex)]
    public_key: String,
    /// The node the key belongs to.
    #[schema(value_type = NodeIdHex)]
    node_id: String,
}

/// Signs a message.
///
/// With the active key. A signed message is never an envelope.
#[utoipa::path(
    post,
    path = router::IDENTITY_SIGN,
    request_body = SignRequest,
    responses((status = 200, body = Signature)),
)]
pub(super) async fn sign(
    State(app): State<App>,
    Until(deadline): Until,
    Body(request): Body<SignRequest>,
) -> Result<Json<Signature>, ApiError> {
    let message = text_or_bytes("message", request.message, request.message_b64)?;
    let signed = signed(&app, deadline, KeyUse::Message, message).await?;
    let Signed { signature, public_key, node_id } = signed;
    Ok(Json(Signature {
        signature: signature.to_hex(),
        public_key: public_key.to_hex(),
        node_id: node_id.to_hex(),
    }))
}

/// The signature of the active key over a message for this use.
pub(super) async fn signed(
    app: &App,
    deadline: Deadline,
    key_use: KeyUse,
    message: Bytes,
) -> Result<Signed, ApiError> {
    let ask = |reply| IdentityMsg::Sign { key_use, messages: vec![message.clone()], reply };
    let mut signed = app.roster.identity.call(deadline, ask).await??;
    signed.pop().ok_or_else(|| ApiError::internal("one message had no signature"))
}

/// A signature to check, over `message` or `message_b64`, one of the two.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(examples(json!({
    "message": "hello",
    "signature": "5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d\
                  5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d",
    "public_key": "2152f8d19b791d24453242e15f2eab6cb7cffa7b6a5ed30097960e069881db12",
})))]
pub(super) struct VerifyRequest {
    /// As text.
    message: Option<String>,
    /// As bytes.
    #[schema(value_type = Option<Base64Text>)]
    message_b64: Option<String>,
    /// 128 lower-case hex digits; anything else is not valid.
    signature: String,
    /// 64 lower-case hex digits; anything else is not valid.
    public_key: String,
}

/// Whether the key signed the message. What has no form of a key or signature is not valid.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SignatureVerdict, examples(json!({ "valid": true, "reason": null })))]
pub(super) struct Verdict {
    /// Whether it did.
    valid: bool,
    /// Why it is not valid; null if it is.
    #[schema(required)]
    reason: Option<String>,
}

/// Checks a signature.
///
/// Strict Ed25519. What is not valid is answered with 200 and `"valid": false`.
#[utoipa::path(
    post,
    path = router::IDENTITY_VERIFY,
    request_body = VerifyRequest,
    responses((status = 200, body = Verdict)),
)]
pub(super) async fn verify(
    State(app): State<App>,
    Until(deadline): Until,
    Body(request): Body<VerifyRequest>,
) -> Result<Json<Verdict>, ApiError> {
    let message = text_or_bytes("message", request.message, request.message_b64)?;
    let claim = Claim { message, signature: request.signature, public_key: request.public_key };
    let ask = |reply| IdentityMsg::Verify { claims: vec![claim.clone()], reply };
    let mut verdicts = app.roster.identity.call(deadline, ask).await?;
    let verdict = verdicts.pop().ok_or_else(|| ApiError::internal("one claim had no verdict"))?;
    let reason = verdict.err().map(|error| error.to_string());
    Ok(Json(Verdict { valid: reason.is_none(), reason }))
}

/// The bytes of a field that is given as text, or as base64 under its name with `_b64`.
///
/// # Errors
/// 422 with neither, 400 with both or with what is not base64.
pub(super) fn text_or_bytes(
    name: &str,
    text: Option<String>,
    base64: Option<String>,
) -> Result<Bytes, ApiError> {
    match (text, base64) {
        (Some(text), None) => Ok(text.into()),
        (None, Some(base64)) => BASE64_STANDARD.decode(base64).map(Bytes::from).map_err(|error| {
            ApiError::invalid("INVALID_BASE64", format!("{name}_b64 is not base64: {error}"))
                .details(format!("$.{name}_b64"))
        }),
        (None, None) => Err(ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "INVALID_FIELD",
            format!("missing field `{name}` or `{name}_b64`"),
        )
        .details("$")),
        (Some(_), Some(_)) => Err(ApiError::invalid(
            "AMBIGUOUS_FIELD",
            format!("give `{name}` or `{name}_b64`, not both"),
        )
        .details("$")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_as_text_or_as_base64_but_not_as_both() {
        let owned = |text: &str| Some(text.to_owned());
        let told = |text, base64| {
            let bytes = text_or_bytes("message", text, base64);
            bytes.map_err(|error| (error.status().as_u16(), error.code()))
        };
        assert_eq!(told(owned("\u{6f22}"), None).unwrap(), "\u{6f22}".as_bytes());
        assert_eq!(told(owned(""), None).unwrap(), "");
        assert_eq!(told(None, owned("AP8=")).unwrap(), &[0, 255][..]);
        assert_eq!(told(None, None), Err((422, "INVALID_FIELD")));
        assert_eq!(told(owned("a"), owned("AP8=")), Err((400, "AMBIGUOUS_FIELD")));
        for wrong in ["AP8", "A", "AP9=", "AP8=\n", "-_8=", "\u{e9}"] {
            assert_eq!(told(None, owned(wrong)), Err((400, "INVALID_BASE64")), "{wrong}");
        }
    }
}
