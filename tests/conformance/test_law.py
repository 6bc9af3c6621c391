"""The law of the decay: exponents, factor, form, and whether it follows the schedule."""

import pytest

from optconform.conformance.api import make_subject
from optconform.conformance.audit import audit
from optconform.conformance.expectation import parse_expectation


@pytest.fixture
def found(subject_of, small_trace):
    def run(target, expect="any", **hyperparameters):
        return audit(subject_of(target, **hyperparameters), [small_trace], parse_expectation(expect))

    return run


@pytest.mark.parametrize(
    ("name", "law", "exponents", "factor", "follows", "form", "applied_to"),
    [
        ("Plain", "lr*wd", (1, 1), 1.0, True, "explicit", "previous"),
        ("ScheduleWd", "schedule*wd", (0, 1), 1.0, True, "explicit", "previous"),
        ("PlainWd", "wd", (0, 1), 1.0, False, "explicit", "previous"),
        ("BaseLrWd", "other", (1, 1), 1.0, False, "explicit", "previous"),
        ("SquaredLr", "other", (2, 1), 1.0, True, "explicit", "previous"),
        ("Tripled", "other", (1, 1), 3.0, True, "explicit", "previous"),
        ("PostUpdate", "lr*wd", (1, 1), 1.0, True, "explicit", "updated"),
        ("Proximal", "lr*wd", (1, 1), 1.0, True, "proximal", "updated"),
        ("Twice", "lr*wd", (1, 1), 1.0, True, "repeated", "previous"),
        ("Exponential", "lr*wd", (1, 1), 1.0, True, "other", "previous"),
        ("Stale", "other", (1, 1), 1.0, None, "explicit", "previous"),
        ("Sgd", "lr*wd", (1, 1), 1.0, True, "explicit", "previous"),
    ],
)
def test_each_law_is_found(found, zoo, name, law, exponents, factor, follows, form, applied_to):
    decay = found(getattr(zoo, name)).decay
    assert decay.law == law
    assert (decay.lr_exponent, decay.wd_exponent) == exponents
    assert decay.factor == pytest.approx(factor, rel=1e-12)
    assert decay.follows_schedule is follows
    assert (decay.form, decay.applied_to) == (form, applied_to)


def test_an_exponent_of_a_half_is_found_like_an_integer(found, zoo):
    class HalfPower(zoo.Plain):
        def decay(self, name, theta, grad, lr):
            return lr * self.weight_decay**0.5 * theta

    decay = found(HalfPower).decay
    assert (decay.law, decay.form, decay.factor) == ("other", "explicit", 1.0)
    assert (decay.lr_exponent, decay.wd_exponent) == (1.0, 0.5)


def test_any_other_exponent_is_shown_as_it_is(found, zoo):
    class Power(zoo.Plain):
        def decay(self, name, theta, grad, lr):
            return lr * self.weight_decay**0.3 * theta

    decay = found(Power).decay
    assert (decay.law, decay.form, decay.factor) == ("other", "other", None)
    assert abs(decay.wd_exponent - 0.3) <= decay.wd_exponent_uncertainty < 1e-9
    assert abs(decay.lr_exponent - 1.0) <= decay.lr_exponent_uncertainty < 1e-9


def test_a_decay_in_the_root_of_the_learning_rate_has_its_exponent(found, zoo):
    result = found(zoo.RootLr)
    assert (result.verdict, result.decay.law, result.decay.lr_exponent) == ("decoupled", "other", 0.5)
    assert result.decay.follows_schedule is None


@pytest.mark.parametrize("name", ["Plain", "Tripled", "Proximal", "Twice", "ScheduleWd"])
@pytest.mark.parametrize(("dtype", "most"), [("float64", 1e-10), ("float32", 0.1)])
def test_every_figure_has_its_uncertainty(zoo, small_trace, name, dtype, most):
    subject = make_subject(getattr(zoo, name), framework="numpy", dtype=dtype)
    result = audit(subject, [small_trace], parse_expectation("any"))
    decay, factor = result.decay, 3.0 if name == "Tripled" else 1.0
    assert abs(decay.factor - factor) <= decay.factor_uncertainty < most
    assert 0.0 <= decay.lr_exponent_uncertainty < most
    assert 0.0 <= decay.wd_exponent_uncertainty < most
    for parameter in result.parameters:
        assert len(parameter.coefficient) == len(parameter.coefficient_uncertainty) == parameter.steps
        assert all(
            0.0 < error < abs(c)
            for c, error in zip(parameter.coefficient, parameter.coefficient_uncertainty, strict=True)
        )


