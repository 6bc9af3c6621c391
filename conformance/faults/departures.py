"""How the optimizers of the collection can depart from what they should do: data that every framework's code reads.

Sound, they do in step t (lr_t = eta_t * alpha, theta the parameters before the step, |.| the length of a tensor):

    AdamW  m <- beta1*m + (1 - beta1)*g;  v <- beta2*v + (1 - beta2)*g*g;  c_i = 1 - beta_i**t
           u = lr_t * (m/c_1) / (sqrt(v/c_2) + eps);  theta <- theta - u - lr_t*weight_decay*theta
    SGDW   b <- momentum*b + g;  u = lr_t * b;  theta <- theta - u - lr_t*weight_decay*theta
    trust  as SGDW, with g/|g| in place of g, and u = lr_t * min(|theta|, 1) * b, a capped trust ratio
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from . import decays
from .decays import Array, Coefficient, Decay, Scalar

SquareRoot = Callable[[Array], Array]
Denominator = Callable[[Array, Scalar, float, SquareRoot], Array]
"""(v, c_2, eps, square root of the framework) -> what m/c_1 is divided by."""
Corrections = Callable[[float, float, Scalar], tuple[Scalar, Scalar]]
"""(beta1, beta2, t counted from 1) -> (c_1, c_2)."""

SMALLEST_LENGTH = 1e-30
"""Keeps a gradient of zeros divisible by its length; lost in the rounding of any other gradient's length."""


def eps_outside(v: Array, c2: Scalar, eps: float, sqrt: SquareRoot) -> Array:
    """Return sqrt(v/c_2) + eps, the sound form."""
    return sqrt(v / c2) + eps


def eps_hat(v: Array, c2: Scalar, eps: float, sqrt: SquareRoot) -> Array:
    """Return (sqrt(v) + eps) / sqrt(c_2)."""
    return (sqrt(v) + eps) / c2**0.5


def eps_inside(v: Array, c2: Scalar, eps: float, sqrt: SquareRoot) -> Array:
    """Return sqrt(v/c_2 + eps)."""
    return sqrt(v / c2 + eps)


def eps_subtracted(v: Array, c2: Scalar, eps: float, sqrt: SquareRoot) -> Array:
    """Return sqrt(v/c_2) - eps."""
    return sqrt(v / c2) - eps


def eps_missing(v: Array, c2: Scalar, eps: float, sqrt: SquareRoot) -> Array:
    """Return sqrt(v/c_2): 0 as long as an element has no gradient."""
    return sqrt(v / c2)


def root_missing(v: Array, c2: Scalar, eps: float, sqrt: SquareRoot) -> Array:
    """Return v/c_2 + eps."""
    return v / c2 + eps


def corrected(beta1: float, beta2: float, t: Scalar) -> tuple[Scalar, Scalar]:
    """Return (1 - beta1**t, 1 - beta2**t), the sound form."""
    return 1.0 - beta1**t, 1.0 - beta2**t


def uncorrected(beta1: float, beta2: float, t: Scalar) -> tuple[Scalar, Scalar]:
    """Return (1, 1)."""
    return 1.0, 1.0


def corrected_late(beta1: float, beta2: float, t: Scalar) -> tuple[Scalar, Scalar]:
    """Return (1 - beta1**(t + 1), 1 - beta2**(t + 1)): the step was counted twice."""
    return corrected(beta1, beta2, t + 1)


def second_uncorrected(beta1: float, beta2: float, t: Scalar) -> tuple[Scalar, Scalar]:
    """Return (1 - beta1**t, 1)."""
    return 1.0 - beta1**t, 1.0


