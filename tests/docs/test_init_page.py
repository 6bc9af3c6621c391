"""The page on `optconform init` shows what the command prints, and what the change that it describes leads to."""

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from optconform.conformance.cli.main import main
from optconform.conformance.testing import plugin

PAGE = (Path(__file__).parents[2] / "docs" / "init.md").read_text(encoding="utf-8")
LOADED = () if metadata.entry_points(group="pytest11", name="optconform") else ("-p", plugin.__name__)


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


NEW, FAILURE, ADDED = blocks("text")


def without_figures(text):
    """How far from rounding something is depends on the machine."""
    return re.sub(r"\d(\.\d)?e\+\d+", "N", text)


@pytest.fixture
def project(tmp_path, monkeypatch, capsys):
    """The project of the page, with what was printed when it was made."""
    monkeypatch.chdir(tmp_path)
    assert main(["init", "my-optimizer", "--framework", "numpy"]) == 0
    return tmp_path / "my-optimizer", capsys.readouterr().out


def test_what_a_new_project_prints(project):
    assert project[1] == NEW


def test_the_change_that_is_shown_is_found_out(project):
    folder, _ = project
    (change,) = blocks("diff")
    path = folder / "src" / "my_optimizer" / "optimizer.py"
    old, new = ("".join(line[1:] + "\n" for line in change.splitlines() if line[0] == sign) for sign in "-+")
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")
    words = [sys.executable, "-m", "pytest", *LOADED, "tests/test_optimizer.py"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    for part in FAILURE.split("...\n"):
        assert without_figures(part) in without_figures(re.sub(r"\n\n(?=\d+ checks)", "\n", done.stdout))


def test_what_an_existing_project_prints(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "my-project"
    (folder / "src" / "my_package").mkdir(parents=True)
    for name in ("pyproject.toml", "tox.ini", "src/my_package/optim.py"):
        (folder / name).touch()
    monkeypatch.chdir(folder)
    (command,) = re.findall(r"^optconform (init --target .*)$", PAGE, re.MULTILINE)
    assert main(command.split()) == 0
    assert capsys.readouterr().out == ADDED
