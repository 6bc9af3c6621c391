"""The list of audits: planned, run one by one, none of them hidden."""

import subprocess
import sys

import pytest

from optconform.adapters.errors import TargetError
from optconform.conformance.builtin_targets import BUILTIN_TARGETS
from optconform.conformance.check import run
from optconform.conformance.check_report import CheckReport
from optconform.conformance.expectation import parse_expectation
from optconform.conformance.planned import PlannedAudit, builtin_plan, split_by_installed
from optconform.conformance.result import Counting

ADAMW, SGDW = (f"optconform.adapters.numpy_optimizers:{name}" for name in ("AdamW", "SGDW"))


def planned(spec, expect="decoupled", **more):
    return PlannedAudit(spec, parse_expectation(expect), **more)


def test_every_framework_has_built_in_targets_of_both_kinds():
    for framework in ("torch", "jax"):
        expected = {row.expectation.verdict for row in BUILTIN_TARGETS if row.framework == framework}
        assert expected >= {"decoupled", "l2"}
    assert {row.framework for row in BUILTIN_TARGETS} == {"numpy", "torch", "tensorflow", "jax"}


def test_the_plan_holds_the_rows_of_the_frameworks_asked_for():
    plan = builtin_plan(["numpy"])
    assert [audit.spec for audit in plan] == [ADAMW, SGDW]
    assert builtin_plan([]) == []


def test_what_is_not_installed_is_listed(monkeypatch):
    monkeypatch.setattr("optconform.adapters.frameworks.is_findable", lambda name: name not in ("optax", "torch"))
    installed, missing = split_by_installed(("numpy", "torch", "jax"))
    assert (installed, missing) == (["numpy"], ["torch", "jax"])


def test_a_failure_does_not_stop_the_rest(monkeypatch, small_trace):
    monkeypatch.setattr("optconform.adapters.frameworks.is_findable", lambda name: name != "torch")
    plan = [planned(ADAMW, framework="torch"), planned(ADAMW, "l2"), planned(SGDW)]
    report = CheckReport(tuple(run(plan, [small_trace])))
    assert [str(result.verdict) for result in report.results] == ["error", "decoupled", "decoupled"]
    assert [int(result.exit_status) for result in report.results] == [3, 1, 0]
    assert int(report.exit_status) == 3
    assert report.results[0].findings[0].rule == "OC901"


def test_a_mistake_in_the_command_stops_it(small_trace):
    with pytest.raises(TargetError):
        list(run([planned(ADAMW, options={"nope": 1})], [small_trace]))


def test_codes_that_do_not_count_are_left_out(small_trace, zoo):
    plan = [planned(ADAMW, "decoupled,law=wd")]
    counted, ignored = (
        CheckReport(tuple(run(plan, [small_trace], counting=counting)))
        for counting in (Counting(), Counting(ignore=("OC201",)))
    )
    assert (int(counted.exit_status), int(ignored.exit_status)) == (1, 0)
    assert "OC201" not in {finding.rule for finding in ignored.results[0].findings}


def test_no_result_is_no_pass():
    assert int(CheckReport(()).exit_status) == 4
    assert CheckReport((), ("torch",)).to_json()["skipped_frameworks"] == ["torch"]


def test_a_device_that_numpy_sees_is_found_without_importing_a_framework(tmp_path):
    code = """
import sys
from optconform.conformance.check import require
require("cpu")
print(*{"torch", "tensorflow", "jax"}.intersection(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_title_shows_options_and_path():
    assert planned(ADAMW, options={"beta1": 0.8}, path="default").title == f"{ADAMW} beta1=0.8 [default]"
