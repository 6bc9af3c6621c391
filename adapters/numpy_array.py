"""NumPy: objects with `step(params, grads, lr) -> params`, made by a factory `f(**hyperparameters)`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .arrays import chosen, present, shapes_of
from .devices import resolve_device
from .errors import BuildFailed, UnknownOption, foreign_code
from .layouts import accumulation_options, copies_in, dtypes_of, lists_of, option_among
from .numpy_object import NumPyObject, ObjectSnapshot
from .options import constructor_arguments, held_values, lacking_hint, names_in_order, names_of, without_unaccepted_lr
from .protocol import PLAIN, Array, Cast, Gradients, Layout, MissingGradient, Target
from .text import escape_control

EXCLUSION_OPTIONS = ("exclude_from_weight_decay", "exclude_from_decay", "undecayed", "no_decay")
"""Constructor options that take the names of parameters to be left out of weight decay, in the order tried."""


class NumPyAdapter:
    """Builds NumPy optimizers; there is one path and one device."""

    framework = "numpy"
    paths = ("default",)
    compiled_paths: tuple[str, ...] = ()

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
        """Call `target` with the hyperparameters, once for each group of `layout`, and keep copies of `parameters`.

        `lr` goes to the constructor only if it has such an option: every step is told its own. Raises
        `UnknownOption`, `MissingDevice` or `BuildFailed`, and `NotSupported` where the factory has no option
        for accumulation or for parameters left out of decay.
        """
        resolve_device(device, self.devices(), self.framework, "NumPy computes on the CPU; use device='cpu'.")
        if path not in (None, *self.paths):
            raise UnknownOption(f"numpy has no path {path!r}; expected default.")
        dtypes = dtypes_of(layout, parameters, dtype)
        asked = {**hyperparameters, **accumulation_options(target, layout), **_exclusion_options(target, layout)}
        arguments = constructor_arguments(target, without_unaccepted_lr(target, asked))
        copies = copies_in(parameters, dtypes)
        objects = [
            NumPyObject(
                _construct(target, arguments),
                {name: copies[name] for name in group},
                escape_control(target.spec),
                names_of(target, "lr", "weight_decay"),
            )
            for group in lists_of(layout, copies)
        ]
        held = {"lr": hyperparameters["lr"]} if "lr" in hyperparameters else {}
        held |= held_values(target, arguments, objects[0].optimizer)
        return NumPyOptimizer(target, objects, tuple(copies), held, layout.undecayed)


class NumPyOptimizer:
    """Objects with `step(params, grads, lr) -> params`, one for each group, and the parameters they are stepped with.

    `params` and `grads` map names to arrays; `grads` holds None for a parameter without a gradient,
    which by this convention is left alone, its step count included.
    """

    casts: tuple[Cast, ...] = ()
    missing_gradient = MissingGradient.SKIPPED
    computes_in: str | None = None
    scalars_in: str | None = None

    def __init__(
        self,
        target: Target,
        objects: Sequence[NumPyObject],
        names: Sequence[str],
        held: Mapping[str, Any],
        excluded: frozenset[str],
    ) -> None:
        self.optimizer = objects[0].optimizer
        """The object itself, the first of several."""
        self.held = dict(held)
        self.excluded = excluded
        self._spec = escape_control(target.spec)
        self._decay_names = names_in_order(target, "weight_decay")
        self._objects = tuple(objects)
        self._names = tuple(names)
        self._shapes = shapes_of(self.read_parameters())

    def step(self, gradients: Gradients, lr: float) -> None:
        """Apply one update.

        Raises `StepFailed` where it raises or does not return every parameter, `NotSupported` for a sparse gradient:
        NumPy has no sparse arrays.
        """
        found = present(gradients, self._shapes)
        for one in self._objects:
            one.step(found, lr)

    def gradients_left(self) -> dict[str, Array]:
        """Return copies of the arrays that the last step was given, as it left them."""
        left = {name: array for one in self._objects for name, array in one.fed.items()}
        return {name: left[name].copy() for name in self._names if name in left}

    def set_weight_decay(self, value: float) -> None:
        """Set the attribute of every object that bears the name of the option, with or without an underscore.

        Raises `NotSupported` where there is none.
        """
        for one in self._objects:
            one.set_attribute(self._decay_names, value)

    def save(self) -> tuple[bytes, ...]:
        """Return the pickled `state_dict()` of every object or, where it has none, the pickled object.

        Raises `NotSupported` where that cannot be pickled, `StepFailed` where `state_dict` raises.
        """
        return tuple(one.save() for one in self._objects)

    def load(self, saved: Sequence[bytes]) -> None:
        """Give every object what `save` of another instance returned; without `load_state_dict`, it is replaced."""
        for one, payload in zip(self._objects, saved, strict=True):
            one.load(payload)
        self.optimizer = self._objects[0].optimizer

    def read_parameters(self, names: Iterable[str] | None = None) -> dict[str, Array]:
        """Return copies of the parameters (all, or those named)."""
        every = {name: array for one in self._objects for name, array in one.parameters.items()}
        shapes = {name: every[name].shape for name in self._names}
        return {name: every[name].copy() for name in chosen(names, shapes)}

    def read_state(self) -> dict[str, dict[str, Array]]:
        """Return copies of the attributes that map parameter names to arrays or numbers."""
        slots: dict[str, dict[str, Array]] = {}
        for one in self._objects:
            for slot, arrays in one.read_state().items():
                slots.setdefault(slot, {}).update(arrays)
        return slots

    def snapshot(self) -> tuple[ObjectSnapshot, ...]:
        """Return deep copies of the parameters and of all attributes that changed since construction."""
        return tuple(one.snapshot() for one in self._objects)

    def restore(self, snapshot: Sequence[ObjectSnapshot]) -> None:
        """Return to a snapshot of this instance, or of one built with other hyperparameters over the same groups."""
        for one, saved in zip(self._objects, snapshot, strict=True):
            one.restore(saved)


def _construct(target: Target, arguments: Mapping[str, Any]) -> Any:
    spec = escape_control(target.spec)
    with foreign_code(BuildFailed, f"{spec}: the constructor", lambda: lacking_hint(target, arguments)):
        built = target.attribute(**arguments)
    if not callable(getattr(built, "step", None)):
        raise BuildFailed(
            f"{spec} returned {escape_control(type(built).__name__)}, which has no "
            "step(params, grads, lr); a NumPy target returns an object that has."
        )
    return built


def _exclusion_options(target: Target, layout: Layout) -> dict[str, list[str]]:
    if not layout.undecayed:
        return {}
    option = option_among(target, EXCLUSION_OPTIONS, "leaves parameters out of weight decay")
    return {option: sorted(layout.undecayed)}
