"""Small traces, and small optimizers written in NumPy that do one thing each."""

from types import SimpleNamespace

import numpy as np
import pytest

from optconform.conformance.api import make_subject
from optconform.conformance.cli.main import main
from optconform.conformance.sample_sufficiency import usable_traces
from optconform.conformance.traces import MemoryTrace, Parameter

SHAPES = {"w": (3, 4), "b": (5,)}


def _make_trace(
    shapes=SHAPES, n_steps=6, *, multipliers=None, missing=(), theta=None, grads=None, name="small", seed=5
):
    """Return a trace; `missing` holds (step from 1, parameter), `theta` and `grads` replace random values by one."""
    rng = np.random.default_rng(seed)

    def drawn(value, shape):
        return rng.standard_normal(shape) if value is None else np.full(shape, float(value))

    initial = {parameter: np.asarray(drawn(theta, shape)) for parameter, shape in shapes.items()}
    steps = [
        {
            parameter: None if (step, parameter) in missing else np.asarray(drawn(grads, shape))
            for parameter, shape in shapes.items()
        }
        for step in range(1, n_steps + 1)
    ]
    return MemoryTrace(
        name=name,
        parameters=tuple(Parameter(parameter, shape, "float64") for parameter, shape in shapes.items()),
        multipliers=tuple(multipliers or (1.0,) * n_steps),
        initial=initial,
        gradients=tuple(steps),
    )


class Plain:
    """theta <- theta - lr*tanh(g) - lr*wd*theta; the reference has no such rule. Subclasses change one thing."""

    def __init__(self, weight_decay=0.0):
        self.weight_decay = weight_decay
        self.count = 0
        self.last_lr = None
        self.buffer = {}

    def step(self, params, grads, lr):
        self.count += 1
        moved = {
            name: theta if grads[name] is None else self.update(name, theta, grads[name], lr)
            for name, theta in params.items()
        }
        self.last_lr = lr
        return moved

    def update(self, name, theta, grad, lr):
        return theta - self.direction(name, grad, lr) - self.decay(name, theta, grad, lr)

    def direction(self, name, grad, lr):
        return lr * np.tanh(grad)

    def decay(self, name, theta, grad, lr):
        return lr * self.weight_decay * theta


class PlainWd(Plain):
    def decay(self, name, theta, grad, lr):
        return self.weight_decay * theta


class ScheduleWd(Plain):
    """Built with its learning rate: the decay follows lr / base lr, the paper's law."""

    def __init__(self, lr=0.05, weight_decay=0.0):
        super().__init__(weight_decay)
        self.base = lr

    def decay(self, name, theta, grad, lr):
        return (lr / self.base) * self.weight_decay * theta


class BaseLrWd(ScheduleWd):
    """lr*wd with the learning rate of construction: the schedule does not reach the decay."""

    def decay(self, name, theta, grad, lr):
        return self.base * self.weight_decay * theta


class SquaredLr(Plain):
    def decay(self, name, theta, grad, lr):
        return lr * lr * self.weight_decay * theta


class Tripled(Plain):
    def decay(self, name, theta, grad, lr):
        return 3.0 * lr * self.weight_decay * theta


class RootLr(Plain):
    def decay(self, name, theta, grad, lr):
        return np.sqrt(lr) * self.weight_decay * theta


class Twice(Plain):
    def update(self, name, theta, grad, lr):
        return theta * (1.0 - lr * self.weight_decay) ** 2 - self.direction(name, grad, lr)


class Exponential(Plain):
    def update(self, name, theta, grad, lr):
        return theta * np.exp(-lr * self.weight_decay) - self.direction(name, grad, lr)


class PostUpdate(Plain):
    def update(self, name, theta, grad, lr):
        return (theta - self.direction(name, grad, lr)) * (1.0 - lr * self.weight_decay)


class Proximal(Plain):
    def update(self, name, theta, grad, lr):
        return (theta - self.direction(name, grad, lr)) / (1.0 + lr * self.weight_decay)


class Stale(Plain):
    def decay(self, name, theta, grad, lr):
        return (lr if self.last_lr is None else self.last_lr) * self.weight_decay * theta


class Growing(Plain):
    def decay(self, name, theta, grad, lr):
        return -lr * self.weight_decay * theta


class Sign(Plain):
    def decay(self, name, theta, grad, lr):
        return lr * self.weight_decay * np.sign(theta)


class Constant(Plain):
    def decay(self, name, theta, grad, lr):
        return lr * self.weight_decay * np.ones_like(theta)


class Ignoring(Plain):
    def decay(self, name, theta, grad, lr):
        return 0.0


class Motionless(Plain):
    def update(self, name, theta, grad, lr):
        return theta


class EveryOtherStep(Plain):
    def decay(self, name, theta, grad, lr):
        return super().decay(name, theta, grad, lr) if self.count % 2 else 0.0


class FirstStepOnly(Plain):
    def decay(self, name, theta, grad, lr):
        return super().decay(name, theta, grad, lr) if self.count == 1 else 0.0


class GradientNorm(Plain):
    """One scalar per tensor, but one that the gradient decides."""

    def decay(self, name, theta, grad, lr):
        return lr * self.weight_decay * np.mean(np.abs(grad)) * theta


