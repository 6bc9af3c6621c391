"""However long a trace is, a bounded number of its distances is kept, and the worst is always among them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optconform.conformance.series import MOST_STEPS, evenly, shown
from optconform.conformance.step_distances import LEAST_STRETCHES, NOTHING, STRETCHES, StepDistances, distances_beside

DISTANCES = st.one_of(st.just(NOTHING), st.just(0.0), st.just(float("inf")), st.floats(0.0, 1e18))


def kept(values, trace="t", first=1):
    """Return what is kept of `values`, the distances of the steps from `first` on."""
    distances = StepDistances(trace)
    for step, value in enumerate(values, start=first):
        distances.add(step, value)
    return distances


def points(own, rival=()):
    """Return the one `Distance` of a trace with these distances."""
    (distance,) = distances_beside([kept(own)], [kept(rival)] if rival else [], "own", "other" if rival else "")
    return distance


@given(st.lists(DISTANCES, min_size=1, max_size=700).filter(lambda values: max(values) >= 0.0))
def test_the_worst_step_is_kept_with_its_number(values):
    distance = points(values)
    assert len(distance.steps) == len(distance.own) == len(distance.rival) <= STRETCHES
    assert list(distance.steps) == sorted(set(distance.steps))
    for step, own in zip(distance.steps, distance.own, strict=True):
        assert own == (shown(values[step - 1]) if values[step - 1] >= 0.0 else None)
    assert max(own for own in distance.own if own is not None) == shown(max(values))
    assert set(distance.rival) == {None}


@given(st.lists(DISTANCES, min_size=1, max_size=700), st.data())
def test_a_rival_lies_in_the_same_stretches_up_to_where_it_is_followed(values, data):
    values = [1.0, *values]
    rival = data.draw(st.lists(st.floats(0.0, 1e18), min_size=1, max_size=len(values)))
    distance = points(values, rival)
    assert max(each for each in distance.rival if each is not None) == shown(max(rival))
    assert len(distance.rival) == len(distance.steps)
    # A distance of the rival belongs to a step after the point before and before the point after.
    for place, value in enumerate(distance.rival):
        low = distance.steps[place - 1] if place else 0
        high = distance.steps[place + 1] if place + 1 < len(distance.steps) else len(values) + 1
        assert value is None or value in [shown(each) for each in rival[low : high - 1]]


@pytest.mark.parametrize("steps", [1, STRETCHES, STRETCHES + 1, 5 * STRETCHES, 100_000])
def test_no_more_is_kept_of_a_longer_trace(steps):
    distance = points([float(step % 7) for step in range(steps)], [1.0] * min(steps, 256))
    assert min(steps, STRETCHES // 2) <= len(distance.steps) <= STRETCHES
    assert distance.steps[-1] > steps - 2 * max(1, steps / len(distance.steps))


def test_a_short_trace_is_kept_step_by_step():
    distance = points([0.1, NOTHING, 0.30000001, 0.0], [5.0, 6.0])
    assert distance.steps == (1, 2, 3, 4)
    assert distance.own == (0.1, None, 0.3, 0.0)
    assert distance.rival == (5.0, 6.0, None, None)
    assert (distance.trace, distance.own_rule, distance.rival_rule) == ("t", "own", "other")


def test_steps_of_a_run_that_cannot_be_judged_are_no_points():
    distances = kept([0.5, 0.25])
    for step, value in ((8, 0.75), (9, 0.125)):
        distances.add(step, value)
    (distance,) = distances_beside([distances], (), "own")
    assert (distance.steps, distance.own) == ((1, 2, 8, 9), (0.5, 0.25, 0.75, 0.125))


@pytest.mark.parametrize("count", [1, 2, 3, 10, 48, 60])
def test_many_traces_share_the_points_and_those_with_the_worst_are_kept(count):
    traces = [kept([place / count + step * 1e-6 for step in range(150)], f"t{place}") for place in range(count)]
    found = distances_beside(traces, traces, "own", "other")
    assert sum(len(each.steps) for each in found) <= MOST_STEPS
    assert [each.trace for each in found] == [f"t{place}" for place in range(count)][-(MOST_STEPS // LEAST_STRETCHES) :]
    assert max(found[-1].own) == shown((count - 1) / count + 149e-6)
    assert all(each.own == each.rival for each in found)


def test_a_trace_with_nothing_to_compare_is_left_out():
    assert distances_beside([kept([NOTHING] * 5), kept([])], (), "own") == ()


@given(st.lists(st.integers(), max_size=200), st.integers(2, 80))
def test_evenly_keeps_both_ends(values, most):
    chosen = evenly(values, most)
    assert len(chosen) == min(len(values), most)
    assert not values or (chosen[0], chosen[-1]) == (values[0], values[-1])
    assert list(evenly(range(len(values)), most)) == sorted(set(evenly(range(len(values)), most)))


@pytest.mark.parametrize(
    ("value", "written"),
    [(1 / 3, "0.333333"), (-0.0, "0.0"), (1e300 / 3, "3.33333e+299"), (123456789.0, "123457000.0")],
)
def test_six_digits(value, written):
    assert str(shown(value)) == written
