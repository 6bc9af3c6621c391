"""How the optimizers of the collection can depart from what they should do: data that every framework's code reads.

The sound form of every rule stands in `update_rules`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from . import decays
from .decays import Array, Coefficient, Decay, Scalar

SquareRoot = Callable[[Array], Array]
Denominator = Callable[[Array, Scalar, float, SquareRoot], Array]
"""(v, c_2, eps, square root of the framework) -> what m/c_1 is divided by."""
Corrections = Callable[[float, float, Scalar], tuple[Scalar, Scalar]]
"""(beta1, beta2, t counted from 1) -> (c_1, c_2)."""


class Maximize(Enum):
    """What the option `maximize` turns the sign of."""

    GRADIENT = "the gradient's alone"
    WHOLE_STEP = "the step's, decay included"
    NOTHING = "none"


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
    seen_in: str | None = None
    """A release that had it."""

    # What decay does.
    coefficient: Coefficient = decays.lr_wd
    decay: Decay = decays.before_update
    coupled: bool = False
    """g + weight_decay*theta enters the moments instead."""
    in_buffer: bool = False
    """weight_decay*theta is left in the momentum buffer besides."""
    preconditioned: bool = False
    """Decay is multiplied by what the rule scales gradients by: preconditioner or trust ratio."""

    # What a step does.
    ascent: bool = False
    """u is added instead of subtracted."""
    denominator: Denominator = eps_outside
    corrections: Corrections = corrected
    betas_swapped: bool = False
    lr_inside: bool = False
    """SGD: b <- momentum*b + lr_t*g; u = b."""
    lr_of_construction: bool = False
    """Every step uses the learning rate that the optimizer was built with."""
    last_bit: bool = False
    """Some steps are longer by one part in 2**52, drawn anew in every run."""

    # What the optimizer makes of its framework.
    maximize: Maximize = Maximize.GRADIENT
    missing_as_zero: bool = False
    """A parameter without a gradient is stepped as if it had one of zeros."""
    reuses_gradient: bool = False
    """The memory of the caller's gradient is scaled in place."""
    unsaved: bool = False
    """The step count is a plain number on the optimizer, and not part of what is saved."""
    count_by_group: bool = False
    """One step count for all parameters, advanced once for every parameter group."""
    decay_by_dtype: bool = False
    """All parameters of a group decay once for every dtype among them."""
    decay_by_micro_step: bool = False
    """Decay is applied in every micro-step of gradient accumulation."""
    rows_with_gradient: bool = False
    """A sparse gradient decays the rows alone that it has entries in."""
    dampened_foreach: bool = False
    """SGD, on the path `foreach` alone: b <- momentum*b + (1 - momentum)*g."""

    def gradient(self, grad: Array, theta: Array, weight_decay: float) -> Array:
        """Return what enters the moments."""
        return grad + weight_decay * theta if self.coupled else grad

    def left_in_buffer(self, buffer: Array, theta: Array, weight_decay: float) -> Array:
        """Return what the next step finds in the momentum buffer."""
        return buffer + weight_decay * theta if self.in_buffer else buffer

    def betas(self, beta1: float, beta2: float) -> tuple[float, float]:
        """Return the decay rates of the first and the second moment."""
        return (beta2, beta1) if self.betas_swapped else (beta1, beta2)

    def factor_of_step(self) -> float:
        """Return what a step is multiplied by: 1, or -1, or now and then a little more than 1."""
        if self.last_bit:
            return 1.0 + 2.0**-52 * random.SystemRandom().getrandbits(1)
        return -1.0 if self.ascent else 1.0


SOUND = Departure()

