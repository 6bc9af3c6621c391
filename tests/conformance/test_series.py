"""The points for pictures: each says what the verdict says, none changes it, and there are few of them."""

import dataclasses
import json

import numpy as np
import pytest

import optconform
from optconform.adapters import numpy_optimizers
from optconform.conformance.audit import audit
from optconform.conformance.expectation import parse_expectation
from optconform.conformance.identify import KindOfDecay
from optconform.conformance.planned import builtin_plan
from optconform.conformance.result import Result, Verdict
from optconform.conformance.sampled_displacements import (
    DISPLACEMENTS,
    ELEMENTS,
    TENSORS,
    EarlyStep,
    displacements_of,
    shared_out,
)
from optconform.conformance.series import MOST_ELEMENTS, Displacement, Series
from optconform.conformance.traces import Parameter

ADAMW, SGDW = (f"optconform.adapters.numpy_optimizers:{name}" for name in ("AdamW", "SGDW"))
DIGITS = 5e-6
"""Relative error of a number that is rounded to six digits."""
MOST_BYTES = 15_000


class AdamL2(numpy_optimizers.AdamW):
    """Adam fed with g + weight_decay * theta."""

    def step(self, params, grads, lr):
        decay, self.weight_decay = self.weight_decay, 0.0
        fed = {name: None if grad is None else grad + decay * params[name] for name, grad in grads.items()}
        moved = super().step(params, fed, lr)
        self.weight_decay = decay
        return moved


@pytest.fixture
def audited(subject_of, make_trace):
    """Return the result of an audit that expects nothing."""

    def run(target, *traces, **hyperparameters):
        traces = traces or (make_trace({"w": (30, 20), "b": (40,)}, 6),)
        return audit(subject_of(target, **hyperparameters), traces, parse_expectation("any"))

    return run


def size_of(series):
    return len(json.dumps(dataclasses.asdict(series)))


def off_the_line(displacement, coefficient):
    """Return the largest distance from -c * theta, as a share of the largest displacement."""
    theta, moved = np.array(displacement.theta), np.array(displacement.moved)
    return np.max(np.abs(moved + coefficient * theta)) / np.max(np.abs(moved))


