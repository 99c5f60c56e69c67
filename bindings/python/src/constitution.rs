//! The constitution: thresholds and rules.

use bizra_omega::domain::constitution as domain;
use bizra_omega::domain::score::Score;
use pyo3::prelude::*;
use serde_json::json;

use crate::error::{Error, Result, apart, to_python};
use crate::id::hash_of;

/// Thresholds, rules and how gates are enforced, named by a digest.
///
/// Constitution() is the built-in document; Constitution(text) reads another, in TOML, as
/// ``config/constitution.toml`` of bizra-omega is. Two are equal when their digests are. Raises
/// InvalidInput for text that is none, with the place and the reason.
#[pyclass(module = "bizra", frozen)]
pub(crate) struct Constitution {
    pub(crate) inner: domain::Constitution,
    /// What it was read from, if it is not the built-in one.
    text: Option<String>,
}

#[pymethods]
impl Constitution {
    #[new]
    #[pyo3(signature = (text=None))]
    fn new(py: Python<'_>, text: Option<String>) -> Result<Self> {
        apart(py, || {
            let inner = match &text {
                None => domain::Constitution::default(),
                Some(text) => domain::Constitution::parse("the given text", text)
                    .map_err(|error| Error::invalid(error.to_string()))?,
            };
            Ok(Self { inner, text })
        })
    }

    /// The least Ihsan score that passes, 0 to 1.
    #[getter]
    fn ihsan_threshold(&self) -> f64 {
        self.inner.ihsan_threshold().value()
    }

    /// The least signal-to-noise score that passes, 0 to 1.
    #[getter]
    fn snr_threshold(&self) -> f64 {
        self.inner.snr_threshold().value()
    }

    /// The most harm that passes, 0 to 1.
    #[getter]
    fn harm_ceiling(&self) -> f64 {
        self.inner.harm_ceiling().value()
    }

    /// The document itself, in TOML.
    #[getter]
    fn text(&self) -> &str {
        self.text.as_deref().unwrap_or(domain::DEFAULT_TOML)
    }

    /// Its version: three numbers with dots.
    #[getter]
    fn version(&self) -> &str {
        self.inner.version()
    }

    /// The domain-separated digest of its canonical form, 64 hex digits; proofs name it.
    #[getter]
    fn digest(&self) -> String {
        self.inner.digest().to_hex()
    }

    /// Its rules in order: dictionaries with id, name, target, metric, comparator, threshold,
    /// enforcement and penalty.
    #[getter]
    fn rules<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &json!(self.inner.rules()))
    }

    /// Whether a score reaches the Ihsan threshold; False for what is no score (NaN, above 1).
    fn check_ihsan(&self, score: f64) -> bool {
        Score::try_from(score).is_ok_and(|score| score >= self.inner.ihsan_threshold())
    }

    /// Whether a score reaches the SNR threshold; False for what is no score (NaN, above 1).
    fn check_snr(&self, score: f64) -> bool {
        Score::try_from(score).is_ok_and(|score| score >= self.inner.snr_threshold())
    }

    /// Judges given facts by the rules about outputs and envelopes.
    ///
    /// Returns a dictionary: compliant, verdict ("compliant", "violation" or "indeterminate") and
    /// checks, one for each rule. What is not given is missing: never compliant.
    #[pyo3(signature = (ihsan_score=None, snr_score=None, has_signature=false, has_provenance=false))]
    fn check<'py>(
        &self,
        py: Python<'py>,
        ihsan_score: Option<f64>,
        snr_score: Option<f64>,
        has_signature: bool,
        has_provenance: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let facts = domain::ConstitutionCheck {
            ihsan: crate::input::score("ihsan_score", ihsan_score)?,
            snr: crate::input::score("snr_score", snr_score)?,
            has_signature,
            has_provenance,
        };
        let outcome = apart(py, || Ok(self.inner.check(&facts)))?;
        let check = |check: &domain::RuleCheck| {
            json!({
                "rule": check.rule,
                "passed": check.passed,
                "value": check.value,
                "threshold": check.threshold,
                "comparator": check.comparator.as_str(),
                "enforcement": check.enforcement.as_str(),
            })
        };
        let checks: Vec<_> = outcome.checks.iter().map(check).collect();
        let answer = json!({
            "compliant": outcome.verdict == domain::Verdict::Compliant,
            "verdict": outcome.verdict.as_str(),
            "checks": checks,
        });
        to_python(py, &answer)
    }

    fn __repr__(&self) -> String {
        let (ihsan, snr) = (self.ihsan_threshold(), self.snr_threshold());
        format!("Constitution(version='{}', ihsan={ihsan}, snr={snr})", self.version())
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.inner.digest() == other.inner.digest()
    }

    fn __hash__(&self) -> u64 {
        hash_of(&self.inner.digest())
    }

    fn __getnewargs__(&self) -> (Option<&str>,) {
        (self.text.as_deref(),)
    }
}
