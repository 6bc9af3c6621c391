"""Working precision: what is rounded, by how much rounding each test allows, and what can still be told."""

import json
from dataclasses import replace

import numpy as np
import pytest

import optconform
from optconform.adapters.arrays import HOST_DTYPES
from optconform.adapters.frameworks import FRAMEWORKS, missing_imports
from optconform.conformance.api import make_subject, open_traces
from optconform.conformance.audit import _law, audit
from optconform.conformance.builtin_targets import BUILTIN_TARGETS
from optconform.conformance.check import run
from optconform.conformance.choices import DTYPES
from optconform.conformance.expectation import parse_expectation
from optconform.conformance.pairing import paired_steps, rounding_of
from optconform.conformance.planned import PlannedAudit, builtin_plan, title_of
from optconform.conformance.result import ExitStatus, Verdict
from optconform.conformance.subject import initial_parameters
from optconform.conformance.trace_evidence import identify
from optconform.reference.formats import FORMATS

ADAMW = "optconform.adapters.numpy_optimizers:AdamW"
NARROW = [dtype for dtype in DTYPES if dtype != "float64"]

VERDICTS_OF_THE_ZOO = {
    "Plain": "decoupled",
    "PlainWd": "decoupled",
    "SquaredLr": "decoupled",
    "Twice": "decoupled",
    "Exponential": "decoupled",
    "PostUpdate": "decoupled",
    "Proximal": "decoupled",
    "Stale": "decoupled",
    "HalfOnBias": "decoupled",
    "RelativeStep": "decoupled",
    "L2": "l2",
    "MomentumL2": "l2",
    "Sgd": "equivalent",
    "Ignoring": "ignored",
    "Growing": "other",
    "Sign": "other",
    "Constant": "other",
    "GradientNorm": "preconditioned",
    "ThetaNorm": "preconditioned",
    "LargeOnly": "other",
    "Preconditioned": "preconditioned",
    "EveryOtherStep": "other",
    "RootLr": "decoupled",
    "Lamb": "preconditioned",
    "SkipsBias": "mixed",
}


def test_the_dtypes_are_the_same_everywhere():
    assert set(DTYPES) == set(HOST_DTYPES) == set(FORMATS)


def test_another_dtype_is_refused_by_name():
    with pytest.raises(ValueError, match="dtype='int8' is not supported; use one of float64"):
        make_subject(ADAMW, dtype="int8")
    with pytest.raises(ValueError, match="dtype='float8'"):
        optconform.audit(ADAMW, dtype="float8")


class TestRounding:
    def test_of_initial_parameters(self, make_trace):
        trace = make_trace(theta=1 / 3)
        for dtype in DTYPES:
            subject = make_subject(ADAMW, dtype=dtype)
            theta = subject.initial_parameters(trace)["w"]
            assert theta.dtype == np.float64
            assert np.all(theta == float(np.array(1 / 3).astype(HOST_DTYPES[dtype])))
            held = subject.build(trace.initial_parameters(), {}).read_parameters()["w"]
            assert np.array_equal(held.astype(np.float64), theta)
        assert np.all(initial_parameters(trace)["w"] == 1 / 3)

    def test_of_gradients(self):
        fed = make_subject(ADAMW, dtype="float16").as_fed({"a": np.array([1 / 3, 1e6]), "b": None})
        assert fed["a"].dtype == np.float64
        assert fed["a"].tolist() == [float(np.float16(1 / 3)), np.inf]
        assert fed["b"] is None

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("local", [False, True])
    def test_of_what_the_paired_runs_feed(self, zoo, make_trace, dtype, local):
        seen = []

        class Recording(zoo.Plain):
            def step(self, params, grads, lr):
                seen.append((self.weight_decay, grads["w"].copy(), params["w"].copy()))
                return super().step(params, grads, lr)

        trace = make_trace(n_steps=1)
        subject = make_subject(Recording, framework="numpy", dtype=dtype)
        theta = subject.initial_parameters(trace)
        list(paired_steps(subject, theta, trace.steps(), subject.probe(), local=local))
        host = HOST_DTYPES[dtype]
        (step,) = trace.steps()
        grad = step.gradients["w"].astype(host)
        with_l2 = (grad.astype(np.float64) + 0.5 * theta["w"]).astype(host)
        without_decay = [fed for weight_decay, fed, _ in seen if not weight_decay]
        assert all(held.dtype == host and np.array_equal(held, theta["w"]) for *_, held in seen)
        assert sorted(np.array_equal(fed, grad) for fed in without_decay) == [False, True]
        assert any(np.array_equal(fed, with_l2) for fed in without_decay)

    def test_figure_is_gamma_16_of_the_format(self):
        for dtype, u in {"float64": 2**-53, "float32": 2**-24, "float16": 2**-11, "bfloat16": 2**-8}.items():
            assert rounding_of(dtype) == 16 * u / (1 - 16 * u)


