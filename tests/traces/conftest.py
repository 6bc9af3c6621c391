"""What the tests of traces share."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from optconform.conformance.traces import MemoryTrace, Parameter, Trace, find_trace, synthetic_trace, write_trace


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
        for shard in (document["initial"], *document["gradients"]):
            raw = (folder / shard["file"]).read_bytes()
            shard.update(bytes=len(raw), sha256=hashlib.sha256(raw).hexdigest())

    edit_index(folder, update)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A sound trace of 5 steps in three shards over `w` [3, 4] and the scalar `s`, float32."""
    made = synthetic_trace("mixed", seed=1, shapes={"w": (3, 4), "s": ()}, n_steps=5, dtype="float32")
    return Path(write_trace(made, tmp_path / "stored", steps_per_shard=2).location)


@pytest.fixture(scope="session")
def tools():
    """The functions above; under pytest's importlib mode a test cannot import this file."""
    return SimpleNamespace(same=same, tiny_trace=tiny_trace, edit_index=edit_index, sign=sign)


U32 = 2.0**-24
"""Unit roundoff of float32."""

RECORDING_TOLERANCE = 512 * U32
"""Allowed difference of a gradient recorded anew, relative to the greatest entry of its tensor: 3.1e-5.

Another CPU sums in another order. The longest sums of the three models have about 4096 terms (64 images of
64 pixels under the first convolution); as a random walk their rounding errors grow to sqrt(4096) = 64 units,
and a gradient has about eight such operations behind it, forward and back. Measured between AVX-512 and
SSE4.2 code, over three steps: 13 units. A learning rate that is wrong by one percent makes 29,000 and more.
"""


@pytest.fixture
def check_recording(monkeypatch):
    """Record the first three steps with a script of `scripts/record_traces` and compare with what ships."""
    folder = Path(__file__).resolve().parents[2] / "scripts" / "record_traces"
    monkeypatch.syspath_prepend(folder)

    def distance(script: str, name: str, **options: float) -> float:
        """The greatest difference of a gradient, in tolerances, after all that must agree exactly does."""
        module = importlib.import_module(script)
        for option, value in options.items():
            monkeypatch.setitem(module.OPTIMIZER, option, value)
        shipped, anew = find_trace(name), module.record(3)
        assert anew.name == shipped.name
        assert anew.parameters == shipped.parameters
        assert anew.multipliers == shipped.multipliers[:3]
        theta = anew.initial_parameters()
        for key, value in shipped.initial_parameters().items():
            # NumPy's logarithm inside the generator may differ by a unit in the last place between platforms.
            np.testing.assert_allclose(theta[key], value, rtol=2 * U32, atol=0)
        worst = 0.0
        for left, right in zip(anew.steps(), shipped.steps(3), strict=True):
            for key, gradient in right.gradients.items():
                difference = np.abs(left.gradients[key] - gradient).max() / np.abs(gradient).max()
                worst = max(worst, float(difference) / RECORDING_TOLERANCE)
        return worst

    yield distance
    for name in ("recording", *(file.stem for file in folder.glob("*_*.py"))):
        sys.modules.pop(name, None)
