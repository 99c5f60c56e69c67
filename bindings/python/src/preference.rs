//! Preferences: learned from what was observed, told to models.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bizra_omega::domain::preference::{
    Bounds, Choice, ChoiceError, Entry, Full, Kind, Profile, Selection, Slot, join, render,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::clock::now_ms;
use crate::error::{Error, Result, apart};

/// How somebody likes to be answered, learned by observation, in memory only.
///
/// Types are style, verbosity, code_style, language and custom. Each value has a confidence: 0.5 when it
/// is first seen, a tenth of what is missing more each time, a tenth less when another is seen. From 0.7
/// on it is active, which takes six observations; another value takes its place only when it is active
/// too and ahead by 0.1.
#[pyclass(module = "bizra", frozen)]
pub(crate) struct PreferenceTracker(Mutex<Profile>);

impl PreferenceTracker {
    /// Only for code without the GIL: whoever holds it never waits for the GIL.
    fn lock(&self) -> MutexGuard<'_, Profile> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl PreferenceTracker {
    #[new]
    fn new() -> Self {
        Self(Mutex::default())
    }

    /// Takes in that a value was chosen.
    ///
    /// ``key`` is the name of a custom preference; the other types have one place each, and "response"
    /// or None for it. Values of the other types are those of a closed vocabulary, custom ones short notes of
    /// plain words. Raises InvalidInput for any other, with those there are.
    #[pyo3(signature = (pref_type, key, value))]
    fn observe(
        &self,
        py: Python<'_>,
        pref_type: &str,
        key: Option<&str>,
        value: &str,
    ) -> Result<()> {
        apart(py, || {
            let choice = Choice::parse(slot(pref_type, key)?, value).map_err(|it| refused(&it))?;
            let notes_max = Bounds::default().notes_max;
            let observed = self.lock().observe(&choice, now_ms(), notes_max);
            observed.map(drop).map_err(|full: Full| Error::invalid(full.to_string()).code("FULL"))
        })
    }

    /// The active value, or None while nothing is sure enough.
    #[pyo3(signature = (pref_type, key=None))]
    fn get_strength(
        &self,
        py: Python<'_>,
        pref_type: &str,
        key: Option<&str>,
    ) -> Result<Option<String>> {
        apart(py, || {
            let slot = slot(pref_type, key)?;
            let active = self.lock().active();
            let found = active.into_iter().find(|entry| *entry.choice.slot() == slot);
            Ok(found.map(|entry| entry.choice.value().to_owned()))
        })
    }

    /// What a model is told, in sentences of this package; None if nothing is active. At most 16
    /// preferences and 1 KiB. It belongs into the system text.
    fn system_text(&self, py: Python<'_>) -> Result<Option<String>> {
        apart(py, || Ok(render::render(&self.lock()).text))
    }

    /// The prompt with what a model is told behind it, an empty line between; the prompt alone if
    /// nothing is active.
    fn apply_to_prompt(&self, py: Python<'_>, prompt: String) -> Result<String> {
        apart(py, || {
            let text = render::render(&self.lock()).text;
            Ok(match text {
                Some(text) => join(Some(prompt.clone()), Some(&text)).unwrap_or(prompt),
                None => prompt,
            })
        })
    }

    /// Every value that is known: dictionaries with type, key, value, confidence (0 to 1), observations
    /// and active.
    fn preferences<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let entries = apart(py, || Ok(self.lock().entries()))?;
        let list = PyList::empty(py);
        for Entry { choice, confidence, observations, is_active, .. } in entries {
            let told = PyDict::new(py);
            told.set_item("type", choice.slot().kind().as_str())?;
            told.set_item("key", choice.slot().key())?;
            told.set_item("value", choice.value())?;
            told.set_item("confidence", confidence)?;
            told.set_item("observations", observations)?;
            told.set_item("active", is_active)?;
            list.append(told)?;
        }
        Ok(list)
    }

    /// Forgets every value of a place, of a type, or all; returns how many that were.
    #[pyo3(signature = (pref_type=None, key=None))]
    fn forget(&self, py: Python<'_>, pref_type: Option<&str>, key: Option<&str>) -> Result<usize> {
        apart(py, || {
            let selection = match (pref_type, key) {
                (None, None) => Selection::All,
                (None, Some(_)) => return Err(Error::invalid("a key without its type")),
                (Some(name), None) => Selection::Kind(kind(name)?),
                (Some(name), key) => Selection::Slot(slot(name, key)?),
            };
            Ok(self.lock().forget(&selection))
        })
    }

    fn __len__(&self, py: Python<'_>) -> Result<usize> {
        apart(py, || Ok(self.lock().len()))
    }

    /// Always true: a tracker that knows nothing is a tracker.
    fn __bool__(&self) -> bool {
        true
    }

    fn __repr__(&self, py: Python<'_>) -> Result<String> {
        apart(py, || Ok(format!("PreferenceTracker(values={})", self.lock().len())))
    }
}

fn kind(name: &str) -> Result<Kind> {
    Kind::parse(name).map_err(|error| refused(&error))
}

fn slot(name: &str, key: Option<&str>) -> Result<Slot> {
    Slot::parse(kind(name)?, key).map_err(|error| refused(&error))
}

fn refused(error: &ChoiceError) -> Error {
    Error::invalid(error.to_string())
}
