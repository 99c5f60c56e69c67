//! Which tensors a network has, and whether a file's header has these and no others.

use std::collections::BTreeSet;

use crate::adapters::edge::gguf::Header;
use crate::adapters::edge::metadata::{Metadata, required};
use crate::adapters::edge::network::Shape;
use crate::adapters::edge::weights::{WeightsError, shape};

/// A tensor that a network has a place for.
struct Place {
    name: String,
    /// The slowest first.
    dimensions: Vec<usize>,
    is_needed: bool,
}

/// The shape of the network that `header` describes, with a vocabulary of `tokens`. Whoever reads the
/// tensors then finds what that shape needs, in these dimensions.
///
/// # Errors
/// When the architecture is not supported, a number is missing or impossible, or a tensor is missing,
/// has other dimensions or has no place.
pub(super) fn check(header: &Header, tokens: usize) -> Result<Shape, WeightsError> {
    let metadata = Metadata(&header.metadata);
    let key = "general.architecture";
    let architecture = required(metadata.text(key), key)?;
    let shape = shape(metadata, architecture)?;
    let mut known = BTreeSet::new();
    let blocks = (0..shape.blocks).flat_map(|index| block(index, &shape, architecture));
    for place in whole(&shape, tokens).into_iter().chain(blocks) {
        match header.tensors.get(&place.name) {
            None if place.is_needed => return Err(WeightsError::Missing(place.name)),
            None => continue,
            Some(entry) if entry.dimensions != place.dimensions => {
                return Err(WeightsError::Dimensions {
                    tensor: place.name,
                    found: entry.dimensions.clone(),
                    expected: place.dimensions,
                });
            }
            Some(_) => known.insert(place.name),
        };
    }
    match header.tensors.keys().find(|name| !known.contains(*name)) {
        Some(unused) => Err(WeightsError::Unused(unused.clone())),
        None => Ok(shape),
    }
}

/// The tensors that are there once. Without an output matrix the embeddings are read backwards.
fn whole(shape: &Shape, tokens: usize) -> [Place; 4] {
    let table = vec![tokens, shape.width];
    let place = |name: &str, dimensions: Vec<usize>, is_needed| Place {
        name: name.to_owned(),
        dimensions,
        is_needed,
    };
    [
        place("rope_freqs.weight", vec![shape.turns.len()], false),
        place("token_embd.weight", table.clone(), true),
        place("output.weight", table, false),
        place("output_norm.weight", vec![shape.width], true),
    ]
}

/// The tensors of a layer. A bias has a place everywhere: some models of the llama architecture have
/// them.
fn block(index: usize, shape: &Shape, architecture: &str) -> Vec<Place> {
    let Shape { width, feed_forward, head_width, .. } = *shape;
    let all_heads = shape.heads * head_width;
    let kv_heads = shape.kv_heads * head_width;
    let place = |part: String, dimensions: Vec<usize>, is_needed: bool| Place {
        name: format!("blk.{index}.{part}"),
        dimensions,
        is_needed,
    };
    let mut places = vec![
        place("attn_norm.weight".to_owned(), vec![width], true),
        place("ffn_norm.weight".to_owned(), vec![width], true),
    ];
    let biased = architecture == "qwen2";
    for (part, to, from, is_biased) in [
        ("attn_q", all_heads, width, biased),
        ("attn_k", kv_heads, width, biased),
        ("attn_v", kv_heads, width, biased),
        ("attn_output", width, all_heads, false),
        ("ffn_gate", feed_forward, width, false),
        ("ffn_up", feed_forward, width, false),
        ("ffn_down", width, feed_forward, false),
    ] {
        places.push(place(format!("{part}.weight"), vec![to, from], true));
        places.push(place(format!("{part}.bias"), vec![to], is_biased));
    }
    for part in ["attn_q_norm.weight", "attn_k_norm.weight"] {
        places.push(place(part.to_owned(), vec![head_width], architecture == "qwen3"));
    }
    places
}
