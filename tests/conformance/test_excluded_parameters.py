"""Parameters excluded from decay by group: left out of the verdict where they do not decay, a finding where they do."""

import pytest

from optconform.conformance.audit import audit
from optconform.conformance.expectation import parse_expectation

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch


def without_vectors(params, lr=1e-3, weight_decay=0.01):
    """Return AdamW with the vectors in a group of their own that has no decay."""
    vectors = [param for param in params if param.ndim < 2]
    matrices = [param for param in params if param.ndim >= 2]
    groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay)


class ReadsDefaults(torch.optim.SGD):
    """Decays every group by the weight decay it was constructed with."""

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    param.mul_(1.0 - group["lr"] * self.defaults["weight_decay"])
                    param.sub_(group["lr"] * torch.tanh(param.grad))


def deaf(params, lr=1e-3, weight_decay=0.01):
    vectors = [param for param in params if param.ndim < 2]
    matrices = [param for param in params if param.ndim >= 2]
    groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    return ReadsDefaults(groups, lr=lr, weight_decay=weight_decay)


def excluded_but_one(params, lr=1e-3, weight_decay=0.01):
    """Return SGD with L2 in which one group holds no parameter, so that all others are excluded."""
    spare = torch.zeros(1, dtype=params[0].dtype, requires_grad=True)
    groups = [{"params": [spare]}, {"params": list(params), "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=lr, weight_decay=weight_decay)


@pytest.fixture
def run(subject_of, small_trace):
    def audited(target):
        return audit(subject_of(target, "torch"), [small_trace], parse_expectation("decoupled"))

    return audited


def verdicts(result):
    return {parameter.name: str(parameter.verdict) for parameter in result.parameters}


def test_a_parameter_excluded_by_group_is_left_out(run):
    result = run(without_vectors)
    assert (result.verdict, int(result.exit_status)) == ("decoupled", 0)
    assert verdicts(result) == {"w": "decoupled", "b": "excluded"}
    assert {"OC109", "OC410"}.isdisjoint(finding.rule for finding in result.findings)


def test_one_that_decays_all_the_same_is_a_finding(run):
    result = run(deaf)
    finding = next(finding for finding in result.findings if finding.rule == "OC410")
    assert (str(finding.severity), finding.parameter, int(result.exit_status)) == ("error", "b", 1)
    assert (result.verdict, verdicts(result)) == ("decoupled", {"w": "decoupled", "b": "decoupled"})


def test_where_all_are_excluded_nothing_is_decided(run):
    result = run(excluded_but_one)
    assert (result.verdict, result.reason) == ("inconclusive", "every parameter is excluded from decay")
    assert verdicts(result) == {"w": "excluded", "b": "excluded"}
