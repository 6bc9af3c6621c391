"""Sound optimizers, however unusual, raise no error; and none of the findings that a fault planted in them raises."""

from collections import Counter

import pytest

from optconform.adapters.frameworks import FRAMEWORKS, missing_imports
from optconform.conformance.faults.judge import false_alarms, is_sound_form, run_sound
from optconform.conformance.faults.sound import SOUND
from optconform.conformance.faults.table import PLANTED


@pytest.mark.parametrize(
    "row", [pytest.param(row, marks=getattr(pytest.mark, row.framework), id=row.name) for row in SOUND]
)
def test_no_error_fires(row):
    absent = missing_imports(FRAMEWORKS[row.framework])
    if absent:
        pytest.skip(f"not installed: {', '.join(absent)}")
    result = run_sound(row)
    assert false_alarms(row.name, result) == []
    fired = {(finding.rule, finding.severity) for finding in result.findings}
    assert not {(fault.code, fault.severity) for fault in PLANTED if is_sound_form(row, fault)} & fired


def test_rows_are_distinct_and_enough():
    assert len({row.name for row in SOUND}) == len(SOUND) >= 60
    assert Counter(row.framework for row in SOUND).keys() == FRAMEWORKS.keys()
