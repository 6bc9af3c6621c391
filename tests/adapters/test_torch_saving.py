"""Saving through `state_dict`, sparse gradients, and gradients as a step leaves them, in the PyTorch adapter."""

import threading

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from optconform.adapters.errors import NotSupported, StepFailed  # noqa: E402
from optconform.adapters.protocol import PLAIN, Layout, SparseRows  # noqa: E402
from optconform.adapters.pytorch import TorchAdapter  # noqa: E402
from optconform.adapters.targets import load_target, target_from_object  # noqa: E402

pytestmark = pytest.mark.torch

LR = 0.05


def build(target, parameters, layout=PLAIN, dtype="float64", path=None, **hyperparameters):
    found = load_target(target) if isinstance(target, str) else target_from_object(target)
    return TorchAdapter().build(found, {"lr": LR, **hyperparameters}, parameters, dtype=dtype, path=path, layout=layout)


def run(optimizer, gradients):
    for step in gradients:
        optimizer.step(step, LR)
    return optimizer.read_parameters()


def assert_identical(left, right):
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name])


class Counts(torch.optim.Optimizer):
    """Counts its steps on itself, where `state_dict` does not look: a fault."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr})
        self.count = 0

    @torch.no_grad()
    def step(self, closure=None):
        self.count += 1
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.sub_(group["lr"] / self.count * parameter.grad)


class CountsInGroup(Counts):
    """The same, in its parameter group beside a function, which torch.load refuses by default."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, lr)
        self.param_groups[0]["scale"] = lambda count: 1 / count
        self.param_groups[0]["count"] = 0

    @torch.no_grad()
    def step(self, closure=None):
        group = self.param_groups[0]
        group["count"] += 1
        for parameter in group["params"]:
            parameter.sub_(group["lr"] * group["scale"](group["count"]) * parameter.grad)


class HandWritten:
    def __init__(self, params, lr=0.1):
        self.params = params
        self.lr = lr

    def step(self): ...


class Breaks(torch.optim.SGD):
    """Raises wherever it is saved or loaded."""

    def state_dict(self):
        if self.state:
            raise KeyError("exp_avg")
        return super().state_dict()

    def load_state_dict(self, state_dict):
        raise ValueError("wrong size")


def restored(target, parameters, gradients, **how):
    """Return where the interrupted run ends: saved after three steps, loaded into a new instance twice."""
    first = build(target, parameters, **how)
    run(first, gradients[:3])
    saved = first.save()
    run(first, gradients[3:])  # what is saved does not move with the optimizer
    ends = []
    for _ in range(2):
        second = build(target, run(build(target, parameters, **how), gradients[:3]), **how)
        second.load(saved)
        ends.append(run(second, gradients[3:]))
    assert_identical(*ends)
    return ends[0]


@pytest.mark.parametrize("path", [None, "foreach", "fused", "tensor-lr"])
@pytest.mark.parametrize("name", ["AdamW", "SGD"])
def test_saved_run_is_the_uninterrupted_run(name, path, parameters, gradients):
    layout = Layout(groups=(("scale", "w"), ("b",)), undecayed=frozenset({"w"}))
    how = {"layout": layout, "path": path, "weight_decay": 0.5, **({"momentum": 0.9} if name == "SGD" else {})}
    expected = run(build(f"torch.optim:{name}", parameters, **how), gradients)
    assert_identical(restored(f"torch.optim:{name}", parameters, gradients, **how), expected)


def test_saved_state_passes_through_bytes(parameters, gradients):
    optimizer = build("torch.optim:AdamW", parameters)
    run(optimizer, gradients[:1])
    assert isinstance(optimizer.save(), bytes)


def test_state_that_is_not_saved_is_lost(parameters, gradients):
    found = restored(Counts, parameters, gradients)
    assert np.all(found["w"] != run(build(Counts, parameters), gradients)["w"])


def test_what_bytes_cannot_hold_is_copied(parameters, gradients):
    assert not isinstance(build(CountsInGroup, parameters).save(), bytes)
    assert_identical(restored(CountsInGroup, parameters, gradients), run(build(CountsInGroup, parameters), gradients))


def test_optimizer_without_a_state_dict(parameters):
    with pytest.raises(NotSupported, match=r"has no state_dict\(\) and load_state_dict\(\)"):
        build(HandWritten, parameters).save()


