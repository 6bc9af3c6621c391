"""From a factory to the transformation that a user of Optax would build for a layout."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import optax

from .errors import BuildFailed, NotSupported, foreign_code
from .protocol import Target
from .signatures import signature_of
from .text import escape_control

MASK_OPTIONS = ("weight_decay_mask", "mask")
"""Options that say which parameters decay, as a tree of booleans or a function of the parameters."""


def mask_option(target: Target) -> str | None:
    """Return the target's option that says which parameters decay, None where it has none."""
    options = signature_of(target).defaults
    return next((name for name in MASK_OPTIONS if name in options), None)


def excluded_by(mask: Any, parameters: Mapping[str, Any], spec: str) -> frozenset[str]:
    """Return the parameters that `mask`, as Optax takes one, leaves out. Raises `BuildFailed` where it raises."""
    with foreign_code(BuildFailed, f"{spec}: the mask of weight decay"):
        tree = mask(dict(parameters)) if callable(mask) else mask
        # NumPy's and JAX's booleans mask too.
        if isinstance(tree, Mapping):
            return frozenset(name for name in parameters if name in tree and not tree[name])
        return frozenset() if tree is None or tree else frozenset(parameters)


def with_mask(
    target: Target, arguments: Mapping[str, Any], parameters: Mapping[str, Any], undecayed: frozenset[str]
) -> tuple[dict[str, Any], frozenset[str]]:
    """Return the arguments with `undecayed` masked from decay besides what they mask already, and all that is masked.

    Raises `NotSupported` where something is to be masked and the target has no option for it: a mask around the
    whole transformation would keep the parameters from being updated, not from being decayed.
    """
    spec = escape_control(target.spec)
    option = mask_option(target)
    if option is None:
        if undecayed:
            raise NotSupported(f"{spec} has no option {' or '.join(MASK_OPTIONS)} to exclude parameters from decay.")
        return dict(arguments), frozenset()
    given = arguments.get(option, signature_of(target).defaults[option])
    excluded = undecayed | excluded_by(given, parameters, spec)
    if not undecayed:
        return dict(arguments), excluded
    return {**arguments, option: {name: name not in excluded for name in parameters}}, excluded


def by_list(lists: Iterable[tuple[str, ...]], made: Callable[[], Any]) -> tuple[Any, list[Any]]:
    """Return one transformation for all lists, and those that `made` returned: several are labelled and combined."""
    labels = {name: str(number) for number, names in enumerate(lists) for name in names}
    parts = {label: made() for label in dict.fromkeys(labels.values())}
    if len(parts) == 1:
        return parts["0"], [parts["0"]]
    return optax.multi_transform(parts, labels), list(parts.values())


def accumulated(transformation: Any, steps: int, *, double: bool) -> Any:
    """Return `optax.MultiSteps` around `transformation`, with a float64 accumulator where `double`.

    MultiSteps accumulates in float32 unless told otherwise, which would cost double precision half its digits.
    """
    takes_dtype = "accumulator_dtype" in inspect.signature(optax.MultiSteps).parameters
    options = {"accumulator_dtype": "float64"} if double and takes_dtype else {}
    return optax.MultiSteps(transformation, every_k_schedule=steps, **options)


def required_arguments(update: Callable[..., Any]) -> list[str]:
    """Return the arguments without default that `update` wants besides gradients, state and parameters."""
    try:
        parameters = inspect.signature(update).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
