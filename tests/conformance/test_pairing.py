"""Pairing: whether the step reads the parameters, and what local pairing does about it."""

import numpy as np
import pytest

from optconform.adapters.protocol import MissingGradient
from optconform.conformance.audit import audit
from optconform.conformance.expectation import parse_expectation
from optconform.conformance.pairing import paired_steps, with_l2_term
from optconform.conformance.parameter_use import parameter_use
from optconform.conformance.result import Verdict
from optconform.conformance.subject import initial_parameters, read


@pytest.mark.parametrize(
    ("name", "reads"),
    [("Plain", False), ("L2", False), ("MomentumL2", False), ("Sgd", False), ("RelativeStep", True), ("Lamb", True)],
)
def test_a_step_that_reads_the_parameters_is_detected(subject_of, zoo, small_trace, name, reads):
    subject = subject_of(getattr(zoo, name))
    theta = initial_parameters(small_trace)
    assert parameter_use(subject, theta, small_trace.steps(4), subject.probe()).in_step is reads


def test_a_step_that_reads_the_parameters_is_judged_locally(subject_of, zoo, small_trace):
    result = audit(subject_of(zoo.RelativeStep), [small_trace], parse_expectation("decoupled"))
    assert "local pairing" in result.checks[0].message
    assert (result.verdict, result.decay.law) == (Verdict.DECOUPLED, "lr*wd")
    lamb = audit(subject_of(zoo.Lamb), [small_trace], parse_expectation("decoupled"))
    assert lamb.verdict is Verdict.PRECONDITIONED


def test_global_pairing_would_have_been_wrong_there(subject_of, zoo, small_trace):
    """What local pairing is for: run side by side, the two steps already differ by the parameters they read."""
    subject = subject_of(zoo.RelativeStep)
    theta = initial_parameters(small_trace)

    def last(local):
        *_, paired = paired_steps(subject, theta, small_trace.steps(), subject.probe(), local=local)
        return (paired.after["w"] - paired.before["w"] - paired.free["w"]) / paired.before["w"]

    assert np.ptp(last(local=True)) < 1e-13 < 1e-3 < np.ptp(last(local=False))


class TestStateUnderLocalPairing:
    """One step taken alone cannot see a momentum buffer; its state can."""

    def test_l2_through_a_buffer_is_no_equivalent(self, subject_of, zoo, small_trace):
        class Pulled(zoo.MomentumL2):
            """L2 with momentum, and a step that reads theta besides."""

            def update(self, name, theta, grad, lr):
                return super().update(name, theta, grad, lr) - 0.01 * lr * np.sin(theta)

        result = audit(subject_of(Pulled), [small_trace], parse_expectation("decoupled"))
        assert "local pairing" in result.checks[0].message
        assert (result.verdict, int(result.exit_status)) == (Verdict.L2, 1)

    def test_decay_added_inside_the_buffer_is_no_decoupled_decay(self, subject_of, zoo, small_trace):
        class Inside(zoo.MomentumL2):
            def update(self, name, theta, grad, lr):
                moved = np.tanh(grad) + self.weight_decay * theta
                self.buffer[name] = self.momentum * self.buffer.get(name, 0.0) + moved
                return theta - lr * self.buffer[name] - 0.01 * lr * np.sin(theta)

        result = audit(subject_of(Inside), [small_trace], parse_expectation("decoupled"))
        assert (result.verdict, int(result.exit_status)) == (Verdict.PRECONDITIONED, 1)
        assert {"OC103", "OC107"} <= {finding.rule for finding in result.findings}

    def test_an_average_of_the_weights_may_change_with_decay(self, subject_of, zoo, small_trace):
        class Averaging(zoo.RelativeStep):
            def update(self, name, theta, grad, lr):
                moved = super().update(name, theta, grad, lr)
                self.buffer[name] = 0.9 * self.buffer.get(name, 0.0) + 0.1 * moved
                return moved

        result = audit(subject_of(Averaging), [small_trace], parse_expectation("decoupled"))
        assert (result.verdict, int(result.exit_status)) == (Verdict.DECOUPLED, 0)


