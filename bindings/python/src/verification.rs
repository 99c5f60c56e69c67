//! What verification found.

use bizra_omega::domain::envelope::Report;
use pyo3::prelude::*;

use crate::error::to_python;

/// What the checks of an envelope found. True if it is valid.
#[pyclass(module = "bizra", frozen)]
pub(crate) struct Verification(Report);

impl Verification {
    pub(crate) fn new(report: Report) -> Self {
        Self(report)
    }
}

#[pymethods]
impl Verification {
    /// Whether every check held.
    #[getter]
    fn valid(&self) -> bool {
        self.0.is_valid()
    }

    /// The reject code of the check that failed, such as "RejectExpired"; None when valid.
    #[getter]
    fn code(&self) -> Option<&'static str> {
        self.0.code.map(|code| code.as_str())
    }

    /// Why it is not valid; None when valid.
    #[getter]
    fn error(&self) -> Option<&str> {
        self.0.error.as_deref()
    }

    /// The checks in order, up to the first that failed: (name, passed, detail or None).
    #[getter]
    fn checks(&self) -> Vec<(&'static str, bool, Option<String>)> {
        let check = |check: &bizra_omega::domain::envelope::Check| {
            (check.check, check.passed, check.detail.clone())
        };
        self.0.checks.iter().map(check).collect()
    }

    /// All of it as a dictionary, as the HTTP interface answers it.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &self.0.to_json())
    }

    fn __bool__(&self) -> bool {
        self.0.is_valid()
    }

    fn __repr__(&self) -> String {
        match (&self.0.code, &self.0.error) {
            (Some(code), Some(error)) => {
                format!("Verification(valid=False, code='{}', error={error:?})", code.as_str())
            }
            _ => "Verification(valid=True)".to_owned(),
        }
    }
}