DEPARTURES: Mapping[str, Departure] = MappingProxyType(
    {
        # Decay.
        "coupled": Departure("weight_decay*theta is added to the gradient", coefficient=decays.nothing, coupled=True),
        "in_buffer": Departure("decay is added to the momentum buffer in place, and left there", in_buffer=True),
        "ignored": Departure(
            "weight_decay is accepted and never used", "pytorch_optimizer 3.10.1 SignSGD", coefficient=decays.nothing
        ),
        "lr_dropped": Departure(
            "decay is weight_decay*theta, whatever the learning rate",
            "tensorflow-addons 0.23.0 AdamW and SGDW, as documented",
            coefficient=decays.wd,
        ),
        "schedule_law": Departure("decay follows the schedule, not the learning rate", coefficient=decays.schedule_wd),
        "half": Departure("decay is half as strong as configured", coefficient=decays.half_lr_wd),
        "double": Departure("decay is twice as strong as configured, applied once", coefficient=decays.double_lr_wd),
        "lr_squared": Departure("the learning rate enters the decay twice", coefficient=decays.lr_squared_wd),
        "wd_squared": Departure("weight_decay enters the decay twice", coefficient=decays.lr_wd_squared),
        "sign_flipped": Departure("decay adds lr*weight_decay*theta", coefficient=decays.negative_lr_wd),
        "build_lr": Departure("decay uses the constructor's learning rate for ever", coefficient=decays.build_lr_wd),
        "stale_lr": Departure("decay uses the learning rate of the step before", coefficient=decays.stale_lr_wd),
        "after_update": Departure("decay shrinks the parameters after the step", decay=decays.after_update),
        "after_update_eps_hat": Departure(
            "decay shrinks the parameters after the step, and eps is added to the uncorrected root",
            "transformers 4.46.3 AdamW",
            decay=decays.after_update,
            denominator=eps_hat,
        ),
        "proximal": Departure("the stepped parameters are divided by 1 + lr*weight_decay", decay=decays.proximal),
        "twice": Departure("decay is applied twice in a step", decay=decays.twice),
        "three_times": Departure("decay is applied three times in a step", decay=decays.three_times),
        "constant_target": Departure(
            "decay subtracts a constant", "torch_optimizer 0.3.0 SGDW", decay=decays.by_a_constant
        ),
        "sign_target": Departure("decay subtracts a multiple of sign(theta)", decay=decays.by_the_sign),
        "preconditioned": Departure("decay is scaled as the gradient is", preconditioned=True),
        "uneven_vectors": Departure(
            "parameters of fewer than two dimensions decay half as much", decay=decays.half_for_vectors
        ),
        "uneven_small": Departure("small parameters decay half as much as large ones", decay=decays.half_for_small),
        # The step.
        "ascent": Departure("the step is added instead of subtracted", ascent=True),
        "eps_hat": Departure("eps is added to the uncorrected root", denominator=eps_hat),
        "eps_inside": Departure("eps is added under the root", denominator=eps_inside),
        "eps_subtracted": Departure(
            "eps is subtracted from the root", "Keras 2.12.0 legacy NonFusedAdam", denominator=eps_subtracted
        ),
        "eps_missing": Departure("eps is left out: 0/0 where no gradient came yet", denominator=eps_missing),
        "root_missing": Departure("the second moment's root is not taken", denominator=root_missing),
        "no_bias_correction": Departure("the moments are not corrected", corrections=uncorrected),
        "bias_correction_late": Departure("the correction is one step ahead", corrections=corrected_late),
        "second_moment_uncorrected": Departure("only the first moment is corrected", corrections=second_uncorrected),
        "betas_swapped": Departure("beta1 and beta2 are exchanged", betas_swapped=True),
        "lr_inside": Departure("the momentum buffer accumulates steps, not gradients", lr_inside=True),
        "lr_change_ignored": Departure("every step uses the constructor's learning rate", lr_of_construction=True),
        "last_bit": Departure("the last bit of a step is drawn at random, with no seed", last_bit=True),
        # The framework.
        "maximize_flips_decay": Departure("maximize turns the whole step round", maximize=Maximize.WHOLE_STEP),
        "maximize_ignored": Departure("maximize is accepted and never used", maximize=Maximize.NOTHING),
        "missing_as_zero": Departure("a parameter without a gradient is stepped all the same", missing_as_zero=True),
        "gradient_reused": Departure("the caller's gradient is used as scratch memory", reuses_gradient=True),
        "count_unsaved": Departure("the step count is a plain number that nobody saves", unsaved=True),
        "count_by_group": Departure("the step count advances once for every group", count_by_group=True),
        "decay_by_dtype": Departure(
            "a group decays once for every dtype in it", "timm 1.0.27 SGDW, foreach", decay_by_dtype=True
        ),
        "decay_by_micro_step": Departure(
            "decay is applied in every micro-step of gradient accumulation",
            "Keras 3.4.1, every optimizer",
            decay_by_micro_step=True,
        ),
        "rows_with_gradient": Departure("a sparse gradient decays its own rows alone", rows_with_gradient=True),
        "dampened_foreach": Departure(
            "foreach and loop fill the momentum buffer differently",
            "pytorch_optimizer 3.10.1 SGDW",
            dampened_foreach=True,
        ),
        "exclusion_ignored": Departure(
            "parameters excluded from decay decay like all others", coefficient=decays.lr_default_wd
        ),
        "wd_change_ignored": Departure(
            "decay uses the constructor's weight_decay for ever", coefficient=decays.lr_base_wd
        ),
        # Sound, though it is no paper's.
        "cautious": Departure("decay is left out where it opposes the step", decay=decays.where_it_agrees),
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
