"""Metamorphic checks on Optax: they fire on planted faults, and on nothing of Optax's own."""

import pytest

pytest.importorskip("optax")

import optax

from optconform.conformance.api import make_subject
from optconform.conformance.metamorphic.running import metamorphic_checks
from optconform.conformance.planned import Depth
from optconform.conformance.result import Counting, Severity

pytestmark = pytest.mark.jax


def counts_in_python(learning_rate, weight_decay=0.0):
    """Count updates in Python, where jit counts once, when it is traced."""
    inner = optax.chain(optax.add_decayed_weights(weight_decay), optax.scale_by_learning_rate(learning_rate))
    counts = []

    def update(updates, state, params=None):
        counts.append(None)
        updates, state = inner.update(updates, state, params)
        return optax.tree.scale(1.0 / len(counts), updates), state

    return optax.GradientTransformation(inner.init, update)


def swallowing(learning_rate, weight_decay=0.0, **kwargs):
    return optax.adamw(learning_rate, weight_decay=weight_decay)


@pytest.fixture(scope="module")
def trace(make_trace):
    return make_trace({"w": (3, 4), "w2": (3, 4)})


def run(target, trace, *codes, paths=None):
    subject = make_subject(target, framework="jax", path=None if paths == "all" else paths)
    return metamorphic_checks(subject, [trace], Depth(Counting(select=codes), paths))


def test_a_count_in_python_is_lost_under_jit(trace):
    checks, findings = run(counts_in_python, trace, "OC408", paths="all")
    assert [(check.name, check.outcome) for check in checks] == [("paths[compiled]", "failed")]
    assert [finding.rule for finding in findings] == ["OC408"]
    assert findings[0].evidence["compared_with"] == "eager"


def test_compiled_is_compared_with_eager_when_the_audit_runs_on_it(trace):
    checks, findings = run("optax:adamw", trace, "OC408", paths="compiled")
    assert [(check.name, check.outcome) for check in checks] == [("paths[eager]", "passed")]
    assert findings == ()


def test_options_that_do_not_exist(trace):
    assert [finding.rule for finding in run(swallowing, trace, "OC413")[1]] == ["OC413"]


@pytest.mark.parametrize("name", ["adamw"])
def test_no_finding_on_optax(name, trace):
    checks, findings = run(f"optax:{name}", trace)
    assert [finding for finding in findings if finding.severity is not Severity.INFO] == []
    passed = {check.name for check in checks if check.outcome == "passed"}
    assert {"grouping[reversed]", "grouping[split]", "missing gradients"} <= passed
    assert "paths[compiled]" not in {check.name for check in checks}
