"""Planted faults that are no departure of a rule, but of values, traces, libraries and processes. Data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..result import ExitStatus, Severity
from .families import FAMILIES, FRAMEWORKS
from .planted import Planted

_FAULTS = "optconform.conformance.faults"
_DECOUPLED = "decoupled,law=lr*wd"
_AS_EXPECTED, _COULD_NOT_RUN, _UNDECIDED = (
    ExitStatus.AS_EXPECTED,
    ExitStatus.COULD_NOT_RUN,
    ExitStatus.UNDECIDED,
)


@dataclass(frozen=True, slots=True)
class _OfSetting:
    """A fault of the values or the trace that a sound optimizer of a family is given."""

    family: str
    name: str
    code: str
    severity: Severity
    description: str
    options: Mapping[str, Any]
    exit_status: ExitStatus
    dtype: str = "float64"
    trace: str = "planted-faults"
    frameworks: tuple[str, ...] = FRAMEWORKS


_OF_SETTING = (
    _OfSetting(
        "adamw",
        "decay_rounded_away",
        "OC204",
        Severity.ERROR,
        "lr*weight_decay is so small that theta*(1 - lr*weight_decay) rounds back to theta",
        {"lr": 1e-9, "weight_decay": 1e-9},  # 1e-18 is below half an ulp of the numbers under 1, 5.6e-17
        ExitStatus.NOT_AS_EXPECTED,
        frameworks=("numpy", "torch"),  # what is left is measured over 400 steps: .1 s here, 12 s in JAX
    ),
    _OfSetting(
        # In AdamW, beta2 would do; but Keras forms 1 - beta2**t in float32 too, which is then 0, and steps to NaN.
        "sgdw",
        "momentum_rounded_to_1",
        "OC306",
        Severity.WARNING,
        "momentum is so near 1 that the buffer times momentum rounds back to itself",
        {"momentum": 0.999_999_999},
        _AS_EXPECTED,
        dtype="float32",
    ),
    _OfSetting(
        "lion",
        "parameters_of_zeros",
        "OC905",
        Severity.WARNING,
        "all parameters and gradients of the trace are zero",
        {},
        _UNDECIDED,
        trace="nothing-moves",
    ),
)


def _of_setting() -> Iterator[Planted]:
    for fault in _OF_SETTING:
        family = next(family for family in FAMILIES if family.name == fault.family)
        for framework in fault.frameworks:
            yield Planted(
                name=f"{framework}-{fault.family}-{fault.name}",
                framework=framework,
                target=family.targets[framework],
                options=fault.options,
                expectation=family.expectation,
                code=fault.code,
                severity=fault.severity,
                description=fault.description,
                exit_status=fault.exit_status,
                dtype=fault.dtype,
                trace=fault.trace,
            )


_IN_LIBRARIES = (
    Planted(
        name="torch-library-Adam",
        framework="torch",
        target="torch.optim:Adam",
        options={"weight_decay": 0.1},
        expectation="decoupled",
        code="OC101",
        severity=Severity.ERROR,
        description="torch.optim.Adam is taken for AdamW",
        sound_options={"weight_decay": 0.1, "decoupled_weight_decay": True},
    ),
    Planted(
        name="torch-library-AdamW-tiny",
        framework="torch",
        target="torch.optim:AdamW",
        options={"lr": 1e-6, "weight_decay": 1e-2},
        expectation=_DECOUPLED,
        code="OC204",
        severity=Severity.ERROR,
        description="torch.optim.AdamW at lr*weight_decay below 2**-25, in float32",
        sound_options={"lr": 1e-2, "weight_decay": 1e-2},
        dtype="float32",
    ),
    Planted(
        name="torch-library-SGD-lr_tensor",
        framework="torch",
        target=f"{_FAULTS}.torch_faults:sgd_with_lr_tensor",
        options={"lr_dtype": "float32"},
        expectation="l2,momentum=lr_outside",
        code="OC305",
        severity=Severity.WARNING,
        description="the learning rate is a float32 tensor, the parameters are float64",
        exit_status=_AS_EXPECTED,
        sound_options={"lr_dtype": "float64"},
    ),
    Planted(
        name="torch-library-step_with_closure",
        framework="torch",
        target=f"{_FAULTS}.torch_faults:TwoGradients",
        options={},
        expectation="decoupled",
        code="OC906",
        severity=Severity.INFO,
        description="a step evaluates the loss anew, as sharpness-aware minimisation does",
        exit_status=_UNDECIDED,
        sound_options=None,
    ),
    Planted(
        name="tensorflow-library-rounded_betas",
        framework="tensorflow",
        target="keras.optimizers:AdamW",
        options={"weight_decay": 0.1},
        expectation="decoupled,law=lr*wd,order=previous,epsilon=hat",
        code="OC305",
        severity=Severity.WARNING,
        description="in float64, Keras rounds the learning rate and the betas of the bias correction to float32",
        exit_status=_AS_EXPECTED,
        sound_options=None,
    ),
    Planted(
        name="tensorflow-library-AdamW-epsilon",
        framework="tensorflow",
        target="keras.optimizers:AdamW",
        options={"weight_decay": 0.1, "epsilon": 1e-3},
        expectation="decoupled,law=lr*wd,order=previous,epsilon=outside",
        code="OC302",
        severity=Severity.ERROR,
        description="epsilon is carried over to Keras from PyTorch, where it is outside the root",
        sound_options=None,
    ),
    Planted(
        name="tensorflow-library-SGD-momentum",
        framework="tensorflow",
        target="keras.optimizers:SGD",
        options={"momentum": 0.9, "weight_decay": 0.1},
        expectation="decoupled,law=lr*wd,order=previous,momentum=lr_outside",
        code="OC304",
        severity=Severity.ERROR,
        description="a schedule is carried over to Keras from PyTorch, whose momentum buffer has no learning rate",
        sound_options=None,
    ),
    Planted(
        name="jax-library-chained_last",
        framework="jax",
        target=f"{_FAULTS}.optax_faults:sgd_decayed_last",
        options={},
        expectation="decoupled",
        code="OC106",
        severity=Severity.ERROR,
        description="optax.add_decayed_weights is chained after the learning rate, which turned the sign",
        sound_options={"last": False},
    ),
)


def _hostile(
    name: str, code: str, severity: Severity, status: ExitStatus, description: str, timeout: float | None = None
) -> Planted:
    return Planted(
        name=f"numpy-process-{name}",
        framework="numpy",
        target=f"{_FAULTS}.hostile:{name}",
        options={},
        expectation=_DECOUPLED,
        code=code,
        severity=severity,
        description=description,
        exit_status=status,
        sound_options={"hostile": False},
        trace="planted-faults" if timeout is None else "synthetic:small",
        timeout=timeout,
    )


_AMPLE = 120.0
"""Seconds for what takes one."""

_OF_PROCESSES = (
    _hostile(
        "RefusesDecay",
        "OC901",
        Severity.ERROR,
        _COULD_NOT_RUN,
        "the constructor refuses a weight_decay that is none of its business",
    ),
    _hostile(
        "NeedsDimensions", "OC902", Severity.ERROR, _COULD_NOT_RUN, "a step cannot take a parameter without dimensions"
    ),
    _hostile("NeverReturns", "OC903", Severity.ERROR, _COULD_NOT_RUN, "a step never returns", 2.0),
    _hostile("Exits", "OC904", Severity.ERROR, _COULD_NOT_RUN, "a step ends the process", _AMPLE),
    _hostile(
        "SeedsGlobally",
        "OC907",
        Severity.WARNING,
        _AS_EXPECTED,
        "a step seeds NumPy's global random generator",
        _AMPLE,
    ),
)

OTHER_FAULTS = (*_of_setting(), *_IN_LIBRARIES, *_OF_PROCESSES)
"""Every row that is no departure planted in a family."""
