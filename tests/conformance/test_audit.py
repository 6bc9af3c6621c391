"""Audits as a whole: verdicts over parameters and traces, errors, odd traces, odd names."""

import tracemalloc

import numpy as np
import pytest

import optconform
from optconform.conformance.audit import audit
from optconform.conformance.builtin_targets import documented_rule
from optconform.conformance.expectation import parse_expectation
from optconform.conformance.faults.trace import fault_trace
from optconform.conformance.result import Verdict
from optconform.conformance.trace_evidence import common_verdict
from optconform.conformance.traces import synthetic_trace

ADAMW = "optconform.adapters.numpy_optimizers:AdamW"
V = Verdict


@pytest.fixture
def run(subject_of, small_trace):
    def audited(target, *traces, expect="decoupled", **options):
        return audit(subject_of(target, **options), traces or (small_trace,), parse_expectation(expect))

    return audited


@pytest.mark.parametrize(
    ("verdicts", "common"),
    [
        ([], V.INCONCLUSIVE),
        ([V.L2], V.L2),
        ([V.DECOUPLED, V.DECOUPLED], V.DECOUPLED),
        ([V.DECOUPLED, V.EQUIVALENT], V.DECOUPLED),
        ([V.EQUIVALENT, V.L2], V.L2),
        ([V.EQUIVALENT, V.DECOUPLED, V.L2], V.MIXED),
        ([V.EQUIVALENT, V.IGNORED], V.MIXED),
        ([V.DECOUPLED, V.IGNORED], V.MIXED),
        ([V.DECOUPLED, V.OTHER], V.MIXED),
        ([V.DECOUPLED, V.L2, V.INCONCLUSIVE], V.INCONCLUSIVE),
        ([V.INCONCLUSIVE, V.ERROR, V.L2], V.ERROR),
    ],
)
def test_the_verdict_over_parameters(verdicts, common):
    for order in (verdicts, verdicts[::-1]):
        assert common_verdict(order) is common


def test_parameters_of_different_kinds_are_mixed_and_not_as_expected(run, zoo):
    result = run(zoo.SkipsBias)
    assert (result.verdict, int(result.exit_status)) == (V.MIXED, 1)
    assert result.reason.endswith("decoupled ('w' of trace small), ignored ('b' of trace small)")
    assert {(each.name, each.verdict) for each in result.parameters} == {("w", V.DECOUPLED), ("b", V.IGNORED)}


def test_a_trace_that_cannot_tell_does_not_undo_one_that_can(run, zoo, make_trace, small_trace):
    weak = make_trace(theta=0.0, grads=0.0, name="weak")
    result = run(zoo.Plain, weak, small_trace)
    assert (result.verdict, int(result.exit_status)) == (V.DECOUPLED, 0)
    assert [check.outcome for check in result.checks[:2]] == ["skipped", "passed"]
    (finding,) = (each for each in result.findings if each.rule == "OC905")
    assert "trace weak, 'w': theta is zero in every step" in finding.message


def test_traces_that_disagree_are_mixed(run, zoo, make_trace, small_trace):
    class Fickle(zoo.Plain):
        """L2 where the first gradient is zero."""

        l2 = None

        def step(self, params, grads, lr):
            if self.l2 is None:
                self.l2 = not grads["w"].any()
            if self.l2:
                grads = {name: grad + self.weight_decay * params[name] for name, grad in grads.items()}
            return super().step(params, grads, lr)

        def decay(self, name, theta, grad, lr):
            return 0.0 if self.l2 else super().decay(name, theta, grad, lr)

    first_zero = make_trace(name="first zero")
    for gradient in first_zero.gradients[0].values():
        gradient[...] = 0.0
    result = run(Fickle, small_trace, first_zero)
    assert result.verdict is not V.DECOUPLED
    assert int(result.exit_status) == 1


