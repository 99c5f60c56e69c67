//! The gates, without a node.

use std::time::Instant;

use bizra_omega::domain::constitution as domain;
use bizra_omega::domain::gate::{
    ContentType, Facts, GateInput, Receipt, SOURCES_MAX, Surroundings, run,
};
use bizra_omega::domain::profile::Profile;
use pyo3::prelude::*;

use crate::constitution::Constitution;
use crate::error::{Error, Result, apart, calmly, to_python};
use crate::input::{Data, score};
use crate::verdict::GateResult;

/// Content that is judged in five microseconds at most, measurements included.
const QUICK_BYTES_MAX: usize = 256;

/// Judges content by a constitution, the built-in one unless another is given.
#[pyclass(module = "bizra", frozen)]
pub(crate) struct GateChain {
    constitution: domain::Constitution,
}

/// How content is judged.
struct Terms {
    profile: Profile,
    content_type: ContentType,
    sources: Vec<String>,
}

impl GateChain {
    fn judge(
        &self,
        py: Python<'_>,
        content: &Data,
        snr_score: Option<f64>,
        ihsan_score: Option<f64>,
        terms: Terms,
    ) -> Result<Receipt> {
        let Terms { profile, content_type, sources } = terms;
        let (snr_claim, ihsan_claim) =
            (score("snr_score", snr_score)?, score("ihsan_score", ihsan_score)?);
        let is_quick = content.len() <= QUICK_BYTES_MAX && sources.is_empty();
        let work = || {
            let facts =
                (!sources.is_empty()).then(|| Box::new(Facts { sources, ..Facts::default() }));
            let content = content.to_vec().into();
            let input = GateInput { content, content_type, snr_claim, ihsan_claim, facts };
            let began = Instant::now();
            let around = Surroundings::default();
            Ok(run(&self.constitution, profile, input, &around, || began.elapsed()))
        };
        if is_quick { calmly(work) } else { apart(py, work) }
    }
}

#[pymethods]
impl GateChain {
    #[new]
    #[pyo3(signature = (constitution=None))]
    fn new(py: Python<'_>, constitution: Option<&Constitution>) -> Result<Self> {
        let given = constitution.map(|constitution| constitution.inner.clone());
        apart(py, || Ok(Self { constitution: given.unwrap_or_default() }))
    }

    /// Judges content and returns what each gate said, in order, up to the first that refused.
    ///
    /// ``content`` is JSON, as bytes or text; with ``content_type="text"`` it is any text. SNR and
    /// Ihsan are measured where there is enough to measure. A score that is given, 0 to 1, is a
    /// claim: it counts where nothing was measured, and otherwise can only lower what was. A gate
    /// that has neither refuses. ``sources`` are up to 32 texts that the content is to be supported
    /// by. ``profile`` is one of check, peer-message, inference-input, inference-output, proposal.
    ///
    /// Each result unpacks as (gate, passed, code). Raises InvalidInput for a score outside 0 to 1.
    #[pyo3(signature = (content, snr_score=None, ihsan_score=None, *, content_type="json", profile="check", sources=None))]
    #[expect(clippy::too_many_arguments, reason = "they are those of the function in Python")]
    fn verify(
        &self,
        py: Python<'_>,
        content: Data,
        snr_score: Option<f64>,
        ihsan_score: Option<f64>,
        content_type: &str,
        profile: &str,
        sources: Option<Vec<String>>,
    ) -> Result<Vec<GateResult>> {
        let terms = terms(content_type, profile, sources)?;
        let receipt = self.judge(py, &content, snr_score, ihsan_score, terms)?;
        Ok(results(&receipt))
    }

    /// As verify(), and returns the whole receipt: whether it passed, why not, and what was found.
    #[pyo3(signature = (content, snr_score=None, ihsan_score=None, *, content_type="json", profile="check", sources=None))]
    #[expect(clippy::too_many_arguments, reason = "they are those of the function in Python")]
    fn check(
        &self,
        py: Python<'_>,
        content: Data,
        snr_score: Option<f64>,
        ihsan_score: Option<f64>,
        content_type: &str,
        profile: &str,
        sources: Option<Vec<String>>,
    ) -> Result<GateReceipt> {
        let terms = terms(content_type, profile, sources)?;
        self.judge(py, &content, snr_score, ihsan_score, terms).map(GateReceipt)
    }

