"""One planted mistake in an otherwise right optimizer is named; a rounded hyperparameter is accepted and reported."""

import json
from dataclasses import replace

import numpy as np
import pytest

from optconform.adapters.arrays import host_dtype
from optconform.conformance.api import make_subject
from optconform.conformance.audit import audit
from optconform.conformance.diagnosis import _ROUNDED, CHANGES
from optconform.conformance.expectation import parse_expectation
from optconform.conformance.matching import match_trajectory
from optconform.reference import RULES
from optconform.reference.arithmetic import arithmetic
from optconform.reference.follow import Follower

NAMES = ("lr", "weight_decay", "beta1", "beta2", "eps", "momentum", "dampening")


class Planted:
    """Leaves None alone; `used` is what a step takes in place of what the optimizer holds."""

    kind = "decoupled"

    def used(self, lr):
        """Return the values by which a step is made; `decay_lr` is the rate in the decay."""
        return {name: getattr(self, name) for name in NAMES if hasattr(self, name)} | {"lr": lr, "decay_lr": lr}

    def step(self, params, grads, lr):
        values = self.used(lr)
        return {
            name: theta if grads[name] is None else self.moved(name, theta, grads[name], **values)
            for name, theta in params.items()
        }

    def moved(self, name, theta, grad, *, lr, decay_lr, weight_decay, **values):
        if self.kind == "l2":
            return theta - lr * self.direction(name, grad + weight_decay * theta, **values)
        return theta - lr * self.direction(name, grad, **values) - decay_lr * weight_decay * theta


class Adam(Planted):
    def __init__(self, lr=0.05, weight_decay=0.1, beta1=0.9, beta2=0.97, eps=1e-3):
        self.lr, self.weight_decay, self.beta1, self.beta2, self.eps = lr, weight_decay, beta1, beta2, eps
        self.moments = {}

    def direction(self, name, grad, *, beta1, beta2, eps, correction1=None, correction2=None):
        m, v, t = self.moments.get(name, (0.0, 0.0, 0))
        m, v, t = beta1 * m + (1 - beta1) * grad, beta2 * v + (1 - beta2) * grad * grad, t + 1
        self.moments[name] = m, v, t
        c1 = 1 - (beta1 if correction1 is None else correction1) ** t
        c2 = 1 - (beta2 if correction2 is None else correction2) ** t
        return (m / c1) / (np.sqrt(v / c2) + eps)


class SGD(Planted):
    def __init__(self, lr=0.05, weight_decay=0.1, momentum=0.9, dampening=0.3):
        self.lr, self.weight_decay, self.momentum, self.dampening = lr, weight_decay, momentum, dampening
        self.buffers = {}

    def direction(self, name, grad, *, momentum, dampening):
        self.buffers[name] = momentum * self.buffers.get(name, 0.0) + (1 - dampening) * grad
        return self.buffers[name]


def planted(base, change, kind="decoupled"):
    """Return `base` with a step made by `change` of what it holds."""
    return type("Mistaken", (base,), {"kind": kind, "used": lambda self, lr: (v := base.used(self, lr)) | change(v)})


ADAM_CHANGES = {
    "no epsilon": lambda v: {"eps": 0.0},
    "epsilon squared": lambda v: {"eps": v["eps"] ** 2},
    "the root of epsilon": lambda v: {"eps": v["eps"] ** 0.5},
    "epsilon 1e-8": lambda v: {"eps": 1e-8},
    "no bias correction of the first moment": lambda v: {"correction1": 0.0},
    "no bias correction of the second moment": lambda v: {"correction2": 0.0},
    "beta1 and beta2 exchanged": lambda v: {"beta1": v["beta2"], "beta2": v["beta1"]},
}
SHARED_CHANGES = {
    "no weight decay": lambda v: {"weight_decay": 0.0},
    "twice the weight decay": lambda v: {"weight_decay": 2 * v["weight_decay"]},
    "half the weight decay": lambda v: {"weight_decay": v["weight_decay"] / 2},
    "twice the learning rate": lambda v: {"lr": 2 * v["lr"], "decay_lr": 2 * v["lr"]},
    "half the learning rate": lambda v: {"lr": v["lr"] / 2, "decay_lr": v["lr"] / 2},
}
DECOUPLED_CHANGES = {
    "twice the learning rate outside the decay": lambda v: {"lr": 2 * v["lr"]},
    "half the learning rate outside the decay": lambda v: {"lr": v["lr"] / 2},
}
SGD_CHANGES = {"no momentum": lambda v: {"momentum": 0.0, "dampening": 0.0}}
CASES = [
    *((Adam, "decoupled", *item) for item in ADAM_CHANGES.items()),
    (Adam, "l2", "no bias correction of the second moment", ADAM_CHANGES["no bias correction of the second moment"]),
    *((base, kind, *item) for base in (Adam, SGD) for kind in ("decoupled", "l2") for item in SHARED_CHANGES.items()),
    *((base, "decoupled", *item) for base in (Adam, SGD) for item in DECOUPLED_CHANGES.items()),
    *((SGD, kind, *item) for kind in ("decoupled", "l2") for item in SGD_CHANGES.items()),
]