class TestNothingToDecide:
    def test_an_empty_trace_is_inconclusive(self, run, make_trace):
        for target in (ADAMW, "optconform.adapters.numpy_optimizers:SGDW"):
            result = run(target, make_trace(n_steps=0))
            assert (result.verdict, int(result.exit_status)) == (V.INCONCLUSIVE, 4)
            assert {finding.rule for finding in result.findings} == {"OC905"}
            assert "passed" not in {check.outcome for check in result.checks}

    def test_no_trace_at_all_is_inconclusive(self, subject_of):
        result = audit(subject_of(ADAMW), [], parse_expectation("any"))
        assert (result.verdict, int(result.exit_status)) == (V.INCONCLUSIVE, 4)

    @pytest.mark.parametrize("expect", ["any", "decoupled", "ignored", "inconclusive"])
    def test_gradients_that_never_come_accuse_nobody(self, run, zoo, make_trace, expect):
        none = make_trace(n_steps=4, missing={(step, name) for step in range(1, 5) for name in ("w", "b")})
        for target in (ADAMW, zoo.Ignoring, zoo.L2):
            result = run(target, none, expect=expect)
            assert (result.verdict, int(result.exit_status)) == (V.INCONCLUSIVE, 4)

    def test_a_learning_rate_of_zero_throughout_accuses_nobody(self, run, zoo, make_trace):
        for target in (ADAMW, zoo.Plain, zoo.Ignoring):
            result = run(target, make_trace(multipliers=(0.0,) * 6))
            assert (result.verdict, int(result.exit_status)) == (V.INCONCLUSIVE, 4)

    def test_an_expected_axis_that_was_not_examined_is_no_pass(self, run, zoo):
        result = run(zoo.NoDecayOption, expect="none,epsilon=outside")
        assert int(result.exit_status) == 1


class TestErrors:
    def test_a_constructor_that_raises(self, run, zoo):
        class Refusing(zoo.Plain):
            def __init__(self, weight_decay=0.0):
                raise ValueError("\x1b[31mweight_decay\u202e is\nred")

        result = run(Refusing)
        assert (result.verdict, int(result.exit_status)) == (V.ERROR, 3)
        (finding,) = result.findings
        assert finding.rule == "OC901"
        assert r"ValueError: \x1b[31mweight_decay\u202e is\nred" in finding.message
        assert result.reason == finding.message

    @pytest.mark.parametrize("error", [RuntimeError("boom"), SystemExit(0), MemoryError()])
    def test_a_step_that_raises(self, run, zoo, error):
        class Stuck(zoo.Plain):
            def step(self, params, grads, lr):
                if self.count >= 2:
                    raise error
                return super().step(params, grads, lr)

        result = run(Stuck, expect="any")
        assert (result.verdict, int(result.exit_status)) == (V.ERROR, 3)
        assert result.findings[0].rule == "OC902"
        assert type(error).__name__ in result.reason

    @pytest.mark.parametrize(
        "returned", [None, {}, {"w": 1.0, "b": "text"}, {"w": np.zeros(3), "b": np.zeros(5)}, [1.0, 2.0]]
    )
    def test_a_step_that_returns_nonsense(self, run, zoo, returned):
        class Wrong(zoo.Plain):
            def step(self, params, grads, lr):
                return returned

        result = run(Wrong)
        assert (result.verdict, result.findings[0].rule) == (V.ERROR, "OC902")

    def test_a_device_that_is_not_there(self, zoo, small_trace):
        from optconform.conformance.api import make_subject

        subject = make_subject(zoo.Plain, device="gpu:0")
        result = audit(subject, [small_trace], parse_expectation("any"))
        assert (int(result.exit_status), result.findings[0].rule) == (3, "OC901")

    def test_options_of_the_user_are_tried_even_where_no_rule_fits(self, run):
        """The probe replaces weight_decay, so the kind is found; at the user's own value the step raises."""
        result = run(ADAMW, weight_decay="much")
        assert (int(result.exit_status), result.findings[0].rule) == (3, "OC902")

    def test_a_learning_rate_that_is_no_number(self, run, zoo):
        result = run(zoo.ScheduleWd, lr="fast")
        assert (int(result.exit_status), result.findings[0].rule) == (3, "OC901")
        assert "lr = 'fast'" in result.reason


