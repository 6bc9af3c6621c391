"""What a trace can tell apart is what the judge would tell apart, were the optimizer exact."""

import itertools
import weakref
from dataclasses import replace

import numpy as np
import pytest

from optconform.conformance.hypotheses import hypotheses
from optconform.conformance.separability import VALUES, common_pairs, every_pair, separations
from optconform.conformance.subject import rounded
from optconform.conformance.traces import synthetic_trace
from optconform.reference.arithmetic import arithmetic
from optconform.reference.follow import Follower
from optconform.reference.rules import track, tracked_step

ADAM, SGD = VALUES["adam, ordinary"], VALUES["sgd, ordinary"]
SHAPES = {"w": (6, 4), "b": (5,)}


def weakest(found, axis):
    """The separation of the pair that parts least, of those that differ on `axis`."""
    return min(pair.separation for pair in found if pair.axis == axis)


def trace_of(kind="small", **options):
    return synthetic_trace(kind, **{"shapes": SHAPES, "n_steps": 8, "dtype": "bfloat16", **options})


def with_multipliers(trace, multiplier):
    return replace(trace, multipliers=(multiplier,) * trace.n_steps)


def judged(trace, own, rivals, dtype):
    """Walk `own` exactly and hold every rival against it as a replay does: the largest factor, where told apart."""
    allowed = arithmetic(dtype)

    def flat(arrays):
        return np.concatenate([np.asarray(array, np.float64).reshape(-1) for array in arrays.values()])

    theta = flat(trace.initial_parameters())
    tracked = track(theta, own.options)
    follower, *others = (Follower(each.rule, each.options, theta, allowed) for each in (own, *rivals))
    worst = [0.0] * len(rivals)
    for step in trace.steps():
        grad = flat(step.gradients)
        exact, _, tracked = tracked_step(own.rule, theta, grad, tracked, own.options, step.multiplier, allowed)
        every = np.arange(len(theta))
        beside = follower.step(theta, grad, exact, step.multiplier, keep=every).kept
        for index, other in enumerate(others):
            followed = other.step(theta, grad, exact, step.multiplier, beside=beside)
            worst[index] = max(worst[index], followed.comparison.ratio)
        theta = rounded({"": exact}, dtype)[""]
    return worst


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", VALUES)
def test_what_is_separable_is_what_the_judge_rejects(name, dtype):
    values, trace = VALUES[name], trace_of()
    found = separations(trace, values, dtype)
    rejected = [
        factor > 1.0 for own, rivals in common_pairs(values).items() for factor in judged(trace, own, rivals, dtype)
    ]
    assert [pair.separable for pair in found] == rejected
    if name == "adam, ordinary" and dtype == "float32":
        assert {pair.name for pair in found if not pair.separable} == {
            "adamw[order=updated]",
            "adamw[order=proximal]",
        }


def test_momentum_forms_part_only_where_the_learning_rate_changes():
    trace = trace_of()

    def apart(trace):
        return weakest(separations(trace, SGD, "float64"), "momentum_form")

    assert apart(trace) > 1e9
    assert apart(with_multipliers(trace, 0.5)) < 1.0


def test_laws_that_agree_are_not_told_apart():
    constant = with_multipliers(trace_of(), 1.0)
    between = [
        pair
        for pair in separations(constant, ADAM, "float64", pairs=every_pair(ADAM))
        if pair.axis == "law" and {str(pair.own.options.law), str(pair.rival.options.law)} == {"schedule*wd", "wd"}
    ]
    assert between
    assert all(pair.separation == 0.0 for pair in between)


def test_nothing_comes_of_zeros():
    zeros = {"w": np.zeros((2, 2)), "b": np.zeros(3)}
    trace = trace_of("zero", shapes={"w": (2, 2), "b": (3,)}, dtype="float64")
    trace = replace(trace, initial=zeros)
    assert {pair.separation for values in VALUES.values() for pair in separations(trace, values)} == {0.0}


def test_moments_are_taken_over_in_sixteen_bits():
    # L2 shows in the moments where theta itself would not: .1 * wd * theta beside none at all.
    trace = trace_of("zero", dtype="float32")
    found = separations(trace, ADAM, "bfloat16")
    assert weakest(found, "rule") > 10.0
    assert weakest(found, "order") < 1.0


def test_more_steps_never_tell_less():
    trace = trace_of()
    by_steps = [[pair.separation for pair in separations(trace, ADAM, steps=steps)] for steps in (0, 1, 4, 8)]
    assert set(by_steps[0]) == {0.0}
    for fewer, more in itertools.pairwise(by_steps):
        assert all(before <= after for before, after in zip(fewer, more, strict=True))
    assert by_steps[1] != by_steps[2]


def test_a_sample_tells_what_it_can():
    trace = trace_of(shapes={"w": (40, 30), "b": (50,)}, n_steps=3)
    whole, sample = (separations(trace, ADAM, sample_size=size) for size in (4096, 64))
    assert all(few.separation <= all_.separation for few, all_ in zip(sample, whole, strict=True))
    assert sample == separations(trace, ADAM, sample_size=64)
    assert whole != sample


def test_a_missing_gradient_leaves_its_parameter_alone():
    trace = trace_of()
    without = replace(trace, gradients=tuple({**step, "b": None} for step in trace.gradients))
    alone = trace_of(shapes={"w": (6, 4)})
    alone = replace(
        alone, initial={"w": trace.initial["w"]}, gradients=tuple({"w": step["w"]} for step in trace.gradients)
    )
    assert separations(without, SGD) == separations(alone, SGD)


def test_steps_are_read_one_at_a_time():
    whole = trace_of(n_steps=30)
    alive = []

    class Streamed:
        def __getattr__(self, name):
            return getattr(whole, name)

        def steps(self, stop=None):
            for step in whole.steps(stop):
                alive.append(weakref.ref(step.gradients["w"]))
                yield step
                del step
                # What the reader holds of the steps before the last two is nothing.
                assert not any(kept() is not None for kept in alive[:-2])

    assert separations(Streamed(), SGD) == separations(whole, SGD)
    assert len(alive) == 30


def test_every_pair_is_there_once():
    pairs = [(own, rival) for own, rivals in every_pair(SGD).items() for rival in rivals]
    assert len(pairs) == len({frozenset(pair) for pair in pairs}) == 336
    assert {each for pair in pairs for each in pair} == set(hypotheses(SGD, ()))


def test_what_the_reference_does_not_know_has_no_pairs():
    assert separations(trace_of(), {"lr": 0.1, "weight_decay": 0.1, "beta1": 0.9}) == ()
    assert separations(trace_of(), {**ADAM, "beta2": 1.0}) == ()


@pytest.mark.parametrize("options", [{"dtype": "float8"}, {"platform": "abacus"}])
def test_unknown_precisions_and_platforms(options):
    with pytest.raises(KeyError):
        separations(trace_of(), ADAM, **options)
