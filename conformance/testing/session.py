"""What one pytest session says to its checks, and what they tell it. Nothing of weight is imported here.

A check gets no pytest configuration: it is called with the optimizer alone. So the plugin leaves its options here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of the plugin; without the plugin, these defaults."""

    select: tuple[str, ...] = ()
    """Ids of checks and codes of rules; all where there is none."""
    device: str = "cpu"
    traces: tuple[str, ...] = ()
    """Names or paths; the default traces where there is none."""


@dataclass(slots=True)
class Session:
    """One pytest session in this process."""

    settings: Settings = field(default_factory=Settings)
    told: dict[str, Any] | None = None
    """What the check that ran last tells the summary: plain values by name."""

    def take(self) -> dict[str, Any] | None:
        """Return what was told since this was last called, if anything."""
        told, self.told = self.told, None
        return told


_WITHOUT_PLUGIN = Session()
_SESSIONS: list[Session] = []
"""The sessions that are open, the innermost last: a test of a plugin runs one session inside another."""


def opened(settings: Settings) -> Session:
    """Make a session with `settings` the current one, until it is closed, and return it."""
    _SESSIONS.append(Session(settings))
    return _SESSIONS[-1]


def close(session: Session) -> None:
    """Let the session before `session` be the current one again."""
    _SESSIONS.remove(session)


def current() -> Session:
    """Return the innermost open session; one with the defaults where the plugin is not loaded."""
    return _SESSIONS[-1] if _SESSIONS else _WITHOUT_PLUGIN
