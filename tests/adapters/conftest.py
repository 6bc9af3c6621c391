"""Small parameters and gradients, and a way to turn files and snippets into targets."""

import numpy as np
import pytest

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
def python_file(tmp_path):
    """Write a file below tmp_path and return its path."""

    def write(source, name="target.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
        return path

    return write
