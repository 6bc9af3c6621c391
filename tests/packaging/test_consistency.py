"""README, tox.ini, constraints.txt, pyproject.toml and the pre-commit hooks say the same."""

import configparser
import functools
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from itertools import pairwise, product
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from optconform.adapters.extras import EXTRAS
from optconform.adapters.frameworks import FRAMEWORKS

CHECKOUT = Path(__file__).resolve().parents[2]
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))


def read_tox():
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(CHECKOUT / "tox.ini", encoding="utf-8")
    return tox


def tox_environments(tox):
    """The names of all environments; `{a,b}` in a section's name stands for two of them."""
    names = set()
    for section in tox.sections():
        if section.startswith("testenv:"):
            pieces = [piece.split(",") for piece in re.split(r"[{}]", section.removeprefix("testenv:"))]
            names.update("".join(choice) for choice in product(*pieces))
    return names - {".pkg"}


@functools.cache
def pins():
    lines = (CHECKOUT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert len({canonicalize_name(requirement.name) for requirement in requirements}) == len(requirements)
    found = {}
    for requirement in requirements:
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", requirement
        found[canonicalize_name(requirement.name)] = specifier.version
    return found


def requirements_of_the_project():
    yield from PYPROJECT["project"]["dependencies"]
    for extra in PYPROJECT["project"]["optional-dependencies"].values():
        yield from extra
    for group in PYPROJECT["dependency-groups"].values():
        yield from group
    yield from PYPROJECT["build-system"]["requires"]


def readme_commands():
    """The command lines of the README's shell blocks, without prompts and comments."""
    for block in re.findall(r"^```(?:sh|bash|console|shell)\n(.*?)^```", README, re.MULTILINE | re.DOTALL):
        lines = block.replace("\\\n", " ").splitlines()
        prompted = [line[2:] for line in lines if line.startswith("$ ")]
        for line in prompted or lines:
            for command in line.partition(" #")[0].split("&&"):
                if command.strip():
                    yield command.split()


@pytest.mark.parametrize("text", sorted({*requirements_of_the_project()}))
def test_every_requirement_is_pinned_inside_its_range(text):
    requirement = Requirement(text)
    if requirement.name == "optconform":
        extras = PYPROJECT["project"]["optional-dependencies"]
        assert requirement.extras == set(extras) - {"all"}, "the extra `all` leaves some out, or names none"
    else:
        version = pins()[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"constraints.txt pins {version}"


def test_doctor_knows_every_extra():
    extras = set(PYPROJECT["project"]["optional-dependencies"]) - {"all"}
    assert {row.extra for row in FRAMEWORKS.values() if row.extra} | {row.name for row in EXTRAS} == extras


def test_pins_install_on_the_oldest_python():
    """A newer 3.11.x does not show that a pin asks for more than 3.11.0, and pip then names a conflict elsewhere."""
    oldest = PYPROJECT["project"]["requires-python"].removeprefix(">=") + ".0"
    asked = {
        name: distribution.metadata.get("Requires-Python", "")
        for distribution in metadata.distributions()
        for name in [canonicalize_name(distribution.metadata["Name"])]
        if pins().get(name) == distribution.version.partition("+")[0]
    }
    assert "pytest" in asked
    assert not {name: python for name, python in asked.items() if not SpecifierSet(python).contains(oldest)}


def test_hooks_use_the_pinned_tools():
    config = yaml.safe_load((CHECKOUT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook for repository in config["repos"] for hook in repository["hooks"]]
    assert {repository["repo"] for repository in config["repos"]} == {"local"}
    assert {hook["id"] for hook in hooks} == {"ruff-check", "ruff-format", "types"}
    for hook in hooks:
        (requirement,) = map(Requirement, hook["additional_dependencies"])
        assert str(requirement.specifier) == f"=={pins()[requirement.name]}"
        assert hook["entry"].split()[0] == requirement.name


def test_default_environments_exist_and_hold_the_promised_ones():
    tox = read_tox()
    default = tox["tox"]["env_list"].replace(",", " ").split()
    checks = {"lint", "types", "dist", "docs", "check", "gate", "browser"}
    assert set(default) == {"numpy", "torch", "tensorflow", "jax", "all"} | checks
    assert set(default) <= tox_environments(tox)


def test_main_job_requires_every_framework():
    """Without --require a framework that failed to install would be skipped, and the job would pass."""
    words = read_tox()["testenv:check"]["commands"].split()
    required = {value for option, value in pairwise(words) if option == "--require"}
    assert required == {"numpy", "torch", "tensorflow", "jax"}


def test_no_environment_runs_pytest_as_a_module():
    # `python -m` would make the checkout's own folders importable under their bare names.
    assert not re.search(r"-m\s+pytest", re.sub(r"#.*", "", (CHECKOUT / "tox.ini").read_text(encoding="utf-8")))


def test_tox_environments_of_the_readme_exist():
    named = {
        name
        for command in readme_commands()
        if command[:2] in (["tox", "run"], ["tox", "r"])
        for option, value in pairwise(command)
        if option == "-e"
        for name in value.split(",")
    }
    assert "check" in named, "the README does not show how the main job is run"
    assert named <= tox_environments(read_tox())


def test_readme_shows_the_test_command_that_ci_runs():
    assert ["tox", "run"] in readme_commands()
    assert re.search(r"/tox\" run\b", (CHECKOUT / ".ci" / "run").read_text(encoding="utf-8"))


def test_commands_of_the_readme_exist(tmp_path):
    commands = {command[1] for command in readme_commands() if command[0] == "optconform" and len(command) > 1}
    assert {"check", "audit"} <= commands
    for name in sorted(commands):
        done = subprocess.run(
            [sys.executable, "-m", "optconform", name, "--help"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"optconform {name}: {done.stderr}"


def test_changelog_has_an_entry_for_this_version_or_the_next():
    changelog = (CHECKOUT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(.+?)\]", changelog, re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert PYPROJECT["project"]["version"] in headings or len(headings) == 1
