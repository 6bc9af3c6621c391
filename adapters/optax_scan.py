"""Optax with all steps of a course in one `jax.lax.scan`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import jax
import numpy as np

from .arrays import chosen
from .optax_jax import OptaxOptimizer
from .optax_observed import Seen, times
from .optax_state import OptaxSnapshot, slots_of
from .optax_stepped import Asked, Stepped
from .protocol import Array, Gradients, SparseRows

MOST_TRACES = 3
"""How often the body of a scan may be traced, however many steps it makes: again where JAX strengthens a weak type."""

_ELEMENTS = {"float64": "f64", "float32": "f32", "float16": "f16", "bfloat16": "bf16"}
"""dtype -> how StableHLO writes it."""
_LOOP = re.compile(r"stablehlo\.while\b.*\) : (.*)")
"""A loop in the text of a program, and the types of all that it carries."""


class Scanned(Stepped):
    """A course that runs as a whole at its first step; `step` moves on to what the next step had reached.

    Gradients and learning rates of all steps are stacked on the device, and so are parameters and state after each.
    """

    def __init__(self, optimizer: OptaxOptimizer, asked: Asked) -> None:
        super().__init__(optimizer, asked, self._in_a_loop)
        self._feeds = tuple(asked.feeds)
        self._initial = optimizer.read_parameters()
        self._dtypes = dict.fromkeys(self._initial, asked.dtype)
        self._program = ""
        self._reached = optimizer.snapshot()
        """Once the course has run, parameters and state after every step, stacked: of shape (n_steps, *shape)."""
        optimizer.advance = self._scan

    def step(self, gradients: Gradients, lr: float) -> None:
        """Move on by one step; the first runs them all.

        Raises `ValueError` for a step other than the next that it was opened with, and else as `OptaxOptimizer.apply`.
        """
        self._require_next(gradients, lr)
        if not self.seen.steps:
            before = self.optimizer.snapshot()
            self.optimizer.apply(*self._stacked())
            self.seen.look(self._reached, self._device)
            self.seen.stepped(before, self.optimizer.snapshot(), self._device)
        else:
            self.seen.steps += 1

    def read_parameters(self, names: Iterable[str] | None = None) -> dict[str, Array]:
        """Return copies of the parameters (all, or those named)."""
        arrays = self._thetas if self.seen.steps else self._initial
        at = self.seen.steps - 1 if self.seen.steps else ...
        return {name: np.array(arrays[name][at]) for name in chosen(names, self._shapes)}

    def read_state(self) -> dict[str, dict[str, Array]]:
        """Return copies of the state, slot by slot."""
        if not self.seen.steps:
            return super().read_state()
        at = self.seen.steps - 1
        return {slot: {name: np.array(each[at]) for name, each in of.items()} for slot, of in self._slots.items()}

    @property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: each.shape for name, each in self._initial.items()}

    @cached_property
    def _thetas(self) -> dict[str, Array]:
        return {name: np.asarray(each) for name, each in self._reached.parameters.items()}

    @cached_property
    def _slots(self) -> dict[str, dict[str, Array]]:
        return slots_of(self._reached.state, self._initial)

    def _stacked(self) -> tuple[dict[str, Any], Any]:
        """Return gradients and learning rates of all steps, on the device."""
        optimizer = self.optimizer
        rounded = [optimizer.rounded(feed.gradients, self._dtypes) for feed in self._feeds]
        gradients = optimizer.scope.put({name: np.stack([each[name] for each in rounded]) for name in self._initial})
        with optimizer.scope.entered():
            # Stacked from scalars they stay weakly typed, as a Python float is; in an array made of a list they
            # would be float32, and turn every update of a 16-bit parameter into one of float32.
            return gradients, jax.numpy.stack([jax.numpy.asarray(float(feed.lr)) for feed in self._feeds])

    def _scan(self, parameters: Any, state: Any, gradients: Any, rates: Any) -> tuple[Any, Any]:
        """Run the course as one program, whose text is kept, and return parameters and state after its last step."""

        def step(reached: tuple[Any, Any], fed: tuple[Any, Any]) -> tuple[Any, Any]:
            after = self.optimizer.update(*reached, *fed)
            return after, after

        def course(*arguments: Any) -> Any:
            return jax.lax.scan(step, arguments[:2], arguments[2:])

        lowered = jax.jit(course).lower(parameters, state, gradients, rates)
        self._program = lowered.as_text()
        last, reached = lowered.compile()(parameters, state, gradients, rates)
        self._reached = OptaxSnapshot(*jax.block_until_ready(reached))
        return tuple(last)

    def _in_a_loop(self, seen: Seen) -> tuple[bool, str]:
        """Return whether all steps were one program that loops over them; a single step needs no loop."""
        steps, traces = len(self._feeds), seen.traced.total()
        loops = loops_over(self._program, steps, self._initial)
        what = f"a loop over all {steps} steps" if loops else f"no loop over {steps} steps"
        return (
            not seen.on_values and 0 < traces <= MOST_TRACES and (loops or steps == 1),
            f"the program has {what}; update() ran on arrays {times(seen.on_values)} and was traced {times(traces)}",
        )

    def _require_next(self, gradients: Gradients, lr: float) -> None:
        at, steps = self.seen.steps, len(self._feeds)
        if at == steps:
            raise ValueError(f"the course was opened with {steps} steps, and all have been made; open it anew.")
        if lr != self._feeds[at].lr or not _same(gradients, self._feeds[at].gradients):
            raise ValueError(
                f"step {at + 1} got another gradient or learning rate than the course was opened with; all steps run "
                "at once, so each must be given what was announced."
            )


def loops_over(program: str, steps: int, parameters: Mapping[str, Array]) -> bool:
    """Return whether a program in StableHLO has a loop that fills arrays with `parameters` after each of `steps`.

    Such an array is carried through the loop, one for each parameter, of shape (steps, *shape). A loop inside of one
    step, as some rules have, carries none of them.
    """
    wanted = Counter(
        f"tensor<{'x'.join(map(str, (steps, *each.shape)))}x{_ELEMENTS[str(each.dtype)]}>"
        for each in parameters.values()
    )
    carried = (Counter(found.group(1).split(", ")) for found in _LOOP.finditer(program))
    return any(wanted <= types for types in carried)


def _same(mine: Gradients, theirs: Gradients) -> bool:
    return mine.keys() == theirs.keys() and all(_equal(mine[name], theirs[name]) for name in theirs)


def _equal(mine: Array | SparseRows | None, theirs: Array | SparseRows | None) -> bool:
    if isinstance(mine, np.ndarray) and isinstance(theirs, np.ndarray):
        return mine is theirs or np.array_equal(mine, theirs, equal_nan=True)
    return mine is theirs
