"""The workflow and the tox environments that `optconform init` writes or prints, as GitHub and tox read them."""

import configparser
import re
import subprocess
import sys

import pytest
import yaml

from optconform.conformance.cli.main import main

ADDED = ["--target", "optconform.adapters.numpy_optimizers:SGDW"]
TOX_FILES = {
    "tox.ini": "[testenv:other]\n",
    "setup.cfg": "[tox:tox]\nenv_list = other\n",
    "tox.toml": 'env_list = ["other"]\n',
    "pyproject.toml": '[tool.tox]\nenv_list = ["other"]\n',
}


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    folder = tmp_path_factory.mktemp("new") / "decay-demo"
    assert main(["init", str(folder), "--framework", "numpy"]) == 0
    return folder


def environment(folder):
    """The section of the environment, as tox reads it; without a file named, it looks for one in its own order."""
    words = f"-m tox config --colored no -e optimizer -k commands deps dependency_groups package --workdir {folder}/.t"
    done = subprocess.run([sys.executable, *words.split()], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    read = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    read.read_string(done.stdout)
    return {name: text.strip().split("\n") for name, text in read["testenv:optimizer"].items()}


def test_a_new_project_s_environment(new):
    section = environment(new)
    assert [command.split() for command in section["commands"]] == [["pytest"], ["optconform", "check"]]
    assert section["dependency_groups"] == ["test"]


@pytest.mark.parametrize("name", [None, *TOX_FILES])
def test_an_existing_project_s_environment(tmp_path, monkeypatch, capsys, name):
    """What is printed for the file that is there does, added to it, what is written where there is none."""
    (tmp_path / "pyproject.toml").write_text("[build-system]\nrequires = []\n\n")
    if name:
        with (tmp_path / name).open("a") as file:
            file.write(TOX_FILES[name])
    monkeypatch.chdir(tmp_path)
    assert main(["init", *ADDED]) == 0
    out = capsys.readouterr().out
    if name:
        addition = out.partition(f"To be added to {name}:\n")[2]
        with (tmp_path / name).open("a") as file:
            file.write(re.split(r"^(?:To be added|Next)", addition, maxsplit=1, flags=re.MULTILINE)[0])
    section = environment(tmp_path)
    assert [command.split() for command in section["commands"]] == [["pytest", "tests/test_optimizer.py"]]
    assert [re.split(r"\W", requirement)[0] for requirement in section["deps"]] == ["optconform", "pytest"]


def test_the_workflow_fits_the_published_schema(against_schema, new):
    done = against_schema("github-workflows", new / ".github" / "workflows" / "optimizer.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_misspelt_key_does_not(against_schema, new, tmp_path):
    text = (new / ".github" / "workflows" / "optimizer.yml").read_text(encoding="utf-8")
    (tmp_path / "broken.yml").write_text(text.replace("runs-on:", "runs_on:"), encoding="utf-8")
    assert against_schema("github-workflows", tmp_path / "broken.yml").returncode == 1


def test_the_workflow_runs_the_environment_and_may_only_read(new):
    workflow = yaml.safe_load((new / ".github" / "workflows" / "optimizer.yml").read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    assert job["steps"][-1]["run"] == "tox run -e optimizer"
    assert 0 < job["timeout-minutes"] <= 60
    assert job["steps"][0]["with"]["persist-credentials"] is False
    used = [step["uses"] for step in job["steps"] if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", name) for name in used), used
