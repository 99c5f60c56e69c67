//! The envelopes of a node.

use bizra_omega::domain::bytes::from_hex;
use bizra_omega::domain::envelope::log::PAGE_MAX;
use bizra_omega::domain::envelope::{Draft, EnvelopeId, Head, Page, Parent, TTL_S_MAX};
use bizra_omega::domain::id::NodeId;
use bizra_omega::domain::json;
use bizra_omega::messages::envelope::{BATCH_BYTES_MAX, BATCH_MAX, EnvelopeMsg};
use bizra_omega::messages::gate_chain::GateChainMsg;
use bytes::Bytes;
use pyo3::prelude::*;

use super::answers::{Json, Plain};
use super::call::Call;
use super::failure::wrong;
use super::input::{checked_batch, owned, page_limit};
use super::running::{Running, deadline};
use crate::clock::now_ms;
use crate::envelope::PCIEnvelope;
use crate::error::{Error, Result};
use crate::input::{Data, random};
use crate::verification::Verification;

/// The way to the envelope actor. Internal to this package: `bizra.Node.envelopes` wraps it.
#[pyclass(frozen, module = "bizra._native")]
pub(crate) struct EnvelopesPort(pub(super) Running);

#[pymethods]
impl EnvelopesPort {
    /// Seals the JSON text `payload`.
    fn create(
        &self,
        payload: String,
        ttl: Option<i64>,
        provenance: Vec<(String, String)>,
        audience: Option<String>,
        timeout: Option<f64>,
    ) -> PyResult<Call> {
        let until = deadline(timeout, self.0.facts.usual)?;
        let (id, timestamp_ms) = (EnvelopeId(random()?), now_ms());
        let (gates, addr) = (self.0.roster.gate_chain.clone(), self.0.roster.envelope.clone());
        Ok(self.0.begin(&self.0.lanes.envelopes, until, async move {
            // Here, where a long payload keeps nobody from the GIL.
            let payload = json::parse(payload.as_bytes())
                .map_err(|error| wrong("payload", "INVALID_JSON", format!("payload: {error}")))?;
            let ttl_s = seconds(ttl)?;
            let audience = audience.as_deref().map(NodeId::from_hex).transpose();
            let audience =
                audience.map_err(|error| wrong("audience", "INVALID_HEX", error.to_string()))?;
            let provenance = provenance.iter().map(parent).collect::<Result<Vec<_>>>()?;
            let ask = |reply| GateChainMsg::Constitution { reply };
            let constitution = gates.call(until, ask).await?.digest();
            let draft = Draft {
                id,
                timestamp_ms,
                ttl_s,
                audience,
                provenance,
                constitution,
                gates: None,
                payload,
            };
            let ask = |reply| EnvelopeMsg::Create { draft: Box::new(draft.clone()), reply };
            Ok(Plain(PCIEnvelope::made(&addr.call(until, ask).await??)))
        })?)
    }

    /// Checks each envelope.
    fn verify(&self, envelopes: Vec<Data>, timeout: Option<f64>) -> PyResult<Call> {
        checked_batch("envelopes", envelopes.len(), BATCH_MAX)?;
        let items: Vec<Bytes> = envelopes.into_iter().map(owned).collect();
        if items.iter().map(Bytes::len).sum::<usize>() > BATCH_BYTES_MAX {
            let message = format!("a batch has at most {BATCH_BYTES_MAX} bytes");
            return Err(wrong("envelopes", "BATCH_TOO_LARGE", message).into());
        }
        let until = deadline(timeout, self.0.facts.usual)?;
        let addr = self.0.roster.envelope.clone();
        Ok(self.0.begin(&self.0.lanes.envelopes, until, async move {
            let ask = |reply| EnvelopeMsg::VerifyMany { items: items.clone(), reply };
            let reports = addr.call(until, ask).await?;
            Ok(Plain(reports.into_iter().map(Verification::new).collect::<Vec<_>>()))
        })?)
    }

    /// Checks an envelope and accepts it once.
    fn consume(&self, envelope: Data, timeout: Option<f64>) -> PyResult<Call> {
        let bytes = owned(envelope);
        let until = deadline(timeout, self.0.facts.usual)?;
        let addr = self.0.roster.envelope.clone();
        Ok(self.0.begin(&self.0.lanes.envelopes, until, async move {
            let ask = |reply| EnvelopeMsg::Consume { bytes: bytes.clone(), reply };
            Ok(Plain(vec![Verification::new(addr.call(until, ask).await?)]))
        })?)
    }

    /// Looks up an envelope that was made here; None if it was not.
    fn get(&self, id: &str, timeout: Option<f64>) -> PyResult<Call> {
        let id = envelope_id("id", id)?;
        let until = deadline(timeout, self.0.facts.usual)?;
        let addr = self.0.roster.envelope.clone();
        Ok(self.0.begin(&self.0.lanes.envelopes, until, async move {
            let found = addr.call(until, |reply| EnvelopeMsg::Find { id, reply }).await??;
            Ok(Plain(found.as_ref().map(PCIEnvelope::made)))
        })?)
    }

    /// Lists the envelopes that were made here, newest first.
    fn log(
        &self,
        limit: i64,
        since_ms: Option<i64>,
        after: Option<&str>,
        timeout: Option<f64>,
    ) -> PyResult<Call> {
        let limit = page_limit(limit, PAGE_MAX)?;
        let after = after.map(|after| envelope_id("after", after)).transpose()?;
        let page = Page { limit, since_ms: since_ms.unwrap_or(i64::MIN), after };
        let until = deadline(timeout, self.0.facts.usual)?;
        let addr = self.0.roster.envelope.clone();
        Ok(self.0.begin(&self.0.lanes.envelopes, until, async move {
            let heads = addr.call(until, |reply| EnvelopeMsg::Log { page, reply }).await??;
            Ok(Json(heads.iter().map(Head::to_json).collect()))
        })?)
    }
}

fn seconds(ttl: Option<i64>) -> Result<u32, Error> {
    let ttl = ttl.map_or(Ok(TTL_S_MAX), u32::try_from).ok();
    ttl.filter(|ttl| (1..=TTL_S_MAX).contains(ttl))
        .ok_or_else(|| wrong("ttl", "INVALID_TTL", format!("ttl is 1 to {TTL_S_MAX} seconds")))
}

fn parent((id, content_hash): &(String, String)) -> Result<Parent> {
    Ok(Parent {
        id: envelope_id("provenance", id)?,
        content_hash: from_hex(content_hash)
            .map_err(|error| wrong("provenance", "INVALID_HEX", error.to_string()))?,
    })
}

fn envelope_id(argument: &str, text: &str) -> Result<EnvelopeId> {
    let form = "an envelope id is pci_ and 32 lower-case hex digits";
    EnvelopeId::from_text(text).ok_or_else(|| wrong(argument, "INVALID_HEX", form))
}
