"""Every planted fault is named, by the right code and by no other, and goes away with the fault."""

import functools
from collections import Counter
from dataclasses import replace

import pytest

from optconform.adapters.frameworks import FRAMEWORKS, missing_imports
from optconform.conformance.codes import CODES
from optconform.conformance.faults.departures import DEPARTURES, departure
from optconform.conformance.faults.judge import false_alarms, misjudged_fault, run_planted, run_without_fault
from optconform.conformance.faults.table import PLANTED
from optconform.conformance.result import ExitStatus, Severity

OUTSIDE_THE_COLLECTION = {
    "OC901": "about a target that cannot be built",
    "OC902": "about a target that raises while stepping",
    "OC905": "about traces",
}
"""Code -> why no optimizer is planted for it."""


def by_framework(rows):
    return [pytest.param(row, marks=getattr(pytest.mark, row.framework), id=row.name) for row in rows]


@pytest.fixture
def installed(row):
    absent = missing_imports(FRAMEWORKS[row.framework])
    if absent:
        pytest.skip(f"not installed: {', '.join(absent)}")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("row", by_framework(PLANTED))
def test_fault_is_named(row):
    assert misjudged_fault(row, run_planted(row)) == []


def as_sound(row):
    """What its audit without the fault depends on."""
    return row.target, row.sound_options, row.expectation, row.dtype


@functools.cache
def without_fault(name):
    """The audit of a row without its fault, shared by the rows that have it in common."""
    return run_without_fault(next(row for row in PLANTED if row.name == name))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("row", by_framework(row for row in PLANTED if row.sound_options is not None))
def test_fault_goes_away_without_it(row):
    same = next(other for other in PLANTED if as_sound(other) == as_sound(row))
    result = without_fault(same.name)
    assert false_alarms(row.target, result) == []
    assert (row.code, row.severity) not in {(finding.rule, finding.severity) for finding in result.findings}


def test_every_code_about_optimizers_is_planted():
    planted = {row.code for row in PLANTED}
    assert planted | OUTSIDE_THE_COLLECTION.keys() == CODES.keys()
    assert not planted & OUTSIDE_THE_COLLECTION.keys()


def test_every_departure_is_planted_in_every_framework():
    planted = Counter((row.framework, row.options.get("fault")) for row in PLANTED)
    assert not [(framework, fault) for framework in FRAMEWORKS for fault in DEPARTURES if not planted[framework, fault]]


def test_rows_are_distinct():
    assert len({row.name for row in PLANTED}) == len(PLANTED)
    assert min(Counter(row.framework for row in PLANTED).values()) >= 30


def test_unknown_fault_is_refused():
    with pytest.raises(ValueError, match=r"fault='decay' is not planted; expected one of coupled, .*, or None"):
        departure("decay")


def test_row_without_a_sound_form_says_so():
    row = next(row for row in PLANTED if row.sound_options is None)
    with pytest.raises(ValueError, match="has no sound form"):
        run_without_fault(row)


@pytest.mark.numpy
def test_the_judge_of_the_collection_can_fail():
    row = next(row for row in PLANTED if row.name == "numpy-adamw-stale_lr")
    result = run_planted(row)
    fired = {finding.rule for finding in result.findings}
    for code in CODES.keys() - fired:
        assert any(f"{code} did not fire" in line for line in misjudged_fault(replace(row, code=code), result)), code
        also = replace(row, also=row.also | {code})
        assert any(f"{code} did not fire" in line for line in misjudged_fault(also, result)), code
    (severity,) = misjudged_fault(replace(row, severity=Severity.WARNING), result)
    assert "OC203 did not fire as warning" in severity
    (besides,) = misjudged_fault(replace(row, also=frozenset()), result)
    assert "OC201 fired as error besides OC203" in besides
    (status,) = misjudged_fault(replace(row, exit_status=ExitStatus.AS_EXPECTED), result)
    assert "exit status 1, expected 0" in status
    assert len(false_alarms(row.name, result)) == 2
