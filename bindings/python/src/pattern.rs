//! Patterns: what was learned, recalled by likeness.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bizra_omega::domain::embedding::EmbedderId;
use bizra_omega::domain::pattern::feedback::Opinion;
use bizra_omega::domain::pattern::ledger::Ledger;
use bizra_omega::domain::pattern::view::{Filter, Near, Query};
use bizra_omega::domain::pattern::{
    Bounds, Lesson, PatternError, PatternId, Position, Source, Tags,
};
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyTuple};

use crate::clock::now_ms;
use crate::error::{Error, Family, Result, apart};

/// Patterns in memory: texts, each with a vector of the caller's own, recalled by likeness (cosine).
///
/// Up to 100,000 patterns and 512 MiB; when it is full, those worth least make room. Vectors of
/// different lengths are never compared. Node has one that lasts, and embeds texts by itself.
#[pyclass(module = "bizra", frozen)]
pub(crate) struct PatternMemory {
    source: Source,
    inner: Mutex<Inner>,
}

struct Inner {
    ledger: Ledger,
    /// What each pattern says; the ledger has the rest.
    contents: HashMap<PatternId, Arc<str>>,
}

impl PatternMemory {
    /// Only for code without the GIL: whoever holds it never waits for the GIL.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Nothing is written anywhere, so what changed is settled at once.
    fn settle(&mut self) {
        let (_, revision) = self.ledger.take_rows();
        self.ledger.settle(revision);
    }
}

#[pymethods]
impl PatternMemory {
    /// ``node_id`` names who teaches: 1 to 128 letters, digits and ``. _ : -``.
    #[new]
    fn new(node_id: &str) -> Result<Self> {
        let source = Source::new(node_id).map_err(|error| refused(&error))?;
        let ledger = Ledger::new(Bounds::default());
        Ok(Self { source, inner: Mutex::new(Inner { ledger, contents: HashMap::new() }) })
    }

    /// Learns a text and returns the id of its pattern, ``pat_`` and 32 hex digits.
    ///
    /// The text has 1 byte to 32 KiB, the vector 1 to 4,096 finite numbers that are not all zero. The
    /// same text with the same tags, or one as good as the same (cosine of 0.98 and more), is further
    /// evidence for the pattern there is, whose id is returned. Raises InvalidInput, or Unavailable when
    /// nothing can make room.
    #[pyo3(signature = (content, embedding, tags=None))]
    fn learn(
        &self,
        py: Python<'_>,
        content: String,
        embedding: Vec<f64>,
        tags: Option<Vec<String>>,
    ) -> Result<String> {
        apart(py, || {
            let tags = Tags::new(tags.unwrap_or_default()).map_err(|error| refused(&error))?;
            let position = position(&embedding)?;
            let lesson = Lesson::new(&content, tags, self.source.clone(), Some(position));
            let lesson = lesson.map_err(|error| refused(&error))?;
            let mut inner = self.lock();
            let learned = inner.ledger.learn(&lesson, now_ms());
            inner.settle();
            let learned = learned.map_err(|error| refused(&error))?;
            for gone in learned.evicted {
                inner.contents.remove(&gone);
            }
            let id = learned.pattern.id;
            inner.contents.entry(id).or_insert_with(|| Arc::clone(lesson.content()));
            Ok(id.to_string())
        })
    }

    /// The patterns nearest to a vector, nearest first: up to ``limit`` (1 to 100) of a cosine of at
    /// least ``min_similarity`` (0.5), with all of the ``tags``.
    ///
    /// Each result unpacks as (content, confidence, tags).
    #[pyo3(signature = (embedding, limit=5, *, min_similarity=None, tags=None))]
    fn recall(
        &self,
        py: Python<'_>,
        embedding: Vec<f64>,
        limit: usize,
        min_similarity: Option<f64>,
        tags: Option<Vec<String>>,
    ) -> Result<Vec<Recollection>> {
        apart(py, || {
            let tags = Tags::new(tags.unwrap_or_default()).map_err(|error| refused(&error))?;
            let position = position(&embedding)?;
            let near = Near::Position(position.clone());
            let filter = Filter { tags, ..Filter::default() };
            let query = Query::new(near, limit, min_similarity, filter);
            let query = query.map_err(|error| refused(&error))?;
            let now = now_ms();
            let mut inner = self.lock();
            let hits = inner.ledger.view().recall(&query, &position);
            let told = |hit: &bizra_omega::domain::pattern::index::Hit| Recollection {
                id: hit.pattern.id.to_string(),
                content: inner.contents.get(&hit.pattern.id).map_or("", |it| it).to_owned(),
                similarity: f64::from(hit.similarity),
                confidence: hit.pattern.confidence_at(now).value(),
                tags: hit.pattern.tags.iter().map(str::to_owned).collect(),
            };
            let found = hits.iter().map(told).collect();
            inner.ledger.note_uses(hits.iter().map(|hit| (hit.pattern.id, 1, now)));
            inner.settle();
            Ok(found)
        })
    }

