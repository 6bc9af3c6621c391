"""Metamorphic checks on Keras: they fire on planted faults, and on nothing of Keras's own."""

import pytest

pytest.importorskip("tensorflow")

from optconform.adapters.keras_tf import keras
from optconform.conformance.api import make_subject
from optconform.conformance.metamorphic.running import metamorphic_checks
from optconform.conformance.planned import Depth
from optconform.conformance.result import Counting, Severity

pytestmark = pytest.mark.tensorflow


class SGDW(keras.optimizers.SGD):
    """Plain gradient descent with Keras's decoupled decay. Subclasses change one thing."""

    def __init__(self, learning_rate=0.01, weight_decay=None, name="sgdw"):
        super().__init__(learning_rate=learning_rate, weight_decay=weight_decay, name=name)


class CountsInPython(SGDW):
    """Counts in Python, where a `tf.function` counts once, when it is traced."""

    count = 0

    def update_step(self, gradient, variable, learning_rate):
        self.count += 1
        super().update_step(gradient, variable, learning_rate / self.count)


class Global(keras.optimizers.SGD):
    """Keras's own clipping by the norm of all gradients."""

    def __init__(self, learning_rate=0.01, weight_decay=None):
        super().__init__(learning_rate=learning_rate, weight_decay=weight_decay, global_clipnorm=1.0)


@pytest.fixture(scope="module")
def trace(make_trace):
    return make_trace()


def run(target, trace, *codes):
    subject = make_subject(target, framework="tensorflow")
    return metamorphic_checks(subject, [trace], Depth(Counting(select=codes)))


def test_a_count_in_python_depends_on_the_order_and_is_lost_in_a_function(trace):
    checks, findings = run(CountsInPython, trace, "OC402", "OC408")
    assert {check.name for check in checks if check.outcome == "failed"} >= {"grouping[reversed]", "paths[function]"}
    assert {finding.rule for finding in findings} == {"OC402", "OC408"}


def test_global_clipping_is_no_grouping_fault(trace):
    checks, findings = run(Global, trace, "OC402")
    outcomes = {check.name: check.outcome for check in checks}
    assert outcomes == {"grouping[reversed]": "passed", "grouping[split]": "skipped", "grouping[dtypes]": "skipped"}
    assert findings == ()


@pytest.mark.parametrize("name", ["AdamW", "SGD", "Lion"])
def test_no_finding_on_keras(name, trace):
    checks, findings = run(f"keras.optimizers:{name}", trace)
    assert [finding for finding in findings if finding.severity is not Severity.INFO] == []
    passed = {check.name for check in checks if check.outcome == "passed"}
    assert {"grouping[reversed]", "missing gradients", "paths[function]", "options[unknown]"} <= passed
    assert "paths[compiled]" not in {check.name for check in checks}
