"""Every axis of the rules is told apart from its neighbours on a trajectory."""

import itertools
from dataclasses import replace as replaced
from types import MappingProxyType

import numpy as np
import pytest

from optconform.adapters.protocol import Cast, MissingGradient
from optconform.conformance.hypotheses import hypotheses, multiplier_as_used, neighbours, with_casts
from optconform.conformance.lanes import lanes_of
from optconform.conformance.matching import match_trajectory
from optconform.conformance.result import Verdict


class Adam:
    """Adam with every axis a switch, moments in interpolation form; grads of None are left alone."""

    kind, eps_place, correction, maximum, order = "decoupled", "outside", 0, None, "previous"

    def __init__(self, weight_decay=0.1, beta1=0.9, beta2=0.97, eps=1e-3, amsgrad=False):
        self.weight_decay, self.beta1, self.beta2, self.eps, self.amsgrad = weight_decay, beta1, beta2, eps, amsgrad
        self.moments = {}

    def step(self, params, grads, lr):
        return {
            name: theta if grads[name] is None else self.update(name, theta, grads[name], lr)
            for name, theta in params.items()
        }

    def update(self, name, theta, grad, lr):
        if self.kind == "l2":
            grad = grad + self.weight_decay * theta
        m, v, top, t = self.moments.get(name, (0.0, 0.0, 0.0, 0))
        t += 1
        m, v = m + (1 - self.beta1) * (grad - m), v + (1 - self.beta2) * (grad * grad - v)
        c1 = c2 = 1.0
        if self.correction is not None:
            c1, c2 = 1 - self.beta1 ** (t + self.correction), 1 - self.beta2 ** (t + self.correction)
        v_hat = v / c2
        if self.maximum == "raw":
            top = np.maximum(top, v)
            v_hat = top / c2
        elif self.maximum == "corrected":
            top = v_hat = np.maximum(top, v_hat)
        self.moments[name] = m, v, top, t
        if self.eps_place == "inside":
            below = np.sqrt(v_hat + self.eps)
        else:
            below = np.sqrt(v_hat) + self.eps / (np.sqrt(c2) if self.eps_place == "hat" else 1.0)
        step = lr * (m / c1) / below
        c = lr * self.weight_decay if self.kind == "decoupled" else 0.0
        if self.order == "updated":
            return (theta - step) * (1 - c)
        return (theta - step) / (1 + c) if self.order == "proximal" else theta - step - c * theta


class Sgd:
    kind, inside, first_dampened = "decoupled", False, True

    def __init__(self, weight_decay=0.1, momentum=0.8, dampening=0.0, nesterov=False):
        self.weight_decay, self.momentum = weight_decay, momentum
        self.dampening, self.nesterov = dampening, nesterov
        self.buffers = {}

    def step(self, params, grads, lr):
        return {
            name: theta if grads[name] is None else self.update(name, theta, grads[name], lr)
            for name, theta in params.items()
        }

    def update(self, name, theta, grad, lr):
        if self.kind == "l2":
            grad = grad + self.weight_decay * theta
        entering = lr * grad if self.inside else grad
        first = name not in self.buffers
        share = 1.0 if first and not self.first_dampened else 1.0 - self.dampening
        buffer = self.buffers[name] = self.momentum * self.buffers.get(name, 0.0) + share * entering
        moved = entering + self.momentum * buffer if self.nesterov else buffer
        decayed = lr * self.weight_decay * theta if self.kind == "decoupled" else 0.0
        return theta - (1.0 if self.inside else lr) * moved - decayed


def varied(base, **attributes):
    return type("Varied", (base,), attributes)


@pytest.fixture
def trace(make_trace):
    return make_trace({"w": (7, 5), "b": (6,), "s": ()}, 12, multipliers=(1.0, 0.5, 0.75, 0.25, 1.0, 0.125) * 2)


@pytest.fixture
def matched(subject_of, trace):
    def run(target, on=trace, **hyperparameters):
        return match_trajectory(subject_of(target, lr=0.05, **hyperparameters), [on])

    # NumPy targets without an option lr are told it in each step; these take it so that it can be set.
    def with_lr(target, on=trace, **hyperparameters):
        class WithLr(target):
            def __init__(self, lr=0.05, **options):
                super().__init__(**options)

        return run(WithLr, on, **hyperparameters)

    return with_lr


