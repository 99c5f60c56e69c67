//! The network of BERT (Devlin and others, 2019): a stack of layers, each of which lets every piece look
//! at every other one and then works on each alone.

use candle_core::{DType, Device, Module, Result, Tensor};
use candle_nn::ops::softmax_last_dim;
use candle_nn::{Embedding, LayerNorm, Linear, VarBuilder, embedding, layer_norm, linear};

/// The numbers that shape a network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shape {
    /// Components of a piece's vector.
    pub(super) width: usize,
    /// Components of the vector inside a feed-forward layer.
    pub(super) feed_forward: usize,
    /// Added to the variance before its root is taken.
    pub(super) epsilon: f64,
    /// Pieces that a text may have.
    pub(super) positions: usize,
    /// Attention heads; divides `width`.
    pub(super) heads: usize,
    /// Layers.
    pub(super) layers: usize,
    /// Kinds of text; a single one is of the first.
    pub(super) kinds: usize,
    /// Pieces that are known.
    pub(super) pieces: usize,
}

/// A network's weights, which never change.
pub(super) struct Bert {
    heads: usize,
    pieces: Embedding,
    /// What is added to each position: of the position and of the kind.
    places: Tensor,
    norm: LayerNorm,
    layers: Vec<Layer>,
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attended: Linear,
    attention_norm: LayerNorm,
    up: Linear,
    down: Linear,
    norm: LayerNorm,
}

impl Bert {
    /// Takes the weights out of a safetensors file. Whatever is missing or has another shape is an error.
    pub(super) fn read(file: Vec<u8>, shape: &Shape) -> Result<Self> {
        let weights = VarBuilder::from_buffered_safetensors(file, DType::F32, &Device::Cpu)?;
        let Shape { width, epsilon, .. } = *shape;
        let own = weights.pp("embeddings");
        let positions = own.get((shape.positions, width), "position_embeddings.weight")?;
        let kinds = own.get((shape.kinds, width), "token_type_embeddings.weight")?;
        let layer = |number: usize| Layer::read(&weights.pp("encoder.layer").pp(number), shape);
        Ok(Self {
            heads: shape.heads,
            pieces: embedding(shape.pieces, width, own.pp("word_embeddings"))?,
            places: positions.broadcast_add(&kinds.narrow(0, 0, 1)?)?,
            norm: layer_norm(width, epsilon, own.pp("LayerNorm"))?,
            layers: (0..shape.layers).map(layer).collect::<Result<_>>()?,
        })
    }

    /// The mean of what the network says of these pieces, of which there is one at least.
    pub(super) fn mean(&self, pieces: &[u32]) -> Result<Vec<f32>> {
        let count = pieces.len();
        let pieces = Tensor::new(pieces, &Device::Cpu)?;
        let x = self.pieces.forward(&pieces)?.add(&self.places.narrow(0, 0, count)?)?;
        let mut x = self.norm.forward(&x)?;
        for layer in &self.layers {
            x = layer.forward(&x, self.heads)?;
        }
        x.mean(0)?.to_vec1()
    }
}

impl Layer {
    fn read(weights: &VarBuilder<'_>, shape: &Shape) -> Result<Self> {
        let Shape { width, feed_forward, epsilon, .. } = *shape;
        let (attention, itself) = (weights.pp("attention"), weights.pp("attention.self"));
        Ok(Self {
            query: linear(width, width, itself.pp("query"))?,
            key: linear(width, width, itself.pp("key"))?,
            value: linear(width, width, itself.pp("value"))?,
            attended: linear(width, width, attention.pp("output.dense"))?,
            attention_norm: layer_norm(width, epsilon, attention.pp("output.LayerNorm"))?,
            up: linear(width, feed_forward, weights.pp("intermediate.dense"))?,
            down: linear(feed_forward, width, weights.pp("output.dense"))?,
            norm: layer_norm(width, epsilon, weights.pp("output.LayerNorm"))?,
        })
    }

    fn forward(&self, x: &Tensor, heads: usize) -> Result<Tensor> {
        let attended = self.attended.forward(&self.attend(x, heads)?)?;
        let x = self.attention_norm.forward(&x.add(&attended)?)?;
        let worked = self.down.forward(&self.up.forward(&x)?.gelu_erf()?)?;
        self.norm.forward(&x.add(&worked)?)
    }

    fn attend(&self, x: &Tensor, heads: usize) -> Result<Tensor> {
        let (count, width) = x.dims2()?;
        let head_width = width / heads;
        // Heads first.
        let split = |of: &Linear| {
            of.forward(x)?.reshape((count, heads, head_width))?.transpose(0, 1)?.contiguous()
        };
        let (query, key, value) = (split(&self.query)?, split(&self.key)?, split(&self.value)?);
        let scores = query.matmul(&key.transpose(1, 2)?.contiguous()?)?;
        let scores = (scores / (head_width as f64).sqrt())?;
        let looked = softmax_last_dim(&scores)?.matmul(&value)?;
        looked.transpose(0, 1)?.contiguous()?.reshape((count, width))
    }
}
