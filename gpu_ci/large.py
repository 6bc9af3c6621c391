"""The large case: AdamW over 1e8 elements and more, with gradients made on the device, and what judging it costs.

The bare steps are timed against the same steps judged in three ways: a seeded sample judged on the device, the same
sample gathered and judged on the host while the device goes on, and every element judged on the device.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..adapters.large_steps import LargeProblem, LargeSteps, load_large
from ..conformance.json_form import plain_fields
from ..conformance.traces.generated import GeneratedTrace
from ..reference.arithmetic import arithmetic
from ..reference.platforms import platform_of
from ..reference.replay import Engine
from .large_judging import LR, WAYS, WEIGHT_DECAY, Judged, LargeRun, reference_apart

ELEMENTS = 10**8
STEPS = 10
SAMPLE = 10**6
MOST_RATIO = 1.5
"""What steps judged by a sample may take, in bare steps, on a GPU and at `ELEMENTS`."""


@dataclass(frozen=True, slots=True)
class LargeResult:
    """One large case: what was judged, and the seconds that all steps took in each way, medians of the rounds."""

    framework: str
    device: str
    platform: str
    dtype: str
    elements: int
    steps: int
    sample: int
    seed: int
    rounds: int
    staged: bool
    """Whether gradients came from the host."""
    lived_on: tuple[str, ...]
    """Where parameters, gradient and state were after the last of the bare steps: `cpu`, `gpu:0`, ..."""
    seconds: Mapping[str, float]
    """`generating` the gradients alone, `bare` steps with it, `sample_on_device`, `sample_on_host`, `full`."""
    judged: Mapping[str, Judged] = field(default_factory=dict)
    """By way of judging."""
    bits: str = ""
    """SHA-256 of the sample's parameters after the last of the bare steps."""
    reproducible: bool = False
    """Whether those were the same when the steps were taken once more."""
    reference_apart: Mapping[str, float] = field(default_factory=dict)
    """How far the device's reference is from NumPy's on the same input: theta_t in ulp of float64 at the larger of
    |theta_t| and |theta_{t-1}|, and the bound as a share of itself."""

    @property
    def ratios(self) -> dict[str, float]:
        """Time of each way of judging, in that of the bare steps."""
        return {way: self.seconds[way] / self.seconds["bare"] for way in self.judged}

    @property
    def conforms(self) -> bool:
        """Whether every way of judging found that the optimizer conforms, and one of them looked."""
        return bool(self.judged) and all(each.conforms for each in self.judged.values())

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it, with ratios and verdict."""
        return {**plain_fields(self), "ratios": self.ratios, "conforms": self.conforms, "most_ratio": MOST_RATIO}


def run_large(
    framework: str,
    device: str,
    elements: int = ELEMENTS,
    steps: int = STEPS,
    seed: int = 0,
    *,
    sample: int = SAMPLE,
    dtype: str = "float32",
    rounds: int = 1,
    staged: bool = False,
    ways: tuple[str, ...] = ("sample_on_device", "sample_on_host", "full"),
    engine: Engine = "auto",
    threads: int | None = None,
) -> LargeResult:
    """Run AdamW of `framework` over `elements` generated elements on `device`, and judge it in each of `ways`.

    `dtype` is float32 or float64: in 16 bit a bound needs the optimizer's moments, too. The host judges with
    `engine`, as `Follower` does, on `threads`, all of its own unless given. `staged` makes the gradients on the host
    and sends them through pinned buffers, in PyTorch alone. Everything runs once before it is timed.

    Raises `TargetError` for a framework that has no large case, `NotSupported` for one that does not stage,
    `MissingFramework`, `MissingDevice`, `ModuleNotFoundError` where PyTorch judges on the device without
    array-api-compat, `ValueError` for another way or dtype, `TraceError` for a size, seed or number of steps out of
    range.
    """
    _require("ways", ways, tuple(WAYS))
    _require("dtype", (dtype,), ("float32", "float64"))
    trace = GeneratedTrace(elements, seed, steps, dtype)
    on = load_large(framework, device, LargeProblem(elements, steps, seed, dtype, LR, WEIGHT_DECAY, staged))
    platform = platform_of(framework, "cpu" if device.startswith("cpu") else "gpu")
    allowed, threads = arithmetic(dtype, platform), threads or os.cpu_count() or 1
    run = LargeRun(on, trace, trace.sampled(sample, seed), allowed, engine, threads)
    judged: dict[str, Judged] = {}

    def judging(way: str) -> Callable[[], None]:
        def timed() -> None:
            judged[way] = WAYS[way](run)

        return timed

    timed: dict[str, Callable[[], None]] = {"generating": lambda: _generate(run), "bare": lambda: _bare(run)}
    timed |= {way: judging(way) for way in ways}
    taken = _seconds(timed, on, rounds)
    bits = [_bits(run) for _ in range(2)]
    apart = reference_apart(run) if {"sample_on_device", "full"} & set(ways) else {}
    return LargeResult(
        framework=framework,
        device=device,
        platform=platform.name,
        dtype=dtype,
        elements=elements,
        steps=steps,
        sample=run.sampled.parameters[0].size,
        seed=seed,
        rounds=rounds,
        staged=staged,
        lived_on=on.lives_on(),
        seconds=taken,
        judged=judged,
        bits=bits[0],
        reproducible=len(set(bits)) == 1,
        reference_apart=apart,
    )


def _require(what: str, found: tuple[str, ...], known: tuple[str, ...]) -> None:
    for each in found:
        if each not in known:
            raise ValueError(f"{what}: {each!r} is unknown to the large case; expected {', '.join(known)}")


def _seconds(timed: Mapping[str, Callable[[], None]], on: LargeSteps, rounds: int) -> dict[str, float]:
    """Return the median seconds of each, interleaved, after one round that is not counted; the device is waited for."""
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for number in range(rounds + 1):
        for name, work in timed.items():
            on.wait()
            start = time.perf_counter()
            work()
            on.wait()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _generate(run: LargeRun) -> None:
    run.on.begin()
    for index in range(1, run.trace.n_steps + 1):
        run.on.generate(index)


def _bare(run: LargeRun) -> None:
    run.each_step(lambda: None, lambda index, multiplier, before, after: None)


def _bits(run: LargeRun) -> str:
    """Return a digest of the sample's parameters after all steps."""
    _bare(run)
    with run.on.judging():
        sample = run.on.to_host(run.on.take(run.on.kept(), run.places()))
    return hashlib.sha256(np.ascontiguousarray(sample).tobytes()).hexdigest()
