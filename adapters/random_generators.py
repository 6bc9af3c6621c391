"""The global random generators of this process: their states, which of them moved, and putting them back.

PyTorch's, the one for the CPU, counts only where something else has imported it; nothing here does.
"""

from __future__ import annotations

import pickle
import random
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np


def states() -> dict[str, Any]:
    """Return the state of every global generator by the name of its library, detached from later draws."""
    shared = np.random.get_state(legacy=False)  # noqa: NPY002 - the one that others draw from is meant
    found: dict[str, Any] = {"Python": random.getstate(), "NumPy": shared}
    torch = sys.modules.get("torch")
    if torch is not None:
        found["PyTorch"] = torch.get_rng_state().numpy().copy()
    return found


def moved(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the generators that something was drawn from, or that were seeded, in between."""
    return tuple(name for name in before if pickle.dumps(before[name]) != pickle.dumps(after[name]))


def put_back(saved: Mapping[str, Any]) -> None:
    """Return every generator of `saved` to its state then."""
    random.setstate(saved["Python"])
    np.random.set_state(saved["NumPy"])  # noqa: NPY002
    if "PyTorch" in saved:
        torch = sys.modules["torch"]
        torch.set_rng_state(torch.from_numpy(saved["PyTorch"].copy()))
