//! Node ids.

use std::hash::{DefaultHasher, Hash, Hasher};

use bizra_omega::domain::id;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;

use crate::error::{Error, Result};

/// The id of a node: the first 16 bytes of its public key, as 32 lower-case hex digits.
///
/// It names a node in messages and logs; trust decisions use the whole key. str() is ``node_`` and
/// the first eight digits. Ids are ordered by their bytes.
///
/// Raises InvalidInput (a ValueError) for anything but 32 lower-case hex digits.
#[pyclass(module = "bizra", frozen, eq, ord, hash, skip_from_py_object)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(pub(crate) id::NodeId);

#[pymethods]
impl NodeId {
    #[new]
    fn new(id: &str) -> Result<Self> {
        let wrong = |error| {
            Error::invalid(format!("NodeId must be 32 hex characters, in lower case: {error}"))
        };
        id::NodeId::from_hex(id).map(Self).map_err(wrong)
    }

    /// All 32 digits.
    #[getter]
    fn id(&self) -> String {
        self.0.to_hex()
    }

    fn __str__(&self) -> String {
        self.0.short()
    }

    fn __repr__(&self) -> String {
        format!("NodeId('{}')", self.0)
    }

    fn __getnewargs__(&self) -> (String,) {
        (self.0.to_hex(),)
    }
}

/// A node as callers name it: a NodeId, or its 32 digits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named(pub(crate) id::NodeId);

impl<'py> FromPyObject<'_, 'py> for Named {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(node) = object.cast::<NodeId>() {
            return Ok(Self(node.get().0));
        }
        let text: PyBackedStr = object.extract()?;
        Ok(Self(NodeId::new(&text)?.0))
    }
}

/// A hash as Python wants one, of what is hashed in Rust. The same within one process and in the next.
pub(crate) fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
