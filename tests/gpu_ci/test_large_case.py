"""Large cases as cases of the gate, with few elements and the CPU standing in for the device."""

import dataclasses
import json

import pytest

from optconform.adapters.large_steps import LARGE_FRAMEWORKS
from optconform.conformance.builtin_targets import documented_rule
from optconform.conformance.traces.generated import generated_trace
from optconform.gpu_ci import large_case
from optconform.gpu_ci.case import Case
from optconform.gpu_ci.case_job import CaseJob, job_to_json, run_case
from optconform.gpu_ci.case_list import declared_cases
from optconform.gpu_ci.large import ELEMENTS, run_large
from optconform.gpu_ci.large_judging import LR, RULE_NAME, WEIGHT_DECAY

pytestmark = pytest.mark.torch

CASE = Case("torch", "torch.optim:AdamW", "large", "float32", "generated:3000:7:3", "decoupled", "usual", slow=True)


@pytest.fixture(scope="module")
def found():
    pytest.importorskip("torch")
    return run_large("torch", "cpu", 3000, 3, 7, sample=500, ways=("sample_on_host",), engine="numpy", threads=1)


def answered(monkeypatch, found):
    monkeypatch.setattr(large_case, "run_large", lambda *arguments, **more: found)
    return run_case(json.loads(json.dumps(job_to_json(CaseJob(CASE, "cpu", 2, "optconform gate --case this")))))[
        "result"
    ]


def test_a_sound_large_case_passes_and_says_what_it_cost(monkeypatch, found):
    document = answered(monkeypatch, found)
    result = document["result"]
    assert (result["verdict"], result["match"]["rule"], result["findings"]) == ("decoupled", "adamw", [])
    assert result["match"]["bound_ratio"] <= 1.0 < result["separation"]["rival_ratio"]
    assert {check["outcome"] for check in result["checks"]["details"]} == {"passed"}
    assert document["measured"]["reproducible"] is True
    assert len(document["measured"]["bits"]) == 64
    assert "times of the bare steps" in result["remark"]


def test_one_outside_the_bound_is_oc501_and_says_where(monkeypatch, found):
    (way,) = found.judged
    outside = dataclasses.replace(found.judged[way], bound_ratio=3.0, step=2, element=17)
    document = answered(monkeypatch, dataclasses.replace(found, judged={way: outside}))
    (finding,) = document["result"]["findings"]
    assert (finding["rule"], finding["severity"], finding["parameter"]) == ("OC501", "error", "theta")
    assert (finding["evidence"]["step"], finding["evidence"]["element"]) == (2, [17])
    assert document["result"]["exit_status"] == 1


def test_other_bits_are_a_warning(monkeypatch, found):
    document = answered(monkeypatch, dataclasses.replace(found, reproducible=False))
    assert [(each["rule"], each["severity"]) for each in document["result"]["findings"]] == [("OC411", "warning")]


def test_a_rival_that_fits_as_well_is_no_pass_and_not_outside(monkeypatch, found):
    (way,) = found.judged
    untold = dataclasses.replace(found.judged[way], rival_ratio=0.5)
    result = answered(monkeypatch, dataclasses.replace(found, judged={way: untold}))["result"]
    assert (result["verdict"], result["match"]["decision"], result["findings"]) == ("inconclusive", "undecidable", [])
    assert result["exit_status"] == 4


def test_what_lived_elsewhere_is_oc503(monkeypatch, found):
    result = answered(monkeypatch, dataclasses.replace(found, lived_on=("cpu", "gpu:0")))["result"]
    (finding,) = result["findings"]
    assert (finding["rule"], finding["severity"], result["exit_status"]) == ("OC503", "error", 1)
    assert "lived on cpu and gpu:0" in finding["message"]


def test_the_cases_name_what_the_large_case_runs():
    cases = [case for case in declared_cases("gpu:0") if case.execution == "large"]
    assert {case.runtime for case in cases} == set(LARGE_FRAMEWORKS)
    for case in cases:
        assert case.options == {"lr": LR, "weight_decay": WEIGHT_DECAY}
        assert documented_rule(case.spec, case.options) == RULE_NAME
        assert generated_trace(case.trace).size == ELEMENTS


def test_it_is_asked_for_on_gpus_alone():
    assert any(case.execution == "large" and case.slow for case in declared_cases("gpu:0"))
    assert not any(case.execution == "large" for case in declared_cases("cpu"))
