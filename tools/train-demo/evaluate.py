#!/usr/bin/env python3
"""Bits per byte of the held-out pages, computed from the exported GGUF.

The weights are those of the file (f16 or Q8_0 values widened to float32). Each
page starts with the end-of-text token; longer pages are read in windows of the
context length that advance by half of it, so that every token but the first few
of a page is predicted from at least half a context. Only the tokens of the text
are counted, and the bytes are those of its UTF-8 form.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
import torch.nn.functional as F

from gguf_io import open_gguf
from model import Llama
from prepare import PAGE_SEPARATOR


@torch.inference_mode()
def page_bits(model: Llama, ids: list[int]) -> float:
    """Bits needed for ids[1:] given ids[0]."""
    context = model.config.context_length
    stride = context // 2
    tokens = torch.tensor(ids)
    nats, known = 0.0, 1  # tokens before `known` are already paid for
    for start in range(0, len(ids), stride):
        window = tokens[start : start + context + 1]
        end = start + len(window)
        if end <= known:
            break
        logits = model(window[None, :-1])[0]
        losses = F.cross_entropy(logits, window[1:], reduction="none")
        nats += losses[known - start - 1 :].double().sum().item()
        known = end
    return nats / math.log(2)


def main() -> None:
    parser = argparse.ArgumentParser(description="Held-out bits per byte of a GGUF model.")
    parser.add_argument("--model", type=Path, required=True, help="GGUF file")
    parser.add_argument("--text", type=Path, default=Path("work/data/heldout.txt"))
    parser.add_argument("--pages", type=int, help="only the first pages (a quick look)")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    model, tokenizer, end_of_text = open_gguf(args.model)
    pages = args.text.read_text(encoding="utf-8").split(PAGE_SEPARATOR)[: args.pages]
    bits, size, count = 0.0, 0, 0
    for page in pages:
        ids = tokenizer.encode(page).ids
        bits += page_bits(model, [end_of_text, *ids])
        size += len(page.encode())
        count += len(ids)
    print(f"{len(pages)} pages, {size} bytes, {count} tokens ({size / count:.2f} bytes per token)")
    print(f"{bits / size:.4f} bits per byte")


if __name__ == "__main__":
    main()
