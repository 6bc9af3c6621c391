"""Tables of known optimizers: what `check` audits without targets, and which rule a class is documented to follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .expectation import Expectation, parse_expectation


@dataclass(frozen=True, slots=True)
class BuiltinTarget:
    """One optimizer of an installed framework, with the verdict that is expected of it."""

    framework: str
    spec: str
    expected: str
    options: Mapping[str, Any] = field(default_factory=dict)
    path: str | None = None

    @property
    def expectation(self) -> Expectation:
        """`expected`, parsed."""
        return parse_expectation(self.expected)


_ADAMW = "decoupled,law=lr*wd,order=previous,epsilon=outside"
_ADAM_HAT = "decoupled,law=lr*wd,order=previous,epsilon=hat"
_SGDW_INSIDE = "decoupled,law=lr*wd,order=previous,momentum=lr_inside"
_SGDW_OUTSIDE = "decoupled,law=lr*wd,order=previous,momentum=lr_outside"
_ADAM_L2 = "l2,epsilon=outside"
_SGD_L2 = "l2,momentum=lr_outside"

BUILTIN_TARGETS = (
    BuiltinTarget("numpy", "optconform.adapters.numpy_optimizers:AdamW", _ADAMW),
    BuiltinTarget("numpy", "optconform.adapters.numpy_optimizers:SGDW", _SGDW_OUTSIDE),
    BuiltinTarget("torch", "torch.optim:AdamW", _ADAMW, {"foreach": False}),
    BuiltinTarget("torch", "torch.optim:AdamW", _ADAMW, {"foreach": True}),
    BuiltinTarget("torch", "torch.optim:AdamW", _ADAMW, {"fused": True}),
    BuiltinTarget("torch", "torch.optim:Adam", _ADAMW, {"decoupled_weight_decay": True}),
    BuiltinTarget("torch", "torch.optim:Adam", _ADAM_L2),
    BuiltinTarget("torch", "torch.optim:SGD", _SGD_L2, {"momentum": 0.9}),
    BuiltinTarget("torch", "torch.optim:SGD", "equivalent"),
    BuiltinTarget("tensorflow", "keras.optimizers:AdamW", _ADAM_HAT),
    BuiltinTarget("tensorflow", "keras.optimizers:AdamW", _ADAM_HAT, path="function"),
    BuiltinTarget("tensorflow", "keras.optimizers:AdamW", _ADAM_HAT, path="compiled"),
    BuiltinTarget("tensorflow", "keras.optimizers:Adam", _ADAM_HAT),
    BuiltinTarget("tensorflow", "keras.optimizers:SGD", _SGDW_INSIDE, {"momentum": 0.9}),
    BuiltinTarget("jax", "optax:adamw", _ADAMW),
    BuiltinTarget("jax", "optax:adamw", _ADAMW, path="compiled"),
    BuiltinTarget("jax", "optconform.adapters.optax_chains:adam_l2", _ADAM_L2),
    BuiltinTarget("jax", "optconform.adapters.optax_chains:sgd_l2", _SGD_L2),
    BuiltinTarget("jax", "optconform.adapters.optax_chains:sgdw", _SGDW_OUTSIDE),
)
"""Every row is checked; the L2 ones are expected to be L2, since the tool must tell both apart."""


@dataclass(frozen=True, slots=True)
class DocumentedRule:
    """The rule that a class is documented to follow when built with `options` among the others."""

    spec: str
    rule: str | None
    """None where those options lead beyond the reference."""
    expected: str
    """What the documentation promises of the decay, as an expectation."""
    options: Mapping[str, Any] = field(default_factory=dict)


_DOCUMENTED = (
    DocumentedRule("torch.optim:AdamW", "adamw", _ADAMW),
    DocumentedRule("torch.optim:Adam", "adamw", _ADAMW, {"decoupled_weight_decay": True}),
    DocumentedRule("torch.optim:Adam", "adam_l2", _ADAM_L2),
    DocumentedRule("torch.optim:SGD", "sgd_l2", _SGD_L2),
    DocumentedRule("keras.optimizers:AdamW", "adamw", _ADAM_HAT),
    DocumentedRule("keras.optimizers:Adam", "adamw", _ADAM_HAT),
    DocumentedRule("keras.optimizers:SGD", "sgdw", _SGDW_INSIDE),
    DocumentedRule("optax:adamw", None, _ADAMW, {"nesterov": True}),
    DocumentedRule("optax:adamw", "adamw", _ADAMW),
    DocumentedRule("optconform.adapters.numpy_optimizers:AdamW", "adamw", _ADAMW),
    DocumentedRule("optconform.adapters.numpy_optimizers:SGDW", "sgdw", _SGDW_OUTSIDE),
    DocumentedRule("optconform.adapters.optax_chains:adam_l2", "adam_l2", _ADAM_L2),
    DocumentedRule("optconform.adapters.optax_chains:sgd_l2", "sgd_l2", _SGD_L2),
    DocumentedRule("optconform.adapters.optax_chains:sgdw", "sgdw", _SGDW_OUTSIDE),
)
"""First row that applies wins."""

_BEYOND_THE_REFERENCE = frozenset(
    {"maximize", "clipnorm", "clipvalue", "global_clipnorm", "use_ema", "loss_scale_factor"}
    | {"gradient_accumulation_steps", "eps_root", "mask", "mu_dtype", "constraint"}
)
"""Options that change the documented recurrence in ways the reference does not know, when they are set."""


def documentation_of(spec: str, options: Mapping[str, Any]) -> DocumentedRule | None:
    """Return what is documented of `spec` built with `options`, None where it is no class that is known."""
    for row in _DOCUMENTED:
        if row.spec == spec and all(options.get(name) == value for name, value in row.options.items()):
            return row
    return None


def documented_rule(spec: str, options: Mapping[str, Any]) -> str | None:
    """Return the rule that `spec` built with `options` is documented to follow, None where none is known."""
    if any(options.get(name) for name in _BEYOND_THE_REFERENCE):
        return None
    row = documentation_of(spec, options)
    return None if row is None else row.rule
