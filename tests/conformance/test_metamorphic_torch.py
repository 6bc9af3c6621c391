"""Metamorphic checks on PyTorch: each fires on the fault it is for, and none on torch.optim."""

import pytest

torch = pytest.importorskip("torch")

from optconform.conformance.api import make_subject  # noqa: E402
from optconform.conformance.metamorphic.drawing import drawn_setting  # noqa: E402
from optconform.conformance.metamorphic.running import metamorphic_checks  # noqa: E402
from optconform.conformance.planned import Depth  # noqa: E402
from optconform.conformance.result import Counting, Severity  # noqa: E402

pytestmark = pytest.mark.torch


class SGDW(torch.optim.Optimizer):
    """b <- .9*b + g; theta <- theta - lr*(b + wd*theta). Subclasses change one thing."""

    def __init__(self, params, lr=1e-3, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    def keep(self, **options):
        for group in self.param_groups:
            group |= options

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            with_gradient = [param for param in group["params"] if param.grad is not None]
            self.decay(group, with_gradient)
            for param in with_gradient:
                param.sub_(group["lr"] * self.remember(group, param, param.grad))

    def decay(self, group, params):
        for param in params:
            param.mul_(1.0 - group["lr"] * group["weight_decay"])

    def remember(self, group, param, grad):
        buffer = self.state[param].setdefault("momentum_buffer", torch.zeros_like(param))
        return buffer.mul_(0.9).add_(grad)


class DecayOncePerDtype(SGDW):
    """As timm's SGDW did: the decay of the whole group inside a loop over its dtypes."""

    def decay(self, group, params):
        for _ in {param.dtype for param in params}:
            super().decay(group, params)


class DecayInGradient(SGDW):
    def decay(self, group, params):
        for param in params:
            param.grad.add_(param, alpha=group["weight_decay"])


class SharedCount(SGDW):
    """A step count for each group: bias correction moves on for parameters without a gradient."""

    def decay(self, group, params):
        group["step"] = group.get("step", 0) + 1
        super().decay(group, params)

    def remember(self, group, param, grad):
        return super().remember(group, param, grad) / (1.0 - 0.9 ** group["step"])


class DecaysFrozen(SGDW):
    def decay(self, group, params):
        super().decay(group, group["params"])


class Paths(SGDW):
    """foreach keeps another buffer: the first step is the same."""

    def __init__(self, params, lr=1e-3, weight_decay=0.0, foreach=None):
        super().__init__(params, lr, weight_decay)
        self.keep(foreach=foreach)

    def remember(self, group, param, grad):
        fresh = param not in self.state
        buffer = super().remember(group, param, grad)
        return buffer if fresh or not group["foreach"] else buffer.sub_(0.1 * grad)


class ScalarsInFloat32(Paths):
    """foreach holds the learning rate as a float32 tensor."""

    def remember(self, group, param, grad):
        buffer = SGDW.remember(self, group, param, grad)
        rate = torch.tensor(group["lr"], dtype=torch.float32).double() / group["lr"] if group["foreach"] else 1.0
        return buffer * rate


class BreaksOnForeach(Paths):
    def remember(self, group, param, grad):
        if group["foreach"]:
            raise RuntimeError("no kernel")
        return SGDW.remember(self, group, param, grad)


class Clipped(SGDW):
    """Clips by the norm of all gradients of a group."""

    def decay(self, group, params):
        super().decay(group, params)
        grads = [param.grad.double() for param in params]
        self.scale = 1.0 / max(1.0, float(torch.stack([grad.norm() for grad in grads]).norm()))

    def remember(self, group, param, grad):
        return super().remember(group, param, self.scale * grad)


class Swallowing(SGDW):
    """Takes options and forgets them, as pytorch_optimizer 3.3.2 takes maximize and foreach."""

    def __init__(self, params, lr=1e-3, weight_decay=0.0, **kwargs):
        super().__init__(params, lr, weight_decay)


class Keeping(SGDW):
    """Takes options unseen, but keeps them in its groups, where they may serve subclasses."""

    def __init__(self, params, lr=1e-3, weight_decay=0.0, **kwargs):
        super().__init__(params, lr, weight_decay)
        self.keep(**kwargs)


class Maximized(SGDW):
    """Turns the whole step, decay included."""

    def __init__(self, params, lr=1e-3, weight_decay=0.0, maximize=False):
        super().__init__(params, lr, weight_decay)
        self.keep(maximize=maximize)

    def decay(self, group, params):
        sign = -1.0 if group["maximize"] else 1.0
        for param in params:
            param.mul_(1.0 - sign * group["lr"] * group["weight_decay"])

    def remember(self, group, param, grad):
        buffer = super().remember(group, param, grad)
        return -buffer if group["maximize"] else buffer


def found(target, trace, *codes, path=None, dtype="float64", **hyperparameters):
    """Return {name of a check: its outcome} and {(code, severity)} of what those of `codes` find."""
    subject = make_subject(
        target, framework="torch", path=path, dtype=dtype, compared=True, hyperparameters=hyperparameters
    )
    checks, findings = metamorphic_checks(subject, [trace], Depth(Counting(select=codes)))
    return {check.name: check.outcome for check in checks}, {(each.rule, str(each.severity)) for each in findings}


@pytest.fixture(scope="module")
def trace(make_trace):
    return make_trace({"w": (3, 4), "u": (2, 5), "b": (5,), "c": (7,)})


OURS = ("OC401", "OC402", "OC403", "OC404", "OC408", "OC413")


@pytest.mark.parametrize(
    ("target", "codes"),
    [
        (Maximized, {("OC401", "error")}),
        (DecayOncePerDtype, {("OC402", "error"), ("OC108", "error")}),
        (SharedCount, {("OC403", "warning")}),
        (DecaysFrozen, {("OC403", "warning")}),
        (DecayInGradient, {("OC404", "warning")}),
        (Paths, {("OC408", "error")}),
        (BreaksOnForeach, {("OC408", "error")}),
        (ScalarsInFloat32, {("OC305", "warning")}),
        (Swallowing, {("OC413", "warning")}),
        (Keeping, {("OC413", "warning")}),
        (SGDW, set()),
        (Clipped, set()),
    ],
)
def test_each_fault_is_named_and_nothing_else(target, codes, trace):
    assert found(target, trace, *OURS, "OC108", "OC305")[1] == codes


class TestOptions:
    def test_options_that_vanish_are_named(self, trace):
        checks, findings = metamorphic_checks(
            make_subject(Swallowing, framework="torch"), [trace], Depth(Counting(select=("OC413",)))
        )
        (finding,) = findings
        vanished = ["maximize", "foreach", "fused", "capturable", "differentiable"]
        assert finding.evidence["accepted"] == ["optconform_no_such_option", *vanished]
        assert [check.name for check in checks] == ["options[unknown]"]

    def test_options_that_are_kept_may_be_of_use(self, trace):
        _, findings = metamorphic_checks(
            make_subject(Keeping, framework="torch"), [trace], Depth(Counting(select=("OC413",)))
        )
        assert findings[0].evidence["accepted"] == ["optconform_no_such_option"]


class TestPaths:
    def test_every_path_is_compared_with_that_of_the_audit(self, trace):
        checks, findings = found("torch.optim:AdamW", trace, "OC408", path="foreach")
        passed = {name for name, outcome in checks.items() if outcome == "passed"}
        assert {"paths[default]", "paths[loop]", "paths[fused]"} <= passed
        assert "paths[foreach]" not in checks
        assert findings == set()

    def test_a_tensor_as_learning_rate_is_compared_only_where_it_is_promised(self, trace):
        class KeepsFirst(SGDW):
            """Scales by lr over the first lr, which, as a tensor filled in place, is always the same."""

            def __init__(self, params, lr=1e-3, weight_decay=0.0):
                super().__init__(params, lr, weight_decay)
                self.first = lr

            def remember(self, group, param, grad):
                return super().remember(group, param, grad) * (group["lr"] / self.first)

        class Promises(KeepsFirst):
            def __init__(self, params, lr: "float | torch.Tensor" = 1e-3, weight_decay=0.0):
                super().__init__(params, lr, weight_decay)

        outcomes = {each: found(each, trace, "OC408")[0]["paths[tensor-lr]"] for each in (KeepsFirst, Promises)}
        assert outcomes == {KeepsFirst: "skipped", Promises: "failed"}

    def test_those_that_compile_are_not_run_unasked(self, trace):
        assert "paths[compiled]" not in found("torch.optim:SGD", trace, "OC408")[0]

    def test_in_sixteen_bits_the_rule_decides_where_rounding_explains_nearly_all(self, trace):
        class Loose(torch.optim.AdamW):
            """With foreach, decay is twice as strong: far inside 16 roundings of bfloat16."""

            def step(self, closure=None):
                for group in self.param_groups:
                    if group["foreach"]:
                        for param in group["params"]:
                            param.data.mul_(1.0 - group["lr"] * group["weight_decay"])
                super().step(closure)

        subject = make_subject(Loose, framework="torch", dtype="bfloat16")
        own = drawn_setting(subject, [trace])
        other = drawn_setting(make_subject(Loose, framework="torch", dtype="bfloat16", path="foreach"), [trace])
        assert own.farthest(own.plain, other.plain).ratio <= 1.0
        assert ("OC408", "error") in found(Loose, trace, "OC408", dtype="bfloat16")[1]
        assert found("torch.optim:AdamW", trace, "OC408", dtype="bfloat16")[1] == set()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("AdamW", {"amsgrad": True}),
        ("NAdam", {}),
        ("RMSprop", {"momentum": 0.9}),
        ("Adagrad", {}),
        ("ASGD", {}),
        ("Rprop", {}),
        ("Adafactor", {}),
        ("SGD", {"momentum": 0.9, "nesterov": True}),
    ],
)
def test_no_error_on_torch_optim(name, options, trace):
    subject = make_subject(f"torch.optim:{name}", hyperparameters=options)
    checks, findings = metamorphic_checks(subject, [trace], Depth())
    assert [finding for finding in findings if finding.severity is Severity.ERROR] == []
    assert sum(check.outcome == "passed" for check in checks) >= 9
