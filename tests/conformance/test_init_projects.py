"""What `optconform init` writes runs: sound as it is, and found out when its optimizer is changed to L2."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from optconform.conformance.cli.main import main
from optconform.conformance.testing import plugin

LOADED = () if metadata.entry_points(group="pytest11", name="optconform") else ("-p", plugin.__name__)
FEW = ("tests/test_optimizer.py::test_optimizer", "--optconform-trace", "synthetic:small")
"""One of the two tests, on a small trace: where importing the framework, and compiling in it, takes seconds."""
COUPLED = {
    "numpy": [
        ("+ grad\n", "+ grad + self.weight_decay * theta\n"),
        (" - lr * self.weight_decay * theta\n", "\n"),
    ],
    "torch": [
        (".add_(theta.grad)", ".add_(theta.grad + weight_decay * theta)"),
        ("                theta.mul_(1 - lr * weight_decay)\n", ""),
    ],
    "jax": [
        ("        optax.trace(decay=momentum),\n", ""),
        ("(weight_decay),\n", "(weight_decay),\n        optax.trace(decay=momentum),\n"),
    ],
    "tensorflow": [
        ("weight_decay=weight_decay, name", "weight_decay=None, name"),
        ("self.momentum = momentum\n", "self.momentum = momentum\n        self.coupled = weight_decay\n"),
        ("buffer + gradient)", "buffer + gradient + self.coupled * variable)"),
    ],
}
"""Framework -> what makes L2 of its decoupled decay: text in the optimizer, and what to write for it."""


@pytest.fixture
def project(tmp_path, capsys):
    """Return a function that makes a project for one framework."""

    def made(framework):
        assert main(["init", str(tmp_path / "decay-demo"), "--framework", framework]) == 0
        assert "decay-demo" in capsys.readouterr().out
        return tmp_path / "decay-demo"

    return made


def couple(project, framework):
    """Change the optimizer of `project` to L2."""
    path = project / "src" / "decay_demo" / "optimizer.py"
    text = path.read_text(encoding="utf-8")
    for old, new in COUPLED[framework]:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def run(project, *words):
    """Run a module of Python in `project`, as its user would; return the exit status and what was printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=project, capture_output=True, text=True, check=False, env=environment
    )
    return done.returncode, done.stdout + done.stderr


def test_numpy(project):
    folder = project("numpy")
    status, out = run(folder, "pytest", *LOADED)
    assert status == 0, out
    assert "16 passed, 6 skipped" in out
    assert "21 checks of 1 optimizer: 15 passed, 0 failed" in out
    status, out = run(folder, "optconform", "check")
    assert status == 0, out
    assert "1 optimizer: 1 as expected, 0 not" in out

    couple(folder, "numpy")
    status, out = run(folder, "pytest", *LOADED)
    assert status == 1, out
    assert "OC101 coupled-decay (error): SGDW" in out
    for name in ("test_optimizer[SGDW-kind]", "test_other_hyperparameters"):
        assert f"FAILED tests/test_optimizer.py::{name}" in out
    status, out = run(folder, "optconform", "check")
    assert status == 1, out
    assert "OC101" in out
    assert "1 optimizer: 0 as expected, 1 not" in out


@pytest.mark.parametrize("framework", [pytest.param(name, marks=getattr(pytest.mark, name)) for name in COUPLED][1:])
def test_frameworks(project, framework):
    pytest.importorskip({"jax": "optax", "tensorflow": "keras"}.get(framework, framework))
    folder = project(framework)
    status, out = run(folder, "pytest", *LOADED, *FEW)
    assert status == 0, out
    assert " 0 failed, 0 failed as expected" in out
    couple(folder, framework)
    status, out = run(folder, "optconform", "check", "--trace", "synthetic:small")
    assert status == 1, out
    assert "OC101" in out
    assert "OC9" not in out


def test_an_existing_project_is_judged_by_what_was_added(tmp_path, monkeypatch, capsys):
    """One optimizer of a file, and one of a package."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "demo"\n')
    example = Path(__file__).parents[2] / "examples" / "numpy_optimizer.py"
    (tmp_path / "optim.py").write_bytes(example.read_bytes())
    spec = "optconform.adapters.numpy_optimizers:SGDW"
    monkeypatch.chdir(tmp_path)
    assert main(["init", "--target", "optim.py:RMSpropW", "--target", spec]) == 0
    assert "To be added to pyproject.toml" in capsys.readouterr().out
    status, out = run(tmp_path, "pytest", *LOADED, "tests/test_optimizer.py", *FEW[1:])
    assert status == 0, out
    assert "42 checks of 2 optimizers:" in out
