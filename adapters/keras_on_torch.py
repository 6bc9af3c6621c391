"""Keras on its PyTorch backend: eager steps, observed in the operations that PyTorch dispatched."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from .devices import resolve_device
from .execution import Opening
from .keras_backend import import_keras
from .keras_built import KerasBuilt
from .keras_executed import BodyCalls, KerasExecuted
from .protocol import Gradients
from .torch_devices import present_devices

BACKEND = "torch"
REMEDY = "Install a PyTorch with GPU support and see torch.cuda.is_available()."

keras = import_keras(BACKEND)


def opened(opening: Opening) -> KerasExecuted:
    """Build the target on its device and begin its eager execution."""
    place = resolve_device(opening.device, present_devices(), "Keras on PyTorch", REMEDY)
    wanted = torch.device(place.replace("gpu", "cuda"))
    built = KerasBuilt(keras, opening, entered=partial(keras.device, str(wanted)))

    def holds(value: Any) -> bool:
        return isinstance(value, torch.Tensor) and value.device == wanted

    return KerasExecuted(
        built,
        EagerTorch(built),
        device=place,
        backend=str(keras.backend.backend()),
        misplaced=partial(built.misplaced, holds),
    )


class EagerTorch:
    """`Optimizer.apply`, by Keras's parallel implementation of the rule where Keras has one.

    That is a subclass which Keras puts in the place of nine of its own classes: it moves all parameters by one
    `_foreach_*` operation, where the rule written for all backends moves each by operations of its own.
    """

    def __init__(self, built: KerasBuilt) -> None:
        self._built = built
        self.parallel = any(cls.__name__ == "TorchParallelOptimizer" for cls in type(built.optimizer).__mro__)
        self._body = BodyCalls(built.optimizer, lambda _: bool(torch.compiler.is_compiling()))
        self._asked = self._steps = self._together = 0
        self._kinds: set[str] = set()

    def step(self, gradients: Gradients, lr: float) -> None:
        """Apply one update."""
        there = [name for name, gradient in gradients.items() if gradient is not None]
        moved = [self._built.variables[name].value for name in there if self._built.variables[name].value.numel()]
        with _Dispatched({tensor.data_ptr() for tensor in moved}) as dispatched:
            self._built.step(gradients, lr)
        if there:
            self._steps += 1
            self._asked += self._body.asked(gradients)
            self._together += bool(dispatched.together)
            self._kinds |= dispatched.together

    def seen(self) -> tuple[bool, str]:
        """Return whether every step moved all parameters in one operation, or each by the Python body of the rule."""
        body = self._body
        if self.parallel:
            said = (
                f"{self._together} of {self._steps} steps moved all parameters by {' and '.join(sorted(self._kinds))}"
            )
            wanted = self._together == self._steps > 0 and not body.with_values
            said = (
                said if self._kinds else f"none of {self._steps} steps moved all parameters by one _foreach_ operation"
            )
        else:
            said = "Keras has no parallel implementation of it"
            wanted = body.with_values == self._asked > 0
        said += f", {body.method} ran {body.with_values} times"
        return wanted and not body.traced, said


class _Dispatched(TorchDispatchMode):  # type: ignore[misc]  # torch is untyped here
    """Notes which `_foreach_` operations change all of the tensors at `addresses` at once.

    The decay's own `_foreach_mul_` is left out, which does so too, whatever implements the rule.
    """

    def __init__(self, addresses: set[int]) -> None:
        super().__init__()
        self._addresses = addresses
        self.together: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at one operation, and have it done."""
        kind = func.overloadpacket.__name__
        changes = kind.startswith("_foreach_") and kind.endswith("_") and kind != "_foreach_mul_"
        if changes and self._addresses and self._addresses <= {tensor.data_ptr() for tensor in args[0]}:
            self.together.add(kind)
        return func(*args, **(kwargs or {}))
