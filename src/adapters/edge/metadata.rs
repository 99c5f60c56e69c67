//! Reads typed values from a model's metadata and says what is wrong with them.

use std::collections::BTreeMap;

use crate::adapters::edge::gguf::Value;

/// What is wrong with a metadata entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// An entry that is needed is not there.
    #[error("metadata {0} is missing")]
    Missing(String),
    /// An entry has another type.
    #[error("metadata {key} is not {expected}")]
    Type {
        /// The entry.
        key: String,
        /// What it should be.
        expected: &'static str,
    },
}

/// The metadata of a model, by key.
#[derive(Clone, Copy, Debug)]
pub struct Metadata<'h>(pub &'h BTreeMap<String, Value>);

impl<'h> Metadata<'h> {
    /// A value that `read` accepts; `None` if there is none.
    fn read<T>(
        self,
        key: &str,
        expected: &'static str,
        read: impl Fn(&'h Value) -> Option<T>,
    ) -> Result<Option<T>, MetadataError> {
        match self.0.get(key).map(read) {
            None => Ok(None),
            Some(Some(value)) => Ok(Some(value)),
            Some(None) => Err(MetadataError::Type { key: key.to_owned(), expected }),
        }
    }

    /// A string.
    ///
    /// # Errors
    /// If the entry is something else.
    pub fn text(self, key: &str) -> Result<Option<&'h str>, MetadataError> {
        self.read(key, "a string", |value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// An integer from 0 to 2^32 - 1, which is enough for every count and id.
    ///
    /// # Errors
    /// If the entry is something else.
    pub fn count(self, key: &str) -> Result<Option<usize>, MetadataError> {
        self.read(key, "an integer from 0 to 4294967295", |value| match value {
            Value::Integer(integer) => u32::try_from(*integer).ok().map(|count| count as usize),
            _ => None,
        })
    }

    /// A finite number.
    ///
    /// # Errors
    /// If the entry is something else.
    pub fn float(self, key: &str) -> Result<Option<f64>, MetadataError> {
        self.read(key, "a finite number", |value| match value {
            Value::Float(float) if float.is_finite() => Some(*float),
            _ => None,
        })
    }

    /// A truth value.
    ///
    /// # Errors
    /// If the entry is something else.
    pub fn flag(self, key: &str) -> Result<Option<bool>, MetadataError> {
        self.read(key, "true or false", |value| match value {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        })
    }

    /// An array of strings.
    ///
    /// # Errors
    /// If the entry is something else.
    pub fn texts(self, key: &str) -> Result<Option<&'h [String]>, MetadataError> {
        self.read(key, "an array of strings", |value| match value {
            Value::Texts(texts) => Some(texts.as_slice()),
            _ => None,
        })
    }

    /// An array of integers.
    ///
    /// # Errors
    /// If the entry is something else.
    pub fn integers(self, key: &str) -> Result<Option<&'h [i64]>, MetadataError> {
        self.read(key, "an array of integers", |value| match value {
            Value::Integers(integers) => Some(integers.as_slice()),
            _ => None,
        })
    }

    /// An array of floating-point numbers.
    ///
    /// # Errors
    /// If the entry is something else.
    pub fn floats(self, key: &str) -> Result<Option<&'h [f32]>, MetadataError> {
        self.read(key, "an array of numbers", |value| match value {
            Value::Floats(floats) => Some(floats.as_slice()),
            _ => None,
        })
    }
}

/// A value that must be there.
///
/// # Errors
/// If it is not, or has the wrong type.
pub fn required<T>(value: Result<Option<T>, MetadataError>, key: &str) -> Result<T, MetadataError> {
    value?.ok_or_else(|| MetadataError::Missing(key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_as_what_it_is_and_nothing_else() {
        let map = BTreeMap::from([
            ("n".to_owned(), Value::Integer(7)),
            ("minus".to_owned(), Value::Integer(-1)),
            ("nan".to_owned(), Value::Float(f64::NAN)),
        ]);
        let metadata = Metadata(&map);
        assert_eq!(metadata.count("n"), Ok(Some(7)));
        assert_eq!(metadata.count("absent"), Ok(None));
        assert!(metadata.count("minus").is_err());
        assert!(metadata.float("nan").is_err());
        let error = metadata.text("n").unwrap_err();
        assert_eq!(error.to_string(), "metadata n is not a string");
        let error = required(metadata.text("absent"), "absent").unwrap_err();
        assert_eq!(error.to_string(), "metadata absent is missing");
    }
}