def test_a_snapshot_is_not_touched_by_later_steps(subject_of, zoo, small_trace):
    subject = subject_of(zoo.MomentumL2)
    theta = initial_parameters(small_trace)
    optimizer = subject.build(theta, subject.probe())
    steps = list(small_trace.steps())
    optimizer.step(steps[0].gradients, 0.05)
    saved = optimizer.snapshot()
    optimizer.step(steps[1].gradients, 0.05)
    once = read(optimizer)
    optimizer.step(steps[2].gradients, 0.05)
    for _ in range(2):  # a snapshot may be restored again
        optimizer.restore(saved)
        optimizer.step(steps[1].gradients, 0.05)
        assert all(np.array_equal(value, once[name]) for name, value in read(optimizer).items())


def test_local_pairing_leaves_the_run_with_decay_alone(subject_of, zoo, small_trace):
    subject = subject_of(zoo.MomentumL2)
    theta = initial_parameters(small_trace)
    runs = [list(paired_steps(subject, theta, small_trace.steps(), subject.probe(), local=way)) for way in (0, 1)]
    for one, other in zip(*runs, strict=True):
        assert all(np.array_equal(one.after[name], other.after[name]) for name in theta)


def test_the_parameters_given_are_not_changed(subject_of, zoo, small_trace):
    subject = subject_of(zoo.Plain)
    theta = initial_parameters(small_trace)
    before = {name: value.copy() for name, value in theta.items()}
    for local in (False, True):
        list(paired_steps(subject, theta, small_trace.steps(), subject.probe(), local=local))
    assert all(np.array_equal(theta[name], before[name]) for name in theta)


@pytest.mark.parametrize(
    ("missing", "filled"),
    [
        (MissingGradient.SKIPPED, None),
        (MissingGradient.SKIPPED_SHARED_COUNT, None),
        (MissingGradient.ZERO, [0.5, 0.5]),
    ],
)
def test_a_missing_gradient_is_fed_with_l2_only_where_it_counts_as_zeros(missing, filled):
    gradients = {"a": np.ones(2, np.float32), "b": None}
    fed = with_l2_term(gradients, {"a": np.full(2, 4.0), "b": np.ones(2)}, 0.5, missing)
    assert (None if fed["b"] is None else fed["b"].tolist()) == filled
    assert fed["a"].dtype == np.float64
    assert fed["a"].tolist() == [3.0, 3.0]


@pytest.mark.parametrize("local", [False, True])
def test_l2_is_found_where_missing_gradients_count_as_zeros(subject_of, zoo, make_trace, monkeypatch, local):
    monkeypatch.setattr("optconform.adapters.numpy_array.NumPyOptimizer.missing_gradient", MissingGradient.ZERO)

    class Filling(zoo.MomentumL2):
        """Takes a missing gradient for zeros; with `local`, its step reads theta besides."""

        def step(self, params, grads, lr):
            filled = {name: np.zeros_like(params[name]) if grad is None else grad for name, grad in grads.items()}
            return super().step(params, filled, lr)

        def update(self, name, theta, grad, lr):
            return super().update(name, theta, grad, lr) - (0.01 * lr * np.sin(theta) if local else 0.0)

    sparse = make_trace(n_steps=8, missing={(3, "w"), (4, "b"), (6, "w")})
    result = audit(subject_of(Filling), [sparse], parse_expectation("l2"))
    assert (result.verdict, int(result.exit_status)) == (Verdict.L2, 0)


def test_a_target_that_refuses_zero_is_built_with_none(subject_of, zoo, small_trace):
    result = audit(subject_of(zoo.NoZero), [small_trace], parse_expectation("decoupled"))
    assert (result.verdict, int(result.exit_status)) == (Verdict.DECOUPLED, 0)


def test_a_target_that_refuses_both_says_what_it_said_to_zero(subject_of, small_trace, zoo):
    class Positive(zoo.Plain):
        def __init__(self, weight_decay=0.1):
            if not weight_decay:
                raise ValueError(f"weight_decay={weight_decay!r} is not positive")
            super().__init__(weight_decay)

    result = audit(subject_of(Positive), [small_trace], parse_expectation("decoupled"))
    assert (result.verdict, int(result.exit_status)) == (Verdict.ERROR, 3)
    assert "weight_decay=0.0 is not positive" in result.reason
