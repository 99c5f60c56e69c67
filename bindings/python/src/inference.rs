//! How hard a prompt is, and which tier should answer it.

use std::str::FromStr;

use bizra_omega::domain::inference::Tier;
use bizra_omega::domain::inference::route::{Complexity, choose};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::error::{Error, Result, apart};

/// How hard a prompt is, estimated from its form: Simple, Medium, Complex or Expert, in this order.
///
/// Made by estimate(); the four are also attributes, such as TaskComplexity.EXPERT.
#[pyclass(module = "bizra", frozen, eq, ord, hash, skip_from_py_object)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TaskComplexity(Complexity);

#[pymethods]
impl TaskComplexity {
    /// A short question.
    #[classattr]
    const SIMPLE: TaskComplexity = TaskComplexity(Complexity::Simple);
    /// A longer question, or a longer answer.
    #[classattr]
    const MEDIUM: TaskComplexity = TaskComplexity(Complexity::Medium);
    /// Code, an explanation, or a page of text.
    #[classattr]
    const COMPLEX: TaskComplexity = TaskComplexity(Complexity::Complex);
    /// A long explanation or a very long answer.
    #[classattr]
    const EXPERT: TaskComplexity = TaskComplexity(Complexity::Expert);

    /// Estimates how hard a prompt is when at most ``max_tokens`` tokens are to follow.
    #[staticmethod]
    #[pyo3(signature = (prompt, max_tokens=512))]
    fn estimate(py: Python<'_>, prompt: &str, max_tokens: usize) -> Result<Self> {
        apart(py, || Ok(Self(Complexity::estimate(prompt, max_tokens))))
    }

    /// Its name: Simple, Medium, Complex or Expert.
    #[getter]
    fn level(&self) -> &'static str {
        match self.0 {
            Complexity::Simple => "Simple",
            Complexity::Medium => "Medium",
            Complexity::Complex => "Complex",
            Complexity::Expert => "Expert",
        }
    }

    fn __str__(&self) -> &'static str {
        self.level()
    }

    fn __repr__(&self) -> String {
        format!("TaskComplexity(level='{}')", self.level())
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let getattr = py.import("builtins")?.getattr("getattr")?;
        let name = (py.get_type::<Self>(), self.level().to_uppercase());
        (getattr, name).into_pyobject(py)
    }
}

/// Where a model runs: "edge" (in this process), "local" (a server of this site) or "pool" (other
/// nodes), also known as nano, medium and large; in any case.
///
/// Raises InvalidInput for another name.
#[pyclass(module = "bizra", frozen, eq, ord, hash, skip_from_py_object)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ModelTier(pub(crate) Tier);

/// Reads the name of a tier.
pub(crate) fn tier(name: &str) -> Result<Tier> {
    Tier::from_str(name).map_err(|error| {
        let text = format!("Tier must be 'edge', 'local', or 'pool': {error}");
        Error::invalid(text).code("UNKNOWN_TIER")
    })
}

#[pymethods]
impl ModelTier {
    #[new]
    fn new(tier: &str) -> Result<Self> {
        self::tier(tier).map(Self)
    }

    /// Its name in lower case: edge, local or pool.
    #[getter]
    fn name(&self) -> &'static str {
        match self.0 {
            Tier::Edge => "edge",
            Tier::Local => "local",
            Tier::Pool => "pool",
        }
    }

    fn __str__(&self) -> &'static str {
        self.name()
    }

    fn __repr__(&self) -> String {
        format!("ModelTier('{}')", self.name())
    }

    fn __getnewargs__(&self) -> (&'static str,) {
        (self.name(),)
    }
}

/// Says which tier should answer.
#[pyclass(module = "bizra", frozen)]
pub(crate) struct ModelSelector;

#[pymethods]
impl ModelSelector {
    #[new]
    fn new() -> Self {
        Self
    }

    /// The tier whose models are large enough: edge for Simple and Medium, local for Complex, pool
    /// for Expert.
    fn select_tier(&self, complexity: &TaskComplexity) -> ModelTier {
        ModelTier(complexity.0.tier())
    }

    /// Chooses a tier for a prompt among those in ``available``, as a node does; returns it and why.
    ///
    /// With none available the choice is what the prompt alone asks for. ``latency_sensitive`` asks
    /// for one tier less.
    #[pyo3(signature = (prompt, max_tokens=512, *, latency_sensitive=false, available=None))]
    fn choose(
        &self,
        py: Python<'_>,
        prompt: &str,
        max_tokens: usize,
        latency_sensitive: bool,
        available: Option<Vec<Bound<'_, ModelTier>>>,
    ) -> Result<(ModelTier, String)> {
        let available: Vec<Tier> =
            available.unwrap_or_default().iter().map(|tier| tier.get().0).collect();
        apart(py, || {
            let choice = choose(prompt, max_tokens, latency_sensitive, &available);
            Ok((ModelTier(choice.tier), choice.reasoning))
        })
    }

    fn __repr__(&self) -> &'static str {
        "ModelSelector()"
    }
}
