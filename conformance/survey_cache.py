"""Finished results on disk, one file each, found by what they depend on: nothing is lost, and nothing done twice."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCHEMA = "optconform/survey-result/1"
_PARTIAL = ".partial-"
_ABANDONED = 3600.0
"""Seconds after which a result that is still being written never will be: writing one takes milliseconds."""


def default_folder() -> Path:
    """Return the user's own folder for caches: `$XDG_CACHE_HOME/optconform/survey`, or the same in `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")  # noqa: PTH111, PTH118
    return Path(base) / "optconform" / "survey"


@functools.cache
def source_digest() -> str:
    """Return a digest of this package's Python files: a version number stands still while a checkout changes."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for folder in ("reference", "adapters", "conformance"):
        for file in sorted((root / folder).rglob("*.py")):
            digest.update(f"{file.relative_to(root).as_posix()}\n".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Cache:
    """A folder of results. Several processes may use it at once."""

    folder: Path

    def prepare(self) -> None:
        """Create the folder, and clear it of what a killed process left unfinished.

        Raises `OSError` naming it where results could not be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
            for partial in self.folder.glob(f"{_PARTIAL}*"):
                with suppress(FileNotFoundError):  # another process has just finished it
                    if time.time() - partial.stat().st_mtime > _ABANDONED:
                        partial.unlink()
        except OSError as error:
            raise OSError(
                f"--cache {str(self.folder)!r} cannot be written ({error.strerror}); name a folder that can"
            ) from error

    def read(self, depends_on: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the result stored for `depends_on`; None where there is none that can be read."""
        try:
            document = json.loads(self._path(depends_on).read_text(encoding="utf-8"))
            return dict(document["result"]) if document["depends_on"] == _plain(depends_on) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, depends_on: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Store `result`: complete under its name, or not at all, even if the machine stops in between."""
        document = {"schema": SCHEMA, "depends_on": _plain(depends_on), "result": result}
        descriptor, partial = tempfile.mkstemp(prefix=_PARTIAL, dir=self.folder)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(document, file, allow_nan=False)
                file.flush()
                os.fsync(file.fileno())
            Path(partial).replace(self._path(depends_on))
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise

    def _path(self, depends_on: Mapping[str, Any]) -> Path:
        return self.folder / f"{key_of(depends_on)}.json"


def key_of(depends_on: Mapping[str, Any]) -> str:
    """Return the name of a result: SHA-256 of everything it depends on, whatever the order of its entries."""
    return hashlib.sha256(json.dumps(_plain(depends_on), sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Return `value` as it reads back from JSON; what JSON does not know is written as Python shows it."""
    return json.loads(json.dumps(value, default=repr, sort_keys=True))
