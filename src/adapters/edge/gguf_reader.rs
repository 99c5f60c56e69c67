//! Reads the numbers, strings and arrays of a GGUF header, each bounded before it is read.

use std::io::Read;

use candle_core::quantized::GgmlDType;

use crate::adapters::edge::gguf::{HeaderError, TensorEntry, Value};

/// The most array elements in all metadata. A vocabulary of 256 Ki tokens comes with 1.3 million.
const ELEMENTS_MAX: u64 = 8 << 20;
/// The longest name of an entry or tensor, in bytes. The format allows 65,535 and 64.
const NAME_BYTES_MAX: u64 = 1024;
/// The most dimensions of a tensor, as in ggml.
const DIMENSIONS_MAX: u32 = 4;

/// Reads numbers and strings and knows how far it may read.
pub(super) struct Reader<R> {
    source: R,
    at: u64,
    end: u64,
    /// Array elements read so far.
    elements: u64,
}

impl<R: Read> Reader<R> {
    /// Reads from `source`, which has or may be used for `end` bytes.
    pub(super) fn new(source: R, end: u64) -> Self {
        Self { source, at: 0, end, elements: 0 }
    }

    /// The number of bytes read so far.
    pub(super) fn position(&self) -> u64 {
        self.at
    }

    /// Claims bytes that are read next; the only place that decides whether they exist.
    fn claim(&mut self, bytes: u64) -> Result<(), HeaderError> {
        if bytes > self.end - self.at {
            return Err(HeaderError::Truncated { at: self.end });
        }
        self.at += bytes;
        Ok(())
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], HeaderError> {
        self.claim(N as u64)?;
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, HeaderError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, HeaderError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A string. Bytes that are no UTF-8 become U+FFFD, as some vocabularies contain them.
    fn text(&mut self) -> Result<String, HeaderError> {
        let bytes = self.u64()?;
        self.claim(bytes)?;
        let mut text = Vec::new();
        // `claim` bounded it; `take` keeps a source that is longer than stated from being read.
        self.source.by_ref().take(bytes).read_to_end(&mut text)?;
        if text.len() as u64 != bytes {
            return Err(HeaderError::Truncated { at: self.at });
        }
        Ok(String::from_utf8(text)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    pub(super) fn name(&mut self) -> Result<String, HeaderError> {
        let name = self.text()?;
        bounded("the length of a name", name.len() as u64, NAME_BYTES_MAX)?;
        Ok(name)
    }

    pub(super) fn value(&mut self, key: &str) -> Result<Value, HeaderError> {
        let code = self.u32()?;
        Ok(match code {
            6 => Value::Float(f64::from(f32::from_bits(self.u32()?))),
            7 => Value::Bool(self.array::<1>()?[0] != 0),
            8 => Value::Text(self.text()?),
            9 => self.values(key)?,
            12 => Value::Float(f64::from_bits(self.u64()?)),
            _ => Value::Integer(self.integer(key, code)?),
        })
    }

    fn integer(&mut self, key: &str, code: u32) -> Result<i128, HeaderError> {
        Ok(match code {
            0 | 7 => u8::from_le_bytes(self.array()?).into(),
            1 => i8::from_le_bytes(self.array()?).into(),
            2 => u16::from_le_bytes(self.array()?).into(),
            3 => i16::from_le_bytes(self.array()?).into(),
            4 => self.u32()?.into(),
            5 => i32::from_le_bytes(self.array()?).into(),
            10 => self.u64()?.into(),
            11 => i64::from_le_bytes(self.array()?).into(),
            _ => return Err(HeaderError::ValueType { key: key.to_owned(), code }),
        })
    }

    /// Grows its vectors as it reads, so a count that lies costs nothing.
    fn values(&mut self, key: &str) -> Result<Value, HeaderError> {
        let code = self.u32()?;
        let count = self.u64()?;
        self.elements = self.elements.saturating_add(count);
        bounded("the number of array elements", self.elements, ELEMENTS_MAX)?;
        Ok(match code {
            6 => Value::Floats(
                (0..count).map(|_| self.u32().map(f32::from_bits)).collect::<Result<_, _>>()?,
            ),
            8 => Value::Texts((0..count).map(|_| self.text()).collect::<Result<_, _>>()?),
            12 => {
                let wide = (0..count).map(|_| self.u64().map(f64::from_bits));
                Value::Floats(wide.map(|f| f.map(|f| f as f32)).collect::<Result<_, _>>()?)
            }
            _ => {
                let wide = (0..count).map(|_| self.integer(key, code));
                let narrow = |value| i64::try_from(value).unwrap_or(i64::MAX);
                Value::Integers(wide.map(|i| i.map(narrow)).collect::<Result<_, _>>()?)
            }
        })
    }

    pub(super) fn tensor(&mut self, name: &str) -> Result<TensorEntry, HeaderError> {
        let count = self.u32()?;
        bounded("the number of dimensions", count.into(), DIMENSIONS_MAX.into())?;
        let stored = (0..count).map(|_| self.u64()).collect::<Result<Vec<_>, _>>()?;
        let code = self.u32()?;
        let offset = self.u64()?;
        let format = format(code)
            .ok_or_else(|| HeaderError::TensorType { tensor: name.to_owned(), code })?;
        let bytes = tensor_bytes(&stored, format);
        let dimensions = stored.iter().rev().map(|&dimension| usize::try_from(dimension).ok());
        match (bytes, dimensions.collect()) {
            (Some(bytes), Some(dimensions)) => {
                Ok(TensorEntry { dimensions, format, offset, bytes })
            }
            _ => Err(HeaderError::Dimensions { tensor: name.to_owned(), dimensions: stored }),
        }
    }
}

/// The size of a tensor, or `None` if its dimensions, the fastest first, make no sense.
fn tensor_bytes(dimensions: &[u64], format: GgmlDType) -> Option<u64> {
    let block = format.block_size() as u64;
    if !dimensions.first()?.is_multiple_of(block) {
        return None;
    }
    let elements = dimensions.iter().try_fold(1_u64, |n, &dimension| n.checked_mul(dimension))?;
    let bytes = (elements / block).checked_mul(format.type_size() as u64)?;
    (bytes > 0 && usize::try_from(elements).is_ok()).then_some(bytes)
}

/// The number formats that candle multiplies with on a CPU.
fn format(code: u32) -> Option<GgmlDType> {
    Some(match code {
        0 => GgmlDType::F32,
        1 => GgmlDType::F16,
        2 => GgmlDType::Q4_0,
        3 => GgmlDType::Q4_1,
        6 => GgmlDType::Q5_0,
        7 => GgmlDType::Q5_1,
        8 => GgmlDType::Q8_0,
        10 => GgmlDType::Q2K,
        11 => GgmlDType::Q3K,
        12 => GgmlDType::Q4K,
        13 => GgmlDType::Q5K,
        14 => GgmlDType::Q6K,
        30 => GgmlDType::BF16,
        _ => return None,
    })
}

/// `value`, if it is at most `max`.
pub(super) fn bounded(what: &'static str, value: u64, max: u64) -> Result<u64, HeaderError> {
    if value > max { Err(HeaderError::TooMuch { what, value, max }) } else { Ok(value) }
}
