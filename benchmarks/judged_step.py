"""What it costs to judge a step: reference, bound, comparison and rivals beside the optimizer that is judged.

Prints one JSON document: nanoseconds per element and step, ratios to `torch.optim.AdamW` and to the naive NumPy
step, all of one run in interleaved repetitions, and the anonymous memory of a judged run. See README.md in this folder.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from numpy.typing import NDArray
from reference_replay import anonymous_memory, machine, naive_adamw

from optconform.reference import RULES, AdamOptions, AdamWOptions, AMSGrad, DecayLaw, DecayOrder, Epsilon
from optconform.reference.arithmetic import arithmetic
from optconform.reference.follow import Follower
from optconform.reference.replay import Engine

SCHEMA = "optconform/benchmark/judged-step/1"
LR, WEIGHT_DECAY = 1e-3, 1e-2
OPTIONS = AdamWOptions(lr=LR, weight_decay=WEIGHT_DECAY, law=DecayLaw.LR_WD)
ARITHMETIC = arithmetic("float32")
SAMPLE = 512
"""Coordinates on which the rivals are tried."""
TORCH_PATHS: dict[str, dict[str, bool]] = {"default": {}, "loop": {"foreach": False}, "fused": {"fused": True}}
REQUIRED = {
    "compiled_to_torch": 3.0,
    "numpy_to_torch": 20.0,
    "compiled_to_naive": 1.0,
    "compiled_largest_to_smallest": 1.5,
    "bytes_per_element": 96.0,
}
"""Ratio -> the most it may be, at `--size` elements; the last but one over `--sizes`."""
FEWEST_STEPS, MOST_STEPS = 2, 100

Array = NDArray[np.float32]
Contender = Callable[[int], object]
"""Takes so many steps."""


def rivals() -> list[AdamOptions]:
    """Twelve rules other than the one that is walked: every order and place of epsilon, L2, a maximum."""
    given: dict[str, Any] = {"lr": LR, "weight_decay": WEIGHT_DECAY}
    orders = [
        AdamWOptions(**given, law=DecayLaw.LR_WD, order=order, epsilon=epsilon)
        for order in DecayOrder
        for epsilon in Epsilon
    ]
    coupled = [AdamOptions(**given, epsilon=epsilon) for epsilon in Epsilon]
    maximum = AdamWOptions(**given, law=DecayLaw.LR_WD, amsgrad=AMSGrad.RAW)
    return [*(each for each in orders if each != OPTIONS), *coupled, maximum]


class Judge:
    """The reference beside one AdamW, and the rivals on a sample."""

    def __init__(self, theta: Array, engine: Engine, threads: int) -> None:
        self._sample = np.sort(np.random.default_rng(2).choice(len(theta), min(SAMPLE, len(theta)), replace=False))
        self._own = Follower(RULES["adamw"], OPTIONS, theta, ARITHMETIC, engine=engine, threads=threads)
        self._rivals = [
            Follower(_rule_of(options), options, theta[self._sample], ARITHMETIC, engine="numpy")
            for options in rivals()
        ]

    def step(self, before: Array, grad: Array, after: Array, *, rivals_too: bool = True) -> float:
        """Judge one step; return the worst ratio of its own rule."""
        if not rivals_too:
            return self._own.step(before, grad, after).comparison.ratio
        followed = self._own.step(before, grad, after, keep=self._sample)
        sampled = [each[self._sample] for each in (before, grad, after)]
        for rival in self._rivals:
            rival.step(*sampled, beside=followed.kept)
        return followed.comparison.ratio


def _rule_of(options: AdamOptions) -> Any:
    return RULES["adamw" if isinstance(options, AdamWOptions) else "adam_l2"]


def torch_steps(theta: Array, grads: list[Array], threads: int, path: dict[str, bool]) -> Contender:
    """torch.optim.AdamW on one of its paths; parameters and gradients are tensors beforehand."""
    import torch

    parameter = torch.nn.Parameter(torch.tensor(theta))
    tensors = [torch.tensor(grad) for grad in grads]
    optimizer = torch.optim.AdamW([parameter], lr=LR, weight_decay=WEIGHT_DECAY, **path)

    def run(steps: int) -> None:
        torch.set_num_threads(threads)
        for t in range(steps):
            parameter.grad = tensors[t % len(tensors)]
            optimizer.step()

    return run


def judged_steps(theta: Array, grads: list[Array], engine: Engine, threads: int, *, rivals_too: bool) -> Contender:
    """Judging alone: the parameters before and after the step are there."""
    judge, after = Judge(theta, engine, threads), theta * np.float32(1.0 - LR)

    def run(steps: int) -> None:
        for t in range(steps):
            judge.step(theta, grads[t % len(grads)], after, rivals_too=rivals_too)

    return run


def contenders(size: int, threads: list[int]) -> dict[str, Contender]:
    """Name -> what is timed, for what is installed."""
    rng = np.random.default_rng(0)
    theta = rng.standard_normal(size, dtype=np.float32)
    grads = [rng.standard_normal(size, dtype=np.float32) for _ in range(2)]
    wide, wide_grads = theta.astype(np.float64), [grad.astype(np.float64) for grad in grads]
    found: dict[str, Contender] = {"naive_1": lambda steps: naive_adamw(wide, wide_grads, steps)}
    engines: tuple[Engine, ...] = ("numpy", "compiled") if importlib.util.find_spec("numba") else ("numpy",)
    for count in threads:
        if importlib.util.find_spec("torch"):
            for name, path in TORCH_PATHS.items():
                found[f"torch_{name}_{count}"] = torch_steps(theta, grads, count, path)
        for engine in engines:
            found[f"follow_{engine}_{count}"] = judged_steps(theta, grads, engine, count, rivals_too=False)
            found[f"judge_{engine}_{count}"] = judged_steps(theta, grads, engine, count, rivals_too=True)
    return found


def timed(size: int, threads: list[int], repeats: int, element_steps: int, only: str = "") -> dict[str, Any]:
    """Time the contenders whose names begin with `only`: a warm-up each, then `repeats` rounds through all."""
    steps = min(MOST_STEPS, max(FEWEST_STEPS, element_steps // size))
    runs = {name: run for name, run in contenders(size, threads).items() if name.startswith(only)}
    for run in runs.values():
        run(1)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run(steps)
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) * 1e9 / (size * steps) for name, values in seconds.items()}
    return {"elements": size, "steps": steps, "ns_per_element_step": {n: round(v, 4) for n, v in medians.items()}}


def ratios(times: dict[str, float], threads: list[int]) -> dict[str, float]:
    """Return what judging takes, rivals included, over torch's default path and over the naive step."""
    found = {}
    for engine in ("compiled", "numpy"):
        for count in threads:
            judged, torch_default = times.get(f"judge_{engine}_{count}"), times.get(f"torch_default_{count}")
            if judged and torch_default:
                found[f"{engine}_to_torch_{count}"] = round(judged / torch_default, 3)
            if judged and count == 1:
                found[f"{engine}_to_naive_{count}"] = round(judged / times["naive_1"], 3)
    return found


