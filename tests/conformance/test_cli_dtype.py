"""`--dtype` on the command line: what it reaches, and what refuses it."""

import json
import shlex

import pytest

from optconform.conformance.cli.main import main

ADAMW, SGDW = (f"optconform.adapters.numpy_optimizers:{name}" for name in ("AdamW", "SGDW"))
TRACE = ("--trace", "synthetic:mixed")

CHOOSY = """
class Choosy:
    def __init__(self, weight_decay=0.0): self.weight_decay = weight_decay
    def step(self, params, grads, lr):
        for theta in params.values():
            if theta.dtype.itemsize < 4: raise TypeError(f"no {theta.dtype}")
        return {n: p if grads[n] is None else p - lr * (grads[n] + self.weight_decay * p) for n, p in params.items()}
"""


@pytest.fixture
def run(capsys, monkeypatch):
    """Return (exit status, standard output, standard error) of one command, in 120 columns."""
    monkeypatch.setenv("COLUMNS", "120")

    def command(*arguments):
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return command


@pytest.mark.parametrize("command", ["audit", "check"])
def test_help_lists_the_dtypes(run, command):
    status, out, _ = run(command, "--help")
    assert status == 0
    assert "--dtype [float64|float32|bfloat16|float16]" in " ".join(out.split())


@pytest.mark.parametrize("command", ["audit", "check"])
@pytest.mark.parametrize("dtype", ["float8", "", "Float32"])
def test_another_dtype_is_a_mistake_in_the_command(run, command, dtype):
    status, _, err = run(command, ADAMW, "--dtype", dtype, *TRACE)
    assert status == 2
    assert "'bfloat16'" in err


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_audit_shows_it_and_reruns_with_it(run, dtype):
    arguments = ("audit", ADAMW, "--dtype", dtype, "--expect", "any", *TRACE)
    _, out, _ = run(*arguments)
    heading = f"{ADAMW} [{dtype}]: " if dtype != "float64" else f"{ADAMW}: "
    assert out.startswith(heading)
    assert f"numpy, {dtype} on cpu" in out
    document = json.loads(run(*arguments, "--format", "json")[1])
    assert document["dtype"] == dtype
    assert ("--dtype" in document["rerun"]) is (dtype != "float64")
    again = json.loads(run(*shlex.split(document["rerun"])[1:], "--format", "json")[1])
    assert {**again, "seconds": 0} == {**document, "seconds": 0}


def test_audit_judges_in_it(run):
    verdicts = {}
    for dtype in ("float64", "float32", "bfloat16"):
        document = json.loads(run("audit", SGDW, "--dtype", dtype, *TRACE, "--format", "json")[1])
        verdicts[dtype] = document["verdict"], document["decay"]["law"]
    assert set(verdicts.values()) == {("decoupled", "lr*wd")}


def test_check_shows_it_in_titles_caption_and_last_line(run):
    _, out, _ = run("check", ADAMW, SGDW, "--dtype", "float32", "--expect", "any", *TRACE)
    text = " ".join(out.split())
    assert "numpy_optimizers:AdamW [float32]" in text
    assert "what float32 rounding explains" in text
    assert "elements compared in float32 on cpu" in text
    assert "NOT CHECKED: float64, bfloat16, float16 (--dtype)" in text


def test_check_without_targets_takes_it(run, monkeypatch):
    monkeypatch.setattr("optconform.adapters.frameworks.is_findable", lambda name: name == "numpy")
    _, out, _ = run("check", "--framework", "numpy", "--dtype", "float32", *TRACE, "--format", "json")
    results = json.loads(out)["results"]
    assert len(results) == 2
    assert {result["dtype"] for result in results} == {"float32"}


def test_a_dtype_that_the_optimizer_refuses_is_a_finding(run, tmp_path):
    path = tmp_path / "choosy.py"
    path.write_text(CHOOSY, encoding="utf-8")
    target = f"{path}:Choosy"
    assert run("audit", target, "--dtype", "float32", "--expect", "any", *TRACE)[0] == 0
    status, out, _ = run("audit", target, "--dtype", "float16", "--expect", "any", *TRACE)
    assert status == 3
    assert "OC902 error step-failed" in out
    assert "TypeError: no float16" in out
