"""Groups, dtypes, exclusion from decay and saving in the NumPy adapter."""

import threading

import numpy as np
import pytest

from optconform.adapters.errors import BuildFailed, NotSupported, StepFailed
from optconform.adapters.numpy_array import NumPyAdapter
from optconform.adapters.protocol import PLAIN, Layout, SparseRows
from optconform.adapters.targets import load_target, target_from_object

pytestmark = pytest.mark.numpy

LR = 0.05
ADAMW = "optconform.adapters.numpy_optimizers:AdamW"
GROUPS = Layout(groups=(("scale", "w"), ("b",)))


def build(target, parameters, layout=PLAIN, dtype="float64", **hyperparameters):
    found = load_target(target) if isinstance(target, str) else target_from_object(target, framework="numpy")
    return NumPyAdapter().build(found, {"lr": LR, **hyperparameters}, parameters, dtype=dtype, layout=layout)


def run(optimizer, gradients):
    for step in gradients:
        optimizer.step(step, LR)
    return optimizer.read_parameters()


def assert_identical(left, right):
    assert list(left) == list(right)
    for name in left:
        assert left[name].dtype == right[name].dtype
        np.testing.assert_array_equal(left[name], right[name])


class CommonNorm:
    """Divides by the norm of all gradients in its list, so that lists matter."""

    def step(self, params, grads, lr):
        norm = np.sqrt(sum(np.sum(grad**2) for grad in grads.values()))
        return {name: value - lr * grads[name] / norm for name, value in params.items()}


class Excludes:
    """Decay alone, with names to be left out and micro-steps to be counted."""

    def __init__(self, weight_decay=0.5, no_decay=(), accumulate=1):
        self._weight_decay = weight_decay
        self.no_decay = no_decay
        self.accumulate = accumulate

    def step(self, params, grads, lr):
        factors = {name: 1 - lr * self._weight_decay * (name not in self.no_decay) for name in params}
        return {name: factors[name] * value for name, value in params.items()}


class Counts:
    """Says itself what is to be saved, its count or nothing."""

    saves_the_count = True

    def __init__(self):
        self.count = 0

    def step(self, params, grads, lr):
        self.count += 1
        return {name: value - lr / self.count * grads[name] for name, value in params.items()}

    def state_dict(self):
        return {"count": self.count} if self.saves_the_count else {}

    def load_state_dict(self, state):
        self.count = state.get("count", 0)


class Forgets(Counts):
    saves_the_count = False


class Locked(Counts):
    """Holds what no file can hold, and says nothing of what is to be saved."""

    state_dict = None

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()


class Breaks(Counts):
    def load_state_dict(self, state):
        raise ValueError(f"unknown {state}")


def test_groups_are_optimizers_of_their_own(parameters, gradients):
    assert_identical(run(build(ADAMW, parameters, GROUPS), gradients), run(build(ADAMW, parameters), gradients))
    together, apart = (
        run(build(CommonNorm, parameters), gradients),
        run(build(CommonNorm, parameters, GROUPS), gradients),
    )
    alone = run(build(CommonNorm, {"b": parameters["b"]}), [{"b": step["b"]} for step in gradients])
    np.testing.assert_array_equal(apart["b"], alone["b"])
    assert np.all(apart["b"] != together["b"])


def test_state_of_all_groups_is_read(parameters, gradients):
    optimizer = build(ADAMW, parameters, GROUPS)
    run(optimizer, gradients[:1])
    assert set(optimizer.read_state()["m"]) == set(parameters)


def test_a_parameter_keeps_its_own_dtype(parameters, gradients):
    mixed = build(ADAMW, parameters, Layout(groups=GROUPS.groups, dtypes={"b": "float32"}))
    found = run(mixed, gradients)
    assert {name: value.dtype.name for name, value in found.items()} == {
        "w": "float64",
        "b": "float32",
        "scale": "float64",
    }
    assert mixed.gradients_left()["b"].dtype == np.float32
    np.testing.assert_array_equal(found["b"], run(build(ADAMW, parameters, dtype="float32"), gradients)["b"])


def test_exclusion_and_accumulation_are_options_of_the_target(parameters, gradients):
    optimizer = build(Excludes, parameters, Layout(undecayed=frozenset({"b"}), accumulate=2))
    assert optimizer.excluded == {"b"}
    assert optimizer.optimizer.accumulate == 2
    found = run(optimizer, gradients[:1])
    np.testing.assert_array_equal(found["b"], parameters["b"])
    assert np.all(found["w"] != parameters["w"])
    assert build(Excludes, parameters).excluded == set()


