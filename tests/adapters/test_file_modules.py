"""Files inside packages: relative imports work, nothing else of the package runs, nothing is hidden."""

import sys

import pytest

from optconform.adapters.errors import TargetError
from optconform.adapters.file_modules import PREFIX, load_file
from optconform.adapters.targets import load_target

pytestmark = pytest.mark.numpy

OPTIMIZER = """
from . import sibling
from .sibling import FACTOR
from ..shared.helper import scaled

class Mine:
    def step(self, params, grads, lr):
        return {name: scaled(value, FACTOR * sibling.FACTOR) for name, value in params.items()}
"""


@pytest.fixture
def package(python_file):
    """timm-like: pkg/optim/mine.py imports from its own folder and from pkg/shared; pkg/__init__.py raises."""
    python_file("raise RuntimeError('the package itself was executed')", "pkg/__init__.py")
    python_file("raise RuntimeError('the folder itself was executed')", "pkg/optim/__init__.py")
    python_file("FACTOR = 3.0", "pkg/optim/sibling.py")
    python_file("HERE = True", "pkg/shared/__init__.py")
    python_file("def scaled(value, factor):\n    return value * factor", "pkg/shared/helper.py")
    return python_file(OPTIMIZER, "pkg/optim/mine.py")


def test_relative_imports_work_although_every_init_raises(package):
    target = load_target(f"{package}:Mine")
    assert target.framework == "numpy"
    assert target.attribute().step({"w": 2.0}, {"w": None}, 0.1) == {"w": 18.0}


def test_nothing_but_private_names_is_left(package):
    modules, path = set(sys.modules), list(sys.path)
    load_file(package)
    assert {name.partition(".")[0] for name in set(sys.modules) - modules} == {
        name for name in set(sys.modules) - modules if name.startswith(PREFIX) and "." not in name
    }
    assert sys.path == path


def test_file_named_like_an_installed_module_hides_nothing(python_file):
    import json

    module = load_file(python_file("import json\nREAL = json.dumps([1])", "json.py"))
    assert module.REAL == "[1]"
    assert sys.modules["json"] is json


def test_every_load_is_fresh(python_file):
    path = python_file("VALUE = 1")
    first = load_file(path)
    path.write_text("VALUE = 22")
    second = load_file(path)
    assert (first.VALUE, second.VALUE) == (1, 22)
    assert first.__name__ != second.__name__


def test_failed_load_leaves_no_module(package):
    package.write_text("from . import sibling\nraise RuntimeError('late')")
    modules = set(sys.modules)
    with pytest.raises(RuntimeError, match="late"):
        load_file(package)
    assert set(sys.modules) == modules


def test_neighbour_of_a_lone_file_is_found(python_file):
    python_file("FACTOR = 2.0", "optconform_test_neighbour.py")
    path = list(sys.path)
    try:
        assert load_file(python_file("from optconform_test_neighbour import FACTOR")).FACTOR == 2.0
    finally:
        sys.modules.pop("optconform_test_neighbour", None)
    assert sys.path == path


def test_init_file_and_odd_file_names(python_file):
    python_file("X = 5", "pkg/part.py")
    assert load_file(python_file("from .part import X", "pkg/__init__.py")).X == 5
    assert load_file(python_file("X = 6", "my-optimizer.v2.py")).X == 6


def test_definitions_know_their_module(python_file):
    source = "from dataclasses import dataclass\n@dataclass\nclass Options:\n    lr: 'float' = 0.1\n"
    module = load_file(python_file(source))
    assert sys.modules[module.Options.__module__] is module


def test_what_an_init_would_have_defined_is_reported_as_missing(python_file):
    python_file("VERSION = 1", "pkg/__init__.py")
    path = python_file("from . import VERSION", "pkg/mine.py")
    with pytest.raises(TargetError, match="importing it raised ImportError: cannot import name 'VERSION'"):
        load_target(f"{path}:Mine")
