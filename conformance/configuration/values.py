"""What a configuration says, once it is known to be valid. A field bears the name of its key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ..expectation import DEFAULT_EXPECTATION
from ..result import Counting


@dataclass(frozen=True, slots=True)
class ConfiguredTarget:
    """One entry of `targets`; an empty `traces`, `dtypes` or `devices` takes that of the whole configuration."""

    target: str
    """As it is written: the path of a file is relative to the configuration's folder."""
    expect: str = DEFAULT_EXPECTATION
    framework: str | None = None
    path: str | None = None
    mode: str | None = None
    set: Mapping[str, Any] = field(default_factory=dict)
    map: Mapping[str, str] = field(default_factory=dict)
    traces: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Accepted:
    """One entry of `accept`: findings of `code` that stay in the result and do not count."""

    code: str
    target: str
    """A target as the configuration writes it, or a shell's pattern of several."""
    reason: str

    def covers(self, target: str) -> bool:
        """Whether the entry is about `target`, as the configuration writes it."""
        return target == self.target or fnmatchcase(target, self.target)


@dataclass(frozen=True, slots=True)
class Configuration:
    """A whole `[tool.optconform]`; one without any key is the default of everything."""

    targets: tuple[ConfiguredTarget, ...] = ()
    """None of them stands for the built-in optimizers."""
    traces: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    require: tuple[str, ...] = ()
    baseline: str | None = None
    accept: tuple[Accepted, ...] = ()
    file: Path | None = None
    """The file that says so; None where there is none."""

    @property
    def folder(self) -> Path:
        """The folder that paths in the configuration are relative to."""
        return Path() if self.file is None else self.file.parent

    def counting(self, select: tuple[str, ...], ignore: tuple[str, ...]) -> Counting:
        """Return which codes count where the command line selects and ignores these besides."""
        return Counting(select or self.select, tuple(dict.fromkeys((*self.ignore, *ignore))))
