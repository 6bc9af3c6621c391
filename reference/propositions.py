"""The paper's three propositions as functions that return the evidence.

Loshchilov & Hutter, *Decoupled Weight Decay Regularization*, ICLR 2019, section 2 and appendix A.
Gradients are arrays of shape [steps, *theta.shape]; everything is float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .adam import adam_init, adam_l2, adamw
from .decay import Float64Array
from .options import AdamOptions, AdamWOptions, DecayLaw, SGDOptions, SGDWOptions
from .rules import FLOAT64, RULES, track, tracked_step
from .sgd import sgd_init, sgdw


@dataclass(frozen=True, slots=True)
class Evidence:
    """Two trajectories compared: how far apart they are, and how far rounding alone could take them."""

    distance: float
    """Largest difference between the two, over elements and steps."""
    roundoff: float
    """Largest difference that float64 rounding explains."""

    @property
    def equal(self) -> bool:
        """Whether rounding explains the whole difference."""
        return self.distance <= self.roundoff


def sgd_decay_equals_l2(theta: Float64Array, gradients: Float64Array, *, lr: float, weight_decay: float) -> Evidence:
    """Proposition 1: plain SGD with decay lambda takes the steps of SGD with L2 of lambda' = lambda / alpha.

    The rate is constant and there is no momentum. Each step of SGDW is repeated by SGD with L2 from the
    same parameters, and the largest difference returned. Raises `ValueError` for lr = 0 and without gradients.
    """
    _require_positive_lr(lr)
    if not len(gradients):
        raise ValueError("there is no gradient, so no step and nothing that could differ; give at least one")
    decoupled = SGDWOptions(lr=lr, weight_decay=weight_decay)
    coupled = SGDOptions(lr=lr, weight_decay=weight_decay / lr)
    state, tracked = sgd_init(theta), track(theta, coupled)
    distance = roundoff = 0.0
    for grad in gradients:
        by_l2, bound, tracked = tracked_step(RULES["sgd_l2"], theta, grad, tracked, coupled)
        theta, state = sgdw(theta, grad, state, decoupled)
        distance = max(distance, float(np.max(np.abs(theta - by_l2))))
        # The bound holds for evaluations of one formula; lambda / alpha is one rounding more in each.
        roundoff = max(roundoff, 2.0 * FLOAT64.allowance * float(np.max(bound)))
    return Evidence(distance, roundoff)


def l2_coefficients_needed(preconditioner: Float64Array, *, lr: float, weight_decay: float) -> Float64Array:
    """Proposition 2: the L2 coefficient that each coordinate would need, lambda'_i = lambda / (alpha * M_ii).

    For an optimizer that steps by -alpha * M * g with M = diag(`preconditioner`), decay lambda removes
    lambda * theta and L2 removes alpha * M * lambda' * theta. One coefficient serves all coordinates only
    if M = k*I. Raises `ValueError` for lr = 0.
    """
    _require_positive_lr(lr)
    return weight_decay / (lr * preconditioner)


def adam_separating_step(*, lr: float, weight_decay: float) -> tuple[Float64Array, Float64Array]:
    """Proposition 2 for Adam: return (theta, grad) of one step that no L2 coefficient can reproduce.

    Adam's first step is alpha * g / (|g| + eps), shorter than alpha whatever enters the gradient. With a
    gradient of zero, decay moves a parameter by lambda * |theta|; at |theta| = 4 * alpha / lambda that is
    four times as far as L2 can reach.
    """
    if not (lr > 0 and weight_decay > 0):
        raise ValueError(f"lr = {lr!r}, weight_decay = {weight_decay!r}, but both must be positive")
    theta = np.array([4.0, -4.0]) * (lr / weight_decay)
    return theta, np.zeros_like(theta)


def adam_l2_shortfall(*, lr: float, weight_decay: float, coefficients: Float64Array) -> float:
    """Return how far, in units of alpha, the best of `coefficients` stays from the decoupled step.

    Evaluated on `adam_separating_step`. Proposition 2 says that it stays at least 3 for every L2 coefficient.
    """
    theta, grad = adam_separating_step(lr=lr, weight_decay=weight_decay)
    decoupled = AdamWOptions(lr=lr, weight_decay=weight_decay, law=DecayLaw.SCHEDULE_WD)
    wanted, _ = adamw(theta, grad, adam_init(theta, decoupled), decoupled)
    distances = []
    for coefficient in coefficients:
        coupled = AdamOptions(lr=lr, weight_decay=float(coefficient))
        reached, _ = adam_l2(theta, grad, adam_init(theta, coupled), coupled)
        distances.append(float(np.max(np.abs(wanted - reached))))
    return min(distances) / lr


def scale_adjusted_penalty(
    theta: Float64Array, preconditioner_inverse: Float64Array, *, lr: float, weight_decay: float
) -> float:
    """Proposition 3: the penalty (lambda / (2*alpha)) * ||theta * sqrt(s)||**2, s = `preconditioner_inverse`.

    With the fixed preconditioner diag(s)**-1, a gradient step on loss plus this penalty is decay lambda:
    theta - alpha * (g + (lambda/alpha) * s * theta) / s = (1 - lambda) * theta - alpha * g / s.
    Raises `ValueError` for lr = 0.
    """
    _require_positive_lr(lr)
    return float(weight_decay / (2.0 * lr) * np.sum(theta * theta * preconditioner_inverse))


def _require_positive_lr(lr: float) -> None:
    """Raise ValueError unless `lr` is positive: the propositions divide lambda by alpha."""
    if not lr > 0:
        raise ValueError(f"lr = {lr!r}, but it must be positive: the L2 coefficient is lambda / alpha")
