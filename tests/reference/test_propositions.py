"""The paper's three propositions, each with a case in which it does not hold."""

from __future__ import annotations

import numpy as np
import pytest

from optconform.reference import RULES, AdamWOptions, DecayLaw, SGDOptions, SGDWOptions, adamw, sgd_init, sgdw
from optconform.reference.adam import adam_init
from optconform.reference.propositions import (
    adam_l2_shortfall,
    adam_separating_step,
    l2_coefficients_needed,
    scale_adjusted_penalty,
    sgd_decay_equals_l2,
)
from optconform.reference.rules import FLOAT64, track, tracked_step

RNG_SEED = 20
ALPHA, DECAY = 0.05, 0.02


def random_case(steps=20, elements=16):
    rng = np.random.default_rng(RNG_SEED)
    return rng.standard_normal(elements), rng.standard_normal((steps, elements))


def thresholds_apart(decoupled, coupled, multipliers):
    """Largest distance of the two rules, from the same parameters in every step, in thresholds of the L2 one."""
    theta, grads = random_case(len(multipliers))
    state, tracked, largest = sgd_init(theta), track(theta, coupled), 0.0
    for grad, eta in zip(grads, multipliers, strict=True):
        by_l2, threshold, tracked = tracked_step(RULES["sgd_l2"], theta, grad, tracked, coupled, eta)
        threshold = FLOAT64.allowance * threshold
        theta, state = sgdw(theta, grad, state, decoupled, eta)
        largest = max(largest, float(np.max(np.abs(theta - by_l2) / threshold)))
    return largest


CONSTANT = [1.0] * 20
CHANGING = [1.0] * 10 + [0.1] * 10


@pytest.mark.parametrize(("lr", "weight_decay"), [(0.05, 0.02), (1.0, 0.5), (1e-3, 1e-4), (0.3, 0.0)])
def test_proposition_1_holds(lr, weight_decay):
    evidence = sgd_decay_equals_l2(*random_case(), lr=lr, weight_decay=weight_decay)
    assert evidence.equal
    assert evidence.roundoff < 1e-13


@pytest.mark.parametrize(
    ("law", "decay", "multipliers", "equal"),
    [
        (DecayLaw.SCHEDULE_WD, DECAY, CONSTANT, True),
        (DecayLaw.LR_WD, DECAY / ALPHA, CONSTANT, True),
        (DecayLaw.WD, DECAY, CONSTANT, True),
        (DecayLaw.SCHEDULE_WD, DECAY, CHANGING, True),
        (DecayLaw.LR_WD, DECAY / ALPHA, CHANGING, True),
        (DecayLaw.WD, DECAY, CHANGING, False),
    ],
)
def test_proposition_1_under_a_schedule_depends_on_the_law(law, decay, multipliers, equal):
    decoupled = SGDWOptions(lr=ALPHA, weight_decay=decay, law=law)
    apart = thresholds_apart(decoupled, SGDOptions(lr=ALPHA, weight_decay=DECAY / ALPHA), multipliers)
    assert apart <= 2.0 if equal else apart > 1e9


def test_proposition_1_fails_with_momentum():
    decoupled = SGDWOptions(lr=ALPHA, weight_decay=DECAY, momentum=0.9)
    coupled = SGDOptions(lr=ALPHA, weight_decay=DECAY / ALPHA, momentum=0.9)
    assert thresholds_apart(decoupled, coupled, CONSTANT) > 1e9


def test_proposition_1_fails_with_another_coefficient():
    decoupled = SGDWOptions(lr=ALPHA, weight_decay=DECAY)
    assert thresholds_apart(decoupled, SGDOptions(lr=ALPHA, weight_decay=DECAY), CONSTANT) > 1e9


def test_proposition_2_needs_a_coefficient_per_coordinate():
    preconditioner = np.array([1.0, 2.0, 0.5])
    needed = l2_coefficients_needed(preconditioner, lr=0.5, weight_decay=0.25)
    np.testing.assert_array_equal(needed, [0.5, 0.25, 1.0])
    # Each does what it says: alpha * M * lambda' * theta is lambda * theta.
    np.testing.assert_array_equal(0.5 * preconditioner * needed, 0.25)


def test_proposition_2_spares_multiples_of_the_identity():
    needed = l2_coefficients_needed(np.full(5, 4.0), lr=0.5, weight_decay=0.25)
    assert np.unique(needed).tolist() == [0.125]