def test_saving_and_loading_that_raises(parameters, gradients):
    optimizer = build(Breaks, parameters, momentum=0.9)
    saved = optimizer.save()
    with pytest.raises(StepFailed, match=r"load_state_dict\(\) raised ValueError: wrong size"):
        optimizer.load(saved)
    run(optimizer, gradients[:1])
    with pytest.raises(StepFailed, match=r"state_dict\(\) raised KeyError: 'exp_avg'"):
        optimizer.save()


def test_snapshot_of_what_cannot_be_copied(parameters, gradients):
    class Locked(torch.optim.SGD):
        def step(self, closure=None):
            super().step()
            for parameter in self.param_groups[0]["params"]:
                self.state[parameter]["lock"] = threading.Lock()

    optimizer = build(Locked, parameters)
    start = optimizer.snapshot()
    run(optimizer, gradients[:1])
    with pytest.raises(StepFailed, match="copying its state raised TypeError"):
        optimizer.snapshot()
    optimizer.restore(start)


def test_restoring_that_raises(parameters):
    class Group(dict):
        def __delitem__(self, key):
            raise RuntimeError("read only")

    class Guarded(torch.optim.SGD):
        def step(self, closure=None):
            self.param_groups[0]["late"] = 1

    optimizer = build(Guarded, parameters)
    optimizer.optimizer.param_groups[0] = Group(optimizer.optimizer.param_groups[0])
    start = optimizer.snapshot()
    optimizer.step(dict.fromkeys(parameters), LR)
    with pytest.raises(StepFailed, match="putting its state back raised RuntimeError: read only"):
        optimizer.restore(start)


ROWS = SparseRows(np.array([1]), np.array([[0.5, 0.25, -1.0]]), (2, 3))


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("name", ["SGD", "Adagrad"])
def test_sparse_gradient_moves_its_rows(name, dtype, parameters, gradients):
    sparse, dense = (build(f"torch.optim:{name}", parameters, dtype=dtype) for _ in range(2))
    found = run(sparse, [{**gradients[0], "w": ROWS}])
    assert_identical(found, run(dense, [{**gradients[0], "w": ROWS.dense()}]))
    assert np.all(found["w"][0] == parameters["w"][0].astype(found["w"].dtype))
    assert set(sparse.gradients_left()) == {"b", "scale"}


def test_sparse_gradient_that_is_refused(parameters, gradients):
    optimizer = build("torch.optim:AdamW", parameters)
    with pytest.raises(NotSupported, match="RuntimeError: Adam does not support sparse gradients"):
        optimizer.step({**gradients[0], "w": ROWS}, LR)


def test_sparse_gradient_must_fit(parameters, gradients):
    optimizer = build("torch.optim:SGD", parameters)
    with pytest.raises(ValueError, match=r"the gradient of 'w' has shape \(3, 3\)"):
        optimizer.step({**gradients[0], "w": SparseRows(ROWS.indices, ROWS.values, (3, 3))}, LR)
    with pytest.raises(RuntimeError, match="index"):
        optimizer.step({**gradients[0], "w": SparseRows(np.array([2]), ROWS.values, (2, 3))}, LR)


class Clips(torch.optim.SGD):
    """Changes the caller's gradients in place: a fault."""

    @torch.no_grad()
    def step(self, closure=None):
        for parameter in self.param_groups[0]["params"]:
            if parameter.grad is not None:
                parameter.grad.mul_(0.5)
        return super().step()


class Replaces(torch.optim.SGD):
    """Puts another tensor where the caller's gradient was: as bad."""

    @torch.no_grad()
    def step(self, closure=None):
        for parameter in self.param_groups[0]["params"]:
            if parameter.grad is not None:
                parameter.grad = parameter.grad * 0.5
        return super().step()


class Clears(torch.optim.SGD):
    """Takes the gradients away after use, as if `zero_grad` had been called."""

    def step(self, closure=None):
        super().step()
        self.zero_grad(set_to_none=True)


@pytest.mark.parametrize(
    ("target", "factor"), [("torch.optim:AdamW", 1.0), (Clears, 1.0), (Clips, 0.5), (Replaces, 0.5)]
)
def test_gradients_are_read_as_the_step_left_them(target, factor, parameters, gradients):
    optimizer = build(target, parameters, weight_decay=0.5)
    assert optimizer.gradients_left() == {}
    optimizer.step({**gradients[0], "b": None}, LR)
    left = optimizer.gradients_left()
    assert set(left) == {"w", "scale"}
    for name, value in left.items():
        np.testing.assert_array_equal(value, factor * gradients[0][name])
        value[...] = 7.0
    assert not np.any(optimizer.gradients_left()["w"] == 7.0)