@pytest.mark.parametrize("name", VERDICTS_OF_THE_ZOO)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_float32_tells_all_that_float64_tells(zoo, small_trace, name, dtype):
    subject = make_subject(getattr(zoo, name), framework="numpy", dtype=dtype)
    evidence = identify(subject, small_trace, subject.probe(), 16)
    assert evidence.verdict == VERDICTS_OF_THE_ZOO[name], evidence.kinds


@pytest.mark.parametrize(
    "name", ["Plain", "PlainWd", "ScheduleWd", "BaseLrWd", "SquaredLr", "Tripled", "Twice", "PostUpdate"]
)
def test_float32_finds_the_laws_that_float64_finds(zoo, small_trace, name):
    found = []
    for dtype in ("float64", "float32"):
        subject = make_subject(getattr(zoo, name), framework="numpy", dtype=dtype)
        law = _law(subject, [identify(subject, small_trace, subject.probe(), 16)])
        found.append(law)
    one, other = found
    for exact in ("law", "follows_schedule", "applied_to", "form"):
        assert getattr(one.decay, exact) == getattr(other.decay, exact)
    for close in ("factor", "lr_exponent", "wd_exponent"):
        assert getattr(one.decay, close) == pytest.approx(getattr(other.decay, close), rel=1e-3)


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, marks=getattr(pytest.mark, row.framework), id=title_of(row.spec, row.options, row.path))
        for row in BUILTIN_TARGETS
    ],
)
def test_float32_tells_the_builtin_optimizers_apart(row):
    if missing_imports(FRAMEWORKS[row.framework]):
        pytest.skip(f"{row.framework} is not installed")
    subject = make_subject(
        row.spec, framework=row.framework, path=row.path, hyperparameters=row.options, dtype="float32"
    )
    (trace,) = open_traces(["digits_cnn"])  # its learning rate changes
    evidence = identify(subject, trace, subject.probe(), 16)
    assert evidence.verdict == row.expectation.verdict
    assert {kind.verdict for kind in evidence.kinds.values()} == {evidence.verdict}
    law = _law(subject, [evidence])
    if row.expectation.law:
        assert (law.decay.law, law.decay.factor) == (row.expectation.law, 1.0)
        assert law.decay.applied_to == row.expectation.order


class TestSixteenBits:
    def test_a_decay_below_rounding_is_inconclusive_by_name(self, make_trace):
        for dtype in ("bfloat16", "float16"):
            subject = make_subject(ADAMW, dtype=dtype, hyperparameters={"eps": 1e-3})
            evidence = identify(subject, make_trace(), subject.probe(), 16)
            assert evidence.verdict is Verdict.INCONCLUSIVE
            assert {kind.reason for kind in evidence.kinds.values()} == {
                f"what decay does stays below {dtype} rounding"
            }

    def test_a_decay_above_rounding_is_told(self, zoo, make_trace):
        """c = .5 instead of .025: the law `wd` at probe values."""
        subject = make_subject(zoo.PlainWd, framework="numpy", dtype="float16")
        assert identify(subject, make_trace(n_steps=3), subject.probe(), 16).verdict is Verdict.DECOUPLED

    def test_two_kinds_within_rounding_are_no_identity(self, zoo, make_trace):
        """L2 that momentum has made large enough to see, but not to tell from decoupled decay."""
        trace = make_trace(n_steps=3, grads=0.0)
        verdicts = {}
        for dtype in ("float32", "float16"):
            subject = make_subject(zoo.MomentumL2, framework="numpy", dtype=dtype)
            evidence = identify(subject, trace, {**subject.probe(), "weight_decay": 1.5}, 16)
            verdicts[dtype] = evidence.kinds["w"]
        assert verdicts["float32"].verdict is Verdict.L2
        assert verdicts["float16"].verdict is Verdict.INCONCLUSIVE
        assert verdicts["float16"].reason == "decoupled decay and L2 both fit within float16 rounding"

    @pytest.mark.parametrize(("what", "values"), [("gradient", {"grads": 1e5}), ("parameter", {"theta": 1e5})])
    def test_a_value_beyond_the_range_is_the_traces_fault(self, make_trace, what, values):
        trace = make_trace(**values)
        result = audit(make_subject(ADAMW, dtype="float16"), [trace], parse_expectation("decoupled"))
        assert result.verdict is Verdict.INCONCLUSIVE
        assert result.reason.startswith(f"the trace has a {what} beyond the range of float16")
        codes = {finding.rule for finding in result.findings}
        assert "OC905" in codes
        assert "OC409" not in codes

    def test_nan_is_the_optimizers(self, make_trace):
        """eps = 1e-8 is 0 in float16: 0/0 where the gradient is 0."""
        result = audit(make_subject(ADAMW, dtype="float16"), [make_trace(grads=0.0)], parse_expectation("decoupled"))
        assert "OC409" in {finding.rule for finding in result.findings}

    def test_nan_from_a_gradient_of_our_own_is_not(self, zoo, make_trace):
        """g + lambda*theta is large enough here that its square overflows; the recorded g is not."""

        class Squaring(zoo.Plain):
            def direction(self, name, grad, lr):
                square = grad * grad
                return lr * (grad + (square - square))

        subject = make_subject(Squaring, framework="numpy", dtype="float16")
        result = audit(subject, [make_trace(theta=1000.0, grads=1.0)], parse_expectation("decoupled"))
        assert {check.outcome for check in result.checks if check.name.startswith("kind[")} == {"skipped"}
        # A trajectory without memory fits both kinds, and that the bound can say.
        assert result.verdict is Verdict.EQUIVALENT
        assert "OC409" not in {finding.rule for finding in result.findings}

    def test_axes_that_cannot_be_told_are_skipped(self, make_trace):
        trace, expectation = make_trace(), parse_expectation("any,law=wd,order=updated")
        for dtype, outcomes in {"float32": ["failed", "failed"], "bfloat16": ["failed", "skipped"]}.items():
            result = audit(make_subject(ADAMW, dtype=dtype), [trace], expectation)
            assert [check.outcome for check in result.checks if check.name in ("law", "order")] == outcomes


