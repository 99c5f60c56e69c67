#!/usr/bin/env python3
"""Greedy token ids of a small llama-architecture GGUF, in plain numpy float32.

An independent yardstick for inference engines: it shares no code with the
training model, keeps no cache and computes the whole sequence for every token.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize


class Model:
    def __init__(self, path: Path) -> None:
        reader = GGUFReader(path)

        def value(key: str, default=None):
            field = reader.fields.get(f"llama.{key}")
            if field is None and default is None:
                raise SystemExit(f"{path}: no llama.{key}")
            return default if field is None else field.contents()

        if reader.fields["general.architecture"].contents() != "llama":
            raise SystemExit(f"{path}: the architecture is not llama")
        self.blocks = value("block_count")
        self.heads = value("attention.head_count")
        self.kv_heads = value("attention.head_count_kv", self.heads)
        self.epsilon = np.float32(value("attention.layer_norm_rms_epsilon"))
        self.rope_base = value("rope.freq_base", 10000.0)
        self.head_dim = value("attention.key_length", value("embedding_length") // self.heads)
        self.rope_dims = value("rope.dimension_count", self.head_dim)
        self.weights = {t.name: np.asarray(dequantize(t.data, t.tensor_type), dtype=np.float32)
                        for t in reader.tensors}
        # Without output.weight the input embedding is used for the output too.
        self.output = self.weights.get("output.weight", self.weights["token_embd.weight"])

    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        mean_square = np.mean(x * x, axis=-1, keepdims=True)
        return x / np.sqrt(mean_square + self.epsilon) * self.weights[name]

    def rope(self, x: np.ndarray) -> np.ndarray:
        """x is (heads, positions, head_dim); neighbouring components form a pair."""
        exponent = -np.arange(0, self.rope_dims, 2, dtype=np.float64) / self.rope_dims
        angle = np.outer(np.arange(x.shape[1]), self.rope_base ** exponent)
        cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
        result = x.copy()
        even, odd = x[..., 0 : self.rope_dims : 2], x[..., 1 : self.rope_dims : 2]
        result[..., 0 : self.rope_dims : 2] = even * cos - odd * sin
        result[..., 1 : self.rope_dims : 2] = even * sin + odd * cos
        return result

    def attention(self, x: np.ndarray, prefix: str) -> np.ndarray:
        length = len(x)

        def project(name: str, heads: int) -> np.ndarray:
            y = x @ self.weights[f"{prefix}.{name}.weight"].T
            return y.reshape(length, heads, self.head_dim).transpose(1, 0, 2)

        q = self.rope(project("attn_q", self.heads))
        k = self.rope(project("attn_k", self.kv_heads))
        v = project("attn_v", self.kv_heads)
        group = self.heads // self.kv_heads
        future = np.triu(np.ones((length, length), dtype=bool), 1)
        outputs = []
        for head in range(self.heads):
            scores = q[head] @ k[head // group].T / np.float32(np.sqrt(self.head_dim))
            scores[future] = -np.inf
            scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
            outputs.append(scores / scores.sum(axis=-1, keepdims=True) @ v[head // group])
        return np.concatenate(outputs, axis=-1) @ self.weights[f"{prefix}.attn_output.weight"].T

    def feed_forward(self, x: np.ndarray, prefix: str) -> np.ndarray:
        gate = x @ self.weights[f"{prefix}.ffn_gate.weight"].T
        up = x @ self.weights[f"{prefix}.ffn_up.weight"].T
        return gate / (1 + np.exp(-gate)) * up @ self.weights[f"{prefix}.ffn_down.weight"].T

    def logits(self, ids: list[int]) -> np.ndarray:
        """Logits after the last token."""
        x = self.weights["token_embd.weight"][ids]
        for block in range(self.blocks):
            prefix = f"blk.{block}"
            x = x + self.attention(self.norm(x, f"{prefix}.attn_norm.weight"), prefix)
            x = x + self.feed_forward(self.norm(x, f"{prefix}.ffn_norm.weight"), prefix)
        return self.norm(x[-1], "output_norm.weight") @ self.output.T


def main() -> None:
    parser = argparse.ArgumentParser(description="Greedy token ids of a llama GGUF, in numpy.")
    parser.add_argument("model", type=Path, help="GGUF file (f32, f16 or Q8_0)")
    parser.add_argument("ids", type=int, nargs="+", help="token ids of the prompt")
    parser.add_argument("--count", type=int, default=32, help="tokens to generate")
    parser.add_argument("--margin", action="store_true",
                        help="also print the smallest gap between best and second-best logit")
    args = parser.parse_args()

    model = Model(args.model)
    ids, smallest = list(args.ids), np.inf
    for _ in range(args.count):
        logits = model.logits(ids)
        second, best = np.sort(logits)[-2:]
        smallest = min(smallest, best - second)
        ids.append(int(logits.argmax()))
    print(" ".join(map(str, ids[len(args.ids):])))
    if args.margin:
        print(f"smallest margin {smallest:.4f}")


if __name__ == "__main__":
    main()
