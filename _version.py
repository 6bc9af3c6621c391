"""The version of the code that is running, installed or not."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path


def _read_version() -> str:
    """Return the installed version, or `X.Y.Z+checkout` when running from the repository itself.

    pyproject.toml lies beside this file in a checkout and never in an installation. It is looked at first:
    where a checkout comes before an installed copy on the path, the metadata would name the other one.
    """
    pyproject = Path(__file__).with_name("pyproject.toml")
    if pyproject.is_file():
        return f"{tomllib.loads(pyproject.read_text(encoding='utf-8'))['project']['version']}+checkout"
    return metadata.version("optconform")


__version__ = _read_version()
