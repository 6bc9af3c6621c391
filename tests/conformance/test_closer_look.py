"""Decays that are neither a multiple of theta nor L2: which kind each is, in optimizers that do one thing each."""

import numpy as np
import pytest

from optconform.conformance.audit import audit
from optconform.conformance.expectation import parse_expectation
from optconform.conformance.identify import Scaling

norm = np.linalg.norm


class Adaptive:
    """Adam without decay, less `decay`; subclasses say what that is, or replace the update."""

    def __init__(self, lr=0.05, weight_decay=0.0):
        self.lr, self.weight_decay = lr, weight_decay
        self.count, self.m, self.v, self.start, self.slow = 0, {}, {}, {}, {}

    def step(self, params, grads, lr):
        self.count += 1
        for name, theta in params.items():
            self.start.setdefault(name, theta.copy())
        return {
            name: theta if grads[name] is None else self.update(name, theta, grads[name], lr)
            for name, theta in params.items()
        }

    def adam(self, name, grad, second=None):
        second = grad if second is None else second
        self.m[name] = 0.9 * self.m.get(name, 0.0) + 0.1 * grad
        self.v[name] = 0.99 * self.v.get(name, 0.0) + 0.01 * second * second
        denominator = np.sqrt(self.v[name] / (1 - 0.99**self.count)) + 1e-8
        return self.m[name] / (1 - 0.9**self.count) / denominator

    def update(self, name, theta, grad, lr):
        q = self.adam(name, grad)
        return theta - lr * q - self.decay(name, theta, grad, q, lr * self.weight_decay)

    def decay(self, name, theta, grad, q, c):
        return c * theta


def decaying(decay):
    """Return the class whose decay is `decay(self, name, theta, grad, q, c)`."""
    return type("Decaying", (Adaptive,), {"decay": decay})


def updating(update):
    """Return the class whose update is `update(self, name, theta, grad, lr)`."""
    return type("Updating", (Adaptive,), {"update": update})


def lamb(self, name, theta, grad, lr):
    step = self.adam(name, grad) + self.weight_decay * theta
    return theta - lr * norm(theta) / norm(step) * step


def trust_ratio_first(self, name, theta, grad, lr):
    """The momentum holds steps scaled by the norm of theta, and the decay; nothing else of theta."""
    scaled = norm(theta) / (1.0 + norm(theta)) * grad / (norm(grad) or 1.0)
    self.m[name] = 0.9 * self.m.get(name, 0.0) + scaled + self.weight_decay * theta
    return theta - lr * self.m[name]


def unguarded_ratio_first(self, name, theta, grad, lr):
    with np.errstate(invalid="ignore"):
        scaled = norm(theta) / (1.0 + norm(theta)) * grad / norm(grad)
    self.m[name] = 0.9 * self.m.get(name, 0.0) + scaled + self.weight_decay * theta
    return theta - lr * self.m[name]


def trust_ratio_beside(self, name, theta, grad, lr):
    scaled = norm(theta) / (1.0 + norm(theta)) * grad / (norm(grad) or 1.0)
    self.m[name] = 0.9 * self.m.get(name, 0.0) + scaled
    return theta - lr * (self.m[name] + self.weight_decay * theta)


def averaged_trust_ratio(self, name, theta, grad, lr):
    """As beside the momentum, and a slow average of the weights: decay may well change that."""
    after = trust_ratio_beside(self, name, theta, grad, lr)
    self.slow[name] = 0.5 * (self.slow.get(name, theta) + after)
    return after


def lars(self, name, theta, grad, lr):
    ratio = 0.1 * norm(theta) / (norm(grad) + self.weight_decay * norm(theta))
    self.m[name] = 0.9 * self.m.get(name, 0.0) + lr * ratio * (grad + self.weight_decay * theta)
    return theta - self.m[name]


def novograd(self, name, theta, grad, lr):
    square = norm(grad) ** 2
    self.v[name] = 0.9 * self.v.get(name, square) + 0.1 * square
    self.m[name] = 0.9 * self.m.get(name, 0.0) + grad / np.sqrt(self.v[name]) + self.weight_decay * theta
    return theta - lr * self.m[name]


def in_first_moment(self, name, theta, grad, lr):
    return theta - lr * self.adam(name, grad + self.weight_decay * theta, second=grad)


def whitened(self, name, theta, grad, q, c):
    if theta.ndim < 2:
        return c * theta / (1.0 + np.abs(grad))
    return c * np.linalg.solve(np.eye(len(theta)) + grad @ grad.T, theta)


