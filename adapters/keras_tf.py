"""TensorFlow: Keras 3 optimizers on the TensorFlow backend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from .arrays import checked, chosen
from .devices import resolve_device
from .errors import BuildFailed, NotSupported, StepFailed, UnknownOption, foreign_code
from .keras_casts import casts_of
from .keras_construct import arguments_of, constructed, variable_names
from .keras_import import BACKEND, is_variable, keras, tf
from .keras_list import PATHS, KerasList, ListSnapshot, excluded_by, value_of
from .layouts import copies_in, dtypes_of, lists_of
from .options import held_values, names_in_order, names_of, own_name
from .protocol import PLAIN, Array, Gradients, Layout, MissingGradient, Target
from .text import escape_control


class KerasAdapter:
    """Builds Keras optimizers: `eager`, in a `tf.function`, or in one that XLA compiles (`compiled`)."""

    framework = BACKEND
    paths = tuple(PATHS)
    compiled_paths = ("compiled",)

    def versions(self) -> dict[str, str]:
        """Return the versions of TensorFlow, Keras and NumPy."""
        return {"tensorflow": str(tf.__version__), "keras": str(keras.__version__), "numpy": np.__version__}

    def devices(self) -> tuple[str, ...]:
        """Return `cpu` and one `gpu:N` for every GPU."""
        return ("cpu", *(f"gpu:{index}" for index in range(len(tf.config.list_physical_devices("GPU")))))

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
    ) -> KerasOptimizer:
        """Construct `target` and build it over Keras variables that hold copies of `parameters`.

        Keras knows no parameter groups: every group of the layout gets an optimizer of its own, constructed
        alike, as a user who splits parameters does. `layout.undecayed` goes to `exclude_from_weight_decay`,
        `layout.accumulate` to the option `gradient_accumulation_steps`.

        Raises `UnknownOption`, `MissingDevice` or `BuildFailed`, `NotSupported` where the target has no such
        method or option, and `ValueError` for a layout that does not name every parameter in one group.
        """
        place = resolve_device(
            device,
            self.devices(),
            self.framework,
            "Install a TensorFlow with GPU support and see tf.config.list_physical_devices('GPU').",
        )
        if path not in (None, *PATHS):
            raise UnknownOption(f"tensorflow has no path {path!r}; expected one of {', '.join(PATHS)}.")
        arguments = arguments_of(target, hyperparameters, layout)
        dtypes = dtypes_of(layout, parameters, dtype)
        copies = copies_in(parameters, dtypes)
        names = variable_names(copies)
        spec = escape_control(target.spec)
        lists = []
        for group in lists_of(layout, copies):
            with tf.device(place):
                built = constructed(target, arguments)
                with foreign_code(BuildFailed, f"{spec}: creating its parameters"):
                    variables = {
                        name: keras.Variable(copies[name], dtype=dtypes[name], name=names[name]) for name in group
                    }
                _exclude(spec, built, variables, layout.undecayed & set(group))
                with foreign_code(BuildFailed, f"{spec}: build()"):
                    built.build(list(variables.values()))
            lists.append(
                KerasList(built, variables, dtypes, path or self.paths[0], names_of(target, "lr", "weight_decay"))
            )
        return KerasOptimizer(target, lists, tuple(copies), dtype, place, arguments)


class KerasOptimizer:
    """Keras optimizers over their own variables: one, or one for each list of the layout.

    A parameter without a gradient is filtered out as `Optimizer.apply` itself does, without its warning;
    the iteration count is the optimizer's and moves. With no gradient at all, `apply` has nothing to be
    called with, and neither variables nor count move.

    `SparseRows` become `tf.IndexedSlices`. Keras makes them dense: in Keras 3.15 all of its optimizers but
    Muon, which has no float64, give the bits that the dense gradient gives, and decay every row.
    """

    missing_gradient = MissingGradient.SKIPPED_SHARED_COUNT
    computes_in: str | None = None

    def __init__(
        self,
        target: Target,
        lists: Sequence[KerasList],
        names: Sequence[str],
        dtype: str,
        device: str,
        arguments: Mapping[str, Any],
    ) -> None:
        first = lists[0].optimizer
        self.optimizer = first
        """The optimizer itself (of several, the first), for checks that need the framework's own interface."""
        held = held_values(target, arguments, first)
        self.held = {name: _plain(value) for name, value in held.items() if name != "name"}
        self.casts = casts_of(first, dtype)
        # Keras casts beta and the iteration to the variables' dtype before it takes the power.
        self.scalars_in = dtype if dtype in ("float16", "bfloat16") else None
        self.excluded = frozenset[str]().union(*(excluded_by(one.optimizer, one.variables) for one in lists))
        self.lists = tuple(lists)
        """The lists, for what executes a whole course of steps and observes how."""
        variables = {name: variable for one in lists for name, variable in one.variables.items()}
        self._variables = {name: variables[name] for name in names}
        self._shapes = {name: tuple(variable.shape) for name, variable in self._variables.items()}
        self._spec = escape_control(target.spec)
        self.device = device
        """Where parameters and state live: `cpu` or `gpu:N`."""
        self._decay_names = names_in_order(target, "weight_decay")
        self._asked_decay = arguments.get(own_name(target, "weight_decay") or "")

    def step(self, gradients: Gradients, lr: float) -> None:
        """Apply one update, or one micro-step. Raises `StepFailed` where it raises."""
        found = checked(gradients, self._shapes)
        for one in self.lists:
            own = {name: found[name] for name in one.variables if name in found}
            if own:
                with self._reporting("apply()"):
                    one.step(own, lr)

    def gradients_left(self) -> dict[str, Array]:
        """Raise `NotSupported`: a step gets tensors, which nothing can change."""
        raise NotSupported("TensorFlow's tensors cannot be changed, so a step cannot reach the caller's gradients.")

    def set_weight_decay(self, value: float) -> None:
        """Set the attribute `weight_decay`, which Keras reads anew in every eager step.

        Raises `NotSupported` where the optimizer has no such attribute or keeps the decay elsewhere, and where it is
        a plain number that a `tf.function` took over when it was traced: the change would reach no step.
        """
        for one in self.lists:
            name = next((name for name in self._decay_names if hasattr(one.optimizer, name)), None)
            if name is None:
                raise NotSupported(
                    f"{self._spec} has no attribute {' or '.join(self._decay_names)} to change weight decay by."
                )
            holder = getattr(one.optimizer, name)
            if holder is None and self._asked_decay is not None:  # to set it would add Keras's decay to its own
                raise NotSupported(
                    f"{self._spec} was given weight decay {self._asked_decay!r}, but its attribute {name} holds None: "
                    "it keeps the value elsewhere."
                )
            if one.functions and not is_variable(holder):
                raise NotSupported(
                    f"{self._spec} holds {name} as a plain number, which tf.function took over when it traced the "
                    "step. Use the path eager, or hold it in a keras.Variable."
                )
            with self._reporting(f"setting {name}"):
                if is_variable(holder):
                    holder.assign(value)
                else:
                    setattr(one.optimizer, name, value)

    def save(self) -> tuple[dict[str, Array], ...]:
        """Return what `save_own_variables` of every list's optimizer stores: what Keras writes to a file."""
        with self._reporting("save_own_variables()"):
            return tuple(one.save() for one in self.lists)

    def load(self, saved: Sequence[Mapping[str, Array]]) -> None:
        """Give every list's optimizer its store. Raises `StepFailed` where `load_own_variables` raises or skips it."""
        with self._reporting("load_own_variables()"):
            for one, store in zip(self.lists, saved, strict=True):
                one.load(store)

    def read_parameters(self, names: Iterable[str] | None = None) -> dict[str, Array]:
        """Return copies of the parameters (all, or those named)."""
        return {name: value_of(self._variables[name]) for name in chosen(names, self._shapes)}

    def read_state(self) -> dict[str, dict[str, Array]]:
        """Return copies of every attribute that lists one variable per parameter: slot -> name -> array."""
        slots: dict[str, dict[str, Array]] = {}
        for one in self.lists:
            for slot, arrays in one.read_state().items():
                slots.setdefault(slot, {}).update(arrays)
        return slots

    def snapshot(self) -> tuple[ListSnapshot, ...]:
        """Return the values of all variables but the learning rate, and of plain attributes that changed."""
        with self._reporting("reading its variables"):
            return tuple(one.snapshot() for one in self.lists)

    def restore(self, snapshot: Sequence[ListSnapshot]) -> None:
        """Return to a snapshot of this instance, or of one built with other hyperparameters over the same lists."""
        with self._reporting("assigning its variables"):
            for one, saved in zip(self.lists, snapshot, strict=True):
                one.restore(saved)

    @contextmanager
    def _reporting(self, doing: str) -> Iterator[None]:
        """Work on the optimizer's device and raise `StepFailed` for whatever the optimizer raises."""
        with tf.device(self.device), foreign_code(StepFailed, f"{self._spec}: {doing}"):
            yield


def _exclude(spec: str, built: Any, variables: Mapping[str, Any], undecayed: frozenset[str]) -> None:
    """Exclude `undecayed` from decay besides what a factory excluded already. Raises `NotSupported` where it cannot.

    The method replaces what earlier calls of it excluded, and Keras takes it before `build` alone.
    """
    if not undecayed:
        return
    exclude = getattr(built, "exclude_from_weight_decay", None)
    if exclude is None:
        raise NotSupported(f"{spec} has no method exclude_from_weight_decay.")
    with foreign_code(BuildFailed, f"{spec}: exclude_from_weight_decay()"):
        exclude(var_list=[variables[name] for name in sorted(undecayed | excluded_by(built, variables))])


def _plain(value: Any) -> Any:
    """Return a scalar variable or tensor as the number it holds, all else as it is."""
    return value.numpy().item() if (is_variable(value) or tf.is_tensor(value)) and tuple(value.shape) == () else value
