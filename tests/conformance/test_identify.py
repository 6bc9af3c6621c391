"""The model-free tests, on optimizers whose rule the reference does not know."""

import numpy as np
import pytest

from optconform.conformance.evidence import Evidence
from optconform.conformance.identify import kind_of_decay
from optconform.conformance.pairing import paired_steps
from optconform.conformance.parameter_use import parameter_use
from optconform.conformance.result import Verdict
from optconform.conformance.subject import initial_parameters


@pytest.fixture
def judge(subject_of):
    """Return {parameter: kind of decay} of a class on a trace."""

    def run(target, trace, *, local=False):
        subject = subject_of(target)
        theta = initial_parameters(trace)
        evidence = {name: Evidence() for name in theta}
        use = parameter_use(subject, theta, trace.steps(4), subject.probe())
        pairs = paired_steps(subject, theta, trace.steps(), subject.probe(), local=local, parameter_slots=use.slots)
        for paired in pairs:
            for name, collected in evidence.items():
                collected.add(paired, name)
        return {name: kind_of_decay(collected.steps) for name, collected in evidence.items()}

    return run


@pytest.mark.parametrize(
    ("name", "verdict", "applied_to"),
    [
        ("Plain", Verdict.DECOUPLED, "previous"),
        ("PlainWd", Verdict.DECOUPLED, "previous"),
        ("ScheduleWd", Verdict.DECOUPLED, "previous"),
        ("BaseLrWd", Verdict.DECOUPLED, "previous"),
        ("SquaredLr", Verdict.DECOUPLED, "previous"),
        ("Twice", Verdict.DECOUPLED, "previous"),
        ("Exponential", Verdict.DECOUPLED, "previous"),
        ("PostUpdate", Verdict.DECOUPLED, "updated"),
        ("Proximal", Verdict.DECOUPLED, "updated"),
        ("Stale", Verdict.DECOUPLED, "previous"),
        ("NoZero", Verdict.DECOUPLED, "previous"),
        ("L2", Verdict.L2, None),
        ("MomentumL2", Verdict.L2, None),
        ("Sgd", Verdict.EQUIVALENT, "previous"),
        ("Ignoring", Verdict.IGNORED, None),
        ("Motionless", Verdict.IGNORED, None),
        ("Growing", Verdict.OTHER, None),
        ("Sign", Verdict.OTHER, None),
        ("Constant", Verdict.OTHER, None),
        ("LargeOnly", Verdict.OTHER, None),
        ("Preconditioned", Verdict.OTHER, None),
        ("NotANumber", Verdict.INCONCLUSIVE, None),
        # One scalar times theta in every step, but not one that a decoupled decay has.
        ("EveryOtherStep", Verdict.OTHER, None),
        ("FirstStepOnly", Verdict.OTHER, None),
        ("GradientNorm", Verdict.OTHER, None),
        ("ThetaNorm", Verdict.OTHER, None),
    ],
)
def test_each_kind_is_named(judge, zoo, small_trace, name, verdict, applied_to):
    kinds = judge(getattr(zoo, name), small_trace)
    assert {kind.verdict for kind in kinds.values()} == {verdict}
    assert {kind.applied_to for kind in kinds.values()} == {applied_to}


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("name", ["Plain", "PostUpdate", "L2", "MomentumL2", "Sgd", "Sign", "Stale", "EveryOtherStep"])
def test_global_and_local_pairing_agree_where_the_step_does_not_read_parameters(judge, zoo, small_trace, name, local):
    found = judge(getattr(zoo, name), small_trace, local=local)
    assert found.keys() == small_trace.initial.keys()
    assert [kind.verdict for kind in found.values()] == [
        kind.verdict for kind in judge(getattr(zoo, name), small_trace).values()
    ]


@pytest.mark.parametrize(("name", "target"), [("Sign", "sign(theta)"), ("Constant", "a constant")])
def test_a_wrong_target_is_named(judge, zoo, small_trace, name, target):
    assert {kind.wrong_target for kind in judge(getattr(zoo, name), small_trace).values()} == {target}


def test_growing_weights_are_marked(judge, zoo, small_trace):
    assert all(kind.grows for kind in judge(zoo.Growing, small_trace).values())
    assert not any(kind.grows for kind in judge(zoo.Plain, small_trace).values())


def test_an_unsteady_factor_is_explained(judge, zoo, small_trace):
    reason = judge(zoo.EveryOtherStep, small_trace)["w"].reason
    assert "neither stays constant nor follows the learning rate" in reason
    assert "zero in 3 of 6 steps" in reason
    assert judge(zoo.GradientNorm, small_trace)["w"].reason.endswith("nor follows the learning rate")


def test_steps_without_gradient_are_not_counted_where_decay_is_absent(judge, zoo, make_trace):
    sparse = make_trace(n_steps=8, missing={(2, "w"), (5, "w")})
    assert judge(zoo.EveryOtherStep, sparse)["w"].reason.endswith("it is zero in 3 of 6 steps")


