"""The effective decay: what rounding leaves of the nominal one, on optimizers whose arithmetic is known exactly."""

import math
from dataclasses import replace

import numpy as np
import pytest

from optconform.conformance.effective_decay import (
    DECAYING,
    EffectiveDecay,
    Unmeasured,
    effective_decay,
    half_ulp,
    law_of_match,
    left_of_decay,
    nominal_coefficient,
)
from optconform.conformance.forms import FORMS
from optconform.conformance.identify import KindOfDecay
from optconform.conformance.law import Law
from optconform.conformance.result import Decay, Match, Verdict
from optconform.conformance.trace_evidence import TraceEvidence

EXPLICIT = next(form for form in FORMS if form.name == "explicit")
LR_WD = Law(Decay("lr*wd", 1.0, 1.0, 1.0, True, "previous", "explicit"), EXPLICIT)
SCHEDULE_WD = Law(Decay("schedule*wd", 1.0, 0.0, 1.0, True, "previous", "explicit"), EXPLICIT)


@pytest.fixture
def measure(subject_of, small_trace):
    """Measure what is left of lr*wd in `dtype`."""

    def run(target, trace=small_trace, law=LR_WD, dtype="float64", names=None, **options):
        subject = replace(subject_of(target, **options), dtype=dtype)
        return effective_decay(subject, trace, law, names)

    return run


@pytest.fixture
def constant_trace(make_trace):
    """A trace of which every theta has one value, so that all elements round alike."""

    def build(theta):
        return make_trace({"w": (3,)}, theta=theta)

    return build


class TestRatio:
    def test_decay_as_configured(self, measure, zoo):
        left = measure(zoo.ScheduleWd, law=SCHEDULE_WD, weight_decay=0.1)
        # Two roundings of at most half an ulp each; half an ulp is at most 2**-53 of theta, here over c = .1.
        assert abs(left.ratio - 1.0) <= 2.0 * left.half_ulp <= 2.0 * 2.0**-53 / 0.1
        assert (left.nominal, left.elements, left.unchanged, left.changed_by_rounding) == (0.1, 17, 0.0, False)

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
    def test_one_element_is_what_the_format_makes_of_it(self, measure, zoo, constant_trace, dtype):
        """theta = 1.5: the decay leaves the nearest multiples of an ulp, 2**(1 - p), or nothing below half of one."""
        ulp = {"float32": 2.0**-23, "bfloat16": 2.0**-7, "float16": 2.0**-10}[dtype]
        for ulps, kept in ((0.49, 0.0), (0.51, 1.0), (1.49, 1.0), (2.6, 3.0)):
            c = ulps * ulp / 1.5
            left = measure(zoo.ScheduleWd, constant_trace(1.5), SCHEDULE_WD, dtype, weight_decay=c)
            assert left.ratio == pytest.approx(kept / ulps, rel=1e-12)
            assert left.unchanged == (1.0 if kept == 0.0 else 0.0)
            assert left.lost == (kept == 0.0)
            assert left.half_ulp == pytest.approx(0.5 / ulps, rel=1e-12)

    def test_what_moves_without_decay_is_taken_off(self, measure, zoo):
        class Drifting(zoo.Plain):
            def direction(self, name, grad, lr):
                return 5.0 * lr * (np.tanh(grad) + 1.0)

        left = measure(Drifting, weight_decay=5.0)
        # Both runs round: each by half an ulp of theta or of the drift, .25.
        assert abs(left.ratio - 1.0) <= 1e-14

    def test_decay_after_the_step_is_held_against_the_stepped_parameters(self, measure, zoo):
        class Late(zoo.PostUpdate):
            def direction(self, name, grad, lr):
                return 5.0 * lr * (np.tanh(grad) + 1.0)

        updated = replace(LR_WD, decay=replace(LR_WD.decay, applied_to="updated"))
        assert abs(measure(Late, law=updated, weight_decay=5.0).ratio - 1.0) <= 1e-14
        assert abs(measure(Late, law=LR_WD, weight_decay=5.0).ratio - 1.0) > 1e-2

    @pytest.mark.parametrize(
        ("target", "form"), [("Proximal", "proximal"), ("Twice", "repeated"), ("Exponential", "other")]
    )
    def test_the_nominal_coefficient_has_the_law_s_form(self, measure, zoo, target, form):
        found = next(each for each in FORMS if each.name == form)
        law = Law(replace(LR_WD.decay, applied_to="updated", form=form), found)
        left = measure(getattr(zoo, target), law=law, weight_decay=5.0)
        assert abs(left.ratio - 1.0) <= 1e-14
        assert left.nominal == pytest.approx({"proximal": 0.2, "repeated": 0.4375, "other": 1 - math.exp(-0.25)}[form])

    def test_the_worst_parameter_is_named(self, measure, zoo):
        left = measure(zoo.HalfOnBias, weight_decay=5.0)
        assert (left.worst_parameter, left.worst_ratio) == ("b", pytest.approx(0.5))
        assert 0.5 < left.ratio < 1.0
        assert measure(zoo.HalfOnBias, weight_decay=5.0, names=["w"]).ratio == pytest.approx(1.0)

    def test_a_decay_that_is_off_for_another_reason_is_not_called_rounding(self, measure, zoo):
        left = measure(zoo.HalfOnBias, weight_decay=5.0, names=["b"])
        assert left.ratio == pytest.approx(0.5)
        assert not left.changed_by_rounding
        assert measure(zoo.FirstStepOnly, weight_decay=5.0).ratio == pytest.approx(1.0)