@pytest.mark.parametrize(
    ("name", "code", "severity"),
    [
        ("Stale", "OC203", "error"),
        ("BaseLrWd", "OC202", "warning"),
        ("Twice", "OC108", "error"),
        ("PostUpdate", "OC104", "warning"),
        ("Growing", "OC106", "error"),
        ("Sign", "OC105", "error"),
        ("Constant", "OC105", "error"),
        ("Ignoring", "OC102", "error"),
        ("L2", "OC101", "error"),
        ("NotANumber", "OC409", "error"),
        ("HalfOnBias", "OC109", "warning"),
    ],
)
def test_each_fault_has_its_code(found, zoo, name, code, severity):
    result = found(getattr(zoo, name), "decoupled")
    fired = {finding.rule: str(finding.severity) for finding in result.findings}
    assert fired[code] == severity


def test_a_sound_decay_has_no_finding_but_its_law(found, zoo):
    assert [finding.rule for finding in found(zoo.Plain, "decoupled").findings] == ["OC201"]
    assert int(found(zoo.Plain, "decoupled").exit_status) == 0


@pytest.mark.parametrize("expected", ["wd", "schedule*wd", "other"])
def test_another_law_than_expected_is_an_error(found, zoo, expected):
    result = found(zoo.Plain, f"decoupled,law={expected}")
    assert int(result.exit_status) == 1
    finding = next(each for each in result.findings if each.rule == "OC201")
    assert finding.severity == "error"
    assert f"{expected} was expected" in finding.message


def test_uneven_decay_among_tensors_of_the_same_rank_is_an_error(subject_of, zoo, make_trace):
    trace = make_trace({"w1": (3, 2), "w2": (2, 2), "b1": (4,)})
    result = audit(subject_of(zoo.HalfOnSecond), [trace], parse_expectation("decoupled"))
    finding = next(each for each in result.findings if each.rule == "OC109")
    assert (finding.severity, finding.parameter, int(result.exit_status)) == ("error", "w2", 1)
    assert "'w1' by 0.025 of itself" in finding.message


def test_the_order_of_a_step_that_may_be_either_satisfies_both(found, zoo, subject_of, make_trace):
    zero = make_trace(grads=0.0)
    for order in ("previous", "updated", "either"):
        result = audit(subject_of(zoo.Plain), [zero], parse_expectation(f"any,order={order}"))
        assert [check.outcome for check in result.checks if check.name == "order"] == ["passed"]
    assert [check.outcome for check in found(zoo.Plain, "any,order=updated").checks if check.name == "order"] == [
        "failed"
    ]


def test_a_decay_that_acts_above_a_threshold_alone_is_pointed_out(found, zoo):
    class Threshold(zoo.Plain):
        def decay(self, name, theta, grad, lr):
            return super().decay(name, theta, grad, lr) if self.weight_decay > 0.3 else 0.0

    result = found(Threshold, "decoupled")
    assert result.decay.law is None
    assert [(each.rule, str(each.severity)) for each in result.findings] == [("OC201", "warning")]
    assert int(found(Threshold, "decoupled,law=lr*wd").exit_status) == 1


def test_the_law_is_found_where_the_first_gradients_are_missing(subject_of, zoo, make_trace):
    trace = make_trace(n_steps=9, missing={(step, name) for step in range(1, 6) for name in ("w", "b")})
    result = audit(subject_of(zoo.Plain), [trace], parse_expectation("decoupled,law=lr*wd"))
    assert (result.decay.law, int(result.exit_status)) == ("lr*wd", 0)


def test_a_decay_that_is_no_multiple_of_theta_elsewhere_has_no_law(subject_of, zoo, make_trace):
    class OnlyAtTheProbe(zoo.Plain):
        def decay(self, name, theta, grad, lr):
            return lr * self.weight_decay * (theta if lr == 0.05 else 1.0)

    result = audit(subject_of(OnlyAtTheProbe), [make_trace()], parse_expectation("any"))
    assert (result.verdict, result.decay.applied_to, result.decay.law) == ("decoupled", "previous", None)
    law = next(finding for finding in result.findings if finding.rule == "OC201")
    assert (law.severity, law.message) == (
        "warning",
        "the law cannot be found: at lr=0.025, weight_decay=0.5 decay is no multiple of theta",
    )
