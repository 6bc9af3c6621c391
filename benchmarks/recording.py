"""What recording costs a PyTorch training run on the CPU: one JSON document.

Trains a transformer of 25 million parameters in blocks of steps: as it is, with a sample of each tensor recorded, and
with everything recorded. The blocks are interleaved, one round through all of them after the other, and each is timed
until its recording is closed. Apart from training, the recorder is driven as fast as it goes over gradients that are
there, and the same bytes are written by the safetensors library, step by step in turn, each until the disk has them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import optconform

SCHEMA = "optconform/benchmark/recording/1"
SAMPLE = 4096
SAMPLE_SHARE_ALLOWED, FULL_RATIO_ALLOWED = 0.03, 1.5
"""The requirement: what a sample may add to a step, and what recording everything may take beside safetensors alone."""


class Still(torch.optim.Optimizer):
    """An optimizer whose step does nothing: what is left is the recorder."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 1.0})

    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Leave everything as it is."""


class Model(torch.nn.Module):
    """A transformer encoder over random tokens; 25 million parameters at width 512, 6 layers and 12,000 words."""

    def __init__(self, width: int, layers: int, words: int) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(words, width)
        layer = torch.nn.TransformerEncoderLayer(width, 8, 4 * width, dropout=0.0, batch_first=True)
        self.encoder = torch.nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def loss(self, tokens: torch.Tensor) -> torch.Tensor:
        """Mean square of the encoding, which is enough for gradients everywhere."""
        encoded: torch.Tensor = self.encoder(self.embedding(tokens))
        return (encoded**2).mean()


def train(model: Model, optimizer: torch.optim.Optimizer, tokens: torch.Tensor, steps: int) -> None:
    """Make `steps` steps."""
    for _ in range(steps):
        optimizer.zero_grad()
        model.loss(tokens).backward()
        optimizer.step()


FIRST_STEPS = 3
"""Steps of a block before its clock starts, and on the disk by then: a recording begins with theta_0, and memory that
is used for the first time is put together and zeroed by the system."""
Block = Callable[[Path, int], float]
"""What is timed: takes a folder to write into and a number of steps, and returns the seconds they take."""


def timed(blocks: Mapping[str, Block], steps: int, rounds: int) -> dict[str, list[float]]:
    """Return the seconds a step takes in each block, over `rounds` after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in blocks}
    for counted in [False] + [True] * rounds:
        for name, block in blocks.items():
            with tempfile.TemporaryDirectory() as folder:
                taken = block(Path(folder), steps)
            if counted:
                seconds[name].append(taken / steps)
    return seconds


def recorded(optimizer: torch.optim.Optimizer, make: Callable[[int], None], **options: Any) -> Block:
    """Return the block in which `make` makes the steps and they are recorded; the clock stops when all are written."""

    def run(folder: Path, steps: int) -> float:
        with optconform.record(optimizer, folder / "run.trace", **options) as recording:
            make(FIRST_STEPS)
            while recording.n_steps < FIRST_STEPS:
                time.sleep(0.01)
            start = time.perf_counter()
            make(steps)
        return time.perf_counter() - start

    return run


def training_seconds(model: Model, tokens: torch.Tensor, steps: int, rounds: int) -> dict[str, list[float]]:
    """Return the seconds a step takes in each block: `plain`, `sampled` and `full`."""
    optimizer = torch.optim.AdamW(model.named_parameters(), lr=1e-3, weight_decay=1e-2)

    def make(steps: int) -> None:
        train(model, optimizer, tokens, steps)

    def plain(folder: Path, steps: int) -> float:
        make(FIRST_STEPS)
        start = time.perf_counter()
        make(steps)
        return time.perf_counter() - start

    sampled, full = recorded(optimizer, make, sample=SAMPLE), recorded(optimizer, make)
    return timed({"plain": plain, "sampled": sampled, "full": full}, steps, rounds)


def save(gradients: Mapping[str, torch.Tensor], file: Path) -> None:
    """Write `gradients` by the safetensors library alone, until the disk has them."""
    save_file(gradients, file)
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())


def writing_seconds(model: Model, steps: int) -> dict[str, list[float]]:
    """Return the seconds of each step until the disk has it: by the `recorder` alone, and by `safetensors` alone.

    The two take turns step by step: the system's memory and disk are in the same state for both.
    """
    optimizer = Still(model.named_parameters())
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    seconds: dict[str, list[float]] = {"recorder": [], "safetensors": []}
    with (
        tempfile.TemporaryDirectory() as folder,
        optconform.record(optimizer, Path(folder) / "alone.trace") as recording,
    ):
        for number in range(FIRST_STEPS + steps):
            start = time.perf_counter()
            optimizer.step()
            while recording.n_steps <= number:
                time.sleep(0.0005)
            recorded_at = time.perf_counter()
            file = Path(folder) / "alone.safetensors"
            save(gradients, file)
            saved_at = time.perf_counter()
            file.unlink()
            if number >= FIRST_STEPS:
                seconds["recorder"].append(recorded_at - start)
                seconds["safetensors"].append(saved_at - recorded_at)
    return seconds


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("width", 512), ("layers", 6), ("words", 12_000), ("batch", 16), ("length", 64)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--steps", type=int, default=8, help="steps of a block (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    torch.manual_seed(0)
    model = Model(chosen.width, chosen.layers, chosen.words)
    tokens = torch.randint(chosen.words, (chosen.batch, chosen.length))
    training = training_seconds(model, tokens, chosen.steps, chosen.rounds)
    writing = writing_seconds(model, chosen.steps * chosen.rounds)
    medians = {name: statistics.median(values) for name, values in (training | writing).items()}
    share = medians["sampled"] / medians["plain"] - 1.0
    ratio = medians["recorder"] / medians["safetensors"]
    at_best = min(writing["recorder"]) / min(writing["safetensors"])
    document = {
        "schema": SCHEMA,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "tensors": len(list(model.parameters())),
        "seconds_per_step": training | writing,
        "medians": medians,
        "sample": SAMPLE,
        "sample_adds": share,
        "full_adds": medians["full"] / medians["plain"] - 1.0,
        "recorder_over_safetensors": ratio,
        "recorder_over_safetensors_at_best": at_best,
        "requirement": {
            "sample_adds_at_most": SAMPLE_SHARE_ALLOWED,
            "recorder_over_safetensors_at_most": FULL_RATIO_ALLOWED,
            "met": share <= SAMPLE_SHARE_ALLOWED and max(ratio, at_best) <= FULL_RATIO_ALLOWED,
        },
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cpus": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "load_average": os.getloadavg(),
        },
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
