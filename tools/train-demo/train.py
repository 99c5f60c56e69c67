#!/usr/bin/env python3
"""Train the demo model on the CPU. Order of the data, seeds and schedule are fixed.

The run can be stopped at any time; started again with the same arguments it
resumes from the last checkpoint and sees the same batches it would have seen.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model import Config, Llama


def learning_rate(step: int, args: argparse.Namespace) -> float:
    """Linear warm-up, then a cosine down to a hundredth of the peak."""
    if step < args.warmup:
        return args.lr * (step + 1) / args.warmup
    done = (step - args.warmup) / max(1, args.steps - args.warmup)
    return args.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


class Windows:
    """Every epoch cuts the text at another offset and visits all windows in random order."""

    def __init__(self, path: Path, length: int, seed: int) -> None:
        self.ids = torch.from_numpy(np.fromfile(path, dtype="<u2").astype(np.int64))
        self.length, self.seed = length, seed
        self.per_epoch = (len(self.ids) - length - 1) // length
        self.epoch = -1

    def window(self, number: int) -> Tensor:
        epoch, index = divmod(number, self.per_epoch)
        if epoch != self.epoch:
            generator = torch.Generator().manual_seed(self.seed + epoch)
            self.offset = int(torch.randint(self.length, (1,), generator=generator))
            self.order = torch.randperm(self.per_epoch, generator=generator)
            self.epoch = epoch
        start = self.offset + int(self.order[index]) * self.length
        return self.ids[start : start + self.length + 1]

    def batch(self, step: int, size: int) -> tuple[Tensor, Tensor]:
        rows = torch.stack([self.window(step * size + i) for i in range(size)])
        return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the demo model on the CPU.")
    parser.add_argument("--data", type=Path, default=Path("work/data"), help="output of prepare.py")
    parser.add_argument("--out", type=Path, default=Path("work/run"), help="checkpoint directory")
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--stop-at", type=int,
                        help="write a checkpoint at this step and stop; --steps sets the schedule")
    parser.add_argument("--batch", type=int, default=4, help="windows of context length per step")
    parser.add_argument("--lr", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--warmup", type=int, default=100, help="warm-up steps")
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--checkpoint-every", type=int, default=100)
    parser.add_argument("--no-compile", action="store_true",
                        help="skip torch.compile (no C++ compiler needed, slower)")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    config = Config()
    model = Llama(config)
    data = Windows(args.data / "train.bin", config.context_length, args.seed)
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {len(data.ids)} tokens, "
          f"{args.steps * args.batch / data.per_epoch:.2f} epochs", flush=True)

    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() != 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": args.weight_decay},
         {"params": vectors, "weight_decay": 0.0}],
        lr=args.lr, betas=(0.9, 0.98), fused=True)

    path = args.out / "checkpoint.pt"
    first, spent = 0, 0.0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first, spent = state["step"], state["seconds"]
        print(f"resuming at step {first}", flush=True)

    def loss_of(inputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())

    compute_loss = loss_of if args.no_compile else torch.compile(loss_of)
    started, cpu_started, recent = time.time(), time.process_time(), []
    last = min(args.steps, args.stop_at or args.steps)
    for step in range(first, last):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, args)
        loss = compute_loss(*data.batch(step, args.batch))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        recent.append(loss.item())

        done = step + 1
        if done % 20 == 0 or done == last:
            elapsed = time.time() - started
            per_step = elapsed / (done - first)
            print(f"step {done}/{args.steps} loss {sum(recent) / len(recent):.4f} "
                  f"lr {learning_rate(step, args):.2e} "
                  f"{args.batch * config.context_length / per_step:.0f} tokens/s "
                  f"cpu {time.process_time() - cpu_started:.0f} s "
                  f"ETA {(args.steps - done) * per_step / 60:.0f} min", flush=True)
            recent.clear()
        if done % args.checkpoint_every == 0 or done == last:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(),
                     "config": config.as_dict(), "step": done,
                     "seconds": spent + time.time() - started}
            torch.save(state, path.with_suffix(".tmp"))
            os.replace(path.with_suffix(".tmp"), path)
    print(f"trained in {spent + time.time() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
