"""The built-in optimizers on the trace that was searched for, alone: nothing that is expected of them is left open."""

import pytest

from optconform.adapters.frameworks import FRAMEWORKS, missing_imports
from optconform.conformance.api import audit
from optconform.conformance.builtin_targets import BUILTIN_TARGETS
from optconform.conformance.planned import title_of


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, marks=getattr(pytest.mark, row.framework), id=title_of(row.spec, row.options, None))
        for row in BUILTIN_TARGETS
        if row.path is None  # compiled, the same rules take three times as long
    ],
)
def test_verdict_law_order_epsilon_and_momentum_are_those_expected(row):
    if missing_imports(FRAMEWORKS[row.framework]):
        pytest.skip(f"{row.framework} is not installed")
    result = audit(
        row.spec,
        framework=row.framework,
        expect=row.expected,
        traces=["separating"],
        metamorphic=False,
        **row.options,
    )
    assert result.verdict == row.expectation.verdict
    assert {check.outcome for check in result.checks} == {"passed"}
    assert "error" not in {finding.severity for finding in result.findings}
    alike = ("sgd_l2",) if row.expected == "equivalent" else ()
    assert result.match.cannot_tell == alike
