"""How an Optax transformation is used: faults that hand-written factories have, and what Optax itself does."""

from functools import cache

import numpy as np
import pytest

jnp = pytest.importorskip("jax.numpy")
optax = pytest.importorskip("optax")

from optconform.conformance.api import make_subject  # noqa: E402
from optconform.conformance.faults.trace import fault_trace  # noqa: E402
from optconform.conformance.metamorphic import table  # noqa: E402
from optconform.conformance.metamorphic.attempts import attempted  # noqa: E402
from optconform.conformance.metamorphic.drawing import drawn_setting  # noqa: E402

pytestmark = pytest.mark.jax

NAMES = (
    "restore",
    "accumulation",
    "sparse gradients",
    "exclusion",
    "reproducibility",
    "lr change",
    "decay change",
    "zero gradients",
)
CHECKS = {name: next(row.run for row in table.CHECKS if row.name == name) for name in NAMES}
ELSEWHERE = {"sparse gradients", "decay change"}
"""What Optax has not: sparse gradients, and a decay that can be changed without `inject_hyperparams`."""


def sgdw(learning_rate, weight_decay=0.0, mask=None, scale=lambda: 1.0):
    """Momentum with decoupled decay; `scale` is called in every step, outside of the state."""
    return optax.chain(
        optax.trace(0.9),
        optax.stateless(lambda updates, params: {name: scale() * update for name, update in updates.items()}),
        optax.add_decayed_weights(weight_decay, mask),
        optax.scale_by_learning_rate(learning_rate),
    )


def ignores_mask(learning_rate, weight_decay=0.0, mask=None):
    return sgdw(learning_rate, weight_decay)


def counts_outside(learning_rate, weight_decay=0.0):
    calls = []

    def scale():
        calls.append(None)
        return 1.0 / len(calls)

    return sgdw(learning_rate, weight_decay, scale=scale)


def noisy(learning_rate, weight_decay=0.0):
    return sgdw(learning_rate, weight_decay, scale=lambda: 1.0 + 1e-3 * np.random.standard_normal())  # noqa: NPY002


def fixed_rate(learning_rate=0.05, weight_decay=0.0):
    return sgdw(0.05, weight_decay)


def normalised(learning_rate, weight_decay=0.0):
    return optax.chain(
        optax.stateless(lambda grads, params: {name: grad / jnp.linalg.norm(grad) for name, grad in grads.items()}),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )


@cache
def setting_of(target):
    return drawn_setting(make_subject(target, framework="jax"), [fault_trace()])


def outcomes(name, target):
    return list(attempted(CHECKS[name](setting_of(target))))


@pytest.mark.parametrize(
    ("name", "target", "words"),
    [
        ("restore", counts_outside, "is not saved"),
        ("exclusion", ignores_mask, "walks the path with decay"),
        ("reproducibility", noisy, "global random generator of NumPy"),
        ("lr change", fixed_rate, "the same in every bit"),
        ("zero gradients", normalised, "NaN or infinite after step 1"),
    ],
)
def test_a_fault_fails_its_check_and_says_how(name, target, words):
    (outcome,) = outcomes(name, target)
    assert outcome.outcome == "failed"
    assert words in outcome.message


@pytest.mark.parametrize("target", [sgdw, "optax:adamw"])
@pytest.mark.parametrize("name", CHECKS)
def test_what_is_sound_raises_no_alarm(name, target):
    expected = "skipped" if name in ELSEWHERE else "passed"
    assert {outcome.outcome for outcome in outcomes(name, target)} == {expected}


def test_a_decay_that_is_injected_can_be_changed():
    def injected(learning_rate, weight_decay=0.0):
        return optax.inject_hyperparams(optax.adamw)(learning_rate=learning_rate, weight_decay=weight_decay)

    (outcome,) = outcomes("decay change", injected)
    assert outcome.outcome == "passed"