ADAM_AXES = [
    *(("epsilon", place, {"eps_place": place}) for place in ("outside", "hat", "inside")),
    ("bias_correction", "on", {"correction": 0}),
    ("bias_correction", "off", {"correction": None}),
    ("bias_correction", "off by one", {"correction": 1}),
    *(("order", order, {"order": order}) for order in ("previous", "updated", "proximal")),
]


@pytest.mark.parametrize(("axis", "value", "attributes"), ADAM_AXES)
def test_each_axis_of_adamw_is_told_apart(matched, axis, value, attributes):
    found = matched(varied(Adam, **attributes))
    assert found.match.rule == "adamw"
    assert {hypothesis.axes()[axis] for hypothesis in found.accepted} == {value}
    assert found.match.bound_ratio <= 1.0
    # Without bias correction there is no c2 to divide eps by: hat and outside are the same algebra.
    same = {"adamw[epsilon=hat]"} if value == "off" else set()
    assert {name for name, ratio in found.match.rivals.items() if ratio < 1e3} == same


@pytest.mark.parametrize(("axis", "value", "attributes"), ADAM_AXES[:6])
def test_each_axis_of_adam_l2_is_told_apart(matched, axis, value, attributes):
    found = matched(varied(Adam, kind="l2", **attributes))
    assert found.match.rule == "adam_l2"
    assert {hypothesis.axes()[axis] for hypothesis in found.accepted} == {value}


@pytest.mark.parametrize(
    ("maximum", "held", "name"), [(None, False, "off"), ("raw", True, "raw"), ("corrected", True, "corrected")]
)
def test_amsgrad_is_told_apart(matched, maximum, held, name):
    found = matched(varied(Adam, maximum=maximum), amsgrad=held)
    assert {hypothesis.axes()["amsgrad"] for hypothesis in found.accepted} == {name}


def test_amsgrad_that_is_held_and_not_done_is_off(matched):
    assert {each.axes()["amsgrad"] for each in matched(varied(Adam), amsgrad=True).accepted} == {"off"}


@pytest.mark.parametrize("kind", ["decoupled", "l2"])
@pytest.mark.parametrize(("inside", "form"), [(False, "lr_outside"), (True, "lr_inside")])
@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_conventions_are_told_apart(matched, kind, inside, form, nesterov):
    found = matched(varied(Sgd, kind=kind, inside=inside), nesterov=nesterov)
    assert found.match.rule == {"decoupled": "sgdw", "l2": "sgd_l2"}[kind]
    assert found.match.momentum == form
    assert {hypothesis.options.nesterov for hypothesis in found.accepted} == {nesterov}
    assert min(found.match.rivals.values()) > 1e3


@pytest.mark.parametrize("first", [False, True])
def test_the_first_step_may_be_left_undampened(matched, first):
    found = matched(varied(Sgd, first_dampened=first), dampening=0.5)
    assert {hypothesis.options.dampen_first_step for hypothesis in found.accepted} == {first}


def test_plain_sgd_is_both_rules(matched):
    for kind in ("decoupled", "l2"):
        found = matched(varied(Sgd, kind=kind), momentum=0.0)
        assert found.rules == {"sgdw", "sgd_l2"}
        assert not found.contradicts(Verdict.DECOUPLED)
        assert not found.contradicts(Verdict.L2)


def test_an_axis_that_does_not_show_is_none(matched, make_trace):
    """At a constant rate the two momentum forms are the same algebra."""
    found = matched(varied(Sgd), make_trace(n_steps=1, shapes={"w": (4,)}))
    assert found.match.rule == "sgdw"
    assert found.match.momentum is None


def test_a_contradiction_between_rule_and_kind_is_seen(matched):
    found = matched(varied(Sgd, kind="l2"))
    assert found.contradicts(Verdict.DECOUPLED)
    assert not found.contradicts(Verdict.L2)
    assert not found.contradicts(Verdict.OTHER)


