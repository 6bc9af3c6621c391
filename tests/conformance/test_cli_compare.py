"""`optconform compare`, in process: text, JSON, exit codes, mistakes."""

import json
import shlex

import pytest

from optconform.conformance.cli.main import main

ADAMW, SGDW = (f"optconform.adapters.numpy_optimizers:{name}" for name in ("AdamW", "SGDW"))
TRACE = ("--trace", "synthetic:small")

CHAOTIC = """
import numpy as np
class Chaotic:
    def __init__(self, factor=1.0): self.factor = factor
    def step(self, params, grads, lr):
        return {name: theta - lr * np.sin(1e13 * (grads[name] * self.factor)) for name, theta in params.items()}
"""


@pytest.fixture
def run(capsys):
    """Return (exit status, standard output, standard error) of one command."""

    def command(*arguments):
        status = main(["compare", *(str(argument) for argument in arguments)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return command


def test_0_the_same(run):
    status, out, err = run(ADAMW, ADAMW, *TRACE, "--set", "weight_decay=0.1")
    assert (status, err) == (0, "")
    assert "same: B stays inside the bound" in out
    assert "of the bound of adamw" in out


def test_1_not_the_same_with_all_that_was_found(run):
    status, out, _ = run(ADAMW, ADAMW, *TRACE, "--set-a", "weight_decay=0.1", "--set-b", "eps=1e-4")
    said = " ".join(out.split())
    assert status == 1
    for words in (
        "different: they part at step 1",
        "what explains it: weight_decay (0.1 in A, 0.01 in B), eps (1e-08 in A, 0.0001 in B)",
        "A follows adamw, law lr*wd",
        "weight_decay 0.1 0.01 from step 1 on",
        "translation with weight_decay=0.1, eps=1e-08 B stays inside the bound of A's rule",
        "rerun: optconform compare",
    ):
        assert words in said


def test_set_of_one_side_wins_over_set(run):
    status, out, _ = run(ADAMW, ADAMW, *TRACE, "--set", "eps=0.5", "--set-b", "eps=0.25")
    assert status == 1
    assert "eps (0.5 in A, 0.25 in B)" in out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([ADAMW], "TARGET"),
        ([ADAMW, ADAMW, ADAMW], "unexpected extra argument"),
        ([ADAMW, "nothing"], "'nothing' is not a target"),
        ([ADAMW, SGDW, "--set", "eps=1.0"], "numpy_optimizers:SGDW has no option 'eps'"),
        ([ADAMW, SGDW, "--set-b", "momentun=1.0"], "Did you mean 'momentum'?"),
        ([ADAMW, SGDW, "--set-a", "eps"], "should be NAME=VALUE"),
        ([ADAMW, SGDW, "--map-b", "lr=nope"], "has no option 'lr'"),
        ([ADAMW, SGDW, "--framework-a", "theano"], "theano"),
        ([ADAMW, SGDW, "--dtype", "float8"], "float8"),
        ([ADAMW, SGDW, "--trace", "digits"], "digits"),
        ([ADAMW, SGDW, "--path-b", "all"], "compares execution paths"),
    ],
)
def test_2_the_command_is_wrong(run, arguments, named):
    status, out, err = run(*arguments, *([] if "--trace" in arguments else TRACE))
    assert (status, out) == (2, "")
    assert named in err


@pytest.mark.parametrize("arguments", [("--device", "cuda"), ("--path-b", "sideways")])
def test_what_is_not_there(run, arguments):
    status, out, err = run(ADAMW, ADAMW, *TRACE, *arguments)
    assert status in (2, 3)
    assert arguments[1] in out + err


def test_4_it_cannot_be_told(run, tmp_path):
    path = tmp_path / "chaotic.py"
    path.write_text(CHAOTIC, encoding="utf-8")
    target = f"{path}:Chaotic"
    status, out, _ = run(target, target, *TRACE, "--set-b", "factor=1.0000000000000002")
    assert status == 4
    assert "cannot tell" in out


HOSTILE = """
import os, time
import numpy as np
class Plain:
    def __init__(self, weight_decay=0.0): pass
    def step(self, params, grads, lr):
        self.act()
        return {name: theta - lr * grads[name] for name, theta in params.items()}
class Exits(Plain):
    def act(self): os._exit(0)
class Hangs(Plain):
    def act(self): time.sleep(600)
class Breaks(Plain):
    def act(self): raise GeneratorExit("out")
class Prints(Plain):
    def act(self): print("\x1b[31mred")
"""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Exits", "Error: no comparison: the process died: exit status 0, before there was a result"),
        (
            "Hangs",
            "Error: no comparison: not done after 2 s; where it only needs longer, raise the limit",
        ),
        ("Breaks", "Error: no comparison: it raised GeneratorExit: out"),
    ],
)
def test_3_one_of_them_could_not_run(run, tmp_path, name, words):
    path = tmp_path / "hostile.py"
    path.write_text(HOSTILE, encoding="utf-8")
    status, out, err = run(f"{path}:{name}", SGDW, *TRACE, "--framework-a", "numpy", "--timeout", "2")
    assert (status, out) == (3, "")
    assert words in err


def test_what_a_target_prints_goes_to_standard_error(run, tmp_path):
    path = tmp_path / "hostile.py"
    path.write_text(HOSTILE, encoding="utf-8")
    status, out, err = run(f"{path}:Prints", f"{path}:Prints", *TRACE, "--format", "json")
    assert (status, json.loads(out)["exit_status"]) == (0, 0)
    assert set(err.splitlines()) == {r"\x1b[31mred"}


def test_limits_are_kept_in_the_rerun_command(run):
    status, out, _ = run(ADAMW, ADAMW, *TRACE, "--timeout", "45", "--memory", "2", "--format", "json")
    assert status == 0
    assert json.loads(out)["rerun"].endswith("--trace synthetic:small --timeout 45 --memory 2")


def test_json_is_one_document(run):
    status, out, _ = run(ADAMW, SGDW, *TRACE, "--format", "json")
    document = json.loads(out)
    assert (status, document["schema"], document["exit_status"]) == (1, "optconform/compare/1", 1)
    assert document["translation"]["exists"] is False


def test_the_result_goes_to_the_file(run, tmp_path):
    status, out, _ = run(ADAMW, ADAMW, *TRACE, "--output", tmp_path / "result")
    assert (status, out) == (0, "")
    assert "same:" in (tmp_path / "result").read_text()


def test_verbose_shows_what_each_holds(run):
    plain, verbose = (run(ADAMW, ADAMW, *TRACE, *flags)[1] for flags in ((), ("-v",)))
    assert "A holds" not in plain
    assert "beta2=0.999" in verbose
    assert "B runs on    numpy, path default: optconform" in verbose


def test_the_rerun_command_runs_the_same_again(run):
    arguments = ("--set-a", "weight_decay=0.1", "--set-b", "beta2=0.9", "--dtype", "float32")
    _, first, _ = run(ADAMW, ADAMW, *TRACE, *arguments, "--format", "json")
    document = json.loads(first)
    _, again, _ = run(*shlex.split(document["rerun"])[2:], "--format", "json")
    assert {**json.loads(again), "seconds": 0} == {**document, "seconds": 0}