    /// Says whether a pattern was of use: its confidence rises by 0.05 or falls by 0.03. Returns it.
    /// Raises NotFound for a pattern that there is not.
    #[pyo3(signature = (id, positive=true))]
    fn feedback(&self, py: Python<'_>, id: &str, positive: bool) -> Result<f64> {
        apart(py, || {
            let id = pattern_id(id)?;
            let now = now_ms();
            let mut inner = self.lock();
            let given = inner.ledger.feedback(id, &Opinion::unsigned(positive), now);
            inner.settle();
            let (pattern, _) = given.map_err(|error| refused(&error))?;
            Ok(pattern.confidence_at(now).value())
        })
    }

    /// Forgets a pattern. Raises NotFound for one that there is not.
    fn forget(&self, py: Python<'_>, id: &str) -> Result<()> {
        apart(py, || {
            let id = pattern_id(id)?;
            let mut inner = self.lock();
            let gone = inner.ledger.forget(id);
            inner.settle();
            gone.map_err(|error| refused(&error))?;
            inner.contents.remove(&id);
            Ok(())
        })
    }

    /// How many patterns there are.
    fn pattern_count(&self, py: Python<'_>) -> Result<usize> {
        apart(py, || Ok(self.lock().contents.len()))
    }

    fn __len__(&self, py: Python<'_>) -> Result<usize> {
        self.pattern_count(py)
    }

    /// Always true: a memory of nothing is a memory.
    fn __bool__(&self) -> bool {
        true
    }

    fn __repr__(&self, py: Python<'_>) -> Result<String> {
        Ok(format!("PatternMemory(count={})", self.pattern_count(py)?))
    }
}

/// Vectors of one length are of one caller.
fn position(embedding: &[f64]) -> Result<Position> {
    let embedder = EmbedderId { name: "caller".to_owned(), version: 1, dimension: embedding.len() };
    Position::new(embedder, embedding).map_err(|error| refused(&error))
}

fn pattern_id(text: &str) -> Result<PatternId> {
    PatternId::from_text(text)
        .ok_or_else(|| Error::invalid("the id of a pattern is pat_ and 32 hex digits"))
}

fn refused(error: &PatternError) -> Error {
    let family = match error {
        PatternError::Unknown(_) => Family::NotFound,
        PatternError::Full { .. } => Family::Unavailable,
        _ => Family::InvalidInput,
    };
    Error::new(family, error.to_string())
}

/// A pattern that was recalled. Unpacks and compares as the triple (content, confidence, tags).
#[pyclass(module = "bizra", frozen, sequence)]
pub(crate) struct Recollection {
    id: String,
    content: String,
    similarity: f64,
    confidence: f64,
    tags: Vec<String>,
}

impl Recollection {
    fn tuple<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        (&self.content, self.confidence, &self.tags).into_pyobject(py)
    }
}

#[pymethods]
impl Recollection {
    /// The id of the pattern, ``pat_`` and 32 hex digits.
    #[getter]
    fn id(&self) -> &str {
        &self.id
    }

    /// What it says.
    #[getter]
    fn content(&self) -> &str {
        &self.content
    }

    /// The cosine of its vector and the one asked for, -1 to 1.
    #[getter]
    fn similarity(&self) -> f64 {
        self.similarity
    }

    /// How sure it is, 0 to 1: 0.5 at first, and back towards it while it is not used.
    #[getter]
    fn confidence(&self) -> f64 {
        self.confidence
    }

    /// What it is about, sorted.
    #[getter]
    fn tags(&self) -> Vec<String> {
        self.tags.clone()
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

    fn __repr__(&self) -> String {
        let Self { id, similarity, confidence, .. } = self;
        format!("Recollection(id='{id}', similarity={similarity:.3}, confidence={confidence:.3})")
    }
}