class TestSizes:
    @pytest.mark.parametrize("shapes", [{"s": ()}, {"only": (3,)}, {"one": (1,), "s": ()}, {"w": (2, 1, 3)}])
    @pytest.mark.parametrize(
        ("name", "verdict"), [("Plain", V.DECOUPLED), ("L2", V.L2), ("Sgd", V.EQUIVALENT), ("Ignoring", V.IGNORED)]
    )
    def test_few_parameters(self, run, zoo, make_trace, shapes, name, verdict):
        assert run(getattr(zoo, name), make_trace(shapes, 8)).verdict is verdict

    def test_a_tensor_without_elements_does_not_hide_the_others(self, run, make_trace):
        result = run(ADAMW, make_trace({"w": (3, 2), "empty": (0, 4)}))
        assert {each.name: each.verdict for each in result.parameters} == {"w": V.DECOUPLED, "empty": V.INCONCLUSIVE}
        assert (result.verdict, int(result.exit_status)) == (V.DECOUPLED, 0)
        assert [(each.rule, each.parameter) for each in result.findings if each.rule == "OC905"] == [("OC905", "empty")]

    @pytest.mark.parametrize(("name", "verdict", "status"), [("Plain", V.DECOUPLED, 0), ("L2", V.L2, 1)])
    def test_a_frozen_parameter_is_said_and_does_not_hide_the_others(self, run, zoo, make_trace, name, verdict, status):
        trace = make_trace({"w": (3, 2), "frozen": (4,)}, missing={(step, "frozen") for step in range(1, 7)})
        result = run(getattr(zoo, name), trace)
        assert (result.verdict, int(result.exit_status)) == (verdict, status)
        assert [each.parameter for each in result.findings if each.rule == "OC905"] == ["frozen"]
        assert "1 of 2 parameters" in result.checks[0].message

    def test_only_frozen_parameters_decide_nothing(self, run, zoo, make_trace):
        result = run(zoo.Plain, make_trace({"w": (3, 2)}, missing={(step, "w") for step in range(1, 7)}))
        assert (result.verdict, int(result.exit_status)) == (V.INCONCLUSIVE, 4)

    def test_five_hundred_parameters(self, run, make_trace):
        trace = make_trace({f"layer{index}.weight": (2, 3) for index in range(500)}, 8)
        result = run(ADAMW, trace)
        assert (result.verdict, int(result.exit_status), len(result.parameters)) == (V.DECOUPLED, 0, 500)


@pytest.mark.parametrize("kind", ["wide_range", "sparse", "sign_changes", "spikes", "schedule_jump", "missing"])
def test_synthetic_traces_decide_a_sound_optimizer(run, zoo, kind):
    trace = synthetic_trace(kind)
    assert int(run(ADAMW, trace, expect="decoupled,law=lr*wd,order=previous").exit_status) == 0
    assert int(run(zoo.MomentumL2, trace).exit_status) == 1


def test_a_name_with_control_characters_stays_data(run, zoo, make_trace):
    name = "w\x1b[2J\n\u202e"
    result = run(zoo.HalfOnBias, make_trace({name: (4, 2), "b\x07": (3,)}))
    assert name in {parameter.name for parameter in result.parameters}
    for finding in result.findings:
        assert not set("\x1b\n\u202e\x07") & set(finding.message)


def test_the_user_s_hyperparameters_and_the_probe_are_both_shown(run):
    result = run(ADAMW, weight_decay=0.03, beta1=0.8)
    assert result.probe == {"weight_decay": 0.5, "beta1": 0.8, "lr": 0.05, "beta2": 0.99}
    assert result.hyperparameters["weight_decay"] == 0.03
    assert result.hyperparameters["beta2"] == 0.999


@pytest.mark.parametrize("own", [{"betas": (0.9, 0.9)}, {"beta2": 0.9}])
def test_the_probe_leaves_beta2_where_the_user_set_it(run, own):
    def factory(weight_decay=0.1, **betas):
        from optconform.adapters.numpy_optimizers import AdamW

        return AdamW(weight_decay, *betas.get("betas", (0.9, betas.get("beta2"))))

    assert "beta2" not in set(run(factory, **own).probe) - set(own)


def test_the_probe_sets_no_beta2_on_a_target_that_takes_any_keyword(run, zoo):
    assert run(lambda lr=0.1, **options: zoo.Plain(**options)).verdict is V.DECOUPLED


def test_a_kind_that_changes_with_weight_decay_is_caught_by_the_trajectory(run, zoo):
    result = run(zoo.SwitchesKind, weight_decay=0.01)
    assert (result.verdict, result.match.rule, int(result.exit_status)) == (V.DECOUPLED, "sgd_l2", 1)
    assert "at the user's own the trajectory is that of sgd_l2" in result.findings[-2].message
    assert [check.outcome for check in result.checks] == ["passed", "failed"]
    assert int(run(zoo.SwitchesKind, weight_decay=0.2).exit_status) == 0


