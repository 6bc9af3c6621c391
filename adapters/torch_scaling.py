"""Gradient scaling: steps through `torch.amp.GradScaler`, with infinite gradients put in that it must skip."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from ..reference.formats import FORMATS
from .execution import Feed
from .protocol import Array, SparseRows
from .torch_optimizer import TorchOptimizer
from .torch_proofs import Apply, Judge, OperatorWatch, Seen, fed_among, written_by_fused
from .torch_tensors import to_array

SMALLEST_EXPONENT, LARGEST_EXPONENT = 4, 16
"""Of the scale: one that is still no fraction after every halving, and GradScaler's own."""

_NEVER = 2**31 - 1
"""Steps after which the scale grows."""

_UNSCALE = "aten::_amp_foreach_non_finite_check_and_unscale_"
_ARGUMENTS = frozenset({"grad_scale", "found_inf"})


def scale_for(feeds: Sequence[Feed], dtype: str) -> float:
    """Return the largest power of two, within limits, that keeps every gradient finite in `dtype`: 2**16 for most.

    A power of two changes no digit of a gradient, neither on its way in nor out.
    """
    largest = max((_largest(value) for feed in feeds for value in feed.gradients.values()), default=0.0)
    if not 0.0 < largest < math.inf:
        return 2.0**LARGEST_EXPONENT
    room = math.floor(math.log2(FORMATS[dtype].largest) - math.log2(largest))
    return 2.0 ** min(max(room, SMALLEST_EXPONENT), LARGEST_EXPONENT)


class ScaledWatch:
    """Steps through a GradScaler: gradients come to it scaled, and go to the optimizer as they were.

    Before the first step and before that in the middle the same gradients come with an infinity each. Such a step
    must leave parameters and state bit for bit as they were, and state that it makes must be zero: memory that it
    leaves unwritten is filled with NaN, so that this does not depend on what lay there. The scaler shows what it
    found by halving its scale.
    """

    def __init__(self, optimizer: TorchOptimizer, scale: float, n_steps: int, device: str, *, fused: bool) -> None:
        self._optimizer = optimizer
        self._scaler = torch.amp.GradScaler(device, init_scale=scale, growth_interval=_NEVER)
        self._operators = OperatorWatch(optimizer, unscaled(optimizer, fused=fused))
        self._infinite = {0, n_steps // 2}
        self._steps = self._skipped = 0
        self._against = ""

    def __call__(self, apply: Apply) -> None:
        """Apply one update, after one that must be skipped where it is due."""
        tensors = self._optimizer.tensors
        given = {name: tensor.grad for name, tensor in tensors.items() if tensor.grad is not None}
        if not given:
            apply()  # GradScaler refuses to look at no gradient at all
            self._steps += 1
            return
        if self._steps in self._infinite and fed_among(tensors):
            self._skip(given)
        before = self._scale_up(given)
        self._operators(self._scaled_step)
        self._scaler.update()
        self._steps += 1
        if self._scaler.get_scale() != before:
            self._object(f"the scaler found an infinity in step {self._steps}, which has none")

    def verdict(self) -> tuple[bool, str]:
        """Return whether every step was scaled and unscaled, and every infinite one skipped without a trace."""
        on_path, observed = self._operators.verdict()
        if self._against or not on_path:
            return False, self._against or observed
        if not self._skipped:
            return False, "no step with infinite gradients could be put in: no gradient was dense"
        return True, f"{observed}; {self._skipped} steps with infinite gradients were skipped without a trace"

    def _scaled_step(self) -> None:
        self._scaler.step(self._optimizer.optimizer)

    def _scale_up(self, given: Mapping[str, Any]) -> float:
        """Set every gradient to that given, scaled; return the scale."""
        for name, gradient in given.items():
            # A 0-d gradient of 16 bits would take on the scale's dtype.
            self._optimizer.tensors[name].grad = self._scaler.scale(gradient).to(gradient.dtype)
        return float(self._scaler.get_scale())

    def _skip(self, given: Mapping[str, Any]) -> None:
        """Take a step in which every dense gradient holds an infinity, and look at what it leaves."""
        scale = self._scale_up(given)
        for name in fed_among(self._optimizer.tensors):
            self._optimizer.tensors[name].grad.view(-1)[0] = math.inf
        parameters, state = self._kept()
        with unwritten_memory_as_nan():
            self._scaled_step()
        self._scaler.update()
        after, state_after = self._kept()
        self._skipped += 1
        where = f"a step with infinite gradients, before step {self._steps + 1},"
        if self._scaler.get_scale() != scale / 2:
            self._object(f"{where} left the scale at {self._scaler.get_scale():g}, not at half of {scale:g}")
        for name in parameters:
            if not alike(parameters, after, name):
                self._object(f"{where} changed {name!r}")
        for slot, name in state:
            if not alike(state, state_after, (slot, name)):
                self._object(f"{where} changed {slot!r} of {name!r}")
        for slot, name in state_after:
            if (slot, name) not in state and np.any(state_after[slot, name] != 0):
                self._object(f"{where} left {slot!r} of {name!r} unwritten, or not zero")

    def _kept(self) -> tuple[dict[str, Array], dict[tuple[str, str], Array]]:
        """Return copies of parameters and state."""
        parameters = {name: to_array(tensor) for name, tensor in self._optimizer.tensors.items()}
        slots = self._optimizer.read_state()
        return parameters, {(slot, name): array for slot, each in slots.items() for name, array in each.items()}

    def _object(self, against: str) -> None:
        self._against = self._against or against


def unscaled(optimizer: TorchOptimizer, *, fused: bool) -> Judge:
    """Return what judges that gradients were unscaled, and parameters written by fused kernels if that is asked for.

    Either the scaler does it before the optimizer sees them, as for the fused Adagrad of torch 2.7, or the optimizer
    claims to do it itself, as torch's other fused ones do: then its kernels must have been given the scale and what
    was found.
    """

    def judge(seen: Seen, fed: Iterable[str]) -> str:
        claims = getattr(optimizer.optimizer, "_step_supports_amp_scaling", False)
        against = written_by_fused(seen, fed) if fused or claims else ""
        if against or not claims:
            return against or ("" if _UNSCALE in seen.operators else f"the scaler's {_UNSCALE} did not run")
        lacking = [each for each in sorted(seen.writing()) if not seen.given[each] >= _ARGUMENTS]
        return f"{lacking[0]} was not given grad_scale and found_inf" if lacking else ""

    return judge


def alike(before: Mapping[Any, Array], after: Mapping[Any, Array], key: Any) -> bool:
    """Return whether an array is still there, bit for bit."""
    return key in after and before[key].tobytes() == after[key].tobytes()


@contextmanager
def unwritten_memory_as_nan() -> Iterator[None]:
    """Let new tensors that nothing has written to hold NaN, which torch does while it is deterministic."""
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    try:
        yield
    finally:
        torch.utils.deterministic.fill_uninitialized_memory = filled
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)


def _largest(value: Array | SparseRows | None) -> float:
    array = value.values if isinstance(value, SparseRows) else value
    if array is None or not array.size:
        return 0.0
    return float(np.max(np.abs(array.astype(np.float64))))
