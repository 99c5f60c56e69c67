//! Reads the header of a GGUF file: metadata and where the tensors lie.
//!
//! The format is that of <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2
//! and 3, little-endian. A model file comes from a stranger, so every count is bounded before
//! anything is allocated and every tensor is checked to lie inside the file. candle's own reader
//! is not used: it divides by the alignment that the file states, zero included, multiplies
//! dimensions unchecked and holds 32 bytes for every byte of an array.

use std::collections::BTreeMap;
use std::io::{self, Read};

use candle_core::quantized::GgmlDType;

use crate::adapters::edge::gguf_reader::{Reader, bounded};

/// The largest header read, in bytes. That of a model with 256 Ki tokens has 20 MiB.
const HEADER_BYTES_MAX: u64 = 128 << 20;
/// The most metadata entries. Models have less than a hundred.
const ENTRIES_MAX: u64 = 4096;
/// The most tensors. A dense model has about ten for each layer.
const TENSORS_MAX: u64 = 1 << 16;
/// The coarsest alignment, in bytes. The usual one is 32.
const ALIGNMENT_MAX: u64 = 1 << 16;

/// What is wrong with a header.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// Reading failed.
    #[error("reading it: {0}")]
    Io(#[from] io::Error),
    /// It does not begin with `GGUF`.
    #[error("it does not begin with GGUF; convert the model to GGUF first")]
    NotGguf,
    /// A version that this reader does not know.
    #[error("GGUF version {0} is not supported; versions 2 and 3, little-endian, are")]
    Version(u32),
    /// The file ends inside its header.
    #[error("it ends inside its header, at byte {at}; download it again")]
    Truncated {
        /// Where more was expected.
        at: u64,
    },
    /// A number exceeds its limit.
    #[error("{what} is {value}, which is more than {max}")]
    TooMuch {
        /// Which number.
        what: &'static str,
        /// Its value.
        value: u64,
        /// Its limit.
        max: u64,
    },
    /// A value's type is unknown or not supported.
    #[error("metadata {key}: value type {code} is not supported")]
    ValueType {
        /// The entry.
        key: String,
        /// The type's number in the file.
        code: u32,
    },
    /// A name occurs twice.
    #[error("{0} occurs twice")]
    Repeated(String),
    /// `general.alignment` is no power of two in range.
    #[error("general.alignment is {0}; it must be a power of two up to {ALIGNMENT_MAX}")]
    Alignment(u64),
    /// A tensor's number format is not supported.
    #[error(
        "tensor {tensor} has number format {code}, which is not supported; supported are \
             F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and Q2_K to Q6_K"
    )]
    TensorType {
        /// The tensor.
        tensor: String,
        /// The format's number in the file.
        code: u32,
    },
    /// A tensor's dimensions make no sense.
    #[error("tensor {tensor} has impossible dimensions {dimensions:?}")]
    Dimensions {
        /// The tensor.
        tensor: String,
        /// Its dimensions in the order of the file.
        dimensions: Vec<u64>,
    },
    /// A tensor does not lie inside the file.
    #[error("tensor {tensor} reaches to byte {end} of a file of {file_bytes}; download it again")]
    OutOfFile {
        /// The tensor.
        tensor: String,
        /// Its end.
        end: u64,
        /// The size of the file.
        file_bytes: u64,
    },
    /// The tensors together are larger than the file.
    #[error("its tensors overlap")]
    Overlap,
}

/// A metadata value. Integers are widened; arrays of arrays are refused.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any integer.
    Integer(i128),
    /// Either floating-point type.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A string.
    Text(String),
    /// An array of integers or truth values.
    Integers(Vec<i64>),
    /// An array of floating-point numbers.
    Floats(Vec<f32>),
    /// An array of strings.
    Texts(Vec<String>),
}

/// Where a tensor lies and how it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorEntry {
    /// Its dimensions, the slowest first.
    pub dimensions: Vec<usize>,
    /// Its number format.
    pub format: GgmlDType,
    /// Its begin, in bytes after [`Header::data_offset`].
    pub offset: u64,
    /// Its size in bytes.
    pub bytes: u64,
}

impl TensorEntry {
    /// The number of its elements. Cannot overflow: reading checked it.
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.dimensions.iter().map(|&dimension| dimension as u64).product()
    }
}

/// A header that passed every check.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// The metadata by key.
    pub metadata: BTreeMap<String, Value>,
    /// The tensors by name.
    pub tensors: BTreeMap<String, TensorEntry>,
    /// Where the tensors' data begins, in bytes from the begin of the file.
    pub data_offset: u64,
}

