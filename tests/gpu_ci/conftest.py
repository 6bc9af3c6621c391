"""What the tests of the gate share: the command, targets with a planted fault, and runs that nothing was run for."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from optconform.__main__ import main
from optconform.conformance.measured import Measured, Place
from optconform.conformance.result import Check, Decision, Match, Result, Separation, Verdict
from optconform.gpu_ci.case import Case
from optconform.gpu_ci.gate_run import CaseResult, GateRun

CPU = Place("cpu", "cpu", "Processor 9000", {"machine": "x86_64", "system": "Linux"})
GPU = Place("gpu:1", "NVIDIA H200", "NVIDIA H200", {"driver": "570.1", "capability": "9.0"})


def case(target="AdamW", runtime="numpy", **more):
    fields = {"execution": "loop", "dtype": "float32", "trace": "synthetic:mixed", "expected": "decoupled"}
    return Case(runtime, f"package.module:{target}", **{**fields, **more})


def ran(
    of=None,
    *,
    ratio=0.4,
    rival_ratio=8900.0,
    verdict=Verdict.DECOUPLED,
    rule="adamw",
    findings=(),
    trace="cd" * 32,
    **measured,
):
    """A case that ran, with every figure that a baseline holds."""
    of = of or case()
    result = Result(
        of.spec,
        "numpy",
        verdict,
        of.expected,
        "why",
        dtype=of.dtype,
        path=of.execution,
        versions={"optconform": "0.1.0", "numpy": "2.4.6"},
        traces=({"name": of.trace, "sha256": trace},),
        match=Match(Decision.ACCEPT if rule else Decision.UNDECIDABLE, rule, bound_ratio=ratio),
        separation=Separation(ratio, None if rival_ratio is None else "adam_l2", rival_ratio),
        findings=tuple(findings),
        checks=(Check("trajectory", "passed" if rule else "skipped", "m", "OC301"),),
        rerun="optconform gate --case this",
    )
    figures = {"bits": "ab" * 32, "runs": 2, "reproducible": True, "flags": {"tf32": "off"}}
    return CaseResult(of, result, Measured(**{**figures, **measured}))


def skipped(of=None, reason="no such way here"):
    """A case that did not run although nothing is wrong."""
    plain = ran(of)
    result = replace(
        plain.result, verdict=Verdict.INCONCLUSIVE, match=Match(), separation=Separation(), checks=(), traces=()
    )
    return replace(plain, result=result, measured=Measured(), skipped=reason)


def run_of(*results, place=CPU, date="2026-11-22", **more):
    return GateRun(place, tuple(results), date=date, **more)


@pytest.fixture(scope="session")
def made():
    """Functions that make cases, results and runs."""
    return SimpleNamespace(case=case, ran=ran, skipped=skipped, run=run_of, CPU=CPU, GPU=GPU)


class Gate:
    """`optconform gate` in this process: a call returns the exit status, and what was printed is kept."""

    def __init__(self, capsys):
        self.capsys = capsys
        self.out = self.err = ""

    def __call__(self, *arguments):
        status = main(["gate", *map(str, arguments)])
        self.out, self.err = self.capsys.readouterr()
        return status

    def document(self, *arguments):
        """The exit status, and the JSON document."""
        status = self(*arguments, "--format", "json")
        return status, json.loads(self.out) if self.out else None

    def codes(self, *arguments):
        """The exit status, and for each case with findings their severity by code, those that only inform aside."""
        status, document = self.document(*arguments)
        found = {
            each["case"]: {row["rule"]: row["severity"] for row in each["findings"] if row["severity"] != "info"}
            for each in document["results"]
        }
        return status, {name: findings for name, findings in found.items() if findings}


@pytest.fixture
def gate(capsys, monkeypatch):
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    return Gate(capsys)


@pytest.fixture
def planted():
    """The arguments that run one target of `planted_optimizers.py` on one trace."""
    path = Path(__file__).with_name("planted_optimizers.py")

    def arguments(name):
        return f"{path}:{name}", "--framework", "numpy", "--rule", "adamw", "--trace", "synthetic:mixed"

    return arguments
