"""PyTorch's optimizers on samples: element-wise ones are judged, coupled ones refused."""

import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.torch


@pytest.mark.parametrize(
    "name", ["AdamW", "Adam", "SGD", "NAdam", "RAdam", "Adagrad", "RMSprop", "Adadelta", "Adamax", "ASGD", "Rprop"]
)
def test_samples_are_enough_for(weak_samples, name):
    assert weak_samples(f"torch.optim:{name}") == set()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_samples_are_enough_in_lower_precision(weak_samples, dtype):
    assert weak_samples("torch.optim:AdamW", dtype=dtype) == set()


@pytest.mark.parametrize(("name", "weak"), [("Adafactor", {"matrix", "table"}), ("Muon", {"matrix"})])
def test_samples_are_too_little_for(weak_samples, name, weak):
    assert weak_samples(f"torch.optim:{name}") == weak
