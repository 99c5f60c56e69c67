"""The llama architecture in PyTorch, with the weight layout GGUF expects."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass
class Config:
    vocab_size: int = 4096
    context_length: int = 512
    width: int = 192
    blocks: int = 4
    heads: int = 3
    kv_heads: int = 1
    feed_forward: int = 512
    rope_base: float = 10000.0
    norm_epsilon: float = 1e-5

    @property
    def head_dim(self) -> int:
        return self.width // self.heads

    def as_dict(self) -> dict:
        return asdict(self)


def rope_table(config: Config) -> tuple[Tensor, Tensor]:
    inverse = config.rope_base ** (-torch.arange(0, config.head_dim, 2).double() / config.head_dim)
    angle = torch.outer(torch.arange(config.context_length).double(), inverse)
    return angle.cos().float(), angle.sin().float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Interleaved rotary embedding: pairs are (0, 1), (2, 3), ... as GGUF's "llama" has it."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


class Block(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        kv_width = config.kv_heads * config.head_dim
        self.attn_norm = nn.RMSNorm(config.width, eps=config.norm_epsilon)
        self.attn_q = nn.Linear(config.width, config.width, bias=False)
        self.attn_k = nn.Linear(config.width, kv_width, bias=False)
        self.attn_v = nn.Linear(config.width, kv_width, bias=False)
        self.attn_output = nn.Linear(config.width, config.width, bias=False)
        self.ffn_norm = nn.RMSNorm(config.width, eps=config.norm_epsilon)
        self.ffn_gate = nn.Linear(config.width, config.feed_forward, bias=False)
        self.ffn_up = nn.Linear(config.width, config.feed_forward, bias=False)
        self.ffn_down = nn.Linear(config.feed_forward, config.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, length, width = x.shape
        c = self.config
        h = self.attn_norm(x)
        q = self.attn_q(h).view(batch, length, c.heads, c.head_dim).transpose(1, 2)
        k = self.attn_k(h).view(batch, length, c.kv_heads, c.head_dim).transpose(1, 2)
        v = self.attn_v(h).view(batch, length, c.kv_heads, c.head_dim).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        group = c.heads // c.kv_heads
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        h = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn_output(h.transpose(1, 2).reshape(batch, length, width))
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))


class Llama(nn.Module):
    """Decoder with tied input and output embeddings."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.token_embd = nn.Embedding(config.vocab_size, config.width)
        self.blk = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.output_norm = nn.RMSNorm(config.width, eps=config.norm_epsilon)
        cos, sin = rope_table(config)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                # Projections back into the residual stream start smaller, as in GPT-2.
                residual = name.endswith(("attn_output.weight", "ffn_down.weight"))
                scale = (2 * config.blocks) ** -0.5 if residual else 1.0
                nn.init.normal_(parameter, std=config.width ** -0.5 * 0.5 * scale)

    def forward(self, ids: Tensor) -> Tensor:
        length = ids.shape[1]
        cos, sin = self.cos[:length], self.sin[:length]
        x = self.token_embd(ids)
        for block in self.blk:
            x = block(x, cos, sin)
        return F.linear(self.output_norm(x), self.token_embd.weight)
