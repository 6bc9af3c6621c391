"""The name of a new project, and of the package in it."""

from __future__ import annotations

import keyword
import re
import sys
from pathlib import Path

from ...adapters.frameworks import FRAMEWORKS
from .errors import ScaffoldError

_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?", re.IGNORECASE | re.ASCII)
"""What the packaging standards allow as the name of a project."""
_TAKEN = {name for row in FRAMEWORKS.values() for name in row.imports} | {
    *("click", "ml_dtypes", "optconform", "pip", "pytest", "rich", "safetensors", "setuptools", "src", "tests", "tox"),
}
"""Packages that the project or its tests import, and folders beside which the package lies."""


def project_name(given: str | None, folder: Path) -> str:
    """Return `given`, or the name that the folder suggests. Raises `ScaffoldError` where a project cannot have it.

    >>> project_name(None, Path("My Optimizer"))
    'my-optimizer'
    """
    name = given if given is not None else re.sub(r"[\s._-]+", "-", folder.resolve().name.lower()).strip("-")
    if not _NAME.fullmatch(name):
        raise ScaffoldError(
            f"{_origin(given, folder)} cannot be the name of a project: expected ASCII letters and digits, with -, _ "
            f"and . between them. {_remedy(given)}"
        )
    package = package_name(name)
    if not package.isidentifier() or keyword.iskeyword(package):
        raise ScaffoldError(
            f"{_origin(given, folder)} would make {package!r} the name of the package, which Python cannot import: "
            f"{_cause(package)}. {_remedy(given)}"
        )
    if package in _TAKEN or package in sys.stdlib_module_names:
        raise ScaffoldError(
            f"{_origin(given, folder)} would make {package!r} the name of the package, which would hide the one that "
            f"others import under this name. {_remedy(given)}"
        )
    return name


def package_name(project: str) -> str:
    """Return the name of the package of `project`.

    >>> package_name("My-Optimizer.jl")
    'my_optimizer_jl'
    """
    return re.sub(r"[._-]+", "_", project).lower()


def _origin(given: str | None, folder: Path) -> str:
    return f"--name {given!r}" if given is not None else f"the folder's name {folder.resolve().name!r}"


def _remedy(given: str | None) -> str:
    return "Give another, such as --name my-optimizer." if given is None else "Another would be my-optimizer."


def _cause(package: str) -> str:
    return "it is a keyword" if keyword.iskeyword(package) else "it starts with a digit"
