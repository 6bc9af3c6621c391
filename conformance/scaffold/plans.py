"""Which files a new project has, and which ones the tests of an existing project's optimizers need."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Template

from ..._version import __version__
from ...adapters.targets import is_file, parse_spec
from .errors import ScaffoldError
from .existing import PYPROJECT, ToxFile, listed_targets, read_pyproject, tox_file
from .files import PlannedFile
from .frameworks import Start
from .names import package_name

EXPECTATION = "decoupled,law=lr*wd"
"""What a new project's optimizer is held against."""
TEST = "tests/test_optimizer.py"
WORKFLOW = ".github/workflows/optimizer.yml"
_REQUIREMENTS = {"optconform": f"optconform>={__version__.partition('+')[0]}", "pytest": "pytest>=8"}
_WORKFLOW_ABOUT = "runs it on GitHub"
_ENVIRONMENT_ABOUT = "runs the tests in a fresh environment"


def new_project(name: str, start: Start) -> tuple[PlannedFile, ...]:
    """Return the files of a new project called `name`."""
    package = package_name(name)
    values = {
        **_REQUIREMENTS,
        "name": name,
        "package": package,
        "attribute": start.attribute,
        "title": start.title,
        "dependencies": json.dumps(start.dependencies),
        "expectation": EXPECTATION,
    }

    def filled(template: str) -> str:
        return _filled(template, values)

    return (
        PlannedFile(PYPROJECT, "the package, and what is expected of its optimizer", filled("pyproject.toml.in")),
        PlannedFile(f"src/{package}/__init__.py", "the package", filled("package.py.in")),
        PlannedFile(
            f"src/{package}/optimizer.py",
            f"{start.attribute}, to be replaced by your own",
            filled(f"optimizer_{start.framework}.py.in"),
        ),
        PlannedFile(TEST, "one test for each check", filled("test_new.py.in")),
        PlannedFile("tox.ini", _ENVIRONMENT_ABOUT, filled("tox_head.ini.in") + filled("tox_new.ini.in")),
        PlannedFile(WORKFLOW, _WORKFLOW_ABOUT, filled("workflow.yml.in")),
        PlannedFile("README.md", "the commands to run", filled("README.md.in"), additions=()),
        PlannedFile(".gitignore", "what git leaves out", filled("gitignore.in"), additions=()),
    )


def added_to_project(root: Path, targets: Sequence[str], framework: str | None) -> tuple[PlannedFile, ...]:
    """Return the files by which the existing project in `root` tests its `targets`, named as on the command line.

    `framework` is named in them where it is given. Raises `TargetError` for a malformed target, `ScaffoldError` for
    the file of one that is not there, and where files of the project cannot be read.
    """
    specs = tuple(dict.fromkeys(targets))
    for spec in specs:
        _require_file(root, spec)
    pyproject = read_pyproject(root)
    entries = "".join(f"        {_entry(spec, framework)},\n" for spec in specs)
    test = _filled("test_added.py.in", {"entries": entries})
    workflow = _filled("workflow.yml.in", {})
    tox = tox_file(root, pyproject)
    listed = listed_targets(pyproject)
    environment = _environment(tox)
    settings = [_target_row(spec, framework) for spec in specs if spec not in listed]
    planned = [
        PlannedFile(TEST, "one test for each optimizer and check", test, (test,)),
        PlannedFile(WORKFLOW, _WORKFLOW_ABOUT, workflow, (workflow,)),
    ]
    if tox.path == PYPROJECT:
        settings.append(environment)
    else:
        written = _filled("tox_head.ini.in", {}) + environment
        planned.insert(1, PlannedFile(tox.path, _ENVIRONMENT_ABOUT, written, (environment,)))
    return *planned, PlannedFile(PYPROJECT, "what is expected of the optimizers", None, tuple(settings))


def _environment(tox: ToxFile) -> str:
    """Return the tox environment, in the format of the file that it belongs into."""
    values = {**_REQUIREMENTS, "test": TEST, "table": tox.table or ""}
    return _filled("tox_added.ini.in" if tox.table is None else "tox_added.toml.in", values)


def _entry(spec: str, framework: str | None) -> str:
    """Return `spec` as an entry of `parametrize_with_checks`."""
    return f'({_quoted(spec)}, {{"framework": "{framework}"}})' if framework else _quoted(spec)


def _target_row(spec: str, framework: str | None) -> str:
    """Return `spec` as a table of `[[tool.optconform.targets]]`."""
    row = _filled("target.toml.in", {"target": _quoted(spec), "expectation": "decoupled"})
    return row + (f'framework = "{framework}"\n' if framework else "")


def _quoted(text: str) -> str:
    """Return `text` in double quotation marks, with what Python, TOML and JSON escape alike."""
    return json.dumps(text, ensure_ascii=False)


def _require_file(root: Path, spec: str) -> None:
    place, _ = parse_spec(spec)
    if is_file(place) and not (root / place).is_file():
        raise ScaffoldError(f"{place} of --target {spec!r} is not there; expected a path relative to {root.resolve()}.")


def _filled(template: str, values: dict[str, str]) -> str:
    return Template(_template(template)).substitute(values)


@cache
def _template(name: str) -> str:
    assert __package__ is not None
    return (files(__package__) / "templates" / name).read_text(encoding="utf-8")