class TestResult:
    def test_dtype_is_shown_wherever_it_is_not_float64(self, make_trace):
        for dtype in DTYPES:
            subject = make_subject(ADAMW, dtype=dtype, hyperparameters={"eps": 1e-3})
            result = audit(subject, [make_trace(n_steps=2)], parse_expectation("any"))
            assert result.dtype == result.to_json()["dtype"] == dtype
            named = dtype != "float64"
            assert (f"--dtype {dtype}" in result.rerun) is named
            assert subject.title == f"{ADAMW} eps=0.001" + (f" [{dtype}]" if named else "")
        assert title_of("m:C", {}, "compiled", "bfloat16") == "m:C [compiled, bfloat16]"

    def test_python_takes_it(self, make_trace):
        result = optconform.audit(ADAMW, traces=[make_trace()], dtype="float32")
        assert (result.dtype, result.verdict) == ("float32", Verdict.DECOUPLED)
        optconform.check_optimizer(ADAMW, traces=[make_trace()], dtype="bfloat16")
        with pytest.raises(AssertionError, match="no decay is applied"):
            optconform.check_optimizer(ADAMW, traces=[make_trace()], dtype="bfloat16", weight_decay=1e-2)

    def test_sixteen_bits_are_decided_along_the_trajectory(self, make_trace):
        result = optconform.audit(ADAMW, traces=[make_trace()], dtype="bfloat16")
        assert (result.verdict, result.decay.law) == (Verdict.DECOUPLED, "lr*wd")
        assert "rounding drowns the paired runs" in result.reason
        assert (result.probe_match.decision, result.probe_match.mode) == ("accept", "full-resync")
        assert result.separation.own_ratio <= 1.0 < result.separation.rival_ratio

    def test_every_planned_audit_has_it(self, make_trace):
        assert {planned.dtype for planned in builtin_plan(["numpy"], dtype="float32")} == {"float32"}
        assert {planned.dtype for planned in builtin_plan(["numpy"])} == {None}  # that which each optimizer needs
        planned = PlannedAudit(ADAMW, parse_expectation("any"), dtype="float32")
        assert planned.title == f"{ADAMW} [float32]"
        (result,) = run([planned], [make_trace(n_steps=2)])
        assert json.loads(json.dumps(result.to_json()))["dtype"] == "float32"

    def test_a_dtype_that_the_optimizer_refuses_is_its_failure(self, zoo, make_trace):
        class Choosy(zoo.Plain):
            def step(self, params, grads, lr):
                if params["w"].dtype != np.float64:
                    raise TypeError(f"no {params['w'].dtype}")
                return super().step(params, grads, lr)

        subject = make_subject(Choosy, framework="numpy")
        traces, expectation = [make_trace()], parse_expectation("decoupled")
        assert audit(subject, traces, expectation).exit_status is ExitStatus.AS_EXPECTED
        for dtype in NARROW:
            result = audit(replace(subject, dtype=dtype), traces, expectation)
            assert (result.verdict, result.exit_status) == (Verdict.ERROR, ExitStatus.COULD_NOT_RUN)
            assert [finding.rule for finding in result.findings] == ["OC902"]
            assert f"TypeError: no {dtype}" in result.reason