impl Header {
    /// Reads a header from the begin of a file that has `file_bytes` bytes.
    ///
    /// # Errors
    /// See [`HeaderError`].
    pub fn read(source: impl Read, file_bytes: u64) -> Result<Self, HeaderError> {
        let end = file_bytes.min(HEADER_BYTES_MAX);
        let mut reader = Reader::new(source, end);
        if reader.array::<4>()? != *b"GGUF" {
            return Err(HeaderError::NotGguf);
        }
        let version = reader.u32()?;
        if !(2..=3).contains(&version) {
            return Err(HeaderError::Version(version));
        }
        let tensor_count = bounded("the number of tensors", reader.u64()?, TENSORS_MAX)?;
        let entry_count = bounded("the number of metadata entries", reader.u64()?, ENTRIES_MAX)?;

        let mut metadata = BTreeMap::new();
        for _ in 0..entry_count {
            let key = reader.name()?;
            let value = reader.value(&key)?;
            if metadata.insert(key.clone(), value).is_some() {
                return Err(HeaderError::Repeated(format!("metadata {key}")));
            }
        }
        let alignment = alignment(&metadata)?;
        let mut tensors = BTreeMap::new();
        for _ in 0..tensor_count {
            let name = reader.name()?;
            let entry = reader.tensor(&name)?;
            if tensors.insert(name.clone(), entry).is_some() {
                return Err(HeaderError::Repeated(format!("tensor {name}")));
            }
        }
        // Cannot overflow: the position is at most HEADER_BYTES_MAX.
        let data_offset = reader.position().next_multiple_of(alignment);
        check_places(&tensors, data_offset, file_bytes)?;
        Ok(Self { metadata, tensors, data_offset })
    }
}

fn alignment(metadata: &BTreeMap<String, Value>) -> Result<u64, HeaderError> {
    let stated = match metadata.get("general.alignment") {
        Some(Value::Integer(stated)) => u64::try_from(*stated).unwrap_or(u64::MAX),
        _ => 32,
    };
    if stated.is_power_of_two() && stated <= ALIGNMENT_MAX {
        Ok(stated)
    } else {
        Err(HeaderError::Alignment(stated))
    }
}