def test_what_matches_nothing_names_where_the_nearest_left(matched):
    class Bent(varied(Adam)):
        def update(self, name, theta, grad, lr):
            moved = np.array(super().update(name, theta, grad, lr))
            if name == "w" and self.moments[name][3] == 9:
                moved[2, 3] += 1e-9
            return moved

    found = matched(Bent)
    assert found.match.rule is None
    assert found.accepted == ()
    assert found.match.nearest.startswith("adamw[law=lr*wd,order=previous,epsilon=outside")
    first = found.first_violation
    assert (first["step"], first["parameter"], first["element"]) == (9, "w", (2, 3))
    assert first["found"] - first["expected"] == pytest.approx(1e-9, rel=1e-4)


class TestMissingGradients:
    MISSING = frozenset({(1, "b"), (2, "w"), (3, "w"), (5, "b"), (6, "s")})

    @pytest.fixture
    def sparse(self, make_trace):
        return make_trace({"w": (7, 5), "b": (6,), "s": ()}, 12, missing=self.MISSING)

    def test_parameters_share_a_lane_where_they_lack_the_same_steps(self, sparse, make_trace):
        assert [list(lane.shapes) for lane in lanes_of(sparse)] == [["w"], ["b"], ["s"]]
        together = make_trace({"w": (2, 3), "b": (4,), "empty": (0,), "s": ()})
        (lane,) = lanes_of(together)
        assert list(lane.shapes) == ["w", "b", "s"]
        assert (lane.locate(5), lane.locate(6), lane.locate(10)) == (("w", (1, 2)), ("b", (0,)), ("s", ()))
        with pytest.raises(IndexError, match="element 11"):
            lane.locate(11)

    def test_skipped_keeps_a_count_of_its_own(self, matched, sparse):
        assert matched(varied(Adam), sparse).match.rule == "adamw"

    def test_a_shared_count_is_followed(self, matched, sparse, monkeypatch):
        monkeypatch.setattr(
            "optconform.adapters.numpy_array.NumPyOptimizer.missing_gradient", MissingGradient.SKIPPED_SHARED_COUNT
        )

        class Shared(varied(Adam)):
            def step(self, params, grads, lr):
                moved = super().step(params, grads, lr)
                for name, grad in grads.items():
                    if grad is None:
                        m, v, top, t = self.moments.get(name, (0.0, 0.0, 0.0, 0))
                        self.moments[name] = m, v, top, t + 1
                return moved

        assert matched(Shared, sparse).match.rule == "adamw"
        assert matched(varied(Adam), sparse).match.rule is None

    def test_zeros_are_fed_where_that_is_the_convention(self, matched, sparse, monkeypatch):
        monkeypatch.setattr("optconform.adapters.numpy_array.NumPyOptimizer.missing_gradient", MissingGradient.ZERO)

        class Zeros(varied(Adam)):
            def step(self, params, grads, lr):
                fed = {name: np.zeros_like(params[name]) if grad is None else grad for name, grad in grads.items()}
                return super().step(params, fed, lr)

        assert matched(Zeros, sparse).match.rule == "adamw"
        assert matched(varied(Adam), sparse).match.rule is None

    def test_skipped_steps_are_not_counted_as_comparisons(self, matched, make_trace):
        none = make_trace(n_steps=4, missing=set(itertools.product(range(1, 5), ("w", "b"))))
        found = matched(varied(Adam), none)
        assert (found.match.rule, found.match.elements, found.accepted) == (None, 0, ())

    def test_parameters_that_move_without_any_gradient_are_rejected(self, matched, make_trace):
        class Restless(varied(Adam)):
            def step(self, params, grads, lr):
                return {name: value * (1 - 1e-6) for name, value in params.items()}

        none = make_trace(n_steps=4, missing=set(itertools.product(range(1, 5), ("w", "b"))))
        assert matched(Restless, none).match.decision == "reject"
        assert matched(varied(Adam), none).match.decision == "undecidable"

    def test_a_parameter_that_moves_without_gradient_matches_nothing(self, matched, sparse):
        class Restless(varied(Adam)):
            def step(self, params, grads, lr):
                moved = super().step(params, grads, lr)
                return {name: value * (1 - 1e-6) if grads[name] is None else value for name, value in moved.items()}

        assert matched(Restless, sparse).match.rule is None


