"""The reference over other libraries' arrays: the same rules, and the same numbers but for a library's own rounding."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from dataclasses import fields
from functools import partial

import numpy as np
import pytest

from optconform.reference import RULES, AdamOptions, AdamWOptions, AMSGrad, DecayOrder, Epsilon, SGDOptions, SGDWOptions
from optconform.reference.arithmetic import arithmetic
from optconform.reference.comparison import Beside, compare, distances
from optconform.reference.namespace import as_factor, is_numpy, namespace_of
from optconform.reference.rules import track, tracked_step

COUNT = 200
COMMON = {"lr": 0.01, "weight_decay": 0.1}
CASES = {
    "adamw": ("adamw", AdamWOptions(**COMMON, beta2=0.99), "float32"),
    "adamw hat": ("adamw", AdamWOptions(**COMMON, epsilon=Epsilon.HAT, order=DecayOrder.UPDATED), "bfloat16"),
    "adamw inside": ("adamw", AdamWOptions(**COMMON, epsilon=Epsilon.INSIDE, order=DecayOrder.PROXIMAL), "float32"),
    "adamw without epsilon": ("adamw", AdamWOptions(**COMMON, eps=0.0, amsgrad=AMSGrad.RAW), "float32"),
    "adam_l2": ("adam_l2", AdamOptions(**COMMON, amsgrad=AMSGrad.CORRECTED), "bfloat16"),
    "sgdw": ("sgdw", SGDWOptions(**COMMON, momentum=0.9, nesterov=True), "float32"),
    "sgd_l2": ("sgd_l2", SGDOptions(**COMMON, momentum=0.9, dampening=0.3), "bfloat16"),
}


class Library:
    """How the tests reach one library."""

    def __init__(self, name):
        module = pytest.importorskip(name)
        pytest.importorskip("array_api_compat")
        if name == "torch":
            self.of, self.entered = module.from_numpy, nullcontext
        else:
            self.of, self.entered = module.numpy.asarray, partial(module.enable_x64, True)


LIBRARIES = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("torch", "jax")]


@pytest.fixture
def library(request):
    found = Library(request.param)
    with found.entered():
        yield found


def drawn():
    """theta and gradients of three steps: many magnitudes, zeros, an overflow, and a NaN in the last."""
    rng = np.random.default_rng(7)
    theta = rng.standard_normal(COUNT) * 10.0 ** rng.uniform(-3, 1, COUNT)
    grads = rng.standard_normal((3, COUNT)) * 10.0 ** rng.uniform(-12, 4, (3, COUNT))
    theta[::8], grads[:, ::7], grads[:, 5], grads[2, 3] = 0.0, 0.0, 1e160, np.nan
    return theta, grads


def arrays(part):
    return {each.name: getattr(part, each.name) for each in fields(part) if hasattr(getattr(part, each.name), "shape")}


def moved(part, of):
    return type(part)(*(of(value) if is_numpy(value) else value for value in map(partial(getattr, part), names(part))))


def names(part):
    return [each.name for each in fields(part)]


@pytest.mark.parametrize("library", LIBRARIES, indirect=True)
@pytest.mark.parametrize("case", CASES)
def test_one_step_from_the_same_numbers(library, case):
    """The moments have the same bits: they take products and sums alone.

    A library may take a root to 1 ulp and divide by a number through its reciprocal: 1 ulp more in m/c1, v/c2, the
    root and the quotient, half of v's. The step is off by 4 ulp then, and so is theta_t in those of the largest term.
    A bound's terms are positive and pass at most 64 roundings more.
    """
    name, options, dtype = CASES[case]
    rule, allowed = RULES[name], arithmetic(dtype)
    theta, grads = drawn()
    tracked = track(theta, options)
    for grad in grads:
        beside = type(tracked)(moved(tracked.state, library.of), moved(tracked.error, library.of))
        expected, bound, after = tracked_step(rule, theta, grad, tracked, options, 0.5, allowed)
        found, found_bound, found_after = tracked_step(
            rule, library.of(theta), library.of(grad), beside, options, 0.5, allowed
        )
        assert type(found) is type(found_bound) is type(library.of(theta))
        with np.errstate(all="ignore"):
            largest = np.fmax(np.fmax(abs(theta), abs(expected)), abs(theta - expected))
            off = abs(np.asarray(found) - expected)
            np.testing.assert_array_equal(np.isnan(np.asarray(found)), np.isnan(expected))
            assert not (off > 5 * np.spacing(largest)).any()
        np.testing.assert_allclose(np.asarray(found_bound), bound, rtol=2.0**-46, atol=0.0)
        for what, value in arrays(after.state).items():
            exact = what != "v_max" or options.amsgrad is not AMSGrad.CORRECTED
            np.testing.assert_allclose(getattr(found_after.state, what), value, rtol=0.0 if exact else 2.0**-52, atol=0)
        for what, value in arrays(after.error).items():
            np.testing.assert_allclose(getattr(found_after.error, what), value, rtol=2.0**-46, atol=0.0)
        theta, tracked = expected, after


@pytest.mark.parametrize("library", LIBRARIES, indirect=True)
def test_distances(library):
    theta, grads = drawn()
    found, bound = theta + 1e-8 * grads[2], abs(theta) * 1e-7
    bound[:4] = np.inf, 0.0, np.nan, 1.0
    beside = Beside(theta * 1.5, bound * 2.0)
    given = (theta, found, theta, bound)
    for other in (None, beside):
        expected = distances(*given, other)
        there = other and Beside(library.of(other.theta), library.of(other.bound))
        for one, two in zip(distances(*map(library.of, given), there), expected, strict=True):
            np.testing.assert_array_equal(np.asarray(one), two)
    assert np.isinf(expected[0]).any() or np.isinf(distances(*given)[0]).any()


def test_a_nan_is_infinitely_far_unless_nothing_is_said_of_it():
    theta, bound = np.zeros(3), np.array([1.0, np.inf, 1.0])
    comparison = compare(theta, np.array([0.5, np.nan, np.nan]), theta, bound)
    assert (comparison.ratio, comparison.element, comparison.undecidable) == (np.inf, 2, 3)


@pytest.mark.parametrize("library", LIBRARIES, indirect=True)
def test_an_array_stays_in_its_library_and_precision(library):
    theta = library.of(np.array([0.5, 0.0]))
    mask = theta > 0.25
    assert type(0.1 * as_factor(mask)) is type(theta)
    assert np.asarray(0.1 * as_factor(mask)).tolist() == [0.1, 0.0]  # PyTorch makes 0.1 * mask float32
    assert namespace_of(theta) is not np


def test_numpy_is_its_own_namespace():
    for value in (np.ones(2), np.float64(1.0), 1.0, 2):
        assert namespace_of(value) is np
    mask = np.ones(2, dtype=bool)
    assert as_factor(mask) is mask


def test_what_says_its_namespace_is_believed():
    class Own:
        def __array_namespace__(self):
            return "a namespace"

    assert namespace_of(Own()) == "a namespace"


WITHOUT = """
import sys
sys.modules["array_api_compat"] = None
from optconform.reference.namespace import namespace_of
class Tensor: pass
try:
    namespace_of(Tensor())
except ModuleNotFoundError as error:
    print(error)
"""


def test_what_is_missing_is_named_with_the_command_that_installs_it(tmp_path):
    done = subprocess.run([sys.executable, "-c", WITHOUT], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "__main__.Tensor needs array-api-compat" in done.stdout
    assert "pip install 'optconform[device]'" in done.stdout


def test_what_is_no_array_is_refused():
    pytest.importorskip("array_api_compat")
    with pytest.raises(TypeError, match="not a supported array type"):
        namespace_of("theta")