/// Every tensor lies in the file, and together they are no larger than it: otherwise many entries
/// for one place would make a small file fill the memory.
fn check_places(
    tensors: &BTreeMap<String, TensorEntry>,
    data_offset: u64,
    file_bytes: u64,
) -> Result<(), HeaderError> {
    let mut sum = 0_u64;
    for (name, entry) in tensors {
        let end = data_offset.saturating_add(entry.offset).saturating_add(entry.bytes);
        if end > file_bytes {
            return Err(HeaderError::OutOfFile { tensor: name.clone(), end, file_bytes });
        }
        sum = sum.saturating_add(entry.bytes);
    }
    if sum > file_bytes { Err(HeaderError::Overlap) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A header under construction.
    struct Bytes(Vec<u8>);

    impl Bytes {
        fn header(tensors: u64, entries: u64) -> Self {
            Self(b"GGUF".to_vec()).u32(3).u64(tensors).u64(entries)
        }

        fn u32(mut self, value: u32) -> Self {
            self.0.extend(value.to_le_bytes());
            self
        }

        fn u64(mut self, value: u64) -> Self {
            self.0.extend(value.to_le_bytes());
            self
        }

        fn text(mut self, text: &str) -> Self {
            self = self.u64(text.len() as u64);
            self.0.extend(text.as_bytes());
            self
        }

        fn tensor(self, name: &str, dimensions: &[u64], code: u32, offset: u64) -> Self {
            let start = self.text(name).u32(dimensions.len() as u32);
            dimensions.iter().fold(start, |bytes, &d| bytes.u64(d)).u32(code).u64(offset)
        }

        fn zeros(mut self, count: usize) -> Self {
            self.0.extend(vec![0; count]);
            self
        }

        fn read(&self) -> Result<Header, HeaderError> {
            Header::read(self.0.as_slice(), self.0.len() as u64)
        }
    }

    fn sample() -> Bytes {
        Bytes::header(1, 3)
            .text("general.architecture")
            .u32(8)
            .text("llama")
            .text("tokens")
            .u32(9)
            .u32(8)
            .u64(2)
            .text("a")
            .text("\u{e9}")
            .text("general.alignment")
            .u32(4)
            .u32(32)
            .tensor("w", &[32, 2], 0, 0)
            .zeros(64 + 256)
    }

    #[test]
    fn a_header_is_read() {
        let header = sample().read().unwrap();
        assert_eq!(header.metadata["general.architecture"], Value::Text("llama".into()));
        assert_eq!(header.metadata["tokens"], Value::Texts(vec!["a".into(), "\u{e9}".into()]));
        let w = &header.tensors["w"];
        assert_eq!((w.dimensions.as_slice(), w.bytes, w.elements()), (&[2, 32][..], 256, 64));
        assert_eq!(header.data_offset % 32, 0);
    }

    #[test]
    fn something_else_is_not_gguf() {
        assert!(matches!(Bytes(b"PK\x03\x04 zip".to_vec()).read(), Err(HeaderError::NotGguf)));
        let old = Bytes(b"GGUF".to_vec()).u32(1).zeros(64);
        assert!(matches!(old.read(), Err(HeaderError::Version(1))));
        let big_endian = Bytes(b"GGUF".to_vec()).u32(3_u32.swap_bytes()).zeros(64);
        assert!(matches!(big_endian.read(), Err(HeaderError::Version(_))));
    }

    #[test]
    fn every_shorter_file_is_refused() {
        let whole = sample();
        let needed = whole.read().unwrap().data_offset as usize + 256;
        let whole = whole.0;
        for length in 0..needed {
            assert!(Bytes(whole[..length].to_vec()).read().is_err(), "{length} bytes");
        }
    }

    #[test]
    fn absurd_counts_are_refused_before_anything_is_allocated() {
        for (tensors, entries) in [(u64::MAX, 0), (0, u64::MAX), (1 << 40, 1 << 40)] {
            let error = Bytes::header(tensors, entries).zeros(64).read().unwrap_err();
            assert!(matches!(error, HeaderError::TooMuch { .. }), "{error}");
        }
        let text = Bytes::header(0, 1).u64(u64::MAX).zeros(64).read();
        assert!(matches!(text, Err(HeaderError::Truncated { .. })));
        let array = Bytes::header(0, 1).text("a").u32(9).u32(8).u64(u64::MAX).zeros(64).read();
        assert!(matches!(array, Err(HeaderError::TooMuch { .. })));
        let lie = Bytes::header(0, 1).text("a").u32(9).u32(8).u64(1 << 20).zeros(64).read();
        assert!(matches!(lie, Err(HeaderError::Truncated { .. })));
    }

    #[test]
    fn arrays_of_arrays_are_refused() {
        let nested = Bytes::header(0, 1).text("a").u32(9).u32(9).u64(1).zeros(64).read();
        assert!(matches!(nested, Err(HeaderError::ValueType { code: 9, .. })));
    }

    #[test]
    fn an_alignment_of_zero_is_refused() {
        for alignment in [0, 3, 1 << 20] {
            let entry = Bytes::header(0, 1).text("general.alignment").u32(4).u32(alignment);
            assert!(matches!(entry.zeros(64).read(), Err(HeaderError::Alignment(_))));
        }
    }

    #[test]
    fn tensors_with_impossible_dimensions_are_refused() {
        for dimensions in [&[][..], &[0, 4], &[1 << 62, 1 << 62], &[u64::MAX, 2], &[33, 2]] {
            let tensor = Bytes::header(1, 0).tensor("w", dimensions, 8, 0).zeros(512);
            let error = tensor.read().unwrap_err();
            assert!(matches!(error, HeaderError::Dimensions { .. }), "{dimensions:?}: {error}");
        }
    }

    #[test]
    fn tensors_outside_the_file_are_refused() {
        for offset in [1 << 10, u64::MAX - 8] {
            let tensor = Bytes::header(1, 0).tensor("w", &[32], 0, offset).zeros(512);
            assert!(matches!(tensor.read(), Err(HeaderError::OutOfFile { .. })));
        }
    }

    #[test]
    fn many_tensors_in_one_place_are_refused() {
        let bytes = (0..9)
            .fold(Bytes::header(9, 0), |bytes, n| bytes.tensor(&format!("w{n}"), &[32, 16], 0, 0));
        assert!(matches!(bytes.zeros(2200).read(), Err(HeaderError::Overlap)));
    }

    #[test]
    fn a_repeated_name_is_refused() {
        let entries = Bytes::header(0, 2).text("a").u32(4).u32(1).text("a").u32(4).u32(2);
        assert!(matches!(entries.zeros(64).read(), Err(HeaderError::Repeated(_))));
    }

    #[test]
    fn an_unknown_number_format_is_named() {
        let error = Bytes::header(1, 0).tensor("w", &[256], 23, 0).zeros(999).read().unwrap_err();
        assert!(error.to_string().contains("tensor w has number format 23"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(
            at in 8usize..300,
            patch in prop::collection::vec(any::<u8>(), 1..12),
            tail in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let mut bytes = sample().0;
            let at = at.min(bytes.len());
            let end = bytes.len().min(at + patch.len());
            bytes.splice(at..end, patch);
            bytes.extend(tail);
            let _ = Bytes(bytes).read();
        }
    }
}
