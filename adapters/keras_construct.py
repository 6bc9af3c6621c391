"""From a target and hyperparameters to a Keras optimizer that is not built yet, whatever the backend."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from .errors import BuildFailed, foreign_code
from .layouts import accumulation_options
from .options import constructor_arguments, own_name, without_unaccepted_lr
from .protocol import PLAIN, Layout, Target
from .text import escape_control


def arguments_of(target: Target, hyperparameters: Mapping[str, Any], layout: Layout = PLAIN) -> dict[str, Any]:
    """Return the constructor's keyword arguments. Raises `NotSupported` where the target cannot accumulate."""
    wanted = {**without_unaccepted_lr(target, hyperparameters), **accumulation_options(target, layout)}
    arguments = constructor_arguments(target, wanted)
    lr_option = own_name(target, "lr")
    if lr_option in arguments and isinstance(arguments[lr_option], int):
        arguments[lr_option] = float(arguments[lr_option])  # Keras refuses an int
    return arguments


def constructed(target: Target, arguments: Mapping[str, Any]) -> Any:
    """Return what the target's constructor returns. Raises `BuildFailed` where that is no optimizer."""
    spec = escape_control(target.spec)
    with foreign_code(BuildFailed, f"{spec}: the constructor"):
        built = target.attribute(**arguments)
    if not all(callable(getattr(built, name, None)) for name in ("build", "apply")):
        raise BuildFailed(
            f"{spec} returned {escape_control(type(built).__name__)}, which has no build and apply; "
            "a Keras target returns an optimizer."
        )
    return built


def variable_names(names: Iterable[str]) -> dict[str, str]:
    """Return a name that Keras and TensorFlow take for every parameter, the number making it unique."""
    return {name: f"{re.sub('[^A-Za-z0-9_]', '_', name)}__{number}" for number, name in enumerate(names)}
