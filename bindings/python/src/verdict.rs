//! What one gate said.

use bizra_omega::domain::constitution::document::Enforcement;
use bizra_omega::domain::gate::{Evidence, Verdict};
use bizra_omega::domain::profile::Gate;
use bizra_omega::domain::score::Score;
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyTuple};

use crate::error::to_python;

/// What one gate said. Unpacks and compares as the triple (gate, passed, code).
#[pyclass(module = "bizra", frozen, sequence)]
pub(crate) struct GateResult(Verdict);

impl GateResult {
    pub(crate) fn new(verdict: Verdict) -> Self {
        Self(verdict)
    }

    /// Whether it passed, or what it found has no effect.
    pub(crate) fn refuses_nothing(&self) -> bool {
        self.0.passed || self.0.enforcement != Enforcement::Strict
    }

    fn tuple<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        (self.gate(), self.0.passed, self.code()).into_pyobject(py)
    }
}

#[pymethods]
impl GateResult {
    /// Its name: Schema, Signature, Rate, Harm, Ihsan, SNR or FATE.
    #[getter]
    fn gate(&self) -> &'static str {
        match self.0.gate {
            Gate::Schema => "Schema",
            Gate::Signature => "Signature",
            Gate::Rate => "Rate",
            Gate::Harm => "Harm",
            Gate::Ihsan => "Ihsan",
            Gate::Snr => "SNR",
            Gate::Fate => "FATE",
        }
    }

    /// Whether its condition was found to hold.
    #[getter]
    fn passed(&self) -> bool {
        self.0.passed
    }

    /// "Success", a reject code, or "Unavailable" where a gate that refuses nothing had nothing to
    /// judge.
    #[getter]
    fn code(&self) -> &'static str {
        match self.0.code {
            Some(code) => code.as_str(),
            None if self.0.passed => "Success",
            None => "Unavailable",
        }
    }

    /// The score judged, 0 to 1; None if there was none.
    #[getter]
    fn score(&self) -> Option<f64> {
        self.0.score.map(Score::value)
    }

    /// What the score is held against, 0 to 1; None for a gate that judges no score.
    #[getter]
    fn threshold(&self) -> Option<f64> {
        self.0.threshold.map(Score::value)
    }

    /// Who vouches for the score: measured, attested, claimed, or unavailable.
    #[getter]
    fn source(&self) -> &'static str {
        self.0.source.as_str()
    }

    /// What a failure means: strict, advisory or monitoring.
    #[getter]
    fn enforcement(&self) -> &'static str {
        self.0.enforcement.as_str()
    }

    /// What the judgement rests on: a dictionary, text, or None. Never holds content.
    #[getter]
    fn evidence<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let evidence = self.0.evidence.as_ref().map(Evidence::to_json).unwrap_or_default();
        to_python(py, &evidence)
    }

    fn __len__(&self) -> usize {
        3
    }

    fn __getitem__<'py>(
        &self,
        py: Python<'py>,
        index: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.tuple(py)?.as_any().get_item(index)
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        self.tuple(py)?.try_iter()
    }

    fn __eq__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<bool> {
        match other.cast::<Self>() {
            Ok(other) => self.tuple(py)?.eq(other.get().tuple(py)?),
            Err(_) => self.tuple(py)?.eq(other),
        }
    }

    fn __hash__(&self, py: Python<'_>) -> PyResult<isize> {
        self.tuple(py)?.hash()
    }

    fn __repr__(&self) -> String {
        let passed = if self.0.passed { "True" } else { "False" };
        format!("GateResult(gate='{}', passed={passed}, code='{}')", self.gate(), self.code())
    }
}