def test_elements_without_a_threshold_are_counted_apart(matched, make_trace):
    """eps = 0 and no gradient yet: 0/0 in the first step, of which nothing can be said."""

    class Guarded(varied(Adam)):
        def update(self, name, theta, grad, lr):
            with np.errstate(invalid="ignore"):
                return np.nan_to_num(super().update(name, theta, grad, lr), nan=1.0)

    trace = make_trace({"w": (4,), "zero": (3,)}, 3)
    for gradients in trace.gradients:
        gradients["zero"][:] = 0.0
    found = matched(Guarded, trace, eps=0.0)
    assert (found.match.rule, found.match.elements, found.match.undecidable) == ("adamw", 12, 9)


def test_the_sample_is_seeded(matched, make_trace):
    big = make_trace({"w": (60, 50)}, 6)
    first, second = (matched(varied(Adam, eps_place="hat"), big) for _ in range(2))
    assert first.match == second.match
    assert first.match.elements == 6 * 3000


def test_nothing_is_tried_where_the_rules_are_not_defined():
    held = {"lr": 0.1, "weight_decay": 0.1}
    assert hypotheses(held | {"beta1": 0.9, "beta2": 0.99}, ()) == ()  # neither Adam nor SGD
    assert hypotheses(held | {"beta1": 1.5, "beta2": 0.99, "eps": 1e-8}, ()) == ()
    assert hypotheses(held | {"lr": -1.0}, ()) == ()
    assert hypotheses(held | {"lr": "fast"}, ()) == ()
    assert hypotheses(held | {"lr": float("inf")}, ()) == ()
    assert hypotheses(held, ()) != ()


class TestCasts:
    CASTS = (Cast("lr", "float32"), Cast("beta1", "float32", "bias_correction"))
    HELD = MappingProxyType({"lr": 0.1, "weight_decay": 0.3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8})

    def test_a_rounding_enters_where_it_is_declared_and_nowhere_else(self):
        hypothesis = hypotheses(self.HELD, self.CASTS)[0]
        assert hypothesis.options.beta1 == 0.9
        assert hypothesis.options.correction_beta1 == float(np.float32(0.9))
        assert hypothesis.options.correction_beta2 is None
        lr = hypothesis.options.lr
        assert lr * multiplier_as_used(hypothesis, 0.3) == pytest.approx(float(np.float32(0.3 * lr)), rel=1e-15)

    def test_the_rival_without_rounding_is_among_the_neighbours(self):
        everything = hypotheses(self.HELD, self.CASTS)
        rival = with_casts(everything[0], self.HELD, ())
        assert rival in neighbours(everything[0], everything, self.HELD)
        assert (rival.casts, rival.options.correction_beta1) == ((), None)
        plain = hypotheses(self.HELD, ())[0]
        assert with_casts(plain, self.HELD, ()) is None

    def test_neighbours_differ_in_one_axis(self):
        everything = hypotheses(self.HELD, ())
        own = everything[0]
        for other in neighbours(own, everything, self.HELD):
            shared = own.axes().keys() & other.axes().keys()
            assert sum(own.axes()[axis] != other.axes()[axis] for axis in shared) == 1

    def test_a_rounded_learning_rate_is_told_from_an_exact_one(self, matched, monkeypatch):
        monkeypatch.setattr("optconform.adapters.numpy_array.NumPyOptimizer.casts", (Cast("lr", "float32"),))

        class Rounding(varied(Adam)):
            def step(self, params, grads, lr):
                return super().step(params, grads, float(np.float32(lr)))

        found = matched(Rounding)
        assert found.match.rule == "adamw"
        ratios = [ratio for name, ratio in found.match.rivals.items() if "casts=none" in name]
        assert len(ratios) == 1
        assert ratios[0] > 1e3
        assert matched(varied(Adam)).match.rule is None


def test_no_step_gives_no_match(matched, make_trace):
    assert matched(varied(Adam), make_trace(n_steps=0)).match.rule is None


def test_options_of_an_accepted_hypothesis_are_those_held(matched):
    (accepted,) = matched(varied(Adam)).accepted
    wanted = {"lr": 0.05, "weight_decay": 0.1, "beta1": 0.9, "beta2": 0.97, "eps": 1e-3}
    assert accepted.options == replaced(accepted.options, **wanted)
