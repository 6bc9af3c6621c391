"""Generated traces: any block on demand, the same as the whole, of any size."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from optconform.adapters.generated_gradients import MOST_ELEMENTS, generated_gradient
from optconform.conformance.traces import TraceError, find_trace
from optconform.conformance.traces.generated import GeneratedTrace


def test_names():
    trace = find_trace("generated:100")
    assert (trace.name, trace.n_steps) == ("generated:100:0:10", 10)
    assert find_trace("generated:100:7:3").sha256 == GeneratedTrace(100, 7, 3).sha256
    assert [each.shape for each in trace.parameters] == [(100,)]
    assert trace.provenance["source"] == "generated"


def test_every_argument_makes_another_trace():
    whole = GeneratedTrace(100)
    others = [GeneratedTrace(101), GeneratedTrace(100, 1), GeneratedTrace(100, n_steps=9), whole.sampled(10)]
    others += [whole.sampled(10, seed=1), GeneratedTrace(100, dtype="float32")]
    assert len({whole.sha256, *(each.sha256 for each in others)}) == len(others) + 1


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_blocks_steps_and_samples_are_the_same_numbers(dtype):
    whole = GeneratedTrace(1000, 3, 4, dtype)
    part = whole.sampled(50, seed=2)
    assert part.parameters[0].sampled_from == (1000,)
    few = part.sampled(7)
    for step, of_part, of_few in zip(whole.steps(), part.steps(), few.steps(), strict=True):
        gradient = step.gradients["theta"]
        assert gradient.dtype.name == dtype
        assert gradient[11:40].tobytes() == whole.block("theta", step.index, 11, 40).tobytes()
        assert gradient[part.coordinates].tobytes() == of_part.gradients["theta"].tobytes()
        assert gradient[few.coordinates].tobytes() == of_few.gradients["theta"].tobytes()
        assert set(few.coordinates) <= set(part.coordinates)
    theta, of_part = (each.initial_parameters()["theta"] for each in (whole, part))
    assert theta[part.coordinates].tobytes() == of_part.tobytes()
    assert whole.sampled(1000) is whole


def test_neighbouring_steps_have_other_learning_rates():
    multipliers = GeneratedTrace(5).multipliers
    assert all(one != other for one, other in itertools.pairwise(multipliers))
    assert len(list(GeneratedTrace(5).steps(4))) == 4
    assert not GeneratedTrace(5).missing


def test_the_largest_takes_no_memory():
    trace = GeneratedTrace(MOST_ELEMENTS)
    last = MOST_ELEMENTS - 1
    made = trace.block("theta", 10, last - 2, last + 1)
    at = np.arange(last - 2, last + 1, dtype=np.int32)
    assert made.tobytes() == generated_gradient(at, 10, "float64").tobytes()


def test_what_it_does_not_have():
    trace = GeneratedTrace(10)
    with pytest.raises(KeyError):
        trace.block("phi", 1, 0, 1)
    for step, start, stop in ((0, 0, 1), (11, 0, 1), (1, 0, 11), (1, 3, 2)):
        with pytest.raises(IndexError):
            trace.block("theta", step, start, stop)
    with pytest.raises(TraceError, match="dtype 'float8'"):
        GeneratedTrace(10, dtype="float8")