class TestOwnHyperparameters:
    """The probe decides the kind; what follows no rule of the reference is tried at the user's own values too."""

    @pytest.mark.parametrize(("own", "status"), [(0.01, 1), (0.2, 0)])
    def test_a_decay_that_is_ignored_below_a_threshold(self, run, zoo, own, status):
        class Deaf(zoo.Plain):
            def decay(self, name, theta, grad, lr):
                return super().decay(name, theta, grad, lr) if self.weight_decay > 0.1 else 0.0

        result = run(Deaf, weight_decay=own)
        assert (result.verdict, int(result.exit_status)) == (V.DECOUPLED, status)
        found = [finding for finding in result.findings if finding.rule == "OC301"]
        assert len(found) == status
        if found:
            assert f"but ignored at the user's own lr=0.05, weight_decay={own}" in found[0].message
            assert "own values[small]: ignored" in [f"{c.name}: {c.message.split()[0]}" for c in result.checks]

    def test_a_decay_that_ends_after_the_steps_of_the_probe(self, run, zoo, make_trace):
        class Ending(zoo.Plain):
            def decay(self, name, theta, grad, lr):
                return super().decay(name, theta, grad, lr) if self.count <= 16 else 0.0

        result = run(Ending, make_trace(n_steps=24))
        assert (result.verdict, int(result.exit_status)) == (V.DECOUPLED, 1)
        assert "OC301" in {finding.rule for finding in result.findings}
        assert int(run(Ending, make_trace(n_steps=16)).exit_status) == 0

    def test_the_smallest_trace_that_decides_is_used(self, run, zoo, make_trace, small_trace):
        idle = make_trace(n_steps=1, name="one-step")
        large = make_trace(shapes={"w": (30, 40)}, name="large")
        checks = {check.name: check for check in run(zoo.Plain, idle, large, small_trace).checks}
        assert checks["own values[small]"].outcome == "passed"
        assert not {"own values[one-step]", "own values[large]"} & checks.keys()

    @pytest.mark.parametrize("name", [None, "Sign", "SkipsBias"])
    def test_it_is_left_out_where_a_rule_fits_or_no_kind_was_named(self, run, zoo, name):
        result = run(ADAMW if name is None else getattr(zoo, name))
        assert not any(check.name.startswith("own values") for check in result.checks)

    def test_a_decay_below_rounding_accuses_nobody(self, run, zoo):
        result = run(zoo.Plain, weight_decay=1e-14)
        assert int(result.exit_status) == 0
        assert [check.outcome for check in result.checks if check.name == "own values[small]"] == ["skipped"]


def test_a_trajectory_that_leaves_its_rule_says_where(run, make_trace):
    from optconform.adapters.numpy_optimizers import AdamW

    class Late(AdamW):
        def step(self, params, grads, lr):
            moved = super().step(params, grads, lr)
            self.count = getattr(self, "count", 0) + 1
            return {name: value * 1.001 for name, value in moved.items()} if self.count == 8 else moved

    result = run(Late, make_trace(n_steps=10), expect="any")
    messages = [check.message for check in result.checks if check.name == "trajectory"]
    assert "the nearest, adamw, is left at step 8 in" in messages[0]


def test_a_documented_rule_that_is_not_followed_fails(run, monkeypatch, zoo):
    monkeypatch.setattr("optconform.conformance.api.documented_rule", lambda spec, options: "sgdw")
    for target in (zoo.MomentumL2, zoo.Plain):
        result = run(target, expect="any")
        assert int(result.exit_status) == 1
        assert "OC301" in {finding.rule for finding in result.findings}


def test_which_rule_is_documented():
    assert documented_rule("torch.optim:Adam", {}) == "adam_l2"
    assert documented_rule("torch.optim:Adam", {"decoupled_weight_decay": True}) == "adamw"
    assert documented_rule("torch.optim:Adam", {"maximize": True}) is None
    assert documented_rule("mine:Adam", {}) is None


@pytest.mark.parametrize("known", [True, False])
def test_memory_does_not_grow_with_the_steps(run, zoo, make_trace, known):
    def peak(n_steps):
        trace = make_trace({"w": (50,)}, n_steps)
        tracemalloc.start()
        try:
            assert run(ADAMW if known else zoo.Plain, trace).verdict is V.DECOUPLED
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(700)  # what is imported and cached at first, and Python's own lists of free tuples
    short = peak(300)  # past the 256 steps that are looked at in pairs
    assert peak(700) < short + 400 * 50 * 8 // 2  # half of the gradients that are more


def test_a_parameter_that_opposes_its_steps_agrees_with_cautious_decay():
    """The 0-d parameter of this trace grows in every step, so a cautious decay never acts on it."""
    result = optconform.audit(
        "optconform.conformance.faults.numpy_faults:SGDW",
        fault="cautious",
        traces=[fault_trace()],
        expect="decoupled",
        metamorphic=False,
    )
    kinds = {parameter.name: str(parameter.verdict) for parameter in result.parameters}
    assert kinds == {"w": "decoupled", "u": "decoupled", "s": "ignored"}
    assert (result.verdict, result.decay.form) == ("decoupled", "cautious")
    assert {finding.rule for finding in result.findings} == {"OC201"}
