//! A matrix that tokens' vectors are multiplied with, and which of two ways is the faster one.
//!
//! candle multiplies quantized matrices as they are, with kernels for several tokens at once for some
//! formats and widths only. Without those each token costs as much as the first, and from a few dozen
//! tokens on it is faster to spell the matrix out and to multiply that.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{Device, Module, Tensor};

use crate::adapters::edge::threads::threads;

/// Tokens from which on the matrix is spelled out. Twice as fast at 64, three times at 256.
const PLAIN_TOKENS_MIN: usize = 32;

/// Numbers that are spelled out at a time: 16 MiB.
const PLAIN_NUMBERS_MAX: usize = 4 << 20;

/// Numbers for which it is worth to start threads: a tenth of a millisecond of work.
const THREAD_NUMBERS_MIN: usize = 1 << 18;

/// What candle's kernels for several tokens take together in width, and how many rows of the matrix.
const PACKED: (usize, usize) = (256, 16);

/// A matrix and what is added after it.
#[derive(Debug)]
pub(super) struct Projection {
    weight: QMatMul,
    /// The quantized matrix, if candle multiplies it token by token.
    slow: Option<Arc<QTensor>>,
    bias: Option<Tensor>,
}

impl Projection {
    pub(super) fn new(weight: Arc<QTensor>, bias: Option<Tensor>) -> candle_core::Result<Self> {
        let slow = (!is_fast(&weight)?).then(|| Arc::clone(&weight));
        Ok(Self { weight: QMatMul::from_arc(weight)?, slow, bias })
    }

    /// `x` of shape (tokens, from), multiplied: (tokens, to).
    pub(super) fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let y = match &self.slow {
            Some(weight) if x.dim(0)? >= PLAIN_TOKENS_MIN => multiply_plain(weight, x)?,
            _ => self.weight.forward(x)?,
        };
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}

/// Whether candle 0.11 multiplies it for several tokens at once, on this processor.
fn is_fast(weight: &QTensor) -> candle_core::Result<bool> {
    let (rows, width) = weight.shape().dims2()?;
    let fits = width.is_multiple_of(PACKED.0) && rows.is_multiple_of(PACKED.1);
    Ok(match weight.dtype() {
        GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16 => true,
        GgmlDType::Q4K | GgmlDType::Q6K => fits,
        GgmlDType::Q8_0 => fits && has_dot_products(),
        _ => false,
    })
}

#[cfg(target_arch = "x86_64")]
fn has_dot_products() -> bool {
    is_x86_feature_detected!("avx512vnni") || is_x86_feature_detected!("avxvnni")
}

/// Elsewhere its kernels have not been measured.
#[cfg(not(target_arch = "x86_64"))]
fn has_dot_products() -> bool {
    true
}

/// `x` multiplied with the numbers of `weight`, some rows of it after the other.
fn multiply_plain(weight: &QTensor, x: &Tensor) -> candle_core::Result<Tensor> {
    let (rows, width) = weight.shape().dims2()?;
    let step = (PLAIN_NUMBERS_MAX / width.max(1)).max(1);
    let mut parts = Vec::with_capacity(rows.div_ceil(step));
    for first in (0..rows).step_by(step) {
        for part in plain(weight, first..rows.min(first + step))? {
            parts.push(x.matmul(&part.t()?)?);
        }
    }
    Tensor::cat(&parts, 1)
}

/// These rows of `weight` spelled out, each thread a part of them.
fn plain(weight: &QTensor, rows: Range<usize>) -> candle_core::Result<Vec<Tensor>> {
    let (all, width) = weight.shape().dims2()?;
    let bytes = weight.data()?;
    let row_bytes = bytes.len() / all.max(1);
    let spell = |rows: Range<usize>| {
        let part = Cow::Borrowed(&bytes[rows.start * row_bytes..rows.end * row_bytes]);
        let part = QStorage::from_data(part, &Device::Cpu, weight.dtype())?;
        QTensor::new(part, (rows.len(), width))?.dequantize(&Device::Cpu)
    };
    if rows.len() * width < THREAD_NUMBERS_MIN {
        return Ok(vec![spell(rows)?]);
    }
    let step = rows.len().div_ceil(threads().max(1));
    let parts = rows.clone().step_by(step).map(|first| first..rows.end.min(first + step));
    std::thread::scope(|scope| {
        let running: Vec<_> = parts.map(|part| scope.spawn(|| spell(part))).collect();
        let ended = running.into_iter().map(|thread| thread.join());
        ended.map(|part| part.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}
