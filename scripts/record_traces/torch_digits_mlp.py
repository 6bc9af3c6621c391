"""Record `digits_mlp`: a 64-16-10 network on handwritten digits, trained by SGD with momentum in PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
from recording import N_STEPS, as_trace, batches, digits, multipliers, scaled_normal

from optconform.conformance.traces import MemoryTrace
from optconform.reference.schedules import constant

SEED = 20261122
BATCH_SIZE = 32
OPTIMIZER = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4}


def record(n_steps: int = N_STEPS) -> MemoryTrace:
    """Train for `n_steps` and return every gradient that the optimizer was given, in float32."""
    import sklearn
    import torch

    images, labels = digits()
    inputs = torch.from_numpy(images.reshape(-1, 64))
    targets = torch.from_numpy(labels)
    rng = np.random.Generator(np.random.PCG64(SEED))
    # tanh, not ReLU: near a kink another CPU's rounding could switch a unit, and the recording with it.
    model = torch.nn.Sequential(torch.nn.Linear(64, 16), torch.nn.Tanh(), torch.nn.Linear(16, 10))
    initial = {
        "hidden.weight": scaled_normal(rng, (16, 64), 64),
        "hidden.bias": np.zeros(16, np.float32),
        "output.weight": scaled_normal(rng, (10, 16), 16),
        "output.bias": np.zeros(10, np.float32),
    }
    parameters: dict[str, Any] = dict(zip(initial, model.parameters(), strict=True))
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(torch.from_numpy(initial[name]))
    optimizer = torch.optim.SGD(model.parameters(), **OPTIMIZER)
    schedule = multipliers(constant(), n_steps)
    gradients, losses = [], []
    for multiplier, batch in zip(schedule, batches(rng, len(inputs), BATCH_SIZE, n_steps), strict=True):
        optimizer.param_groups[0]["lr"] = OPTIMIZER["lr"] * multiplier
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(inputs[batch]), targets[batch])
        loss.backward()
        gradients.append({name: parameter.grad.numpy().copy() for name, parameter in parameters.items()})
        losses.append(loss.item())
        optimizer.step()
    return as_trace(
        "digits_mlp",
        schedule,
        initial,
        gradients,
        losses,
        {"torch": torch.__version__, "scikit-learn": sklearn.__version__},
        {
            "framework": "torch",
            "model": "64-16-10 perceptron, tanh, cross-entropy",
            "data": f"scikit-learn load_digits, shuffled, batches of {BATCH_SIZE}",
            "seed": SEED,
            "optimizer": {"class": "torch.optim.SGD", **OPTIMIZER},
            "schedule": "constant",
            "script": "scripts/record_traces/torch_digits_mlp.py",
        },
    )
