"""Whose optimizer is it? One row per kind of thing that people write."""

import sys
from collections import namedtuple
from functools import partial
from types import ModuleType

import pytest

from optconform.adapters.detect import detect_framework
from optconform.adapters.errors import TargetError

pytestmark = pytest.mark.numpy

Transformation = namedtuple("Transformation", "init update")


class StepOptimizer:
    def step(self, params, grads, lr):
        return params


def foreign(module, name="Optimizer", **members):
    """A class as one of a framework's would look, with no framework anywhere."""
    return type(name, (), {"__module__": module, **members})


def needs_rate(learning_rate, weight_decay=0.0):
    assert isinstance(learning_rate, float)
    return Transformation(lambda params: (), lambda g, s, p=None: (g, s))


def torch_like(params, lr=0.1):
    raise AssertionError("called")


def any_options(**options):
    return StepOptimizer()


def keras_factory(learning_rate=0.1):
    return foreign("keras.src.optimizers.optimizer")()


class NumPyClass:
    def __init__(self, wd=0.1):
        raise AssertionError("called")

    def step(self, params, grads, lr):
        return params


class TransformationClass:
    def init(self, params):
        return ()

    def update(self, updates, state, params=None):
        return updates, state


ROWS = [
    ("torch, by a base", type("Mine", (foreign("torch.optim.optimizer"),), {}), "torch"),
    ("torch, by a base's base", type("Mine", (type("M", (foreign("torch.optim.sgd"),), {}),), {}), "torch"),
    ("torch, by the signature of a class", type("M", (), {"__init__": lambda self, params, lr=0.1: None}), "torch"),
    ("torch, by the signature of a function", torch_like, "torch"),
    ("keras, by a base", type("Mine", (foreign("keras.src.optimizers.optimizer"),), {}), "tensorflow"),
    ("keras, by a base of tf.keras", type("Mine", (foreign("tensorflow.python.x"),), {}), "tensorflow"),
    ("keras, by what a factory returns", keras_factory, "tensorflow"),
    ("optax, by the module of a function", foreign("optax._src.alias"), "jax"),
    ("optax, by what a factory returns", needs_rate, "jax"),
    ("optax, by the methods of a class", TransformationClass, "jax"),
    ("optax, by a partial of a factory", partial(needs_rate, weight_decay=0.5), "jax"),
    ("torch, by a partial of a class", partial(foreign("torch.optim.sgd"), momentum=0.9), "torch"),
    ("numpy, by the methods of a class", NumPyClass, "numpy"),
    ("numpy, by what a factory returns", any_options, "numpy"),
    ("numpy, by what a lambda returns", lambda wd=0.0: StepOptimizer(), "numpy"),
    ("a module that only begins like one", type("M", (foreign("torch_optimizer.x"), StepOptimizer), {}), "numpy"),
]


@pytest.mark.parametrize(("attribute", "expected"), [pytest.param(*row[1:], id=row[0]) for row in ROWS])
def test_detection(attribute, expected):
    assert detect_framework(attribute, "module:target") == expected


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        (lambda lr: 3, r"returned int, which is no optimizer of numpy, torch, tensorflow, jax.*--framework NAME"),
        (lambda lr: type("S", (), {"step": lambda self: None})(), "returned S, which is no optimizer"),
        (lambda theta, depth: None, "values are needed for theta, depth.*--framework NAME"),
        (lambda lr: 1 / 0, "calling it raised ZeroDivisionError: division by zero"),
        (lambda lr: sys.exit("\x1b[2J"), r"calling it raised SystemExit: \\x1b\[2J"),
        (int, "returned int"),
    ],
)
def test_undecided(attribute, message):
    with pytest.raises(TargetError, match=message):
        detect_framework(attribute, "module:target")


def test_probe_is_a_learning_rate_and_a_decay():
    seen = {}

    def factory(step_size, weight_decay_rate, depth=2):
        seen.update(step_size=step_size, weight_decay_rate=weight_decay_rate, depth=depth)
        return StepOptimizer()

    detect_framework(factory, "module:target")
    assert seen == {"step_size": 0.05, "weight_decay_rate": 0.5, "depth": 2}


def test_detection_imports_nothing():
    before = set(sys.modules)
    for _, attribute, _ in ROWS:
        detect_framework(attribute, "module:target")
    new = {name for name, module in sys.modules.items() if isinstance(module, ModuleType)} - before
    assert not {name.partition(".")[0] for name in new} & {"torch", "keras", "tensorflow", "jax", "optax"}
