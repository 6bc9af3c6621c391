"""Files that are to be written, what stands in their way, and writing all of them or none."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .errors import ScaffoldError


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """One file of a project. A file that is there is never written to."""

    path: str
    """Below the project's folder, with forward slashes."""
    about: str
    """A few words on what it holds."""
    text: str | None
    """What is written; None for a file that is not made, but may want an addition."""
    additions: tuple[str, ...] | None = None
    """What belongs into a file that is there; None where the project cannot be made with one that is there."""

    def is_there(self, root: Path) -> bool:
        """Return whether there is something under this name; a link that leads nowhere is."""
        return os.path.lexists(root / self.path)

    def lacking(self, root: Path) -> tuple[str, ...]:
        """Return those of `additions` that the file, if it is there, does not hold. Raises `ScaffoldError`."""
        if not self.additions:
            return ()
        text = read(root / self.path)
        return tuple(each for each in self.additions if each not in text)


def read(path: Path) -> str:
    """Return the text of `path`, "" where it is not there. Raises `ScaffoldError` where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ScaffoldError(f"{path} cannot be read as text in UTF-8: {error}.") from error


def require_room(root: Path, files: Iterable[PlannedFile]) -> None:
    """Raise `ScaffoldError`, naming all of them, for what stands in the way of `files` below `root`."""
    for above in (root, *root.parents):
        if os.path.lexists(above) and not above.is_dir():
            raise ScaffoldError(f"{above} is a file; expected a folder, or a name that is free.")
    in_the_way = {}
    for file in files:
        for folder in PurePosixPath(file.path).parents:
            if os.path.lexists(root / folder) and not (root / folder).is_dir():
                in_the_way[str(folder)] = "is not a folder"
        if (root / file.path).is_dir():
            in_the_way[file.path] = "is a folder"
        elif file.is_there(root) and file.additions is None:
            in_the_way[file.path] = "is there already"
    if in_the_way:
        named = "; ".join(f"{path} {why}" for path, why in in_the_way.items())
        raise ScaffoldError(f"nothing was written to {root}: {named}. Move that away, or name another folder.")


def write_all(root: Path, files: Sequence[PlannedFile]) -> None:
    """Write `files` below `root`, which is made if need be; on an error, remove what was made until then.

    Raises `ScaffoldError` naming the file that could not be written. A file that appears in the meantime is such an
    error too, and stays as it is.
    """
    made: list[Path] = []
    path = root
    try:
        _make_folders(root, made)
        for file in files:
            assert file.text is not None, f"{file.path} has no text"
            path = root / file.path
            _make_folders(path.parent, made)
            with path.open("x", encoding="utf-8", newline="\n") as opened:
                made.append(path)
                opened.write(file.text)
    except BaseException as error:
        _remove(made)
        if isinstance(error, OSError):
            raise ScaffoldError(f"{path} cannot be written ({error.strerror}); nothing was.") from error
        raise


def _make_folders(folder: Path, made: list[Path]) -> None:
    """Make `folder` and those above it that are missing, and add them to `made`."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir()
        made.append(each)


def _remove(made: Sequence[Path]) -> None:
    """Remove files and folders, the last first; a folder that somebody else has put something into stays."""
    for path in reversed(made):
        with suppress(OSError):
            path.rmdir() if path.is_dir() else path.unlink()