class TestLost:
    def test_lost_by_rounding(self, measure, zoo, constant_trace):
        left = measure(zoo.ScheduleWd, constant_trace(1.5), SCHEDULE_WD, "float32", weight_decay=1e-9)
        assert (left.lost, left.changed_by_rounding, left.ratio, left.unchanged) == (True, True, 0.0, 1.0)

    def test_a_decay_that_is_not_applied_at_all_is_not_lost_by_rounding(self, measure, zoo):
        left = measure(zoo.Ignoring, weight_decay=0.5)
        assert (left.ratio, left.lost, left.changed_by_rounding) == (0.0, False, False)

    @pytest.mark.parametrize(("form", "lost"), [(EXPLICIT, False), (FORMS[2], True)], ids=["once", "twice"])
    def test_two_applications_lose_twice_the_coefficient(self, measure, zoo, constant_trace, form, lost):
        """c*1.5 is 1/.9 of half an ulp: applied at once it moves theta, in two halves neither does."""
        law = replace(SCHEDULE_WD, form=form)
        c = 2.0**-24 / (1.5 * 0.9)
        left = measure(zoo.Ignoring, constant_trace(1.5), law, "float32", weight_decay=c / form.repeats)
        assert (left.nominal, left.half_ulp) == (pytest.approx(c), pytest.approx(0.9))
        assert left.lost == lost


class TestUnmeasured:
    def test_decay_off(self, measure, zoo):
        assert measure(zoo.Plain) == Unmeasured("weight decay is off")
        assert isinstance(measure(zoo.NoZero), Unmeasured)

    def test_theta_zero(self, measure, zoo, constant_trace):
        assert "theta is zero" in str(measure(zoo.Plain, constant_trace(0.0), weight_decay=0.5))

    def test_theta_that_the_format_rounds_to_zero(self, measure, zoo, constant_trace):
        assert "theta is zero" in str(measure(zoo.Plain, constant_trace(1e-9), dtype="float16", weight_decay=0.5))

    @pytest.mark.parametrize("theta", [1.0, 1e30])
    def test_a_step_that_is_not_finite(self, measure, zoo, constant_trace, theta):
        """0/0 where eps rounded to 0, and what float16 cannot hold."""

        class Dividing(zoo.Plain):
            def direction(self, name, grad, lr):
                return grad / np.abs(grad) if theta == 1.0 else grad

        left = measure(Dividing, constant_trace(theta), dtype="float16", weight_decay=0.5)
        assert left == Unmeasured("the step at zero gradient leaves NaN or infinity")

    def test_a_step_that_raises(self, measure, zoo):
        class Refusing(zoo.Plain):
            def step(self, params, grads, lr):
                raise ValueError("no gradient")

        assert "ValueError: no gradient" in str(measure(Refusing, weight_decay=0.5))

    def test_a_law_without_figures(self, measure, zoo):
        unknown = Law(Decay(applied_to="previous"))
        assert "no coefficient follows from None" in str(measure(zoo.Plain, law=unknown, weight_decay=0.5))

    @pytest.mark.parametrize(
        ("lr", "weight_decay"), [(0.0, 0.1), (-0.1, 0.1), (0.1, math.inf), (math.nan, 0.1), (0.1, 0.0)]
    )
    def test_no_coefficient(self, lr, weight_decay):
        assert nominal_coefficient(LR_WD, lr, weight_decay) is None
        assert nominal_coefficient(LR_WD, 0.1, 0.1) == pytest.approx(0.01)


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
@pytest.mark.parametrize("x", [1.0, 1.5, -1.999, 0.75, 6e-8, 1e-5, 3e4])
def test_half_an_ulp(x, dtype):
    """Against NumPy's own spacing of the format; 6e-8 is subnormal in float16."""
    value = np.dtype(dtype).type(x)
    assert half_ulp(np.array([float(value)]), dtype)[0] == float(np.spacing(np.abs(value))) / 2.0


