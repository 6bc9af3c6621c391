"""What an existing project holds: its build files, where it keeps its environments, the targets it has listed."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ScaffoldError
from .files import read

PYPROJECT = "pyproject.toml"
_BUILD_FILES = (PYPROJECT, "setup.py", "setup.cfg")


@dataclass(frozen=True, slots=True)
class ToxFile:
    """The file in which a project keeps its tox environments."""

    path: str
    table: str | None = None
    """What stands before `env.` in a table of TOML; None for a file in the format of tox.ini."""


def build_file(root: Path) -> str | None:
    """Return the name of the file by which the folder `root` is a project; None where there is none."""
    return next((name for name in _BUILD_FILES if (root / name).is_file()), None)


def tox_file(root: Path, pyproject: Mapping[str, Any]) -> ToxFile:
    """Return where tox reads the environments of the project in `root`, in tox's own order; tox.ini if nowhere."""
    settings = _table(pyproject, "tox")
    if (root / "tox.ini").exists():
        return ToxFile("tox.ini")
    if re.search(r"^\[tox:tox\]", read(root / "setup.cfg"), re.MULTILINE):
        return ToxFile("setup.cfg")
    if settings:
        return ToxFile(PYPROJECT, None if "legacy_tox_ini" in settings else "tool.tox.")
    if (root / "tox.toml").exists():
        return ToxFile("tox.toml", "")
    return ToxFile("tox.ini")


def read_pyproject(root: Path) -> Mapping[str, Any]:
    """Return pyproject.toml of the project in `root`, empty where there is none.

    Raises `ScaffoldError` where it cannot be read.
    """
    try:
        return tomllib.loads(read(root / PYPROJECT))
    except tomllib.TOMLDecodeError as error:
        raise ScaffoldError(f"{root / PYPROJECT} is not TOML: {error}. Mend it first.") from error


def listed_targets(pyproject: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the targets that `[tool.optconform]` lists; what is not as it should be is not looked at."""
    rows = _table(pyproject, "optconform").get("targets")
    return tuple(str(row.get("target")) for row in rows if isinstance(row, dict)) if isinstance(rows, list) else ()


def _table(pyproject: Mapping[str, Any], tool: str) -> Mapping[str, Any]:
    """Return the table of `tool`, empty where there is none."""
    tools = pyproject.get("tool")
    table = tools.get(tool) if isinstance(tools, dict) else None
    return table if isinstance(table, dict) else {}
