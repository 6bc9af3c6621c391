"""The examples in docstrings are run."""

import doctest
import pkgutil
from importlib import import_module

import pytest

import optconform

OF_AN_EXTRA = ("pytorch", "torch_", "keras", "optax", "jax_", "compiled", "html")
"""Beginnings of the names of modules that import what need not be there: a framework, Numba, Plotly."""


def module_names():
    for found in pkgutil.walk_packages(optconform.__path__, "optconform."):
        top = found.name.split(".")[1]
        last = found.name.rpartition(".")[2]
        if top in ("reference", "adapters", "conformance", "gpu_ci") and not last.startswith(OF_AN_EXTRA):
            yield found.name


def test_every_example_says_what_it_does():
    results = {name: doctest.testmod(import_module(name)) for name in module_names()}
    assert {name: result.failed for name, result in results.items() if result.failed} == {}
    assert results["optconform.conformance.api"].attempted >= 3


@pytest.mark.parametrize("name", ["optconform.conformance.api", "optconform.adapters.text"])
def test_modules_with_examples_are_looked_at(name):
    assert name in set(module_names())