@pytest.mark.parametrize(
    ("match", "exponents", "applied_to", "form"),
    [
        (Match(rule="adamw", law="lr*wd", order="previous"), (1.0, 1.0), "previous", "explicit"),
        (Match(rule="sgdw", law="schedule*wd", order="updated"), (0.0, 1.0), "updated", "explicit"),
        (Match(rule="adamw", law="wd", order="proximal"), (0.0, 1.0), "updated", "proximal"),
        (Match(rule="adamw", law="lr*wd", order=None, rivals={"adam_l2": 2.1}), (1.0, 1.0), None, "explicit"),
    ],
)
def test_the_law_of_a_matched_rule(match, exponents, applied_to, form):
    law = law_of_match(match)
    assert (law.decay.lr_exponent, law.decay.wd_exponent) == exponents
    assert (law.decay.applied_to, law.decay.form, law.form.name, law.decay.factor) == (applied_to, form, form, 1.0)


@pytest.mark.parametrize(
    "match",
    [
        Match(),
        Match(rule="adam_l2", law="lr*wd"),
        Match(rule="adamw", law=None, order="previous"),
        Match(rule="adamw", law="lr*wd", order="previous", rivals={"adam_l2[law=lr*wd]": 0.5}),
    ],
)
def test_a_match_without_a_law(match):
    assert law_of_match(match) is None


class TestWhereItIsMeasured:
    @pytest.fixture
    def subject(self, subject_of, zoo):
        return subject_of(zoo.Plain, weight_decay=0.5)

    @pytest.fixture
    def evidence(self, make_trace):
        """A large trace, a small one of which only `b` decays, and a smaller one that decided nothing."""

        def kinds(verdict_of_w, verdict_of_b=Verdict.DECOUPLED):
            return {"w": KindOfDecay(verdict_of_w, ""), "b": KindOfDecay(verdict_of_b, "")}

        large = make_trace({"w": (30, 4), "b": (5,)}, name="large")
        tiny = make_trace({"w": (1,), "b": (1,)}, name="tiny")
        return [
            TraceEvidence(large, False, kinds(Verdict.DECOUPLED)),
            TraceEvidence(make_trace(name="excluding"), False, kinds(Verdict.EQUIVALENT)),
            TraceEvidence(tiny, False, kinds(Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE)),
        ]

    def test_on_the_smallest_trace_that_decided(self, subject, evidence):
        left = left_of_decay(subject, Verdict.DECOUPLED, evidence, LR_WD, Match())
        assert (left.trace, left.elements) == ("excluding", 17)

    @pytest.mark.parametrize("verdict", sorted(set(Verdict) - DECAYING))
    def test_other_verdicts_have_none(self, subject, evidence, verdict):
        assert left_of_decay(subject, verdict, evidence, LR_WD, Match()) is None

    def test_no_law(self, subject, evidence):
        left = left_of_decay(subject, Verdict.DECOUPLED, evidence, None, Match())
        assert str(left) == "not measured: the law of the decay is not known"

    def test_the_matched_rule_s_law_serves_where_the_runs_found_none(self, subject, evidence):
        match = Match(rule="adamw", law="lr*wd", order="previous")
        for found in (evidence, evidence[2:]):  # in 16 bits the runs may leave the kind open as well
            left = left_of_decay(subject, Verdict.DECOUPLED, found, None, match)
            assert isinstance(left, EffectiveDecay)
