"""Workers of PyTorch: forked from one process that has imported it, and has no thread besides its own."""

import pytest

pytest.importorskip("torch")

from optconform.conformance.expectation import parse_expectation
from optconform.conformance.planned import PlannedAudit
from optconform.conformance.workers.limits import Limits
from optconform.conformance.workers.pool import run_isolated
from optconform.conformance.workers.processes import can_fork

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(not can_fork(), reason="processes that are forked and followed, which takes Linux"),
]

SOURCE = """
import os
import sys
already = "torch" in sys.modules
import torch

class Speaks(torch.optim.SGD):
    def __init__(self, params, lr=1e-3, weight_decay=0.0):
        print(already, os.getppid())
        super().__init__(params, lr=lr, weight_decay=weight_decay)

class Big(Speaks):
    def __init__(self, params, **options):
        self.big = torch.empty(100 * 10**9 // 4)
        super().__init__(params, **options)

class Dtype(Speaks):
    def step(self, closure=None):
        torch.set_default_dtype(torch.float64)
        super().step()
"""


def test_they_share_an_import_and_nothing_else(tmp_path):
    (tmp_path / "mine.py").write_text(SOURCE)
    plan = [
        PlannedAudit(f"{tmp_path / 'mine.py'}:{name}", parse_expectation("any"))
        for name in ("Speaks", "Big", "Dtype", "Speaks")
    ]
    results = dict(run_isolated(plan, ["synthetic:small"], limits=Limits(memory=8.0)))
    before, big, dtype, after = (results[index] for index in range(4))
    assert {str(each.verdict) for each in (before, dtype, after)} == {"equivalent"}
    assert [finding.rule for finding in big.findings] == ["OC901"]
    assert "can't allocate memory: you tried to allocate 100000000000 bytes" in big.reason
    (changed,) = [finding for finding in dtype.findings if finding.rule == "OC907"]
    assert "torch default dtype: torch.float32 -> torch.float64" in changed.message
    assert "OC907" not in {finding.rule for finding in (*before.findings, *after.findings)}
    said = {line for each in (before, after) for line in each.output.splitlines()}
    assert len(said) == 1
    assert said.pop().startswith("True ")
