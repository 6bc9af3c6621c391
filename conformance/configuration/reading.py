"""Find the configuration of a project and read it: every mistake in it is told at once."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from ...adapters.text import escape_control
from ..workers.import_path import current_folder
from .errors import ConfigurationError
from .paths import shown_path
from .values import Configuration

FILE_NAME = "pyproject.toml"
_NAME = "optconform"
_CLOSE = 0.85
"""Likeness from which the name of another tool's table is taken for a slip: `optconfrom` has 0.9, `conform` 0.82."""
_LARGEST = 4 << 20
"""Bytes of a file that are read; the largest pyproject.toml in use have some tens of thousands."""
_ELSEWHERE = "mend it, or run with --no-config"


def find_configuration(named: str | os.PathLike[str] | None = None) -> Configuration:
    """Return the configuration in the file `named`, else that of the nearest pyproject.toml that has one.

    That is searched for in the current folder and those above it; where there is none, the empty configuration is
    returned. Raises `ConfigurationError` for a file that is no TOML, and for a table with anything wrong in it.
    """
    if named is not None:
        file = Path(named)
        table = _table_in(file)
        if table is None:
            raise ConfigurationError(f"{_shown(file)} has no table [tool.{_NAME}], which --config needs")
        return read_configuration(table, file)
    here = Path(current_folder())
    for folder in (here, *here.parents):
        file = folder / FILE_NAME
        if file.is_file() and (table := _table_in(file)) is not None:
            return read_configuration(table, file)
    return Configuration()


def read_configuration(table: object, file: Path) -> Configuration:
    """Return the configuration that the `table` of a file holds. Raises `ConfigurationError` with all its mistakes."""
    from .keys import CONFIGURATION, TABLE
    from .mistakes import Place

    place = Place(TABLE, file.parent)
    configuration: Configuration = CONFIGURATION.read(table, place)
    if place.mistakes:
        name = _shown(file)
        if len(place.mistakes) == 1:
            raise ConfigurationError(f"{name}: {place.mistakes[0]}")
        listed = "".join(f"\n  {mistake}" for mistake in place.mistakes)
        raise ConfigurationError(f"{name} has {len(place.mistakes)} mistakes:{listed}")
    return replace(configuration, file=file)


def _table_in(file: Path) -> object | None:
    """Return what a file holds as [tool.optconform]; None where there is nothing of that name."""
    if file.exists() and not file.is_file():
        raise ConfigurationError(f"{_shown(file)} is a directory, a pipe or a device, but should be a file")
    try:
        with file.open("rb") as opened:
            raw = opened.read(_LARGEST + 1)
        if len(raw) > _LARGEST:
            raise ConfigurationError(f"{_shown(file)} has more than {_LARGEST:,} bytes; {_ELSEWHERE}")
        tools = tomllib.loads(raw.decode("utf-8")).get("tool", {})
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{_shown(file)} is not UTF-8 from byte {error.start} on; {_ELSEWHERE}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{_shown(file)} is no valid TOML: {error}; {_ELSEWHERE}") from error
    except RecursionError as error:
        raise ConfigurationError(f"{_shown(file)} nests too deeply to be read; {_ELSEWHERE}") from error
    if not isinstance(tools, Mapping):
        return None
    if _NAME not in tools:
        by_case = {name.casefold(): name for name in tools}
        for name in get_close_matches(_NAME, by_case, n=1, cutoff=_CLOSE):
            meant = f"{_shown(file)} has a table [tool.{by_case[name]}]; did you mean [tool.{_NAME}]?"
            raise ConfigurationError(meant)
    return tools.get(_NAME)


def _shown(file: Path) -> str:
    return escape_control(shown_path(file))
