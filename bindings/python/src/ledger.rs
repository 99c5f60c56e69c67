//! The experience ledger.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bizra_omega::domain::ledger::{Action, Draft, Episode, Ledger, LedgerError, Query};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::clock::now_s;
use crate::error::{Error, Result, apart};
use crate::input::required_score as required;

/// A bounded, hash-chained record of episodes in memory.
///
/// Of 10,000 episodes a quarter loses its content, of the older half what mattered less (SNR times
/// Ihsan); their hashes stay, and the chain verifies as before. Only the oldest hashes of a very long
/// chain are let go as well. It is kept in memory only.
#[pyclass(module = "bizra", frozen)]
pub(crate) struct ExperienceLedger(Mutex<Ledger>);

impl ExperienceLedger {
    /// Only for code without the GIL: whoever holds it never waits for the GIL.
    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T: Send>(&self, py: Python<'_>, of: impl FnOnce(&Ledger) -> T + Send) -> Result<T> {
        apart(py, || Ok(of(&self.lock())))
    }
}

#[pymethods]
impl ExperienceLedger {
    #[new]
    fn new() -> Self {
        Self(Mutex::default())
    }

    /// Adds an episode and returns its hash, 64 hex digits.
    ///
    /// ``actions`` are up to 256 tuples (type, description, succeeded, duration in microseconds);
    /// scores are 0 to 1; the embedding has up to 4,096 finite numbers, not all zero; all texts
    /// together have at most 64 KiB. The hash covers all but embedding and summary. The time is the
    /// clock's, unless ``timestamp_secs`` says another (seconds since 1970). Raises InvalidInput.
    #[pyo3(signature = (context, graph_hash, graph_node_count, actions, snr_score, ihsan_score, snr_ok, context_embedding=None, response_summary=None, *, timestamp_secs=None))]
    #[expect(clippy::too_many_arguments, reason = "they are those of the function in Python")]
    fn commit(
        &self,
        py: Python<'_>,
        context: String,
        graph_hash: String,
        graph_node_count: u32,
        actions: Vec<(String, String, bool, u64)>,
        snr_score: f64,
        ihsan_score: f64,
        snr_ok: bool,
        context_embedding: Option<Vec<f32>>,
        response_summary: Option<String>,
        timestamp_secs: Option<u64>,
    ) -> Result<String> {
        let snr = required("snr_score", snr_score)?;
        let ihsan = required("ihsan_score", ihsan_score)?;
        apart(py, || {
            let action = |(kind, description, is_success, duration_us)| Action {
                kind,
                description,
                is_success,
                duration_us,
            };
            let draft = Draft {
                timestamp_s: timestamp_secs.unwrap_or_else(now_s),
                context,
                graph_hash,
                graph_nodes: graph_node_count,
                actions: actions.into_iter().map(action).collect(),
                snr,
                ihsan,
                is_snr_ok: snr_ok,
                embedding: context_embedding,
                summary: response_summary,
            };
            let mut ledger = self.lock();
            let episode = ledger.commit(draft).map_err(|error| refused(&error))?;
            Ok(episode.episode_hash.clone())
        })
    }

    /// Finds up to ``top_k`` episodes, the best first: what is recent (half as much after 693 s),
    /// mattered, and is alike, by cosine where both have an embedding of one length, otherwise by
    /// shared words of three characters and more.
    ///
    /// Returns dictionaries: sequence, timestamp_secs, context, graph_hash, graph_node_count,
    /// snr_score, ihsan_score, snr_ok, episode_hash, chain_hash, and response_summary if there is one.
    #[pyo3(signature = (query_text, top_k=5, query_embedding=None))]
    fn retrieve<'py>(
        &self,
        py: Python<'py>,
        query_text: &str,
        top_k: usize,
        query_embedding: Option<Vec<f32>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let found = apart(py, || {
            let embedding = query_embedding.as_deref();
            let query = Query { text: query_text, embedding, now_s: now_s(), limit: top_k };
            let ledger = self.lock();
            let found = ledger.retrieve(&query).map_err(|error| refused(&error))?;
            Ok(found.into_iter().map(|(episode, _)| episode.clone()).collect::<Vec<_>>())
        })?;
        let list = PyList::empty(py);
        for Episode { sequence, episode_hash, chain_hash, content } in found {
            let Some(draft) = content else { continue };
            let told = PyDict::new(py);
            told.set_item("sequence", sequence)?;
            told.set_item("timestamp_secs", draft.timestamp_s)?;
            told.set_item("context", draft.context)?;
            told.set_item("graph_hash", draft.graph_hash)?;
            told.set_item("graph_node_count", draft.graph_nodes)?;
            told.set_item("snr_score", draft.snr.value())?;
            told.set_item("ihsan_score", draft.ihsan.value())?;
            told.set_item("snr_ok", draft.is_snr_ok)?;
            told.set_item("episode_hash", episode_hash)?;
            told.set_item("chain_hash", chain_hash)?;
            if let Some(summary) = draft.summary {
                told.set_item("response_summary", summary)?;
            }
            list.append(told)?;
        }
        Ok(list)
    }

    /// Computes every hash again; False if anything was changed.
    fn verify_chain_integrity(&self, py: Python<'_>) -> Result<bool> {
        self.read(py, Ledger::is_intact)
    }

    /// The last link of the chain, 64 hex digits; "genesis" before the first.
    #[getter]
    fn chain_head(&self, py: Python<'_>) -> Result<String> {
        self.read(py, |ledger| ledger.chain_head().to_owned())
    }

    /// The number that the next episode will have.
    #[getter]
    fn next_sequence(&self, py: Python<'_>) -> Result<u64> {
        self.read(py, Ledger::next_sequence)
    }

    /// How often content was let go.
    #[getter]
    fn distillation_count(&self, py: Python<'_>) -> Result<u64> {
        self.read(py, Ledger::distillations)
    }

    /// Episodes that still have their content.
    fn __len__(&self, py: Python<'_>) -> Result<usize> {
        self.read(py, Ledger::len)
    }

    /// Always true: an empty ledger is a ledger.
    fn __bool__(&self) -> bool {
        true
    }

    fn __repr__(&self, py: Python<'_>) -> Result<String> {
        self.read(py, |ledger| {
            let head: String = ledger.chain_head().chars().take(8).collect();
            format!("ExperienceLedger(episodes={}, chain_head='{head}')", ledger.len())
        })
    }
}

fn refused(error: &LedgerError) -> Error {
    Error::invalid(error.to_string())
}