def test_target_without_the_options(parameters):
    with pytest.raises(NotSupported, match="AdamW has no option that leaves parameters out of weight decay"):
        build(ADAMW, parameters, Layout(undecayed=frozenset({"b"})))
    with pytest.raises(NotSupported, match="AdamW has no option that accumulates gradients"):
        build(ADAMW, parameters, Layout(accumulate=2))


def test_parameter_in_no_group(parameters):
    with pytest.raises(ValueError, match="in no group: 'b'"):
        build(ADAMW, parameters, Layout(groups=(("w", "scale"),)))


class KeepsTwo(Excludes):
    """Keeps what its own option says beside an attribute that bears another usual name."""

    wd = 0.5


@pytest.mark.parametrize("target", [ADAMW, Excludes, KeepsTwo])
def test_changed_decay_acts_as_if_built_in(target, parameters, gradients):
    changed = build(target, parameters, GROUPS)
    changed.set_weight_decay(0.25)
    built_so = build(target, parameters, GROUPS, weight_decay=0.25)
    assert_identical(run(changed, gradients), run(built_so, gradients))


def test_decay_that_is_nowhere_cannot_be_changed(parameters):
    with pytest.raises(NotSupported, match=r"has no attribute .*weight_decay.* that could be changed"):
        build(CommonNorm, parameters).set_weight_decay(0.25)


def test_decay_that_cannot_be_set(parameters):
    class Fixed(CommonNorm):
        weight_decay = property(lambda self: 0.5)

    with pytest.raises(StepFailed, match="setting weight_decay raised AttributeError"):
        build(Fixed, parameters).set_weight_decay(0.25)


def restored(target, parameters, gradients):
    first = build(target, parameters, GROUPS)
    middle = run(first, gradients[:3])
    saved = first.save()
    run(first, gradients[3:])
    ends = []
    for _ in range(2):
        second = build(target, middle, GROUPS)
        second.load(saved)
        ends.append(run(second, gradients[3:]))
    assert_identical(*ends)
    return ends[0]


@pytest.mark.parametrize("target", [ADAMW, Counts])
def test_saved_run_is_the_uninterrupted_run(target, parameters, gradients):
    assert_identical(restored(target, parameters, gradients), run(build(target, parameters), gradients))


def test_state_that_is_not_saved_is_lost(parameters, gradients):
    found = restored(Forgets, parameters, gradients)
    assert np.all(found["w"] != run(build(Forgets, parameters), gradients)["w"])


def test_snapshot_is_taken_after_loading_too(parameters, gradients):
    optimizer = build(ADAMW, parameters, GROUPS)
    run(optimizer, gradients[:2])
    optimizer.load(optimizer.save())
    middle = optimizer.snapshot()
    expected = run(optimizer, gradients[2:])
    optimizer.restore(middle)
    assert_identical(run(optimizer, gradients[2:]), expected)


def test_what_cannot_be_pickled_cannot_be_saved(parameters):
    with pytest.raises(NotSupported, match="cannot be saved: pickling it raised TypeError"):
        build(Locked, parameters).save()


def test_loading_that_raises(parameters):
    optimizer = build(Breaks, parameters)
    with pytest.raises(StepFailed, match=r"load_state_dict\(\) raised ValueError: unknown"):
        optimizer.load(optimizer.save())


def test_gradients_are_read_as_the_step_left_them(parameters, gradients):
    class Halves:
        def step(self, params, grads, lr):
            for grad in grads.values():
                if grad is not None:
                    grad *= 0.5
            return params

    for target, factor in ((ADAMW, 1.0), (Halves, 0.5)):
        optimizer = build(target, parameters, GROUPS)
        assert optimizer.gradients_left() == {}
        optimizer.step({**gradients[0], "b": None}, LR)
        left = optimizer.gradients_left()
        assert set(left) == {"w", "scale"}
        for name, value in left.items():
            np.testing.assert_array_equal(value, factor * gradients[0][name])


def test_sparse_gradients_are_not_numpys(parameters, gradients):
    rows = SparseRows(np.array([0]), np.ones((1, 3)), (2, 3))
    with pytest.raises(NotSupported, match="the gradient of 'w' is sparse"):
        build(ADAMW, parameters).step({**gradients[0], "w": rows}, LR)


def test_missing_option_is_named(parameters):
    class Demands(CommonNorm):
        def __init__(self, radius):
            self.radius = radius

    with pytest.raises(BuildFailed, match=r"without a default and not given: radius; use --set NAME=VALUE"):
        build(Demands, parameters)
