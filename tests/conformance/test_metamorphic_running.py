"""The frame of the metamorphic checks: which are run, on what, and what their outcomes make of a result."""

import dataclasses
import itertools
import json

import numpy as np
import pytest

import optconform
from optconform.adapters.errors import BuildFailed, NotSupported, StepFailed, TargetError
from optconform.adapters.numpy_optimizers import AdamW
from optconform.conformance.cli.main import main
from optconform.conformance.codes import CODES
from optconform.conformance.metamorphic import paths, running, setting, table
from optconform.conformance.metamorphic.drawing import drawn_setting
from optconform.conformance.metamorphic.running import metamorphic_checks
from optconform.conformance.metamorphic.setting import MetamorphicCheck, Outcome
from optconform.conformance.planned import Depth
from optconform.conformance.result import Counting, ExitStatus, Severity

pytestmark = pytest.mark.numpy

SPEC = "optconform.adapters.numpy_optimizers:AdamW"


class Misspelt(AdamW):
    """Takes any option, as many wrappers do, and warns of none."""

    def __init__(self, weight_decay=1e-2, **kwargs):
        super().__init__(weight_decay)


class Stuck(AdamW):
    """Cannot be stepped at all."""

    def step(self, params, grads, lr):
        raise RuntimeError("stuck")


class InTurns(AdamW):
    """Decays the first parameter that it is handed alone: the order decides."""

    def step(self, params, grads, lr):
        first = next(iter(params))
        decay, self.weight_decay = self.weight_decay, 0.0
        moved = super().step(params, grads, lr)
        self.weight_decay = decay
        return {**moved, first: moved[first] - lr * decay * params[first]}


@pytest.fixture(scope="module")
def trace(make_trace):
    return make_trace()


class TestTable:
    def test_rows_are_in_the_order_of_their_codes_and_their_codes_exist(self):
        codes = [row.code for row in table.CHECKS]
        assert codes == sorted(codes)
        assert {code for row in table.CHECKS for code in (row.code, *row.also)} <= CODES.keys()
        assert len({row.name for row in table.CHECKS}) == len(table.CHECKS)


class TestDrawnSetting:
    def test_the_numbers_show_what_recorded_ones_may_hide(self, subject_of, make_trace):
        recorded = make_trace({"w": (64, 100), "b": (200,), "s": ()}, theta=0.0, grads=0.0)
        drawn = drawn_setting(subject_of(AdamW), [recorded])
        assert {name: value.shape for name, value in drawn.theta.items()} == {
            "w": (8, 6),
            "b": (36,),
            "s": (),
            "w_2": (8, 6),
            "b_2": (36,),
            "s_2": (),
        }
        for value in drawn.theta.values():
            assert np.abs(value).min() >= 0.25
        assert {float(np.sign(value).min()) for value in drawn.theta.values() if value.size > 1} == {-1.0}
        rates = [step.multiplier for step in drawn.steps]
        assert all(one != other for one, other in itertools.pairwise(rates))
        assert all(grad is not None and np.all(grad != 0.0) for step in drawn.steps for grad in step.gradients.values())

    def test_the_trace_with_most_kinds_of_parameters_gives_the_shapes(self, subject_of, make_trace):
        flat, varied = (
            make_trace({"a": (3,), "b": (2,)}),
            make_trace({"w": (2, 2), "w_2": (3, 3), "v": (3, 2), "b": (4,)}),
        )
        drawn = drawn_setting(subject_of(AdamW), [flat, varied])
        assert {name: value.shape for name, value in drawn.theta.items()} == {
            "w": (2, 2),
            "w_2": (2, 2),
            "b": (4,),
            "b_2": (4,),
        }

    def test_the_numbers_are_those_the_optimizer_holds(self, make_trace):
        subject = optconform.conformance.api.make_subject(SPEC, dtype="bfloat16")
        drawn = drawn_setting(subject, [make_trace()])
        held = drawn.build().read_parameters()
        for name, value in drawn.theta.items():
            assert np.array_equal(held[name].astype(np.float64), value)

    def test_a_trace_without_an_element_gives_none(self, subject_of, make_trace):
        assert drawn_setting(subject_of(AdamW), [make_trace({"empty": (0, 3)})]) is None
        checks, findings = metamorphic_checks(subject_of(AdamW), [make_trace({"empty": (0, 3)})], Depth())
        assert {check.outcome for check in checks} == {"skipped"}
        assert findings == ()


