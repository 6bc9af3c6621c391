"""Record `word_embedding`: next-word prediction in PyTorch with an embedding whose gradients are sparse."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from jax_char_transformer import text
from recording import RECORDED_ON, scaled_normal, versions

import optconform

SEED = 20261126
BATCH_SIZE = 24
N_STEPS = 30
WIDTH = 8
OPTIMIZER = {"lr": 0.5, "weight_decay": 1e-3}


def record_into(path: Path, n_steps: int = N_STEPS) -> None:
    """Train for `n_steps` and record what the optimizer was given, in float32, as the trace `path`."""
    import torch

    words = re.findall(r"[a-z]+", text().lower())
    vocabulary = {word: number for number, word in enumerate(sorted(set(words)))}
    encoded = torch.tensor([vocabulary[word] for word in words])
    rng = np.random.Generator(np.random.PCG64(SEED))
    embedding = torch.nn.Embedding(len(vocabulary), WIDTH, sparse=True)
    output = torch.nn.Linear(WIDTH, len(vocabulary))
    with torch.no_grad():
        embedding.weight.copy_(torch.from_numpy(scaled_normal(rng, (len(vocabulary), WIDTH), WIDTH)))
        output.weight.copy_(torch.from_numpy(scaled_normal(rng, (len(vocabulary), WIDTH), WIDTH)))
        output.bias.zero_()
    # PyTorch's SGD takes sparse gradients, without momentum and without decay of the parameter that has them.
    optimizer = torch.optim.SGD(
        [
            {"params": [("output.weight", output.weight), ("output.bias", output.bias)], **OPTIMIZER},
            {"params": [("embedding.weight", embedding.weight)], "lr": OPTIMIZER["lr"]},
        ]
    )
    provenance = {
        "source": "training",
        "framework": "torch",
        "model": f"embedding of {len(vocabulary)} words, width {WIDTH}, then a dense layer",
        "data": f"words of this.s decoded and heapq.__about__ of the standard library, batches of {BATCH_SIZE}",
        "seed": SEED,
        "optimizer": {"class": "torch.optim.SGD", **OPTIMIZER, "weight_decay of the embedding": 0.0},
        "schedule": "constant",
        "script": "scripts/record_traces/torch_word_embedding.py",
        "versions": versions("torch"),
        "date": RECORDED_ON,
    }
    with optconform.record(optimizer, path, provenance=provenance):
        for _ in range(n_steps):
            at = torch.from_numpy(rng.integers(0, len(encoded) - 1, BATCH_SIZE))
            optimizer.zero_grad()
            logits = output(embedding(encoded[at]))
            torch.nn.functional.cross_entropy(logits, encoded[at + 1]).backward()
            optimizer.step()