class TestDisplacements:
    @pytest.mark.parametrize("target", ["AdamW", "Plain", "Twice", "Proximal", "PostUpdate", "Stale"])
    def test_decoupled_decay_is_a_line(self, audited, zoo, target):
        result = audited(getattr(zoo, target, ADAMW))
        assert result.verdict == "decoupled"
        assert [each.parameter for each in result.series.displacements] == ["w", "b"]
        for each in result.series.displacements:
            assert each.applied_to == ("updated" if target in ("PostUpdate", "Proximal") else "previous")
            # Theta, displacement and c are rounded to six digits, each once.
            assert off_the_line(each, each.coefficient) <= 3 * DIGITS

    @pytest.mark.parametrize("target", [AdamL2, "L2", "MomentumL2"])
    def test_l2_is_a_cloud_about_it(self, audited, zoo, target):
        result = audited(getattr(zoo, target) if isinstance(target, str) else target)
        assert result.verdict == "l2"
        for each in result.series.displacements:
            assert (each.coefficient, each.step) == (None, 4)
            theta, moved = np.array(each.theta), np.array(each.moved)
            assert off_the_line(each, -(moved @ theta) / (theta @ theta)) > 0.02

    def test_ignored_decay_is_flat_and_growing_one_rises(self, audited, zoo):
        for each in audited(zoo.Ignoring).series.displacements:
            assert (set(each.moved), each.coefficient) == ({0.0}, None)
        for each in audited(zoo.Growing).series.displacements:
            assert each.coefficient == -0.025
            assert off_the_line(each, -0.025) <= 3 * DIGITS

    def test_every_kind_of_a_mixed_decay_is_shown(self, audited, zoo):
        bias, weight = (audited(zoo.SkipsBias).series.displacements[place] for place in (1, 0))
        assert (weight.coefficient, bias.coefficient) == (0.025, None)
        assert set(bias.moved) == {0.0}

    def test_elements_lie_evenly_over_the_ranks_of_theta(self, audited, make_trace):
        trace = make_trace({"w": (30, 20)}, 3)
        (shown,) = audited(ADAMW, trace).series.displacements
        ranked = np.sort(np.abs(trace.initial_parameters()["w"].reshape(-1)))
        assert len(shown.theta) == ELEMENTS
        ranks = np.searchsorted(ranked, np.abs(shown.theta) * (1 - 2 * DIGITS))
        assert (ranks[0], ranks[-1]) == (0, 599)
        assert set(np.diff(ranks)) <= {9, 10}

    def test_the_step_is_the_first_in_which_all_elements_decay(self, audited, make_trace):
        still = make_trace({"w": (4, 5)}, 8, multipliers=(0.0,) * 5 + (1.0, 0.5, 1.0))
        (shown,) = audited(ADAMW, still).series.displacements
        assert (shown.step, shown.coefficient) == (6, 0.025)
        (shown,) = audited(ADAMW, make_trace({"w": (4, 5)}, 6, missing=[(1, "w"), (2, "w")])).series.displacements
        assert (shown.step, shown.coefficient) == (3, 0.025)

    def test_nothing_is_shown_without_a_step_that_decays_or_could(self, audited, zoo, make_trace):
        class Refusing(zoo.Plain):
            def __init__(self, weight_decay=0.0):
                raise ValueError("no")

        class Stuck(zoo.Plain):
            def step(self, params, grads, lr):
                raise RuntimeError("no")

        assert audited(zoo.NoDecayOption).verdict == "none"
        for target in (zoo.NoDecayOption, Refusing, Stuck):
            assert audited(target).series == Series()
        assert audited(ADAMW, make_trace(n_steps=0)).series == Series()
        assert audited(zoo.NotANumber).series.displacements == ()

    def test_many_tensors_and_traces_share_the_elements(self, audited, make_trace):
        shapes = {f"{kind}{index}": (9, 9) if kind == "w" else (70,) for kind in "wb" for index in range(6)}
        one = audited(ADAMW, make_trace(shapes, 3)).series
        assert [each.parameter for each in one.displacements] == ["w0", "b0"]
        traces = [make_trace(shapes, 3, name=f"t{index}", seed=index) for index in range(12)]
        found = audited(ADAMW, *traces).series
        assert [each.trace for each in found.displacements] == [f"t{index}" for index in range(DISPLACEMENTS)]
        assert {len(each.theta) for each in found.displacements} == {MOST_ELEMENTS // DISPLACEMENTS}
        assert {each.trace for each in found.distances} == {trace.name for trace in traces}
        assert size_of(found) <= MOST_BYTES


class TestChosenTensors:
    @staticmethod
    def chosen(*rows):
        """Return the names chosen of parameters given as (name, shape, verdict, decoupling ratio, more)."""
        parameters, kinds, early = [], {}, {}
        for name, shape, verdict, ratio, *more in rows:
            parameters.append(Parameter(name, shape, "float64"))
            kinds[name] = KindOfDecay(verdict, "", decoupling_ratio=ratio, **(more[0] if more else {}))
            early[name] = EarlyStep(step=1, theta=np.ones(2), free=np.ones(2), displacement=np.ones(2))
        return [each.parameter for each in displacements_of("t", parameters, kinds, early)]

    def test_the_furthest_then_matrix_and_vector_then_every_other_verdict(self):
        l2, ignored, decoupled = Verdict.L2, Verdict.IGNORED, Verdict.DECOUPLED
        rows = [
            ("small", (2, 2), l2, 40.0),
            ("large", (9, 9), l2, 7.0),
            ("bias", (5,), l2, 30.0),
            ("wide bias", (8,), l2, 3.0),
            ("idle", (2,), ignored, 0.0),
            ("sound", (3,), decoupled, 0.5),
            ("worst", (), l2, 90.0),
        ]
        assert self.chosen(*rows) == ["worst", "large", "wide bias", "sound"]
        assert len(self.chosen(*rows)) == TENSORS
        assert self.chosen(*rows[:2]) == ["small", "large"]
        assert self.chosen(rows[5]) == ["sound"]

    def test_what_is_not_exercised_or_excluded_comes_only_where_there_is_nothing_else(self):
        excluded = ("bias", (5,), Verdict.EXCLUDED, 0.0, {"excluded": True})
        idle = ("idle", (5, 5), Verdict.INCONCLUSIVE, None, {"exercised": False})
        assert self.chosen(excluded, idle, ("w", (2, 2), Verdict.DECOUPLED, 0.1)) == ["w"]
        assert self.chosen(excluded, idle) == ["idle", "bias"]

    def test_the_first_of_every_trace_comes_before_the_second_of_any(self):
        traces = [
            [Displacement(trace, str(place), 1, (0.0,) * 64, (1.0,) * 64) for place in range(4)] for trace in "abc"
        ]
        assert "".join(each.trace + each.parameter for each in shared_out(traces)) == "a0b0c0a1b1c1a2b2"
        assert [len(each.moved) for each in shared_out(traces[:1])] == [60] * 4
        assert shared_out([]) == ()


class TestDistances:
    @pytest.mark.parametrize("target", [ADAMW, SGDW, AdamL2])
    def test_the_largest_are_the_ratios_of_the_match(self, audited, make_trace, target):
        missing = [(step, "b") for step in range(3, 20)]
        long, short = make_trace({"w": (3, 4), "b": (5,)}, 300, missing=missing), make_trace(n_steps=7, name="short")
        result = audited(target, long, short)
        assert [each.trace for each in result.series.distances] == ["small", "short"]
        own = [value for each in result.series.distances for value in each.own if value is not None]
        rival = [value for each in result.series.distances for value in each.rival if value is not None]
        (own_rule,) = {each.own_rule for each in result.series.distances}
        (rival_rule,) = {each.rival_rule for each in result.series.distances}
        assert (own_rule, rival_rule) == (result.match.rule, result.separation.nearest_rival)
        assert max(own) == float(f"{result.match.bound_ratio:.6g}")
        assert max(rival) == float(f"{result.match.rivals[rival_rule]:.6g}")
        first, second = result.series.distances
        assert (second.steps, len(first.steps)) == ((1, 2, 3, 4, 5, 6, 7), 75)
        # A rival that is rejected is followed over 256 steps: 64 stretches of four.
        assert None not in first.rival[:64]
        assert set(first.rival[64:]) == {None}

    def test_where_nothing_matches_they_are_those_of_what_came_nearest(self, audited, zoo):
        result = audited(zoo.Plain)
        (distance,) = result.series.distances
        assert (result.match.rule, distance.own_rule, distance.rival_rule) == (None, result.match.nearest, "")
        assert max(distance.own) == float(f"{result.match.rivals[result.match.nearest]:.6g}")
        assert set(distance.rival) == {None}

    def test_a_step_without_any_gradient_has_nothing_to_compare(self, audited, make_trace):
        trace = make_trace(n_steps=5, missing=[(2, "w"), (2, "b"), (3, "b")])
        (distance,) = audited(ADAMW, trace).series.distances
        assert [value is None for value in distance.own] == [False, True, False, False, False]

    def test_two_traces_of_one_name_stay_two(self, audited, make_trace):
        found = audited(ADAMW, make_trace(n_steps=4), make_trace(n_steps=6, seed=9)).series.distances
        assert [(each.trace, len(each.steps)) for each in found] == [("small", 4), ("small", 6)]


class TestLaw:
    @pytest.mark.parametrize(
        ("target", "exponent"), [("Plain", 1.0), ("Tripled", 1.0), ("ScheduleWd", 0.0), ("PlainWd", 0.0)]
    )
    def test_the_points_reproduce_it(self, audited, zoo, target, exponent):
        result = audited(getattr(zoo, target))
        decay, points = result.decay, result.series.law
        assert decay.lr_exponent == exponent
        assert len(points) == 16
        assert {each.lr for each in points} == {0.025, 0.05, 0.1}
        assert {each.weight_decay for each in points} == {0.25, 0.5, 1.0}
        assert {each.multiplier for each in points} == {1.0, 0.5, 0.25, 0.125}
        for each in points:
            eta = each.multiplier if decay.follows_schedule else 1.0
            c = decay.factor * eta * each.lr**decay.lr_exponent * each.weight_decay**decay.wd_exponent
            assert each.coefficient == pytest.approx(c, rel=2 * DIGITS)
            assert 0.0 < each.uncertainty < 1e-9

    def test_there_are_none_where_no_law_was_looked_for(self, audited, zoo):
        assert audited(zoo.L2).series.law == ()
        assert audited(zoo.SquaredLr).series.law != ()


def test_they_are_the_same_every_time_and_come_back_from_json(audited, zoo):
    for target in (ADAMW, AdamL2, zoo.SkipsBias, zoo.NotANumber):
        one, other = audited(target), audited(target)
        assert one.series == other.series
        assert Result.from_json(json.loads(json.dumps(one.to_json()))).series == one.series


def test_a_result_without_them_is_read(audited):
    document = audited(ADAMW).to_json()
    del document["series"]
    assert Result.from_json(document).series == Series()


def test_all_of_the_built_in_targets_are_small():
    for row, dtype in zip(builtin_plan(["numpy"]), ("float64", "float32"), strict=True):
        result = optconform.audit(row.spec, dtype=dtype, metamorphic=False, **row.options)
        assert len(result.series.displacements) == 6
        assert len(result.series.distances) == 3
        assert size_of(result.series) <= MOST_BYTES
