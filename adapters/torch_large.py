"""torch.optim.AdamW over a large generated vector; see `large_steps`."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch

from .generated_gradients import GRADIENTS, PARAMETERS, Layout, generated_bits, generated_gradient, in_blocks, key_of
from .large_steps import LargeProblem
from .protocol import Array
from .pytorch import TorchAdapter
from .torch_devices import HOST_SCALARS, name_of
from .torch_staging import lane_to, staged
from .torch_tensors import to_array, to_tensor

BLOCK_ELEMENTS = {"cpu": 2**16, "cuda": 2**22}
"""What is generated at a time. Its temporaries stay in a processor's second-level cache, in a GPU's last one."""


class TorchLarge:
    """`LargeSteps` in PyTorch, on the path that AdamW takes by default: foreach on a GPU."""

    def __init__(self, adapter: TorchAdapter, device: str, problem: LargeProblem) -> None:
        self._problem = problem
        self._place = torch.device(adapter.place(device))
        self._dtype = getattr(torch, problem.dtype)
        self._lane = lane_to(self._place)
        self._gradient = torch.empty(problem.elements, dtype=self._dtype, device=self._place)
        self.begin()

    def begin(self) -> None:
        """Go back to theta_0, without state."""
        theta = torch.empty_like(self._gradient)
        self._fill(theta, 0, PARAMETERS[self._problem.dtype])
        self._parameter = torch.nn.Parameter(theta)
        self._parameter.grad = self._gradient
        self._staged = (
            staged(self._from_host(), theta.numel(), self._dtype, self._lane) if self._problem.staged else None
        )
        self._optimizer = torch.optim.AdamW(
            [self._parameter], lr=self._problem.lr, weight_decay=self._problem.weight_decay
        )

    def generate(self, index: int) -> None:
        """Make the gradient of step `index` in the place of the last one, or take it as it comes from the host."""
        if self._staged is None:
            self._fill(self._gradient, index, GRADIENTS[self._problem.dtype])
        else:
            self._parameter.grad = next(self._staged)

    def step(self, lr: float) -> None:
        """Take one step with the gradient made last."""
        self._optimizer.param_groups[0]["lr"] = lr
        self._optimizer.step()

    def wait(self) -> None:
        """Return when the device has done all that was asked of it."""
        if self._place.type == "cuda":
            torch.cuda.synchronize(self._place)

    def parameters(self) -> Any:
        """Return the parameters, which steps change in place."""
        return self._parameter.detach()

    def kept(self) -> Any:
        """Return a copy of the parameters."""
        return self._parameter.detach().clone()

    def gradient(self) -> Any:
        """Return the gradient made last."""
        return self._parameter.grad

    def placed(self, coordinates: Array) -> Any:
        """Return coordinates on the device."""
        return to_tensor(coordinates).to(self._place)

    def take(self, array: Any, where: Any) -> Any:
        """Return some elements as float64."""
        chosen = array[where] if isinstance(where, slice) else torch.index_select(array, 0, where)
        return chosen.to(torch.float64)

    def lives_on(self) -> tuple[str, ...]:
        """Return where parameters, gradient and state are now; of the count of steps, kept on the host, nothing."""
        state = self._optimizer.state.get(self._parameter, {})
        slots = [value for slot, value in state.items() if slot not in HOST_SCALARS]
        return tuple(sorted({name_of(tensor.device) for tensor in (self._parameter, self._parameter.grad, *slots)}))

    def to_host(self, array: Any) -> Array:
        """Return an array as NumPy has it."""
        return to_array(array)

    def on_device(self, array: Array) -> Any:
        """Return a NumPy array on the device."""
        return to_tensor(array).to(self._place)

    def program(self, function: Callable[..., Any], *constants: Hashable) -> Callable[..., Any]:
        """Return `function` itself: a compiler that fuses its operations is not installed everywhere."""
        return partial(function, *constants)

    def judging(self) -> AbstractContextManager[Any]:
        """Return a context in which nothing is recorded for a backward pass."""
        context: AbstractContextManager[Any] = torch.no_grad()
        return context

    def _from_host(self) -> Iterator[Array]:
        """Make the gradients of all steps on the host, one at a time."""
        problem = self._problem
        for index in range(1, problem.steps + 1):
            make = partial(generated_gradient, step=index, dtype=problem.dtype, seed=problem.seed)
            yield in_blocks(make, 0, problem.elements, problem.dtype)

    def _fill(self, into: Any, index: int, layout: Layout) -> None:
        key, size, width = key_of(self._problem.seed, index), self._problem.elements, BLOCK_ELEMENTS[self._place.type]
        for start in range(0, size, width):
            stop = min(start + width, size)
            coordinates = torch.arange(start, stop, dtype=torch.int32, device=self._place)
            into[start:stop] = generated_bits(coordinates, key, layout).view(torch.float32)
