"""Every planted fault is named, by the right code and by no other, and goes away with the fault."""

from collections import Counter
from dataclasses import replace

import pytest

from optconform.adapters.frameworks import FRAMEWORKS, missing_imports
from optconform.conformance.codes import CODES
from optconform.conformance.faults.departures import DEPARTURES, departure
from optconform.conformance.faults.families import FAMILIES
from optconform.conformance.faults.judge import (
    false_alarms,
    is_sound_form,
    misjudged_fault,
    run_planted,
    run_without_fault,
)
from optconform.conformance.faults.sound import SOUND
from optconform.conformance.faults.table import PLANTED
from optconform.conformance.metamorphic import running
from optconform.conformance.metamorphic.table import CHECKS
from optconform.conformance.result import ExitStatus, Severity

SOUND_DEPARTURES = {"cautious"}
OUT_OF_SCOPE = {"OC501", "OC502", "OC503"}
"""Codes of the gate, which no audit fires: their faults are planted in its runs and baselines, in tests/gpu_ci."""


def by_framework(rows):
    return [pytest.param(row, marks=getattr(pytest.mark, row.framework), id=row.name) for row in rows]


def first_of(rows, key):
    """The first row of each value of `key`."""
    return list({key(row): row for row in reversed(rows)}.values())[::-1]


@pytest.fixture
def installed(row):
    absent = missing_imports(FRAMEWORKS[row.framework])
    if absent:
        pytest.skip(f"not installed: {', '.join(absent)}")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("row", by_framework(PLANTED))
def test_fault_is_named(row):
    assert misjudged_fault(row, run_planted(row)) == []


ALONE = [
    row for row in PLANTED if row.sound_options is not None and not any(is_sound_form(sound, row) for sound in SOUND)
]
"""Faults whose sound form is no row of `SOUND`, where it is run."""


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("row", by_framework(ALONE))
def test_fault_goes_away_without_it(row):
    result = run_without_fault(row)
    assert false_alarms(row.target, result) == []
    assert (row.code, row.severity) not in {(finding.rule, finding.severity) for finding in result.findings}


def test_every_code_is_planted():
    assert {row.code for row in PLANTED} == CODES.keys() - OUT_OF_SCOPE


def test_every_departure_is_planted_and_every_rule_departed_from():
    planted = Counter(row.options.get("fault") for row in PLANTED)
    assert DEPARTURES.keys() - planted.keys() == SOUND_DEPARTURES
    assert {family.name for family in FAMILIES} == {"adamw", "sgdw", "lion", "rmsprop", "trust"}
    for framework in FRAMEWORKS:
        names = [row.name for row in PLANTED if row.framework == framework]
        assert all(any(f"{framework}-{family.name}-" in name for name in names) for family in FAMILIES)


def test_rows_are_distinct_and_enough():
    assert len({row.name for row in PLANTED}) == len(PLANTED) >= 80
    assert min(Counter(row.framework for row in PLANTED).values()) >= 35


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


PLANTED_FOR_A_CHECK = first_of(
    [row for row in PLANTED if row.code in {check.code for check in CHECKS} and row.timeout is None],
    lambda row: row.code,
)


def test_every_metamorphic_check_has_a_fault():
    assert {row.code for row in PLANTED_FOR_A_CHECK} == {check.code for check in CHECKS}


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("row", by_framework(row for row in PLANTED_FOR_A_CHECK if row.code != "OC409"))
def test_without_its_check_a_fault_is_missed(row, monkeypatch):
    """OC409 is left out: the paired runs find NaN too."""
    dumb = tuple(replace(check, run=lambda setting: iter(())) if check.code == row.code else check for check in CHECKS)
    monkeypatch.setattr(running, "CHECKS", dumb)
    assert f"{row.name}: {row.code} did not fire" in "".join(misjudged_fault(row, run_planted(row)))
