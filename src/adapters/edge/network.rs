//! The transformer: weights, and the pass of tokens through them.
//!
//! Decoder-only with rotary positions (Su et al., 2021), grouped-query attention (Ainslie et al.,
//! 2023), RMS norm and SwiGLU, as the architectures llama, qwen2 and qwen3 share it. They differ
//! in biases, in norms of queries and keys, and in which components a rotation pairs.

use std::sync::Arc;

use candle_core::quantized::QTensor;
use candle_core::{DType, Device, Tensor};
use candle_nn::ops::{rms_norm, silu, softmax_last_dim};
use candle_nn::rotary_emb::{rope, rope_i};

use crate::adapters::edge::projection::Projection;
use crate::adapters::edge::session::PassError;

/// Which components of a head a rotation turns together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// Neighbours, as llama's weights are stored in GGUF.
    Neighbours,
    /// One from each half.
    Halves,
}

/// The numbers that shape a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Components of a token's vector.
    pub width: usize,
    /// Components of the vector inside a feed-forward layer.
    pub feed_forward: usize,
    /// Layers.
    pub blocks: usize,
    /// Attention heads.
    pub heads: usize,
    /// Heads that have keys and values of their own; divides `heads`.
    pub kv_heads: usize,
    /// Components of a head; even.
    pub head_width: usize,
    /// Added to the mean square before its root is taken.
    pub epsilon: f32,
    /// Radians that each pair of components turns by from one position to the next.
    pub turns: Vec<f64>,
    /// What a rotation turns together.
    pub pairing: Pairing,
    /// Tokens that the model was made to see.
    pub context: usize,
}

/// One layer's weights.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) attention_norm: Tensor,
    pub(super) query: Projection,
    pub(super) key: Projection,
    pub(super) value: Projection,
    pub(super) output: Projection,
    pub(super) query_norm: Option<Tensor>,
    pub(super) key_norm: Option<Tensor>,
    pub(super) feed_forward_norm: Tensor,
    pub(super) gate: Projection,
    pub(super) up: Projection,
    pub(super) down: Projection,
}

/// A model's weights, which never change and are shared by every session.
#[derive(Debug)]
pub struct Network {
    pub(super) shape: Shape,
    pub(super) embeddings: Arc<QTensor>,
    pub(super) blocks: Vec<Block>,
    pub(super) norm: Tensor,
    pub(super) output: Projection,
}

/// The keys and values of the tokens passed so far, and how to go on from there.
#[derive(Debug)]
pub(super) struct Run<'m> {
    network: &'m Network,
    /// One of shape (kv_heads, capacity, head_width) for each block.
    keys: Vec<Tensor>,
    values: Vec<Tensor>,
    cos: Tensor,
    sin: Tensor,
    /// Tokens passed so far.
    pub(super) length: usize,
}

impl<'m> Run<'m> {
    /// With room for `capacity` tokens.
    pub(super) fn new(network: &'m Network, capacity: usize) -> Result<Self, PassError> {
        let shape = &network.shape;
        let memory = || {
            let dimensions = (shape.kv_heads, capacity, shape.head_width);
            (0..shape.blocks)
                .map(|_| Tensor::zeros(dimensions, DType::F32, &Device::Cpu))
                .collect::<candle_core::Result<Vec<_>>>()
        };
        let (keys, values) = (memory()?, memory()?);
        // In f64, because f32 loses the position's fraction of a turn far into the context.
        let angle = |i: usize| (i / shape.turns.len()) as f64 * shape.turns[i % shape.turns.len()];
        let angles = || (0..capacity * shape.turns.len()).map(angle);
        let table = |of: fn(f64) -> f64| {
            let values: Vec<f32> = angles().map(|angle| of(angle) as f32).collect();
            Tensor::from_vec(values, (capacity, shape.turns.len()), &Device::Cpu)
        };
        let (cos, sin) = (table(f64::cos)?, table(f64::sin)?);
        Ok(Self { network, keys, values, cos, sin, length: 0 })
    }

    /// See [`Session::pass`](crate::adapters::edge::session::Session::pass); there is room.
    pub(super) fn pass(
        &mut self,
        tokens: &[u32],
        chunk: usize,
        should_stop: &dyn Fn() -> bool,
    ) -> Result<Vec<f32>, PassError> {
        let mut last = None;
        for part in tokens.chunks(chunk.max(1)) {
            last = Some(self.pass_chunk(part, should_stop)?);
        }
        let network = self.network;
        let last = last.ok_or(PassError::Empty)?;
        let x = last.narrow(0, last.dim(0)? - 1, 1)?.contiguous()?;
        let x = rms_norm(&x, &network.norm, network.shape.epsilon)?;
        Ok(network.output.forward(&x)?.flatten_all()?.to_vec1()?)
    }

