//! Answers as objects of Python.

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::PyList;
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

/// Several answers, as a list.
pub(super) struct Each<T>(pub(super) Vec<T>);

impl<T> Answer for Each<T>
where
    T: Send + 'static + for<'py> IntoPyObject<'py>,
{
    fn make(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let items = self.0.into_iter().map(|item| item.into_py_any(py));
        let items = items.collect::<PyResult<Vec<_>>>()?;
        Ok(PyList::new(py, items)?.into_any().unbind())
    }
}
