"""Many elements stepped where they live: the one interface through which a large case is run and judged.

Gradients are made on the device (`generated_gradients`), parameters stay there, and so may what judges them: only
what is asked for comes back to the host.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, cast

from .errors import TargetError
from .frameworks import load_adapter
from .protocol import Adapter, Array


@dataclass(frozen=True, slots=True)
class LargeProblem:
    """One vector, and AdamW as its framework has it."""

    elements: int
    steps: int
    seed: int
    dtype: str
    """Format of parameters and gradients: `float32` or `float64`."""
    lr: float
    weight_decay: float
    staged: bool = False
    """Whether the host makes the gradients, and sends them."""


class LargeSteps(Protocol):
    """AdamW over one generated vector on one device. Arrays are the framework's own, 1-D, and live there."""

    def begin(self) -> None:
        """Go back to theta_0, without state."""

    def generate(self, index: int) -> None:
        """Make the gradient of step `index`, counted from 1, for all elements; one after the other from 1 on."""

    def step(self, lr: float) -> None:
        """Take one step with the gradient made last, at the learning rate `lr`."""

    def wait(self) -> None:
        """Return when the device has done all that was asked of it."""

    def parameters(self) -> Any:
        """Return the parameters as they are; the next step may change what is returned."""

    def kept(self) -> Any:
        """Return the parameters as they are, and stay, whatever steps follow."""

    def gradient(self) -> Any:
        """Return the gradient made last; the next one may change what is returned."""

    def placed(self, coordinates: Array) -> Any:
        """Return a vector of coordinates on the device, to `take` with."""

    def take(self, array: Any, where: Any) -> Any:
        """Return the elements of `array` at placed coordinates, or in a slice, as float64; inside `judging` alone."""

    def lives_on(self) -> tuple[str, ...]:
        """Return where parameters, gradient and state are now: `cpu`, `gpu:0`, ...; more than one if they are apart."""

    def to_host(self, array: Any) -> Array:
        """Return an array as NumPy has it."""

    def on_device(self, array: Array) -> Any:
        """Return a NumPy array of float64 on the device; inside `judging` alone."""

    def program(self, function: Callable[..., Any], *constants: Hashable) -> Callable[..., Any]:
        """Return `function` with `constants` as its first arguments, as one program where the framework makes one.

        It takes and returns nested tuples of arrays. The same function and constants give the same program.
        """

    def judging(self) -> AbstractContextManager[Any]:
        """Return the context in which float64 arrays are computed with."""


_MODULES = {"torch": ("torch_large", "TorchLarge"), "jax": ("optax_large", "OptaxLarge")}
"""Framework -> module beside this one, and its class there."""
LARGE_FRAMEWORKS = tuple(_MODULES)


def load_large(framework: str, device: str, problem: LargeProblem) -> LargeSteps:
    """Import `framework` and return its steps of `problem` on `device`, before the first.

    Raises `TargetError` for a framework without, `NotSupported` for one that does not stage, `MissingFramework` and
    `MissingDevice`.
    """
    if framework not in _MODULES:
        raise TargetError(f"framework {framework!r} has no large case; expected one of {', '.join(_MODULES)}.")
    adapter: Adapter = load_adapter(framework)
    name, kind = _MODULES[framework]
    module = importlib.import_module(f".{name}", __package__)
    return cast("LargeSteps", getattr(module, kind)(adapter, device, problem))
