"""The global random generators of this process: their states, which of them moved, and putting them back.

PyTorch's, the one for the CPU, counts only where something else has imported it; nothing here does.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SEED = 20190506
"""ICLR 2019, the paper's venue; any fixed number serves."""
_WORDS = 624
"""Words of a Mersenne Twister's state, all of which are renewed at once."""
_AT_ONCE = 64
"""States to be compared at once: 320 kB."""
DRAWS = _WORDS * _AT_ONCE * 64
"""Numbers of 32 bits, 2.6 million, that may have been drawn between two looks; to exclude it takes 10 ms."""

States = Mapping[str, Any]
"""State of every global generator by the name of its library."""


@dataclass(frozen=True, slots=True)
class Twister:
    """State of a Mersenne Twister, which Python's and NumPy's global generators are."""

    key: NDArray[np.uint32]
    """624 words."""
    position: int
    """How many of them have been used."""

    def reaches(self, later: Twister) -> bool:
        """Return whether drawing at most `DRAWS` numbers leads from this state to `later`."""
        if np.array_equal(self.key, later.key):
            return later.position >= self.position
        target = self._words(later.key, 0).random_raw(_WORDS)
        ahead = self._words(self.key, _WORDS)
        return any(
            bool((ahead.random_raw(_WORDS * _AT_ONCE).reshape(_AT_ONCE, _WORDS) == target).all(axis=1).any())
            for _ in range(DRAWS // (_WORDS * _AT_ONCE))
        )

    @staticmethod
    def _words(key: NDArray[np.uint32], position: int) -> np.random.MT19937:
        generator = np.random.MT19937()
        generator.state = {"bit_generator": "MT19937", "state": {"key": key, "pos": position}}
        return generator


def twister_of_python() -> Twister:
    """Return the state of Python's global generator."""
    return _python_twister(random.getstate())


def twister_of_numpy() -> Twister | str:
    """Return the state of NumPy's global generator; the name of another kind that was put in its place."""
    return _numpy_twister(np.random.get_state(legacy=False))  # noqa: NPY002 - the one that others draw from is meant


def states() -> dict[str, Any]:
    """Return the state of every global generator by the name of its library, detached from later draws.

    It takes 40 microseconds.
    """
    found: dict[str, Any] = {
        "Python": random.getstate(),
        "NumPy": np.random.get_state(legacy=False),  # noqa: NPY002
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        found["PyTorch"] = torch.get_rng_state().numpy().copy()
    return found


def moved(before: States, after: States) -> tuple[str, ...]:
    """Return the names of the generators that something was drawn from, or that were seeded, in between."""
    return tuple(name for name in before if not _equal(before[name], after[name]))


def reseeded(before: States, after: States) -> bool:
    """Return whether a generator was seeded anew or set to another state in between, which no drawing does.

    Seeding PyTorch with the seed that it has already cannot be seen.
    """
    changed = moved(before, after)
    twisters = {"Python": _python_twister, "NumPy": _numpy_twister}
    for name in changed:
        if name in twisters:
            old, new = twisters[name](before[name]), twisters[name](after[name])
            if not (isinstance(old, Twister) and isinstance(new, Twister) and old.reaches(new)):
                return True
        elif not np.array_equal(before[name][:_SEED_BYTES], after[name][:_SEED_BYTES]):
            return True
    return False


def put_back(saved: States) -> None:
    """Return every generator of `saved` to its state then."""
    random.setstate(saved["Python"])
    np.random.set_state(saved["NumPy"])  # noqa: NPY002
    if "PyTorch" in saved:
        torch = sys.modules["torch"]
        torch.set_rng_state(torch.from_numpy(saved["PyTorch"].copy()))


@contextmanager
def seeded() -> Iterator[None]:
    """Seed every global generator with a fixed number for the time being, and put them back in the end."""
    before = states()
    random.seed(_SEED)
    np.random.seed(_SEED)  # noqa: NPY002
    if "PyTorch" in before:
        torch = sys.modules["torch"]
        torch.default_generator.manual_seed(_SEED)
    try:
        yield
    finally:
        put_back(before)


_SEED_BYTES = 8
"""The first bytes of the state of PyTorch's CPU generator: its initial seed."""


def _python_twister(state: Any) -> Twister:
    words = state[1]
    return Twister(np.array(words[:-1], dtype=np.uint32), words[-1])


def _numpy_twister(state: Mapping[str, Any]) -> Twister | str:
    if state["bit_generator"] != "MT19937":  # exchanged through set_bit_generator
        return str(state["bit_generator"])
    return Twister(np.array(state["state"]["key"], dtype=np.uint32), int(state["state"]["pos"]))


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Mapping):
        return all(_equal(value, other[key]) for key, value in one.items())
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    return bool(one == other)
