"""A document is read as far as it is shown; whatever no run writes is refused, and the place of it named."""

import json
import math
from importlib import resources

import jsonschema
import pytest
from referencing import Registry, Resource

from optconform.conformance import survey
from optconform.conformance.reports import document
from optconform.conformance.reports.document import DocumentError, State, read_document
from optconform.conformance.reports.wording import counts_of, environment_of, notes_of, where_first
from optconform.conformance.survey import SurveyReport
from optconform.conformance.survey_exports import Export, Library
from optconform.gpu_ci import report

GATE, AUDIT = (
    json.loads(resources.files("optconform.conformance").joinpath(f"schema/{name}-1.schema.json").read_text("utf-8"))
    for name in ("gate", "audit")
)
REGISTRY = Registry().with_resource(AUDIT["$id"], Resource.from_contents(AUDIT))


def validate(instance):
    jsonschema.Draft202012Validator(GATE, registry=REGISTRY).validate(instance)


def test_the_names_of_the_schemas_are_those_that_are_written():
    assert (document.GATE_SCHEMA, document.SURVEY_SCHEMA) == (report.SCHEMA, survey.SCHEMA)


def test_every_result_counts_as_its_exit_status_says(check_document):
    run = read_document(check_document)
    assert [entry.state for entry in run.entries] == [State.PASSED, State.FAILED, State.ERROR, State.UNDECIDED]
    assert counts_of(run) == "4 results: 1 as expected, 1 not as expected, 1 could not run, 1 undecided"
    missing, scope = notes_of(run)
    assert missing == "not checked: torch is not installed"
    assert scope.startswith("not checked: float32, bfloat16, float16 (--dtype); devices other than cpu (--device); ")
    assert scope.endswith("groups, checkpoints and other ways of using it (audit)")
    (alone,) = notes_of(read_document(check_document["results"][0]))
    assert alone.endswith("other traces (--trace)"), "an audit is about the ways of using it too"
    assert [entry.state for entry in run.worst_first] == sorted(
        (entry.state for entry in run.entries), key=list(State).index
    )


def test_a_case_of_the_gate_has_its_own_name_and_figures(gate_document):
    run = read_document(gate_document)
    good, bad, skipped = run.entries
    assert (good.title, good.group) == ("torch/AdamW/default/float32/loop/synthetic:mixed", "torch")
    assert good.measured.from_cpu.largest == 1234
    assert bad.state is State.FAILED
    assert bad.ratio == 2500000.0, "a case that follows no rule is as far outside as its finding says"
    assert (skipped.state, skipped.skipped) == (State.SKIPPED, "this version has no scan")
    assert notes_of(run) == ["compared with the 3 cases of card.json", "not run: keras-jax, which is not installed"]
    assert environment_of(run)["hardware"] == "Card 9"
    assert where_first(bad.result.findings[0]) == (
        "first at step 3, parameter 'w', element [2, 1]: "
        "found 0.5, expected 0.25, bound 1e-07, distance in bounds 2500000.0"
    )


@pytest.mark.parametrize(
    ("factor", "ratio"), [(10**400, math.inf), ("inf", math.inf), ("far", None), (None, None), ([1.0], None), (3, 3.0)]
)
def test_whatever_the_evidence_holds_a_distance_is_a_number(gate_document, factor, ratio):
    gate_document["results"][1]["findings"][0]["evidence"]["factor"] = factor
    run = read_document(gate_document)
    assert run.entries[1].ratio == ratio
    assert run.worst_first[0] is run.entries[1]


def test_a_case_that_should_not_have_been_skipped_is_a_failure(gate_document):
    skipped = gate_document["results"][2]
    skipped["findings"] = [gate_document["results"][1]["findings"][0]]
    assert read_document(gate_document).entries[2].state is State.FAILED


def test_no_baseline_is_said_aloud(gate_document):
    gate_document["baseline"] = None
    assert "not compared with a baseline: none was named" in notes_of(read_document(gate_document))


