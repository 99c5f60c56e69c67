//! Reads a network's weights from a GGUF file and checks that they fit together.

use std::io::{Read, Seek};
use std::sync::Arc;

use candle_core::quantized::QTensor;
use candle_core::quantized::gguf_file::TensorInfo;
use candle_core::{Device, Tensor};

use crate::adapters::edge::gguf::Header;
use crate::adapters::edge::metadata::{Metadata, MetadataError, required};
use crate::adapters::edge::network::{Block, Network, Pairing, Shape};
use crate::adapters::edge::projection::Projection;

/// The architectures that this engine computes, as `general.architecture` names them.
pub const ARCHITECTURES: [&str; 3] = ["llama", "qwen2", "qwen3"];
/// The most layers. The largest published dense models have 126.
const BLOCKS_MAX: usize = 1024;

/// Why weights are unusable.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// An entry is missing or of the wrong type.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// An architecture that is not known.
    #[error("the architecture {0} is not supported; supported are {names}", names = ARCHITECTURES.join(", "))]
    Architecture(String),
    /// Something of the architecture that is not known.
    #[error("{0} is not supported")]
    Feature(String),
    /// A number that makes no sense.
    #[error("metadata {key} is {value}, which is impossible here")]
    Impossible {
        /// The entry.
        key: String,
        /// Its value.
        value: String,
    },
    /// A tensor is missing.
    #[error("tensor {0} is missing")]
    Missing(String),
    /// A tensor has the wrong dimensions.
    #[error("tensor {tensor} has dimensions {found:?} instead of {expected:?}")]
    Dimensions {
        /// The tensor.
        tensor: String,
        /// Its dimensions, the slowest first.
        found: Vec<usize>,
        /// What they should be.
        expected: Vec<usize>,
    },
    /// A tensor that nothing reads; without it the answers would be wrong.
    #[error("tensor {0} has no place in this architecture")]
    Unused(String),
    /// Reading a tensor failed.
    #[error("tensor {tensor}: {error}")]
    Read {
        /// The tensor.
        tensor: String,
        /// What failed.
        error: candle_core::Error,
    },
}

/// Reads tensors by name, which [`check`](crate::adapters::edge::layout::check) has found in the header.
struct Source<'h, R> {
    header: &'h Header,
    reader: R,
}

/// Reads the network of this shape that `header` describes from the file that it came from.
///
/// # Errors
/// See [`WeightsError`].
pub(super) fn read_network(
    header: &Header,
    reader: impl Read + Seek,
    mut shape: Shape,
) -> Result<Network, WeightsError> {
    let mut source = Source { header, reader };
    if let Some(factors) = source.optional("rope_freqs.weight")? {
        for (turn, factor) in shape.turns.iter_mut().zip(factors.to_vec1::<f32>().map_err(engine)?)
        {
            *turn /= f64::from(factor);
        }
    }
    let embeddings = Arc::new(source.quantized("token_embd.weight")?);
    let output = match header.tensors.contains_key("output.weight") {
        true => source.quantized("output.weight")?.into(),
        // Tied: the output reads the same table backwards.
        false => Arc::clone(&embeddings),
    };
    let blocks = (0..shape.blocks).map(|index| source.block(index));
    Ok(Network {
        embeddings,
        blocks: blocks.collect::<Result<_, _>>()?,
        norm: source.plain("output_norm.weight")?,
        output: Projection::new(output, None).map_err(engine)?,
        shape,
    })
}

fn engine(error: candle_core::Error) -> WeightsError {
    WeightsError::Read { tensor: "output.weight".to_owned(), error }
}