class ThetaNorm(Plain):
    def decay(self, name, theta, grad, lr):
        return lr * self.weight_decay * np.sqrt(np.mean(theta * theta)) * theta


class LargeOnly(Plain):
    def decay(self, name, theta, grad, lr):
        return lr * self.weight_decay * np.where(np.abs(theta) > 0.5, theta, 0.0)


class Preconditioned(Plain):
    def decay(self, name, theta, grad, lr):
        return lr * self.weight_decay * theta / (1.0 + np.abs(grad))


class SkipsBias(Plain):
    def decay(self, name, theta, grad, lr):
        return 0.0 if theta.ndim < 2 else super().decay(name, theta, grad, lr)


class HalfOnBias(Plain):
    def decay(self, name, theta, grad, lr):
        return (0.5 if theta.ndim < 2 else 1.0) * super().decay(name, theta, grad, lr)


class HalfOnSecond(Plain):
    def decay(self, name, theta, grad, lr):
        return (0.5 if name.endswith("2") else 1.0) * super().decay(name, theta, grad, lr)


class NotANumber(Plain):
    def update(self, name, theta, grad, lr):
        return theta * np.nan


class L2(Plain):
    """The same step on g + wd*theta: L2 under a rule that is not linear."""

    def update(self, name, theta, grad, lr):
        return theta - self.direction(name, grad + self.weight_decay * theta, lr)


class Sgd(Plain):
    """theta <- theta - lr*(g + wd*theta): L2 and decoupled are the same algebra."""

    def update(self, name, theta, grad, lr):
        return theta - lr * (grad + self.weight_decay * theta)


class MomentumL2(Plain):
    def __init__(self, weight_decay=0.0, momentum=0.9):
        super().__init__(weight_decay)
        self.momentum = momentum

    def update(self, name, theta, grad, lr):
        self.buffer[name] = self.momentum * self.buffer.get(name, 0.0) + grad + self.weight_decay * theta
        return theta - lr * self.buffer[name]


class SwitchesKind(MomentumL2):
    """Decoupled at a large weight decay, L2 at a small one."""

    def update(self, name, theta, grad, lr):
        if self.weight_decay < 0.1:
            return super().update(name, theta, grad, lr)
        self.buffer[name] = self.momentum * self.buffer.get(name, 0.0) + grad
        return theta - lr * self.buffer[name] - lr * self.weight_decay * theta


class RelativeStep(Plain):
    """The step is scaled by the norm of theta, decay is not: decoupled, but the step reads the parameters."""

    def update(self, name, theta, grad, lr):
        return theta - np.linalg.norm(theta) * self.direction(name, grad, lr) - self.decay(name, theta, grad, lr)


class Lamb(Plain):
    """Trust ratio over direction and decay together, as in LAMB."""

    def update(self, name, theta, grad, lr):
        step = np.tanh(grad) + self.weight_decay * theta
        return theta - lr * (np.linalg.norm(theta) / np.linalg.norm(step)) * step


class NoZero(Plain):
    """Refuses weight_decay=0.0; None means none."""

    def __init__(self, weight_decay=None):
        if weight_decay == 0:
            raise ValueError("weight_decay must be positive, or None for none")
        super().__init__(weight_decay or 0.0)


class NoDecayOption:
    def step(self, params, grads, lr):
        return {name: theta if grads[name] is None else theta - lr * grads[name] for name, theta in params.items()}


_ZOO = {
    name: value
    for name, value in globals().items()
    if isinstance(value, type) and callable(getattr(value, "step", None))
}


@pytest.fixture
def run(capsys):
    """Run a command in process; return (exit status, standard output, standard error)."""

    def command(*arguments):
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return command


@pytest.fixture(scope="session")
def zoo():
    """Every optimizer of this file, by class name."""
    return SimpleNamespace(**_ZOO)


@pytest.fixture(scope="session")
def make_trace():
    return _make_trace


@pytest.fixture
def small_trace():
    """Two tensors, six steps, a schedule whose neighbours differ."""
    return _make_trace(multipliers=(1.0, 0.5, 0.25, 1.0, 0.125, 0.75))


@pytest.fixture(scope="session")
def subject_of():
    """Return the subject of a class at hand, with hyperparameters."""

    def build(target, framework="numpy", **hyperparameters):
        return make_subject(target, framework=framework, hyperparameters=hyperparameters)

    return build


@pytest.fixture(scope="session")
def weak_samples():
    """Return the sampled parameters of a trace, `matrix` and `table`, that a target cannot be judged on."""
    shapes = {"matrix": (256, 512), "table": (50_000,)}
    trace = MemoryTrace(
        name="sampled",
        parameters=tuple(Parameter(name, (3,), "float32", whole) for name, whole in shapes.items()),
        multipliers=(1.0,),
        initial={name: np.ones(3, np.float32) for name in shapes},
        gradients=({name: np.ones(3, np.float32) for name in shapes},),
    )

    def found(target, dtype=None):
        _, weak = usable_traces(make_subject(target, dtype=dtype), [trace])
        return {name for each in weak for name in each.names}

    return found