def test_coefficients_are_lr_times_wd_at_probe_values(judge, zoo, small_trace):
    kind = judge(zoo.Plain, small_trace)["w"]
    assert kind.measured == tuple(range(6))
    for fit, eta in zip(kind.fits, small_trace.multipliers, strict=True):
        assert abs(fit.coefficient - eta * 0.05 * 0.5) <= fit.uncertainty


def test_own_and_rival_ratio_are_far_apart(judge, zoo, small_trace):
    decoupled, l2 = (judge(target, small_trace)["w"] for target in (zoo.Plain, zoo.L2))
    assert decoupled.decoupling_ratio <= 1.0 < 1e6 < decoupled.substitution_ratio
    assert l2.substitution_ratio <= 1.0 < 1e6 < l2.decoupling_ratio


@pytest.mark.parametrize("theta", [1.0, -0.3])
@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("Plain", Verdict.DECOUPLED),
        ("Twice", Verdict.DECOUPLED),
        ("L2", Verdict.L2),
        ("MomentumL2", Verdict.L2),
        ("Sgd", Verdict.EQUIVALENT),
        ("Sign", Verdict.OTHER),
        ("Preconditioned", Verdict.OTHER),
        ("GradientNorm", Verdict.OTHER),
    ],
)
@pytest.mark.parametrize("shape", [(), (1,)])
def test_one_coordinate_is_told_by_its_course(judge, zoo, make_trace, name, verdict, theta, shape):
    """Any displacement of one coordinate is a multiple of theta; only its course over the steps tells."""
    kind = judge(getattr(zoo, name), make_trace({"scale": shape}, 8, theta=theta))["scale"]
    assert kind.verdict is verdict


def test_a_tensor_of_equal_values_is_no_better_than_one_coordinate(judge, zoo, make_trace):
    trace = make_trace({"ones": (8,)}, 8, theta=1.0, grads=0.3)
    assert judge(zoo.Constant, trace)["ones"].verdict is Verdict.OTHER
    assert judge(zoo.L2, trace)["ones"].verdict is Verdict.L2
    assert judge(zoo.Plain, trace)["ones"].verdict is Verdict.DECOUPLED


def test_gradients_of_zero_do_not_make_l2_decoupled(judge, zoo, make_trace):
    trace = make_trace(grads=0.0)
    assert {kind.verdict for kind in judge(zoo.MomentumL2, trace).values()} == {Verdict.L2}
    assert {kind.applied_to for kind in judge(zoo.Plain, trace).values()} == {"either"}


@pytest.mark.parametrize("name", ["MomentumL2", "Plain", "Sgd"])
def test_one_step_decides_nothing_in_favour_of_decoupling(judge, zoo, make_trace, name):
    """In one step, L2 through a momentum buffer and decoupled decay are the same."""
    assert {kind.verdict for kind in judge(getattr(zoo, name), make_trace(n_steps=1)).values()} == {
        Verdict.INCONCLUSIVE
    }


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"theta": 0.0, "grads": 0.0}, "theta is zero in every step"),
        ({"multipliers": (0.0,) * 6}, "the learning rate is zero in every step"),
        ({"missing": {(step, name) for step in range(1, 7) for name in ("w", "b")}}, "no step has a gradient"),
        ({"n_steps": 0}, "no step"),
        ({"shapes": {"w": (0, 3)}}, "no element"),
    ],
)
@pytest.mark.parametrize("name", ["Plain", "Ignoring", "L2"])
def test_where_decay_cannot_show_nobody_is_accused(judge, zoo, make_trace, name, arguments, reason):
    kinds = judge(getattr(zoo, name), make_trace(**arguments))
    assert {kind.verdict for kind in kinds.values()} == {Verdict.INCONCLUSIVE}
    assert all(reason in kind.reason for kind in kinds.values())


def test_steps_with_learning_rate_zero_and_without_gradient_are_no_evidence_of_absence(judge, zoo, make_trace):
    trace = make_trace(multipliers=(1.0, 0.0, 0.5, 1.0, 0.0, 0.25), missing={(1, "w"), (4, "w"), (3, "b")})
    assert {kind.verdict for kind in judge(zoo.Plain, trace).values()} == {Verdict.DECOUPLED}
    # ... but where the learning rate is zero, a decay proportional to wd alone goes on.
    assert {kind.verdict for kind in judge(zoo.PlainWd, trace).values()} == {Verdict.DECOUPLED}


def test_a_schedule_that_the_decay_follows_with_a_lag_stays_a_multiple_of_theta(judge, zoo, small_trace):
    kind = judge(zoo.Stale, small_trace)["w"]
    etas = (1.0, *small_trace.multipliers[:-1])
    assert [round(fit.coefficient / 0.025, 9) for fit in kind.fits] == list(etas)


def test_steps_too_small_for_float64_are_inconclusive(judge, zoo, make_trace):
    """theta so large that what decay does rounds away relative to what else moves it."""

    class Faint(zoo.Plain):
        def decay(self, name, theta, grad, lr):
            return 1e-18 * lr * self.weight_decay * (theta + np.spacing(theta))

    kinds = judge(Faint, make_trace(theta=3.0))
    assert {kind.verdict for kind in kinds.values()} <= {Verdict.INCONCLUSIVE, Verdict.IGNORED}
