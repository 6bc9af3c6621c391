"""Which variables of a Keras optimizer are its state, parameter by parameter, whatever the backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CANONICAL_STATE: Mapping[str, str] = {"velocities": "v", "velocity_hats": "v_max"}
"""Attribute that lists one variable per parameter -> canonical slot; for `momentums` see `slots_of`."""


def slots_of(optimizer: Any, variables: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return every attribute that lists one variable per parameter: slot -> name -> variable.

    `variables` are those that the optimizer was built with, in that order. `momentums` is `m` beside `velocities`, as
    in Adam. Alone it keeps its name: Keras's SGD holds the buffer with its sign turned, mu * buffer - lr * g, where
    the canonical `momentum` is mu * buffer + lr * g.
    """
    lists = {name.strip("_"): value for name, value in vars(optimizer).items() if _is_slot(value, optimizer, variables)}
    canonical = {**CANONICAL_STATE, **({"momentums": "m"} if "velocities" in lists else {})}
    return {
        canonical.get(attribute, attribute): {
            name: variable for name, variable in zip(variables, value, strict=True) if variable is not None
        }
        for attribute, value in lists.items()
    }


def _is_slot(value: Any, optimizer: Any, variables: Mapping[str, Any]) -> bool:
    """Return whether `value` lists one variable of each parameter's shape, none of them a parameter."""
    if not isinstance(value, list | tuple) or len(value) != len(variables) or not value:
        return False
    parameters = {id(variable) for variable in variables.values()}
    return (
        any(item is not None for item in value)
        and all(
            item is None
            or (_is_assignable(item) and tuple(item.shape) == tuple(parameter.shape) and id(item) not in parameters)
            for item, parameter in zip(value, variables.values(), strict=True)
        )
        and value is not getattr(optimizer, "_variables", None)
    )


def _is_assignable(item: Any) -> bool:
    """Return whether `item` is a variable, of Keras or of TensorFlow: what has a shape and can be assigned."""
    return callable(getattr(item, "assign", None)) and hasattr(item, "shape")