def lookahead(self, name, theta, grad, lr):
    moved = theta - lr * self.adam(name, grad) - lr * self.weight_decay * theta
    if self.count % 3 == 0:
        moved = 0.5 * self.slow.get(name, self.start[name]) + 0.5 * moved
        self.slow[name] = moved
    return moved


PRECONDITIONED = {
    "lamb": (updating(lamb), Scaling.TRUST_RATIO_OF_STEP),
    "lars": (updating(lars), Scaling.TRUST_RATIO_OF_STEP),
    "novograd": (updating(novograd), Scaling.INSIDE_MOMENTUM),
    "trust ratio before the momentum": (updating(trust_ratio_first), Scaling.INSIDE_MOMENTUM),
    "trust ratio before the momentum, 0/0": (updating(unguarded_ratio_first), Scaling.INSIDE_MOMENTUM),
    "in the first moment": (updating(in_first_moment), Scaling.ELEMENT_WISE),
    "by gradient": (
        decaying(lambda self, name, theta, grad, q, c: c * theta / (1 + np.abs(grad))),
        Scaling.ELEMENT_WISE,
    ),
    "by second moment": (
        decaying(lambda self, name, theta, grad, q, c: c * theta / (np.sqrt(self.v[name]) + 1e-8)),
        Scaling.ELEMENT_WISE,
    ),
    "one element left out": (
        decaying(lambda self, name, theta, grad, q, c: c * theta * (np.arange(theta.size) > 0).reshape(theta.shape)),
        Scaling.FIXED,
    ),
    "by norm of gradient": (
        decaying(lambda self, name, theta, grad, q, c: c * norm(grad) * theta),
        Scaling.TRUST_RATIO,
    ),
    "by norm of theta": (decaying(lambda self, name, theta, grad, q, c: c * norm(theta) * theta), Scaling.TRUST_RATIO),
}

OTHER = {
    "above a threshold": lambda self, name, theta, grad, q, c: c * np.where(np.abs(theta) > 1.2, theta, 0.0),
    "where the step grows theta": lambda self, name, theta, grad, q, c: c * np.where(q * theta < 0.0, theta, 0.0),
    "cubed": lambda self, name, theta, grad, q, c: c * theta**3,
    "element-wise by theta": lambda self, name, theta, grad, q, c: c * theta / (1.0 + np.abs(theta)),
    "rolled": lambda self, name, theta, grad, q, c: c * np.roll(theta, 1),
    "centred": lambda self, name, theta, grad, q, c: c * (theta - np.mean(theta)),
    "every other step": lambda self, name, theta, grad, q, c: (self.count % 2) * c * theta,
    "growing element-wise": lambda self, name, theta, grad, q, c: -c * theta / (1.0 + np.abs(grad)),
    "half of the step besides": lambda self, name, theta, grad, q, c: c * theta - 0.5 * c * q,
}

WRONG_TARGETS = {
    "the initial parameters": lambda self, name, theta, grad, q, c: c * self.start[name],
    "the way from the initial parameters": lambda self, name, theta, grad, q, c: c * (theta - self.start[name]),
    "the step": lambda self, name, theta, grad, q, c: c * q,
    "the gradient": lambda self, name, theta, grad, q, c: c * grad,
    "a constant": lambda self, name, theta, grad, q, c: c,
}

CAUTIOUS = {
    "on the step": lambda self, name, theta, grad, q, c: c * np.where(q * theta >= 0.0, theta, 0.0),
    "on the gradient": lambda self, name, theta, grad, q, c: c * np.where(grad * theta >= 0.0, theta, 0.0),
}

ITS_OWN_COURSE = {
    "warm-up": lambda self, name, theta, grad, q, c: min(1.0, self.count / 5.0) * c * theta,
    "late": lambda self, name, theta, grad, q, c: (self.count > 2) * c * theta,
}


@pytest.fixture
def run(subject_of, small_trace):
    def audited(target, expectation="decoupled", trace=small_trace, **hyperparameters):
        return audit(subject_of(target, **hyperparameters), [trace], parse_expectation(expectation))

    return audited


def fired(result):
    return {finding.rule: str(finding.severity) for finding in result.findings}


@pytest.mark.parametrize("name", PRECONDITIONED)
def test_a_scaled_decay_is_preconditioned(run, name):
    target, scaling = PRECONDITIONED[name]
    result = run(target)
    assert (result.verdict, fired(result)["OC107"], int(result.exit_status)) == ("preconditioned", "warning", 1)
    assert {str(parameter.verdict) for parameter in result.parameters} == {"preconditioned"}
    message = next(finding.message for finding in result.findings if finding.rule == "OC107")
    assert str(scaling) in message or scaling is Scaling.INSIDE_MOMENTUM
    assert "OC109" not in fired(result)


