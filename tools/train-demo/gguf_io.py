"""Reading the exported GGUF back: weights for PyTorch and the tokenizer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from model import Config, Llama
from prepare import GPT2_SPLIT


def load_model(reader: GGUFReader) -> Llama:
    def value(key: str) -> int | float:
        return reader.fields[f"llama.{key}"].contents()

    config = Config(
        vocab_size=value("vocab_size"), context_length=value("context_length"),
        width=value("embedding_length"), blocks=value("block_count"),
        heads=value("attention.head_count"), kv_heads=value("attention.head_count_kv"),
        feed_forward=value("feed_forward_length"), rope_base=value("rope.freq_base"),
        norm_epsilon=value("attention.layer_norm_rms_epsilon"))
    model = Llama(config)
    weights = {t.name: torch.from_numpy(np.array(dequantize(t.data, t.tensor_type), dtype=np.float32))
               for t in reader.tensors}
    model.load_state_dict(weights)
    return model.eval()


def load_tokenizer(reader: GGUFReader) -> Tokenizer:
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(m.split(" ")) for m in reader.fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(GPT2_SPLIT), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    end = tokens[reader.fields["tokenizer.ggml.eos_token_id"].contents()]
    tokenizer.add_special_tokens([AddedToken(end, special=True)])
    return tokenizer


def open_gguf(path: Path) -> tuple[Llama, Tokenizer, int]:
    """The model, its tokenizer and the id of the end-of-text token."""
    reader = GGUFReader(path)
    end = reader.fields["tokenizer.ggml.eos_token_id"].contents()
    return load_model(reader), load_tokenizer(reader), end
