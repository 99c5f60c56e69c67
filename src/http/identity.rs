//! Keys and signatures. Secrets neither leave nor enter over HTTP, not even encrypted: whoever has
//! the token for a minute should not take the key with him. `bizra identity` exports and imports.

use axum::Json;
use axum::extract::State;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock;
use crate::domain::id::NodeId;
use crate::domain::identity::{Claim, IdentityInfo, KeyUse, Signed};
use crate::http::app::{App, Until};
use crate::http::body::{Body, OptionalBody};
use crate::http::error::ApiError;
use crate::messages::identity::IdentityMsg;

/// `POST /identity/generate`
#[derive(Debug, Default, Deserialize)]
pub(super) struct GenerateRequest {
    label: Option<String>,
    /// Whether the new key signs from now on; yes unless told otherwise.
    activate: Option<bool>,
}

/// An identity; the secret stays with the node.
#[derive(Debug, Serialize)]
pub(super) struct Identity {
    node_id: String,
    public_key: String,
    label: Option<String>,
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
#[derive(Debug, Serialize)]
pub(super) struct Recorded {
    #[serde(flatten)]
    identity: Identity,
    rotation: Option<Value>,
}

/// `GET /identity`
#[derive(Debug, Serialize)]
pub(super) struct Keystore {
    /// The active one first.
    identities: Vec<Recorded>,
}

/// Names, public keys and records: what everybody may know who may look at the node.
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

/// `POST /identity/activate`
#[derive(Debug, Deserialize)]
pub(super) struct ActivateRequest {
    node_id: String,
}

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

/// `POST /identity/rotate`
#[derive(Debug, Default, Deserialize)]
pub(super) struct RotateRequest {
    /// That of the old key unless given.
    label: Option<String>,
}

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

/// `POST /identity/sign`: one of the two.
#[derive(Debug, Deserialize)]
pub(super) struct SignRequest {
    message: Option<String>,
    message_b64: Option<String>,
}

/// A signature and who made it.
#[derive(Debug, Serialize)]
pub(super) struct Signature {
    signature: String,
    public_key: String,
    node_id: String,
}

pub(super) async fn sign(
    State(app): State<App>,
    Until(deadline): Until,
    Body(request): Body<SignRequest>,
) -> Result<Json<Signature>, ApiError> {
    let message = text_or_bytes("message", request.message, request.message_b64)?;
    let ask = |reply| IdentityMsg::Sign {
        key_use: KeyUse::Message,
        messages: vec![message.clone()],
        reply,
    };
    let mut signed = app.roster.identity.call(deadline, ask).await??;
    let Signed { signature, public_key, node_id } =
        signed.pop().ok_or_else(|| ApiError::internal("one message had no signature"))?;
    Ok(Json(Signature {
        signature: signature.to_hex(),
        public_key: public_key.to_hex(),
        node_id: node_id.to_hex(),
    }))
}

/// `POST /identity/verify`
#[derive(Debug, Deserialize)]
pub(super) struct VerifyRequest {
    message: Option<String>,
    message_b64: Option<String>,
    signature: String,
    public_key: String,
}

/// Whether the key signed the message. What has no form of a key or signature is not valid.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    valid: bool,
    reason: Option<String>,
}

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