    /// Whether no gate refused: results of verify(), or any triples (gate, passed, code). A gate that
    /// only advises refuses nothing. Nothing is no pass: False for an empty list.
    #[staticmethod]
    fn all_passed(results: &Bound<'_, PyAny>) -> PyResult<bool> {
        let mut is_any = false;
        for result in results.try_iter()? {
            let result = result?;
            let passed = match result.cast::<GateResult>() {
                Ok(result) => result.get().refuses_nothing(),
                Err(_) => result.get_item(1)?.extract()?,
            };
            if !passed {
                return Ok(false);
            }
            is_any = true;
        }
        Ok(is_any)
    }

    fn __repr__(&self) -> String {
        format!("GateChain(constitution='{}')", self.constitution.version())
    }
}

fn terms(content_type: &str, profile: &str, sources: Option<Vec<String>>) -> Result<Terms> {
    let content_type = match content_type {
        "json" | "application/json" => ContentType::Json,
        "text" | "text/plain" => ContentType::Text,
        _ => return Err(Error::invalid("content_type is 'json' or 'text'")),
    };
    let profile = Profile::from_name(profile).ok_or_else(|| {
        let known = Profile::ALL.map(Profile::as_str).join(", ");
        Error::invalid(format!("profile is one of {known}")).code("UNKNOWN_PROFILE")
    })?;
    let sources = sources.unwrap_or_default();
    if sources.len() > SOURCES_MAX {
        return Err(Error::invalid(format!("there are at most {SOURCES_MAX} sources")));
    }
    Ok(Terms { profile, content_type, sources })
}

fn results(receipt: &Receipt) -> Vec<GateResult> {
    receipt.verdicts().iter().cloned().map(GateResult::new).collect()
}

/// What a run of gates leaves behind. True if no strict gate refused.
#[pyclass(module = "bizra", frozen)]
pub(crate) struct GateReceipt(Receipt);

impl GateReceipt {
    pub(crate) fn new(receipt: Receipt) -> Self {
        Self(receipt)
    }
}

#[pymethods]
impl GateReceipt {
    /// Whether no strict gate refused.
    #[getter]
    fn passed(&self) -> bool {
        self.0.passed()
    }

    /// The reject code of the strict gate that refused; None if none did.
    #[getter]
    fn code(&self) -> Option<&'static str> {
        self.0.code().map(|code| code.as_str())
    }

    /// Why it did not pass, in words; None if it did.
    #[getter]
    fn reason(&self) -> Option<String> {
        self.0.reason()
    }

    /// What advisory gates found wrong, in words.
    #[getter]
    fn warnings(&self) -> Vec<String> {
        self.0.warnings()
    }

    /// The profile that was run.
    #[getter]
    fn profile(&self) -> &'static str {
        self.0.profile().as_str()
    }

    /// What each gate said, in order, up to the first that refused.
    #[getter]
    fn results(&self) -> Vec<GateResult> {
        results(&self.0)
    }

    /// Digest of the constitution it was judged under, 64 hex digits.
    #[getter]
    fn constitution_digest(&self) -> String {
        self.0.constitution_digest().to_hex()
    }

    /// Digest of the content, 64 hex digits.
    #[getter]
    fn input_hash(&self, py: Python<'_>) -> Result<String> {
        apart(py, || Ok(self.0.input_hash().to_hex()))
    }

    /// All of it as a dictionary, as it goes into an envelope: no content.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let receipt = apart(py, || Ok(self.0.to_json()))?;
        to_python(py, &receipt)
    }

    fn __bool__(&self) -> bool {
        self.0.passed()
    }

    fn __repr__(&self) -> String {
        match self.0.reason() {
            Some(reason) => format!("GateReceipt(passed=False, reason={reason:?})"),
            None => "GateReceipt(passed=True)".to_owned(),
        }
    }
}
