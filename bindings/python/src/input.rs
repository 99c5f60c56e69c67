//! What callers hand over, as the domain takes it.

use std::ops::Deref;

use bizra_omega::domain::score::Score;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBytes, PyMemoryView, PyString};
use serde_json::Value;

use crate::error::{Error, Result};

/// Bytes: any object with a buffer, or a string as UTF-8.
///
/// They do not change while somebody reads them without the GIL: `bytes` and `str` never do, and of
/// everything else this is a copy.
#[derive(Debug)]
pub(crate) enum Data {
    Bytes(PyBackedBytes),
    Text(PyBackedStr),
}

impl Deref for Data {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Text(text) => text.as_bytes(),
        }
    }
}

impl<'py> FromPyObject<'_, 'py> for Data {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(Self::Bytes(bytes.to_owned().into()));
        }
        if object.is_instance_of::<PyString>() {
            return Ok(Self::Text(object.extract()?));
        }
        // The buffer protocol is in the stable ABI from 3.11 on; memoryview is in all of them.
        let view = PyMemoryView::from(&object).map_err(|_| {
            let found = object.get_type().name().map(|name| name.to_string());
            let found = found.unwrap_or_else(|_| "object".to_owned());
            PyTypeError::new_err(format!("a bytes-like object or str is required, not '{found}'"))
        })?;
        let bytes = view.call_method0("tobytes")?.cast_into::<PyBytes>()?;
        Ok(Self::Bytes(bytes.into()))
    }
}

/// A score that a caller gives; the name goes into the error.
pub(crate) fn score(name: &str, given: Option<f64>) -> Result<Option<Score>> {
    given.map(|value| required_score(name, value)).transpose()
}

/// As [`score`], where there has to be one.
pub(crate) fn required_score(name: &str, value: f64) -> Result<Score> {
    Score::try_from(value)
        .map_err(|error| Error::invalid(format!("{name}: {error}")).code("INVALID_SCORE"))
}

/// Any value of Python that JSON can say, in JSON. A string is JSON text already.
///
/// # Errors
/// What `json.dumps` raises for anything else.
pub(crate) fn json_text(object: &Bound<'_, PyAny>) -> PyResult<Data> {
    if object.is_instance_of::<PyString>() || object.is_instance_of::<PyBytes>() {
        return object.extract();
    }
    let dumps = object.py().import("json")?.getattr("dumps")?;
    // Escapes keep what is no character readable for the strict reader, which refuses it by name.
    let text = dumps.call1((object,))?;
    text.extract()
}

/// The text of `value`, if it is one.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// So many random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::unavailable(format!("no random bytes: {error}")))?;
    Ok(bytes)
}
