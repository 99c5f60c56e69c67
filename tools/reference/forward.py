#!/usr/bin/env python3
"""Greedy token ids of a small GGUF model, in plain numpy.

An independent yardstick for the edge engine: own byte-pair encoding, no cache,
the whole sequence for every token, double precision. Knows the architectures
llama, qwen2 and qwen3 with f32, f16 or quantized weights.

    python -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python forward.py prompt.txt llama.gguf qwen2.gguf qwen3.gguf > edge.json
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

# The rules for cutting text, as far as ASCII text needs them.
CUTS = {
    "gpt-2": r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+",
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\nA-Za-z0-9]?[A-Za-z]+|[0-9]"
             r"| ?[^\sA-Za-z0-9]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}


def byte_letters() -> list[str]:
    """GPT-2's letters for the 256 bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    letters = {b: chr(b) for b in printable} | {b: chr(256 + n) for n, b in enumerate(others)}
    return [letters[b] for b in range(256)]


class Model:
    def __init__(self, path: Path) -> None:
        reader = GGUFReader(path)
        fields = {key: field.contents() for key, field in reader.fields.items()}
        self.architecture = fields["general.architecture"]

        def value(key: str, default=None):
            found = fields.get(f"{self.architecture}.{key}", default)
            if found is None:
                raise SystemExit(f"{path}: no {self.architecture}.{key}")
            return found

        self.blocks = value("block_count")
        self.heads = value("attention.head_count")
        self.kv_heads = value("attention.head_count_kv", self.heads)
        self.epsilon = value("attention.layer_norm_rms_epsilon")
        self.rope_base = value("rope.freq_base", 10000.0)
        self.head_dim = value("attention.key_length", value("embedding_length") // self.heads)
        self.w = {t.name: np.asarray(dequantize(t.data, t.tensor_type), dtype=np.float64)
                  for t in reader.tensors}
        self.output = self.w.get("output.weight", self.w["token_embd.weight"])
        self.ids = {text: id for id, text in enumerate(fields["tokenizer.ggml.tokens"])}
        merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
        self.ranks = {pair: rank for rank, pair in enumerate(merges)}
        self.cut = CUTS[fields["tokenizer.ggml.pre"]]

    def encode(self, text: str) -> list[int]:
        letters = byte_letters()
        ids = []
        for word in re.findall(self.cut, text):
            parts = [letters[b] for b in word.encode()]
            while True:
                pairs = [(self.ranks.get(pair, np.inf), at)
                         for at, pair in enumerate(zip(parts, parts[1:]))]
                rank, at = min(pairs, default=(np.inf, 0))
                if rank == np.inf:
                    break
                parts[at:at + 2] = [parts[at] + parts[at + 1]]
            ids += [self.ids[part] for part in parts]
        return ids

    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self.epsilon) * self.w[name]

    def rope(self, x: np.ndarray) -> np.ndarray:
        """x is (positions, heads, head_dim). llama's files pair neighbours, the others halves."""
        half = self.head_dim // 2
        frequency = self.rope_base ** (-np.arange(half) * 2.0 / self.head_dim)
        angle = np.arange(len(x))[:, None, None] * frequency
        turn = np.exp(1j * angle)
        if self.architecture == "llama":
            turned = (x[..., 0::2] + 1j * x[..., 1::2]) * turn
            return np.stack([turned.real, turned.imag], axis=-1).reshape(x.shape)
        turned = (x[..., :half] + 1j * x[..., half:]) * turn
        return np.concatenate([turned.real, turned.imag], axis=-1)

    def project(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self.w[f"{name}.weight"].T + self.w.get(f"{name}.bias", 0.0)

    def attention(self, x: np.ndarray, block: str) -> np.ndarray:
        count = len(x)
        q = self.project(x, f"{block}.attn_q").reshape(count, self.heads, self.head_dim)
        k = self.project(x, f"{block}.attn_k").reshape(count, self.kv_heads, self.head_dim)
        v = self.project(x, f"{block}.attn_v").reshape(count, self.kv_heads, self.head_dim)
        if f"{block}.attn_q_norm.weight" in self.w:
            q = self.norm(q, f"{block}.attn_q_norm.weight")
            k = self.norm(k, f"{block}.attn_k_norm.weight")
        q, k = self.rope(q), self.rope(k)
        group = self.heads // self.kv_heads
        mixed = np.zeros((count, self.heads, self.head_dim))
        for position in range(count):
            for head in range(self.heads):
                kv = head // group
                scores = k[:position + 1, kv] @ q[position, head] / np.sqrt(self.head_dim)
                weights = np.exp(scores - scores.max())
                mixed[position, head] = weights @ v[:position + 1, kv] / weights.sum()
        return self.project(mixed.reshape(count, -1), f"{block}.attn_output")

    def logits(self, ids: list[int]) -> np.ndarray:
        x = self.w["token_embd.weight"][ids]
        for index in range(self.blocks):
            block = f"blk.{index}"
            x = x + self.attention(self.norm(x, f"{block}.attn_norm.weight"), block)
            y = self.norm(x, f"{block}.ffn_norm.weight")
            gate, up = self.project(y, f"{block}.ffn_gate"), self.project(y, f"{block}.ffn_up")
            x = x + self.project(gate / (1 + np.exp(-gate)) * up, f"{block}.ffn_down")
        return self.norm(x[-1], "output_norm.weight") @ self.output.T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prompt", type=Path, help="file with the prompt, ASCII")
    parser.add_argument("models", type=Path, nargs="+", help="GGUF files")
    parser.add_argument("--count", type=int, default=48, help="tokens to generate")
    args = parser.parse_args()

    prompt, golden = args.prompt.read_text(encoding="ascii"), {}
    for path in args.models:
        model = Model(path)
        ids, margin = model.encode(prompt), np.inf
        start = len(ids)
        for _ in range(args.count):
            logits = model.logits(ids)
            second, best = np.sort(logits)[-2:]
            margin = min(margin, best - second)
            ids.append(int(logits.argmax()))
        golden[path.stem] = {"prompt_ids": ids[:start], "greedy_ids": ids[start:]}
        # A small gap would let rounding decide; then change the prompt or the seed.
        print(f"{path.stem}: smallest gap of best to second-best logit {margin:.4f}",
              file=sys.stderr)
    print(json.dumps(golden))


if __name__ == "__main__":
    main()
