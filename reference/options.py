"""The axes along which implementations of SGD and Adam with weight decay differ, as typed options.

Symbols, used alike in every module of the reference: theta parameters, g gradient, alpha base
learning rate (`lr`), eta_t schedule multiplier, lambda weight decay, mu momentum, beta1 and beta2
decay rates of the moments m and v, t the step, counted from 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from enum import StrEnum


class DecayLaw(StrEnum):
    """The coefficient c_t by which decoupled decay shrinks the parameters in step t."""

    LR_WD = "lr*wd"
    """c_t = eta_t * alpha * lambda: torch.optim.AdamW, Optax, Keras."""
    SCHEDULE_WD = "schedule*wd"
    """c_t = eta_t * lambda: the paper, Algorithm 1 line 9 and Algorithm 2 line 12."""
    WD = "wd"
    """c_t = lambda, whatever the learning rate: TensorFlow Addons."""


class DecayOrder(StrEnum):
    """Which parameters decoupled decay shrinks; u_t is the step without decay."""

    PREVIOUS = "previous"
    """theta_t = theta_{t-1} - u_t - c_t * theta_{t-1}: the paper."""
    UPDATED = "updated"
    """theta_t = (theta_{t-1} - u_t) * (1 - c_t)."""
    PROXIMAL = "proximal"
    """theta_t = (theta_{t-1} - u_t) / (1 + c_t)."""


class Epsilon(StrEnum):
    """Where epsilon enters Adam's denominator; vhat is v divided by its bias correction c2."""

    OUTSIDE = "outside"
    """sqrt(vhat) + eps: the paper, Algorithm 2 line 12."""
    HAT = "hat"
    """sqrt(vhat) + eps / sqrt(c2), that is, eps added to the uncorrected sqrt(v): Keras."""
    INSIDE = "inside"
    """sqrt(vhat + eps)."""


class BiasCorrection(StrEnum):
    """Whether, and for which step, the moments are divided by 1 - beta**t."""

    ON = "on"
    """Exponent t: the paper, Algorithm 2 lines 9 and 10."""
    OFF = "off"
    """No division."""
    OFF_BY_ONE = "off by one"
    """Exponent t + 1: the step count was advanced once too often."""


class AMSGrad(StrEnum):
    """Whether the denominator uses the running maximum of v, and of which v."""

    OFF = "off"
    RAW = "raw"
    """The maximum of v, corrected afterwards: torch.optim."""
    CORRECTED = "corrected"
    """The maximum of the corrected vhat: Optax."""


class Momentum(StrEnum):
    """Whether SGD's momentum buffer accumulates gradients or steps; they part when the rate changes."""

    LR_OUTSIDE = "lr_outside"
    """b_t = mu * b_{t-1} + g; u_t = lr_t * b_t: torch.optim, Optax."""
    LR_INSIDE = "lr_inside"
    """b_t = mu * b_{t-1} + lr_t * g; u_t = b_t: the paper, Algorithm 1 line 8; Keras."""


class InvalidOption(ValueError):
    """A hyperparameter lies outside the range on which the rule is defined."""


_RANGES: dict[str, tuple[float, float, bool]] = {
    # name: (lowest, highest, whether the highest itself is allowed)
    "lr": (0.0, math.inf, False),
    "weight_decay": (0.0, math.inf, False),
    "eps": (0.0, math.inf, False),
    "beta1": (0.0, 1.0, False),
    "beta2": (0.0, 1.0, False),
    "momentum": (0.0, math.inf, False),
    "dampening": (-math.inf, 1.0, True),
    "correction_beta1": (0.0, 1.0, False),
    "correction_beta2": (0.0, 1.0, False),
}


def _require_ranges(options: AdamOptions | SGDOptions) -> None:
    """Raise `InvalidOption` naming the first field of `options` that is out of range or not finite."""
    for name in (field.name for field in fields(options)):
        value = getattr(options, name)
        if name not in _RANGES or value is None:
            continue
        low, high, closed = _RANGES[name]
        if not (low <= value <= high and math.isfinite(value) and (closed or value < high)):
            bracket = "]" if closed else ")"
            raise InvalidOption(
                f"{type(options).__name__}.{name} = {value!r}, but it must lie in [{low}, {high}{bracket}; "
                f"pass another {name}"
            )


@dataclass(frozen=True, slots=True)
class SGDOptions:
    """Hyperparameters of SGD with momentum and L2 regularisation.

    Defaults are the paper's form: learning rate inside the momentum buffer, no dampening, no Nesterov.
    """

    lr: float
    weight_decay: float = 0.0
    momentum: float = 0.0
    dampening: float = 0.0
    """The gradient enters the buffer multiplied by 1 - dampening."""
    dampen_first_step: bool = True
    """False leaves the first gradient undampened, as torch.optim.SGD does."""
    nesterov: bool = False
    """Step along g + mu * b_t (g multiplied by lr where lr is inside the buffer) instead of b_t."""
    momentum_form: Momentum = Momentum.LR_INSIDE

    def __post_init__(self) -> None:
        _require_ranges(self)


@dataclass(frozen=True, slots=True)
class SGDWOptions(SGDOptions):
    """Hyperparameters of SGD with momentum and decoupled weight decay; defaults are Algorithm 1."""

    law: DecayLaw = DecayLaw.SCHEDULE_WD
    order: DecayOrder = DecayOrder.PREVIOUS


@dataclass(frozen=True, slots=True)
class AdamOptions:
    """Hyperparameters of Adam with L2 regularisation; defaults are the paper's."""

    lr: float = 1e-3
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    epsilon: Epsilon = Epsilon.OUTSIDE
    bias_correction: BiasCorrection = BiasCorrection.ON
    amsgrad: AMSGrad = AMSGrad.OFF
    correction_beta1: float | None = None
    """beta1 of the bias correction, where an implementation rounds it there only; None is `beta1`."""
    correction_beta2: float | None = None
    """beta2 of the bias correction, likewise."""

    def __post_init__(self) -> None:
        _require_ranges(self)


@dataclass(frozen=True, slots=True)
class AdamWOptions(AdamOptions):
    """Hyperparameters of Adam with decoupled weight decay; defaults are Algorithm 2."""

    law: DecayLaw = DecayLaw.SCHEDULE_WD
    order: DecayOrder = DecayOrder.PREVIOUS
