"""The planted faults: which finding each must raise, in every framework. Data only.

A fault of `departures` is planted in AdamW, SGDW or a trust ratio of each framework; a few rows besides are library
classes that show what no hand-written optimizer would.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..result import ExitStatus, Severity
from .departures import DEPARTURES

_FAULTS = "optconform.conformance.faults"


@dataclass(frozen=True, slots=True)
class Planted:
    """An optimizer with a fault in it, and how the audit must judge it."""

    name: str
    framework: str
    target: str
    options: Mapping[str, Any]
    expectation: str
    code: str
    """The rule that must fire."""
    severity: Severity
    description: str
    also: frozenset[str] = frozenset()
    """Rules that rightly fire as errors besides, all of them."""
    exit_status: ExitStatus = ExitStatus.NOT_AS_EXPECTED
    documented_rule: str | None = None
    """The rule that the target is taken to be documented to follow."""
    sound_options: Mapping[str, Any] | None = field(default_factory=dict)
    """Options at which the same target is as expected; None where it has no sound form."""
    dtype: str = "float64"


@dataclass(frozen=True, slots=True)
class _Named:
    """How one fault must be named: the code, its severity, and the errors that are legitimate besides."""

    fault: str
    code: str
    severity: Severity = Severity.ERROR
    also: tuple[str, ...] = ()
    exit_status: ExitStatus = ExitStatus.NOT_AS_EXPECTED


_OF_DECAY = (
    _Named("coupled", "OC101"),
    _Named("ignored", "OC102"),
    _Named("after_update", "OC104", Severity.WARNING),
    _Named("proximal", "OC104", Severity.WARNING),
    _Named("constant_target", "OC105"),
    _Named("sign_target", "OC105"),
    _Named("sign_flipped", "OC106"),
    _Named("twice", "OC108"),
    _Named("three_times", "OC108"),
    _Named("uneven_small", "OC109"),
    _Named("lr_dropped", "OC201"),
    _Named("schedule_law", "OC201"),
    _Named("half", "OC201"),
    _Named("double", "OC201"),
    _Named("lr_squared", "OC201"),
    _Named("wd_squared", "OC201"),
    # Neither follows lr_t, so neither obeys the law lr*wd.
    _Named("build_lr", "OC202", Severity.WARNING, also=("OC201",)),
    _Named("stale_lr", "OC203", also=("OC201",)),
)
_OF_ADAM = (
    _Named("uneven_vectors", "OC109", Severity.WARNING),
    _Named("ascent", "OC301"),
    _Named("eps_subtracted", "OC301"),
    _Named("root_missing", "OC301"),
    _Named("second_moment_uncorrected", "OC301"),
    _Named("betas_swapped", "OC301"),
    _Named("eps_hat", "OC302"),
    _Named("eps_inside", "OC302"),
    _Named("no_bias_correction", "OC303"),
    _Named("bias_correction_late", "OC303"),
    _Named("eps_missing", "OC409"),
)
_OF_SGD = (
    _Named("uneven_vectors", "OC109", Severity.WARNING),
    _Named("ascent", "OC301"),
    _Named("lr_inside", "OC304"),
)
_OF_TRUST = (
    # Nothing is expected here that uneven decay would keep from being determined, and a warning alone is a pass.
    _Named("uneven_vectors", "OC109", Severity.WARNING, exit_status=ExitStatus.AS_EXPECTED),
    _Named("in_buffer", "OC103"),
)


@dataclass(frozen=True, slots=True)
class Family:
    """One update rule: what is expected of it when it is sound, and how its faults must be named."""

    name: str
    """Where the reference knows it, the name of the rule that it follows when it is sound."""
    expectation: str
    faults: tuple[_Named, ...]
    targets: Mapping[str, str]
    """Framework -> `module:attribute`."""


FAMILIES = (
    Family(
        "adamw",
        "decoupled,law=lr*wd,order=previous,epsilon=outside",
        _OF_DECAY + _OF_ADAM,
        {
            "numpy": f"{_FAULTS}.numpy_faults:AdamW",
            "torch": f"{_FAULTS}.torch_faults:AdamW",
            "tensorflow": f"{_FAULTS}.keras_faults:AdamW",
            "jax": f"{_FAULTS}.optax_faults:adamw",
        },
    ),
    Family(
        "sgdw",
        "decoupled,law=lr*wd,order=previous,momentum=lr_outside",
        _OF_DECAY + _OF_SGD,
        {
            "numpy": f"{_FAULTS}.numpy_faults:SGDW",
            "torch": f"{_FAULTS}.torch_faults:SGDW",
            "tensorflow": f"{_FAULTS}.keras_faults:SGDW",
            "jax": f"{_FAULTS}.optax_faults:sgdw",
        },
    ),
    Family(
        "trust",
        "decoupled,law=lr*wd,order=previous",
        _OF_DECAY + _OF_TRUST,
        {
            "numpy": f"{_FAULTS}.numpy_faults:TrustSGDW",
            "torch": f"{_FAULTS}.torch_faults:TrustSGDW",
            "tensorflow": f"{_FAULTS}.keras_faults:TrustSGDW",
            "jax": f"{_FAULTS}.optax_faults:trust_sgdw",
        },
    ),
)


def _planted() -> Iterator[Planted]:
    for family in FAMILIES:
        for framework, target in family.targets.items():
            for named in family.faults:
                yield Planted(
                    name=f"{framework}-{family.name}-{named.fault}",
                    framework=framework,
                    target=target,
                    options={"fault": named.fault},
                    expectation=family.expectation,
                    code=named.code,
                    severity=named.severity,
                    description=DEPARTURES[named.fault].description,
                    also=frozenset(named.also),
                    exit_status=named.exit_status,
                    # A fault of the step shows only where the rule is known; the others are named without it.
                    documented_rule=family.name if named.code == "OC301" else None,
                )


_IN_LIBRARIES = (
    Planted(
        name="tensorflow-library-rounded_betas",
        framework="tensorflow",
        target="keras.optimizers:AdamW",
        options={"weight_decay": 0.1},
        expectation="decoupled,law=lr*wd,order=previous,epsilon=hat",
        code="OC305",
        severity=Severity.WARNING,
        description="in float64, Keras rounds the learning rate and the betas of the bias correction to float32",
        exit_status=ExitStatus.AS_EXPECTED,
        sound_options=None,
    ),
)


@dataclass(frozen=True, slots=True)
class _OfValues:
    """A fault of the values that a sound optimizer is given, in a working precision."""

    family: str
    name: str
    code: str
    severity: Severity
    description: str
    options: Mapping[str, Any]
    dtype: str
    exit_status: ExitStatus


_OF_VALUES = (
    _OfValues(
        "adamw",
        "decay_rounded_away",
        "OC204",
        Severity.ERROR,
        "lr*weight_decay is so small that theta*(1 - lr*weight_decay) rounds back to theta",
        {"lr": 1e-9, "weight_decay": 1e-9},  # 1e-18 is below half an ulp of the numbers under 1, 5.6e-17
        "float64",
        ExitStatus.NOT_AS_EXPECTED,
    ),
    _OfValues(
        # In AdamW, beta2 would do; but Keras forms 1 - beta2**t in float32 too, which is then 0, and steps to NaN.
        "sgdw",
        "momentum_rounded_to_1",
        "OC306",
        Severity.WARNING,
        "momentum is so near 1 that the buffer times momentum rounds back to itself",
        {"momentum": 0.999_999_999},
        "float32",
        ExitStatus.AS_EXPECTED,
    ),
)


def _planted_values() -> Iterator[Planted]:
    for fault in _OF_VALUES:
        family = next(family for family in FAMILIES if family.name == fault.family)
        for framework, target in family.targets.items():
            yield Planted(
                name=f"{framework}-{fault.family}-{fault.name}",
                framework=framework,
                target=target,
                options=fault.options,
                expectation="decoupled,law=lr*wd",
                code=fault.code,
                severity=fault.severity,
                description=fault.description,
                exit_status=fault.exit_status,
                dtype=fault.dtype,
            )


_HELD = (
    Planted(
        name="torch-sgd-lr_tensor",
        framework="torch",
        target=f"{_FAULTS}.torch_faults:sgd_with_lr_tensor",
        options={"lr_dtype": "float32"},
        expectation="l2,momentum=lr_outside",
        code="OC305",
        severity=Severity.WARNING,
        description="the learning rate is a float32 tensor, the parameters are float64",
        exit_status=ExitStatus.AS_EXPECTED,
        sound_options={"lr_dtype": "float64"},
    ),
)

PLANTED = (*_planted(), *_planted_values(), *_HELD, *_IN_LIBRARIES)
"""Every planted fault."""
