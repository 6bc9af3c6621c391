"""The PyTorch adapter against plain use of torch, and optimizers as people write them."""

import threading

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from optconform.adapters.errors import BuildFailed, NotReplayable, StepFailed, UnknownOption  # noqa: E402
from optconform.adapters.pytorch import TorchAdapter  # noqa: E402
from optconform.adapters.targets import load_target, target_from_object  # noqa: E402

pytestmark = pytest.mark.torch


def build(target, parameters, dtype="float64", path=None, **hyperparameters):
    found = load_target(target) if isinstance(target, str) else target_from_object(target)
    return TorchAdapter().build(found, hyperparameters, parameters, dtype=dtype, path=path)


def run(optimizer, gradients, lr=0.05):
    for step in gradients:
        optimizer.step(step, lr)
    return optimizer.read_parameters()


def assert_identical(left, right):
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name])


class HandWritten:
    """Not a torch.optim.Optimizer at all: options, counter and buffers on the object."""

    def __init__(self, params, lr=0.1, weight_decay=0.0):
        self.params = list(params)
        self.lr = lr
        self.weight_decay = weight_decay
        self.factor = 1 - lr * weight_decay
        self.t = 0
        self.buffers = {parameter: torch.zeros_like(parameter) for parameter in self.params}
        self.lock = threading.Lock()

    @torch.no_grad()
    def step(self):
        self.t += 1
        for parameter in self.params:
            if parameter.grad is None:
                continue
            buffer = self.buffers[parameter]
            buffer.mul_(0.9).add_(parameter.grad)
            parameter.mul_(self.factor).sub_(self.lr * buffer / self.t)


class CountsInGroup(torch.optim.Optimizer):
    """Keeps its step count in the parameter group, as schedule-free optimizers do, and a list on itself."""

    def __init__(self, params, lr=0.1, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "k": 0})
        self.history = []

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            group["k"] += 1
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self.history.append(float(parameter.grad.sum()))
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.sub_(group["lr"] * parameter.grad / group["k"] * (1 + 0.01 * len(self.history)))


