"""Whose optimizer is this? Answered without importing any framework."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from .errors import TargetError
from .frameworks import FRAMEWORKS, framework_of_import, missing_imports, not_installed
from .option_names import ALIASES
from .protocol import Target
from .signatures import REQUIRED, signature_of
from .text import describe_error, escape_control

_PROBE = {"lr": 0.05, "weight_decay": 0.5}


def detect_framework(attribute: Any, spec: str) -> str:
    """Return the framework of a class or factory: `numpy`, `torch`, `tensorflow` or `jax`.

    Tried in this order: the modules of the class's bases (of the function itself, for a factory that
    ships with a framework); a first parameter called `params`, which is torch's; the methods of the
    class; the object that the factory returns when it is called with probing hyperparameters.

    Raises `TargetError` where nothing decides, and `MissingFramework` where the factory cannot be
    called because a framework is not installed.
    """
    return (
        _from_modules(attribute)
        or _from_signature(attribute)
        or (_from_shape(attribute, bound=False) if inspect.isclass(attribute) else None)
        or _from_result(attribute, spec)
    )


def _from_modules(attribute: Any) -> str | None:
    """Return the framework in whose modules the bases of a class, or a function, are defined."""
    while isinstance(attribute, functools.partial):
        attribute = attribute.func
    origins = attribute.__mro__ if inspect.isclass(attribute) else (attribute,)
    roots = [str(getattr(origin, "__module__", "")).partition(".")[0] for origin in origins]
    return next((row.name for root in roots for row in FRAMEWORKS.values() if root in row.class_roots), None)


def _from_signature(attribute: Any) -> str | None:
    try:
        parameters = list(inspect.signature(attribute).parameters)
    except (TypeError, ValueError):
        return None
    return "torch" if parameters and parameters[0] == "params" else None


def _from_shape(candidate: Any, *, bound: bool) -> str | None:
    """Return the framework whose protocol an object (or the instances of a class) follows."""
    if callable(getattr(candidate, "init", None)) and callable(getattr(candidate, "update", None)):
        return "jax"
    step = getattr(candidate, "step", None)
    return "numpy" if callable(step) and _positional(step) >= (3 if bound else 4) else None


def follows_numpy_protocol(cls: type) -> bool:
    """Return whether the instances of `cls` have `step(params, grads, lr)`, and no `init` and `update` as in Optax."""
    return _from_shape(cls, bound=False) == "numpy"


def _from_result(factory: Callable[..., Any], spec: str) -> str:
    shown = escape_control(spec)
    remedy = "Say which framework it is with --framework NAME (framework=NAME in Python)."
    try:
        made = factory(**_probe_arguments(factory, spec))
    except (Exception, SystemExit) as error:
        framework = framework_of_import(error.name or "") if isinstance(error, ModuleNotFoundError) else None
        if framework is not None and missing_imports(framework):
            raise not_installed(framework, f"{shown} needs it, and {describe_error(error)}") from error
        raise TargetError(
            f"{shown}: its framework cannot be told from its bases or signature, and calling it raised "
            f"{describe_error(error)}. {remedy}"
        ) from error
    found = _from_modules(type(made)) or _from_shape(made, bound=True)
    if found is None:
        raise TargetError(
            f"{shown} returned {escape_control(type(made).__name__)}, which is no optimizer of "
            f"{', '.join(FRAMEWORKS)}: expected a Keras optimizer, an object with init and update (Optax), "
            f"or one with step(params, grads, lr) (NumPy). {remedy}"
        )
    return found


def _probe_arguments(factory: Callable[..., Any], spec: str) -> dict[str, Any]:
    """Return probing values for the learning rate and the decay, where the factory has such options."""
    defaults = signature_of(Target(spec, factory, "numpy")).defaults
    arguments: dict[str, Any] = {}
    for canonical, value in _PROBE.items():
        own = next((name for name in ALIASES[canonical] if isinstance(name, str) and name in defaults), None)
        if own is not None:
            arguments[own] = value
    required = [name for name, default in defaults.items() if default is REQUIRED and name not in arguments]
    if required:
        raise TypeError(f"values are needed for {', '.join(required)}")
    return arguments


def _positional(function: Callable[..., Any]) -> int:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 0
    return sum(
        parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD) for parameter in parameters
    )
