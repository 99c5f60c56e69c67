//! The gates of a node.

use std::sync::Arc;

use bizra_omega::domain::constitution::Constitution;
use bizra_omega::domain::gate::{ContentType, Facts, GateInput, SOURCES_MAX};
use bizra_omega::domain::profile::Profile;
use bizra_omega::messages::gate_chain::{BATCH_MAX, GateChainMsg};
use pyo3::prelude::*;
use serde_json::{Value, json};

use super::answers::{Json, Plain};
use super::call::Call;
use super::failure::wrong;
use super::input::{checked_batch, owned, scores};
use super::running::{Running, deadline};
use crate::error::Result;
use crate::gate::GateReceipt;
use crate::input::Data;

/// The way to the gate-chain actor. Internal to this package: `bizra.Node.gates` wraps it.
#[pyclass(frozen, module = "bizra._native")]
pub(crate) struct GatesPort(pub(super) Running);

#[pymethods]
impl GatesPort {
    /// Judges each content.
    #[expect(clippy::too_many_arguments, reason = "called from one place, which names them all")]
    fn check(
        &self,
        contents: Vec<Data>,
        snr_score: Option<Bound<'_, PyAny>>,
        ihsan_score: Option<Bound<'_, PyAny>>,
        content_type: &str,
        profile: &str,
        sources: Vec<String>,
        timeout: Option<f64>,
    ) -> PyResult<Call> {
        let count = contents.len();
        checked_batch("contents", count, BATCH_MAX)?;
        let profile = known(profile)?;
        let content_type = readable(content_type)?;
        let facts = known_of(sources)?;
        let snr = scores("snr_score", snr_score.as_ref(), count)?;
        let ihsan = scores("ihsan_score", ihsan_score.as_ref(), count)?;
        let mut inputs = Vec::with_capacity(count);
        for ((content, snr_claim), ihsan_claim) in contents.into_iter().zip(snr).zip(ihsan) {
            let (content, facts) = (owned(content), facts.clone());
            inputs.push(GateInput { content, content_type, snr_claim, ihsan_claim, facts });
        }
        let until = deadline(timeout, self.0.facts.usual)?;
        let addr = self.0.roster.gate_chain.clone();
        Ok(self.0.begin(&self.0.lanes.gates, until, async move {
            let ask = |reply| GateChainMsg::Check { profile, inputs: inputs.clone(), reply };
            let receipts = addr.call(until, ask).await?;
            Ok(Plain(receipts.into_iter().map(GateReceipt::new).collect::<Vec<_>>()))
        })?)
    }

    /// Tells what is enforced.
    fn constitution(&self, timeout: Option<f64>) -> PyResult<Call> {
        let until = deadline(timeout, self.0.facts.usual)?;
        let addr = self.0.roster.gate_chain.clone();
        Ok(self.0.begin(&self.0.lanes.gates, until, async move {
            let ask = |reply| GateChainMsg::Constitution { reply };
            Ok(Json(shown(&addr.call(until, ask).await?)))
        })?)
    }
}

/// What the HTTP interface shows of a constitution.
fn shown(constitution: &Arc<Constitution>) -> Value {
    let document = constitution.document();
    let penalties = document.rules.iter().map(|rule| (rule.id.clone(), json!(rule.penalty)));
    json!({
        "version": document.version,
        "digest": constitution.digest().to_string(),
        "ihsan_threshold": document.ihsan.threshold,
        "ihsan_target": document.ihsan.target,
        "snr_threshold": document.snr.threshold,
        "harm_ceiling": document.harm.ceiling,
        "autonomy": document.autonomy,
        "trust": document.trust,
        "rules": document.rules,
        "penalties": penalties.collect::<serde_json::Map<_, _>>(),
        "profiles": document.profiles,
    })
}

fn known(profile: &str) -> Result<Profile> {
    Profile::from_name(profile).ok_or_else(|| {
        let known = Profile::ALL.map(Profile::as_str).join(", ");
        wrong("profile", "UNKNOWN_PROFILE", format!("profile is one of: {known}"))
    })
}

fn readable(content_type: &str) -> Result<ContentType> {
    match content_type {
        "text" | "text/plain" => Ok(ContentType::Text),
        "json" | "application/json" => Ok(ContentType::Json),
        _ => {
            let message = "content_type is 'text' or 'json'";
            Err(wrong("content_type", "UNKNOWN_CONTENT_TYPE", message))
        }
    }
}

fn known_of(sources: Vec<String>) -> Result<Option<Box<Facts>>> {
    if sources.len() > SOURCES_MAX {
        let message = format!("there are at most {SOURCES_MAX} sources");
        return Err(wrong("sources", "OUT_OF_RANGE", message));
    }
    let is_any = !sources.is_empty();
    Ok(is_any.then(|| Box::new(Facts { sources, ..Facts::default() })))
}
