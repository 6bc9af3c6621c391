"""The options that a target's constructor takes, as its signature shows them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .protocol import Target

REQUIRED = inspect.Parameter.empty
"""Stands for the default of an option that has none."""

_FRAMEWORK_BASES = frozenset({"torch.optim.optimizer.Optimizer", "torch.optim.Optimizer", "builtins.object"})
"""Classes whose own `__init__` takes no user's option: forwarding to them says nothing."""

_REFUSING_BASES = frozenset({"keras.src.optimizers.base_optimizer.BaseOptimizer"})
"""Classes that take **kwargs and raise for every name they do not know."""


@dataclass(frozen=True, slots=True)
class Signature:
    """The options a constructor takes."""

    defaults: Mapping[str, Any]
    """Option name -> default, `REQUIRED` where there is none."""
    open: bool
    """Whether other keywords are taken too, as far as can be seen."""


def signature_of(target: Target) -> Signature:
    """Return the options of the target's constructor.

    Where a class takes **kwargs, they are taken to reach the next `__init__` along the MRO, whose
    options are then options of the class too. A callable without a signature is `open`. The first
    parameter of a torch target is where the parameters go, and is no option.
    """
    attribute = target.attribute
    if inspect.isclass(attribute):
        defaults, is_open = _class_signature(attribute)
    else:
        defaults, is_open = _callable_signature(attribute)
    if target.framework == "torch" and defaults:
        defaults.pop("params" if "params" in defaults else next(iter(defaults)))
    return Signature(defaults, is_open)


def annotation_of(target: Target, option: str) -> str:
    """Return the annotation of `option` as text; empty where the constructor shows none."""
    try:
        parameters = inspect.signature(target.attribute).parameters
    except (TypeError, ValueError):
        return ""
    found = parameters[option].annotation if option in parameters else inspect.Parameter.empty
    return "" if found is inspect.Parameter.empty else str(found)


def _class_signature(cls: type) -> tuple[dict[str, Any], bool]:
    """Merge the `__init__` signatures along the MRO for as long as **kwargs are passed on."""
    defaults: dict[str, Any] = {}
    has_init = False
    for base in cls.__mro__:
        path = f"{base.__module__}.{base.__qualname__}"
        if path in _FRAMEWORK_BASES:
            # Where every class before `object` brings no `__init__`, there is nothing to take an option.
            return defaults, base is not object or has_init
        if "__init__" not in vars(base):
            continue
        has_init = True
        try:
            found, is_open = _callable_signature(vars(base)["__init__"], skip_first=True)
        except (TypeError, ValueError):
            return defaults, True
        for name, default in found.items():
            defaults.setdefault(name, default)
        if not is_open or path in _REFUSING_BASES:
            return defaults, False
    return defaults, True


def _callable_signature(function: Callable[..., Any], *, skip_first: bool = False) -> tuple[dict[str, Any], bool]:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return {}, True
    if skip_first:
        parameters = parameters[1:]
    named = {
        parameter.name: parameter.default
        for parameter in parameters
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY)
    }
    return named, any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
