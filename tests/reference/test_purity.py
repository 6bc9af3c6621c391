"""Step functions are pure, and the reference needs nothing but NumPy."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest

from optconform.reference import RULES, AMSGrad
from optconform.reference.rules import FLOAT64, track, tracked_step

IMPORTED = """
import json, sys
import numpy, numpy.typing
packages = lambda: {name.partition(".")[0] for name in sys.modules}
before = packages()
import optconform.reference
print(json.dumps(sorted(packages() - before - set(sys.stdlib_module_names))))
"""


def test_the_reference_imports_numpy_alone(tmp_path):
    run = subprocess.run([sys.executable, "-c", IMPORTED], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == ["optconform"]


def arrays_of(value):
    """All arrays inside a state."""
    if isinstance(value, np.ndarray):
        return [value]
    return (
        [array for f in fields(value) for array in arrays_of(getattr(value, f.name))]
        if hasattr(value, "__slots__")
        else []
    )


def options_of(rule):
    extra = {"amsgrad": AMSGrad.RAW} if rule.family == "adam" else {"momentum": 0.9, "nesterov": True}
    return rule.options(lr=0.05, weight_decay=0.3, **extra)


@pytest.mark.parametrize("name", RULES)
def test_a_step_changes_nothing_that_was_passed_in(name):
    rule = RULES[name]
    options = options_of(rule)
    rng = np.random.default_rng(11)
    theta = rng.standard_normal((4, 3))
    tracked = track(theta, options)
    for _ in range(4):
        grad = rng.standard_normal((4, 3))
        given = [theta, grad, *arrays_of(tracked)]
        kept = copy.deepcopy(given)
        for array in given:
            array.flags.writeable = False
        after, threshold, following = tracked_step(rule, theta, grad, tracked, options, 0.5)
        threshold = FLOAT64.allowance * threshold
        for was, now in zip(kept, given, strict=True):
            np.testing.assert_array_equal(was, now)
        for new in (after, threshold, *arrays_of(following)):
            assert new.dtype == np.float64
            assert new.shape == (4, 3)
            assert not any(np.shares_memory(new, old) for old in given)
        again, _, _ = tracked_step(rule, theta, grad, tracked, options, 0.5)
        np.testing.assert_array_equal(after, again)
        theta, tracked = after, following


@pytest.mark.parametrize("name", RULES)
def test_coordinates_do_not_see_each_other(name):
    """A sample of the coordinates of a trace is a trace of its own."""
    rule = RULES[name]
    options = options_of(rule)
    rng = np.random.default_rng(12)
    whole, sample = rng.standard_normal(50), np.array([3, 3, 41, 7])
    part = whole[sample]
    of_whole, of_part = track(whole, options), track(part, options)
    for _ in range(5):
        grad = rng.standard_normal(50)
        whole, threshold, of_whole = tracked_step(rule, whole, grad, of_whole, options)
        part, threshold_of_part, of_part = tracked_step(rule, part, grad[sample], of_part, options)
        np.testing.assert_array_equal(part, whole[sample])
        np.testing.assert_array_equal(threshold_of_part, threshold[sample])


@pytest.mark.parametrize("name", RULES)
def test_scalar_and_empty_parameters(name):
    rule = RULES[name]
    options = options_of(rule)
    for shape in ((), (0,), (2, 0, 3)):
        theta = np.ones(shape)
        after, threshold, tracked = tracked_step(rule, theta, np.ones(shape), track(theta, options), options)
        threshold = FLOAT64.allowance * threshold
        assert np.shape(after) == np.shape(threshold) == shape
        assert tracked.state.step == 1
