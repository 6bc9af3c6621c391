"""Whether torch.compile really compiled a step, all of it, and did not compile it anew in every step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .torch_optimizer import TorchOptimizer
from .torch_proofs import Apply

_COMPILING_STEPS = 2
"""Steps in which one pattern of missing gradients may compile: the first makes the state, the second finds it made."""

_OWN_BREAK = "_dynamo.graph_break()"
"""What torch.optim itself inserts where a step turns autograd off and on again: no operator lies between."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What torch.compile has counted since the process began."""

    graphs: int
    operations: int
    """Calls in these graphs."""
    breaks: tuple[str, ...]
    """First lines of the reasons for leaving compiled code in the middle of a step, torch.optim's own left out."""
    refused: tuple[str, ...]
    """First lines of the reasons for compiling nothing of a function."""

    def since(self, earlier: Counts) -> Counts:
        """Return what was counted after `earlier`."""
        return Counts(
            self.graphs - earlier.graphs,
            self.operations - earlier.operations,
            tuple((Counter(self.breaks) - Counter(earlier.breaks)).elements()),
            tuple((Counter(self.refused) - Counter(earlier.refused)).elements()),
        )


def counted() -> Counts:
    """Return what torch.compile has counted until now."""
    from torch._dynamo.utils import counters  # imports the compiler

    stats = counters["stats"]
    return Counts(
        stats["unique_graphs"],
        stats["calls_captured"],
        tuple(each for each in _reasons(counters["graph_break"]) if _OWN_BREAK not in each),
        tuple(_reasons(counters["unimplemented"])),
    )


def _reasons(times: Mapping[Any, int]) -> list[str]:
    return [str(reason).strip().partition("\n")[0] for reason, count in times.items() for _ in range(count)]


class CompileWatch:
    """Judges a compiled step by what torch.compile counts.

    Nothing here enters the dispatcher: torch.compile would step aside for it.
    """

    def __init__(self, optimizer: TorchOptimizer) -> None:
        self._tensors = optimizer.tensors
        self._first = counted()
        self._patterns: dict[frozenset[str], int] = {}
        self._steps = 0
        self._anew: list[int] = []

    def __call__(self, apply: Apply) -> None:
        """Apply one update and count what it compiled."""
        pattern = frozenset(name for name, tensor in self._tensors.items() if tensor.grad is not None)
        before = counted()
        apply()
        self._steps += 1
        self._patterns[pattern] = self._patterns.get(pattern, 0) + 1
        if counted().since(before).graphs and self._patterns[pattern] > _COMPILING_STEPS:
            self._anew.append(self._steps)

    def verdict(self) -> tuple[bool, str]:
        """Return whether graphs were compiled, without a break between them and none where it was not needed."""
        counts = counted().since(self._first)
        if not self._steps:
            return False, "no update has been applied yet"
        if not counts.graphs or not counts.operations:
            reason = "".join(f": {each}" for each in counts.refused[:1])
            return False, f"torch.compile compiled nothing in {self._steps} updates{reason}"
        if counts.breaks:
            return False, f"torch.compile left part of the step uncompiled: {counts.breaks[0]}"
        if self._anew:
            return False, f"torch.compile compiled the step anew in updates {', '.join(map(str, self._anew))}"
        return True, f"{self._steps} updates ran {counts.graphs} compiled graphs of {counts.operations} operations"
