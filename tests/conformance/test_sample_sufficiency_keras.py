"""Keras's optimizers on samples: element-wise ones are judged, coupled ones refused."""

import pytest

pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tensorflow


@pytest.mark.parametrize("name", ["AdamW", "SGD", "Lion"])
def test_samples_are_enough_for(weak_samples, name):
    assert weak_samples(f"keras.optimizers:{name}") == set()


@pytest.mark.parametrize(
    ("name", "weak"), [("Lamb", {"matrix", "table"}), ("Adafactor", {"matrix", "table"}), ("Muon", {"matrix"})]
)
def test_samples_are_too_little_for(weak_samples, name, weak):
    assert weak_samples(f"keras.optimizers:{name}") == weak