@pytest.mark.parametrize("name", PRECONDITIONED)
def test_what_is_meant_to_be_preconditioned_has_no_error(run, name):
    result = run(PRECONDITIONED[name][0], "preconditioned")
    assert (int(result.exit_status), fired(result)) == (0, {"OC107": "warning"})


def test_a_matrix_is_told_from_factors_of_elements(run):
    result = run(decaying(whitened))
    reasons = {parameter.name: parameter.reason for parameter in result.parameters}
    assert (result.verdict, reasons) == ("preconditioned", {"w": Scaling.MATRIX, "b": Scaling.ELEMENT_WISE})


@pytest.mark.parametrize("name", OTHER)
def test_what_fits_no_hypothesis_is_other_with_its_reason(run, name):
    result = run(decaying(OTHER[name]))
    assert (result.verdict, int(result.exit_status)) == ("other", 1)
    assert all(len(parameter.reason) > 40 for parameter in result.parameters)
    assert "OC107" not in fired(result)


@pytest.mark.parametrize("target", WRONG_TARGETS)
def test_a_wrong_target_is_named(run, target):
    result = run(decaying(WRONG_TARGETS[target]))
    finding = next(finding for finding in result.findings if finding.rule == "OC105")
    assert (result.verdict, finding.evidence["target"]) == ("other", target)


@pytest.mark.parametrize("name", CAUTIOUS)
def test_a_cautious_decay_is_decoupled_and_has_a_law(run, name):
    result = run(decaying(CAUTIOUS[name]), "decoupled,law=lr*wd,order=previous")
    assert (result.verdict, result.decay.form, int(result.exit_status)) == ("decoupled", "cautious", 0)
    assert (result.decay.factor, result.decay.lr_exponent, result.decay.wd_exponent) == (1.0, 1.0, 1.0)
    assert set(fired(result)) == {"OC201"}


def test_a_cautious_decay_that_grows_the_weights_is_a_fault(run):
    grows = decaying(lambda self, name, theta, grad, q, c: -CAUTIOUS["on the step"](self, name, theta, grad, q, c))
    assert fired(run(grows))["OC106"] == "error"


@pytest.mark.parametrize("name", ITS_OWN_COURSE)
def test_a_course_that_the_step_count_decides_is_decoupled(run, name):
    result = run(decaying(ITS_OWN_COURSE[name]))
    assert (result.verdict, int(result.exit_status)) == ("decoupled", 0)
    assert (result.decay.lr_exponent, result.decay.wd_exponent, result.decay.follows_schedule) == (1.0, 1.0, True)
    assert "in a way of its own" in result.reason


def test_a_decay_in_warm_up_obeys_no_law(run):
    decay = run(decaying(ITS_OWN_COURSE["warm-up"])).decay
    assert (decay.law, decay.factor) == ("other", None)


def test_a_decay_that_starts_late_obeys_its_law_from_then_on(run):
    decay = run(decaying(ITS_OWN_COURSE["late"])).decay
    assert (decay.law, decay.factor) == ("lr*wd", 1.0)


def test_weights_averaged_now_and_then_leave_the_decay_decoupled(run, make_trace):
    result = run(updating(lookahead), trace=make_trace(n_steps=8))
    assert (result.verdict, result.decay.law) == ("decoupled", "other")


def test_half_before_and_half_after_the_step_lies_between(run):
    def halves(self, name, theta, grad, lr):
        half = 1.0 - 0.5 * lr * self.weight_decay
        return (theta * half - lr * self.adam(name, grad)) * half

    result = run(updating(halves))
    assert (result.verdict, fired(result), result.decay.applied_to) == ("decoupled", {"OC104": "warning"}, None)


def test_an_optimizer_that_computes_in_float32_is_not_accused(run):
    def narrow(self, name, theta, grad, lr):
        q = self.adam(name, grad.astype(np.float32)).astype(np.float32)
        kept = np.float32(1.0) - np.float32(lr) * np.float32(self.weight_decay)
        return (theta.astype(np.float32) * kept - np.float32(lr) * q).astype(np.float64)

    result = run(updating(narrow))
    assert (result.verdict, int(result.exit_status)) == ("inconclusive", 4)
    assert "decay is decoupled: audit it with --dtype float32" in result.reason


