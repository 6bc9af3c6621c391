"""What of a Keras optimizer is recorded: its variables under their names, their state, and its hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .keras_import import is_variable, keras, tf
from .keras_list import excluded_by, value_of
from .keras_slots import slots_of
from .options import held_values
from .protocol import Array, Target
from .recording import GroupValues, Sink, plain_values

APPLIED_BEFORE = ("clipnorm", "clipvalue", "global_clipnorm", "gradient_accumulation_steps", "loss_scale_factor")
"""Options that act on the gradients before the update rule is given them.

What is recorded is what the rule is given, so they are no hyperparameters of it: a replay must not clip, average or
unscale a second time. The trace says under "applied_before_the_rule" in its provenance what they were."""
_NO_HYPERPARAMETERS = frozenset({"name", *APPLIED_BEFORE})


@dataclass(frozen=True, slots=True)
class RecordedVariable:
    """One trainable variable; `coordinates` are those kept of it, None for all."""

    name: str
    variable: Any
    coordinates: NDArray[np.int64] | None

    @property
    def shape(self) -> tuple[int, ...]:
        """The whole variable's."""
        return tuple(self.variable.shape)

    @property
    def dtype(self) -> str:
        """By its name in NumPy."""
        return str(keras.backend.standardize_dtype(self.variable.dtype))

    def kept(self, value: Any) -> Any:
        """The tensor `value`, of the whole variable's shape, or the vector of the coordinates that are kept of it."""
        if self.coordinates is None:
            return tf.convert_to_tensor(value)
        return tf.gather(tf.reshape(value, [-1]), tf.constant(self.coordinates))


class RecordedOptimizer:
    """A built Keras optimizer as the recording sees it.

    `rule` is the optimizer whose `update_step` runs. Variables that Keras overwrites by their "gradient" (the scales of
    float8 layers) are none of its parameters.
    """

    def __init__(self, rule: Any, sink: Sink) -> None:
        self.rule = rule
        every = list(rule._trainable_variables)
        names = _distinct([_name_of(variable) for variable in every])
        self._by_index = [
            None
            if getattr(variable, "overwrite_with_gradient", False)
            else RecordedVariable(name, variable, sink.coordinates(name, tuple(variable.shape)))
            for name, variable in zip(names, every, strict=True)
        ]
        self.variables = [each for each in self._by_index if each is not None]
        self.named = {each.name: each for each in self.variables}
        slots = slots_of(rule, dict(zip(names, every, strict=True)))
        self._slots = {
            slot: [(self._by_index[names.index(name)], held) for name, held in each.items() if name in self.named]
            for slot, each in slots.items()
        }
        self._excluded = excluded_by(rule, {each.name: each.variable for each in self.variables})

    def recorded(self, variable: Any) -> RecordedVariable | None:
        """What `variable`, of Keras or the `tf.Variable` inside, is recorded as; None if it is not."""
        index: int = self.rule._get_variable_index(variable)
        return self._by_index[index]

    def theta(self) -> list[Any]:
        """The kept coordinates of every variable, as tensors."""
        return [each.kept(as_tensor(each.variable)) for each in self.variables]

    def start(self) -> list[Any]:
        """Theta, the number of updates so far, and the slots of state, as tensors; see `named_start`."""
        slots = [
            each.kept(as_tensor(held)) for pairs in self._slots.values() for each, held in pairs if each is not None
        ]
        return [*self.theta(), as_tensor(self.rule.iterations), *slots]

    def named_start(self, values: Sequence[Array]) -> dict[str, dict[str, Array]]:
        """What `start` returned, as arrays, by slot and name."""
        names = [each.name for each in self.variables]
        count, rest = np.array(float(values[len(names)])), iter(values[len(names) + 1 :])
        found = {"theta": dict(zip(names, values, strict=False)), "step": dict.fromkeys(names, count)}
        for slot, pairs in self._slots.items():
            found[slot] = {each.name: next(rest) for each, _ in pairs if each is not None}
        return found

    def rate(self, *, otherwise: float) -> float:
        """The learning rate now. A function of the user's is not called for it, since it may count its calls."""
        rate = self.rule._learning_rate
        schedule = isinstance(rate, keras.optimizers.schedules.LearningRateSchedule)
        return float(as_tensor(self.rule.learning_rate).numpy()) if schedule or is_variable(rate) else otherwise

    def held(self) -> dict[str, Any]:
        """The hyperparameters as held now, under canonical names; variables as they are, to be read with the step."""
        kind = type(self.rule)
        target = Target(f"{kind.__module__}:{kind.__qualname__}", kind, "tensorflow")
        values = held_values(target, {}, self.rule)
        return {name: value for name, value in values.items() if name not in _NO_HYPERPARAMETERS}

    def groups(self, held: Mapping[str, Any], lr: float) -> tuple[GroupValues, ...]:
        """One group, and further ones for variables that are excluded from decay or have a constraint.

        Keras knows no groups, but what it does with such a variable is something else: no decay, or a projection
        after the update.
        """
        numbers = {name: value_of(value).tolist() if is_variable(value) else value for name, value in held.items()}
        common = {**plain_values(numbers), "lr": lr}
        grouped: dict[tuple[tuple[str, Any], ...], list[str]] = {(): []}
        for each in self.variables:
            own: dict[str, Any] = {}
            if each.name in self._excluded and common.get("weight_decay") is not None:
                own["weight_decay"] = 0.0
            constraint = getattr(each.variable, "constraint", None)
            if constraint is not None:
                own["constraint"] = type(constraint).__name__
            grouped.setdefault(tuple(own.items()), []).append(each.name)
        return tuple(GroupValues(tuple(names), {**common, **dict(own)}) for own, names in grouped.items() if names)


def applied_before(rule: Any) -> dict[str, Any]:
    """Those of `APPLIED_BEFORE` that are set, for the provenance."""
    values = plain_values({name: getattr(rule, name, None) for name in APPLIED_BEFORE})
    return {name: value for name, value in values.items() if value is not None}


def as_tensor(value: Any) -> Any:
    """A number, tensor or variable of Keras or TensorFlow as a tensor."""
    return tf.convert_to_tensor(value.value if isinstance(value, keras.Variable) else value)


def _name_of(variable: Any) -> str:
    return str(variable.path if isinstance(variable, keras.Variable) else variable.name.removesuffix(":0"))


def _distinct(names: Sequence[str]) -> list[str]:
    """`names`, those that come again with a number after them: Keras lets two variables have the same path."""
    found: dict[str, None] = {}
    for name in names:
        number, distinct = 1, name
        while distinct in found:
            number += 1
            distinct = f"{name}_{number}"
        found[distinct] = None
    return list(found)
