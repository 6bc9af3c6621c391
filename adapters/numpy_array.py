"""NumPy: objects with `step(params, grads, lr) -> params`, made by a factory `f(**hyperparameters)`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import saved_attributes
from .arrays import chosen, host_copies, host_dtype, present, shapes_of
from .devices import resolve_device
from .errors import BuildFailed, StepFailed, UnknownOption, foreign_code
from .options import constructor_arguments, held_values, names_of, without_unaccepted_lr
from .protocol import PLAIN, Array, Cast, Gradients, Layout, MissingGradient, Target
from .saved_attributes import SavedValues
from .text import escape_control

CANONICAL_STATE: Mapping[str, str] = {
    "m": "m",
    "first_moment": "m",
    "exp_avg": "m",
    "v": "v",
    "second_moment": "v",
    "exp_avg_sq": "v",
    "v_max": "v_max",
    "momentum": "momentum",
    "momentum_buffer": "momentum",
}
"""Attribute that maps parameter names to arrays (leading underscores dropped) -> canonical slot.

A `velocity` is not among them: half of the code in the wild adds it to the parameters, with the sign turned.
"""


@dataclass(frozen=True, slots=True)
class NumPySnapshot:
    """Parameters and the object's attributes at one moment."""

    parameters: Mapping[str, Array]
    attributes: SavedValues


class NumPyAdapter:
    """Builds NumPy optimizers; there is one path and one device."""

    framework = "numpy"
    paths = ("default",)

    def versions(self) -> dict[str, str]:
        """Return the version of NumPy."""
        return {"numpy": np.__version__}

    def devices(self) -> tuple[str, ...]:
        """Return `cpu`, the only one."""
        return ("cpu",)

    def build(
        self,
        target: Target,
        hyperparameters: Mapping[str, Any],
        parameters: Mapping[str, Array],
        *,
        dtype: str = "float64",
        device: str = "cpu",
        path: str | None = None,
        layout: Layout = PLAIN,
    ) -> NumPyOptimizer:
        """Call `target` with the hyperparameters and keep copies of `parameters` beside it.

        `lr` goes to the constructor only if it has such an option: every step is told its own.
        Raises `UnknownOption`, `MissingDevice` or `BuildFailed`.
        """
        resolve_device(device, self.devices(), self.framework, "NumPy computes on the CPU; use device='cpu'.")
        if path not in (None, *self.paths):
            raise UnknownOption(f"numpy has no path {path!r}; expected default.")
        arguments = constructor_arguments(target, without_unaccepted_lr(target, hyperparameters))
        with foreign_code(BuildFailed, f"{escape_control(target.spec)}: the constructor"):
            built = target.attribute(**arguments)
        if not callable(getattr(built, "step", None)):
            raise BuildFailed(
                f"{escape_control(target.spec)} returned {escape_control(type(built).__name__)}, which has no "
                "step(params, grads, lr); a NumPy target returns an object that has."
            )
        held = {"lr": hyperparameters["lr"]} if "lr" in hyperparameters else {}
        held |= held_values(target, arguments, built)
        return NumPyOptimizer(target, built, host_copies(parameters, dtype), dtype, held)


class NumPyOptimizer:
    """An object with `step(params, grads, lr) -> params` and the parameters it is stepped with.

    `params` and `grads` map names to arrays; `grads` holds None for a parameter without a gradient,
    which by this convention is left alone, its step count included.
    """

    casts: tuple[Cast, ...] = ()
    missing_gradient = MissingGradient.SKIPPED
    computes_in: str | None = None
    scalars_in: str | None = None

    def __init__(
        self, target: Target, built: Any, parameters: dict[str, Array], dtype: str, held: Mapping[str, Any]
    ) -> None:
        self.optimizer = built
        """The object itself."""
        self.held = dict(held)
        self._spec = escape_control(target.spec)
        self._parameters = parameters
        self._shapes = shapes_of(parameters)
        self._dtype = dtype
        hyperparameters = names_of(target, "lr", "weight_decay")
        self._skip = hyperparameters | {f"_{name}" for name in hyperparameters}
        self._first = saved_attributes.first_values(self._attributes(), (), self._skip)

    def step(self, gradients: Gradients, lr: float) -> None:
        """Apply one update. Raises `StepFailed` where it raises or does not return every parameter."""
        found = host_copies(present(gradients, self._shapes), self._dtype)
        every: dict[str, Array | None] = {name: found.get(name) for name in self._shapes}
        # What overflows or becomes NaN is found in the parameters; NumPy's warnings would say it once a line.
        quiet = np.errstate(over="ignore", divide="ignore", invalid="ignore")
        with foreign_code(StepFailed, f"{self._spec}: step()"), quiet:
            returned = self.optimizer.step(dict(self._parameters), every, lr)
        self._parameters = self._checked(returned)

    def read_parameters(self, names: Iterable[str] | None = None) -> dict[str, Array]:
        """Return copies of the parameters (all, or those named)."""
        return {name: self._parameters[name].copy() for name in chosen(names, self._shapes)}

    def read_state(self) -> dict[str, dict[str, Array]]:
        """Return copies of the attributes that map parameter names to arrays or numbers."""
        slots: dict[str, dict[str, Array]] = {}
        for attribute, value in self._attributes().items():
            if isinstance(value, Mapping) and value and value.keys() <= self._shapes.keys():
                plain = attribute.lstrip("_")
                arrays = {name: np.array(entry) for name, entry in value.items() if _is_numeric(entry)}
                if arrays:
                    slots[CANONICAL_STATE.get(plain, plain)] = arrays
        return slots

    def snapshot(self) -> NumPySnapshot:
        """Return deep copies of the parameters and of all attributes that changed since construction."""
        return NumPySnapshot(
            parameters={name: array.copy() for name, array in self._parameters.items()},
            attributes=saved_attributes.save(self._attributes(), self._first, (), self._skip),
        )

    def restore(self, snapshot: NumPySnapshot) -> None:
        """Return to a snapshot of this instance, or of one built with other hyperparameters."""
        self._parameters = {name: array.copy() for name, array in snapshot.parameters.items()}
        saved_attributes.restore(self._attributes(), snapshot.attributes, self._first, (), self._skip)

    def _attributes(self) -> dict[str, Any]:
        return getattr(self.optimizer, "__dict__", {})

    def _checked(self, returned: Any) -> dict[str, Array]:
        """Return copies of the returned parameters in the working dtype, shapes checked."""
        if not isinstance(returned, Mapping) or returned.keys() != self._shapes.keys():
            kind = (
                f"the names {sorted(map(str, returned))}" if isinstance(returned, Mapping) else type(returned).__name__
            )
            raise StepFailed(
                f"{self._spec}: step() returned {escape_control(kind)}, but should return the new parameters, "
                "a dict with every name that it was given."
            )
        checked: dict[str, Array] = {}
        for name, shape in self._shapes.items():
            reading = f"{self._spec}: reading {name!r} as step() returned it"
            with foreign_code(StepFailed, reading), np.errstate(over="ignore"):
                checked[name] = np.array(returned[name], dtype=host_dtype(self._dtype))
            if checked[name].shape != shape:
                raise StepFailed(
                    f"{self._spec}: step() returned {name!r} with shape {checked[name].shape}, "
                    f"but it should stay {shape}."
                )
        return checked


def _is_numeric(value: Any) -> bool:
    return isinstance(value, bool | int | float | np.generic) or (
        isinstance(value, np.ndarray) and value.dtype != object
    )
