"""What is one number per step in the bounds of `adam_bound`, `sgd_bound` and `step_bound`.

`docs/bound.md` derives every constant. Both engines multiply elements by these same numbers.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from .adam import bias_corrections
from .arithmetic import LEAST_LEFT, Arithmetic
from .options import AdamOptions, BiasCorrection, DecayOrder, Epsilon, Momentum, SGDOptions
from .sgd import SGDState, gradient_scale


class L2Factors(NamedTuple):
    """The error of g + lambda*theta: decay*P + product*(|theta| + P) + w, and half an ulp of the sum."""

    decay: float
    product: float


class DecayFactors(NamedTuple):
    """The error of a decayed step: kept*E + factor*|x|, over `raised` where the decay is proximal.

    x is what decay acts on, E its error. `reach` times |x| is at least every intermediate result.
    """

    kept: float
    factor: float
    reach: float
    raised: float
    underflow: float


class MomentFactors(NamedTuple):
    """One moment's error recursion: E' = carried*E + kept*|x| + entering*|y| + passed*Y + underflow.

    x is the moment before, y what enters it (g, or g*g), E and Y their errors.
    """

    carried: float
    kept: float
    entering: float
    passed: float
    underflow: float


class VHatFactors(NamedTuple):
    """The error of vhat: V*inverse + vhat*share, with inverse = 1/(c2 - C2) and share = C2/(c2 - C2)."""

    inverse: float
    share: float
    division: float
    """gamma of a division's roundings, for a vhat that is kept."""


class DenominatorFactors(NamedTuple):
    """Adam's denominator: eps as it enters, its error E, and the roundings of the root and before it."""

    eps: float
    eps_error: float
    rounded: float
    entering: float
    floor: float
    """The least that the denominator can be."""
    u: float


class UpdateFactors(NamedTuple):
    """The error of lr*mhat/d, times d: rate*(Mhat + |mhat|*relative + roundings*(|mhat| + Mhat)), and underflow.

    Mhat = M*inverse + |mhat|*share bounds the error of mhat.
    """

    inverse: float
    share: float
    rate: float
    roundings: float
    underflow: float
    underflow_divided: float


class AdamStepFactors(NamedTuple):
    """What Adam's step needs beyond the moments."""

    v_hat: VHatFactors
    denominator: DenominatorFactors
    update: UpdateFactors


class SGDFactors(NamedTuple):
    """SGD's buffer, E' = kept*E + (kept - mu)*|b| + scale*(entering*|g| + (1 + entering)*G), and its step."""

    kept: float
    excess: float
    scale: float
    entering: float
    underflow: float
    momentum: float
    of_buffer: float
    direct: float
    of_gradient: float
    nesterov_underflow: float
    rate: float
    leaving: float
    leaving_underflow: float


def l2_factors(weight_decay: float, arithmetic: Arithmetic) -> L2Factors:
    """Return the factors of the L2 term: lambda is rounded, multiplied and added."""
    return L2Factors(weight_decay, weight_decay * arithmetic.gamma(2) + arithmetic.w)


def decay_factors(coefficient: float, order: DecayOrder, arithmetic: Arithmetic) -> DecayFactors:
    """Return the factors of decoupled decay by the coefficient c_t > 0."""
    w, kept = arithmetic.w, abs(1.0 - coefficient)
    # c from lr * wd is off by gamma_3; 1 - c is rounded once more, at its own magnitude.
    formed = arithmetic.gamma(3) * coefficient
    of_difference = arithmetic.scalar_rounding(kept + formed) + formed
    if order is DecayOrder.PROXIMAL:
        # 1 + c or its reciprocal, each off by its own rounding; then a division or a product.
        raised = 1.0 + coefficient
        relative = (formed + 2.0 * w) / raised + arithmetic.gamma(1.0 + 2.0 * arithmetic.platform.division_error)
        return DecayFactors(1.0, relative / (1.0 - relative), 1.0, raised, 2.0 * w)
    # c*theta on its own: two roundings of the factors, two products, and before the step one sum with it.
    roundings = 5 if order is DecayOrder.PREVIOUS else 4
    factor = max(of_difference, arithmetic.gamma(roundings) * coefficient) + 2.0 * w
    return DecayFactors(kept, factor, max(1.0, kept + factor), 1.0, 2.0 * w)


def moment_factors(beta: float, roundings: int, operations: int, arithmetic: Arithmetic) -> MomentFactors:
    """Return the factors for x' = beta*x + (1 - beta)*y, whichever way it is evaluated.

    As beta*x + (1-beta)*y a term passes 2 roundings; as x + (y - x)*(1-beta) every term of the difference
    passes 3, and x one. `roundings` counts those 3 and what y brings with it. From 1-beta = 1/2 on it may be
    y - (y - x)*beta, with beta formed anew from 1-beta, whose errors both factors then share. Each of
    `operations` may underflow.
    """
    complement, u = 1.0 - beta, arithmetic.u
    turned = u * beta if complement >= 0.5 else 0.0
    of_entering = arithmetic.complement_error(beta) + turned
    of_kept = max(arithmetic.beta_error(beta), of_entering)
    most_entering, most_kept = complement + of_entering, beta + of_kept
    factored = arithmetic.gamma(2) * most_kept
    interpolated = u * most_kept + arithmetic.gamma(2) * (1.0 + u) * most_entering
    kept = of_kept + max(factored, interpolated)
    entering = of_entering + arithmetic.gamma(roundings) * most_entering
    return MomentFactors(beta + kept, kept, entering, complement + entering, operations * arithmetic.w)


