"""What a library exports: found by another process, aliases together, parts of optimizers and base classes left out."""

import sys

import pytest

from optconform.adapters.errors import TargetError
from optconform.conformance.survey_exports import Library, find_exports
from optconform.conformance.workers.connection import BadInterpreter
from optconform.conformance.workers.exporting import exports_of
from optconform.conformance.workers.limits import Limits
from optconform.conformance.workers.processes import can_fork

STEP = "    def step(self, params, grads, lr):\n        return {n: p - lr * grads[n] for n, p in params.items()}\n"
INIT = (
    f"class Decaying:\n    def __init__(self, weight_decay=0.0):\n        self.weight_decay = weight_decay\n{STEP}"
    f"class Plain:\n{STEP}"
    "Other = Also = Decaying\n"
    f"class _Hidden:\n{STEP}"
    "class NoOptimizer:\n    def step(self):\n        pass\n"
    "def helper(params, grads, lr):\n    pass\n"
    "print('a library that talks')\n"
)


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Write a package with this source, and let child processes find it."""
    count = iter(range(100))

    def write(source, name=None):
        name = name or f"surveyed_library_{next(count)}"
        folder = tmp_path / name
        folder.mkdir()
        (folder / "__init__.py").write_text(source)
        monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
        return name

    return write


def test_optimizers_are_found_and_aliases_kept_together(library):
    found = exports_of(library(INIT))
    assert found.problem is None
    assert [(each.name, each.framework, each.aliases) for each in found.exports] == [
        ("Decaying", "numpy", ("Also", "Other")),
        ("Plain", "numpy", ()),
    ]
    assert found.left_out == {}


def test_it_is_looked_for_where_this_process_looks_and_nowhere_else(library, tmp_path, monkeypatch):
    name = library(INIT)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry and entry != str(tmp_path)])
    monkeypatch.chdir(tmp_path)
    assert "it is not installed" in exports_of(name).problem


def test_the_library_is_not_imported_here(library):
    name = library(INIT)
    exports_of(name)
    assert name not in sys.modules


def test_all_says_what_is_public(library):
    found = exports_of(library(f"{INIT}__all__ = ['Plain', 'NoOptimizer']\n"))
    assert [each.name for each in found.exports] == ["Plain"]


def test_a_lazy_name_that_raises_is_said_and_the_others_stay(library):
    lazy = "__all__ = ['Plain', 'Broken']\ndef __getattr__(name):\n    raise RuntimeError(f'no {name}\\x1b[31m')\n"
    found = exports_of(library(f"class Plain:\n{STEP}{lazy}"))
    assert [each.name for each in found.exports] == ["Plain"]
    assert found.left_out == {"Broken": "reading it raised RuntimeError: no Broken\\x1b[31m"}


def test_a_changed_file_is_another_version(library, tmp_path):
    name = library(INIT)
    first = exports_of(name).versions
    assert exports_of(name).versions == first
    (tmp_path / name / "extra.py").write_text("x = 1\n")
    assert exports_of(name).versions != first


def test_a_distribution_is_known_by_its_version():
    found = find_exports("numpy")
    assert (found.exports, list(found.versions)) == ((), ["numpy"])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import not_there_at_all\n", "pip install not_there_at_all"),
        ("raise ValueError('on import')\n", "ValueError: on import"),
        ("raise SystemExit(3)\n", "SystemExit: 3"),
        ("import os\nos._exit(7)\n", "status 7"),
    ],
)
def test_what_cannot_be_imported_is_a_problem_with_its_reason(library, source, said):
    found = exports_of(library(source))
    assert found.exports == ()
    assert said in found.problem


def test_a_library_that_is_not_installed_comes_with_the_command():
    assert "pip install nowhere_to_be_found" in exports_of("nowhere_to_be_found.optim").problem


def test_an_import_that_takes_too_long_is_ended(library):
    found = exports_of(library("import time\ntime.sleep(600)\n"), Limits(timeout=2.0))
    assert "importing it: not done after 2 s" in found.problem


def test_an_import_that_ends_the_process_says_what_it_printed(library):
    found = exports_of(library("import os, sys\nprint('good\\x1b', flush=True)\nos._exit(5)\n"))
    assert found.problem == (
        "importing it: the process died: exit status 5, before there was a result; it printed last: good\\x1b"
    )


@pytest.mark.skipif(not can_fork(), reason="a limit on memory, which takes Linux")
def test_an_import_has_no_more_memory_than_it_may(library):
    found = exports_of(library("kept = bytearray(10**11)\n"), Limits(memory=4.0))
    assert "raised MemoryError" in found.problem


def test_another_interpreter_is_asked(library, tmp_path, monkeypatch):
    name = library(INIT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert exports_of(name, Limits(python=sys.executable)).problem is None
    with pytest.raises(BadInterpreter, match="cannot be started"):
        exports_of(name, Limits(python="/nowhere/python"))


@pytest.mark.parametrize("name", ["", "a-b", "torch.optim:Adam", "../x", "a..b"])
def test_what_is_no_module_name_is_refused(name):
    with pytest.raises(TargetError, match="not a module name"):
        exports_of(name)


def test_what_is_told_reads_back_the_same(library):
    found = exports_of(library(INIT))
    assert Library.from_json(found.to_json()) == found


@pytest.mark.torch
def test_torch_classes_but_not_the_base(library):
    pytest.importorskip("torch")
    found = exports_of(
        library("import torch\nfrom torch.optim import SGD, Optimizer, Muon\nclass Mine(SGD):\n    pass\n")
    )
    assert [(each.name, each.framework) for each in found.exports] == [
        ("Mine", "torch"),
        ("Muon", "torch"),
        ("SGD", "torch"),
    ]
    assert "matrices only" in next(each for each in found.exports if each.name == "Muon").recipe


@pytest.mark.jax
def test_optax_factories_but_not_parts_of_them():
    pytest.importorskip("optax")
    names = {each.name for each in exports_of("optax").exports}
    assert {"adamw", "sgd", "lion", "novograd"} <= names
    assert not {"chain", "clip", "scale", "scale_by_adam", "scale_by_rprop", "add_decayed_weights"} & names
