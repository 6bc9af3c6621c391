"""JSON documents of runs: real audits of optimizers written in NumPy, and copies of them as the gate writes them."""

import copy
import json
from dataclasses import replace

import pytest

from optconform.conformance.audit import audit
from optconform.conformance.check_report import CheckReport
from optconform.conformance.expectation import parse_expectation
from optconform.conformance.reports.document import read_document

_ADAMW, _SGDW = (f"optconform.adapters.numpy_optimizers:{name}" for name in ("AdamW", "SGDW"))

_MISMATCH = {
    "rule": "OC501",
    "name": "device-mismatch",
    "severity": "error",
    "message": "outside the bound of adamw on gpu:0",
    "parameter": None,
    "evidence": {
        "step": 3,
        "parameter": "w",
        "element": [2, 1],
        "found": 0.5,
        "expected": 0.25,
        "bound": 1e-07,
        "factor": 2500000.0,
    },
    "rerun": "optconform gate --case 'torch/AdamW/*'",
}


@pytest.fixture(scope="session")
def _texts(subject_of, zoo, make_trace):
    """Return the documents as text: whoever reads one gets a copy of its own."""
    trace = make_trace(multipliers=(1.0, 0.5, 0.25, 1.0, 0.125, 0.75))

    class Refusing(zoo.Plain):
        def __init__(self, weight_decay=0.0):
            raise ValueError("no such luck")

    def run(target, expect="decoupled", trace=trace):
        return audit(subject_of(target), [trace], parse_expectation(expect))

    results = (run(_ADAMW), run(_SGDW, "l2"), run(Refusing), run(_ADAMW, trace=make_trace(n_steps=0)))
    check = CheckReport(results, ("torch",)).to_json()
    return {"check": json.dumps(check), "gate": json.dumps(_gate_of(check))}


def _gate_of(check):
    """Return what the gate would write: a case that is outside the bound, one that was skipped, one as expected."""

    def case(name, runs=2, skipped="", **measured):
        result = copy.deepcopy(check["results"][0])
        figures = {"bits": "0" * 64 if runs else "", "runs": runs, "reproducible": None, "from_cpu": None}
        return result | {"case": name, "skipped": skipped, "measured": figures | measured, "device": "gpu:0"}

    apart = {"largest": 1234, "median": 0.0, "share": 0.01, "steps": 6, "against": "loop on cpu"}
    good = case("torch/AdamW/default/float32/loop/synthetic:mixed", reproducible=True, from_cpu=apart)
    bad = case("torch/AdamW/default/float32/fused/synthetic:mixed", reproducible=False)
    bad["findings"] = [_MISMATCH]
    bad["separation"] = {"own_ratio": None, "nearest_rival": None, "rival_ratio": None}
    skipped = case("jax/adamw/default/float32/scan/synthetic:mixed", runs=0, skipped="this version has no scan")
    skipped |= {"verdict": "inconclusive", "findings": [], "output": ""}
    skipped["checks"] = {"planned": 0, "passed": 0, "failed": 0, "skipped": 0, "details": []}
    return {
        "schema": "optconform/gate/1",
        "exit_status": 1,
        "place": {"device": "gpu:0", "device_class": "Card 9", "name": "Card 9", "details": {"driver": "1.2.3"}},
        "date": "2026-11-22",
        "baseline": {"file": "card.json", "sentence": "compared with the 3 cases of card.json"},
        "counts": {"cases": 3, "ran": 2, "skipped": 1},
        "left_out": ["not run: keras-jax, which is not installed"],
        "results": [good, bad, skipped],
    }


@pytest.fixture
def check_document(_texts):
    """AdamW as expected, SGDW not, one that cannot be built, one that cannot be told; torch was not there."""
    return json.loads(_texts["check"])


@pytest.fixture
def gate_document(_texts):
    """One case as expected, one outside the bound, one skipped."""
    return json.loads(_texts["gate"])


@pytest.fixture
def hostile():
    """Text that ends or begins something in every format there is, and characters that some cannot hold."""
    return "x</script><!--]]>|`~~~```\"'&amp;<b>_*$\n\r\t\x00\x1b[31m\u2028\u202e\ufffe\ud800\U0001f600%0A::error::"


@pytest.fixture
def hostile_document(gate_document, hostile):
    """Such text wherever a document holds text that is shown."""
    bad = gate_document["results"][1]
    bad["case"] = bad["target"] = bad["reason"] = hostile
    bad["output"] = f"{hostile}\n```\n</pre>::error::\n"
    bad["rerun"] = f"optconform {hostile}"
    bad["versions"] = {hostile: hostile}
    bad["hyperparameters"] = {hostile: hostile}
    finding = bad["findings"][0]
    finding["message"], finding["rerun"] = hostile, hostile
    finding["evidence"] |= {"parameter": hostile, "element": hostile, "found": hostile, "step": hostile}
    bad["checks"]["details"][0] |= {"outcome": "failed", "name": hostile, "message": hostile}
    gate_document["results"][2]["skipped"] = hostile
    gate_document["baseline"]["sentence"] = hostile
    gate_document["left_out"] = [hostile, hostile]
    gate_document["place"]["name"] = hostile
    return gate_document


@pytest.fixture
def many():
    """Return a function that repeats the results of a run under names of their own."""

    def repeat(document, times):
        run = read_document(document)
        repeated = (replace(each, title=f"{each.title}/{number}") for number in range(times) for each in run.entries)
        return replace(run, entries=tuple(repeated))

    return repeat
