#!/usr/bin/env python3
"""Continue prompts with a GGUF model: top-k sampling, or greedily with --temperature 0."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from gguf_io import open_gguf


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description="Continue prompts with a GGUF model.")
    parser.add_argument("--model", type=Path, required=True, help="GGUF file")
    parser.add_argument("--count", type=int, default=80, help="tokens to add")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--top-k", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("prompt", nargs="+")
    args = parser.parse_args()

    model, tokenizer, end_of_text = open_gguf(args.model)
    for prompt in args.prompt:
        generator = torch.Generator().manual_seed(args.seed)
        ids = tokenizer.encode(prompt).ids
        for _ in range(args.count):
            window = torch.tensor([ids[-model.config.context_length :]])
            logits = model(window)[0, -1]
            if args.temperature == 0:
                token = int(logits.argmax())
            else:
                values, indices = (logits / args.temperature).topk(args.top_k)
                choice = torch.multinomial(values.softmax(-1), 1, generator=generator)
                token = int(indices[choice])
            if token == end_of_text:
                break
            ids.append(token)
        print(tokenizer.decode(ids), end="\n\n")


if __name__ == "__main__":
    main()
