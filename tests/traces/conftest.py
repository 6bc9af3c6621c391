"""What the tests of traces share."""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from optconform.adapters.protocol import SparseRows
from optconform.adapters.recording import GroupValues, TrainingStep
from optconform.conformance.traces import (
    DTYPES,
    MemoryTrace,
    Parameter,
    Trace,
    find_trace,
    open_trace,
    synthetic_trace,
    write_trace,
)
from optconform.conformance.traces.appending import TraceAppender
from optconform.conformance.traces.run import RecordedRun, Sample


def same(left: Trace, right: Trace) -> bool:
    """Whether two traces hold the same bits (names, shapes, dtypes, schedule, values, missing gradients)."""

    def bits(array: Any) -> Any:
        return None if array is None else (array.dtype, array.shape, array.tobytes())

    return (
        left.parameters == right.parameters
        and left.multipliers == right.multipliers
        and {k: bits(v) for k, v in left.initial_parameters().items()}
        == {k: bits(v) for k, v in right.initial_parameters().items()}
        and [(s.index, s.multiplier, {k: bits(v) for k, v in s.gradients.items()}) for s in left.steps()]
        == [(s.index, s.multiplier, {k: bits(v) for k, v in s.gradients.items()}) for s in right.steps()]
    )


def tiny_trace(**changes: Any) -> MemoryTrace:
    """Two steps over a [2, 3] parameter `w` and a scalar `s` that has no gradient in step 2."""
    fields: dict[str, Any] = {
        "name": "tiny",
        "parameters": (Parameter("w", (2, 3), "float32"), Parameter("s", (), "float64")),
        "multipliers": (1.0, 0.5),
        "initial": {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "s": np.array(2.0)},
        "gradients": (
            {"w": np.ones((2, 3), np.float32), "s": np.array(-1.0)},
            {"w": np.arange(10, 16, dtype=np.float32).reshape(2, 3), "s": None},
        ),
        "provenance": {"source": "test"},
    }
    return MemoryTrace(**{**fields, **changes})


