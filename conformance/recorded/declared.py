"""What the optimizer of a recorded run is declared to do: its class by its public name, and what that documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...adapters.keras_rounding import casts_of_class
from ...adapters.protocol import Cast, MissingGradient
from ..builtin_targets import documentation_of, documented_rule
from ..expectation import DEFAULT_EXPECTATION, Expectation, parse_expectation

_PUBLIC: Mapping[str, str] = {
    "torch.optim": "torch.optim",
    "keras.src.optimizers": "keras.optimizers",
    "keras.optimizers": "keras.optimizers",
    "optax._src": "optax",
}
"""Package in which a class is defined -> the one from which it is imported."""

_CONVENTIONS: Mapping[str, MissingGradient] = {
    "numpy": MissingGradient.SKIPPED,
    "torch": MissingGradient.SKIPPED,
    "tensorflow": MissingGradient.SKIPPED_SHARED_COUNT,
    "jax": MissingGradient.ZERO,
}
"""Framework -> what becomes of a parameter without a gradient."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A class, and what it is documented to do with the hyperparameters of a run."""

    spec: str
    """Its public name, `package:attribute`, where that is known; else as it was recorded."""
    rule: str | None
    """The rule of the reference that it is documented to follow; None where none is known."""
    expectation: Expectation

    @property
    def known(self) -> bool:
        """Whether the class is documented to follow a rule of the reference."""
        return self.rule is not None


def public_name(optimizer: str) -> str:
    """Return the public name of `optimizer`, recorded as `module:qualified name`."""
    module, _, name = optimizer.partition(":")
    for package, public in _PUBLIC.items():
        if module == package or module.startswith(f"{package}."):
            return f"{public}:{name}"
    return optimizer


def declared(optimizer: str, held: Mapping[str, Any]) -> Declared:
    """Return what `optimizer`, recorded as `module:qualified name`, is documented to do where it holds `held`.

    Of a class that is not known decoupled decay is expected, as of any target.
    """
    spec = public_name(optimizer)
    # The gradients of a run that maximizes are judged with the sign that its rule sees.
    options = {name: value for name, value in held.items() if name != "maximize"}
    rule, row = documented_rule(spec, options), documentation_of(spec, options)
    expectation = parse_expectation(DEFAULT_EXPECTATION if rule is None or row is None else row.expected)
    if not held.get("momentum"):  # without a buffer there is no form of it
        expectation = replace(expectation, momentum=None)
    return Declared(spec, rule, expectation)


def convention_of(framework: str) -> MissingGradient:
    """Return what `framework` does with a parameter without a gradient."""
    return _CONVENTIONS.get(framework, MissingGradient.SKIPPED)


def casts_of(optimizer: str, dtype: str) -> tuple[Cast, ...]:
    """Return what the class `optimizer` is known to round on use over parameters of `dtype`."""
    package, _, name = public_name(optimizer).partition(":")
    return casts_of_class(name, dtype) if package == "keras.optimizers" else ()


def scalars_of(framework: str, held: Mapping[str, Any], dtype: str) -> str | None:
    """Return the dtype of beta**t and other scalars where it is known to be narrower than expected; None elsewhere.

    PyTorch counts steps in float32 tensors where it is capturable or differentiable; Keras takes powers in the
    weights' own 16 bits.
    """
    if framework == "torch" and (held.get("capturable") or held.get("differentiable")):
        return "float32"
    return dtype if framework == "tensorflow" and dtype in ("float16", "bfloat16") else None
