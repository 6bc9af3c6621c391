import dataclasses
import itertools
import json
import math

import numpy as np
import pytest

from optconform.conformance.outcomes import gravest_first
from optconform.conformance.result import (
    Check,
    Counting,
    Decision,
    ExitStatus,
    Finding,
    Match,
    ParameterResult,
    Result,
    Severity,
    Verdict,
    worst,
)

PASSED, FAILED, SKIPPED = (Check("kind[t]", outcome, "m", "OC101") for outcome in ("passed", "failed", "skipped"))


def result(verdict=Verdict.DECOUPLED, checks=(PASSED,), findings=(), **more):
    return Result("m:A", "numpy", verdict, "decoupled", "why", checks=checks, findings=findings, **more)


def finding(severity, rule="OC101"):
    return Finding(rule, "coupled-decay", severity, "message")


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ({}, 0),
        ({"checks": ()}, 4),
        ({"checks": (SKIPPED,)}, 4),
        ({"checks": (SKIPPED, PASSED)}, 0),
        ({"checks": (PASSED, FAILED)}, 1),
        ({"findings": (finding(Severity.WARNING), finding(Severity.INFO))}, 0),
        ({"findings": (finding(Severity.ERROR),)}, 1),
        ({"verdict": Verdict.INCONCLUSIVE}, 4),
        ({"verdict": Verdict.INCONCLUSIVE, "findings": (finding(Severity.ERROR),)}, 1),
        ({"verdict": Verdict.ERROR, "findings": (finding(Severity.ERROR),)}, 3),
        ({"verdict": Verdict.ERROR, "checks": (PASSED,), "findings": ()}, 3),
    ],
)
def test_the_exit_status_of_one_result(arguments, status):
    assert int(result(**arguments).exit_status) == status


def test_the_worst_status_wins_in_the_order_of_the_contract():
    order = (2, 3, 1, 5, 4, 0)
    assert set(order) == set(ExitStatus)
    for one, other in itertools.product(order, repeat=2):
        expected = min(one, other, key=order.index)
        assert worst([ExitStatus(one), ExitStatus(other)]) == expected
    assert worst([ExitStatus(status) for status in reversed(order)]) == 2


def test_nothing_at_all_is_no_pass():
    assert worst([]) is ExitStatus.UNDECIDED
    assert not result(checks=()).as_expected


class TestIgnoring:
    def test_an_ignored_finding_no_longer_counts(self):
        failing = result(Verdict.L2, (FAILED, Check("trajectory", "passed", "m", "OC301")), (finding(Severity.ERROR),))
        assert int(failing.exit_status) == 1
        ignored = failing.counting_only(Counting(ignore=("OC101",)))
        assert (int(ignored.exit_status), ignored.findings) == (0, ())
        assert Counting(("OC1",), ("OC2",)).added_to("optconform audit t") == (
            "optconform audit t --select OC1 --ignore OC2"
        )
        assert ignored.checks[0].outcome == "skipped"
        assert ignored.checks[0].message.endswith("(OC101 ignored)")

    def test_what_is_ignored_does_not_pass(self):
        only = result(Verdict.L2, (FAILED,), (finding(Severity.ERROR),))
        assert int(only.counting_only(Counting(select=("OC905",))).exit_status) == 4

    @pytest.mark.parametrize(
        ("counting", "status"),
        [
            (Counting(("OC401",)), 4),
            (Counting(("OC101",), ("OC101",)), 4),
            (Counting(ignore=("OC101", "OC301")), 4),
            (Counting(ignore=("OC101",)), 0),
            (Counting(("OC301",)), 0),
        ],
    )
    def test_only_a_check_that_counts_makes_a_pass(self, counting, status):
        coupled = result(Verdict.L2, (FAILED, Check("trajectory", "passed", "m", "OC301")), (finding(Severity.ERROR),))
        assert int(coupled.counting_only(counting).exit_status) == status

    def test_a_check_without_code_cannot_be_ignored(self):
        uncoded = result(Verdict.OTHER, (Check("kind[t]", "failed", "m"), PASSED))
        assert int(uncoded.counting_only(Counting(select=("OC905",))).exit_status) == 1

    def test_what_could_not_run_stays_so(self):
        error = result(Verdict.ERROR, (), (finding(Severity.ERROR, "OC901"),))
        assert int(error.counting_only(Counting(select=("OC905",))).exit_status) == 3