@contextmanager
def highest_memory() -> Iterator[Callable[[], int]]:
    """Watch the process's anonymous memory every millisecond; yields a function that returns the most seen."""
    done, most = threading.Event(), [anonymous_memory() or 0]

    def watch() -> None:
        while not done.wait(0.001):
            most[0] = max(most[0], anonymous_memory() or 0)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield lambda: most[0]
    finally:
        done.set()
        watcher.join()


def memory_of_a_run(size: int, steps: int, engine: Engine) -> int:
    """Return by how many bytes a whole judged run of torch.optim.AdamW rises above the imports, at most.

    One step of 64 elements goes before: it imports what is imported late, and compiles.
    """
    import torch

    torch.set_num_threads(1)

    def run(elements: int, count: int) -> None:
        parameter = torch.nn.Parameter(torch.randn(elements))
        parameter.grad = torch.empty(elements)
        optimizer = torch.optim.AdamW([parameter], lr=LR, weight_decay=WEIGHT_DECAY)
        theta, grad = parameter.detach().numpy(), parameter.grad.numpy()
        judge = Judge(theta, engine, 1)
        for _ in range(count):
            parameter.grad.normal_()
            before = theta.copy()
            optimizer.step()
            if judge.step(before, grad, theta) > 1.0:
                raise AssertionError("torch.optim.AdamW left its bound")

    run(64, 1)
    before = anonymous_memory() or 0
    with highest_memory() as most:
        run(size, steps)
    return most() - before


def memory(size: int, step_counts: list[int]) -> dict[str, Any] | None:
    """Return the anonymous bytes per element of judged runs, each in a process of its own; None where unknown."""
    if anonymous_memory() is None or not importlib.util.find_spec("torch"):
        return None
    engines = ("numpy", "compiled") if importlib.util.find_spec("numba") else ("numpy",)
    found: dict[str, dict[str, float]] = {}
    for engine in engines:
        for steps in step_counts:
            asked = ["--memory-run", engine, str(size), str(steps)]
            done = subprocess.run([sys.executable, __file__, *asked], capture_output=True, text=True, check=True)
            found.setdefault(engine, {})[str(steps)] = round(int(done.stdout) / size, 1)
    return {"elements": size, "bytes_per_element": found}


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1_000_000, metavar="N", help="elements of the comparison")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000, 10_000_000], metavar="N")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="THREADS")
    parser.add_argument("--repeats", type=int, default=7, help="rounds through all contenders (default 7)")
    parser.add_argument("--element-steps", type=int, default=5_000_000, help="elements times steps in one round")
    parser.add_argument("--memory-steps", type=int, nargs="+", default=[10, 100], metavar="STEPS")
    parser.add_argument("--memory-run", nargs=3, metavar=("ENGINE", "N", "STEPS"), help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    asked = parse(arguments)
    if asked.memory_run:
        engine, size, steps = asked.memory_run
        print(memory_of_a_run(int(size), int(steps), engine))
        return 0
    facts = machine() | {"threads": asked.threads}
    main_size = timed(asked.size, asked.threads, asked.repeats, asked.element_steps)
    found = ratios(main_size["ns_per_element_step"], asked.threads)
    # A fifth of a second or more at every size, so that the smallest is measured as well as the largest.
    flat = [timed(size, [1], asked.repeats, asked.element_steps, "follow_compiled") for size in asked.sizes]
    own = [time for each in flat for time in each["ns_per_element_step"].values()]
    if own:
        found["compiled_largest_to_smallest"] = round(max(own) / min(own), 3)
    document = {
        "schema": SCHEMA,
        "machine": facts,
        "repeats": asked.repeats,
        "rivals": len(rivals()),
        "step": main_size,
        "ratios": found,
        "sizes": flat,
        "memory": memory(asked.size, asked.memory_steps),
        "required_at_most": REQUIRED,
    }
    json.dump(document, sys.stdout, indent=2)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