def test_a_fault_in_float32_arithmetic_stays_a_fault(run):
    def narrow(self, name, theta, grad, lr):
        q = self.adam(name, grad.astype(np.float32)).astype(np.float32)
        decay = np.float32(lr * self.weight_decay) * theta.astype(np.float32) ** 3
        return (theta.astype(np.float32) - decay - np.float32(lr) * q).astype(np.float64)

    assert run(updating(narrow)).verdict == "other"


SMALL = {"w": (4, 3), "pair": (2,), "scalar": ()}


class TestSmallTensors:
    """A trust ratio over two elements fits anything; other parameters decide."""

    @pytest.mark.parametrize("update", [lamb, lars])
    def test_they_do_not_undo_a_verdict(self, run, make_trace, update):
        result = run(updating(update), "preconditioned", trace=make_trace(SMALL, 8))
        assert (result.verdict, int(result.exit_status)) == ("preconditioned", 0)

    def test_alone_they_decide_nothing(self, run, make_trace):
        result = run(updating(lamb), trace=make_trace({"pair": (2,)}, 8))
        assert (result.verdict, int(result.exit_status)) == ("inconclusive", 4)
        assert any("fewer than 4 elements" in sentence for sentence in result.cannot_tell)

    def test_parameters_that_stay_zero_decide_nothing_beside_others(self, run, make_trace):
        trace = make_trace(SMALL, 8)
        trace.initial["pair"][...] = 0.0
        assert run(updating(lamb), trace=trace).verdict == "preconditioned"


@pytest.mark.parametrize("name", PRECONDITIONED)
def test_parameters_that_start_at_zero_are_no_exception(run, make_trace, name):
    trace = make_trace({"w": (4, 3), "b": (5,)}, 8)
    trace.initial["b"][...] = 0.0
    verdicts = {parameter.name: parameter.verdict for parameter in run(PRECONDITIONED[name][0], trace=trace).parameters}
    assert verdicts["w"] == "preconditioned"
    assert verdicts["b"] in ("preconditioned", "inconclusive")


def test_mixed_names_a_parameter_of_each_kind(run):
    def by_dimensions(self, name, theta, grad, q, c):
        return c * theta if theta.ndim > 1 else c * theta / (1.0 + np.abs(grad))

    result = run(decaying(by_dimensions))
    assert (result.verdict, int(result.exit_status)) == ("mixed", 1)
    assert "decoupled ('w'" in result.reason
    assert "preconditioned ('b'" in result.reason


@pytest.mark.parametrize(("shape", "severity"), [((3,), "error"), ((2, 2), "warning")])
def test_a_parameter_that_does_not_decay_though_nobody_excluded_it_is_uneven(run, make_trace, shape, severity):
    skips = decaying(lambda self, name, theta, grad, q, c: 0.0 if name == "left" else c * theta)
    result = run(skips, "any", trace=make_trace({"left": (3,), "right": shape}))
    finding = next(finding for finding in result.findings if finding.rule == "OC109")
    assert (result.verdict, str(finding.severity), finding.parameter) == ("mixed", severity, "left")


def test_no_order_shows_beside_a_step_in_proportion_to_theta(run):
    def decay_first(self, name, theta, grad, lr):
        kept = theta * (1.0 - lr * self.weight_decay)
        q = self.adam(name, grad)
        return kept - lr * norm(kept) / norm(q) * q

    def decay_last(self, name, theta, grad, lr):
        q = self.adam(name, grad)
        return (theta - lr * norm(theta) / norm(q) * q) * (1.0 - lr * self.weight_decay)

    for update in (decay_first, decay_last):
        result = run(updating(update), "decoupled,order=previous")
        assert (result.decay.applied_to, int(result.exit_status)) == ("either", 0)
        assert set(fired(result)) == {"OC201"}
        assert any("previous or the updated" in sentence for sentence in result.cannot_tell)


@pytest.mark.parametrize("update", [trust_ratio_beside, averaged_trust_ratio])
def test_momentum_that_only_the_trust_ratio_scales_is_no_reason_to_doubt_a_decay_beside_it(run, update):
    """Nor is an average of the weights, which decay changes as it changes the weights."""
    result = run(updating(update), "decoupled,order=previous")
    assert (result.verdict, result.decay.law) == ("decoupled", "lr*wd")


def test_the_order_beside_a_step_that_reads_theta_otherwise_does_show(run):
    def after(self, name, theta, grad, lr):
        return (theta - lr * self.adam(name, grad) * np.cos(theta)) * (1.0 - lr * self.weight_decay)

    assert run(updating(after)).decay.applied_to == "updated"
