#!/usr/bin/env python3
"""Write a checkpoint as GGUF (architecture "llama", byte-level BPE tokenizer)."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType
from gguf.quants import quantize

from model import Config
from prepare import END_OF_TEXT

FORMATS = {
    "f32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "f16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}
DESCRIPTION = ("A tiny English language model trained on software documentation. It demonstrates "
               "that the inference path works; it knows nothing and its output means nothing.")


def add_metadata(writer: GGUFWriter, config: Config, file_type: LlamaFileType) -> None:
    writer.add_name("bizra-demo")
    writer.add_description(DESCRIPTION)
    writer.add_license("MIT")
    writer.add_languages(["en"])
    writer.add_file_type(file_type)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.context_length)
    writer.add_embedding_length(config.width)
    writer.add_block_count(config.blocks)
    writer.add_feed_forward_length(config.feed_forward)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_layer_norm_rms_eps(config.norm_epsilon)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_base)


def add_tokenizer(writer: GGUFWriter, path: Path) -> None:
    model = json.loads(path.read_text())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    end_of_text = model["vocab"][END_OF_TEXT]
    types = [TokenType.CONTROL if i == end_of_text else TokenType.NORMAL for i in range(len(tokens))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in model["merges"]])
    writer.add_bos_token_id(end_of_text)
    writer.add_eos_token_id(end_of_text)
    writer.add_add_bos_token(False)


def main() -> None:
    parser = argparse.ArgumentParser(description="Export a training checkpoint as GGUF.")
    parser.add_argument("--checkpoint", type=Path, default=Path("work/run/checkpoint.pt"))
    parser.add_argument("--tokenizer", type=Path, default=Path("work/data/tokenizer.json"))
    parser.add_argument("--format", choices=FORMATS, default="f16", help="type of the matrices")
    parser.add_argument("--out", type=Path, required=True, help="GGUF file to write")
    args = parser.parse_args()

    state = torch.load(args.checkpoint, weights_only=True)
    config = Config(**state["config"])
    tensor_type, file_type = FORMATS[args.format]
    writer = GGUFWriter(args.out, "llama")
    add_metadata(writer, config, file_type)
    add_tokenizer(writer, args.tokenizer)
    for name, tensor in state["model"].items():
        values = tensor.numpy().astype(np.float32)
        if values.ndim == 1 or args.format == "f32":
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, quantize(values, tensor_type), raw_dtype=tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    data = args.out.read_bytes()
    print(f"{args.out}: step {state['step']}, {len(data)} bytes, "
          f"sha256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
