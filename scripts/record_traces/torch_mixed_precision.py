"""Record `mixed_precision`: a float16 autocast run whose gradient scaler skips steps, theta kept after each of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from recording import N_STEPS, RECORDED_ON, batches, digits, scaled_normal, versions

import optconform

SEED = 20261125
BATCH_SIZE = 32
OPTIMIZER = {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.1}
SCALER = {"init_scale": 2.0**18, "growth_interval": 12}
"""Float16 ends at 65504: with this scale the gradients are near it, and each growth of the scale may pass it."""


def record_into(path: Path, n_steps: int = N_STEPS) -> None:
    """Train for `n_steps` and record what the optimizer was given, in float32, as the trace `path`."""
    import torch

    images, labels = digits()
    inputs, targets = torch.from_numpy(images.reshape(-1, 64)), torch.from_numpy(labels)
    rng = np.random.Generator(np.random.PCG64(SEED))
    model = torch.nn.Sequential(torch.nn.Linear(64, 12), torch.nn.Tanh(), torch.nn.Linear(12, 10))
    with torch.no_grad():
        for parameter in model.parameters():
            shape = tuple(parameter.shape)
            parameter.copy_(torch.from_numpy(scaled_normal(rng, shape, shape[-1]) * (len(shape) > 1)))
    # Fused, the optimizer is called in every step and told which ones overflowed; other paths are not called in those.
    optimizer = torch.optim.AdamW(model.named_parameters(), fused=True, **OPTIMIZER)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, N_STEPS)
    scaler = torch.amp.GradScaler("cpu", **SCALER)
    provenance = {
        "source": "training",
        "framework": "torch",
        "model": "64-12-10 perceptron, tanh, cross-entropy, float16 autocast, float32 parameters",
        "data": f"scikit-learn load_digits, shuffled, batches of {BATCH_SIZE}",
        "seed": SEED,
        "optimizer": {"class": "torch.optim.AdamW", "fused": True, **OPTIMIZER},
        "schedule": f"cosine over {N_STEPS} steps",
        "scaler": SCALER,
        "script": "scripts/record_traces/torch_mixed_precision.py",
        "versions": versions("torch", "scikit-learn"),
        "date": RECORDED_ON,
    }
    with optconform.record(optimizer, path, snapshots=True, provenance=provenance):
        for batch in batches(rng, len(inputs), BATCH_SIZE, n_steps):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.float16):
                loss = torch.nn.functional.cross_entropy(model(inputs[batch]), targets[batch])
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            schedule.step()
