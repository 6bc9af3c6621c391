"""An Optax optimizer executed step by step, and looked at from outside in each: what it does, and where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from .errors import PathNotTaken
from .execution import Feed, OfOptimizer, Proof
from .optax_jax import OptaxOptimizer
from .optax_observed import Observed, Seen, donated
from .protocol import Gradients


@dataclass(frozen=True, slots=True)
class Asked:
    """What an execution was opened with, beside the optimizer that was built for it."""

    feeds: Sequence[Feed]
    dtype: str
    """Precision of the gradients."""
    device: Any
    """JAX's device that was asked for by name."""


class Stepped(OfOptimizer):
    """An `Executed` whose steps are those of an `OptaxOptimizer`; `judge` says whether they went as they should."""

    def __init__(self, optimizer: OptaxOptimizer, asked: Asked, judge: Callable[[Seen], tuple[bool, str]]) -> None:
        super().__init__(optimizer)
        self.optimizer = optimizer
        self.seen = Seen()
        self._judge = judge
        self._device = asked.device
        optimizer.transformation = Observed(optimizer.transformation, self.seen)
        self.seen.look(optimizer.snapshot(), self._device)

    def step(self, gradients: Gradients, lr: float) -> None:
        """Apply one update and look at what became of it. Raises what `OptaxOptimizer.step` raises."""
        before = self.optimizer.snapshot()
        self.optimizer.step(gradients, lr)
        self.seen.stepped(before, self.optimizer.snapshot(), self._device)

    def proof(self) -> Proof:
        """Return what the calls of the update, the buffers and their devices have shown."""
        return self.seen.proof(self._judge, self._device)


def with_donation(optimizer: OptaxOptimizer, asked: Asked) -> Stepped:
    """Return steps of one program that gets the buffers of parameters and state to write its results into.

    Raises `PathNotTaken` where one buffer is in two places among them, and where JAX keeps buffers that are donated,
    as 0.4.30 does with those of bfloat16 on a CPU.
    """
    snapshot = optimizer.snapshot()
    leaves = jax.tree_util.tree_leaves((dict(snapshot.parameters), snapshot.state))
    arrays = [leaf for leaf in leaves if isinstance(leaf, jax.Array)]
    if len({id(array) for array in arrays}) < len(arrays):
        raise PathNotTaken(
            "an array is in two places among parameters and state, and JAX donates no buffer twice; use jit."
        )
    with optimizer.scope.entered():
        kept = sorted(dtype for dtype in {str(each.dtype) for each in snapshot.parameters.values()} if keeps(dtype))
    if kept:
        raise PathNotTaken(
            f"JAX {jax.__version__} keeps buffers of {', '.join(kept)} on {asked.device} although they are donated; "
            "use jit, or a newer JAX."
        )
    # What a step does not read (placeholders in the state of adafactor) is otherwise not handed on, and so is kept.
    optimizer.advance = jax.jit(optimizer.update, donate_argnums=(0, 1), keep_unused=True)
    return Stepped(optimizer, asked, donated)


def keeps(dtype: str) -> bool:
    """Return whether the current device keeps a buffer of `dtype` although it is donated to a program."""
    array = jax.numpy.ones(1, dtype)
    jax.block_until_ready(jax.jit(lambda given: given + given, donate_argnums=0)(array))
    return not array.is_deleted()