def correction_errors(step: int, options: AdamOptions, arithmetic: Arithmetic) -> tuple[float, float]:
    """Return (C1, C2): how far the bias corrections of step t may be from `bias_corrections`."""
    if options.bias_correction is BiasCorrection.OFF:
        return 0.0, 0.0
    exponent = step + 1 if options.bias_correction is BiasCorrection.OFF_BY_ONE else step
    beta1 = options.beta1 if options.correction_beta1 is None else options.correction_beta1
    beta2 = options.beta2 if options.correction_beta2 is None else options.correction_beta2
    return arithmetic.correction_error(beta1, exponent), arithmetic.correction_error(beta2, exponent)


def adam_moment_factors(options: AdamOptions, arithmetic: Arithmetic) -> tuple[MomentFactors, MomentFactors]:
    """Return the factors of m and of v: at most 4 operations form m, and 6 form vhat."""
    return moment_factors(options.beta1, 3, 4, arithmetic), moment_factors(options.beta2, 4, 6, arithmetic)


def adam_step_factors(
    step: int, options: AdamOptions, schedule_multiplier: float, arithmetic: Arithmetic
) -> AdamStepFactors | None:
    """Return the factors of step t; None where a bias correction may vanish."""
    c1, c2 = bias_corrections(step, options)
    c1_error, c2_error = correction_errors(step, options, arithmetic)
    if c1 - c1_error <= LEAST_LEFT * c1 or c2 - c2_error <= LEAST_LEFT * c2:
        return None
    division_error = arithmetic.platform.division_error
    c1_least, c2_least = c1 - c1_error, c2 - c2_error
    rate, root_c2 = schedule_multiplier * options.lr, math.sqrt(c2_least)
    # Two divisions, the rate, its product, the sum with c*theta, and one reciprocal in place of a division.
    roundings = arithmetic.gamma(2.0 * division_error + 5.0) + arithmetic.relative_underflow(rate * root_c2)
    # What underflows on the way to the quotient is then divided, perhaps by the uncorrected root.
    underflow = (1.0 + rate) * arithmetic.w
    return AdamStepFactors(
        VHatFactors(1.0 / c2_least, c2_error / c2_least, arithmetic.gamma(division_error)),
        denominator_factors(c2, c2_error, options, arithmetic),
        UpdateFactors(1.0 / c1_least, c1_error / c1_least, rate, roundings, underflow, underflow / root_c2),
    )


def denominator_factors(c2: float, c2_error: float, options: AdamOptions, arithmetic: Arithmetic) -> DenominatorFactors:
    """Return the factors of the denominator by where eps enters; eps-hat is divided by sqrt(c2)."""
    u, platform, eps = arithmetic.u, arithmetic.platform, float(options.eps)
    eps_error = (u * eps + arithmetic.w) if eps else 0.0
    rounded = arithmetic.gamma(2.0 * platform.sqrt_error + platform.division_error)
    if options.epsilon is Epsilon.INSIDE:
        rounded = arithmetic.gamma(2.0 * platform.sqrt_error + platform.division_error + 1.0)
        floor = math.sqrt(max(eps - eps_error - u * eps, 0.0)) * (1.0 - rounded)
        return DenominatorFactors(eps, eps_error, rounded, arithmetic.gamma(platform.division_error + 1.0), floor, u)
    if options.epsilon is Epsilon.HAT:
        eps_error = (eps_error + arithmetic.gamma(platform.sqrt_error + platform.division_error) * eps) * (1.0 + u)
        eps_error = eps_error / math.sqrt(c2 - c2_error) + eps / math.sqrt(c2) * (0.5 * c2_error / (c2 - c2_error))
        eps = eps / math.sqrt(c2)
    return DenominatorFactors(eps, eps_error, rounded, 0.0, max(eps - eps_error, 0.0) * (1.0 - u), u)


def sgd_factors(state: SGDState, options: SGDOptions, schedule_multiplier: float, arithmetic: Arithmetic) -> SGDFactors:
    """Return the factors of the step that `state` is about to take."""
    gamma, w, momentum = arithmetic.gamma, arithmetic.w, float(options.momentum)
    inside = options.momentum_form is Momentum.LR_INSIDE
    rate = schedule_multiplier * options.lr
    rate_error = arithmetic.relative_underflow(rate)
    kept = (momentum + arithmetic.beta_error(momentum)) * (1.0 + gamma(2))
    # s*g: one rounding in the sum, two each for the learning rate and for 1 - dampening.
    entering = gamma(1 + 2 * inside + 2 * (options.dampening != 0.0)) + (rate_error if inside else 0.0)
    return SGDFactors(
        kept=kept,
        excess=kept - momentum,
        scale=gradient_scale(state, options, schedule_multiplier),
        entering=entering,
        underflow=3.0 * w,
        momentum=momentum,
        of_buffer=gamma(3) + arithmetic.relative_underflow(momentum),
        direct=rate if inside else 1.0,
        of_gradient=gamma(3) + rate_error if inside else gamma(1),
        nesterov_underflow=2.0 * w,
        # Outside: the rate, its product, and the sum with c*theta.
        rate=1.0 if inside else rate,
        leaving=gamma(1) if inside else gamma(3) + rate_error,
        leaving_underflow=0.0 if inside else w,
    )
