"""The NumPy adapter, and the two optimizers that ship as targets."""

import numpy as np
import pytest

from optconform.adapters.errors import BuildFailed, StepFailed
from optconform.adapters.numpy_array import NumPyAdapter
from optconform.adapters.targets import load_target, target_from_object

pytestmark = pytest.mark.numpy


def build(target, parameters, dtype="float64", **hyperparameters):
    found = load_target(target) if isinstance(target, str) else target_from_object(target, framework="numpy")
    return NumPyAdapter().build(found, hyperparameters, parameters, dtype=dtype)


class InPlace:
    """Changes what it is given, keeps the very arrays it is given, and counts steps."""

    def __init__(self, lr=0.1, wd=0.25):
        self._lr = lr
        self.wd = wd
        self.shrink = 1 - wd / 4
        self.t = 0
        self.last = None

    def step(self, params, grads, lr):
        self._lr = lr
        self.t += 1
        for name, grad in grads.items():
            params[name] *= self.shrink
            params[name] -= lr / self.t * (grad if self.last is None else grad + 0.5 * self.last[name])
            grad *= 0.5
        self.last = grads
        return params


class Promotes:
    def step(self, params, grads, lr):
        return {name: np.asarray(value, np.float64) - lr / 3 for name, value in params.items()}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_in_place_optimizer_is_contained(parameters, gradients, dtype):
    optimizer = build(InPlace, parameters, dtype)
    optimizer.step(gradients[0], 0.05)
    middle = optimizer.snapshot()
    for step in gradients[1:]:
        optimizer.step(step, 0.05)
    expected = optimizer.read_parameters()
    optimizer.restore(middle)
    other = build(InPlace, parameters, dtype)
    other.restore(middle)
    for step in gradients[1:]:
        optimizer.step(step, 0.05)
        other.step(step, 0.05)
    for name, value in expected.items():
        np.testing.assert_array_equal(optimizer.read_parameters()[name], value)
        np.testing.assert_array_equal(other.read_parameters()[name], value)


def test_gradients_changed_in_place_are_not_the_callers(parameters, gradients):
    fed = {name: value.copy() for name, value in gradients[0].items()}
    build(InPlace, parameters).step(fed, 0.05)
    for name, value in gradients[0].items():
        np.testing.assert_array_equal(fed[name], value)


def test_restoring_keeps_what_was_derived_from_the_instances_own_decay(parameters, gradients):
    decaying, plain = build(InPlace, parameters, weight_decay=0.25), build(InPlace, parameters, weight_decay=0.0)
    decaying.step(gradients[0], 0.05)
    plain.restore(decaying.snapshot())
    assert plain.optimizer.t == 1
    assert (plain.optimizer.wd, plain.optimizer.shrink) == (0.0, 1.0)


def test_held_values_come_from_the_object(parameters):
    held = build(InPlace, parameters, lr=0.05, weight_decay=0.125).held
    assert held == {"lr": 0.05, "weight_decay": 0.125}


def test_learning_rate_needs_no_constructor_option(parameters):
    assert build("optconform.adapters.numpy_optimizers:AdamW", parameters, lr=0.05).held["lr"] == 0.05


def test_result_is_rounded_to_the_working_dtype(parameters, gradients):
    optimizer = build(Promotes, parameters, "float32")
    optimizer.step(gradients[0], 0.05)
    assert {value.dtype.name for value in optimizer.read_parameters().values()} == {"float32"}


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, r"step\(\) returned NoneType, but should return the new parameters"),
        ({"w": 0}, r"returned the names \['w'\], but should return"),
        (
            {"w": np.zeros(3), "b": np.zeros(2), "scale": 0.0},
            r"returned 'w' with shape \(3,\), but it should stay \(2, 3\)",
        ),
    ],
)
def test_result_that_is_not_the_parameters(parameters, gradients, returned, message):
    class Wrong:
        def step(self, params, grads, lr):
            return returned

    with pytest.raises(StepFailed, match=message):
        build(Wrong, parameters).step(gradients[0], 0.05)


def test_result_that_is_not_numeric(parameters, gradients):
    class Text:
        def step(self, params, grads, lr):
            return {**params, "b": "two"}

    with pytest.raises(StepFailed, match="'b'"):
        build(Text, parameters).step(gradients[0], 0.05)


def test_constructor_that_raises(parameters):
    def factory(weight_decay=0.0):
        raise ValueError(f"no \x07{weight_decay}")

    with pytest.raises(BuildFailed, match=r"the constructor raised ValueError: no \\x070\.5") as caught:
        build(factory, parameters, weight_decay=0.5)
    assert isinstance(caught.value.__cause__, ValueError)


def test_factory_that_returns_no_optimizer(parameters):
    with pytest.raises(BuildFailed, match=r"returned dict, which has no step\(params, grads, lr\)"):
        build(dict, parameters)


def test_shipped_adamw_by_hand():
    """beta1 = beta2 = 0.5, gradients 2 and then -1, worked on paper (eps so small that it cannot show)."""
    optimizer = build(
        "optconform.adapters.numpy_optimizers:AdamW",
        {"w": np.array([4.0])},
        weight_decay=0.5,
        beta1=0.5,
        beta2=0.5,
        eps=1e-30,
    )
    optimizer.step({"w": np.array([2.0])}, 0.1)  # mhat 2, vhat 4: 4 - 0.1*(1 + 0.5*4)
    np.testing.assert_allclose(optimizer.read_parameters()["w"], [3.7], rtol=1e-15)
    optimizer.step({"w": np.array([-1.0])}, 0.1)  # m = (1 - 1)/2 = 0: only the decay is left
    np.testing.assert_allclose(optimizer.read_parameters()["w"], [3.7 * 0.95], rtol=1e-15)
    np.testing.assert_allclose(optimizer.read_state()["v"]["w"], [1.5], rtol=1e-15)


def test_shipped_sgdw_by_hand():
    """momentum 0.5, gradients 2 and then -1: buffers 2 and 0; the decay sees the old parameter."""
    optimizer = build(
        "optconform.adapters.numpy_optimizers:SGDW", {"w": np.array([4.0])}, weight_decay=0.5, momentum=0.5
    )
    optimizer.step({"w": np.array([2.0])}, 0.1)  # 4 - 0.2 - 0.2
    np.testing.assert_allclose(optimizer.read_parameters()["w"], [3.6], rtol=1e-15)
    optimizer.step({"w": np.array([-1.0])}, 0.1)
    np.testing.assert_allclose(optimizer.read_parameters()["w"], [3.6 * 0.95], rtol=1e-15)
