//! How people like to be answered, as a node has learned it.

use bizra_omega::domain::preference::{
    Choice, ChoiceError, Entry, Kind, PAGE_MAX, Selection, Slot, Subject, SubjectPage, join,
};
use bizra_omega::messages::preferences::{PreferencesError, PreferencesMsg};
use pyo3::prelude::*;
use serde_json::{Value, json};

use super::answers::Json;
use super::call::Call;
use super::failure::wrong;
use super::input::page_limit;
use super::running::{Running, deadline};
use crate::error::{Error, Family, Result};

/// The way to the preferences actor. Internal to this package: `bizra.Node.preferences` wraps it.
#[pyclass(frozen, module = "bizra._native")]
pub(crate) struct PreferencesPort(pub(super) Running);

#[pymethods]
impl PreferencesPort {
    /// Takes in that a subject chose a value.
    fn observe(
        &self,
        subject: String,
        kind: String,
        value: String,
        key: Option<String>,
        timeout: Option<f64>,
    ) -> PyResult<Call> {
        let until = deadline(timeout, self.0.facts.usual)?;
        let addr = self.0.roster.preferences.clone();
        Ok(self.0.begin(&self.0.lanes.preferences, until, async move {
            let subject = read_subject("subject", &subject)?;
            let slot = Slot::parse(Kind::parse(&kind)?, key.as_deref())?;
            let choice = Choice::parse(slot, &value)?;
            let ask = |reply| PreferencesMsg::Observe {
                subject: subject.clone(),
                choice: choice.clone(),
                reply,
            };
            let observed = addr.call(until, ask).await??;
            let mut told = shown(&observed.entry);
            told["subject"] = json!(subject.as_str());
            told["effect"] = json!(observed.effect.as_str());
            Ok(Json(told))
        })?)
    }

    /// Forgets what is known of a subject, or a part of it.
    fn forget(
        &self,
        subject: String,
        kind: Option<String>,
        key: Option<String>,
        timeout: Option<f64>,
    ) -> PyResult<Call> {
        let until = deadline(timeout, self.0.facts.usual)?;
        let addr = self.0.roster.preferences.clone();
        Ok(self.0.begin(&self.0.lanes.preferences, until, async move {
            let subject = read_subject("subject", &subject)?;
            let selection = selected(kind.as_deref(), key.as_deref())?;
            let ask = |reply| PreferencesMsg::Forget {
                subject: subject.clone(),
                selection: selection.clone(),
                reply,
            };
            Ok(Json(json!(addr.call(until, ask).await??)))
        })?)
    }

    /// Lists what is known of a subject.
    fn list(&self, subject: String, timeout: Option<f64>) -> PyResult<Call> {
        let until = deadline(timeout, self.0.facts.usual)?;
        let addr = self.0.roster.preferences.clone();
        Ok(self.0.begin(&self.0.lanes.preferences, until, async move {
            let subject = read_subject("subject", &subject)?;
            let ask = |reply| PreferencesMsg::Find { subject: subject.clone(), reply };
            let profile = addr.call(until, ask).await??;
            Ok(Json(profile.entries().iter().map(shown).collect()))
        })?)
    }

    /// Lists the subjects of which something is known, by name.
    fn subjects(&self, limit: i64, after: Option<String>, timeout: Option<f64>) -> PyResult<Call> {
        let limit = page_limit(limit, PAGE_MAX)?;
        let until = deadline(timeout, self.0.facts.usual)?;
        let addr = self.0.roster.preferences.clone();
        Ok(self.0.begin(&self.0.lanes.preferences, until, async move {
            let after = after.map(|after| read_subject("after", &after)).transpose()?;
            let page = SubjectPage { limit, after };
            let ask = |reply| PreferencesMsg::List { page: page.clone(), reply };
            let found = addr.call(until, ask).await??;
            let subject = |(subject, profile): &(Subject, _)| subject_json(subject, profile);
            Ok(Json(found.iter().map(subject).collect()))
        })?)
    }

    /// The system text with the preferences of a subject behind it.
    fn apply(
        &self,
        subject: String,
        system: Option<String>,
        timeout: Option<f64>,
    ) -> PyResult<Call> {
        let until = deadline(timeout, self.0.facts.usual)?;
        let addr = self.0.roster.preferences.clone();
        Ok(self.0.begin(&self.0.lanes.preferences, until, async move {
            let subject = read_subject("subject", &subject)?;
            let ask = |reply| PreferencesMsg::Render { subject: subject.clone(), reply };
            let rendered = addr.call(until, ask).await??;
            Ok(Json(json!(join(system, rendered.text.as_deref()))))
        })?)
    }
}

fn subject_json(subject: &Subject, profile: &bizra_omega::domain::preference::Profile) -> Value {
    json!({
        "subject": subject.as_str(),
        "values": profile.len(),
        "active": profile.active().len(),
    })
}

/// A value and how sure the node is of it, as the HTTP interface tells it.
fn shown(entry: &Entry) -> Value {
    let slot = entry.choice.slot();
    json!({
        "type": slot.kind().as_str(),
        "key": slot.key(),
        "value": entry.choice.value(),
        "confidence": entry.confidence,
        "observations": entry.observations,
        "active": entry.is_active,
        "observed_at": entry.observed_at(),
    })
}

fn selected(kind: Option<&str>, key: Option<&str>) -> Result<Selection> {
    Ok(match (kind.map(Kind::parse).transpose()?, key) {
        (None, None) => Selection::All,
        (None, Some(_)) => {
            let message = "key is for a custom preference; give its type as well";
            return Err(wrong("type", "INVALID_PREFERENCE", message));
        }
        (Some(kind), None) => Selection::Kind(kind),
        (Some(kind), Some(key)) => Selection::Slot(Slot::parse(kind, Some(key))?),
    })
}

/// The subject of this name.
pub(super) fn read_subject(argument: &str, name: &str) -> Result<Subject> {
    Subject::parse(name).map_err(|error| wrong(argument, "INVALID_SUBJECT", error.to_string()))
}

impl From<ChoiceError> for Error {
    fn from(error: ChoiceError) -> Self {
        let details = json!({ "argument": error.field() });
        let message = error.to_string();
        match error {
            ChoiceError::Harmful { .. } => {
                Error::new(Family::Forbidden, message).code("PREFERENCE_REFUSED")
            }
            _ => Error::invalid(message).code("INVALID_PREFERENCE"),
        }
        .details(details)
    }
}

impl From<PreferencesError> for Error {
    fn from(error: PreferencesError) -> Self {
        let message = error.to_string();
        let code = match error {
            PreferencesError::Full(_) => "PREFERENCES_FULL",
            PreferencesError::DiskFull(_) => "DISK_FULL",
            PreferencesError::Unavailable(_) => "PREFERENCES_UNAVAILABLE",
        };
        Error::unavailable(message).code(code)
    }
}
