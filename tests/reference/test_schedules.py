"""Schedules against values read off their definitions, and against each other."""

from __future__ import annotations

import itertools
import math

import pytest

from optconform.reference import schedules


def first(schedule, count):
    return [schedule(step) for step in range(1, count + 1)]


def test_constant():
    assert first(schedules.constant(), 5) == [1.0] * 5


def test_step_decay():
    assert first(schedules.step_decay(3, 0.5), 8) == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_linear_warmup():
    assert first(schedules.linear_warmup(4), 6) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_warmup_hands_over_at_the_first_step_of_what_follows():
    after = schedules.cosine(10)
    joined = schedules.linear_warmup(4, after)
    assert first(joined, 14)[4:] == first(after, 10)


def test_cosine_at_the_angles_known_by_heart():
    values = first(schedules.cosine(6), 9)
    root3 = math.sqrt(3.0)
    expected = [1.0, 0.5 + root3 / 4, 0.75, 0.5, 0.25, 0.5 - root3 / 4, 0.0, 0.0, 0.0]
    assert values == pytest.approx(expected, abs=2**-52)


def test_cosine_is_point_symmetric():
    values = first(schedules.cosine(101), 102)
    assert [a + b for a, b in zip(values, reversed(values), strict=True)] == pytest.approx([1.0] * 102, abs=2**-51)


def test_one_run_between_restarts_is_the_cosine():
    assert first(schedules.cosine_with_restarts(12), 12) == first(schedules.cosine(12), 12)


@pytest.mark.parametrize(
    ("first_period", "growth", "restarts"), [(5, 1, [1, 6, 11, 16, 21]), (3, 2, [1, 4, 10, 22]), (1, 3, [1, 2, 5, 14])]
)
def test_restarts_return_to_one_at_the_steps_counted_by_hand(first_period, growth, restarts):
    values = first(schedules.cosine_with_restarts(first_period, growth), 23)
    assert [step for step, value in enumerate(values, start=1) if value == 1.0] == restarts
    for start, end in itertools.pairwise(restarts):
        run = values[start - 1 : end - 1]
        assert run == sorted(run, reverse=True)
        assert run == first(schedules.cosine(end - start), end - start)


def test_restart_periods():
    assert list(itertools.islice(schedules.restart_periods(10, 2), 4)) == [10, 20, 40, 80]
    assert list(itertools.islice(schedules.restart_periods(7), 3)) == [7, 7, 7]


def test_normalized_weight_decay():
    # b/(B*T) = 100/(10,000*100) = 1/10,000, whose root is 1/100.
    assert schedules.normalized_weight_decay(0.05, 100, 10_000, 100) == pytest.approx(0.0005, rel=1e-15)
    assert schedules.normalized_weight_decay(1.0, 1, 1, 4) == 0.5


def test_normalized_weight_decay_shrinks_with_the_root_of_the_budget():
    short = schedules.normalized_weight_decay(0.025, 128, 50_000, 25)
    assert schedules.normalized_weight_decay(0.025, 128, 50_000, 100) == pytest.approx(short / 2, rel=1e-15)
    assert schedules.normalized_weight_decay(0.025, 512, 50_000, 100) == pytest.approx(short, rel=1e-15)


INVALID = {
    "period = 0": lambda: schedules.step_decay(0, 0.5),
    "factor = -0.5": lambda: schedules.step_decay(3, -0.5),
    "warmup = -1": lambda: schedules.linear_warmup(-1),
    "total = 0": lambda: schedules.cosine(0),
    "first_period = 0": lambda: schedules.cosine_with_restarts(0),
    "growth = 0": lambda: schedules.cosine_with_restarts(5, 0),
    "batch_size = 0": lambda: schedules.normalized_weight_decay(0.1, 0, 10, 1),
    "training_points = inf": lambda: schedules.normalized_weight_decay(0.1, 1, math.inf, 1),
    "epochs = nan": lambda: schedules.normalized_weight_decay(0.1, 1, 10, math.nan),
}


@pytest.mark.parametrize("beginning", INVALID)
def test_invalid_arguments_are_named(beginning):
    with pytest.raises(ValueError, match=f"^{beginning}, but it must be positive and finite"):
        INVALID[beginning]()


@pytest.mark.parametrize(
    "make", [lambda: schedules.cosine_with_restarts(5, 0.5), lambda: next(schedules.restart_periods(5, 0.5))]
)
def test_shrinking_periods_are_refused(make):
    """5 + 2.5 + 1.25 + ... is 10: no period would ever hold step 11."""
    with pytest.raises(ValueError, match=r"growth = 0\.5, but it must be at least 1"):
        make()


def test_invalid_periods_are_refused_before_the_first_is_drawn():
    with pytest.raises(ValueError, match="growth = 0"):
        next(schedules.restart_periods(5, 0))
