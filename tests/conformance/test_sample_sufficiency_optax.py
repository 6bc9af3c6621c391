"""Optax's optimizers on samples: element-wise ones are judged, coupled ones refused."""

import pytest

pytest.importorskip("jax")
pytestmark = pytest.mark.jax


@pytest.mark.parametrize("name", ["optax:adamw", "optax:lion"])
def test_samples_are_enough_for(weak_samples, name):
    assert weak_samples(name) == set()


@pytest.mark.parametrize(
    ("name", "weak"),
    [
        ("optax:lamb", {"matrix", "table"}),
        ("optax:lars", {"matrix", "table"}),
        ("optax:adafactor", {"matrix", "table"}),
        ("optax.contrib:muon", {"matrix"}),
        ("optax.contrib:prodigy", {"matrix", "table"}),
    ],
)
def test_samples_are_too_little_for(weak_samples, name, weak):
    assert weak_samples(name) == weak