/// The numbers that shape a network, as its metadata states them.
///
/// # Errors
/// When the architecture is not supported, or a number is missing or impossible.
pub(super) fn shape(metadata: Metadata<'_>, architecture: &str) -> Result<Shape, WeightsError> {
    if !ARCHITECTURES.contains(&architecture) {
        return Err(WeightsError::Architecture(architecture.to_owned()));
    }
    let key = |name: &str| format!("{architecture}.{name}");
    let optional = |name: &str| metadata.count(&key(name));
    let count = |name: &str| required(optional(name), &key(name));
    let impossible = |name: &str, value: &dyn ToString| WeightsError::Impossible {
        key: key(name),
        value: value.to_string(),
    };
    if optional("expert_count")?.is_some_and(|experts| experts > 0) {
        return Err(WeightsError::Feature("a mixture of experts".to_owned()));
    }
    let width = count("embedding_length")?;
    let heads = count("attention.head_count")?;
    let kv_heads = optional("attention.head_count_kv")?.unwrap_or(heads);
    if heads == 0 || width == 0 {
        return Err(impossible("attention.head_count", &heads));
    }
    if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
        return Err(impossible("attention.head_count_kv", &kv_heads));
    }
    let head_width = optional("attention.key_length")?.unwrap_or(width / heads);
    if head_width == 0 || !head_width.is_multiple_of(2) {
        return Err(impossible("attention.key_length", &head_width));
    }
    for name in ["attention.value_length", "rope.dimension_count"] {
        if let Some(other) = optional(name)?.filter(|other| *other != head_width) {
            return Err(impossible(name, &other));
        }
    }
    let blocks = count("block_count")?;
    if blocks == 0 || blocks > BLOCKS_MAX {
        return Err(impossible("block_count", &blocks));
    }
    let name = "attention.layer_norm_rms_epsilon";
    let epsilon = required(metadata.float(&key(name)), &key(name))?;
    if !(0.0..1.0).contains(&epsilon) {
        return Err(impossible(name, &epsilon));
    }
    let context = count("context_length")?;
    // Within the window a model with one computes the same as a model without.
    let window = optional("attention.sliding_window")?.filter(|window| *window > 0);
    let context = context.min(window.unwrap_or(usize::MAX));
    if context == 0 {
        return Err(impossible("context_length", &context));
    }
    Ok(Shape {
        width,
        feed_forward: count("feed_forward_length")?,
        blocks,
        heads,
        kv_heads,
        head_width,
        epsilon: epsilon as f32,
        turns: read_turns(metadata, architecture, head_width)?,
        pairing: if architecture == "llama" { Pairing::Neighbours } else { Pairing::Halves },
        context,
    })
}

/// The turn of each pair of components, from `rope.freq_base` and, if there is one, a linear
/// scaling of positions.
fn read_turns(
    metadata: Metadata<'_>,
    architecture: &str,
    head_width: usize,
) -> Result<Vec<f64>, WeightsError> {
    let key = |name: &str| format!("{architecture}.rope.{name}");
    let positive = |name: &str, default: f64| match metadata.float(&key(name))? {
        Some(value) if value <= 0.0 => {
            Err(WeightsError::Impossible { key: key(name), value: value.to_string() })
        }
        value => Ok(value.unwrap_or(default)),
    };
    let factor = match metadata.text(&key("scaling.type"))? {
        None | Some("none") => 1.0,
        Some("linear") => positive("scaling.factor", 1.0)?,
        Some(other) => {
            return Err(WeightsError::Feature(format!("rope scaling of type {other}")));
        }
    };
    let base = positive("freq_base", 10_000.0)?;
    let turn = |pair: usize| base.powf(-((2 * pair) as f64) / head_width as f64) / factor;
    Ok((0..head_width / 2).map(turn).collect())
}

impl<R: Read + Seek> Source<'_, R> {
    fn quantized(&mut self, name: &str) -> Result<QTensor, WeightsError> {
        let entry = self.header.tensors.get(name);
        let entry = entry.ok_or_else(|| WeightsError::Missing(name.to_owned()))?;
        let info = TensorInfo {
            ggml_dtype: entry.format,
            shape: entry.dimensions.as_slice().into(),
            offset: entry.offset,
        };
        info.read(&mut self.reader, self.header.data_offset, &Device::Cpu)
            .map_err(|error| WeightsError::Read { tensor: name.to_owned(), error })
    }

    /// A tensor as f32.
    fn plain(&mut self, name: &str) -> Result<Tensor, WeightsError> {
        self.quantized(name)?
            .dequantize(&Device::Cpu)
            .map_err(|error| WeightsError::Read { tensor: name.to_owned(), error })
    }

    fn optional(&mut self, name: &str) -> Result<Option<Tensor>, WeightsError> {
        match self.header.tensors.contains_key(name) {
            true => self.plain(name).map(Some),
            false => Ok(None),
        }
    }

    fn projection(&mut self, name: &str) -> Result<Projection, WeightsError> {
        let tensor = format!("{name}.weight");
        let weight = Arc::new(self.quantized(&tensor)?);
        let bias = self.optional(&format!("{name}.bias"))?;
        Projection::new(weight, bias).map_err(|error| WeightsError::Read { tensor, error })
    }

    fn block(&mut self, index: usize) -> Result<Block, WeightsError> {
        let name = |part: &str| format!("blk.{index}.{part}");
        Ok(Block {
            attention_norm: self.plain(&name("attn_norm.weight"))?,
            query: self.projection(&name("attn_q"))?,
            key: self.projection(&name("attn_k"))?,
            value: self.projection(&name("attn_v"))?,
            output: self.projection(&name("attn_output"))?,
            query_norm: self.optional(&name("attn_q_norm.weight"))?,
            key_norm: self.optional(&name("attn_k_norm.weight"))?,
            feed_forward_norm: self.plain(&name("ffn_norm.weight"))?,
            gate: self.projection(&name("ffn_gate"))?,
            up: self.projection(&name("ffn_up"))?,
            down: self.projection(&name("ffn_down"))?,
        })
    }
}
