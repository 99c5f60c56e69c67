//! The keys of a node.

use bizra_omega::domain::id::NodeId;
use bizra_omega::domain::identity::{Claim, IdentityInfo, KeyUse};
use bizra_omega::messages::identity::{BATCH_MAX, IdentityMsg};
use bytes::Bytes;
use pyo3::prelude::*;
use serde_json::{Value, json};

use super::answers::{Json, Plain};
use super::call::Call;
use super::failure::wrong;
use super::input::{checked_batch, owned};
use super::running::{Running, deadline};
use crate::input::Data;

/// The way to the identity actor. Internal to this package: `bizra.Node.identity` wraps it.
#[pyclass(frozen, module = "bizra._native")]
pub(crate) struct IdentityPort(pub(super) Running);

fn shown(info: &IdentityInfo) -> Value {
    json!({
        "node_id": info.node_id.to_hex(),
        "public_key": info.public_key.to_hex(),
        "label": info.label,
        "active": info.is_active,
        "rotation": info.rotation.as_ref().map(|record| record.to_json()),
    })
}

#[pymethods]
impl IdentityPort {
    /// Signs each message with the active key; the signatures in hex.
    fn sign(&self, messages: Vec<Data>, timeout: Option<f64>) -> PyResult<Call> {
        checked_batch("messages", messages.len(), BATCH_MAX)?;
        let messages: Vec<Bytes> = messages.into_iter().map(owned).collect();
        let until = deadline(timeout, self.0.facts.usual)?;
        let addr = self.0.roster.identity.clone();
        Ok(self.0.begin(&self.0.lanes.identity, until, async move {
            let ask = |reply| IdentityMsg::Sign {
                key_use: KeyUse::Message,
                messages: messages.clone(),
                reply,
            };
            let signed = addr.call(until, ask).await??;
            let signatures = signed.iter().map(|signed| signed.signature.to_hex());
            Ok(Plain(signatures.collect::<Vec<_>>()))
        })?)
    }

    /// Verifies each triple of message, signature and public key: what is wrong with it, or None.
    fn verify(&self, claims: Vec<(Data, String, String)>, timeout: Option<f64>) -> PyResult<Call> {
        checked_batch("claims", claims.len(), BATCH_MAX)?;
        let claim = |(message, signature, public_key)| {
            let message = owned(message);
            Claim { message, signature, public_key }
        };
        let claims: Vec<Claim> = claims.into_iter().map(claim).collect();
        let until = deadline(timeout, self.0.facts.usual)?;
        let addr = self.0.roster.identity.clone();
        Ok(self.0.begin(&self.0.lanes.identity, until, async move {
            let ask = |reply| IdentityMsg::Verify { claims: claims.clone(), reply };
            let verdicts = addr.call(until, ask).await?.into_iter();
            let faults = verdicts.map(|verdict| verdict.err().map(|why| why.to_string()));
            Ok(Plain(faults.collect::<Vec<_>>()))
        })?)
    }

    /// Makes a key.
    fn generate(
        &self,
        label: Option<String>,
        activate: bool,
        timeout: Option<f64>,
    ) -> PyResult<Call> {
        let until = deadline(timeout, self.0.facts.usual)?;
        let addr = self.0.roster.identity.clone();
        Ok(self.0.begin(&self.0.lanes.identity, until, async move {
            let ask = |reply| IdentityMsg::Generate { label: label.clone(), activate, reply };
            Ok(Json(shown(&addr.call(until, ask).await??)))
        })?)
    }

    /// Lets another identity sign.
    fn activate(&self, node_id: &str, timeout: Option<f64>) -> PyResult<Call> {
        let id = NodeId::from_hex(node_id)
            .map_err(|error| wrong("node_id", "INVALID_NODE_ID", error.to_string()))?;
        let until = deadline(timeout, self.0.facts.usual)?;
        let addr = self.0.roster.identity.clone();
        Ok(self.0.begin(&self.0.lanes.identity, until, async move {
            let ask = |reply| IdentityMsg::Activate { id, reply };
            Ok(Json(shown(&addr.call(until, ask).await??)))
        })?)
    }

    /// Tells which identity signs.
    fn active(&self, timeout: Option<f64>) -> PyResult<Call> {
        let until = deadline(timeout, self.0.facts.usual)?;
        let addr = self.0.roster.identity.clone();
        Ok(self.0.begin(&self.0.lanes.identity, until, async move {
            let active = addr.call(until, |reply| IdentityMsg::Active { reply }).await?;
            Ok(Json(shown(&active)))
        })?)
    }

    /// Lists the identities, the active one first.
    fn list(&self, timeout: Option<f64>) -> PyResult<Call> {
        let until = deadline(timeout, self.0.facts.usual)?;
        let addr = self.0.roster.identity.clone();
        Ok(self.0.begin(&self.0.lanes.identity, until, async move {
            let all = addr.call(until, |reply| IdentityMsg::List { reply }).await?;
            Ok(Json(all.iter().map(shown).collect()))
        })?)
    }
}