class TestOutcomes:
    @pytest.fixture
    def with_rows(self, monkeypatch, subject_of, trace):
        """Return a function that runs rows made of the functions it is given."""

        def run(*functions, **depth):
            rows = tuple(MetamorphicCheck(f"row{i}", "OC404", each, 1) for i, each in enumerate(functions))
            monkeypatch.setattr(running, "CHECKS", rows)
            return metamorphic_checks(subject_of(AdamW), [trace], Depth(**depth), "rerun me")

        return run

    def test_a_failure_is_a_check_and_a_finding(self, with_rows):
        def fails(setting):
            yield Outcome("passed", "fine", variant="a")
            yield Outcome("failed", "not fine", parameter="w", variant="b", evidence={"ratio": 3.0})
            yield Outcome("failed", "worse", code="OC402")

        checks, findings = with_rows(fails)
        assert [(each.name, each.outcome, each.code, each.severity) for each in checks] == [
            ("row0[a]", "passed", "OC404", None),
            ("row0[b]", "failed", "OC404", Severity.WARNING),
            ("row0", "failed", "OC402", Severity.ERROR),
        ]
        first, second = findings
        assert (first.rule, first.severity, first.parameter, first.evidence) == (
            "OC404",
            Severity.WARNING,
            "w",
            {"ratio": 3.0},
        )
        assert (second.rule, second.name, second.rerun) == ("OC402", "grouping-dependence", "rerun me")

    @pytest.mark.parametrize(
        ("error", "outcome"),
        [(NotSupported("no way"), "skipped"), (BuildFailed("refused"), "skipped"), (StepFailed("broke"), "failed")],
    )
    def test_what_cannot_be_done_is_skipped_and_what_breaks_has_failed(self, with_rows, error, outcome):
        def raises(setting):
            yield Outcome("passed", "so far")
            raise error

        checks, _ = with_rows(raises)
        assert [check.outcome for check in checks] == ["passed", outcome]
        assert str(error) in checks[-1].message

    def test_a_check_that_finds_nothing_to_do_is_not_passed(self, with_rows):
        checks, findings = with_rows(lambda setting: iter(()))
        assert [check.outcome for check in checks] == ["skipped"]
        assert findings == ()

    def test_rows_that_do_not_count_are_not_run(self, with_rows):
        def never(setting):
            raise AssertionError("must not run")
            yield

        assert with_rows(never, counting=Counting(ignore=("OC404",))) == ((), ())
        assert with_rows(never, counting=Counting(select=("OC402",))) == ((), ())

    def test_a_row_is_run_for_the_sake_of_another_code_of_its_own(self, subject_of, trace):
        checks, _ = metamorphic_checks(subject_of(AdamW), [trace], Depth(Counting(select=("OC108",))))
        assert {check.name.partition("[")[0] for check in checks} == {"grouping"}

    def test_without_a_plain_walk_there_is_nothing_to_compare(self, subject_of, trace):
        checks, findings = metamorphic_checks(subject_of(Stuck), [trace], Depth())
        assert len(checks) == len(table.CHECKS)
        assert {check.outcome for check in checks} == {"skipped"}
        assert all("stuck" in check.message for check in checks)
        assert findings == ()


class TestDistance:
    def test_rounding_is_explained_and_more_is_not(self, subject_of, trace):
        drawn = drawn_setting(subject_of(AdamW), [trace])
        nudged = [{name: value * (1 + 2**-51) for name, value in theta.items()} for theta in drawn.plain]
        pushed = [{name: value * (1 + 1e-12) for name, value in theta.items()} for theta in drawn.plain]
        assert 0.0 < drawn.farthest(drawn.plain, nudged).ratio <= 1.0
        assert drawn.farthest(drawn.plain, pushed).ratio > 1.0

    def test_nan_is_like_nan_and_unlike_all_else(self, subject_of, trace):
        drawn = drawn_setting(subject_of(AdamW), [trace])
        broken = [{name: np.full_like(value, np.nan) for name, value in theta.items()} for theta in drawn.plain]
        assert drawn.farthest(broken, broken).ratio == 0.0
        assert drawn.farthest(broken, drawn.plain).ratio == np.inf
        assert setting.same_bits(broken, broken)
        assert not setting.same_bits(broken, drawn.plain)

    def test_a_rule_that_amplifies_rounding_explains_more(self, subject_of, trace):
        class Chaotic:
            """theta <- theta - lr*sin(1e9*theta)"""

            def step(self, params, grads, lr):
                return {name: theta - lr * np.sin(1e9 * theta) for name, theta in params.items()}

        calm, chaotic = (drawn_setting(subject_of(target), [trace]) for target in (AdamW, Chaotic))
        assert calm.amplified < 1.0
        assert chaotic.amplified > 1e3