@pytest.fixture
def trace(make_trace):
    return make_trace({"w": (7, 5), "b": (6,)}, 12, multipliers=(1.0, 0.5, 0.75, 0.25, 1.0, 0.125) * 2)


@pytest.fixture
def matched(trace):
    def run(target, on=trace, *, dtype="float64", **options):
        subject = make_subject(target, framework="numpy", dtype=dtype, hyperparameters=options)
        return match_trajectory(subject, [on])

    return run


def test_every_row_is_planted_here():
    assert {name for _, _, name, _ in CASES} == set(CHANGES)


@pytest.mark.parametrize(("base", "kind", "name", "change"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_a_changed_constant_is_named(matched, base, kind, name, change):
    # Without momentum there is nothing to dampen: the row changes one constant only at dampening 0.
    undampened = {"dampening": 0.0} if name == "no momentum" else {}
    assert matched(type("Right", (base,), {"kind": kind}), **undampened).match.decision == "accept"
    found = matched(planted(base, change, kind), **undampened)
    assert (found.match.decision, found.match.rule, found.accepted) == ("reject", None, ())
    assert found.match.explained_by == name
    assert found.first_violation["step"] == 1 or name.startswith(("beta1 and", "no momentum"))


@pytest.mark.parametrize("base", [Adam, SGD])
def test_what_no_row_explains_is_not_explained(matched, base):
    thrice = planted(base, lambda values: {"weight_decay": 3 * values["weight_decay"]})
    two_at_once = planted(base, lambda v: {"weight_decay": 0.0, "lr": v["lr"] / 3})
    for target in (thrice, two_at_once):
        found = matched(target)
        assert (found.match.decision, found.match.explained_by) == ("reject", None)


class TestExplainsTheWholeTrajectory:
    """A change that the first steps do not show explains nothing that happens later, and not elsewhere."""

    def bent(self, at, element):
        class Bent(Adam):
            count = 0

            def step(self, params, grads, lr):
                self.count += 1
                moved = super().step(params, grads, lr)
                if self.count == at:
                    moved["w"] = moved["w"].copy()
                    moved["w"].flat[element] += 1e-3
                return moved

        return Bent

    @pytest.mark.parametrize("at", [2, 9])
    @pytest.mark.parametrize("dtype", ["float64", "float32"])
    def test_a_later_fault(self, matched, dtype, at):
        """In float32 eps = 1e-12 does not show: without it, with its square or rounded, the first steps fit as well."""
        found = matched(self.bent(at, 17), dtype=dtype, eps=1e-12)
        assert (found.match.decision, found.match.explained_by) == ("reject", None)
        assert (found.first_violation["step"], found.first_violation["element"]) == (at, (3, 2))

    def test_a_fault_outside_the_sample(self, matched, make_trace):
        big = make_trace({"w": (60, 50)}, 8)
        found = matched(self.bent(7, 1234), big, dtype="float32", eps=1e-12)
        assert (found.match.decision, found.match.explained_by) == ("reject", None)
        assert (found.first_violation["step"], found.first_violation["element"]) == (7, (24, 34))


ROUNDED_ADAM = [(name, use) for name, use in _ROUNDED if name not in ("momentum", "dampening")]
ROUNDED_SGD = [(name, use) for name, use in _ROUNDED if name in ("lr", "weight_decay", "momentum", "dampening")]


def rounding(base, dtype, *roundings):
    """Return `base` with hyperparameters that are held exact and rounded to `dtype` on use."""

    def change(values):
        changed = {}
        for name, use in roundings:
            narrow = float(np.asarray(values[name], dtype=host_dtype(dtype)))
            if use == "everywhere":
                changed |= {name: narrow} | ({"decay_lr": narrow} if name == "lr" else {})
            else:
                changed[name.replace("beta", "correction")] = narrow
        return changed

    return planted(base, change)


class TestRounded:
    @pytest.mark.parametrize(
        ("base", "name", "use", "dtype"),
        [
            *((Adam, *each, "float32") for each in ROUNDED_ADAM),
            *((SGD, *each, "float32") for each in ROUNDED_SGD),
            (Adam, "beta2", "bias_correction", "bfloat16"),
            (SGD, "momentum", "everywhere", "float16"),
        ],
    )
    def test_one_alone_is_accepted_and_reported(self, trace, base, name, use, dtype):
        subject = make_subject(rounding(base, dtype, (name, use)), framework="numpy")
        result = audit(subject, [trace], parse_expectation("any"))
        assert (result.match.decision, result.match.law) == ("accept", "lr*wd")
        assert result.match.bound_ratio <= 1.0
        (finding,) = [each for each in result.findings if each.rule == "OC305"]
        assert f"rounded to {dtype} on use ({use.replace('_', ' ')}: {name})" in finding.message
        assert finding.evidence["exact_ratio"] > 1.0

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    @pytest.mark.parametrize(
        ("base", "names"),
        [(Adam, "beta1, beta2, eps, lr, weight_decay"), (SGD, "dampening, lr, momentum, weight_decay")],
    )
    def test_all_together_name_those_that_there_are(self, trace, base, names, dtype):
        roundings = [(name, "everywhere") for name in names.split(", ")]
        subject = make_subject(rounding(base, dtype, *roundings), framework="numpy")
        result = audit(subject, [trace], parse_expectation("any"))
        assert result.match.decision == "accept"
        (finding,) = [each for each in result.findings if each.rule == "OC305"]
        assert f"rounded to {dtype} on use (everywhere: {names})" in finding.message

    def test_an_exact_optimizer_is_not_said_to_round(self, trace):
        for base in (Adam, SGD):
            result = audit(make_subject(base, framework="numpy"), [trace], parse_expectation("any"))
            assert result.match.decision == "accept"
            assert [each for each in result.findings if each.rule == "OC305"] == []

    def test_a_wrong_axis_is_still_told_with_a_rounding(self, matched):
        match = matched(rounding(Adam, "float32", ("lr", "everywhere"))).match
        assert (match.order, match.epsilon, match.bias_correction) == ("previous", "outside", True)
        assert {"adamw[order=updated]", "adamw[epsilon=hat]", "adamw[casts=none]"} <= match.rivals.keys()
        assert any(name.startswith("adam_l2") for name in match.rivals)


class TestReported:
    """The explanation reaches JSON, the finding and the check, with step, parameter, element and factor."""

    TARGET = staticmethod(lambda: planted(Adam, ADAM_CHANGES["no bias correction of the first moment"]))

    def subject(self, target):
        return replace(make_subject(target, framework="numpy"), documented_rule="adamw")

    def test_finding_and_json(self, trace):
        result = audit(self.subject(self.TARGET()), [trace], parse_expectation("decoupled"))
        assert result.match.explained_by == "no bias correction of the first moment"
        document = json.loads(json.dumps(result.to_json()))
        assert document["match"]["explained_by"] == "no bias correction of the first moment"
        assert document["match"]["decision"] == "reject"
        (finding,) = [each for each in document["findings"] if each["rule"] == "OC301"]
        evidence = finding["evidence"]
        assert evidence["explained_by"] == "no bias correction of the first moment"
        assert (evidence["step"], finding["parameter"]) == (1, "w")
        where = f"'w'{evidence['element']} by a factor of {evidence['factor']:.3g}"
        assert f"the nearest, adamw, is left at step 1 in {where}" in finding["message"]
        assert finding["message"].endswith("with no bias correction of the first moment it would fit")
        # The nearest that is named is the one that the change makes fit.
        assert document["match"]["nearest"].startswith("adamw[law=lr*wd,order=previous,epsilon=outside")
        assert result.exit_status == 1

    def test_check(self, trace):
        subject = make_subject(self.TARGET(), framework="numpy")
        result = audit(subject, [trace], parse_expectation("decoupled"))
        (check,) = [each for each in result.checks if each.name == "trajectory"]
        assert check.outcome == "skipped"
        assert "is left at step 1 in 'w'[" in check.message
        assert check.message.endswith("with no bias correction of the first moment it would fit")
        assert [each for each in result.findings if each.rule == "OC301"] == []

    def test_nothing_is_claimed_where_nothing_explains(self, trace):
        thrice = planted(Adam, lambda values: {"weight_decay": 3 * values["weight_decay"]})
        result = audit(self.subject(thrice), [trace], parse_expectation("decoupled"))
        (finding,) = [each for each in result.findings if each.rule == "OC301"]
        assert finding.evidence["explained_by"] is None
        assert "would fit" not in finding.message


class TestFirstViolation:
    """Where, by how much and out of which bound: the figures of the reference itself on the trace's own steps."""

    @pytest.mark.parametrize(("at", "element"), [(2, (3, 4)), (4, (0, 0)), (9, (6, 1))])
    @pytest.mark.parametrize("dtype", ["float64", "float32"])
    def test_figures_are_those_of_the_reference(self, matched, trace, at, element, dtype):
        replays = []

        class Bent(Adam):
            def __init__(self, **options):
                super().__init__(**options)
                self.rates, self.walked = [], []
                replays.append((self.rates, self.walked))

            def step(self, params, grads, lr):
                moved = super().step(params, grads, lr)
                if self.moments["w"][2] == at:
                    moved["w"] = moved["w"].copy()
                    moved["w"][element] += 1e-2
                self.rates.append(lr)
                self.walked.append((params["w"], moved["w"].astype(dtype)))
                return moved

        first = matched(Bent, dtype=dtype).first_violation
        on_the_trace = [step.multiplier * 0.05 for step in trace.steps()]
        walked = next(walked for rates, walked in replays if rates == on_the_trace)
        options = RULES["adamw"].options(0.05, 0.1, 0.9, 0.97, 1e-3, law="lr*wd")
        follower = Follower(RULES["adamw"], options, walked[0][0].reshape(-1), arithmetic(dtype))
        for step, (before, after) in zip(trace.steps(), walked, strict=True):
            grad = step.gradients["w"].astype(dtype).reshape(-1)
            comparison = follower.step(before.reshape(-1), grad, after.reshape(-1), step.multiplier).comparison
            if comparison.ratio > 1.0:
                break
        assert step.index == at
        assert first == {
            "step": at,
            "parameter": "w",
            "element": element,
            "found": float(after[element]),
            "expected": comparison.expected,
            "bound": comparison.bound,
            "factor": comparison.ratio,
        }
        assert first["found"] - first["expected"] == pytest.approx(1e-2, rel=1e-3)
        assert first["factor"] == pytest.approx(abs(first["found"] - first["expected"]) / first["bound"], rel=1e-12)

    def test_the_step_is_one_of_the_trace_and_not_of_the_screening(self, matched, make_trace):
        """An optimizer that goes wrong at half the rate, which comes in step 2 of the screening's own schedule."""

        class AtHalfTheRate(Adam):
            def step(self, params, grads, lr):
                moved = super().step(params, grads, lr)
                return {name: theta + 1e-3 for name, theta in moved.items()} if lr == 0.025 else moved

        late = make_trace({"w": (7, 5)}, 8, multipliers=(1.0, 0.75, 1.0, 0.75, 1.0, 0.75, 0.5, 1.0))
        found = matched(AtHalfTheRate, late)
        assert found.match.nearest.startswith("adamw[law=lr*wd,order=previous,epsilon=outside,bias_correction=on")
        assert (found.match.decision, found.first_violation["step"]) == ("reject", 7)
        assert found.match.elements == 8 * 35