@dataclass(frozen=True, slots=True)
class Departure:
    """One way to be sound, or not quite; the defaults are the sound ones."""

    description: str = "nothing is wrong"
    coefficient: Coefficient = decays.lr_wd
    decay: Decay = decays.before_update
    coupled: bool = False
    """g + weight_decay*theta enters the moments instead."""
    in_buffer: bool = False
    """weight_decay*theta is added to what enters the buffer, after that was normalised."""
    ascent: bool = False
    """u is added instead of subtracted."""
    denominator: Denominator = eps_outside
    corrections: Corrections = corrected
    betas_swapped: bool = False
    lr_inside: bool = False
    """SGDW: b <- momentum*b + lr_t*g; u = b."""

    def gradient(self, grad: Array, theta: Array, weight_decay: float) -> Array:
        """Return what enters the moments."""
        return grad + weight_decay * theta if self.coupled else grad

    def entering(self, direction: Array, theta: Array, weight_decay: float) -> Array:
        """Return what is added to the momentum buffer, from the gradient as it was normalised."""
        return direction + weight_decay * theta if self.in_buffer else direction

    def betas(self, beta1: float, beta2: float) -> tuple[float, float]:
        """Return the decay rates of the first and the second moment."""
        return (beta2, beta1) if self.betas_swapped else (beta1, beta2)


SOUND = Departure()

DEPARTURES: Mapping[str, Departure] = MappingProxyType(
    {
        "coupled": Departure("weight_decay*theta is added to the gradient", decays.nothing, coupled=True),
        "in_buffer": Departure(
            "weight_decay*theta is added to the normalised gradient", decays.nothing, in_buffer=True
        ),
        "ignored": Departure("weight_decay is accepted and never used", decays.nothing),
        "lr_dropped": Departure("decay is weight_decay*theta, whatever the learning rate", decays.wd),
        "schedule_law": Departure("decay follows the schedule, not the learning rate", decays.schedule_wd),
        "half": Departure("decay is half as strong as configured", decays.half_lr_wd),
        "double": Departure("decay is twice as strong as configured, applied once", decays.double_lr_wd),
        "lr_squared": Departure("the learning rate enters the decay twice", decays.lr_squared_wd),
        "wd_squared": Departure("weight_decay enters the decay twice", decays.lr_wd_squared),
        "sign_flipped": Departure("decay adds lr*weight_decay*theta", decays.negative_lr_wd),
        "build_lr": Departure("decay uses the constructor's learning rate for ever", decays.build_lr_wd),
        "stale_lr": Departure("decay uses the learning rate of the step before", decays.stale_lr_wd),
        "after_update": Departure("decay shrinks the parameters after the step", decay=decays.after_update),
        "proximal": Departure("the stepped parameters are divided by 1 + lr*weight_decay", decay=decays.proximal),
        "twice": Departure("decay is applied twice in a step", decay=decays.twice),
        "three_times": Departure("decay is applied three times in a step", decay=decays.three_times),
        "constant_target": Departure("decay subtracts a constant", decay=decays.by_a_constant),
        "sign_target": Departure("decay subtracts a multiple of sign(theta)", decay=decays.by_the_sign),
        "uneven_vectors": Departure("vectors decay half as much as matrices", decay=decays.half_for_vectors),
        "uneven_small": Departure("small parameters decay half as much as large ones", decay=decays.half_for_small),
        "ascent": Departure("the step is added instead of subtracted", ascent=True),
        "eps_hat": Departure("eps is added to the uncorrected root", denominator=eps_hat),
        "eps_inside": Departure("eps is added under the root", denominator=eps_inside),
        "eps_subtracted": Departure("eps is subtracted from the root", denominator=eps_subtracted),
        "eps_missing": Departure("eps is left out: 0/0 where no gradient came yet", denominator=eps_missing),
        "root_missing": Departure("the second moment's root is not taken", denominator=root_missing),
        "no_bias_correction": Departure("the moments are not corrected", corrections=uncorrected),
        "bias_correction_late": Departure("the correction is one step ahead", corrections=corrected_late),
        "second_moment_uncorrected": Departure("only the first moment is corrected", corrections=second_uncorrected),
        "betas_swapped": Departure("beta1 and beta2 are exchanged", betas_swapped=True),
        "lr_inside": Departure("the momentum buffer accumulates steps, not gradients", lr_inside=True),
    }
)
"""Name of a planted fault -> what it changes."""


def departure(fault: str | None) -> Departure:
    """Return the departure called `fault`, the sound one for None. Raises `ValueError` for a name there is none of."""
    if fault is None:
        return SOUND
    if fault not in DEPARTURES:
        raise ValueError(f"fault={fault!r} is not planted; expected one of {', '.join(DEPARTURES)}, or None.")
    return DEPARTURES[fault]
