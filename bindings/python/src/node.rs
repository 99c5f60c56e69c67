//! A whole node in the process: started, spoken to by messages and stopped from Python.
//!
//! The classes here are ways in for `bizra/node`, which has those that people use. Whatever takes
//! time is begun here and waited for by a [`call::Call`], blocking or in an event loop.

use std::path::{Path, PathBuf};

use bizra_omega::config::{Config, Flags, Source};
use pyo3::prelude::*;
use serde_json::Value;

use crate::error::{Error, Result, apart};

use self::call::{Answer, Call};
use self::envelopes::EnvelopesPort;
use self::federation::FederationPort;
use self::folder::Folder;
use self::gates::GatesPort;
use self::identity::IdentityPort;
use self::inference::{InferencePort, StreamPort};
use self::loops::Loops;
use self::patterns::PatternsPort;
use self::preferences::PreferencesPort;
use self::running::Running;

mod actors;
mod answers;
mod call;
mod envelopes;
mod failure;
mod federation;
mod folder;
mod gates;
mod identity;
mod inference;
mod input;
mod lanes;
mod loops;
mod patterns;
mod preferences;
mod process;
mod running;

/// Puts the classes into the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Call>()?;
    module.add_class::<NodePort>()?;
    module.add_class::<IdentityPort>()?;
    module.add_class::<GatesPort>()?;
    module.add_class::<EnvelopesPort>()?;
    module.add_class::<InferencePort>()?;
    module.add_class::<StreamPort>()?;
    module.add_class::<FederationPort>()?;
    module.add_class::<PatternsPort>()?;
    module.add_class::<PreferencesPort>()?;
    module.add_function(wrap_pyfunction!(start_node, module)?)?;
    module.add_function(wrap_pyfunction!(process::stop_all, module)?)
}

/// A running node. Internal to this package: `bizra.Node` wraps it. When it and every way in is
/// dropped, the node stops.
#[pyclass(frozen, module = "bizra._native")]
pub(crate) struct NodePort(Running);

/// A node that has started.
struct Started(Running);

impl Answer for Started {
    fn make(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(Py::new(py, NodePort(self.0))?.into_any())
    }
}

#[pymethods]
impl NodePort {
    #[getter]
    fn identity(&self) -> IdentityPort {
        IdentityPort(self.0.clone())
    }

    #[getter]
    fn gates(&self) -> GatesPort {
        GatesPort(self.0.clone())
    }

    #[getter]
    fn envelopes(&self) -> EnvelopesPort {
        EnvelopesPort(self.0.clone())
    }

    #[getter]
    fn inference(&self) -> InferencePort {
        InferencePort(self.0.clone())
    }

    #[getter]
    fn federation(&self) -> FederationPort {
        FederationPort(self.0.clone())
    }

    #[getter]
    fn preferences(&self) -> PreferencesPort {
        PreferencesPort(self.0.clone())
    }

    #[getter]
    fn patterns(&self) -> PatternsPort {
        PatternsPort(self.0.clone())
    }

    /// Where its data is.
    #[getter]
    fn data_dir(&self) -> PathBuf {
        self.0.facts.data_dir.clone()
    }

    /// Whether the data goes when it stops.
    #[getter]
    fn is_temporary(&self) -> bool {
        self.0.facts.is_temporary
    }

    /// Where it listens, or None.
    #[getter]
    fn address(&self) -> Option<(String, u16)> {
        self.0.facts.address.map(|address| (address.ip().to_string(), address.port()))
    }

    /// Whether it takes calls.
    #[getter]
    fn is_running(&self) -> bool {
        self.0.is_running()
    }

    /// Shows every actor.
    fn actors(&self, timeout: Option<f64>) -> PyResult<Call> {
        Ok(actors::tree(&self.0, timeout)?)
    }

    /// Makes an actor fail.
    fn stop_actor(&self, name: String, kind: &str, timeout: Option<f64>) -> PyResult<Call> {
        Ok(actors::stop(&self.0, name, kind, timeout)?)
    }

    /// Stops the node; answered when it has stopped.
    fn stop(&self) -> PyResult<Call> {
        Ok(self.0.stopped()?)
    }
}

/// Starts a node. The configuration is the JSON text `values` or the file at `path`; without a
/// `data_dir` and one in the configuration, the data is in a new folder that goes with the node.
/// `wake` is called in an event loop with the futures whose calls are answered.
#[pyfunction]
fn start_node(
    py: Python<'_>,
    values: Option<&str>,
    path: Option<PathBuf>,
    data_dir: Option<PathBuf>,
    http: bool,
    wake: Py<PyAny>,
) -> PyResult<Call> {
    process::may_start()?;
    let (config, folder) = apart(py, || configured(values, path.as_deref(), data_dir))?;
    let (loops, loops_thread) = Loops::start(wake).map_err(|error| no_thread(&error))?;
    let (call, filler) = Call::new(&loops);
    let thread = std::thread::Builder::new().name("bizra-start".to_owned());
    let thread = thread.spawn(move || {
        let started = Running::start(config, folder, http, loops.clone(), loops_thread);
        let is_started = started.is_ok();
        filler.fill(started.map(Started));
        if !is_started {
            loops.quit();
        }
    });
    thread.map_err(|error| no_thread(&error))?;
    Ok(call)
}

fn no_thread(error: &std::io::Error) -> Error {
    Error::internal(format!("no thread for a node: {error}"))
}

/// The configuration, and where the data is.
fn configured(
    values: Option<&str>,
    path: Option<&Path>,
    data_dir: Option<PathBuf>,
) -> Result<(Config, Folder)> {
    // Of the environment, a node in a program reads nothing but where home is.
    let home = std::env::var("HOME").ok().filter(|home| !home.is_empty());
    let mut flags = Flags { data_dir, ..Flags::default() };
    let is_told = flags.data_dir.is_some();
    if let Some(path) = path {
        let home = home.map(|home| ("HOME".to_owned(), home));
        let (mut config, sources) =
            Config::load_with_sources(Some(path), home.into_iter(), &flags)?;
        if is_told || sources.of("node.data_dir") != Source::Default {
            let folder = Folder::at(&config.node.data_dir);
            return Ok((config, folder));
        }
        let folder = Folder::temporary()?;
        config.node.data_dir = folder.path().to_owned();
        return Ok((config, folder));
    }
    let values: Value = serde_json::from_str(values.unwrap_or("{}"))
        .map_err(|error| Error::invalid(format!("config: {error}")).code("CONFIG"))?;
    let is_told = is_told || values["node"]["data_dir"].is_string();
    let temporary = if is_told { None } else { Some(Folder::temporary()?) };
    if let Some(folder) = &temporary {
        flags.data_dir = Some(folder.path().to_owned());
    }
    let config = Config::from_values(&values, home.as_deref().map(Path::new), &flags)?;
    let folder = temporary.unwrap_or_else(|| Folder::at(&config.node.data_dir));
    Ok((config, folder))
}
