"""Sound optimizers, however unusual, raise no error."""

from collections import Counter

import pytest

from optconform.adapters.frameworks import FRAMEWORKS, missing_imports
from optconform.conformance.faults.judge import false_alarms, run_sound
from optconform.conformance.faults.sound import SOUND


@pytest.mark.parametrize(
    "row", [pytest.param(row, marks=getattr(pytest.mark, row.framework), id=row.name) for row in SOUND]
)
def test_no_error_fires(row):
    absent = missing_imports(FRAMEWORKS[row.framework])
    if absent:
        pytest.skip(f"not installed: {', '.join(absent)}")
    assert false_alarms(row.name, run_sound(row)) == []


def test_rows_are_distinct():
    assert len({row.name for row in SOUND}) == len(SOUND)
    assert Counter(row.framework for row in SOUND).keys() == FRAMEWORKS.keys()
