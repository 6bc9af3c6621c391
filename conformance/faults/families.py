"""The sound optimizers that faults are planted in, and how each of their faults must be named. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..result import ExitStatus, Severity

FRAMEWORKS = ("numpy", "torch", "tensorflow", "jax")
_WARNING = Severity.WARNING
_FAULTS = "optconform.conformance.faults"


@dataclass(frozen=True, slots=True)
class Named:
    """How one fault must be named: the code, its severity, and the errors that are legitimate besides."""

    fault: str
    code: str
    severity: Severity = Severity.ERROR
    also: tuple[str, ...] = ()
    exit_status: ExitStatus = ExitStatus.NOT_AS_EXPECTED
    frameworks: tuple[str, ...] = FRAMEWORKS
    """Those in which it is planted: not all of them have groups, sparse gradients or a `maximize`."""


@dataclass(frozen=True, slots=True)
class Family:
    """One update rule: what is expected of it when it is sound, and how its own faults must be named."""

    name: str
    expectation: str
    faults: tuple[Named, ...]
    """Planted in it in every framework, besides those `OF_DECAY`."""
    targets: Mapping[str, str]
    """Framework -> `module:attribute`."""
    documented_rule: str | None = None
    """The rule of the reference that it follows when it is sound."""


_MUTABLE = ("numpy", "torch")
"""Frameworks whose arrays a step can change in place."""
_CHEAP = ("numpy", "torch")
"""Frameworks in which variants of a fault that is planted everywhere are planted too: an audit costs a third."""

OF_DECAY = (
    Named("coupled", "OC101"),
    Named("ignored", "OC102"),
    Named("after_update", "OC104", _WARNING),
    Named("proximal", "OC104", _WARNING),
    Named("constant_target", "OC105"),
    Named("sign_target", "OC105"),
    Named("sign_flipped", "OC106"),
    Named("twice", "OC108"),
    Named("three_times", "OC108", frameworks=_CHEAP),
    Named("uneven_small", "OC109"),
    Named("lr_dropped", "OC201"),
    Named("schedule_law", "OC201"),
    Named("half", "OC201"),
    Named("double", "OC201", frameworks=_CHEAP),
    Named("lr_squared", "OC201", frameworks=_CHEAP),
    Named("wd_squared", "OC201", frameworks=_CHEAP),
    # Neither follows lr_t, so neither obeys the law lr*wd.
    Named("build_lr", "OC202", _WARNING, also=("OC201",)),
    Named("stale_lr", "OC203", also=("OC201",)),
)
"""Faults of the decay, which know nothing of the rule: planted in every family in NumPy, in one by turns elsewhere."""

_AS_EXPECTED = ExitStatus.AS_EXPECTED
"""Of a warning that no expectation is about."""
_UNEVEN = Named("uneven_vectors", "OC109", _WARNING)

_OF_ADAM = (
    # The release that it was seen in had both; the placement of epsilon is expected to be another.
    Named("after_update_eps_hat", "OC104", _WARNING, also=("OC302",)),
    Named("preconditioned", "OC107", _WARNING),
    _UNEVEN,
    Named("ascent", "OC301"),
    Named("eps_subtracted", "OC301"),
    Named("root_missing", "OC301", frameworks=_CHEAP),
    Named("second_moment_uncorrected", "OC301", frameworks=_CHEAP),
    Named("betas_swapped", "OC301", frameworks=_CHEAP),
    Named("eps_hat", "OC302"),
    Named("eps_inside", "OC302"),
    Named("no_bias_correction", "OC303"),
    Named("bias_correction_late", "OC303"),
    Named("eps_missing", "OC409"),
    Named("count_by_group", "OC402", frameworks=("torch",)),
    Named("count_unsaved", "OC405", frameworks=("torch", "jax")),
    # A function that TensorFlow traced keeps the plain number as it was when it was traced.
    Named("count_unsaved", "OC405", also=("OC408",), frameworks=("tensorflow",)),
)
_OF_SGD = (
    _UNEVEN,
    Named("ascent", "OC301"),
    Named("lr_inside", "OC304"),
    Named("maximize_flips_decay", "OC401", frameworks=("torch",)),
    # n applications of one decay are what OC108 is about; the group decays once for each of n dtypes.
    Named("decay_by_dtype", "OC402", also=("OC108",), frameworks=("torch",)),
    Named("decay_by_micro_step", "OC406", frameworks=("tensorflow",)),
    Named("rows_with_gradient", "OC407", _WARNING, exit_status=_AS_EXPECTED, frameworks=("torch",)),
    Named("dampened_foreach", "OC408", frameworks=("torch",)),
    Named("wd_change_ignored", "OC414", _WARNING, exit_status=_AS_EXPECTED, frameworks=(*_MUTABLE, "tensorflow")),
)
_OF_LION = (
    Named("missing_as_zero", "OC403", _WARNING, exit_status=_AS_EXPECTED, frameworks=_MUTABLE),
    Named("exclusion_ignored", "OC410"),
    Named("maximize_ignored", "OC413", _WARNING, exit_status=_AS_EXPECTED, frameworks=("torch",)),
)
_OF_RMSPROP = (
    Named("preconditioned", "OC107", _WARNING),
    Named("eps_missing", "OC409"),
    Named("last_bit", "OC411", _WARNING, exit_status=_AS_EXPECTED),
    # Decay follows the learning rate of construction as all else does.
    Named("lr_change_ignored", "OC412", also=("OC201",)),
)
_OF_TRUST = (
    # Nothing is expected here that uneven decay would keep from being determined, and a warning alone is a pass.
    Named("uneven_vectors", "OC109", _WARNING, exit_status=_AS_EXPECTED),
    Named("in_buffer", "OC103"),
    Named("preconditioned", "OC107", _WARNING),
    Named("gradient_reused", "OC404", _WARNING, exit_status=_AS_EXPECTED, frameworks=_MUTABLE),
)


def _targets(numpy: str, optax: str) -> dict[str, str]:
    return {
        "numpy": f"{_FAULTS}.numpy_faults:{numpy}",
        "torch": f"{_FAULTS}.torch_faults:{numpy}",
        "tensorflow": f"{_FAULTS}.keras_faults:{numpy}",
        "jax": f"{_FAULTS}.optax_faults:{optax}",
    }


_DECOUPLED = "decoupled,law=lr*wd,order=previous"

FAMILIES = (
    Family("adamw", f"{_DECOUPLED},epsilon=outside", _OF_ADAM, _targets("AdamW", "adamw"), "adamw"),
    Family("sgdw", f"{_DECOUPLED},momentum=lr_outside", _OF_SGD, _targets("SGDW", "sgdw"), "sgdw"),
    Family("lion", _DECOUPLED, _OF_LION, _targets("Lion", "lion")),
    Family("rmsprop", _DECOUPLED, _OF_RMSPROP, _targets("RMSprop", "rmsprop")),
    Family("trust", _DECOUPLED, _OF_TRUST, _targets("TrustSGDW", "trust_sgdw")),
)
