//! The native part of the Python package `bizra`: what is exported, and from where.

mod clock;
mod constitution;
mod digest;
mod envelope;
mod error;
mod gate;
mod guard;
mod id;
mod identity;
mod inference;
mod input;
mod ledger;
mod node;
mod pattern;
mod preference;
mod verdict;
mod verification;

use bizra_omega::domain::constitution::Constitution;
use pyo3::prelude::*;

/// The least Ihsan score that the built-in constitution lets pass, 0 to 1.
#[pyfunction]
fn get_ihsan_threshold() -> f64 {
    Constitution::default().ihsan_threshold().value()
}

/// The least signal-to-noise score that the built-in constitution lets pass, 0 to 1.
#[pyfunction]
fn get_snr_threshold() -> f64 {
    Constitution::default().snr_threshold().value()
}

/// The native part of the package bizra, which exports all of it.
// Nothing was run without the GIL yet, so an interpreter that can do without keeps it for us.
#[pymodule(gil_used = true)]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("IHSAN_THRESHOLD", get_ihsan_threshold())?;
    module.add("SNR_THRESHOLD", get_snr_threshold())?;
    module.add_function(wrap_pyfunction!(get_ihsan_threshold, module)?)?;
    module.add_function(wrap_pyfunction!(get_snr_threshold, module)?)?;
    module.add_function(wrap_pyfunction!(digest::domain_separated_digest, module)?)?;
    module.add_class::<constitution::Constitution>()?;
    module.add_class::<envelope::PCIEnvelope>()?;
    module.add_class::<gate::GateChain>()?;
    module.add_class::<gate::GateReceipt>()?;
    module.add_class::<id::NodeId>()?;
    module.add_class::<identity::NodeIdentity>()?;
    module.add_class::<inference::ModelSelector>()?;
    module.add_class::<inference::ModelTier>()?;
    module.add_class::<inference::TaskComplexity>()?;
    module.add_class::<ledger::ExperienceLedger>()?;
    module.add_class::<preference::PreferenceTracker>()?;
    module.add_class::<pattern::PatternMemory>()?;
    module.add_class::<pattern::Recollection>()?;
    module.add_class::<verdict::GateResult>()?;
    module.add_class::<verification::Verification>()?;
    node::register(module)
}
