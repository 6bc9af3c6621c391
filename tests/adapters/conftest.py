"""Small parameters and gradients, and a way to turn files and snippets into targets."""

import numpy as np
import pytest

from optconform.adapters.execution import Feed, Opening, load_runtime
from optconform.adapters.targets import load_target, target_from_object

PARAMETERS = {
    "w": np.array([[0.5, -1.25, 2.0], [3.0, -0.75, 0.125]]),
    "b": np.array([1.0, -2.0]),
    "scale": np.array(1.5),
}


@pytest.fixture
def parameters():
    return {name: value.copy() for name, value in PARAMETERS.items()}


@pytest.fixture
def gradients():
    """Six steps; every value is exact in float16, so all dtypes see the same trace."""
    generator = np.random.default_rng(3)
    return [
        {
            name: np.asarray(generator.integers(-64, 64, np.shape(value)) / 32 + 1 / 64)
            for name, value in PARAMETERS.items()
        }
        for _ in range(6)
    ]


@pytest.fixture
def feeds(gradients):
    """The same six steps, with learning rates."""
    rates = (0.05, 0.02, 0.04, 0.01, 0.03, 0.015)
    return tuple(Feed(step, lr) for step, lr in zip(gradients, rates, strict=True))


@pytest.fixture
def run_torch(parameters, feeds):
    """Execute every step, or those given, with PyTorch on the CPU, and return what was executed."""

    def run(target, execution, dtype="float32", given=None):
        found = load_target(target) if isinstance(target, str) else target_from_object(target)
        steps = feeds if given is None else given
        row = load_runtime("torch").executions[execution]
        executed = row.open(Opening(found, {"lr": 0.05}, parameters, steps, dtype, "cpu"))
        for feed in steps:
            executed.step(feed.gradients, feed.lr)
        return executed

    return run


@pytest.fixture
def python_file(tmp_path):
    """Write a file below tmp_path and return its path."""

    def write(source, name="target.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
        return path

    return write