class TestInAnAudit:
    def test_a_warning_changes_no_exit_status_and_an_error_does(self, trace):
        warned = optconform.audit(Misspelt, traces=[trace], weight_decay=0.1)
        assert [finding.rule for finding in warned.findings if finding.severity is Severity.WARNING] == ["OC413"]
        assert warned.exit_status is ExitStatus.AS_EXPECTED
        assert any(check.outcome == "failed" for check in warned.checks)
        wrong = optconform.audit(InTurns, expect="any", traces=[trace], weight_decay=0.1)
        assert "OC402" in {finding.rule for finding in wrong.findings}
        assert wrong.exit_status is ExitStatus.NOT_AS_EXPECTED

    def test_findings_stay_in_the_order_of_codes(self, trace):
        result = optconform.audit(InTurns, traces=[trace], weight_decay=0.1)
        codes = [finding.rule for finding in result.findings]
        assert codes == sorted(codes)

    def test_they_can_be_left_out(self, trace):
        names = {row.name for row in table.CHECKS}
        for metamorphic in (True, False):
            result = optconform.audit(SPEC, traces=[trace], metamorphic=metamorphic)
            assert bool(names & {check.name.partition("[")[0] for check in result.checks}) is metamorphic

    def test_a_target_without_decay_is_looked_at_too(self, trace):
        class NoDecay:
            def step(self, params, grads, lr):
                for grad in grads.values():
                    if grad is not None:
                        grad *= 2.0
                return {
                    name: theta if grads[name] is None else theta - lr * grads[name] for name, theta in params.items()
                }

        result = optconform.audit(NoDecay, expect="none", traces=[trace])
        assert [finding.rule for finding in result.findings] == ["OC404"]

    def test_on_the_command_line(self, capsys):
        status = main(["audit", SPEC, "--trace", "synthetic:mixed", "--format", "json", "--select", "OC402"])
        document = json.loads(capsys.readouterr().out)
        assert status == 0
        metamorphic = [check for check in document["checks"]["details"] if check["code"] == "OC402"]
        assert [check["name"] for check in metamorphic] == ["grouping[reversed]", "grouping[split]", "grouping[dtypes]"]
        assert not any(check["code"] == "OC403" for check in document["checks"]["details"])

    def test_check_does_not_run_them(self, capsys):
        assert main(["check", SPEC, "--trace", "synthetic:mixed", "--format", "json"]) == 0
        (result,) = json.loads(capsys.readouterr().out)["results"]
        assert not {row.name for row in table.CHECKS} & {check["name"] for check in result["checks"]["details"]}


class TestPathNames:
    class Adapter:
        framework = "torch"
        paths = ("default", "loop", "compiled")
        compiled_paths = ("compiled",)

    def test_a_path_is_run_and_what_is_only_compared_is_not(self):
        adapter = self.Adapter()
        assert paths.run_path(adapter, None, compared=False) is None
        assert paths.run_path(adapter, "loop", compared=False) == "loop"
        for name in ("all", "compiled"):
            assert paths.run_path(adapter, name, compared=True) is None
            with pytest.raises(TargetError, match="name one to run on: default, loop"):
                paths.run_path(adapter, name, compared=False)

    def test_where_compiling_takes_a_second_the_audit_runs_on_it(self):
        adapter = self.Adapter()
        adapter.framework = "jax"
        assert paths.run_path(adapter, "compiled", compared=True) == "compiled"

    @pytest.mark.parametrize(("name", "asked"), [(None, False), ("loop", False), ("compiled", True), ("all", True)])
    def test_compiled_paths_are_compared_only_if_asked_for(self, name, asked):
        assert paths.compiled_asked(self.Adapter(), name) is asked

    def test_the_command_that_runs_it_again_names_them(self, trace):
        result = optconform.audit(SPEC, path="all", traces=["synthetic:mixed"])
        assert "--paths all" in result.rerun
        assert result.path == "default"

    def test_all_is_nothing_to_check_on(self, capsys):
        assert main(["check", SPEC, "--paths", "all"]) == 2
        assert "optconform audit" in capsys.readouterr().err


def test_a_depth_can_be_sent_to_another_process():
    import pickle

    depth = Depth(Counting(("OC401",), ("OC402",)), "all")
    assert pickle.loads(pickle.dumps(depth)) == depth
    assert dataclasses.asdict(depth)["paths"] == "all"
