//! Writes models with random weights, the same on every machine; tiny ones unless told otherwise.
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{Cursor, Seek, Write};

use bizra_omega::adapters::edge::spelling::Alphabet;
use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

/// Pairs that the vocabulary joins, in GPT-2's spelling; `\u{120}` is a space.
pub(crate) const MERGES: [&str; 12] = [
    "t h",
    "th e",
    "\u{120} t",
    "\u{120} the",
    "i n",
    "\u{120} a",
    "a n",
    "e r",
    "o n",
    "r e",
    "\u{120} b",
    "in g",
];
/// Control tokens, after the bytes and the merges.
pub(crate) const CONTROLS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// What to write.
#[derive(Clone)]
pub(crate) struct Tiny {
    pub(crate) architecture: &'static str,
    pub(crate) format: GgmlDType,
    pub(crate) width: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_width: usize,
    pub(crate) feed_forward: usize,
    pub(crate) blocks: usize,
    /// Tokens that no text becomes, between the merges and the control tokens.
    pub(crate) padding: usize,
    pub(crate) is_tied: bool,
    /// Entries to add or replace.
    pub(crate) metadata: Vec<(&'static str, Value)>,
    /// Tensors to leave out.
    pub(crate) omitted: Vec<&'static str>,
    /// Value for every weight of one tensor.
    pub(crate) constant: Option<(&'static str, f32)>,
}

pub(crate) const BLOCKS: usize = 2;
pub(crate) const CONTEXT: u32 = 128;

impl Tiny {
    pub(crate) fn new(architecture: &'static str) -> Self {
        Self {
            architecture,
            format: GgmlDType::F32,
            width: 32,
            heads: 4,
            kv_heads: 2,
            // As Qwen 3 does, not the width over the heads.
            head_width: if architecture == "qwen3" { 16 } else { 8 },
            feed_forward: 64,
            blocks: BLOCKS,
            padding: 0,
            is_tied: architecture == "qwen2",
            metadata: Vec::new(),
            omitted: Vec::new(),
            constant: None,
        }
    }

    /// Widths that every number format's blocks divide.
    pub(crate) fn wide(format: GgmlDType) -> Self {
        Self { format, width: 256, head_width: 64, feed_forward: 256, ..Self::new("llama") }
    }

    pub(crate) fn with(mut self, key: &'static str, value: Value) -> Self {
        self.metadata.push((key, value));
        self
    }

    pub(crate) fn without(mut self, tensor: &'static str) -> Self {
        self.omitted.push(tensor);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        self.write(&mut file);
        file.into_inner()
    }

    pub(crate) fn write(&self, file: &mut (impl Write + Seek)) {
        let metadata = self.all_metadata();
        let metadata: Vec<(&str, &Value)> =
            metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
        let tensors = self.tensors();
        let tensors: Vec<(&str, &QTensor)> =
            tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        gguf_file::write(file, &metadata, &tensors).unwrap();
    }

    fn tokens(&self) -> Vec<String> {
        let mut tokens = tokens();
        let controls = tokens.len() - CONTROLS.len();
        tokens.splice(controls..controls, (0..self.padding).map(|number| format!("[PAD{number}]")));
        tokens
    }

    fn all_metadata(&self) -> Vec<(String, Value)> {
        let strings =
            |texts: Vec<String>| Value::Array(texts.into_iter().map(Value::String).collect());
        let tokens = self.tokens();
        let types = (0..tokens.len()).map(|id| id >= tokens.len() - CONTROLS.len());
        let types = types.map(|is_control| Value::I32(if is_control { 3 } else { 1 })).collect();
        let end = tokens.len() as u32 - 3;
        let pre = if self.architecture == "llama" { "gpt-2" } else { "qwen2" };
        let base = if self.architecture == "llama" { 10_000.0 } else { 1_000_000.0 };
        let count = |count: usize| Value::U32(count as u32);
        let mut all: Vec<(String, Value)> = [
            ("general.architecture", Value::String(self.architecture.into())),
            ("general.name", Value::String(format!("tiny {}", self.architecture))),
            ("tokenizer.ggml.model", Value::String("gpt2".into())),
            ("tokenizer.ggml.pre", Value::String(pre.into())),
            ("tokenizer.ggml.tokens", strings(tokens)),
            ("tokenizer.ggml.token_type", Value::Array(types)),
            ("tokenizer.ggml.merges", strings(MERGES.map(str::to_owned).to_vec())),
            ("tokenizer.ggml.eos_token_id", Value::U32(end)),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
        let own = [
            ("context_length", Value::U32(CONTEXT)),
            ("embedding_length", count(self.width)),
            ("block_count", count(self.blocks)),
            ("feed_forward_length", count(self.feed_forward)),
            ("attention.head_count", count(self.heads)),
            ("attention.head_count_kv", count(self.kv_heads)),
            ("attention.key_length", count(self.head_width)),
            ("attention.value_length", count(self.head_width)),
            ("attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
            ("rope.freq_base", Value::F32(base)),
        ];
        all.extend(own.map(|(key, value)| (format!("{}.{key}", self.architecture), value)));
        for (key, value) in &self.metadata {
            all.retain(|(known, _)| known != key);
            all.push(((*key).to_owned(), value.clone()));
        }
        all
    }

    fn tensors(&self) -> Vec<(String, QTensor)> {
        let mut random = Random(0x0b12_2a00);
        let mut tensors = Vec::new();
        for (name, dimensions) in self.layout() {
            let count = dimensions.iter().product();
            let is_norm = name.ends_with("norm.weight");
            let fan_in = *dimensions.last().unwrap() as f32;
            let value = |unit: f32| match (is_norm, name.ends_with(".bias")) {
                (true, _) => 1.0 + 0.2 * unit,
                (_, true) => 0.5 * unit,
                _ if name == "token_embd.weight" => unit,
                _ => unit * 3.0 / fan_in.sqrt(),
            };
            let mut values: Vec<f32> = (0..count).map(|_| value(random.unit())).collect();
            if let Some((_, constant)) = self.constant.filter(|(tensor, _)| *tensor == name) {
                values.fill(constant);
            }
            let tensor = Tensor::from_vec(values, dimensions.as_slice(), &Device::Cpu).unwrap();
            // As in published files, vectors stay f32.
            let format = if dimensions.len() == 1 { GgmlDType::F32 } else { self.format };
            if !self.omitted.contains(&name.as_str()) {
                tensors.push((name, QTensor::quantize(&tensor, format).unwrap()));
            }
        }
        tensors
    }

    fn layout(&self) -> Vec<(String, Vec<usize>)> {
        let Self { width, feed_forward, .. } = *self;
        let all = self.heads * self.head_width;
        let kv = self.kv_heads * self.head_width;
        let vocabulary = tokens().len() + self.padding;
        let mut layout = vec![("token_embd.weight".to_owned(), vec![vocabulary, width])];
        for block in 0..self.blocks {
            let mut add = |part: &str, dimensions: &[usize]| {
                layout.push((format!("blk.{block}.{part}"), dimensions.to_vec()));
            };
            add("attn_norm.weight", &[width]);
            add("attn_q.weight", &[all, width]);
            add("attn_k.weight", &[kv, width]);
            add("attn_v.weight", &[kv, width]);
            add("attn_output.weight", &[width, all]);
            if self.architecture == "qwen2" {
                add("attn_q.bias", &[all]);
                add("attn_k.bias", &[kv]);
                add("attn_v.bias", &[kv]);
            }
            if self.architecture == "qwen3" {
                add("attn_q_norm.weight", &[self.head_width]);
                add("attn_k_norm.weight", &[self.head_width]);
            }
            add("ffn_norm.weight", &[width]);
            add("ffn_gate.weight", &[feed_forward, width]);
            add("ffn_up.weight", &[feed_forward, width]);
            add("ffn_down.weight", &[width, feed_forward]);
        }
        layout.push(("output_norm.weight".to_owned(), vec![width]));
        if !self.is_tied {
            layout.push(("output.weight".to_owned(), vec![vocabulary, width]));
        }
        layout
    }
}

/// The tokens: 256 bytes, what the merges make, the control tokens.
pub(crate) fn tokens() -> Vec<String> {
    let bytes = Alphabet::new().letters().iter().map(char::to_string).collect::<Vec<_>>();
    let merged = MERGES.map(|merge| merge.replace(' ', ""));
    bytes.into_iter().chain(merged).chain(CONTROLS.map(str::to_owned)).collect()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    /// A number from -1 to 1 that f32 holds exactly.
    fn unit(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bits = (z ^ (z >> 31)) >> 41;
        bits as f32 / (1_u32 << 22) as f32 - 1.0
    }
}
