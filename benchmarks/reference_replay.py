"""How long the reference takes to replay AdamW, beside the step a user would write and torch's own.

Prints one JSON document: nanoseconds per element and step, and ratios to the naive NumPy step, all of one
run, on one thread, in interleaved repetitions. See README.md in this folder.
"""

from __future__ import annotations

import os

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
for variable in THREAD_VARIABLES:  # read once, when the libraries below are loaded
    os.environ[variable] = "1"

import argparse  # noqa: E402
import importlib.metadata  # noqa: E402
import importlib.util  # noqa: E402
import json  # noqa: E402
import platform  # noqa: E402
import statistics  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from optconform.reference import RULES, AdamWOptions, replay  # noqa: E402
from optconform.reference.replay import Engine  # noqa: E402

Contender = Callable[[], object]
"""Runs all steps once, from the same start."""
Array = NDArray[np.float64]

SCHEMA = "optconform/benchmark/reference-replay/1"
REQUIRED_RATIO = 0.45
"""The compiled replay may take at most this part of the naive step's time, at every size."""
ELEMENT_STEPS = 20_000_000
"""Elements times steps in one repetition: about .4 s of the naive step, far above the clock's resolution."""
FEWEST_STEPS, MOST_STEPS = 3, 400
RULE = RULES["adamw"]
OPTIONS = AdamWOptions(lr=1e-3, weight_decay=1e-2)


def naive_adamw(theta: Array, grads: list[Array], steps: int) -> Array:
    """Algorithm 2 as a user writes it: whole arrays, one temporary per operation."""
    alpha, decay = OPTIONS.lr, OPTIONS.weight_decay
    beta1, beta2, eps = OPTIONS.beta1, OPTIONS.beta2, OPTIONS.eps
    m, v, eta = np.zeros_like(theta), np.zeros_like(theta), 1.0
    for t in range(1, steps + 1):
        g = grads[t % len(grads)]
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        theta = theta - eta * (alpha * m_hat / (np.sqrt(v_hat) + eps) + decay * theta)
    return theta


def numpy_sqrt(theta: Array, steps: int) -> None:
    """One square root per element and step, into an array that is there: what no NumPy engine can do without."""
    values, out = np.abs(theta), np.empty_like(theta)
    for _ in range(steps):
        np.sqrt(values, out=out)


def replayed(theta: Array, grads: list[Array], steps: int, engine: Engine) -> Array:
    """Replay the same gradients through the reference."""
    return replay(RULE, theta, lambda t, a, b: grads[t % len(grads)][a:b], OPTIONS, [1.0] * steps, engine=engine)


def torch_adamw(theta: Array, grads: list[Array], steps: int, dtype: str) -> Contender:
    """torch.optim.AdamW on its default path; parameters and gradients are converted beforehand."""
    import torch

    torch.set_num_threads(1)
    parameter = torch.nn.Parameter(torch.tensor(theta, dtype=getattr(torch, dtype)))
    converted = [torch.tensor(grad, dtype=parameter.dtype) for grad in grads]
    optimizer = torch.optim.AdamW(
        [parameter],
        lr=OPTIONS.lr,
        betas=(OPTIONS.beta1, OPTIONS.beta2),
        eps=OPTIONS.eps,
        weight_decay=OPTIONS.weight_decay,
    )

    def run() -> None:
        for t in range(1, steps + 1):
            parameter.grad = converted[t % len(converted)]
            optimizer.step()

    return run


def contenders(theta: Array, grads: list[Array], steps: int) -> dict[str, Contender]:
    """Name -> what is timed, for what is installed."""
    found: dict[str, Contender] = {
        "naive": lambda: naive_adamw(theta, grads, steps),
        "numpy_sqrt": lambda: numpy_sqrt(theta, steps),
        "replay_numpy": lambda: replayed(theta, grads, steps, "numpy"),
    }
    if importlib.util.find_spec("numba"):
        found["replay_compiled"] = lambda: replayed(theta, grads, steps, "compiled")
    if importlib.util.find_spec("torch"):
        found["torch_float32"] = torch_adamw(theta, grads, steps, "float32")
        found["torch_float64"] = torch_adamw(theta, grads, steps, "float64")
    return found


