"""The environments that run the gate on a GPU, in the checkout and in the template, as tox itself reads them."""

import configparser
import os
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
from packaging.requirements import Requirement

CHECKOUT = Path(__file__).resolve().parents[2]
FRAMEWORKS = ("torch", "jax", "tensorflow")
SHARED = {"fast", "report", "device"}
"""Extras that make the gate faster, and its reports whole."""


def tox_config(folder, work):
    """Return the section of each framework's environment."""
    environments = ",".join(f"gpu-{name}" for name in FRAMEWORKS)
    words = f"-m tox config --colored no -e {environments} -k commands deps extras set_env pass_env".split()
    done = subprocess.run(
        [sys.executable, *words, "-c", folder / "tox.ini", "--workdir", work],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"]},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    read = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    read.read_string(done.stdout)
    return {name: read[f"testenv:gpu-{name}"] for name in FRAMEWORKS}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return tox_config(CHECKOUT, tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return tox_config(CHECKOUT / "gpu_ci" / "templates", tmp_path_factory.mktemp("template"))


def words_of_gate(section):
    """Return the words of the gate's command, and of a folder its last name."""
    (line,) = section["commands"].splitlines()
    return [word.rpartition("/")[2] for word in line.split()]


def requirements(section):
    return {each.name: each for each in map(Requirement, section["deps"].split())}


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_the_gate_runs_every_case_and_a_missing_device_is_no_pass(checkout, name):
    words = words_of_gate(checkout[name])
    assert words[:2] == ["optconform", "gate"]
    assert "--all" in words
    options = {*pairwise(words)}
    assert {("--device", "cuda"), ("--require", "cuda"), ("--require", name), ("--framework", name)} <= options
    assert {("--baseline", "baselines"), ("--output", f"gate-gpu-{name}")} <= options


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_the_template_runs_what_the_checkout_runs(checkout, template, name):
    assert words_of_gate(template[name]) == words_of_gate(checkout[name])


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_the_device_is_not_hidden_and_github_is_heard(checkout, template, name):
    """The other environments hide every accelerator from the frameworks."""
    for section in (checkout[name], template[name]):
        assert "CUDA_VISIBLE_DEVICES" not in section["set_env"]
        assert "JAX_PLATFORMS" not in section["set_env"]
        assert {"CI", "CUDA_*", "NVIDIA_*", "GITHUB_*"} <= {*section["pass_env"].split()}


@pytest.mark.parametrize(
    ("name", "build", "besides"),
    [("torch", set(), {"keras"}), ("jax", {"cuda12"}, {"optax", "keras"}), ("tensorflow", {"and-cuda"}, {"keras"})],
)
def test_each_installs_the_cuda_build_of_its_framework_alone(checkout, template, name, build, besides):
    extras = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    ranges = {each.name: each.specifier for extra in extras.values() for each in map(Requirement, extra)}

    found = requirements(template[name])
    assert {*found} == {"optconform", name, *besides}
    assert all(found[each].specifier == ranges[each] for each in (name, *besides))
    assert found[name].extras == build
    assert found["optconform"].extras == SHARED

    # The checkout takes what it can from its own extras; that of TensorFlow is the build for the CPU.
    found = requirements(checkout[name])
    asked = {*checkout[name]["extras"].split()}
    assert asked >= SHARED
    taken = {Requirement(each).name for extra in asked - SHARED for each in extras[extra]}
    assert {*found, *taken} == {name, *besides}
    assert name not in found or found[name].extras == build
