"""`python -m optconform` is the command line, and the current directory hides nothing from it."""

import json
import subprocess
import sys

import pytest


def run_in(folder, *arguments):
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


@pytest.mark.parametrize("name", ["adapters", "tests", "click", "rich", "numpy", "gpu_ci"])
def test_folders_of_the_current_directory_are_not_imported(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text(f"raise SystemExit('{name} of the current directory was imported')")
    # Any other program does import it: the plant works.
    assert "was imported" in run_in(tmp_path, "-c", f"import {name}").stderr

    done = run_in(tmp_path, "-m", "optconform", "rules")
    assert done.returncode == 0, done.stderr
    assert "OC101" in done.stdout


PATHS_BEFORE_AND_INSIDE = """
import json, runpy, sys, types
inside = []
command_line = types.ModuleType("optconform.conformance.cli.main")
command_line.main = lambda arguments, added: inside.extend(sys.path)
sys.modules[command_line.__name__] = command_line
before = list(sys.path)
try:
    runpy.run_module("optconform", run_name="__main__", alter_sys=True)
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps([before, inside]))
"""


@pytest.mark.parametrize(("options", "dropped"), [((), 1), (("-P",), 0)], ids=["usual", "safe-path"])
def test_the_current_directory_alone_is_dropped(tmp_path, options, dropped):
    """Under -P Python adds no current directory, and the first entry is one that is needed."""
    done = run_in(tmp_path, *options, "-c", PATHS_BEFORE_AND_INSIDE)
    assert done.returncode == 0, done.stderr
    before, inside = json.loads(done.stdout)
    assert inside == before[dropped:]


def test_a_wrong_command_is_exit_status_two(tmp_path):
    done = run_in(tmp_path, "-m", "optconform", "no-such-command")
    assert done.returncode == 2
    assert "no-such-command" in done.stderr
