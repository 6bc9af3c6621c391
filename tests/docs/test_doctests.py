"""The examples in docstrings are run."""

import doctest
import pkgutil
import re
from importlib import import_module
from pathlib import Path

import pytest

import optconform

DOCS = Path(__file__).parents[2] / "docs"
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


NEEDS_A_FRAMEWORK = {
    "recording_callback": "tests/recording runs examples/record_keras.py and the code of docs/recording.md"
}
"""Public name without an example that NumPy alone can run -> what is run instead."""


@pytest.mark.parametrize("name", sorted(set(optconform.__all__) - {"__version__"} - NEEDS_A_FRAMEWORK.keys()))
def test_every_public_name_has_an_example(name):
    documented = getattr(optconform, name)
    assert doctest.DocTestParser().get_examples(documented.__doc__), f"optconform.{name} has no example"


def test_every_public_name_is_in_the_documentation():
    pages = "".join(page.read_text(encoding="utf-8") for page in DOCS.glob("*.md"))
    described = set(re.findall(r"^\.\. auto(?:function|class|exception):: optconform\.(\w+)$", pages, re.MULTILINE))
    assert described >= set(optconform.__all__) - {"__version__"}


@pytest.mark.parametrize("name", ["optconform.conformance.api", "optconform.adapters.text"])
def test_modules_with_examples_are_looked_at(name):
    assert name in set(module_names())
