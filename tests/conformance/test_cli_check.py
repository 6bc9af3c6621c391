"""`optconform check`, in process: several targets, the built-in ones, what is required and what is skipped."""

import json
from datetime import UTC, date, datetime, timedelta

import pytest

ADAMW, SGDW = (f"optconform.adapters.numpy_optimizers:{name}" for name in ("AdamW", "SGDW"))
TRACE = ("--trace", "synthetic:mixed")


@pytest.fixture
def only_numpy(monkeypatch):
    monkeypatch.setattr("optconform.adapters.frameworks.is_findable", lambda name: name == "numpy")


@pytest.fixture
def l2(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "class Mine:\n"
        "    def __init__(self, weight_decay=0.0, momentum=0.9):\n"
        "        self.weight_decay, self.momentum, self.buffers = weight_decay, momentum, {}\n"
        "    def step(self, params, grads, lr):\n"
        "        return {n: self.one(n, p, grads[n], lr) for n, p in params.items()}\n"
        "    def one(self, n, p, g, lr):\n"
        "        if g is None: return p\n"
        "        b = self.buffers[n] = self.momentum * self.buffers.get(n, 0.0) + g + self.weight_decay * p\n"
        "        return p - lr * b\n"
    )
    return f"{path}:Mine"


def test_several_targets_share_one_table(run, l2):
    status, out, _ = run("check", ADAMW, SGDW, l2, *TRACE)
    assert status == 1
    assert "3 optimizers: 2 as expected, 1 not" in " ".join(out.split())
    assert "OC101 error coupled-decay" in out
    assert "rerun: optconform audit" in out


def test_the_worst_target_decides(run, l2, tmp_path):
    (tmp_path / "broken.py").write_text("def f(weight_decay=0.0): raise ValueError('boom')\n")
    broken = f"{tmp_path / 'broken.py'}:f"
    assert run("check", ADAMW, "--framework", "numpy", *TRACE)[0] == 0
    assert run("check", ADAMW, l2, "--framework", "numpy", *TRACE)[0] == 1
    status, out, _ = run("check", ADAMW, l2, broken, "--framework", "numpy", *TRACE)
    assert status == 3
    assert "ValueError: boom" in out


def test_json_is_one_document_over_all(run, l2):
    status, out, _ = run("check", ADAMW, l2, *TRACE, "--format", "json")
    document = json.loads(out)
    assert (status, document["exit_status"], document["schema"]) == (1, 1, "optconform/check/1")
    assert [each["verdict"] for each in document["results"]] == ["decoupled", "l2"]


def test_the_result_may_go_to_a_file(run, tmp_path):
    status, out, _ = run("check", ADAMW, *TRACE, "--format", "json", "--output", tmp_path / "r.json")
    assert (status, out) == (0, "")
    document = json.loads((tmp_path / "r.json").read_text())
    assert document["exit_status"] == 0
    assert abs(date.fromisoformat(document["date"]) - datetime.now(UTC).date()) <= timedelta(days=1)


@pytest.mark.parametrize("width", [80, 120, 200])
def test_every_width_shows_every_verdict(run, l2, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    status, out, _ = run("check", ADAMW, l2, *TRACE)
    assert status == 1
    for words in ("decoupled", "l2", "lr*wd", "OC101", "optimizers: 1 as expected, 1 not"):
        assert words in " ".join(out.split())
    longest = max(len(line) for line in out.splitlines() if "AdamW" in line and "rerun" not in line)
    assert longest <= width


class TestBuiltInTargets:
    def test_one_framework_alone(self, run):
        status, out, err = run("check", "--framework", "numpy", *TRACE)
        assert (status, err) == (0, "")
        assert "2 optimizers: 2 as expected, 0 not" in " ".join(out.split())

    def test_what_is_not_installed_is_skipped_aloud(self, run, only_numpy):
        status, out, err = run("check", *TRACE)
        assert status == 0
        assert "NOT CHECKED: torch, tensorflow, jax (not installed);" in " ".join(out.split())
        assert "not checked: torch is not installed (pip install 'optconform[torch]')" in err

    def test_a_framework_that_is_asked_for_and_not_there_is_no_pass(self, run, only_numpy):
        assert run("check", "--framework", "torch", *TRACE)[0] == 4

    @pytest.mark.parametrize(
        "option", [("--set", "beta1=0.5"), ("--map", "lr=a"), ("--expect", "l2"), ("--paths", "default")]
    )
    def test_what_would_apply_to_all_of_them_is_refused(self, run, option):
        status, _, err = run("check", *option)
        assert status == 2
        assert f"{option[0]} needs a TARGET" in err


class TestRequire:
    @pytest.mark.parametrize("name", ["numpy", "cpu"])
    def test_what_is_there(self, run, only_numpy, name):
        assert run("check", ADAMW, *TRACE, "--require", name)[0] == 0

    @pytest.mark.parametrize("name", ["torch", "tensorflow", "jax"])
    def test_a_framework_that_is_not_there(self, run, only_numpy, name):
        status, out, err = run("check", *TRACE, "--require", name)
        assert (status, out) == (3, "")
        assert f"pip install 'optconform[{name}]'" in err

    @pytest.mark.parametrize("name", ["cuda", "gpu", "gpu:7", "tpu"])
    def test_a_device_that_is_not_there(self, run, only_numpy, name):
        status, out, err = run("check", *TRACE, "--require", name)
        assert (status, out) == (3, "")
        assert f"{name} is required" in err
        assert "devices found: cpu" in err


def test_a_hostile_name_is_shown_and_not_obeyed(run, tmp_path):
    name = "\x1b]0;owned\x07[red]x.py"
    (tmp_path / name).write_text("class A:\n    pass\n")
    status, out, err = run("check", f"{tmp_path / name}:A", *TRACE)
    assert status == 2
    assert not set("\x1b\x07") & set(out + err)
    assert r"\x1b]0;owned\x07[red]x.py" in err