@pytest.mark.parametrize("name", ["AdamW", "Adam", "SGD", "RMSprop", "NAdam", "RAdam", "Adagrad", "Adamax", "ASGD"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_same_bits_as_plain_torch(name, dtype, parameters, gradients):
    tensors = {
        key: torch.nn.Parameter(torch.tensor(value, dtype=getattr(torch, dtype))) for key, value in parameters.items()
    }
    plain = getattr(torch.optim, name)(tensors.values(), lr=0.05, weight_decay=0.25)
    for count, step in enumerate(gradients):
        for key, tensor in tensors.items():
            tensor.grad = torch.tensor(step[key], dtype=tensor.dtype)
        plain.param_groups[0]["lr"] = 0.05 / (count + 1)
        plain.step()
    optimizer = build(f"torch.optim:{name}", parameters, dtype, lr=0.05, weight_decay=0.25)
    for count, step in enumerate(gradients):
        optimizer.step(step, 0.05 / (count + 1))
    for key, value in optimizer.read_parameters().items():
        np.testing.assert_array_equal(value.astype(np.float64), tensors[key].detach().double().numpy())


def test_held_values_come_from_the_parameter_group(parameters):
    held = build("torch.optim:AdamW", parameters, lr=0.05, weight_decay=0.5, beta2=0.99, foreach=False).held
    assert held["beta1"] == 0.9
    assert held["beta2"] == 0.99
    assert held["foreach"] is False
    assert "betas" not in held
    assert "params" not in held


def test_amsgrad_state_bears_its_canonical_name(parameters, gradients):
    optimizer = build("torch.optim:AdamW", parameters, lr=0.05, amsgrad=True)
    run(optimizer, gradients[:1])
    assert set(optimizer.read_state()) == {"m", "v", "v_max", "step"}


@pytest.mark.parametrize(
    ("path", "held"), [("loop", (False, False)), ("foreach", (True, None)), ("fused", (None, True))]
)
def test_paths_are_constructor_options(parameters, path, held):
    optimizer = build("torch.optim:AdamW", parameters, path=path, lr=0.05)
    assert (optimizer.held["foreach"], optimizer.held["fused"]) == held


def test_path_that_the_target_does_not_have(parameters):
    with pytest.raises(UnknownOption, match="no option 'foreach'"):
        build(CountsInGroup, parameters, path="foreach")
    build(CountsInGroup, parameters, path="loop")


def test_learning_rate_tensor_is_filled(parameters, gradients):
    by_number = build("torch.optim:AdamW", parameters, lr=0.05, foreach=False)
    by_tensor = build("torch.optim:AdamW", parameters, lr=torch.tensor(0.3, dtype=torch.float64), foreach=False)
    held = by_tensor.optimizer.param_groups[0]["lr"]
    found = run(by_tensor, gradients, 0.02)
    assert by_tensor.optimizer.param_groups[0]["lr"] is held
    for name, value in run(by_number, gradients, 0.02).items():
        np.testing.assert_allclose(found[name], value, rtol=1e-14)


@pytest.mark.parametrize(
    ("rate", "dtype", "declared"),
    [
        (0.3, "float64", []),
        (torch.tensor(0.3, dtype=torch.float64), "float64", []),
        (torch.tensor(0.3, dtype=torch.float64), "float32", []),
        (torch.tensor(0.3, dtype=torch.float32), "float32", []),
        (torch.tensor(0.3, dtype=torch.float32), "float64", [("lr", "float32", "everywhere")]),
        (torch.tensor(0.3, dtype=torch.bfloat16), "float32", [("lr", "bfloat16", "everywhere")]),
    ],
)
def test_learning_rate_tensor_rounds_every_rate(parameters, rate, dtype, declared):
    built = build("torch.optim:SGD", parameters, dtype=dtype, lr=rate)
    assert [(cast.hyperparameter, cast.dtype, cast.use) for cast in built.casts] == declared


def test_gradients_lie_in_one_buffer(parameters, gradients):
    seen = []

    class Looks(torch.optim.SGD):
        def step(self, closure=None):
            seen.extend(p.grad for group in self.param_groups for p in group["params"])
            return super().step(closure)

    run(build(Looks, parameters, lr=0.05), gradients[:1])
    assert len({gradient.untyped_storage().data_ptr() for gradient in seen}) == 1
    assert [tuple(gradient.shape) for gradient in seen] == [(2, 3), (2,), ()]


@pytest.mark.parametrize("target", [HandWritten, CountsInGroup])
def test_state_kept_elsewhere_is_saved_too(target, parameters, gradients):
    optimizer = build(target, parameters, lr=0.05, weight_decay=0.5)
    run(optimizer, gradients[:2])
    middle = optimizer.snapshot()
    expected = run(optimizer, gradients[2:])
    for _ in range(2):
        optimizer.restore(middle)
        assert_identical(run(optimizer, gradients[2:]), expected)
    other = build(target, {name: np.zeros_like(value) for name, value in parameters.items()}, lr=0.05, weight_decay=0.5)
    other.restore(middle)
    assert_identical(run(other, gradients[2:]), expected)


@pytest.mark.parametrize("target", [HandWritten, CountsInGroup])
def test_restoring_keeps_the_instances_own_decay(target, parameters, gradients):
    decaying = build(target, parameters, lr=0.05, weight_decay=0.5)
    plain = build(target, parameters, lr=0.05, weight_decay=0.0)
    run(decaying, gradients[:3])
    theta = decaying.read_parameters()
    plain.restore(decaying.snapshot())
    with_decay, without = run(decaying, gradients[3:4]), run(plain, gradients[3:4])
    for name, value in theta.items():
        np.testing.assert_allclose(with_decay[name] - without[name], -0.025 * value, rtol=1e-12)


def test_hand_written_optimizer_follows_the_learning_rate(parameters, gradients):
    optimizer = build(HandWritten, parameters, lr=0.05)
    assert optimizer.held["lr"] == 0.05
    assert_identical(run(optimizer, gradients[:1], 0.0), parameters)


def test_factory_that_hides_the_learning_rate_still_follows_it(parameters, gradients):
    def factory(params, weight_decay=0.5):
        return torch.optim.AdamW(params, lr=7.0, weight_decay=weight_decay)

    hidden = build(factory, parameters, lr=0.05)
    assert hidden.held["beta2"] == 0.999
    assert_identical(
        run(hidden, gradients), run(build("torch.optim:AdamW", parameters, lr=0.05, weight_decay=0.5), gradients)
    )


def test_learning_rate_that_is_nowhere_is_refused_with_the_remedy(parameters):
    class Own(torch.optim.Optimizer):
        def __init__(self, params, rate=0.1):
            super().__init__(params, {"rate": rate})

    with pytest.raises(UnknownOption, match=r"keeps no learning rate in its parameter groups.*--map lr=NAME"):
        build(Own, parameters, lr=0.05)


def test_restoring_forgets_what_appeared_later(parameters, gradients):
    class Grows(CountsInGroup):
        def step(self, closure=None):
            super().step()
            self.mark = True
            self.param_groups[0]["extra"] = 1

    optimizer = build(Grows, parameters, lr=0.05)
    start = optimizer.snapshot()
    run(optimizer, gradients[:1])
    optimizer.restore(start)
    assert not hasattr(optimizer.optimizer, "mark")
    assert "extra" not in optimizer.optimizer.param_groups[0]


def test_closure_is_asked_for_in_the_message(parameters, gradients):
    optimizer = build("torch.optim:LBFGS", parameters, lr=0.05)
    with pytest.raises(NotReplayable, match=r"torch.optim:LBFGS: step\(\) needs a closure"):
        optimizer.step(gradients[0], 0.05)


def test_constructor_that_raises(parameters):
    with pytest.raises(BuildFailed, match=r"torch.optim:AdamW: the constructor raised ValueError: Invalid") as caught:
        build("torch.optim:AdamW", parameters, weight_decay=-1.0)
    assert isinstance(caught.value.__cause__, ValueError)


def test_factory_that_returns_no_optimizer(parameters):
    def factory(params):
        return list(params)

    with pytest.raises(BuildFailed, match=r"returned list, which has no step\(\)"):
        build(factory, parameters)


@pytest.mark.parametrize(
    "error", [RuntimeError("\x1b[2Jgone\n"), SystemExit("\x1b[2Jgone\n"), MemoryError("\x1b[2Jgone\n")]
)
def test_step_that_raises(error, parameters, gradients):
    class Raises(torch.optim.SGD):
        def step(self, closure=None):
            raise error

    with pytest.raises(StepFailed) as caught:
        build(Raises, parameters, lr=0.05).step(gradients[0], 0.05)
    assert f"step() raised {type(error).__name__}: \\x1b[2Jgone\\n" in str(caught.value)
    assert caught.value.__cause__ is error


def test_interrupt_is_not_the_targets(parameters, gradients):
    class Interrupted(torch.optim.SGD):
        def step(self, closure=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(Interrupted, parameters, lr=0.05).step(gradients[0], 0.05)