def timed(size: int, repeats: int, element_steps: int) -> dict[str, Any]:
    """Time every contender at one size: a warm-up each, then `repeats` rounds through all of them."""
    rng = np.random.default_rng(0)
    theta, grads = rng.standard_normal(size), [rng.standard_normal(size) for _ in range(2)]
    steps = min(MOST_STEPS, max(FEWEST_STEPS, element_steps // size))
    runs = contenders(theta, grads, steps)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) * 1e9 / (size * steps) for name, values in seconds.items()}
    return {
        "elements": size,
        "steps": steps,
        "ns_per_element_step": {name: round(value, 4) for name, value in medians.items()},
        "ratio_to_naive": {name: round(value / medians["naive"], 4) for name, value in medians.items()},
    }


def anonymous_memory() -> int | None:
    """Resident anonymous memory of this process in bytes; None where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")]
    return found[0] if found else None


def memory_growth(size: int, step_counts: tuple[int, int]) -> dict[str, Any] | None:
    """Return by how much anonymous memory rises at most during replays of few and of many steps.

    The trace lies in a file and is mapped, so its pages are not anonymous; a round of few steps goes first,
    so that what is allocated once is not counted.
    """
    if anonymous_memory() is None:
        return None
    few, many = step_counts
    rng = np.random.default_rng(1)
    theta = rng.standard_normal(size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "grads.bin"
        with path.open("wb") as file:
            for _ in range(many):
                file.write(rng.standard_normal(size).astype(np.float32).tobytes())
        grads = np.memmap(path, dtype=np.float32, mode="r", shape=(many, size))

        def growth(steps: int) -> int:
            before = highest = anonymous_memory() or 0

            def read(step: int, start: int, stop: int) -> NDArray[np.float32]:
                nonlocal highest
                if step in (1, steps // 2, steps):
                    highest = max(highest, anonymous_memory() or 0)
                return grads[step - 1, start:stop]

            replay(RULE, theta, read, OPTIONS, [1.0] * steps)
            return max(highest, anonymous_memory() or 0) - before

        growth(few)
        rises = {str(steps): growth(steps) for steps in (few, many)}
    return {"elements": size, "trace_bytes": {str(n): 4 * n * size for n in step_counts}, "growth_bytes": rises}


def cpu_model() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """Facts without which the times mean nothing."""
    versions = {}
    for package in ("numpy", "numba", "torch"):
        if importlib.util.find_spec(package):
            versions[package] = importlib.metadata.version(package)
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "threads": 1,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions,
    }


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 1_000_000, 10_000_000], metavar="N")
    parser.add_argument("--repeats", type=int, default=7, help="rounds through all contenders (default 7)")
    parser.add_argument("--element-steps", type=int, default=ELEMENT_STEPS, help="elements times steps in one round")
    parser.add_argument("--memory-elements", type=int, default=20_000, help="size of the trace read from a file")
    parser.add_argument("--memory-steps", type=int, nargs=2, default=[10, 1000], metavar=("FEW", "MANY"))
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    asked = parse(arguments)
    facts = machine()
    memory = memory_growth(asked.memory_elements, tuple(asked.memory_steps))
    sizes = [timed(size, asked.repeats, asked.element_steps) for size in asked.sizes]
    ratios = [size["ratio_to_naive"].get("replay_compiled") for size in sizes]
    document = {
        "schema": SCHEMA,
        "machine": facts,
        "repeats": asked.repeats,
        "sizes": sizes,
        "memory": memory,
        "requirement": {
            "replay_compiled_to_naive_at_most": REQUIRED_RATIO,
            "met": None if None in ratios else all(ratio <= REQUIRED_RATIO for ratio in ratios),
        },
    }
    json.dump(document, sys.stdout, indent=2)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
