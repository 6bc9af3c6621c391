"""CUDA graphs: an update is recorded once, and replayed with new values in the same memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .errors import NotSupported
from .torch_optimizer import TorchOptimizer
from .torch_proofs import Apply, OperatorLog, listed

WARM_UPS = 3
"""Updates before the capture, as torch's documentation advises: what is made or loaded only once must be there."""


class GraphWatch:
    """Applies the first update, which makes the state, on a side stream; captures one; and replays that from then on.

    Gradients are copied into the memory that was captured, the learning rate is a tensor that the groups hold. The
    further updates of the warm-up start from a snapshot that is put back, and capturing runs nothing on the device.
    """

    def __init__(self, optimizer: TorchOptimizer) -> None:
        self._optimizer = optimizer
        self._static: dict[str, Any] = {}
        self._graph: Any = None
        self._log = OperatorLog()
        self._steps = self._replays = 0
        self._dispatched: frozenset[str] = frozenset()

    def __call__(self, apply: Apply) -> None:
        """Apply one update: the first as it comes, with the capture behind it, every other by a replay.

        Raises `NotSupported` where other parameters have a gradient than in the first step.
        """
        given = {name: tensor.grad for name, tensor in self._optimizer.tensors.items() if tensor.grad is not None}
        if self._graph is None:
            self._begin(given, apply)
        else:
            self._put_in(given)
            self._log.begin(self._optimizer.tensors)
            with self._log:
                self._graph.replay()
            # Not all that ran: a replay sets the random generators, by operators of torch's own.
            self._dispatched |= self._log.seen().writing()
            self._replays += 1
        self._steps += 1

    def verdict(self) -> tuple[bool, str]:
        """Return whether every update but the first was a replay, in which no operator wrote to the parameters."""
        if not self._replays:
            return False, f"no graph has been replayed in {self._steps} updates; the first is not captured"
        if self._dispatched:
            return False, f"while the graph was replayed, parameters were written by {listed(self._dispatched)}"
        return True, f"{self._replays} updates were replays of one captured graph, after one that made the state"

    def _begin(self, given: Mapping[str, Any], apply: Apply) -> None:
        if any(gradient.layout is not torch.strided for gradient in given.values()):
            raise NotSupported("a CUDA graph takes no sparse gradients: their memory changes from step to step.")
        self._static = {name: gradient.clone() for name, gradient in given.items()}
        self._put_in(given)
        device = next(iter(self._optimizer.tensors.values())).device
        stream, current = torch.cuda.Stream(device), torch.cuda.current_stream(device)
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            apply()
            reached = self._optimizer.snapshot()
            for _ in range(WARM_UPS - 1):
                apply()
            self._optimizer.restore(reached)
        current.wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=stream):
            apply()

    def _put_in(self, given: Mapping[str, Any]) -> None:
        """Copy the gradients of this step into the memory that is captured, and let the parameters hold it."""
        if given.keys() != self._static.keys():
            other = sorted(given.keys() ^ self._static.keys())
            raise NotSupported(
                "a CUDA graph is captured with the gradients of the first step, and replayed with those of the same "
                f"parameters alone; this step differs in {', '.join(map(repr, other))}."
            )
        for name, gradient in given.items():
            self._static[name].copy_(gradient)
            self._optimizer.tensors[name].grad = self._static[name]