def test_a_run_that_fails_although_no_result_does_says_so(gate_document):
    gate_document["results"] = gate_document["results"][:1]
    gate_document["exit_status"] = 5
    assert read_document(gate_document).unexplained == "compared with the 3 cases of card.json"
    gate_document["results"] = []
    gate_document["exit_status"] = 4
    assert read_document(gate_document).unexplained == "nothing ran (exit status 4)"


def test_a_survey_expects_nothing(check_document):
    exports = (Export("AdamW", "numpy"), Export("SGDW", "numpy"))
    library = Library("optconform.adapters.numpy_optimizers", exports=exports, left_out={"state": "no optimizer"})
    results = check_document["results"][1:2] + check_document["results"][3:]
    surveyed = SurveyReport((library,), (), "2026-11-22").to_json() | {"results": results}
    run = read_document(surveyed)
    assert [entry.state for entry in run.entries] == [State.PASSED, State.SKIPPED]
    assert run.not_checked == ("optconform.adapters.numpy_optimizers:state: not audited; no optimizer",)


def test_one_audit_is_a_run_of_one(check_document):
    run = read_document(check_document["results"][1])
    assert (run.exit_status, len(run.entries)) == (1, 1)


def _without(key):
    return lambda document: document.pop(key)


def _in_result(**changes):
    return lambda document: document["results"][1].update(changes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_without("schema"), "no schema"),
        (lambda document: document.update(schema="optconform/compare/1"), "optconform/compare/1"),
        (lambda document: document.update(schema=["\ud800"]), "should be one of"),
        (_without("results"), "results"),
        (lambda document: document.update(results="text"), "results"),
        (lambda document: document.update(results=[7]), r"results\[0\]"),
        (_without("exit_status"), "exit_status"),
        (lambda document: document.update(exit_status="0"), "exit_status"),
        (lambda document: document.update(baseline="b.json"), "the document"),
        (lambda document: document.update(place=[]), None),
        (lambda document: document.update(place=[1]), "the document"),
        (lambda document: document.update(left_out="all"), "the document"),
        (lambda document: document["results"][1].pop("verdict"), r"results\[1\]"),
        (lambda document: document["results"][1].pop("checks"), r"results\[1\] lacks 'checks'"),
        (_in_result(verdict="fine"), "fine"),
        (_in_result(checks=[]), r"results\[1\]"),
        (_in_result(findings={"a": 1}), r"results\[1\]"),
        (_in_result(case=None), r"results\[1\]"),
        (_in_result(measured={"from_cpu": {"largest": "many"}}), "many"),
        (_in_result(output=None), r"results\[1\]"),
        (_in_result(reason="x" * 10 + "\ud800", title=5), r"results\[1\]"),
    ],
)
def test_what_no_run_writes_is_refused(gate_document, change, said):
    change(gate_document)
    if said is None:
        read_document(gate_document)
        return
    with pytest.raises(DocumentError, match=said) as caught:
        read_document(gate_document)
    assert len(str(caught.value)) < 1000
    str(caught.value).encode()


@pytest.mark.parametrize("value", [None, [], "text", 7, {"schema": None}])
def test_anything_else_is_refused(value):
    with pytest.raises(DocumentError, match="no schema"):
        read_document(value)


def test_the_schema_of_the_gate_holds_for_such_a_document(gate_document):
    jsonschema.Draft202012Validator.check_schema(GATE)
    validate(gate_document)
    validate(gate_document | {"baseline": None, "later": 1})


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.pop("place"),
        lambda document: document.update(exit_status=6),
        lambda document: document.update(date="yesterday"),
        lambda document: document["baseline"].update(sentence=""),
        lambda document: document["baseline"].update(file=None),
        lambda document: document["results"][0].pop("case"),
        lambda document: document["results"][0].update(verdict="fine"),
        lambda document: document["results"][0]["measured"].update(bits="0" * 63),
        lambda document: document["results"][0]["measured"]["from_cpu"].update(share=1.5),
    ],
)
def test_the_schema_of_the_gate_refuses_a_broken_one(gate_document, change):
    validate(gate_document)
    change(gate_document)
    with pytest.raises(jsonschema.ValidationError):
        validate(gate_document)