    /// The last layer's output for each of `tokens`.
    fn pass_chunk(
        &mut self,
        tokens: &[u32],
        should_stop: &dyn Fn() -> bool,
    ) -> Result<Tensor, PassError> {
        let network = self.network;
        let ids = Tensor::new(tokens, &Device::Cpu)?;
        let mut x = network.embeddings.embedding(&ids)?;
        let mask = self.mask(tokens.len())?;
        for (index, block) in network.blocks.iter().enumerate() {
            if should_stop() {
                return Err(PassError::Stopped);
            }
            let y = rms_norm(&x, &block.attention_norm, network.shape.epsilon)?;
            x = (x + self.attention(index, block, &y, mask.as_ref())?)?;
            let y = rms_norm(&x, &block.feed_forward_norm, network.shape.epsilon)?;
            let y = (silu(&block.gate.forward(&y)?)? * block.up.forward(&y)?)?;
            x = (x + block.down.forward(&y)?)?;
        }
        self.length += tokens.len();
        Ok(x)
    }

    /// Hides from each new token those after it: (new, all), 0 or minus infinity. One new token
    /// sees everything and needs none.
    fn mask(&self, new: usize) -> candle_core::Result<Option<Tensor>> {
        if new == 1 {
            return Ok(None);
        }
        let all = self.length + new;
        let seen =
            |i: usize| if i % all <= self.length + i / all { 0.0 } else { f32::NEG_INFINITY };
        Tensor::from_vec((0..new * all).map(seen).collect(), (new, all), &Device::Cpu).map(Some)
    }

    fn attention(
        &mut self,
        index: usize,
        block: &Block,
        x: &Tensor,
        mask: Option<&Tensor>,
    ) -> candle_core::Result<Tensor> {
        let Shape { heads, kv_heads, head_width, .. } = self.network.shape;
        let new = x.dim(0)?;
        let query = self.placed(block.query.forward(x)?, heads, block.query_norm.as_ref())?;
        let key = self.placed(block.key.forward(x)?, kv_heads, block.key_norm.as_ref())?;
        let value = by_head(&block.value.forward(x)?, kv_heads)?;
        self.keys[index].slice_set(&key, 1, self.length)?;
        self.values[index].slice_set(&value, 1, self.length)?;

        let all = self.length + new;
        let keys = self.keys[index].narrow(1, 0, all)?;
        let values = self.values[index].narrow(1, 0, all)?;
        // The heads that share a key stand next to each other, so they become rows of one matrix
        // and the keys need not be repeated.
        let rows = heads / kv_heads * new;
        let query = (query * (1.0 / (head_width as f64).sqrt()))?;
        let query = query.reshape((kv_heads, rows, head_width))?;
        let mut scores = query.matmul(&keys.transpose(1, 2)?)?;
        if let Some(mask) = mask {
            scores = scores.reshape((heads, new, all))?.broadcast_add(mask)?;
            scores = scores.reshape((kv_heads, rows, all))?;
        }
        let mixed = softmax_last_dim(&scores)?.matmul(&values)?;
        let mixed = mixed.reshape((heads, new, head_width))?.transpose(0, 1)?;
        block.output.forward(&mixed.reshape((new, heads * head_width))?)
    }

    /// Cuts (new, heads * width) into (heads, new, width) and turns it to its positions.
    fn placed(
        &self,
        x: Tensor,
        heads: usize,
        norm: Option<&Tensor>,
    ) -> candle_core::Result<Tensor> {
        let shape = &self.network.shape;
        let mut x = by_head(&x, heads)?;
        if let Some(norm) = norm {
            x = rms_norm(&x, norm, shape.epsilon)?;
        }
        let new = x.dim(1)?;
        let (cos, sin) =
            (self.cos.narrow(0, self.length, new)?, self.sin.narrow(0, self.length, new)?);
        let turn = match shape.pairing {
            Pairing::Neighbours => rope_i,
            Pairing::Halves => rope,
        };
        turn(&x.unsqueeze(0)?, &cos, &sin)?.squeeze(0)
    }
}

fn by_head(x: &Tensor, heads: usize) -> candle_core::Result<Tensor> {
    let (new, width) = x.dims2()?;
    x.reshape((new, heads, width / heads))?.transpose(0, 1)?.contiguous()
}