@pytest.mark.parametrize(("lr", "weight_decay"), [(0.05, 0.5), (1e-3, 1e-2), (1.0, 1e-4)])
def test_proposition_2_no_coefficient_reaches_the_decoupled_step_of_adam(lr, weight_decay):
    coefficients = np.concatenate([[0.0], np.logspace(-12, 12, 97)])
    shortfall = adam_l2_shortfall(lr=lr, weight_decay=weight_decay, coefficients=coefficients)
    # Decay moves by 4*alpha, L2 by less than alpha; at the largest coefficients by almost alpha.
    assert 3.0 - 1e-12 <= shortfall <= 3.0 + 1e-3


@pytest.mark.parametrize(("lr", "weight_decay"), [(0.0, 0.5), (0.1, 0.0), (-0.1, 0.5)])
def test_separating_step_needs_both_positive(lr, weight_decay):
    with pytest.raises(ValueError, match=f"lr = {lr!r}, weight_decay = {weight_decay!r}, but both must be positive"):
        adam_separating_step(lr=lr, weight_decay=weight_decay)


@pytest.mark.parametrize(
    "call",
    [
        lambda lr: sgd_decay_equals_l2(*random_case(), lr=lr, weight_decay=DECAY),
        lambda lr: l2_coefficients_needed(np.ones(2), lr=lr, weight_decay=DECAY),
        lambda lr: scale_adjusted_penalty(np.ones(2), np.ones(2), lr=lr, weight_decay=DECAY),
    ],
)
def test_without_a_learning_rate_there_is_no_coefficient(call):
    with pytest.raises(ValueError, match=r"lr = 0\.0, but it must be positive"):
        call(0.0)


def test_no_steps_are_no_evidence():
    with pytest.raises(ValueError, match="there is no gradient"):
        sgd_decay_equals_l2(*random_case(steps=0), lr=ALPHA, weight_decay=DECAY)


def penalty_gradient(theta, s):
    """Central differences of the penalty, exact for a quadratic but for rounding."""
    h = 2.0**-4
    gradient = np.empty_like(theta)
    for i in range(theta.size):
        shift = np.zeros_like(theta)
        shift[i] = h
        above, below = (scale_adjusted_penalty(theta + d, s, lr=ALPHA, weight_decay=DECAY) for d in (shift, -shift))
        gradient[i] = (above - below) / (2.0 * h)
    return gradient


def difference_error(theta, s):
    """Rounding in the two penalties (theta.size + 4 operations each) over 2h."""
    penalty = scale_adjusted_penalty(np.abs(theta) + 2.0**-4, s, lr=ALPHA, weight_decay=DECAY)
    return (theta.size + 8) * 2.0**-53 * 2.0 * penalty / 2.0**-3


def test_proposition_3_fixed_preconditioner():
    """A preconditioned gradient step on loss plus penalty is SGDW on the preconditioned gradient."""
    rng = np.random.default_rng(RNG_SEED)
    theta, grad, s = rng.standard_normal(8), rng.standard_normal(8), 2.0 ** rng.uniform(-3, 3, 8)
    penalised = theta - ALPHA * (grad + penalty_gradient(theta, s)) / s
    options = SGDWOptions(lr=ALPHA, weight_decay=DECAY)
    decayed, _ = sgdw(theta, grad / s, sgd_init(theta), options)
    allowed = ALPHA / s.min() * difference_error(theta, s) + 16 * 2.0**-53 * np.max(np.abs(theta) + np.abs(grad) / s)
    assert np.max(np.abs(penalised - decayed)) <= allowed < 1e-12
    # The plain penalty, not adjusted to the scale, is another step.
    plain = theta - ALPHA * (grad + penalty_gradient(theta, np.ones(8))) / s
    assert np.max(np.abs(plain - decayed)) > 1e9 * allowed


def test_proposition_3_with_adam_as_the_preconditioner():
    """With gradients of constant magnitude and beta1 = 0, AdamW's preconditioner is fixed: s = |g| + eps."""
    rng = np.random.default_rng(RNG_SEED)
    theta, grad, eps = rng.standard_normal(8), rng.standard_normal(8), 0.1
    options = AdamWOptions(lr=ALPHA, weight_decay=DECAY, beta1=0.0, beta2=0.9, eps=eps)
    s = np.abs(grad) + eps
    state = adam_init(theta, options)
    for step in range(10):
        signed = grad * (-1.0) ** step
        penalised = theta - ALPHA * (signed + penalty_gradient(theta, s)) / s
        theta, state = adamw(theta, signed, state, options)
        allowed = ALPHA / s.min() * difference_error(theta, s) + 64 * (step + 1) * 2.0**-53
        assert np.max(np.abs(penalised - theta)) <= allowed < 1e-12
