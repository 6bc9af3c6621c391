"""What a replay counts and keeps: every element of the own rule, rivals while they matter, memory of one step."""

import itertools
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from optconform.adapters import numpy_optimizers
from optconform.conformance.api import make_subject
from optconform.conformance.hypotheses import hypotheses, neighbours
from optconform.conformance.judging import Judging
from optconform.conformance.matching import match_trajectory
from optconform.conformance.replaying import RIVAL_STEPS, SAMPLE_SIZE, Run, replay
from optconform.reference import RULES, DecayOrder
from optconform.reference.arithmetic import arithmetic
from optconform.reference.follow import Mode

VALUES = {"lr": 0.05, "weight_decay": 0.1, "beta1": 0.9, "beta2": 0.97, "eps": 1e-3}
JUDGING = Judging(Mode.THETA_RESYNC, arithmetic("float64"), "float64")
EVERYTHING = hypotheses(VALUES, ())
OWN = EVERYTHING[0]


@pytest.fixture
def subject():
    return make_subject(numpy_optimizers.AdamW, framework="numpy")


@pytest.fixture
def replayed(subject):
    """Return the own run and the rivals' after a replay of `trace`."""

    def run(trace, rivals, **more):
        runs = [Run(OWN, sampled=False), *(Run(each, sampled=True) for each in rivals)]
        replay(subject, trace, VALUES, runs, trace.steps(), JUDGING, **more)
        return runs[0], runs[1:]

    return run


class TestRivals:
    def test_one_is_followed_no_longer_once_it_is_rejected_and_its_steps_are_over(self, make_trace, replayed):
        rivals = neighbours(OWN, EVERYTHING, VALUES)
        for rival_steps in (1, 4, 7):
            own, runs = replayed(make_trace({"w": (5,)}, 10), rivals, rival_steps=rival_steps)
            assert own.inside
            assert own.elements == 50
            rejected_at = [run.first_violation["step"] for run in runs]
            assert all(not run.inside for run in runs)
            # Rejected in the first steps: followed for as many as were asked for, or until it is rejected.
            assert [run.elements for run in runs] == [5 * max(step, rival_steps) for step in rejected_at]

    def test_by_default_it_is_followed_for_256_steps(self, make_trace, replayed):
        assert RIVAL_STEPS == 256
        own, (rival,) = replayed(make_trace({"w": (5,)}, 260), [EVERYTHING[1]])
        assert (own.elements, rival.elements) == (260 * 5, 256 * 5)

    def test_one_that_cannot_be_rejected_is_followed_to_the_end(self, make_trace, replayed):
        twin = replace(OWN, options=replace(OWN.options, eps=OWN.options.eps * (1 + 1e-15)))
        own, (rival,) = replayed(make_trace({"w": (5,)}, 10), [twin], rival_steps=1)
        assert rival.inside
        assert own.elements == rival.elements == 50

    def test_one_that_is_rejected_late_is_followed_until_then(self, subject, make_trace, replayed):
        """Decay of the updated parameters shows only once decay is on; until step 6 the rate is 0."""
        updated = replace(OWN, options=replace(OWN.options, order=DecayOrder.UPDATED))
        late = make_trace({"w": (5,)}, 10, multipliers=(0.0,) * 5 + (1.0,) * 5)
        _, (rival,) = replayed(late, [updated], rival_steps=2)
        assert (rival.first_violation["step"], rival.elements) == (6, 6 * 5)

    def test_they_are_tried_on_a_sample_and_located_in_the_whole(self, make_trace, replayed):
        big = make_trace({"w": (60, 50), "b": (7,)}, 3)
        own, (rival,) = replayed(big, [EVERYTHING[1]])
        assert own.elements == 3 * 3007
        assert rival.elements == 3 * SAMPLE_SIZE
        first = rival.first_violation
        shape = {"w": (60, 50), "b": (7,)}[first["parameter"]]
        assert len(first["element"]) == len(shape)
        assert all(0 <= index < size for index, size in zip(first["element"], shape, strict=True))


class TestEveryElement:
    @pytest.mark.parametrize("shapes", [{"w": (3, 4), "b": (5,)}, {"w": (60, 50)}, {"s": ()}, {"w": (2, 0), "b": (1,)}])
    def test_the_own_rule_is_compared_on_all_of_them_in_all_steps(self, make_trace, shapes):
        size = sum(int(np.prod(shape)) for shape in shapes.values())
        subject = make_subject(numpy_optimizers.AdamW, framework="numpy")
        traces = [make_trace(shapes, 9), make_trace(shapes, 4, seed=6)]
        match = match_trajectory(subject, traces).match
        assert (match.rule, match.elements, match.undecidable) == ("adamw", 13 * size, 0)

    @pytest.mark.parametrize("element", [0, 1234, 2999])
    def test_one_wrong_element_of_one_step_is_enough(self, make_trace, element):
        class OneWrong(numpy_optimizers.AdamW):
            def step(self, params, grads, lr):
                moved = super().step(params, grads, lr)
                if self.t["w"] == 8:
                    moved["w"] = moved["w"].copy()
                    moved["w"].flat[element] *= 1 + 1e-13
                return moved

        found = match_trajectory(make_subject(OneWrong, framework="numpy"), [make_trace({"w": (60, 50)}, 9)])
        assert found.match.decision == "reject"
        assert found.first_violation["element"] == tuple(map(int, np.unravel_index(element, (60, 50))))


def test_on_step_is_called_after_each_step_with_its_number(make_trace, subject):
    seen = []
    match_trajectory(subject, [make_trace(n_steps=5), make_trace(n_steps=3)], on_step=seen.append)
    assert seen == [1, 2, 3, 4, 5, 1, 2, 3]


@pytest.mark.parametrize("mode", list(Mode))
def test_memory_does_not_grow_with_the_steps(make_trace, subject, mode):
    """The same steps over and over, made one at a time, so that nothing but the replay could keep them."""
    trace = make_trace({"w": (400,)}, 1)
    (only,) = trace.steps()
    rivals = [each for each in neighbours(OWN, EVERYTHING, VALUES) if each.rule is RULES["adamw"]][:3]

    def peak(n_steps):
        runs = [Run(OWN, sampled=False), *(Run(each, sampled=True) for each in rivals)]
        steps = (
            replace(only, index=index, gradients={"w": only.gradients["w"].copy()})
            for index in itertools.islice(itertools.count(1), n_steps)
        )
        tracemalloc.start()
        replay(subject, trace, VALUES, runs, steps, replace(JUDGING, mode=mode), rival_steps=n_steps)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert runs[0].elements == n_steps * 400
        return used

    peak(5)  # caches and imports
    # Half of one array of each step. Python's own free lists of tuples may fill up on the way: 270 kB, once.
    assert peak(500) < peak(50) + 450 * 400 * 4
