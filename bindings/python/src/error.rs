//! What may go wrong, on its way to Python. The classes are in `bizra/_errors.py`.

use std::borrow::Cow;

use pyo3::prelude::*;
use serde_json::Value;

use crate::guard;

/// One class of exceptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// A value that cannot be used.
    InvalidInput,
    /// The gates refused content.
    GateRejected,
    /// Not there now, or too busy.
    Unavailable,
    /// There is nothing of that name.
    NotFound,
    /// The time is over.
    Timeout,
    /// A file that others have access to, or that is somebody else's.
    Forbidden,
    /// A file or a store could not be read or written.
    StorageError,
    /// A fault of this package.
    InternalError,
}

impl Family {
    const fn class(self) -> &'static str {
        match self {
            Self::InvalidInput => "InvalidInput",
            Self::GateRejected => "GateRejected",
            Self::Unavailable => "Unavailable",
            Self::NotFound => "NotFound",
            Self::Timeout => "Timeout",
            Self::Forbidden => "Forbidden",
            Self::StorageError => "StorageError",
            Self::InternalError => "InternalError",
        }
    }
}

/// An exception to be raised.
#[derive(Clone, Debug)]
pub(crate) struct Error {
    family: Family,
    /// `None` is the one of the family.
    code: Option<Cow<'static, str>>,
    message: String,
    /// An object, if there is more to say; boxed, since most errors have none.
    details: Option<Box<Value>>,
}

/// What the functions of this module return.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An exception of `family`, with its code.
    pub(crate) fn new(family: Family, message: impl Into<String>) -> Self {
        Self { family, code: None, message: message.into(), details: None }
    }

    /// An argument that cannot be used.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Family::InvalidInput, message)
    }

    /// What is not there now, or too busy.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Family::Unavailable, message)
    }

    /// A fault of this package.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(Family::InternalError, message)
    }

    /// With a code of its own.
    pub(crate) fn code(self, code: impl Into<Cow<'static, str>>) -> Self {
        Self { code: Some(code.into()), ..self }
    }

    /// With more to read, which is an object.
    pub(crate) fn details(self, details: Value) -> Self {
        Self { details: Some(Box::new(details)), ..self }
    }

    fn raise(self, py: Python<'_>) -> PyResult<PyErr> {
        let class = py.import("bizra._errors")?.getattr(self.family.class())?;
        let details = self.details.map(|details| to_python(py, &details)).transpose()?;
        Ok(PyErr::from_value(class.call1((self.message, self.code, details))?))
    }
}

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        Python::attach(|py| error.raise(py).unwrap_or_else(|other| other))
    }
}

/// A JSON value as Python's own objects.
pub(crate) fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    py.import("json")?.call_method1("loads", (value.to_string(),))
}

/// Runs `work` of a few microseconds at most. A panic is an [`Family::InternalError`].
pub(crate) fn calmly<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    guard::calm(work).unwrap_or_else(|panic| Err(Error::internal(format!("a fault: {panic}"))))
}

/// As [`calmly`], without the GIL: other threads of Python go on meanwhile.
pub(crate) fn apart<T: Send>(py: Python<'_>, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    py.detach(|| calmly(work))
}
