//! Answers as objects of Python.

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use serde_json::Value;

use super::call::Answer;
use crate::error::to_python;

/// What is told in JSON, as Python's own objects.
pub(super) struct Json(pub(super) Value);

impl Answer for Json {
    fn make(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(to_python(py, &self.0)?.unbind())
    }
}

impl Answer for () {
    fn make(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(py.None())
    }
}

/// What is an object of Python already, or a list of such.
pub(super) struct Plain<T>(pub(super) T);

impl<T> Answer for Plain<T>
where
    T: Send + 'static + for<'py> IntoPyObject<'py>,
{
    fn make(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.0.into_py_any(py)
    }
}
