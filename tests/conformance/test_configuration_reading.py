"""Which file is read, and what its table becomes."""

import os
from pathlib import Path

import pytest

from optconform.conformance.configuration.errors import ConfigurationError
from optconform.conformance.configuration.paths import from_here, target_from_here
from optconform.conformance.configuration.reading import find_configuration
from optconform.conformance.configuration.values import Accepted, Configuration, ConfiguredTarget
from optconform.conformance.result import Counting
from optconform.conformance.traces import synthetic_trace, write_trace

WHOLE = """
[tool.optconform]
traces = ["digits_mlp", "synthetic:mixed:3", "https://example.org/run.trace", "traces/mine.trace"]
dtypes = ["float64", "bfloat16"]
devices = ["cpu", "gpu:1"]
select = []
ignore = ["OC305"]
require = ["numpy", "cpu"]
baseline = "baselines/cpu.json"

[[tool.optconform.targets]]
target = "src/optim.py:Mine"
expect = "decoupled,law=lr*wd"
framework = "numpy"
path = "default"
mode = "free-run"
set = { betas = [0.9, 0.98], nesterov = true, name = "x", nested = { a = [[1], [2]] } }
map = { weight_decay = "shrinkage" }
dtypes = ["float32"]
devices = ["cuda"]
traces = ["separating"]

[[tool.optconform.targets]]
target = "my_package.optim:Mine"

[[tool.optconform.accept]]
code = "OC204"
target = "src/*:Mine"
reason = "known"
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "src" / "deep").mkdir(parents=True)
    (tmp_path / "src" / "optim.py").write_text("class Mine:\n    pass\n")
    (tmp_path / "traces").mkdir()
    write_trace(synthetic_trace("small"), tmp_path / "traces" / "mine.trace")
    (tmp_path / "pyproject.toml").write_text(WHOLE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_key_is_read(project):
    configuration = find_configuration()
    assert configuration == Configuration(
        targets=(
            ConfiguredTarget(
                "src/optim.py:Mine",
                "decoupled,law=lr*wd",
                "numpy",
                "default",
                "free-run",
                {"betas": (0.9, 0.98), "nesterov": True, "name": "x", "nested": {"a": ((1,), (2,))}},
                {"weight_decay": "shrinkage"},
                ("separating",),
                ("float32",),
                ("cuda",),
            ),
            ConfiguredTarget("my_package.optim:Mine"),
        ),
        traces=("digits_mlp", "synthetic:mixed:3", "https://example.org/run.trace", "traces/mine.trace"),
        dtypes=("float64", "bfloat16"),
        devices=("cpu", "gpu:1"),
        ignore=("OC305",),
        require=("numpy", "cpu"),
        baseline="baselines/cpu.json",
        accept=(Accepted("OC204", "src/*:Mine", "known"),),
        file=project / "pyproject.toml",
    )
    assert configuration.targets[1].expect == "decoupled"


def test_the_nearest_file_with_the_table_is_read(project, monkeypatch):
    deep = project / "src" / "deep"
    monkeypatch.chdir(deep)
    assert find_configuration().file == project / "pyproject.toml"
    (deep / "pyproject.toml").write_text('[tool.ruff]\nline-length = 100\n[project]\nname = "x"\n')
    assert find_configuration().file == project / "pyproject.toml", "a file without the table is passed over"
    (deep / "pyproject.toml").write_text("[tool.optconform]\n")
    assert find_configuration() == Configuration(file=deep / "pyproject.toml")


def test_no_file_is_no_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_configuration() == Configuration()
    (tmp_path / "pyproject.toml").write_text("tool = 3\n")
    assert find_configuration() == Configuration()
    (tmp_path / "pyproject.toml").write_text("[tool.uniform]\n[tool.ruff]\n")
    assert find_configuration() == Configuration(), "other tools are no slips of the pen"


def test_a_named_file_must_have_the_table(project):
    (project / "other.toml").write_text('[tool.optconform]\ndtypes = ["float32"]\n')
    assert find_configuration("other.toml").dtypes == ("float32",)
    (project / "other.toml").write_text("[tool.ruff]\n")
    with pytest.raises(ConfigurationError, match=r"other.toml has no table \[tool.optconform\], which --config needs"):
        find_configuration("other.toml")
    with pytest.raises(ConfigurationError, match="src is a directory, a pipe or a device, but should be a file"):
        find_configuration("src")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pyproject.toml")
    monkeypatch.chdir(tmp_path)
    assert find_configuration() == Configuration()


def test_paths_are_usable_from_the_current_folder(project, monkeypatch):
    assert target_from_here("src/optim.py:Mine", project) == str(Path("src/optim.py:Mine"))
    monkeypatch.chdir(project / "src" / "deep")
    assert target_from_here("src/optim.py:Mine", project) == str(Path("../optim.py:Mine"))
    assert target_from_here("torch.optim:AdamW", project) == "torch.optim:AdamW"
    assert from_here("traces/mine.trace", project) == str(Path("../../traces/mine.trace"))
    for name in ("digits_mlp", "synthetic:mixed:3", "generated:100", "https://example.org/run.trace"):
        assert from_here(name, project) == name
    monkeypatch.chdir(project / "traces")
    (project / "traces" / "digits_mlp").mkdir()
    assert from_here("traces/digits_mlp", project) == f".{os.sep}digits_mlp", "not the shipped trace"


def test_the_command_line_selects_instead_and_ignores_besides():
    configuration = Configuration(select=("OC101",), ignore=("OC305",))
    assert configuration.counting((), ()) == Counting(("OC101",), ("OC305",))
    assert configuration.counting(("OC201",), ("OC204", "OC305")) == Counting(("OC201",), ("OC305", "OC204"))


@pytest.mark.parametrize(
    ("pattern", "covered"),
    [
        ("src/optim.py:Mine", True),
        ("src/*:Mine", True),
        ("*", True),
        ("src/*:mine", False),
        ("src/optim.py", False),
        ("src/[x].py:Mine", False),
    ],
)
def test_an_accepted_target_is_exact_or_a_pattern(pattern, covered):
    assert Accepted("OC204", pattern, "x").covers("src/optim.py:Mine") is covered


def test_a_name_in_brackets_is_itself():
    assert Accepted("OC204", "src/[x].py:Mine", "x").covers("src/[x].py:Mine")