def edit_index(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Apply `change` to the index of the trace in `folder`."""
    file = folder / "index.json"
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


def sign(folder: Path) -> None:
    """Make sizes and digests in the index those of the files, as somebody who forges a trace would."""

    def update(document: dict[str, Any]) -> None:
        run = document.get("run", {})
        rows = [shard["rows"] for shard in document["gradients"] if "rows" in shard]
        more = [*document.get("added", ()), *document.get("coordinates", ()), *rows]
        recorded = [*run.get("segments", ()), *run.get("after", ())]
        for shard in (document["initial"], *document["gradients"], *more, *recorded):
            raw = (folder / shard["file"]).read_bytes()
            shard.update(bytes=len(raw), sha256=hashlib.sha256(raw).hexdigest())

    edit_index(folder, update)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A sound trace of 5 steps in three shards over `w` [3, 4] and the scalar `s`, float32."""
    made = synthetic_trace("mixed", seed=1, shapes={"w": (3, 4), "s": ()}, n_steps=5, dtype="float32")
    return Path(write_trace(made, tmp_path / "stored", steps_per_shard=2).location)


RICH = (
    Parameter("dense", (3, 4), "float32"),
    Parameter("table", (6, 2), "bfloat16"),
    Parameter("half", (5,), "float16"),
    Parameter("scalar", (), "float64"),
    Parameter("frozen", (2, 2), "float32"),
    Parameter("sampled", (4,), "float32", (10, 10)),
)
LATE = Parameter("late", (3,), "float32", (7,))


def write_rich(folder: Path) -> Path:
    """A trace in `folder` of all that a trace can hold: 9 steps of which two are skipped, in five gradient shards.

    Sampled, sparse, frozen and late parameters in every dtype, hyperparameters that change, theta after each step,
    and three segments with the state before them.
    """
    rng = np.random.default_rng(3)

    def values(p: Parameter) -> Any:
        return rng.standard_normal(p.shape).astype(DTYPES[p.dtype])

    folder.mkdir()
    growing = TraceAppender(
        folder,
        folder,
        name="rich",
        parameters=RICH,
        initial={p.name: values(p) for p in RICH},
        coordinates={"sampled": np.array([0, 17, 18, 99])},
        provenance={"source": "test", "versions": {"numpy": "2"}, "seed": 3},
        run=RecordedRun("numpy", "tests:Rich", sample=Sample(4, 7)),
        lr_base=None,
    )
    known = list(RICH)
    for number in range(1, 10):
        if number == 4:
            growing.join([LATE], {"late": values(LATE)}, {"late": np.array([1, 2, 6])})
            known.append(LATE)
        if number in (1, 4, 8):
            moments = {p.name: values(p) for p in known}
            state = {"theta": moments, "m": moments, "step": {p.name: np.array(number - 1.0) for p in known}}
            growing.begin_segment(10 * number, {**state, "rng": {"dense": np.array(number, np.int64)}})
        gradients: dict[str, Any] = {p.name: values(p) for p in known if p.name not in ("table", "frozen")}
        rows = np.flatnonzero(rng.random(6) < 0.5)
        gradients["table"] = SparseRows(rows, rng.standard_normal((len(rows), 2)).astype(DTYPES["bfloat16"]), (6, 2))
        skipped = number in (3, 7)
        groups = (
            GroupValues(("dense", "table", "half"), {"lr": 0.1 / number, "betas": [0.9, 0.99], "foreach": None}),
            GroupValues(tuple(p.name for p in known[3:]), {"lr": 0.1, "amsgrad": number > 5}),
        )
        after = {p.name: values(p) for p in known}
        growing.append(TrainingStep({} if skipped else gradients, 0.1 / number, groups, after, skipped=skipped))
        if number % 2 == 0:
            growing.flush()
    growing.close()
    return folder


@pytest.fixture(scope="session")
def _written_rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rich(tmp_path_factory.mktemp("rich") / "rich")


@pytest.fixture
def rich_trace(_written_rich: Path, tmp_path: Path) -> Path:
    """A directory of `write_rich` that may be changed."""
    return Path(shutil.copytree(_written_rich, tmp_path / "rich"))


@pytest.fixture(scope="session")
def tools():
    """The functions above; under pytest's importlib mode a test cannot import this file."""
    return SimpleNamespace(
        mixed_tolerance=MIXED_TOLERANCE,
        same=same,
        tiny_trace=tiny_trace,
        edit_index=edit_index,
        sign=sign,
        write_rich=write_rich,
    )


U32 = 2.0**-24
"""Unit roundoff of float32."""

U16 = 2.0**-11
"""Unit roundoff of float16."""

RECORDING_TOLERANCE = 512 * U32
"""Allowed difference of a gradient recorded anew, relative to the greatest entry of its tensor: 3.1e-5.

Another CPU sums in another order. The longest sums of the three models have about 4096 terms (64 images of
64 pixels under the first convolution); as a random walk their rounding errors grow to sqrt(4096) = 64 units,
and a gradient has about eight such operations behind it, forward and back. Measured between AVX-512 and
SSE4.2 code, over three steps: 13 units. A learning rate that is wrong by one percent makes 29,000 and more.
"""

MIXED_TOLERANCE = 8 * U16
"""The same under float16 autocast, whose sums are float32 and whose results are rounded to float16: eight operations,
each of whose results another CPU may round the other way."""


@pytest.fixture
def check_recording(monkeypatch, tmp_path):
    """Record the first three steps with a script of `scripts/record_traces` and compare with what ships."""
    folder = Path(__file__).resolve().parents[2] / "scripts" / "record_traces"
    monkeypatch.syspath_prepend(folder)

    def distance(script: str, name: str, tolerance: float = RECORDING_TOLERANCE, **options: float) -> float:
        """The greatest difference of a gradient, in tolerances, after all that must agree exactly does."""
        module = importlib.import_module(script)
        for option, value in options.items():
            monkeypatch.setitem(module.OPTIMIZER, option, value)
        shipped = find_trace(name)
        if hasattr(module, "record_into"):
            module.record_into(tmp_path / name, 3)
            anew = open_trace(tmp_path / name)
        else:
            anew = module.record(3)
        assert anew.name == shipped.name
        assert anew.parameters == shipped.parameters
        # A recorder divides the learning rate of each step by the base: two roundings, beside those of the schedule.
        np.testing.assert_allclose(anew.multipliers, shipped.multipliers[:3], rtol=2.0**-50, atol=0)
        theta = anew.initial_parameters()
        for key, value in shipped.initial_parameters().items():
            # NumPy's logarithm inside the generator may differ by a unit in the last place between platforms.
            np.testing.assert_allclose(theta[key], value, rtol=2 * U32, atol=0)
        worst = 0.0
        for left, right in zip(anew.steps(), shipped.steps(3), strict=True):
            for key, gradient in right.gradients.items():
                difference = np.abs(left.gradients[key] - gradient).max() / np.abs(gradient).max()
                worst = max(worst, float(difference) / tolerance)
        return worst

    yield distance
    for name in ("recording", *(file.stem for file in folder.glob("*_*.py"))):
        sys.modules.pop(name, None)
