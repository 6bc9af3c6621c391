"""Optimizers that draw from a global generator: compared runs draw alike, and no draw is left to the process."""

# ruff: noqa: NPY002 - the global generator is what such optimizers draw from

import random
from dataclasses import replace

import numpy as np
import pytest

import optconform
from optconform.adapters import random_generators
from optconform.conformance.api import make_subject
from optconform.conformance.pairing import paired_steps
from optconform.conformance.subject import PROBE_LR, PROBE_WEIGHT_DECAY
from optconform.conformance.traces import find_trace


class Noisy:
    """Decoupled decay beside a step along the gradient, scaled by a number drawn anew for every element and step."""

    def __init__(self, lr=0.01, weight_decay=0.1):
        self.lr, self.weight_decay = lr, weight_decay
        self.start = np.random.standard_normal()

    def step(self, params, grads, lr):
        noise = {name: self.start + np.random.standard_normal(np.shape(grad)) for name, grad in grads.items()}
        return {
            name: theta - lr * self.weight_decay * theta - lr * noise[name] * grads[name]
            for name, theta in params.items()
        }


class DrawsMoreWithDecay(Noisy):
    """Draws once more where decay is on, as a rule that perturbs decayed parameters does."""

    def step(self, params, grads, lr):
        found = super().step(params, grads, lr)
        if self.weight_decay:
            random.random()
        return found


class SeedsAnew(Noisy):
    def step(self, params, grads, lr):
        np.random.seed(7)
        return super().step(params, grads, lr)


PROBE = {"lr": PROBE_LR, "weight_decay": PROBE_WEIGHT_DECAY}


def built(factory, **options):
    subject = make_subject(factory, framework="numpy", hyperparameters=PROBE)
    return replace(subject, **options).build({"w": np.ones(3)}, PROBE)


def stepped(optimizer, count):
    path = []
    for _ in range(count):
        optimizer.step({"w": np.full(3, 0.5)}, 0.1)
        path.append(optimizer.read_parameters()["w"])
    return path


@pytest.mark.parametrize("factory", [Noisy, DrawsMoreWithDecay])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_verdict_does_not_hang_on_the_draws(factory, seed):
    np.random.seed(seed)
    result = optconform.audit(factory, framework="numpy", traces=["synthetic:small"], metamorphic=False)
    assert (result.verdict, result.decay.law, result.decay.applied_to) == ("decoupled", "lr*wd", "previous")


def test_an_audit_leaves_the_generators_of_its_caller_alone():
    before = random_generators.states()
    optconform.audit(Noisy, framework="numpy", expect="any", traces=["synthetic:small"])
    assert random_generators.moved(before, random_generators.states()) == ()


def test_optimizers_built_alike_draw_alike_whatever_is_stepped_in_between():
    one, other = built(Noisy), built(Noisy)
    first = stepped(one, 3)
    np.testing.assert_array_equal(stepped(other, 3), first)
    assert not np.array_equal(first[1] - first[0], first[2] - first[1])


def test_without_draws_of_their_own_they_differ():
    one, other = built(Noisy, own_draws=False), built(Noisy, own_draws=False)
    assert not np.array_equal(stepped(one, 1), stepped(other, 1))


def test_a_snapshot_holds_where_the_draws_have_led():
    one, other = built(Noisy), built(Noisy)
    stepped(one, 2)
    snapshot = one.snapshot()
    onwards = stepped(one, 2)
    for optimizer in (one, other):
        optimizer.restore(snapshot)
        np.testing.assert_array_equal(stepped(optimizer, 2), onwards)


@pytest.mark.parametrize("local", [False, True])
def test_paired_runs_draw_alike(local):
    subject = make_subject(DrawsMoreWithDecay, framework="numpy", hyperparameters=PROBE)
    trace = find_trace("synthetic:small")
    theta = subject.initial_parameters(trace)
    for paired in paired_steps(subject, theta, trace.steps(4), PROBE, local=local):
        for name, after in paired.after.items():
            decayed = after - paired.before[name] - paired.free[name]
            coefficient = PROBE_LR * paired.step.multiplier * PROBE_WEIGHT_DECAY
            np.testing.assert_allclose(decayed, -coefficient * paired.before[name], rtol=0.0, atol=1e-13)


def test_seeding_anew_is_left_for_others_to_see():
    with random_generators.seeded():
        before = random_generators.states()
        stepped(built(Noisy), 2)
        assert random_generators.moved(before, random_generators.states()) == ()
        stepped(built(SeedsAnew), 1)
        assert random_generators.reseeded(before, random_generators.states())


@pytest.mark.parametrize("draw", [random.random, np.random.random, lambda: np.random.random(10_000)])
def test_drawing_is_no_seeding(draw):
    before = random_generators.states()
    draw()
    after = random_generators.states()
    assert random_generators.moved(before, after)
    assert not random_generators.reseeded(before, after)


@pytest.mark.parametrize("seed", [random.seed, np.random.seed])
def test_seeding_is_told_from_drawing(seed):
    with random_generators.seeded():
        before = random_generators.states()
        seed(3)
        assert random_generators.reseeded(before, random_generators.states())
