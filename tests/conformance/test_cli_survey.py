"""`optconform survey`: the command, what it refuses, and a survey that is killed and taken up again."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from optconform.conformance.cli.main import main

LIBRARY = (
    "import os, pathlib\n"
    "FOLDER = pathlib.Path(__file__).parent\n"
    "class Base:\n"
    "    def __init__(self, weight_decay=0.0):\n"
    "        self.weight_decay = weight_decay\n"
    "        with (FOLDER / 'built.log').open('a') as log:\n"
    "            log.write(type(self).__name__ + '\\n')\n"
    "    def step(self, params, grads, lr):\n"
    "        return {n: p - lr * (grads[n] + self.weight_decay * p) for n, p in params.items()}\n"
    "class A(Base):\n    pass\n"
    "class B(Base):\n    pass\n"
    "class C(Base):\n"
    "    def __init__(self, weight_decay=0.0):\n"
    "        super().__init__(weight_decay)\n"
    "        while not (FOLDER / 'go').exists():\n"
    "            __import__('time').sleep(0.01)\n"
    "class D(Base):\n    pass\n"
    "__all__ = ['A', 'B', 'C', 'D']\n"
)


@pytest.fixture
def library(tmp_path, monkeypatch):
    folder = tmp_path / "packages" / "killed_library"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(LIBRARY)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder.parent), *filter(None, sys.path)]))
    monkeypatch.syspath_prepend(folder.parent)
    return folder


@pytest.fixture
def run(capsys):
    def command(*arguments):
        status = main(["survey", *map(str, arguments)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return command


def built(library):
    """Return how often each optimizer was constructed."""
    lines = (library / "built.log").read_text().split()
    return {name: lines.count(name) for name in "ABCD"}


def wait_until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def test_a_survey_that_is_killed_goes_on_where_it_was(library, tmp_path):
    cache, output = tmp_path / "cache", tmp_path / "survey.json"
    command = [sys.executable, "-m", "optconform", "survey", "killed_library", "--cache", str(cache), "--jobs", "1"]
    first = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(
            lambda: (library / "built.log").exists() and built(library)["C"] and len([*cache.glob("*.json")]) == 2
        )
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    before = built(library)
    assert min(before["A"], before["B"]) > 0
    assert before["D"] == 0
    kept = {path: path.read_bytes() for path in cache.glob("*.json")}
    (library / "go").touch()
    # The library's own files are what its version is; the marks above are no Python files.
    command += ["--format", "json", "--output", str(output)]
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    assert "2 of 4 results were there already" in again.stderr
    after = built(library)
    assert (after["A"], after["B"]) == (before["A"], before["B"]), "finished ones are not run again"
    assert after["C"] > before["C"]
    assert after["D"] > 0
    assert all(path.read_bytes() == content for path, content in kept.items())
    results = json.loads(output.read_text())["results"]
    assert [result["target"] for result in results] == [f"killed_library:{name}" for name in "ABCD"]
    assert {result["verdict"] for result in results} == {"equivalent"}


def test_text_markdown_and_a_second_time(library, run, tmp_path):
    (library / "go").touch()
    target = ("killed_library", "--cache", tmp_path / "cache", "--jobs", "2")
    status, out, err = run(*target)
    assert (status, err) == (0, "")
    assert "4 optimizers of 1 of 1 libraries: 4 equivalent" in out
    count = built(library)
    status, out, err = run(*target, "--format", "markdown", "--output", tmp_path / "table.md")
    assert (status, out) == (0, "")
    assert "4 of 4 results were there already" in err
    assert "| A | equivalent |" in (tmp_path / "table.md").read_text()
    assert built(library) == count


def test_a_library_that_is_not_there_is_said_and_fails(run, library, tmp_path):
    (library / "go").touch()
    status, out, err = run("killed_library", "nowhere_at_all", "--cache", tmp_path / "cache")
    assert status == 3
    assert "4 equivalent" in out
    assert "not surveyed: nowhere_at_all" in err
    assert "pip install nowhere_at_all" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "LIBRARY"),
        (("torch.optim:AdamW",), "not a module name"),
        (("math", "--jobs", "0"), "--jobs"),
        (("math", "--timeout", "0"), "--timeout"),
        (("math", "--trace", "no_such_trace"), "no_such_trace"),
        (("math", "--cache", "/dev/null/x"), "/dev/null/x"),
        (("math", "--format", "xml"), "xml"),
    ],
)
def test_what_is_wrong_with_the_command_is_said(run, tmp_path, monkeypatch, arguments, said):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert said in err


def test_nothing_to_audit_decides_nothing(run, tmp_path):
    status, out, _ = run("math", "--cache", tmp_path / "cache")
    assert status == 4
    assert "math: exports no optimizer" in out