class TestAccepting:
    def test_a_finding_and_the_check_that_it_explains_no_longer_count(self):
        coupled = result(Verdict.L2, (FAILED, Check("trajectory", "passed", "m", "OC301")), (finding(Severity.ERROR),))
        accepted = coupled.accepting({"OC101": "known"})
        assert (int(coupled.exit_status), int(accepted.exit_status)) == (1, 0)
        assert accepted.findings[0].accepted == "known"
        assert accepted.checks[0].message.endswith("(OC101 accepted: known)")

    def test_a_check_that_no_finding_explains_counts(self):
        untold = result(checks=(PASSED, Check("law", "failed", "undetermined, expected lr*wd", "OC201")))
        for findings in ((), (finding(Severity.INFO, "OC201"),), (finding(Severity.ERROR, "OC301"),)):
            accepted = dataclasses.replace(untold, findings=findings).accepting({"OC201": "known"})
            assert int(accepted.exit_status) == 1
            assert accepted.checks == untold.checks
            assert not any(each.accepted for each in accepted.findings)


def test_what_is_accepted_comes_after_all_that_counts():
    told = [finding(severity, code) for severity, code in zip(Severity, ("OC101", "OC104", "OC201"), strict=True)]
    accepted = dataclasses.replace(finding(Severity.ERROR, "OC102"), accepted="known")
    second = finding(Severity.ERROR, "OC100")
    assert gravest_first([accepted, *reversed(told), second]) == [told[0], second, told[1], told[2], accepted]


def test_json_holds_no_number_that_json_has_not():
    odd = result(
        match=Match(rivals={"a": math.inf, "b": math.nan, "c": np.float64(2.0)}, bound_ratio=-math.inf),
        hyperparameters={"betas": (0.9, np.float32(0.5)), "hook": print, 3: {1}, "flag": np.bool_(True)},
    )
    text = json.dumps(odd.to_json(), allow_nan=False)
    read = json.loads(text)
    assert read["match"]["rivals"] == {"a": "inf", "b": "nan", "c": 2.0}
    assert read["match"]["bound_ratio"] == "-inf"
    assert read["hyperparameters"] == {"betas": [0.9, 0.5], "hook": repr(print), "3": [1], "flag": True}
    assert read["verdict"] == "decoupled"


@pytest.mark.parametrize("decision", [None, *Decision])
def test_json_shows_the_decision_and_what_it_was_made_by(decision):
    match = Match(
        decision,
        cannot_tell=("adam_l2", "adamw[epsilon=hat]"),
        explained_by="no epsilon",
        mode="full-resync",
        computed_in="float32",
        platform="xla-gpu",
    )
    document = json.loads(json.dumps(result(match=match, probe_match=Match(decision)).to_json()))
    shown = document["match"]
    assert shown["decision"] == document["probe_match"]["decision"] == decision
    assert shown["cannot_tell"] == ["adam_l2", "adamw[epsilon=hat]"]
    assert (shown["explained_by"], shown["mode"]) == ("no epsilon", "full-resync")
    assert (shown["computed_in"], shown["platform"]) == ("float32", "xla-gpu")


def test_json_counts_what_it_lists():
    document = result(checks=(PASSED, FAILED, SKIPPED, PASSED)).to_json()
    counts = {key: document["checks"][key] for key in ("planned", "passed", "failed", "skipped")}
    assert counts == {"planned": 4, "passed": 2, "failed": 1, "skipped": 1}
    assert len(document["checks"]["details"]) == 4
    assert (document["as_expected"], document["exit_status"]) == (False, 1)


def test_elements_are_those_of_paired_runs_and_trajectory():
    parameters = (
        ParameterResult("t", "w", (3, 4), Verdict.DECOUPLED, steps=5),
        ParameterResult("t", "s", (), Verdict.DECOUPLED, steps=2),
    )
    assert result(parameters=parameters, match=Match(elements=100)).elements == 162
