"""The script that measures the power of the bound: it measures what the product judges by, and says what it finds."""

from __future__ import annotations

import importlib.util
import itertools
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from optconform.reference.arithmetic import arithmetic
from optconform.reference.comparison import Beside
from optconform.reference.follow import Follower

FOLDER = Path(__file__).parents[2] / "benchmarks" / "power"
MARKS = "<!-- tables: begin -->\n<!-- tables: end -->"


def script(*arguments, cwd):
    return subprocess.run([sys.executable, str(FOLDER), *arguments], cwd=cwd, capture_output=True, text=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("power")


@pytest.fixture(scope="module")
def document(folder):
    finished = script("--elements", "8", "--steps", "12", cwd=folder)
    assert finished.returncode == 3, finished.stderr  # too few steps to judge the requirement
    (folder / "power.json").write_text(finished.stdout)
    return json.loads(finished.stdout)


@pytest.fixture
def modules(monkeypatch):
    """The script's modules by name, loaded as it loads them."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # the script sets them; the test's own environment gets them back
    spec = importlib.util.spec_from_file_location("power_main", FOLDER / "__main__.py")
    main = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(main)
    loaded = {name: sys.modules[f"power_{name}"] for name in ("kinds", "run", "verdict", "page")}
    yield {**loaded, "main": main}
    for name in loaded:
        del sys.modules[f"power_{name}"]


def last_matrix(modules, run):
    with np.errstate(all="ignore"):
        return [matrix for _, matrix in modules["run"].follow(run)][-1]


def test_every_truth_is_held_against_every_rule(document):
    assert document["schema"] == "optconform/benchmark/power/1"
    assert document["versions"].keys() == {"python", "numpy", "ml_dtypes"}
    assert len(document["runs"]) == 3 * 4 * 2
    for run in document["runs"]:
        assert [checkpoint["steps"] for checkpoint in run["checkpoints"]] == [10, 12]
        truths = 19 if run["family"] == "adam" else 16
        rules = 11 if run["family"] == "adam" else 9
        for checkpoint in run["checkpoints"]:
            assert len(checkpoint["factors"]) == truths
            assert {len(row) for row in checkpoint["factors"].values()} == {rules}
            assert all(pair["reasons"] for pair in checkpoint["undecided"])


def test_no_truth_leaves_the_bound_of_its_own_rule(document):
    assert document["requirement"]["outside_the_own_bound"] == []
    own = [
        row[run["own"][truth]]
        for run in document["runs"]
        for truth, row in run["checkpoints"][-1]["factors"].items()
        if run["own"][truth] is not None
    ]
    assert len(own) == 8 * (12 + 10 + 10)
    assert max(own) <= 1.0
    assert max(own) > 0.3


def test_figures_only_grow(document):
    for run in document["runs"]:
        early, late = run["checkpoints"]
        for truth, row in early["factors"].items():
            for rule, factor in row.items():
                later = late["factors"][truth][rule]
                assert later is None or (factor is not None and factor <= later)


def test_float32_at_probe_values_tells_everything_but_identities(folder):
    asked = ("--dtypes", "float32", "--settings", "probe", "--elements", "16", "--steps", "100")
    finished = script(*asked, cwd=folder)
    assert finished.returncode == 0, finished.stderr
    runs = json.loads(finished.stdout)["runs"]
    pairs = {run["family"]: run["checkpoints"][-1]["undecided"] for run in runs}
    assert pairs["adam"] == pairs["sgd with momentum"] == []
    same = {"lr*wd", "l2", "lr inside", "nesterov"}
    assert {(pair["truth"], pair["rule"]) for pair in pairs["plain sgd"]} == {(a, b) for a in same for b in same - {a}}
    assert {pair["class"] for pair in pairs["plain sgd"]} == {"identity"}


def test_what_is_below_rounding_is_explained(document):
    (run,) = (
        run
        for run in document["runs"]
        if (run["family"], run["dtype"], run["setting"]) == ("adam", "float32", "ordinary")
    )
    (pair,) = (
        pair
        for pair in run["checkpoints"][-1]["undecided"]
        if (pair["truth"], pair["rule"]) == ("lr*wd", "post-update")
    )
    assert pair["class"] == "below rounding"
    assert pair["apart"] < 1.0
    (reason,) = pair["reasons"]
    assert "lr*wd of a step that is about lr long, that is 1e-08;" in reason
    assert "float32 is up to 6e-08 of theta" in reason


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])  # bfloat16 takes over the moments as well
@pytest.mark.parametrize(
    ("truth", "rule"), [("lr*wd", "post-update"), ("lr*wd", "lr*wd"), ("none", "l2"), ("cautious", "eps hat")]
)
def test_a_factor_is_the_ratio_of_the_follower(modules, dtype, truth, rule):
    run = modules["run"].Run("adam", dtype, "probe", elements=12, steps=12, seed=3)
    matrix = last_matrix(modules, run)
    names = [kind.name for kind in run.kinds]
    kind = run.kinds[names.index(truth)]
    emulated = modules["kinds"].Emulated(kind, run.rules["lr*wd"][1], modules["run"].parameters(run))
    followers = {
        name: Follower(*run.rules[name], emulated.theta, arithmetic(dtype), mode=run.mode)
        for name in (rule, kind.rule)
        if name is not None
    }
    worst, everything = 0.0, np.arange(run.elements)
    for step, grad in zip(range(1, run.steps + 1), modules["run"].gradients(run), strict=False):
        eta, before = modules["run"].SCHEDULE(step), emulated.theta
        emulated.step(grad, eta)
        given = {"state_after": emulated.state, "keep": everything}
        beside: Beside | None = None
        if kind.rule not in (None, rule):
            beside = followers[kind.rule].step(before, grad, emulated.theta, eta, **given).kept
        found = followers[rule].step(before, grad, emulated.theta, eta, beside=beside, **given)
        worst = max(worst, found.comparison.ratio)
    assert worst > 0.0
    assert matrix.factor[names.index(truth), list(run.rules).index(rule)] == pytest.approx(worst, rel=1e-9)


def test_a_truth_outside_its_own_bound_is_reported(modules, monkeypatch):
    kinds = modules["kinds"]
    wrong = tuple(replace(kind, decay=kinds.post_update) if kind.name == "lr*wd" else kind for kind in kinds.KINDS)
    monkeypatch.setattr(modules["run"], "KINDS", wrong)
    run = modules["run"].Run("plain sgd", "float32", "probe", elements=8, steps=10, seed=0)
    measured = modules["main"].measured(run)
    (found,) = measured["checkpoints"][-1]["outside"]
    assert (found["truth"], found["rule"]) == ("lr*wd", "lr*wd")
    assert found["ratio"] > 100.0
    assert modules["main"].requirement([measured])["met"] is False


def test_an_unexplained_pair_fails_the_requirement(modules, document):
    judged = [run for run in document["runs"] if (run["dtype"], run["setting"]) == ("float32", "probe")]
    checkpoint = {"steps": 100, "undecided": [], "outside": []}
    runs = [{**run, "checkpoints": [checkpoint]} for run in judged]
    assert modules["main"].requirement(runs)["met"] is True
    assert modules["main"].requirement(runs[1:])["met"] is None
    unseen = {"truth": "lr*wd", "rule": "proximal", "class": "below rounding", "reasons": ["Too small."]}
    runs[0]["checkpoints"] = [{**checkpoint, "undecided": [unseen]}]
    assert modules["main"].requirement(runs)["met"] is False
    runs[0]["checkpoints"] = [{**checkpoint, "steps": 10, "undecided": [unseen]}, checkpoint]
    assert modules["main"].requirement(runs)["met"] is True  # ten steps are reported, not judged


@pytest.mark.usefixtures("document")
def test_the_tables_of_a_page_are_renewed(folder):
    page = folder / "page.md"
    page.write_text(f"Before.\n\n{MARKS}\n\nAfter.\n")
    renewals = []
    for _ in range(2):
        finished = script("--read", "power.json", "--page", "page.md", cwd=folder)
        assert finished.returncode == 3, finished.stderr
        assert finished.stdout == ""
        renewals.append(page.read_text())
    assert renewals[0] == renewals[1]
    assert renewals[0].startswith("Before.\n\n<!-- tables: begin -->\n")
    assert renewals[0].endswith("<!-- tables: end -->\n\nAfter.\n")
    lines = renewals[0].splitlines()
    for line, after in itertools.pairwise(lines):
        if line.startswith("|") and after.startswith("|"):
            assert line.replace("\\|", "").count("|") == after.replace("\\|", "").count("|")
    assert sum(line.startswith("| preconditioned |") for line in lines) == 2  # float32, at probe and ordinary values


def test_a_page_without_marks_is_refused(modules, document):
    with pytest.raises(ValueError, match="tables: begin"):
        modules["page"].renewed("No marks.", document)
