"""What the steps of an Optax transformation show of how, and where, they are executed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import jax

from .execution import Proof
from .optax_state import OptaxSnapshot

MOST_TYPES = 2
"""Types of arguments for which a program may be compiled: those of the first state, and those of what a step returns.

A state may begin with a number that the first step turns into an array, or a weak type that it turns into a strong one.
"""


@dataclass(slots=True)
class Seen:
    """What was seen in the steps so far."""

    steps: int = 0
    on_values: int = 0
    """Calls of the transformation's `update` with arrays."""
    traced: Counter[Hashable] = field(default_factory=Counter)
    """Calls of it while a program was traced, by the types of its arguments."""
    dtypes: set[str] = field(default_factory=set)
    """Floating formats of parameters and state."""
    arrays: int = 0
    """Number of arrays of parameters and state."""
    outlived: int = 0
    """Arrays that were handed to a step and still there after it, over all steps."""
    elsewhere: dict[str, str] = field(default_factory=dict)
    """Where arrays were that were not on the device: their key path, and the place."""

    def look(self, snapshot: OptaxSnapshot, device: Any) -> None:
        """Take in where parameters and state are at this moment, and in which formats."""
        arrays = _arrays(snapshot)
        self.arrays = len(arrays)
        for name, leaf in arrays.items():
            if jax.numpy.issubdtype(leaf.dtype, jax.numpy.floating):
                self.dtypes.add(str(leaf.dtype))
            if leaf.devices() != {device}:
                self.elsewhere.setdefault(name, ", ".join(sorted(map(str, leaf.devices()))))

    def stepped(self, before: OptaxSnapshot, after: OptaxSnapshot, device: Any) -> None:
        """Take in one step, which made `after` of `before`."""
        self.steps += 1
        self.outlived += sum(not leaf.is_deleted() for leaf in _arrays(before).values())
        self.look(after, device)

    def proof(self, path: Callable[[Seen], tuple[bool, str]], device: Any) -> Proof:
        """Return what was seen, the way of execution judged by `path`."""
        on_path, observed = path(self) if self.steps else (False, "no step was executed yet")
        where = f"the {self.arrays} arrays of parameters and state were on {device}"
        if self.elsewhere:
            where = f"not on {device}: " + ", ".join(f"{name} on {place}" for name, place in self.elsewhere.items())
        return Proof(on_path, not self.elsewhere and self.arrays > 0, f"{observed}; {where}")


class Observed:
    """A gradient transformation that counts the calls of its `update`: on arrays, and in a trace."""

    def __init__(self, transformation: Any, seen: Seen) -> None:
        self.init = transformation.init
        self._update, self._seen = transformation.update, seen

    def update(self, *trees: Any, **options: Any) -> Any:
        """Return what the transformation's own `update` returns for gradients, state and parameters."""
        leaves = jax.tree_util.tree_leaves(trees)
        if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            self._seen.traced[tuple(map(_type_of, leaves))] += 1
        else:
            self._seen.on_values += 1
        return self._update(*trees, **options)


def in_python(seen: Seen) -> tuple[bool, str]:
    """Return whether every step ran in Python, on arrays, without a program of the whole step."""
    return seen.on_values == seen.steps and not seen.traced, _calls(seen)


def compiled(seen: Seen) -> tuple[bool, str]:
    """Return whether the steps ran as a program that was traced once for each type of its arguments."""
    once = all(times == 1 for times in seen.traced.values())
    return not seen.on_values and once and 0 < len(seen.traced) <= MOST_TYPES, _calls(seen)


def donated(seen: Seen) -> tuple[bool, str]:
    """Return whether the steps ran as one program that took the buffers of parameters and state for its results."""
    on_path, observed = compiled(seen)
    fate = f"{seen.outlived} outlived it" if seen.outlived else "all were deleted"
    return on_path and not seen.outlived, f"{observed}; of the buffers given to each step {fate}"


def in_double(seen: Seen) -> tuple[bool, str]:
    """Return whether the steps ran as one program, with every number of parameters and state in float64."""
    on_path, observed = compiled(seen)
    return on_path and seen.dtypes == {"float64"}, f"{observed}; its numbers were in {', '.join(sorted(seen.dtypes))}"


def times(count: int) -> str:
    """Return how often something happened, in words."""
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")


def _calls(seen: Seen) -> str:
    kinds = f", for {len(seen.traced)} kinds of arguments" if len(seen.traced) > 1 else ""
    traced = times(seen.traced.total())
    return f"{seen.steps} steps: update() ran on arrays {times(seen.on_values)} and was traced {traced}{kinds}"


def _arrays(snapshot: OptaxSnapshot) -> dict[str, Any]:
    """Return JAX's arrays among parameters and state by their key paths; a number in Python is nowhere."""
    flat = jax.tree_util.tree_flatten_with_path((dict(snapshot.parameters), snapshot.state))[0]
    return {jax.tree_util.keystr(path): leaf for path, leaf in flat if isinstance(leaf, jax.Array)}


def _type_of(leaf: Any) -> Hashable:
    shape, dtype = getattr(leaf, "shape", None), getattr(leaf, "dtype", type(leaf))
    return shape, str(dtype), getattr(leaf, "weak_type", False)
